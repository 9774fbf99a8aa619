package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"gopkg.in/yaml.v3"
)

// dashboard is the part of Grafana's model that is checked.
type dashboard struct {
	Title      string
	Templating struct{ List []struct{ Name, Type string } }
	Panels     []struct {
		ID         int
		Title      string
		Type       string
		Datasource struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct{ Expr string }
	}
}

func TestDashboardShowsWhatIsThere(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(Grafana()), &d); err != nil {
		t.Fatal(err)
	}
	if v := d.Templating.List; len(v) == 0 || v[0].Name != "datasource" || v[0].Type != "datasource" {
		t.Errorf("variables %v, want the data source first", v)
	}
	ids := map[int]bool{}
	shown := map[string]bool{}
	for _, p := range d.Panels {
		if p.Title == "" || ids[p.ID] || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q lacks a title, an id of its own, the chosen data source, or something to show", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q stands out of the grid", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range checkQuery(t, target.Expr) {
				shown[name] = true
			}
		}
	}
	for _, want := range []string{
		"hookrun_events_total", "hookrun_runs_total", "hookrun_run_duration_seconds", "hookrun_runs_waiting",
		"hookrun_link_connected", "hookrun_store_commit_seconds", "hookrun_rules_reloads_total",
	} {
		if !shown[want] {
			t.Errorf("no panel shows %s", want)
		}
	}
}

var (
	metricName  = regexp.MustCompile(`\b(?:hookrun|process|go)_[a-z_]+\b`)
	histogramOf = regexp.MustCompile(`_(?:bucket|sum|count)$`)
	selector    = regexp.MustCompile(`(hookrun_[a-z_]+)\{([^}]*)\}`)
	matcher     = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
)

// checkQuery checks that the metrics of a PromQL query are there, and their
// labels, and that its brackets close. It returns the metrics. It is no parser of
// PromQL, which would be all of Prometheus; see TestPromtoolReadsThem.
func checkQuery(t *testing.T, query string) []string {
	t.Helper()
	there := told(t)
	text := scrape(t, full(), calm())
	var names []string
	for _, name := range metricName.FindAllString(query, -1) {
		if base := histogramOf.ReplaceAllString(name, ""); there[base] == "histogram" {
			name = base
		}
		if there[name] == "" {
			t.Errorf("there is no metric %s: %s", name, query)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		t.Errorf("a query without a metric: %s", query)
	}
	for _, m := range selector.FindAllStringSubmatch(query, -1) {
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "instance" && l[1] != "job" && !regexp.MustCompile(`(?m)^`+m[1]+`\{[^}]*\b`+l[1]+`="`).MatchString(text) {
				t.Errorf("%s has no label %s: %s", m[1], l[1], query)
			}
		}
	}
	for _, pair := range []string{"()", "[]", "{}"} {
		if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
			t.Errorf("brackets %s are not closed: %s", pair, query)
		}
	}
	return names
}

// ruleFile is the format of Prometheus' rule files, as far as alerts go.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert       string
			Expr        string
			For         string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func TestAlertsHavePrometheusForm(t *testing.T) {
	d := yaml.NewDecoder(strings.NewReader(Alerts()))
	d.KnownFields(true)
	var f ruleFile
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Hookrun") {
				t.Errorf("alert %q is there twice, or does not begin with Hookrun", r.Alert)
			}
			seen[r.Alert] = true
			checkQuery(t, r.Expr)
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: for: %v", r.Alert, err)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			for _, key := range []string{"summary", "description"} {
				checkAnnotation(t, r.Alert, r.Annotations[key])
			}
		}
	}
	for _, want := range []string{"RelayDown", "RunsFailing", "QueueGrowing", "StoreNotWritable", "Unhealthy", "SelfTestFailing", "RulesNotInForce", "NothingReceived"} {
		if !seen["Hookrun"+want] {
			t.Errorf("there is no alert Hookrun%s", want)
		}
	}
}

// checkAnnotation checks a template with what Prometheus gives to it.
func checkAnnotation(t *testing.T, alert, text string) {
	t.Helper()
	humanize := func(any) string { return "" }
	_, err := template.New(alert).Funcs(template.FuncMap{"humanize": humanize, "humanizeDuration": humanize}).
		Parse("{{ $labels := .Labels }}{{ $value := .Value }}" + text)
	if text == "" || err != nil {
		t.Errorf("%s: annotation %q: %v", alert, text, err)
	}
}

// TestPromtoolReadsThem has Prometheus itself read the alerts, and the queries of
// the dashboard, where it is installed.
func TestPromtoolReadsThem(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for name, rules := range map[string]string{"alerts": Alerts(), "dashboard": dashboardRules(t)} {
		path := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
			t.Errorf("promtool check rules, %s: %v\n%s", name, err, out)
		}
	}
}

// dashboardRules are the queries of the dashboard as rules of Prometheus.
func dashboardRules(t *testing.T) string {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(Grafana()), &d); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	var rules []map[string]string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			rules = append(rules, map[string]string{"record": fmt.Sprintf("query:%d", len(rules)), "expr": variables.Replace(target.Expr)})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
