package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/actions"
	"hookrun/engine"
)

// control loads the file that has every key of runs under control.
func control(t *testing.T) *Generation {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "rules", "good", "control.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(data), testOptions(t))
}

func TestControlOfARuleIsWhatItsFileSays(t *testing.T) {
	g := control(t)
	deploy, alerts := g.Rules.Rule("deploy"), g.Rules.Rule("alerts")
	beside, resolved := g.Rules.Rule("beside each other"), g.Rules.Rule("resolved")
	tests := []struct {
		name string
		got  any
		want string
	}{
		{"max_runs", g.Rules.MaxRuns, "8"},
		{"queue_limit", g.Rules.QueueLimit, "5000"},

		{"concurrency", deploy.Concurrency, "{None:false Group:box Key:body.repository.full_name Limit:2 OnBusy:latest}"},
		{"dedupe", deploy.Dedupe, `&{Key:headers["X-GitHub-Delivery"] Within:24h0m0s}`},
		{"throttle", deploy.Throttle, "&{Every:30s Key:body.ref Last:true}"},
		{"at_most", deploy.AtMost, "&{Runs:10 Per:1h0m0s Key:body.ref}"},
		{"retry", deploy.Retry, `{Attempts:3 If:error contains "timeout" || steps.build.exit_code == 75 Backoff:1s Max:5m0s}`},
		{"no for_each", deploy.ForEach, "<nil>"},
		{"no cancels", deploy.Cancels, "[]"},

		{"for_each", alerts.ForEach, `&{List:filter(body.alerts, .status == "firing") As:alert Key:alert.fingerprint}`},
		{"key of an element", alerts.Concurrency, "{None:false Group: Key:alert.labels.host Limit:0 OnBusy:}"},
		{"dedupe of an element", alerts.Dedupe, "&{Key:alert.fingerprint + alert.startsAt Within:720h0m0s}"},
		{"throttle of an element", alerts.Throttle, "&{Every:1m0s Key:alert.fingerprint Last:false}"},
		{"at_most of an element", alerts.AtMost, "&{Runs:100 Per:1h0m0s Key:alert.labels.host}"},
		{"retry of an element", alerts.Retry, `{Attempts:3 If:alert.labels.severity == "page" Backoff:1s Max:0s}`},

		{"concurrency: none", beside.Concurrency.None, "true"},
		{"throttle by default", beside.Throttle, "&{Every:10s Key:<nil> Last:false}"},
		{"cancels of several", beside.Cancels, "[{Rule:deploy Key:body.repository.full_name} {Rule:off Key:body.repository.full_name}]"},
		{"list of cancels", resolved.Cancels, "[{Rule:alerts Key:a.labels.host} {Rule:later Key:<nil>}]"},
		{"only cancels", resolved.Steps, "[]"},
		{"defaults", beside.Retry, "{Attempts:2 If:<nil> Backoff:1s Max:0s}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprintf("%+v", tt.got); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
		})
	}
}

// stepText shows what a rule says of a step, beside what it does.
func stepText(s engine.Step) string {
	text := fmt.Sprintf("%s %s %s/%s", s.ID, s.Action.Kind(), s.OnInterrupt, s.OnCrash)
	if s.ContinueOnError {
		text += " continue"
	}
	if s.Retry != nil {
		text += fmt.Sprintf(" %+v", *s.Retry)
	}
	if len(s.Outputs) > 0 {
		text += fmt.Sprint(" ", s.Outputs)
	}
	return text
}

func TestStepsOfARuleAreWhatItsFileSays(t *testing.T) {
	r := control(t).Rules.Rule("deploy")
	tests := []struct {
		name  string
		steps []engine.Step
		want  []string
	}{
		{"actions", r.Steps, []string{
			"build exec resume/fail {Attempts:5 If:steps.build.exit_code != 2 Backoff:1s Max:5m0s} [version digest]",
			`2 exec done/resume continue {Attempts:3 If:error contains "timeout" || steps.build.exit_code == 75 Backoff:3s Max:5m0s}`,
			"3 shell done/fail [url]",
			"4 exec done/fail",
		}},
		{"on_success", r.OnSuccess, []string{"on_success.1 http done/fail continue"}},
		{"on_failure", r.OnFailure, []string{
			"on_failure.1 exec done/resume", "told exec done/fail [ticket]", "on_failure.3 exec done/fail", "on_failure.4 exec done/fail",
		}},
		{"always", r.Always, []string{"always.1 exec done/fail"}},
		{"on_trip", r.OnTrip, []string{"on_trip.1 exec done/fail", "tripped file done/fail"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range tt.steps {
				got = append(got, stepText(s))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("steps = %q, want %q", got, tt.want)
			}
		})
	}
	if x := r.Steps[0].Action.(*actions.Exec); !slices.Equal(x.Outputs, []string{"version", "digest"}) || x.Detach {
		t.Errorf("outputs of the command = %q, detached: %v", x.Outputs, x.Detach)
	}
	if x := r.Steps[2].Action.(*actions.Shell); !slices.Equal(x.Outputs, []string{"url"}) {
		t.Errorf("outputs of the script = %q", x.Outputs)
	}
	if f := r.OnTrip[1].Action.(*actions.File); len(f.Guard) == 0 {
		t.Error("nothing is guarded from a file that a closing action writes")
	}
}

