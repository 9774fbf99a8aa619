package metrics

import _ "embed" // for the two files

//go:embed grafana.json
var grafana string

//go:embed alerts.yaml
var alerts string

// Grafana is a dashboard for Grafana, as JSON to import.
func Grafana() string { return grafana }

// Alerts is a file of alert rules for Prometheus.
func Alerts() string { return alerts }
