package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hookrun/engine"
)

// timeout bounds one scrape.
const timeout = 10 * time.Second

// Now is what is asked at each scrape. All of it is required but Log.
type Now struct {
	Waiting func() int // runs that wait for their turn
	Running func() int // runs that are at work
	Rules   func() *engine.RuleSet
	Link    func() (link Link, ok bool) // how the relay is; ok is false where there is none
	Bytes   func(context.Context) (int64, error)
	Stores  func() bool // whether events are taken
	Healthy func() bool // what /healthz says

	Log *slog.Logger // nil: nothing is logged
}

// Link is how the connection to the relay is.
type Link struct {
	Connected  bool
	LastFrame  time.Time // zero before the first
	Webhooks   int64
	Lost       int64
	Reconnects int64
	SelfTest   *bool // whether the last one was good; nil: there are none
}

// Handler answers a scrape. Several may be made of one Metrics.
func (m *Metrics) Handler(now Now) http.Handler {
	if now.Log == nil {
		now.Log = slog.New(slog.DiscardHandler)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m.parts()...)
	r.MustRegister(newCollector(now), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(now.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 2, Timeout: timeout,
	})
}

// collector asks at each scrape.
type collector struct {
	now Now

	waiting, running, rules, bytes, stores, healthy          *prometheus.Desc
	connected, lastFrame, webhooks, lost, reconnects, tested *prometheus.Desc
}

func newCollector(now Now) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hookrun_"+name, help, labels, nil)
	}
	return &collector{
		now:        now,
		waiting:    desc("runs_waiting", "Runs that wait for their turn: the depth of the queue."),
		running:    desc("runs_running", "Runs that are at work."),
		rules:      desc("rules", "Rules that the files hold: live, shadow, or off.", "mode"),
		bytes:      desc("store_bytes", "Size of the store on disk."),
		stores:     desc("store_writable", "1 while the store takes events, 0 while senders are told to come again."),
		healthy:    desc("healthy", "1 while /healthz says that all is well."),
		connected:  desc("link_connected", "1 while the relay has confirmed the subscription and the connection lives."),
		lastFrame:  desc("link_last_frame_timestamp_seconds", "When the last frame of the relay came, as Unix time; 0 before the first."),
		webhooks:   desc("link_webhooks_total", "Webhooks that came from the relay, those that it sent again too."),
		lost:       desc("link_lost_total", "Webhooks that the relay says were lost before they could be sent."),
		reconnects: desc("link_reconnects_total", "Connections to the relay after the first."),
		tested:     desc("link_self_test_ok", "0 while the last self test of the relay failed; only with self_test."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.waiting, c.running, c.rules, c.bytes, c.stores, c.healthy,
		c.connected, c.lastFrame, c.webhooks, c.lost, c.reconnects, c.tested,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	gauge(c.waiting, float64(c.now.Waiting()))
	gauge(c.running, float64(c.now.Running()))
	gauge(c.stores, one(c.now.Stores()))
	gauge(c.healthy, one(c.now.Healthy()))
	for mode, n := range modes(c.now.Rules()) {
		gauge(c.rules, float64(n), mode)
	}
	if link, ok := c.now.Link(); ok {
		c.link(out, link)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	size, err := c.now.Bytes(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.bytes, fmt.Errorf("size of the store: %w", err))
		return
	}
	gauge(c.bytes, float64(size))
}

func (c *collector) link(out chan<- prometheus.Metric, l Link) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, n float64) {
		out <- prometheus.MustNewConstMetric(d, kind, n)
	}
	at := 0.0
	if !l.LastFrame.IsZero() {
		at = float64(l.LastFrame.UnixMilli()) / 1000
	}
	put(c.connected, prometheus.GaugeValue, one(l.Connected))
	put(c.lastFrame, prometheus.GaugeValue, at)
	put(c.webhooks, prometheus.CounterValue, float64(l.Webhooks))
	put(c.lost, prometheus.CounterValue, float64(l.Lost))
	put(c.reconnects, prometheus.CounterValue, float64(l.Reconnects))
	if l.SelfTest != nil {
		put(c.tested, prometheus.GaugeValue, one(*l.SelfTest))
	}
}

// modes counts the rules by their mode.
func modes(set *engine.RuleSet) map[string]int {
	n := map[string]int{"live": 0, "shadow": 0, "off": len(set.Off)}
	for _, r := range set.Rules {
		if r.Shadow {
			n["shadow"]++
		} else {
			n["live"]++
		}
	}
	return n
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
