package metrics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// calm is what a scrape is told of a hookrun that is well.
func calm() Now {
	good := true
	return Now{
		Waiting: func() int { return 3 },
		Running: func() int { return 2 },
		Rules: func() *engine.RuleSet {
			return &engine.RuleSet{Rules: []*engine.Rule{{Name: "a"}, {Name: "b"}, {Name: "c", Shadow: true}}, Off: []*engine.Rule{{Name: "d"}}}
		},
		Link: func() (Link, bool) {
			return Link{Connected: true, LastFrame: time.Unix(1700000000, 0), Webhooks: 7, Lost: 1, Reconnects: 4, SelfTest: &good}, true
		},
		Bytes:   func(context.Context) (int64, error) { return 4096, nil },
		Stores:  func() bool { return true },
		Healthy: func() bool { return true },
	}
}

// scrape is the answer to a scrape.
func scrape(t *testing.T, m *Metrics, now Now) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(now).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d, want 200: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// wantLines checks that each of the lines is in a scrape.
func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %q in:\n%s", want, text)
		}
	}
}

// came is an event of a bucket that started runs in these states.
func came(bucket string, states ...engine.State) *engine.Acceptance {
	a := &engine.Acceptance{Event: &engine.Event{Bucket: bucket, Source: engine.SourceIntake}}
	for _, s := range states {
		a.Runs = append(a.Runs, &engine.Run{Rule: "a", State: s})
		a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: "a", Outcome: engine.Matched})
	}
	return a
}

// take counts what an engine tells of an event.
func take(m *Metrics, a *engine.Acceptance) {
	m.Event(a)
	for _, r := range a.Runs {
		m.Run(*r)
	}
}

// ended is a run that waited for a second and took ten.
func ended(rule string, s engine.State) engine.Run {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	return engine.Run{Rule: rule, State: s, Attempt: 1, Created: at, Started: at.Add(time.Second), Finished: at.Add(11 * time.Second)}
}

// full has counted something of each kind.
func full() *Metrics {
	m := New(Build{Version: "v1.2.3", Go: "go1.26"})
	m.InForce(calm().Rules(), time.Unix(1700000000, 0))
	m.Event(came("deploys", engine.Queued))
	m.Rejected(engine.Rejection{Bucket: "deploys", Source: engine.SourceRelay})
	m.Run(ended("a", engine.Done))
	m.Commit(2 * time.Millisecond)
	return m
}

