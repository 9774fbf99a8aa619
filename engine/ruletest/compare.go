package ruletest

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"hookrun/engine"
)

// actions compares what the runs of a rule would do.
func (j *judge) actions(w wantRuns) {
	e := j.of(w.rule.text)
	if e == nil || e.Verdict.Outcome != engine.Matched {
		return // told already
	}
	if len(e.Runs) == 0 && !w.byID && !w.each && len(w.runs[0]) == 0 {
		return // [] says of a rule with for_each that it starts no run
	}
	if len(e.Runs) != len(w.runs) {
		hint := []string{}
		if !w.each {
			hint = append(hint, "for several runs write a list of lists, one for each: [[{exec: […]}], [{exec: […]}]]")
		}
		j.fail(hint, "rule %q starts %d runs, want %d", e.Rule, len(e.Runs), len(w.runs))
		return
	}
	for i := range e.Runs {
		c := &comparison{j: j, where: fmt.Sprintf("rule %q", e.Rule), shadow: e.Shadow}
		if w.each {
			c.where += fmt.Sprintf(", run %d", i+1)
		}
		c.run(w, w.runs[i], &e.Runs[i])
	}
}

// comparison is of one run, then of one of its steps.
type comparison struct {
	j      *judge
	where  string
	shadow bool // the rule says mode: shadow: none of its actions ever comes to anything
}

func (c *comparison) fail(lines []string, format string, args ...any) {
	c.j.fail(lines, "%s: %s", c.where, fmt.Sprintf(format, args...))
}

func (c *comparison) run(w wantRuns, want []wantStep, got *engine.PlannedRun) {
	if got.Err != "" {
		c.fail(nil, "the run fails at once: %s", got.Err)
		return
	}
	if !w.byID && len(want) != len(got.Steps) {
		var lines []string
		for _, s := range got.Steps {
			lines = append(lines, fmt.Sprintf("%s: %s", s.Step, brief(&s)))
		}
		c.fail(lines, "it has %d actions, want %d", len(got.Steps), len(want))
		return
	}
	for i, s := range want {
		for k := range got.Steps {
			if w.byID && got.Steps[k].Step == s.id.text || !w.byID && k == i {
				step := *c
				step.where += fmt.Sprintf(", action %s", got.Steps[k].Step)
				step.step(&s, &got.Steps[k])
			}
		}
	}
}

// brief is what a step would do, on one line.
func brief(s *engine.PlannedStep) string {
	switch {
	case s.Open:
		return "not known"
	case s.Skip:
		return "skipped"
	case s.Err != "":
		return "error: " + s.Err
	}
	if s.Kind == "exec" {
		return "exec " + argv(s.Plan.Argv)
	}
	what, _ := targetOf(s)
	return s.Kind + " " + exactly(around(what, 0)).String()
}

// step compares one step.
func (c *comparison) step(want *wantStep, got *engine.PlannedStep) {
	switch {
	case got.Open && !c.shadow:
		c.fail(decided(got.If), "whether it runs depends on an action before it: say in steps what that came to")
	case want.skip && !got.Skip:
		c.fail(nil, "it is not skipped: %s", brief(got))
	case want.skip:
	case got.Skip:
		c.fail(decided(got.If), "it is skipped: its if is false")
	case want.err != nil && got.Err == "":
		c.fail(nil, "it does not fail: %s", brief(got))
	case want.err != nil:
		c.text("the error", want.err, got.Err)
	case got.Err != "":
		c.fail(nil, "it fails: %s", got.Err)
	case want.kind != got.Kind:
		c.fail(nil, "it is %s, want %s", got.Kind, want.kind)
	default:
		c.plan(want, got)
	}
}

// plan compares what a step is to do with what it would do.
func (c *comparison) plan(want *wantStep, got *engine.PlannedStep) {
	before := len(c.j.failures)
	p := &got.Plan
	if want.kind == "exec" {
		c.argv(want.argv, p.Argv)
	} else {
		c.target(want, got)
	}
	c.text("dir", want.dir, p.Dir)
	c.optional("stdin", want.stdin, p.Stdin)
	c.optional("content", want.content, p.Content)
	c.optional("body", want.body, p.Body)
	c.word("write", want.write, p.Write)
	c.word("method", want.method, p.Method)
	c.json(want.json, got)
	for _, v := range want.vars {
		c.variable(v, got)
	}
	if len(c.j.failures) > before && len(p.Open) > 0 {
		last := &c.j.failures[len(c.j.failures)-1]
		last.Lines = append(last.Lines, "what an action before it came to is not known: say it in steps, for "+strings.Join(p.Open, ", "))
	}
}

func (c *comparison) argv(want []Pattern, got []string) {
	same := len(want) == len(got)
	for i := 0; same && i < len(want); i++ {
		same = want[i].Matches(got[i])
	}
	if same {
		return
	}
	var shown []string
	for _, p := range want {
		shown = append(shown, p.String())
	}
	c.fail([]string{"- [" + strings.Join(shown, ", ") + "]", "+ " + argv(got)}, "the command is another (-want +got)")
}

