// Package metrics tells Prometheus what a hookrun does, and keeps the dashboard
// and the alert rules that go with it.
//
//	engine.Options.OnEvent, OnReject, OnChange ─► Metrics counts as it happens
//	a scrape ─► Handler ─► what Metrics has counted, and what Now is asked
//
// Names and units are those of prometheus.io/docs/practices/naming. A label never
// holds what a sender may choose without a bound: beyond a number of buckets and
// of rules all others are counted together, as Other.
package metrics
