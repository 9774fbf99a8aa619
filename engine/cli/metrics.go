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

	"hookrun/engine/control"
	"hookrun/engine/metrics"
	"hookrun/relay/server"
)

// watchTimeout bounds each part of a request of those who watch a hookrun.
const watchTimeout = 10 * time.Second

// watching is where others see how a hookrun is: /metrics, in the text format of
// Prometheus, and /healthz.
type watching struct {
	health  func() server.Health
	metrics http.Handler
	log     *slog.Logger
}

// serve answers at ln until ctx ends, and closes it.
func (w *watching) serve(ctx context.Context, ln net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.metrics)
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

// scrapes answers those of Prometheus.
func (r *running) scrapes() http.Handler {
	return r.metrics.Handler(metrics.Now{
		Waiting: r.engine.Waiting,
		Running: r.engine.Working,
		Rules:   r.engine.Rules,
		Link:    r.relay.measures,
		Bytes:   func(context.Context) (int64, error) { return r.store.Size() },
		Stores:  func() bool { return r.store.Health() == nil },
		Healthy: func() bool { return r.health().OK },
		Log:     r.log,
	})
}

// measures are what Prometheus is told of the relay's connection.
func (l *relayLink) measures() (metrics.Link, bool) {
	s, tested, ok := l.status()
	if !ok {
		return metrics.Link{}, false
	}
	link := metrics.Link{Connected: s.Connected, LastFrame: s.LastFrame, Webhooks: s.Received, Lost: s.Lost, Reconnects: s.Reconnects}
	if tested != nil {
		good := tested.failed() == nil
		link.SelfTest = &good
	}
	return link, true
}

// countHeld counts rules that on_reload holds.
func (r *running) countHeld(n control.Notice) {
	if n.Rules != nil && !n.Rules.Current {
		r.metrics.Reload(metrics.ReloadHeld)
	}
}

// each is what calls all of the functions in turn.
func each[T any](all ...func(T)) func(T) {
	return func(v T) {
		for _, fn := range all {
			fn(v)
		}
	}
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
