package ruletest

import (
	"strings"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// Check notes the names in the tests that the rules do not know: a test that waits
// for what no rule is called would pass for ever, or never.
func (f *File) Check(set *engine.RuleSet) []rules.Problem {
	for _, t := range f.Tests {
		for _, list := range [][]name{t.match, t.noMatch, t.unverified} {
			for _, n := range list {
				f.checkRule(set, n)
			}
		}
		for _, w := range t.errors {
			f.checkRule(set, w.rule)
		}
		for _, w := range t.actions {
			f.checkActions(set, w)
		}
		for _, p := range t.past {
			f.checkRule(set, p.rule)
			f.checkPast(set, p)
		}
	}
	return f.doc.Problems()
}

func (f *File) checkRule(set *engine.RuleSet, n name) {
	if set.Rule(n.text) != nil {
		return
	}
	var names []string
	for _, r := range set.Rules {
		names = append(names, r.Name)
	}
	for _, r := range set.Off {
		if r.Name == n.text {
			f.doc.Fail(n.node, "", "rule %q is switched off", n.text)
			return
		}
	}
	f.doc.Fail(n.node, hintOf(n.text, names, "the rules are "), "there is no rule %q", n.text)
}

func (f *File) checkActions(set *engine.RuleSet, w wantRuns) {
	f.checkRule(set, w.rule)
	rule := set.Rule(w.rule.text)
	if rule == nil || !w.byID {
		return
	}
	for _, s := range w.runs[0] {
		f.checkStep(rule, s.id)
	}
}

// maxNamed bounds the names that a hint lists.
const maxNamed = 20

// hintOf is the name that was likely meant, or all that there are.
func hintOf(name string, known []string, begin string) string {
	const short = 2 // a number is near to every other
	if near := engine.Nearest(name, known); near != "" && len(name) > short || len(known) == 0 {
		return near
	}
	listed := strings.Join(known[:min(len(known), maxNamed)], ", ")
	return begin + listed
}
