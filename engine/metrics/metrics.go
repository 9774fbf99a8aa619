package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hookrun/engine"
)

// Bounds of the labels.
const (
	MaxBuckets = 200 // buckets that are counted by name
	maxGuests  = 100 // of these, the ones that the rules don't name
	MaxRules   = 500 // rules that are counted by name
)

// Other is the label of all that is beyond the bounds.
const Other = "other"

// Rejected is the outcome of events that were turned away; those of the others
// are engine.EventOutcomes.
const Rejected = "rejected"

// Reload says what became of rules that were read again.
type Reload string

// Results of a reload.
const (
	ReloadOK      Reload = "ok"      // they are in force
	ReloadRefused Reload = "refused" // they have a problem, those before go on
	ReloadHeld    Reload = "held"    // on_reload waits for a person to accept them
)

// Metrics counts what happens. New makes one; its methods may be called from
// several goroutines at once and never block.
type Metrics struct {
	buckets, rules *names

	events     *prometheus.CounterVec
	runs       *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	waits      prometheus.Histogram
	commits    prometheus.Histogram
	reloads    *prometheus.CounterVec
	lastReload prometheus.Gauge
	lastGood   prometheus.Gauge
	build      *prometheus.GaugeVec
}

// Build says which hookrun it is.
type Build struct {
	Version string // of hookrun
	Go      string // that it was built with
}

// New makes Metrics that have counted nothing yet.
func New(b Build) *Metrics {
	m := &Metrics{
		buckets: newNames(MaxBuckets, maxGuests), rules: newNames(MaxRules, MaxRules),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookrun_events_total",
			Help: "Events that came, by what became of them; those that were turned away are rejected.",
		}, []string{"bucket", "source", "outcome"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookrun_runs_total", Help: "Runs that came to a final state since the start.",
		}, []string{"rule", "state"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hookrun_run_duration_seconds", Buckets: durationBounds(),
			Help: "Time from the begin of a run's first attempt to its end, of runs that are done or have failed.",
		}, []string{"rule"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookrun_run_wait_seconds", Buckets: waitBounds(),
			Help: "Time from an event to the begin of the first attempt of its run, told when the run ends.",
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookrun_store_commit_seconds", Buckets: commitBounds(),
			Help: "Time of a commit of the store until it is on disk; many events and runs may share one.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookrun_rules_reloads_total", Help: "Rules that were read again after a change, by what became of them.",
		}, []string{"result"}),
		lastReload: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookrun_rules_last_reload_timestamp_seconds", Help: "When the rules in force came into force, as Unix time.",
		}),
		lastGood: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookrun_rules_last_reload_successful", Help: "1 while the rules in force are those of the files, 0 after the files were refused or are held.",
		}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hookrun_build_info", Help: "1; the labels say which hookrun it is.",
		}, []string{"version", "goversion"}),
	}
	for _, r := range []Reload{ReloadOK, ReloadRefused, ReloadHeld} {
		m.reloads.WithLabelValues(string(r)) // 0 is to be seen before the first
	}
	m.lastGood.Set(1) // nothing was read again yet
	m.build.WithLabelValues(b.Version, b.Go).Set(1)
	return m
}

// durationBounds suit a command of milliseconds as well as a build of hours.
func durationBounds() []float64 {
	return []float64{0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600}
}

func waitBounds() []float64 {
	return []float64{0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600}
}

func commitBounds() []float64 {
	return []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5}
}

// Event counts an event that was accepted. Those of its runs that have ended with
// it are told to Run as well.
func (m *Metrics) Event(a *engine.Acceptance) {
	m.events.WithLabelValues(m.buckets.label(a.Event.Bucket), a.Event.Source, string(a.Outcome())).Inc()
}

// Rejected counts an event that was turned away.
func (m *Metrics) Rejected(r engine.Rejection) {
	m.events.WithLabelValues(m.buckets.label(r.Bucket), r.Source, Rejected).Inc()
}

// Run counts a run once it has ended.
func (m *Metrics) Run(r engine.Run) {
	if r.State.Finished() {
		m.ended(&r)
	}
}

func (m *Metrics) ended(r *engine.Run) {
	rule := m.rules.label(r.Rule)
	m.runs.WithLabelValues(rule, string(r.State)).Inc()
	if r.Started.IsZero() || r.Base > 0 { // of one that a person retried the times say nothing of hookrun
		return
	}
	m.waits.Observe(max(r.Started.Sub(r.Created).Seconds(), 0)) // the clock may have been set
	if r.State == engine.Done || r.State == engine.Failed {
		m.durations.WithLabelValues(rule).Observe(max(r.Finished.Sub(r.Started).Seconds(), 0))
	}
}

// Commit counts a commit of the store, and how long it took.
func (m *Metrics) Commit(took time.Duration) { m.commits.Observe(took.Seconds()) }

// Reload counts rules that were read again.
func (m *Metrics) Reload(result Reload) {
	m.reloads.WithLabelValues(string(result)).Inc()
	m.lastGood.Set(one(result == ReloadOK))
}

// InForce notes the rules that came into force at a time: theirs are the names
// that have labels of their own, and a run that is to fail first is seen as a
// rise from 0.
func (m *Metrics) InForce(set *engine.RuleSet, at time.Time) {
	m.lastReload.Set(float64(at.UnixMilli()) / 1000)
	for name := range set.Buckets {
		m.buckets.reserve(name)
	}
	for _, r := range set.Rules {
		for _, name := range r.Buckets {
			m.buckets.reserve(name)
		}
		rule := m.rules.label(r.Name)
		m.runs.WithLabelValues(rule, string(engine.Done))
		m.runs.WithLabelValues(rule, string(engine.Failed))
	}
}

// parts are what Metrics itself counts.
func (m *Metrics) parts() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.runs, m.durations, m.waits, m.commits, m.reloads, m.lastReload, m.lastGood, m.build}
}
