package rules

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
)

// ruleSet parses rules that are good.
func ruleSet(t testing.TB, o Options, text string) *engine.RuleSet {
	t.Helper()
	g, problems := Parse([]File{{"rules.yaml", []byte(text)}}, o)
	if g == nil {
		t.Fatalf("the rules are refused: %v", problems)
	}
	return g.Rules
}

func push(body string) *engine.Event {
	return &engine.Event{
		ID: "ev1", Received: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Source: engine.SourceIntake,
		Bucket: "deploys", Method: "POST", Path: "/", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body),
	}
}

// planText is a plan as its JSON, with the daemon's folder as DIR.
func planText(t testing.TB, p any, dir string) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), dir, "DIR")
}

// TestPlannedSteps holds what the actions of a rule would do: the whole, as JSON.
func TestPlannedSteps(t *testing.T) {
	const first = "\n- {id: a, exec: [make], outputs: [v, url]}"
	tests := []struct {
		name, actions, body string
		want                []string // from the second action on, where there is one
	}{
		{
			"every kind", `
- exec: [make, deploy, "REF={{ body.ref }}"]
  dir: srv/{{ body.ref }}
  env: {SHA: "{{ body.sha }}", FIXED: x}
  stdin: "{{ raw }}"
- shell: echo "$SHA"
  env: {SHA: "{{ body.sha }}"}
- file: deploys/{{ body.ref }}.json
  content: "{{ body.sha }}"
  write: append
- http: https://chat.example/{{ body.ref }}?q={{ body.sha }}
  headers: {X-B: "{{ body.ref }}", X-A: b}
  json: {text: "deployed {{ body.sha }}", n: 3}
- {http: "https://chat.example/"}`, `{"ref":"ma in","sha":"a&b"}`,
			[]string{
				`{"index":0,"step":"1","kind":"exec","plan":{"argv":["make","deploy","REF=ma in"],"dir":"srv/ma in","env":[{"name":"SHA","value":"a&b"},{"name":"FIXED","value":"x"}],"stdin":"{\"ref\":\"ma in\",\"sha\":\"a&b\"}"}}`,
				`{"index":1,"step":"2","kind":"shell","plan":{"argv":["/bin/sh","-c","echo \"$SHA\""],"env":[{"name":"SHA","value":"a&b"}]}}`,
				`{"index":2,"step":"3","kind":"file","plan":{"path":"DIR/deploys/ma in.json","write":"append","content":"a&b"}}`,
				`{"index":3,"step":"4","kind":"http","plan":{"method":"POST","url":"https://chat.example/ma%20in?q=a%26b","header":[{"name":"X-B","value":"ma in"},{"name":"X-A","value":"b"}],"body":"{\"n\":3,\"text\":\"deployed a&b\"}"}}`,
				`{"index":4,"step":"5","kind":"http","plan":{"method":"GET","url":"https://chat.example/"}}`,
			},
		},
		{
			"an output of a step before, in every text", first + `
- exec: [make, "{{ steps.a.outputs.v }}", "{{ steps.a.stdout }}{{ body.ref }}"]
  dir: srv/{{ steps.a.outputs.v ?? "../x" }}
  env: {V: "v{{ steps.a.outputs.v }}"}
  stdin: "{{ steps.a.stdout }}"
- {file: "deploys/{{ steps.a.outputs.v }}/x", content: "{{ steps.a.stderr }}"}
- http: http://h.example:{{ steps.a.outputs.v }}/{{ body.ref }}/{{ steps.a.outputs.v | split("/") | first() }}
  headers: {X-V: "{{ steps.a.outputs.v }}"}
  json: {text: "{{ steps.a.outputs.v }}"}
- {http: "{{ steps.a.outputs.url }}/x", body: "{{ body.ref }}"}`, `{"ref":"-main"}`,
			[]string{
				`{"index":1,"step":"2","kind":"exec","plan":{"argv":["make","{{ steps.a.outputs.v }}","{{ steps.a.stdout }}-main"],"dir":"srv/{{ steps.a.outputs.v ?? \"../x\" }}","env":[{"name":"V","value":"v{{ steps.a.outputs.v }}"}],"stdin":"{{ steps.a.stdout }}","open":["steps.a.outputs.v","steps.a.stdout","steps.a.outputs.v ?? \"../x\""]}}`,
				`{"index":2,"step":"3","kind":"file","plan":{"path":"DIR/deploys/{{ steps.a.outputs.v }}/x","write":"replace","content":"{{ steps.a.stderr }}","open":["steps.a.outputs.v","steps.a.stderr"]}}`,
				`{"index":3,"step":"4","kind":"http","plan":{"method":"POST","url":"http://h.example:{{ steps.a.outputs.v }}/-main/{{ steps.a.outputs.v | split(\"/\") | first() }}","header":[{"name":"X-V","value":"{{ steps.a.outputs.v }}"}],"body":"{\"text\":\"{{ steps.a.outputs.v }}\"}","open":["steps.a.outputs.v","steps.a.outputs.v | split(\"/\") | first()"]}}`,
				`{"index":4,"step":"5","kind":"http","plan":{"method":"POST","url":"{{ steps.a.outputs.url }}/x","body":"-main","open":["steps.a.outputs.url"]}}`,
			},
		},
		{
			"a step by an index, and one that is made", first + `
- exec: [echo, '{{ steps["a"].stdout }}']
- exec: [echo, "{{ steps[body.ref].state }}"]
- exec: [echo, "{{ len(steps) }}"]`, `{"ref":"a"}`,
			[]string{
				`{"index":1,"step":"2","kind":"exec","plan":{"argv":["echo","{{ steps[\"a\"].stdout }}"],"open":["steps[\"a\"].stdout"]}}`,
				`{"index":2,"step":"3","kind":"exec","plan":{"argv":["echo","{{ steps[body.ref].state }}"],"open":["steps[body.ref].state"]}}`,
				`{"index":3,"step":"4","kind":"exec","plan":{"argv":["echo","{{ len(steps) }}"],"open":["len(steps)"]}}`,
			},
		},
		{
			"conditions", first + `
- {if: body.ref == "x", exec: [make, x]}
- {if: 'steps.a.outputs.v == "1"', exec: [make, y]}
- {if: 'steps["2"].state == "skipped"', exec: [echo, '{{ steps["2"].state }}']}
- {if: body.n > 1, exec: [make, z]}`, `{"ref":"a"}`,
			[]string{
				`{"index":1,"step":"2","kind":"exec","skip":true,"plan":{}}`,
				`{"index":2,"step":"3","kind":"exec","unknown":true,"plan":{"argv":["make","y"]}}`,
				`{"index":3,"step":"4","kind":"exec","plan":{"argv":["echo","skipped"]}}`,
				`{"index":4,"step":"5","kind":"exec","plan":{},"error":"if: body.n > 1: at column 8: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? \"\" for a text, ?? [] for a list)"}`,
			},
		},
		{
			"what would fail before it does anything", first + `
- {exec: [make, "{{ body.ref }}"]}
- {file: "deploys/{{ body.up }}", content: x}
- {exec: [make, "{{ body.none }}"]}
- {http: "https://h.example/{{ body.up }}"}`, `{"ref":"-x","up":"../../etc/passwd"}`,
			[]string{
				`{"index":1,"step":"2","kind":"exec","plan":{},"error":"argument 1 begins with \"-\", as an option does; put \"--\" before it, or write {value: …, dash: allow}"}`,
				`{"index":2,"step":"3","kind":"file","plan":{},"error":"file \"deploys/../../etc/passwd\": \"..\" leads out of a folder"}`,
				`{"index":3,"step":"4","kind":"exec","plan":{},"error":"argument 1: body.none: at column 1: the event has no body.none (write ?? \"\" where it may be empty)"}`,
				`{"index":4,"step":"5","kind":"http","plan":{},"error":"http: a value in the path of the URL holds \"..\""}`,
			},
		},
		{
			"secrets", `
- exec: [curl]
  env: {T: "${env:CHAT_TOKEN}", PIN: "${env:PIN}"}
  stdin: "${env:PIN}:{{ raw }}"
- {file: deploys/x, content: "${file:token}"}
- http: https://h.example/${env:PATHS}/x?t=${env:CHAT_TOKEN}
  headers: {A: "Bearer ${env:CHAT_TOKEN}"}
  json: {t: "${env:CHAT_TOKEN}", p: "${env:PIN}"}`, `{"a":"` + secretInEnv + `"}`,
			[]string{
				`{"index":0,"step":"1","kind":"exec","plan":{"argv":["curl"],"env":[{"name":"T","value":"***"},{"name":"PIN","value":"***"}],"stdin":"***:{\"a\":\"***\"}"}}`,
				`{"index":1,"step":"2","kind":"file","plan":{"path":"DIR/deploys/x","write":"replace","content":"***"}}`,
				`{"index":2,"step":"3","kind":"http","plan":{"method":"POST","url":"https://h.example/***/x?t=***","header":[{"name":"A","value":"Bearer ***"}],"body":"{\"p\":\"***\",\"t\":\"***\"}"}}`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			o.Getenv = func(name string) (string, bool) {
				switch name {
				case "PIN":
					return `q"7`, true
				case "PATHS":
					return "one/two three", true
				}
				return testEnv(name)
			}
			actions := strings.ReplaceAll(tt.actions, "\n", "\n      ")
			set := ruleSet(t, o, "rules:\n  - name: r\n    bucket: deploys\n    verify: none\n    actions:"+actions+"\n")
			r := set.Rehearse(push(tt.body), engine.RehearseOptions{Plans: true})
			if len(r.Asked) != 1 || len(r.Asked[0].Runs) != 1 {
				t.Fatalf("Rehearse = %+v, want a run of one rule", r)
			}
			steps := r.Asked[0].Runs[0].Steps
			steps = steps[len(steps)-min(len(tt.want), len(steps)):]
			for i, st := range steps {
				if got := planText(t, st, o.Dir); got != tt.want[i] {
					t.Errorf("step %s:\n got %s\nwant %s", st.Step, got, tt.want[i])
				}
			}
			if len(steps) != len(tt.want) {
				t.Errorf("%d steps, want %d", len(steps), len(tt.want))
			}
			for _, secret := range []string{"s3cret", `q"7`, `q\"7`, "one/two"} {
				if all := planText(t, r, o.Dir); strings.Contains(all, secret) {
					t.Errorf("%q is shown in %s", secret, all)
				}
			}
		})
	}
}

