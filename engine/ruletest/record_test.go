package ruletest

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/rules"
)

var update = flag.Bool("u", false, "write the expected files anew")

// everything are rules that do each kind of action with all of an event.
const everything = `
rules:
  - name: each kind
    bucket: b
    actions:
      - id: build
        exec: [make, "{{ raw }}", --, "{{ body.ref ?? 'none' }}", "{{ event.id }}"]
        dir: /srv
        env: {TOKEN: "${env:TOKEN}", SHA: "{{ body.after ?? '' }}", WHEN: "{{ now() }}"}
        stdin: "{{ raw }}"
      - shell: |
          echo "$A"
          true
        env: {A: "{{ steps.build.stdout }}"}
      - file: deploys/last.json
        content: "{{ raw }}{{ steps.build.exit_code }}"
        write: append
      - if: steps.build.exit_code > 0
        exec: [echo, never]
      - http: https://chat.example/{{ body.ref ?? 'none' }}?t=${env:TOKEN}
        method: PUT
        headers: {Authorization: "Bearer ${env:TOKEN}", X-A: "{{ method }}"}
        json: {text: "{{ body.ref ?? 'none' }}", big: "{{ body.id ?? 0 }}"}
      - http: https://chat.example/
        body: "{{ raw }}"
  - name: nothing else
    bucket: b
    actions: [{exec: [echo, one]}]
  - name: a list
    bucket: b
    for_each: {list: 'body.commits ?? [1, 2]', as: c}
    actions:
      - id: first
        exec: [echo, --, "{{ c }}"]
      - exec: [echo, --, "{{ steps.first.stdout }}"]
  - {name: another, bucket: b, when: body.ref == "refs/heads/other", actions: [{exec: [echo]}]}
  - {name: broken, bucket: b, when: 'body.ref.x > 1', actions: [{exec: [echo]}]}
  - {name: rehearsed, bucket: b, mode: shadow, actions: [{id: a, exec: [echo, "{{ method }}"]}, {if: steps.a.exit_code == 0, exec: [echo, "{{ steps.a.stdout }}"]}]}
`

func loadText(t testing.TB, text string) *rules.Generation {
	t.Helper()
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text)}}, rules.Options{
		Dir: "/work", Getenv: func(name string) (string, bool) { return "s3cret-" + name, true },
	})
	if g == nil {
		t.Fatal(said(problems))
	}
	return g
}

// happened is what the engine would keep of an event: what it rehearses, with its
// own results of steps.
func happened(set *engine.RuleSet, ev *engine.Event) Past {
	past := Past{Event: ev}
	results := func(rule string, _ int) []*engine.StepResult {
		var all []*engine.StepResult
		for i, s := range set.Rule(rule).Steps {
			began := time.Unix(1, 0)
			r := &engine.StepResult{
				Attempt: 1, Index: i, Step: s.ID, Key: s.Key, Kind: s.Action.Kind(), State: engine.StepDone,
				Started: began, Finished: began.Add(time.Duration(1234567+i) * time.Microsecond),
			}
			switch r.Kind {
			case "exec", "shell":
				r.Stdout = engine.Text{Head: []byte("one\n  two\t\n\n"), Cut: 17, Tail: []byte("\x1b[31mred\n")}
			case "http":
				r.Output = engine.Output{Status: 201, Body: `{"id":12345678901234567890}`, Header: map[string][]string{"Date": {"today"}}}
			case "file":
				r.Output = engine.Output{Path: "/x", Size: 7}
			}
			all = append(all, r)
		}
		return all
	}
	known := func(rule string, i int) []*engine.StepResult {
		if set.Rule(rule).Shadow {
			return nil
		}
		return results(rule, i)
	}
	made := set.Rehearse(ev, engine.RehearseOptions{Plans: true, Past: known})
	for _, e := range made.Asked {
		past.Verdicts = append(past.Verdicts, e.Verdict)
		for _, planned := range e.Runs {
			run := PastRun{Run: &engine.Run{Rule: e.Rule, State: engine.Done, Index: planned.Index, Element: string(planned.Element)}}
			if e.Shadow {
				run.Run.State = engine.Shadow
			}
			had := results(e.Rule, 0)
			for _, s := range planned.Steps {
				r := had[s.Index]
				plan := s.Plan
				r.Plan = &plan
				switch {
				case s.Skip:
					r.State, r.Plan = engine.StepSkipped, nil
				case s.Err != "" && !e.Shadow:
					r.State, r.Plan, run.Run.State = engine.StepFailed, nil, engine.Failed
				case e.Shadow:
					r.State, r.Err = engine.StepShadow, s.Err
				}
				run.Steps = append(run.Steps, r)
			}
			past.Runs = append(past.Runs, run)
		}
	}
	return past
}

