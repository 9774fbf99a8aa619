package rules

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hookrun/engine"
)

// TestDry loads rules on a machine that has nothing of what they need.
func TestDry(t *testing.T) {
	const source = `
buckets:
  a: {verify: {scheme: github, secret: "${env:A}"}}
  b: {verify: {scheme: standard-webhooks, secret: "${file:/not/there}"}}
file_roots: [/not/there/either]
rules:
  - name: r
    bucket: [a, b]
    when: |
      body.x == 1 &&
        body.y == 2
    actions:
      - http: https://chat.example/${env:URL}
        headers: {Authorization: "Bearer ${file:/not/there}", X-Given: "${env:GIVEN}"}
      - file: /not/there/either/x
        content: ""
`
	files := []File{{"rules.yaml", []byte(source)}}
	o := testOptions(t)
	if g, _ := Parse(files, o); g != nil {
		t.Fatal("the rules are good where nothing is there, so this test shows nothing")
	}
	o.Dry = true
	o.Getenv = func(name string) (string, bool) { return "given-for-" + name, name == "GIVEN" }
	g, problems := Parse(files, o)
	if g == nil {
		t.Fatal(text(problems, "DIR"))
	}
	made := g.Rules.Rehearse(&engine.Event{Bucket: "a", Method: "POST", Path: "/", Body: []byte(`{"x":1,"y":2}`)}, engine.RehearseOptions{Plans: true})
	plan := made.Asked[0].Runs[0].Steps[0].Plan
	if plan.URL != "https://chat.example/"+engine.Masked || len(plan.Header) != 2 || plan.Header[0].Value != "Bearer "+engine.Masked || plan.Header[1].Value != engine.Masked {
		t.Errorf("the call is %+v, want one with %s in the place of its secrets", plan, engine.Masked)
	}
	if v, _ := g.VerifierOf("a"); v != nil {
		t.Error("senders are verified by secrets that are none")
	}
	offset := strings.Index("body.x == 1 &&\n  body.y == 2\n", "body.y")
	if at := g.InWhen("r", offset); at.File != "rules.yaml" || at.Line != 11 || at.Col != 9 {
		t.Errorf("body.y stands at %s:%d:%d, want rules.yaml:11:9", at.File, at.Line, at.Col)
	}
	if at := g.InWhen("none", 0); at.File != "" || at.Line != 0 {
		t.Errorf("a rule that is not there has a condition at %s:%d", at.File, at.Line)
	}
}

// TestDryRunAs: whom a command runs as matters to nobody who only asks.
func TestDryRunAs(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("run_as is for Unix")
	}
	o := testOptions(t)
	o.Dry = true
	files := []File{{"rules.yaml", []byte("rules: [{name: r, actions: [{exec: [echo], run_as: nobody-of-this-name}]}]\n")}}
	if g, problems := Parse(files, o); g == nil {
		t.Error(text(problems, "DIR"))
	}
}

// TestTestsAreNoRules: a folder of rules may hold their tests.
func TestTestsAreNoRules(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "rules: [{name: r, actions: [{exec: [echo]}]}]\n")
	write(t, filepath.Join(dir, "a.tests.yaml"), "tests: []\n")
	write(t, filepath.Join(dir, "b.tests.yml"), "tests: []\n")
	g, problems := Load([]string{dir}, testOptions(t))
	if g == nil {
		t.Fatal(text(problems, "DIR"))
	}
	if len(g.Files) != 1 {
		t.Errorf("%d files are read as rules, want a.yaml alone", len(g.Files))
	}
}