// TestAnEngineIsCountedOnce: a run that ends with its event is told of once.
func TestAnEngineIsCountedOnce(t *testing.T) {
	compiler := engine.NewCompiler(engine.World{})
	same, _ := compiler.Key("1")
	a := &engine.Rule{Name: "a", Dedupe: &engine.Dedupe{Key: same, Within: time.Hour}, Steps: []engine.Step{{ID: "1", Action: &enginetest.Action{}}}}
	b := &engine.Rule{Name: "b", Shadow: true, Steps: []engine.Step{{ID: "1", Action: &enginetest.Action{}}}}
	m := New(Build{})
	e, err := engine.Open(t.Context(), engine.Options{
		Store: &enginetest.MemStore{}, Rules: engine.NewRuleSet([]*engine.Rule{a, b}, "h"), OnEvent: m.Event, OnChange: m.Run,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := e.Submit(t.Context(), &engine.Event{Bucket: "deploys", Source: engine.SourceIntake}); err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, scrape(t, m, calm()),
		`hookrun_events_total{bucket="deploys",outcome="started",source="intake"} 1`,
		`hookrun_events_total{bucket="deploys",outcome="suppressed",source="intake"} 2`,
		`hookrun_runs_total{rule="a",state="duplicate"} 2`,
		`hookrun_runs_total{rule="b",state="shadow"} 3`)
}

func TestEventsAreCountedByOutcome(t *testing.T) {
	m := New(Build{})
	take(m, came("deploys", engine.Queued))
	take(m, came("deploys", engine.Queued, engine.Duplicate))
	take(m, came("deploys", engine.Duplicate))
	take(m, came("deploys", engine.Shadow))
	take(m, came("deploys"))
	m.Rejected(engine.Rejection{Bucket: "deploys", Source: engine.SourceRelay})
	wantLines(t, scrape(t, m, calm()),
		`hookrun_events_total{bucket="deploys",outcome="started",source="intake"} 2`,
		`hookrun_events_total{bucket="deploys",outcome="suppressed",source="intake"} 1`,
		`hookrun_events_total{bucket="deploys",outcome="shadow",source="intake"} 1`,
		`hookrun_events_total{bucket="deploys",outcome="unmatched",source="intake"} 1`,
		`hookrun_events_total{bucket="deploys",outcome="rejected",source="relay"} 1`,
		`hookrun_runs_total{rule="a",state="duplicate"} 2`,
		`hookrun_runs_total{rule="a",state="shadow"} 1`,
	)
}

func TestRunsAreCountedWhenTheyEnd(t *testing.T) {
	m := New(Build{})
	m.InForce(&engine.RuleSet{Rules: []*engine.Rule{{Name: "quiet"}}}, time.Unix(1700000000, 0))
	for _, s := range []engine.State{engine.Queued, engine.Running, engine.Done} {
		m.Run(ended("a", s))
	}
	m.Run(ended("a", engine.Cancelled))
	retried := ended("a", engine.Done)
	retried.Base, retried.Finished = 1, retried.Finished.Add(24*time.Hour)
	m.Run(retried)
	back := ended("a", engine.Failed)
	back.Started, back.Finished = back.Created.Add(-time.Hour), back.Created.Add(-2*time.Hour) // the clock was set
	m.Run(back)
	wantLines(t, scrape(t, m, calm()),
		`hookrun_runs_total{rule="a",state="done"} 2`,
		`hookrun_runs_total{rule="a",state="cancelled"} 1`,
		`hookrun_runs_total{rule="a",state="failed"} 1`,
		`hookrun_runs_total{rule="quiet",state="failed"} 0`,
		`hookrun_run_duration_seconds_count{rule="a"} 2`,
		`hookrun_run_duration_seconds_sum{rule="a"} 10`,
		`hookrun_run_wait_seconds_count 3`,
		`hookrun_run_wait_seconds_sum 2`,
	)
}

func TestScrapeTellsHowItIsNow(t *testing.T) {
	text := scrape(t, full(), calm())
	wantLines(t, text,
		`hookrun_runs_waiting 3`, `hookrun_runs_running 2`,
		`hookrun_rules{mode="live"} 2`, `hookrun_rules{mode="shadow"} 1`, `hookrun_rules{mode="off"} 1`,
		`hookrun_link_connected 1`, `hookrun_link_webhooks_total 7`, `hookrun_link_lost_total 1`, `hookrun_link_reconnects_total 4`,
		`hookrun_link_last_frame_timestamp_seconds 1.7e+09`, `hookrun_link_self_test_ok 1`,
		`hookrun_store_bytes 4096`, `hookrun_store_writable 1`, `hookrun_healthy 1`, `hookrun_store_commit_seconds_count 1`,
		`hookrun_rules_last_reload_timestamp_seconds 1.7e+09`, `hookrun_build_info{goversion="go1.26",version="v1.2.3"} 1`,
	)
	now := calm()
	now.Link = func() (Link, bool) { return Link{}, false }
	if text := scrape(t, full(), now); strings.Contains(text, "hookrun_link_") {
		t.Errorf("a hookrun without a relay tells of one:\n%s", text)
	}
}

func TestReloads(t *testing.T) {
	for _, tt := range []struct {
		name    string
		reloads []Reload
		good    int // last_reload_successful
		ok      int
	}{
		{"none yet", nil, 1, 0},
		{"refused", []Reload{ReloadOK, ReloadRefused}, 0, 1},
		{"held", []Reload{ReloadHeld}, 0, 0},
		{"mended", []Reload{ReloadRefused, ReloadOK}, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := New(Build{})
			for _, r := range tt.reloads {
				m.Reload(r)
			}
			wantLines(t, scrape(t, m, calm()),
				fmt.Sprintf("hookrun_rules_last_reload_successful %d", tt.good), fmt.Sprintf(`hookrun_rules_reloads_total{result="ok"} %d`, tt.ok))
		})
	}
}