// TestARecordedTestPasses records events of all senders, and odd ones, and runs
// the tests with rules that know no secret.
func TestARecordedTestPasses(t *testing.T) {
	set := loadText(t, everything).Rules
	dry, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(everything)}}, rules.Options{Dry: true, Dir: "/work", Getenv: func(string) (string, bool) { return "", false }})
	if dry == nil {
		t.Fatal(said(problems))
	}
	for name, ev := range someEvents(t) {
		t.Run(name, func(t *testing.T) {
			past := happened(set, ev)
			var text bytes.Buffer
			if err := Record(&text, past, RecordOptions{Dir: "/work"}); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsFunc(text.String(), isHidden) {
				t.Errorf("the test has something in it that can't be seen:\n%q", text.String())
			}
			if strings.Contains(text.String(), "s3cret") {
				t.Errorf("the test has a secret in it:\n%s", text.String())
			}
			f, problems := Parse(rules.File{Path: "x.tests.yaml", Data: text.Bytes()})
			if f == nil {
				t.Fatalf("%s\n%s", said(problems), text.String())
			}
			if problems := f.Check(dry.Rules); len(problems) > 0 {
				t.Fatal(said(problems))
			}
			r := f.Run(Options{Rules: dry.Rules, Dir: "/work"})
			if got := r.Results[0].Text(); got != "" {
				t.Errorf("the test that was recorded fails:\n%s\n%s", got, text.String())
			}
			if got := f.Tests[0].event; string(got.Body) != string(ev.Body) || got.Query != engine.MaskParams(ev.Query) || !got.Received.Equal(ev.Received) {
				t.Errorf("the event is %+v, want %+v", got, ev)
			}
			if len(f.Tests[0].actions) < 3 {
				t.Errorf("%d rules have actions in the test, want them of each that ran:\n%s", len(f.Tests[0].actions), text.String())
			}
		})
	}
}

// TestRecordMasksCredentials: of a header and the query nobody gets what proves who
// sent the event, in actions neither; and the test says whether it passes so.
func TestRecordMasksCredentials(t *testing.T) {
	const does = ", actions: [{exec: [echo, '{{ headers[\"X-Gitlab-Token\"] }}', '{{ query.access_token }}']}, {exec: [make]}]}"
	event := &engine.Event{
		ID: "e", Received: time.Unix(1, 0), Bucket: "b", Method: "POST", Path: "/", Query: "a=1&access_token=of-the-query",
		Header: http.Header{"X-Gitlab-Token": {"of-the-header"}, "X-Api-Key": {"of-the-key"}, "X-Event-Key": {"push"}},
	}
	const masked = "Credentials are *** here: the header X-Api-Key, the header X-Gitlab-Token, the query."
	tests := []struct{ name, rule, note string }{
		{"the rule does not ask for them", "{name: a, bucket: b" + does, masked},
		{"the rule asks for them", "{name: a, bucket: b, when: 'headers[\"X-Gitlab-Token\"] == \"of-the-header\"'" + does, masked + " The test fails, as these rules want them: a. Write others that will do."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := loadText(t, "rules: ["+tt.rule+"]").Rules
			var text bytes.Buffer
			note := ""
			past := happened(set, event)
			past.Runs[0].Steps[0].Stdout = engine.Text{Head: []byte("got of-the-header and of-the-query")}
			err := Record(&text, past, RecordOptions{Rules: set, Note: func(text string) { note = text }})
			if err != nil {
				t.Fatal(err)
			}
			if note != tt.note || !strings.Contains(text.String(), "\n# "+tt.note+"\n") {
				t.Errorf("note = %q\nwant   %q in\n%s", note, tt.note, text.String())
			}
			if strings.Contains(text.String(), "of-the") || !strings.Contains(text.String(), "X-Gitlab-Token: '***'") || !strings.Contains(text.String(), "X-Event-Key: push") || !strings.Contains(text.String(), "stdout: got *** and ***") {
				t.Errorf("credentials stand in the test, or it has no headers:\n%s", text.String())
			}
		})
	}
}