// TestKeysOfClosingActionsAreTheirOwn: a retry must not take one for an action.
func TestKeysOfClosingActionsAreTheirOwn(t *testing.T) {
	r := parse(t, "rules: [{name: a, actions: [{exec: [make]}], on_failure: [{exec: [make]}, {exec: [make]}, {id: x, exec: [make]}], always: [{exec: [make]}]}]",
		testOptions(t)).Rules.Rules[0]
	make := r.Steps[0].Key
	var got []string
	for _, s := range slices.Concat(r.OnFailure, r.Always) {
		got = append(got, s.Key)
	}
	if want := []string{"on_failure/" + make, "on_failure/" + make + "#2", "on_failure/id:x", "always/" + make}; !slices.Equal(got, want) {
		t.Errorf("keys = %q, want %q", got, want)
	}
}

// TestKeyOfAnActionIsOfWhatItDoes: how often it is tried is no part of that.
func TestKeyOfAnActionIsOfWhatItDoes(t *testing.T) {
	key := func(action string) string {
		return parse(t, "rules: [{name: a, actions: ["+action+"]}]", testOptions(t)).Rules.Rules[0].Steps[0].Key
	}
	want := key("{exec: [make]}")
	if got := key("{exec: [make], retry: {attempts: 5}, continue_on_error: true, on_interrupt: done, on_crash: fail}"); got != want {
		t.Error("another key for the same command, tried more often")
	}
	for _, other := range []string{"{exec: [make], outputs: [a]}", "{exec: [make], env: {A: b}}"} {
		if got := key(other); got == want {
			t.Errorf("the key of another command for %s", other)
		}
	}
}

func TestDetachNeedsUnix(t *testing.T) {
	const text = "rules: [{name: a, actions: [{exec: [make], detach: true}, {shell: make, detach: true}, {exec: [make]}]}]"
	if runtime.GOOS == "windows" {
		if got := problemsOf(t, text, testOptions(t)); !strings.HasPrefix(got, `rules.yaml:1:58: rule "a": detach needs a Unix system`) {
			t.Errorf("problems = %s", got)
		}
		return
	}
	steps := parse(t, text, testOptions(t)).Rules.Rules[0].Steps
	if !steps[0].Action.(*actions.Exec).Detach || !steps[1].Action.(*actions.Shell).Detach || steps[2].Action.(*actions.Exec).Detach {
		t.Errorf("steps = %+v, want the first two detached", steps)
	}
}

// TestHashOfARuleIsOfEveryKey adds one key after the other, and changes what is
// in it.
func TestHashOfARuleIsOfEveryKey(t *testing.T) {
	hash := func(t *testing.T, keys string) string {
		return parse(t, "rules: [{name: a, actions: [{id: build, exec: [make]}], "+keys+"}]", testOptions(t)).Rules.Rules[0].Hash
	}
	seen := map[string]string{hash(t, "stop: false"): "none"}
	for _, keys := range []string{
		"concurrency: none",
		"concurrency: {limit: 1}", "concurrency: {limit: 2}", "concurrency: {group: g}", "concurrency: {key: body.a}", "concurrency: {on_busy: skip}",
		"retry: {attempts: 2}", "retry: {attempts: 2, if: error == 'a'}", "retry: {attempts: 2, if: error == 'b'}",
		"dedupe: {key: body.a, within: 1h}", "dedupe: {key: body.b, within: 1h}", "dedupe: {key: body.a, within: 2h}",
		"throttle: {every: 1m}", "throttle: {every: 2m}", "throttle: {every: 1m, mode: last}", "throttle: {every: 1m, key: body.a}",
		"at_most: {runs: 1, per: 1h}", "at_most: {runs: 2, per: 1h}", "at_most: {runs: 1, per: 1h, key: body.a}", "at_most: {runs: 1, per: 1h, on_trip: [{exec: [make]}]}",
		"for_each: {list: body.a, as: x}", "for_each: {list: body.b, as: x}", "for_each: {list: body.a, as: y}", "for_each: {list: body.a, as: x, key: x.id}",
		"cancels: {rule: a}", "cancels: {rule: a, key: body.a}",
		"on_success: [{exec: [make]}]", "on_failure: [{exec: [make]}]", "always: [{exec: [make]}]", "always: [{exec: [echo]}]",
		"on_interrupt: done", "on_interrupt: fail", "on_crash: fail",
	} {
		t.Run(keys, func(t *testing.T) {
			h := hash(t, keys)
			if other, twice := seen[h]; twice {
				t.Errorf("the hash is that of %s", other)
			}
			seen[h] = keys
		})
	}
	for _, keys := range []string{"retry: {attempts: 2, if: \"error == 'a'\"}", "retry: {if: error == 'a', attempts: 2}", "always: [{exec: [\"make\"]}] # a comment\n"} {
		if seen[hash(t, keys)] == "" {
			t.Errorf("another hash for %s", keys)
		}
	}
}

