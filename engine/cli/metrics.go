package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hookrun/engine"
	"hookrun/relay/server"
)

// watchTimeout bounds each part of a request of those who watch a hookrun.
const watchTimeout = 10 * time.Second

// watching is where others see how a hookrun is: /metrics, in the text format of
// Prometheus, and /healthz.
type watching struct {
	health func() server.Health
	gauges *gauges
	log    *slog.Logger
}

// serve answers at ln until ctx ends, and closes it.
func (w *watching) serve(ctx context.Context, ln net.Listener) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.gauges, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: watchTimeout}))
	mux.HandleFunc("GET /healthz", w.healthz)
	srv := &http.Server{
		Handler: mux, ReadTimeout: watchTimeout, WriteTimeout: 2 * watchTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		w.log.Error("nobody can see how hookrun is any more", "err", err)
	}
}

func (w *watching) healthz(rw http.ResponseWriter, _ *http.Request) {
	h := w.health()
	rw.Header().Set("Content-Type", "application/json")
	if !h.OK {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(rw).Encode(h) // who hung up can't be told anything
}

// gauges are asked at each scrape.
type gauges struct {
	engine *engine.Engine
	link   *relayLink

	connected, lastFrame, webhooks, lost, reconnects, tested *prometheus.Desc
	ended, waiting                                           *prometheus.Desc
}

func newGauges(e *engine.Engine, link *relayLink) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hookrun_"+name, help, labels, nil)
	}
	return &gauges{
		engine: e, link: link,
		connected:  desc("link_connected", "1 while the relay has confirmed the subscription and the connection lives."),
		lastFrame:  desc("link_last_frame_timestamp_seconds", "When the last frame of the relay came, as Unix time; 0 before the first."),
		webhooks:   desc("link_webhooks_total", "Webhooks that came from the relay, those that it sent again too."),
		lost:       desc("link_lost_total", "Webhooks that the relay says were lost before they could be sent."),
		reconnects: desc("link_reconnects_total", "Connections to the relay after the first."),
		tested:     desc("link_self_test_ok", "0 while the last self test of the relay failed; only with self_test."),
		ended:      desc("runs_total", "Runs that came to a final state since the start.", "state"),
		waiting:    desc("runs_waiting", "Runs that wait or are at work."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.connected, g.lastFrame, g.webhooks, g.lost, g.reconnects, g.tested, g.ended, g.waiting} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, n, labels...)
	}
	for state, n := range g.engine.Counts() {
		put(g.ended, prometheus.CounterValue, float64(n), string(state))
	}
	put(g.waiting, prometheus.GaugeValue, float64(g.engine.Waiting()))
	s, tested, ok := g.link.status()
	if !ok {
		return // there is no relay
	}
	put(g.connected, prometheus.GaugeValue, one(s.Connected))
	at := 0.0
	if !s.LastFrame.IsZero() {
		at = float64(s.LastFrame.UnixMilli()) / 1000
	}
	put(g.lastFrame, prometheus.GaugeValue, at)
	put(g.webhooks, prometheus.CounterValue, float64(s.Received))
	put(g.lost, prometheus.CounterValue, float64(s.Lost))
	put(g.reconnects, prometheus.CounterValue, float64(s.Reconnects))
	if tested != nil {
		put(g.tested, prometheus.GaugeValue, one(tested.failed() == nil))
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// watched opens the port of -metrics; nil where there is to be none.
func watched(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, withHint(fmt.Errorf("-metrics: %w", err), "%s", listenHint(address, err))
	}
	return ln, nil
}