// TestStrangersCannotMakeLabels: who may send to any bucket may name any.
func TestStrangersCannotMakeLabels(t *testing.T) {
	m := New(Build{})
	for i := range 1000 {
		m.Rejected(engine.Rejection{Bucket: fmt.Sprintf("guess-%d", i)})
	}
	set := &engine.RuleSet{Buckets: map[string]*engine.Bucket{"said": {}}, Rules: []*engine.Rule{{Name: "a", Buckets: []string{"named"}}}}
	m.InForce(set, time.Now())
	for _, bucket := range []string{"said", "named", "unnamed"} {
		m.Event(came(bucket, engine.Queued))
	}
	for i := range 1000 {
		m.Run(ended(fmt.Sprintf("rule %d", i), engine.Cancelled))
	}
	text := scrape(t, m, calm())
	wantLines(t, text,
		`hookrun_events_total{bucket="said",outcome="started",source="intake"} 1`,
		`hookrun_events_total{bucket="named",outcome="started",source="intake"} 1`,
		`hookrun_events_total{bucket="other",outcome="started",source="intake"} 1`,
		fmt.Sprintf(`hookrun_events_total{bucket="other",outcome="rejected",source=""} %d`, 1000-maxGuests),
		fmt.Sprintf(`hookrun_runs_total{rule="other",state="cancelled"} %d`, 1001-MaxRules),
	)
	if got, want := strings.Count(text, "hookrun_events_total{"), maxGuests+4; got != want {
		t.Errorf("events_total has %d series, want %d", got, want)
	}
}

func TestABucketOfTheRulesIsNoGuest(t *testing.T) {
	n := newNames(3, 1)
	n.label("a")
	n.reserve("a") // the rules have come to name it
	if got := n.label("b"); got != "b" {
		t.Errorf("label(b) = %q, want it: there is room for a guest again", got)
	}
	n.reserve("c")
	n.reserve("d")
	for _, name := range []string{"a", "b", "c"} {
		if got := n.label(name); got != name {
			t.Errorf("label(%s) = %q, want it", name, got)
		}
	}
	if got := n.label("d"); got != Other {
		t.Errorf("label(d) = %q, want %q: there is room for 3", got, Other)
	}
}

func TestAStoreThatCannotBeMeasuredHidesNothingElse(t *testing.T) {
	now := calm()
	now.Bytes = func(context.Context) (int64, error) { return 0, errors.New("disk") }
	text := scrape(t, full(), now)
	wantLines(t, text, "hookrun_runs_waiting 3")
	if strings.Contains(text, "\nhookrun_store_bytes ") {
		t.Errorf("the size of the store is told all the same:\n%s", text)
	}
}

func TestNamesKeepToTheConventions(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, full(), calm()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "hookrun_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)

// told are the names of all that a scrape tells, with their types.
func told(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(scrape(t, full(), calm()), -1) {
		names[m[1]] = m[2]
	}
	return names
}

func TestReadmeTellsEachMetric(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := told(t)
	for name := range names {
		if strings.HasPrefix(name, "hookrun_") && !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+name+"{") {
			t.Errorf("the README does not tell of %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`(hookrun_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(m[1], "hookrun_relay_") && names[m[1]] == "" {
			t.Errorf("the README tells of %s, which is not there; there are %q", m[1], slices.Sorted(maps.Keys(names)))
		}
	}
}