// TestHashOfTheSetIsOfItsNumbers: an edit of one of them alone is one.
func TestHashOfTheSetIsOfItsNumbers(t *testing.T) {
	const rule = "rules: [{name: a, actions: [{exec: [make]}]}]"
	seen := map[string]string{}
	for _, top := range []string{"", "max_runs: 3\n", "max_runs: 4\n", "queue_limit: 3\n", "max_runs: 3\nqueue_limit: 4\n"} {
		g := parse(t, top+rule, testOptions(t))
		if other, twice := seen[g.Rules.Hash]; twice {
			t.Errorf("%q has the hash of %q", top, other)
		}
		seen[g.Rules.Hash] = top
	}
}

// TestOneFileSaysTheNumbers: they are for the whole of a generation.
func TestOneFileSaysTheNumbers(t *testing.T) {
	const rule = "rules: [{name: %s, actions: [{exec: [make]}]}]"
	files := []File{
		{"a.yaml", []byte("max_runs: 3\nqueue_limit: 10000000\n" + fmt.Sprintf(rule, "a"))},
		{"b.yaml", []byte("max_runs: 3\n" + fmt.Sprintf(rule, "b"))},
	}
	_, problems := Parse(files, testOptions(t))
	if len(problems) != 1 || problems[0].String() != "b.yaml:1:11: max_runs is set in a.yaml:1 already" {
		t.Errorf("problems = %v", problems)
	}
}

// TestReferencesReachOverFiles: a rule may end the runs of one that another file
// holds.
func TestReferencesReachOverFiles(t *testing.T) {
	files := []File{
		{"a.yaml", []byte("rules: [{name: a, cancels: {rule: b, key: body.id}}]")},
		{"b.yaml", []byte("rules: [{name: b, for_each: {list: body.l, as: x, key: x.id}, actions: [{exec: [make]}]}]")},
	}
	g, problems := Parse(files, testOptions(t))
	if len(trusting(problems)) > 0 {
		t.Fatalf("problems = %v", problems)
	}
	if c := g.Rules.Rule("a").Cancels; len(c) != 1 || c[0].Rule != "b" || c[0].Key.String() != "body.id" {
		t.Errorf("cancels = %+v", c)
	}
}

// TestElementIsSeen evaluates what sees the element of for_each.
func TestElementIsSeen(t *testing.T) {
	r := control(t).Rules.Rule("alerts")
	ev := &engine.Event{
		Method: "POST", Received: time.Unix(0, 0),
		Header: map[string][]string{"Content-Type": {"application/json"}},
		Body:   []byte(`{"alerts":[{"status":"firing","fingerprint":"f1","startsAt":"now","labels":{"severity":"page"}}]}`),
	}
	scope := engine.NewScope(ev).With(engine.View{Element: &engine.Element{
		As: "alert", Value: map[string]any{"fingerprint": "f1", "startsAt": "now", "labels": map[string]any{"severity": "page"}},
	}})
	if got, err := r.Dedupe.Key.Eval(scope); got != "f1now" || err != nil {
		t.Errorf("key of dedupe = %q, %v", got, err)
	}
	if ok, _, err := r.Steps[0].If.Eval(scope); !ok || err != nil {
		t.Errorf("if = %v, %v", ok, err)
	}
	if ok, _, err := r.When.Eval(engine.NewScope(ev)); !ok || err != nil {
		t.Errorf("when = %v, %v", ok, err)
	}
}