func someEvents(t *testing.T) map[string]*engine.Event {
	t.Helper()
	all := map[string]*engine.Event{}
	add := func(name string, ev *engine.Event) {
		ev.ID, ev.Bucket, ev.Received = "01970000-0000-7000-8000-000000000000", "b", time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
		all[name] = ev
	}
	paths, err := filepath.Glob(filepath.Join(root, "testdata", "events", "*.http"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Request(data)
		if err != nil {
			t.Fatal(path, err)
		}
		add(filepath.Base(path), ev)
	}
	for name, body := range map[string]string{
		"no body":           "",
		"a number":          "12",
		"nothing":           "null",
		"no JSON":           "a=b&c=d",
		"blanks":            "{ \"ref\": \"refs/heads/main\" }\n",
		"odd numbers":       `{"a":1e400,"b":-0,"c":1.50,"id":123456789012345678901}`,
		"a key twice":       `{"a":1,"a":2}`,
		"odd keys":          `{"<<":{"x":1},"*a":1,"":2,"null":null,"on":"off","1":"1","a: b":"# no"}`,
		"odd texts":         `{"ref":"\t leading","b":"trailing \n","c":"\u2028","d":"!!binary x","e":"- a\n- b","f":"~","g":"{{ raw }}"}`,
		"bytes":             "\x00\xff\xfe",
		"what hides":        "{\"ref\":\"\u202e\\u001b[31m\u200b\U000e0001\"}\u009b",
		"a bare CR":         "a\rb",
		"a byte order mark": "\ufeff{}",
		"a masked look":     `{"ref":"***"}`,
		"a note's look":     `{"ref":" …[3 bytes, sha256 ` + strings.Repeat("0", 64) + `]"}`,
		"large":             `{"ref":"` + strings.Repeat("x", 10<<10) + `"}`,
		"deep":              strings.Repeat("[", 60) + strings.Repeat("]", 60),
	} {
		add(name, &engine.Event{Source: engine.SourceRelay, Method: "POST", Path: "/a%20b", Query: "q=1&q=2", Header: http.Header{"X-A": {"1", "2"}, "Authorization": {"Bearer ***"}}, Body: []byte(body), Meta: map[string]string{"k": "v"}})
	}
	return all
}

// TestRecordedTest holds how a test looks.
func TestRecordedTest(t *testing.T) {
	set := loadText(t, everything).Rules
	ev := &engine.Event{
		ID: "01970000-0000-7000-8000-000000000000", Source: engine.SourceIntake, Bucket: "b", Method: "POST", Path: "/", Received: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Header: http.Header{"X-Github-Event": {"push"}, "Content-Type": {"application/json"}, "Content-Length": {"99"}, "Connection": {"close"}},
		Body:   []byte(`{"ref":"refs/heads/main","after":"4f2c","id":1.50,"commits":[{"added":["a","b"]},{"added":[]}]}`),
	}
	var got bytes.Buffer
	if err := Record(&got, happened(set, ev), RecordOptions{Dir: "/work"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "recorded.yaml")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant what is in %s; -u writes it", got.String(), path)
	}
}

func TestRunsThatDidNotComeToTheirEnd(t *testing.T) {
	step := func(index int, id string, plan *engine.Plan, state engine.StepState) *engine.StepResult {
		return &engine.StepResult{Index: index, Step: id, Kind: "exec", State: state, Plan: plan}
	}
	one := &engine.Plan{Argv: []string{"one"}}
	tests := []struct {
		name string
		runs []PastRun
		want string
	}{
		{"it failed in the second", []PastRun{{&engine.Run{Rule: "r", State: engine.Failed}, []*engine.StepResult{
			step(0, "a", one, engine.StepDone), step(1, "b", &engine.Plan{Argv: []string{"two"}}, engine.StepFailed),
		}}}, "actions:\n  r:\n    a:\n      exec: [one]\n    b:\n      exec: [two]\nsteps:\n  r:\n    a:\n      exit_code: 0\n"},
		{"it never began", []PastRun{{&engine.Run{Rule: "r", State: engine.Duplicate}, nil}}, "{}\n"},
		{"of the second it is not known", []PastRun{{&engine.Run{Rule: "r", State: engine.Done}, []*engine.StepResult{
			step(0, "a", one, engine.StepDone), step(1, "b", nil, engine.StepDone),
		}}}, "actions:\n  r:\n    a:\n      exec: [one]\nsteps:\n  r:\n    a:\n      exit_code: 0\n"},
		{"one of several failed", []PastRun{
			{&engine.Run{Rule: "r", State: engine.Done, Element: "1"}, []*engine.StepResult{step(0, "a", one, engine.StepDone)}},
			{&engine.Run{Rule: "r", State: engine.Failed, Element: "2", Index: 1}, nil},
		}, "{}\n"},
		{"with a file of the event", []PastRun{{&engine.Run{Rule: "r", State: engine.Done}, []*engine.StepResult{
			{Run: "0197", Step: "1", Kind: "exec", State: engine.StepDone, Plan: &engine.Plan{Argv: []string{"cp", "/tmp/hookrun-files-0197/1.jpg"}, Env: []engine.PlanVar{{Name: "F", Value: "a=/tmp/hookrun-files-0197/1.jpg b"}}}},
		}}}, "actions:\n  r:\n    - exec: [cp, {match: .*}]\n      env:\n        F: {match: a=.* b}\n"},
		{"a second attempt", []PastRun{{&engine.Run{Rule: "r", State: engine.Done}, []*engine.StepResult{
			step(0, "a", &engine.Plan{Argv: []string{"zero"}}, engine.StepFailed), step(0, "a", one, engine.StepDone),
		}}}, "actions:\n  r:\n    - exec: [one]\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := &recorder{past: Past{Verdicts: []engine.Verdict{{Rule: "r", Outcome: engine.Matched}}, Runs: tt.runs}}
			m := &mapping{}
			x.runs(m)
			if got := encoded(t, m.node()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func encoded(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var b strings.Builder
	out := yaml.NewEncoder(&b)
	out.SetIndent(2)
	if err := out.Encode(n); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzBody: whatever a body is, the test that is made of it has the same bytes.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"a":[1,2.50,"x\ny"],"b":null}`, "a\r\n b", "\xff", `["&a","*a","<<","=","2001-01-01"]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ev := &engine.Event{ID: "1", Source: engine.SourceIntake, Bucket: "b", Method: "POST", Path: "/", Header: http.Header{"X-A": {string(body)}}, Body: body}
		var text bytes.Buffer
		if err := Record(&text, Past{Event: ev, Verdicts: []engine.Verdict{{Rule: string(body), Outcome: engine.Errored, Why: string(body)}}}, RecordOptions{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		got, problems := Parse(rules.File{Path: "x.tests.yaml", Data: text.Bytes()})
		if got == nil {
			t.Fatalf("%s\n%s", said(problems), text.String())
		}
		if b := got.Tests[0].event.Body; !bytes.Equal(b, body) {
			t.Errorf("body %q comes back as %q from\n%s", body, b, text.String())
		}
	})
}

// FuzzTestFile: no file of tests makes the reader panic, and what it reads can be
// run.
func FuzzTestFile(f *testing.F) {
	// Small ones: the place of a fault in YAML is found by reading it over and over.
	f.Add([]byte("tests: [{name: a, event: {bucket: b, query: {a: b}, headers: {X-A: [b]}, body: {a: [1, null]}, merge: {c: 1.5}}, now: 2026-01-02T03:04:05Z, match: []}]"))
	f.Add([]byte(aPush + "    match: [deploy]\n    actions: {deploy: {build: {exec: [make, {match: x}]}}}\n    steps: {each: [{}, {\"1\": {json: {a: 1}}}]}\n"))
	f.Add([]byte("tests: [{name: a, event: {from: github/push, merge: {a: {b: null}}}, bucket: chat, no_match: each, errors: {count: {sha256: x}}}]"))
	set := load(f).Rules
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := Parse(rules.File{Path: "x.tests.yaml", Data: data})
		if (file == nil) != (len(problems) > 0) {
			t.Fatalf("file %v with problems %v", file, problems)
		}
		if file == nil {
			return
		}
		for _, test := range file.Tests {
			test.run(Options{Rules: set, Dir: "/"}) // Check or not
		}
		file.Check(set)
	})
}

// TestRandomTexts holds that a text goes through a recorded test as it is.
func TestRandomTexts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{" ", "\n", "\t", "a", "é", "-", "#", ":", "\"", "'", "\\", "|", ">", "{", "]", "\r", "\x00", "\u0085", "\ufeff", "\u202e", "\u00a0", "\U000e0001", "%", "~"}
	for range 3000 {
		var text string
		for range rnd.IntN(12) {
			text += alphabet[rnd.IntN(len(alphabet))]
		}
		m := &mapping{}
		m.set("t", textNode(text))
		doc := rules.ParseDocument(rules.File{Path: "x", Data: []byte(shown(encoded(t, m.node())))}, rules.DocumentKind{Keys: []string{"t"}, Main: "t"})
		if problems := doc.Problems(); len(problems) > 0 {
			t.Fatalf("%q: %s", text, said(problems))
		}
		if got := doc.Root.Value("t").Value; got != text {
			t.Fatalf("%q comes back as %q", text, got)
		}
	}
}