// TestPlannedWithThePast has the plans of steps whose results are known say what
// they would do.
func TestPlannedWithThePast(t *testing.T) {
	o := testOptions(t)
	set := ruleSet(t, o, `
rules:
  - name: r
    bucket: deploys
    verify: none
    for_each: {list: body.list, as: item, key: item}
    actions:
      - {id: a, exec: [make], outputs: [v]}
      - {id: b, exec: [echo, "{{ item }} {{ steps.a.outputs.v }}"]}
      - {id: c, exec: [echo, "{{ steps.b.stdout }}"]}
`)
	past := func(rule string, index int) []*engine.StepResult {
		if rule != "r" || index > 1 {
			return nil
		}
		return []*engine.StepResult{{Step: "a", State: engine.StepDone, Output: engine.Output{Outputs: map[string]string{"v": fmt.Sprint("v", index)}}}}
	}
	r := set.Rehearse(push(`{"list":["x",{"k":1},3]}`), engine.RehearseOptions{Plans: true, Past: past})
	want := []string{
		`{"element":"x","key":"x","steps":[{"index":0,"step":"a","kind":"exec","plan":{"argv":["make"]}},{"index":1,"step":"b","kind":"exec","plan":{"argv":["echo","x v0"]}},{"index":2,"step":"c","kind":"exec","plan":{"argv":["echo","{{ steps.b.stdout }}"],"open":["steps.b.stdout"]}}]}`,
		`{"index":1,"element":{"k":1},"key":"{\"k\":1}","steps":[{"index":0,"step":"a","kind":"exec","plan":{"argv":["make"]}},{"index":1,"step":"b","kind":"exec","plan":{"argv":["echo","{\"k\":1} v1"]}},{"index":2,"step":"c","kind":"exec","plan":{"argv":["echo","{{ steps.b.stdout }}"],"open":["steps.b.stdout"]}}]}`,
		`{"index":2,"element":3,"key":"3","steps":[{"index":0,"step":"a","kind":"exec","plan":{"argv":["make"]}},{"index":1,"step":"b","kind":"exec","plan":{"argv":["echo","3 {{ steps.a.outputs.v }}"],"open":["steps.a.outputs.v"]}},{"index":2,"step":"c","kind":"exec","plan":{"argv":["echo","{{ steps.b.stdout }}"],"open":["steps.b.stdout"]}}]}`,
	}
	if len(r.Asked) != 1 || len(r.Asked[0].Runs) != len(want) {
		t.Fatalf("Rehearse = %+v, want %d runs of one rule", r, len(want))
	}
	for i, run := range r.Asked[0].Runs {
		if got := planText(t, run, o.Dir); got != want[i] {
			t.Errorf("run %d:\n got %s\nwant %s", i, got, want[i])
		}
	}
}

