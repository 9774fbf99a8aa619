// Package metrics shows what a relay does in the text format of Prometheus
// (prometheus.io/docs/instrumenting/exposition_formats). It counts nothing by
// itself: each scrape asks the hub.
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

	"hookrun/relay/account"
	"hookrun/relay/hub"
)

// timeout bounds one scrape.
const timeout = 10 * time.Second

// Kept is what the store holds.
type Kept struct {
	Deliveries int64
	Bytes      int64
}

// Options of Handler. All but Log are required.
type Options struct {
	Book  func() *account.Account
	Stats func(ctx context.Context) (map[string]hub.Stats, error) // by bucket id
	Kept  func(ctx context.Context) (Kept, error)

	// TurnedAway is how many requests were not taken as webhooks, by why.
	TurnedAway func() map[string]int64

	Log *slog.Logger // nil: nothing is logged
}

// Handler answers a scrape.
func Handler(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(o), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 2, Timeout: timeout,
	})
}

// collector asks the hub at each scrape.
type collector struct {
	o       Options
	buckets []series
	kept    *prometheus.Desc
	bytes   *prometheus.Desc
	away    *prometheus.Desc
}

// series is one number of each bucket.
type series struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(hub.Stats) int64
}

func newCollector(o Options) *collector {
	counter := func(name, help string, of func(hub.Stats) int64) series {
		return series{prometheus.NewDesc("hookrun_relay_"+name, help, []string{"bucket"}, nil), prometheus.CounterValue, of}
	}
	gauge := func(name, help string, of func(hub.Stats) int64) series {
		s := counter(name, help, of)
		s.kind = prometheus.GaugeValue
		return s
	}
	return &collector{
		o: o,
		buckets: []series{
			counter("received_total", "Deliveries that came in.", func(s hub.Stats) int64 { return s.Received }),
			counter("delivered_total", "Deliveries handed to a subscriber or taken by a destination.", func(s hub.Stats) int64 { return s.Delivered }),
			counter("acked_total", "Deliveries that a client acknowledged.", func(s hub.Stats) int64 { return s.Acked }),
			counter("resent_total", "Deliveries handed out once more, as they were not acknowledged.", func(s hub.Stats) int64 { return s.Resent }),
			counter("dropped_total", "Deliveries that a subscriber did not get: it read too slowly, or retention was first.", func(s hub.Stats) int64 { return s.Dropped }),
			counter("slow_total", "Subscribers cut off for reading too slowly.", func(s hub.Stats) int64 { return s.Slow }),
			gauge("waiting", "Deliveries that the acknowledging client furthest behind has not acknowledged.", func(s hub.Stats) int64 { return s.Waiting }),
			gauge("subscribers", "Clients that are connected and subscribed.", func(s hub.Stats) int64 { return int64(s.Subscribers) }),
		},
		kept:  prometheus.NewDesc("hookrun_relay_kept_deliveries", "Deliveries in the store.", nil, nil),
		bytes: prometheus.NewDesc("hookrun_relay_kept_bytes", "Bytes of the store in use.", nil, nil),
		away:  prometheus.NewDesc("hookrun_relay_turned_away_total", "Requests that were not taken as webhooks.", []string{"why"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, s := range c.buckets {
		out <- s.desc
	}
	out <- c.kept
	out <- c.bytes
	out <- c.away
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for why, n := range c.o.TurnedAway() {
		out <- prometheus.MustNewConstMetric(c.away, prometheus.CounterValue, float64(n), why)
	}
	stats, err := c.o.Stats(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.buckets[0].desc, fmt.Errorf("ask the hub: %w", err))
		return
	}
	a := c.o.Book()
	for id, s := range stats {
		b := a.Bucket(id)
		if b == nil {
			continue
		}
		for _, m := range c.buckets {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.of(s)), b.Name)
		}
	}
	kept, err := c.o.Kept(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.kept, fmt.Errorf("ask the store: %w", err))
		return
	}
	out <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(kept.Deliveries))
	out <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(kept.Bytes))
}