// argv shows a command as a file of tests may have it.
func argv(args []string) string {
	var shown []string
	for _, a := range args {
		shown = append(shown, exactly(a).String())
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

// targetOf is the script, path or URL of a step, and what to call it.
func targetOf(s *engine.PlannedStep) (text, what string) {
	switch {
	case s.Kind == "file":
		return s.Plan.Path, "the path"
	case s.Kind == "http":
		return s.Plan.URL, "the URL"
	case len(s.Plan.Argv) > 0:
		return s.Plan.Argv[len(s.Plan.Argv)-1], "the script"
	}
	return "", "the script"
}

func (c *comparison) target(want *wantStep, got *engine.PlannedStep) {
	text, what := targetOf(got)
	if want.kind == "file" && want.target != nil { // its own folder need not be known to a test
		if rel, err := filepath.Rel(c.j.o.Dir, text); err == nil && want.target.Matches(filepath.ToSlash(rel)) {
			return
		}
	}
	c.text(what, want.target, text)
}

func (c *comparison) text(what string, want *Pattern, got string) {
	if want != nil && !want.Matches(got) {
		c.fail(difference(*want, got), "%s is another (-want +got)", what)
	}
}

func (c *comparison) optional(what string, want *Pattern, got *string) {
	switch {
	case want == nil:
	case got == nil:
		c.fail([]string{"- " + want.String()}, "there is no %s", what)
	default:
		c.text(what, want, *got)
	}
}

func (c *comparison) word(what, want, got string) {
	if want != "" && want != got {
		c.fail([]string{"- " + want, "+ " + got}, "%s is another (-want +got)", what)
	}
}

// variable compares an environment variable or a header.
func (c *comparison) variable(want wantVar, got *engine.PlannedStep) {
	vars, what, same := got.Plan.Env, "the variable ", func(a, b string) bool { return a == b }
	if got.Kind == "http" {
		vars, what, same = got.Plan.Header, "the header ", strings.EqualFold
	}
	for i := len(vars) - 1; i >= 0; i-- { // the last one counts
		if same(vars[i].Name, want.name) {
			c.text(what+want.name, &want.value, vars[i].Value)
			return
		}
	}
	c.fail([]string{"- " + want.value.String()}, "there is no %s", strings.TrimPrefix(what+want.name, "the "))
}

// json compares a content or a body as JSON.
func (c *comparison) json(want *string, got *engine.PlannedStep) {
	if want == nil {
		return
	}
	what, text := "content", got.Plan.Content
	if got.Kind == "http" {
		what, text = "body", got.Plan.Body
	}
	if text == nil {
		c.fail(nil, "there is no %s", what)
		return
	}
	has, err := decode(*text)
	if err != nil {
		c.fail([]string{"+ " + exactly(*text).String()}, "%s is no JSON: %v", what, err)
		return
	}
	wanted, err := decode(*want)
	if err != nil || reflect.DeepEqual(wanted, has) { // it was written from YAML
		return
	}
	c.fail(lineDiff(indented(wanted), indented(has)), "%s is other JSON (-want +got)", what)
}

// difference shows a text that is not as it has to be.
func difference(want Pattern, got string) []string {
	if want.isExact() && strings.Contains(want.text+got, "\n") {
		return lineDiff(want.text, got)
	}
	if !want.isExact() {
		return []string{"- " + want.String(), "+ " + exactly(around(got, 0)).String()}
	}
	at := 0
	for at < min(len(want.text), len(got)) && want.text[at] == got[at] {
		at++
	}
	return []string{"- " + exactly(around(want.text, at)).String(), "+ " + exactly(around(got, at)).String()}
}

// Bounds of a diff.
const (
	maxDiffLines = 60
	maxDiffText  = 500 // bytes of a text on one line
)

// around is the part of a long text that is about a byte of it.
func around(text string, at int) string {
	if len(text) <= maxDiffText {
		return text
	}
	from := min(max(at-maxDiffText/4, 0), len(text)-maxDiffText)
	part := strings.ToValidUTF8(text[from:from+maxDiffText], "")
	if from > 0 {
		part = "…" + part
	}
	if from+maxDiffText < len(text) {
		part += "…"
	}
	return part
}

// lineDiff is a unified diff without its header.
func lineDiff(want, got string) []string {
	text := string(diff.Diff("want", []byte(ended(want)), "got", []byte(ended(got))))
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) <= 3 { // they differ in their last line break alone
		return []string{"- " + exactly(want).String(), "+ " + exactly(got).String()}
	}
	lines = lines[3:]
	if len(lines) > maxDiffLines {
		lines = append(lines[:maxDiffLines:maxDiffLines], fmt.Sprintf("… %d lines more", len(lines)-maxDiffLines))
	}
	return lines
}

func ended(text string) string { return strings.TrimSuffix(text, "\n") + "\n" }
