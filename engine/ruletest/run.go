package ruletest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
)

// Options say which tests of a File are run, and by which rules.
type Options struct {
	Rules    *engine.RuleSet
	Dir      string         // that relative paths of `file` start at, absolute
	Run      *regexp.Regexp // only tests with a name that it finds something in; nil: all
	Coverage *Coverage      // that takes note of what the tests reach; nil: none
}

// Report is what became of the tests of a file.
type Report struct {
	File    string
	Results []Result
	Took    time.Duration
}

// Failed is how many tests failed.
func (r *Report) Failed() int {
	n := 0
	for _, res := range r.Results {
		if len(res.Failures) > 0 {
			n++
		}
	}
	return n
}

// Result is what became of one test. It has passed where there are no Failures.
type Result struct {
	Name     string
	Place    string // file:line
	Failures []Failure
	Took     time.Duration
}

// Failure is one thing that is not as the test says. Its texts may hold what a
// sender wrote.
type Failure struct {
	Msg   string
	Lines []string // more about it: a diff, a part of a condition
}

// Run runs the tests. It starts nothing: it asks the rules what they would do.
func (f *File) Run(o Options) *Report {
	began := time.Now()
	report := &Report{File: f.Path}
	for _, t := range f.Tests {
		if o.Run != nil && !o.Run.MatchString(t.Name) {
			continue
		}
		start := time.Now()
		failures := t.run(o)
		report.Results = append(report.Results, Result{Name: t.Name, Place: t.Place, Failures: failures, Took: time.Since(start)})
	}
	report.Took = time.Since(began)
	return report
}

func (t *Test) run(o Options) []Failure {
	made := o.Rules.Rehearse(t.event, engine.RehearseOptions{
		Trees: true, Plans: true, Whole: true, Past: t.pastOf(o.Rules), Refused: t.refused(),
	})
	if o.Coverage != nil {
		o.Coverage.add(made)
	}
	j := &judge{t: t, o: o, made: made}
	j.matching()
	j.failing()
	for _, w := range t.actions {
		j.actions(w)
	}
	return j.failures
}

func (t *Test) refused() map[string]string {
	all := map[string]string{}
	for _, n := range t.unverified {
		all[n.text] = "not verified: the test says so"
	}
	return all
}

// pastOf gives what the test says that steps came to.
func (t *Test) pastOf(set *engine.RuleSet) func(string, int) []*engine.StepResult {
	return func(rule string, index int) []*engine.StepResult {
		for _, p := range t.past {
			if p.rule.text == rule {
				return p.of(set.Rule(rule), index)
			}
		}
		return nil
	}
}

// judge compares what the rules made of an event with what a test says.
type judge struct {
	t        *Test
	o        Options
	made     *engine.Rehearsal
	failures []Failure
}

func (j *judge) fail(lines []string, format string, args ...any) {
	j.failures = append(j.failures, Failure{fmt.Sprintf(format, args...), lines})
}

// of is what a rule made of the event; nil: it was not asked.
func (j *judge) of(rule string) *engine.Explanation {
	i := slices.IndexFunc(j.made.Asked, func(e engine.Explanation) bool { return e.Rule == rule })
	if i < 0 {
		return nil
	}
	return &j.made.Asked[i]
}

// matching compares which rules match.
func (j *judge) matching() {
	t := j.t
	if j.made.MatchErr != "" {
		j.fail(nil, "%s", j.made.MatchErr)
		return
	}
	wanted := slices.Clone(t.match)
	for _, w := range t.actions {
		if !has(wanted, w.rule.text) {
			wanted = append(wanted, w.rule)
		}
	}
	for _, n := range wanted {
		j.wanted(n.text)
	}
	for i := range j.made.Asked {
		e := &j.made.Asked[i]
		if e.Verdict.Outcome != engine.Matched {
			continue
		}
		if t.exact && !has(t.match, e.Rule) {
			j.fail(nil, "rule %q matches, and match does not name it", e.Rule)
		} else if has(t.noMatch, e.Rule) {
			j.fail(nil, "rule %q matches, and no_match names it", e.Rule)
		}
	}
}

// wanted is about a rule that is to match.
func (j *judge) wanted(rule string) {
	e := j.of(rule)
	switch {
	case e == nil:
		var buckets []string
		if r := j.o.Rules.Rule(rule); r != nil {
			buckets = r.Buckets
		}
		j.fail(nil, "rule %q is not asked: it is for bucket %s, and the event came to %q", rule, strings.Join(quote(buckets), ", "), j.t.event.Bucket)
	case e.Verdict.Outcome == engine.NoMatch:
		lines := decided(e.When)
		if j.made.BodyErr != "" {
			lines = append(lines, "the body can't be read: "+j.made.BodyErr)
		}
		j.fail(lines, "rule %q does not match: %s", rule, e.Verdict.Why)
	}
}

func quote(texts []string) []string {
	var all []string
	for _, t := range texts {
		all = append(all, fmt.Sprintf("%q", t))
	}
	return all
}

// failing compares which conditions fail.
func (j *judge) failing() {
	for i := range j.made.Asked {
		e := &j.made.Asked[i]
		expected := slices.ContainsFunc(j.t.errors, func(w wantError) bool { return w.rule.text == e.Rule })
		if e.Verdict.Outcome == engine.Errored && !expected {
			j.fail(decided(e.When), "rule %q ends in an error: %s", e.Rule, e.Verdict.Why)
		}
	}
	for _, w := range j.t.errors {
		e := j.of(w.rule.text)
		switch {
		case e == nil:
			j.wanted(w.rule.text)
		case e.Verdict.Outcome != engine.Errored:
			does := map[engine.Outcome]string{engine.Matched: "matches", engine.NoMatch: "does not match"}[e.Verdict.Outcome]
			j.fail(nil, "rule %q %s, and errors says that it ends in an error", w.rule.text, does)
		case !w.why.Matches(e.Verdict.Why):
			j.fail(difference(w.why, e.Verdict.Why), "rule %q ends in another error (-want +got)", w.rule.text)
		}
	}
}

// decided are the parts of a condition that made it what it is.
func decided(n *engine.Node) []string {
	if n == nil {
		return nil
	}
	if n.Decided {
		return strings.Split(strings.TrimRight(n.String(), "\n"), "\n")
	}
	var lines []string
	for _, p := range n.Parts {
		lines = append(lines, decided(p)...)
	}
	return lines
}