// TestPlanTouchesNothing: a rehearsal of a rule makes no file, and goes on where
// there is nothing of what its actions need.
func TestPlanTouchesNothing(t *testing.T) {
	o := testOptions(t)
	set := ruleSet(t, o, `
rules:
  - name: r
    bucket: deploys
    verify: none
    actions:
      - {file: "deploys/new/{{ body.ref }}", content: x}
      - {exec: [not-there], dir: srv/not-there}
      - {http: "http://{{ body.host }}.invalid/"}
`)
	r := set.Rehearse(push(`{"ref":"a","host":"nowhere"}`), engine.RehearseOptions{Plans: true})
	for _, st := range r.Asked[0].Runs[0].Steps {
		if st.Err != "" {
			t.Errorf("step %s: %s, want a plan", st.Step, st.Err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(o.Dir, "deploys", "*")); err != nil || len(found) > 0 {
		t.Errorf("the rehearsal has made %q (%v)", found, err)
	}
}

// TestHashOfAMode: a rule that goes live is another rule, and one that says what
// it is anyway is the same.
func TestHashOfAMode(t *testing.T) {
	hash := func(mode string) string {
		return ruleSet(t, testOptions(t), "rules: [{name: r, "+mode+"bucket: deploys, verify: none, actions: [{exec: [make]}]}]").Rules[0].Hash
	}
	if hash("mode: live, ") != hash("") || hash("mode: shadow, ") == hash("") {
		t.Errorf("hashes: live %s, shadow %s, neither %s", hash("mode: live, "), hash("mode: shadow, "), hash(""))
	}
}
