package ruletest

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// Coverage is what tests have reached of the conditions of rules.
type Coverage struct {
	rules []*ruleCover
	g     *rules.Generation
}

// ruleCover is Coverage of one rule.
type ruleCover struct {
	rule    *engine.Rule
	matched bool
	when    *spot         // nil: it has no condition
	ifs     map[int]*spot // of its actions that have one, by their index
}

// spot is a part of a condition.
type spot struct {
	text   string
	offset int
	yesNo  bool // it answers yes or no
	t, f   bool // it was true, it was false
	parts  []*spot
}

// Gap is what no test has reached.
type Gap struct {
	Rule  string
	Place string // file:line:col
	Text  string // the part of the condition; "": the rule as a whole
	Msg   string
}

// NewCoverage makes a Coverage of rules that were loaded with Options.Dry.
func NewCoverage(g *rules.Generation) *Coverage {
	c := &Coverage{g: g}
	nothing := engine.NewScope(blank())
	for _, r := range g.Rules.Rules {
		rc := &ruleCover{rule: r, ifs: map[int]*spot{}}
		if r.When != nil {
			rc.when = newSpot(r.When.Explain(nothing), "")
		}
		for i, step := range r.Steps {
			if step.If != nil {
				rc.ifs[i] = newSpot(step.If.Explain(nothing), "")
			}
		}
		c.rules = append(c.rules, rc)
	}
	return c
}

// newSpot takes the shape of a condition from a tree of it. op is that of the node
// above.
func newSpot(n *engine.Node, op string) *spot {
	s := &spot{text: n.Text, offset: n.Offset, yesNo: answers(n.Op) || joins(op)}
	for _, p := range n.Parts {
		s.parts = append(s.parts, newSpot(p, n.Op))
	}
	return s
}

// joins reports whether the operands of an operator answer yes or no.
func joins(op string) bool { return slices.Contains([]string{"&&", "||", "and", "or", "not", "!"}, op) }

// answers reports whether an operator or a function answers yes or no.
func answers(op string) bool {
	return joins(op) || slices.Contains([]string{
		"==", "!=", "<", "<=", ">", ">=", "in", "not in", "matches", "contains", "startsWith", "endsWith",
		"any", "all", "none", "one", "match", "hasPrefix", "hasSuffix",
	}, op)
}

// add takes note of what one event reached.
func (c *Coverage) add(made *engine.Rehearsal) {
	for i := range made.Asked {
		e := &made.Asked[i]
		for _, rc := range c.rules {
			if rc.rule.Name != e.Rule {
				continue
			}
			rc.matched = rc.matched || e.Verdict.Outcome == engine.Matched
			if rc.when != nil && e.When != nil {
				rc.when.add(e.When)
			}
			rc.addSteps(e.Runs)
		}
	}
}

func (rc *ruleCover) addSteps(runs []engine.PlannedRun) {
	for _, run := range runs {
		for i := range run.Steps {
			if step := &run.Steps[i]; step.If != nil && rc.ifs[step.Index] != nil {
				rc.ifs[step.Index].add(step.If)
			}
		}
	}
}

func (s *spot) add(n *engine.Node) {
	if n.Text != s.text || n.Offset != s.offset || len(n.Parts) != len(s.parts) {
		return // a tree of another shape: it could not be drawn in full
	}
	switch {
	case n.Rounds > 0:
		s.t, s.f = s.t || n.Trues > 0, s.f || n.Trues < n.Rounds && n.State != engine.NodeError
	case n.State == engine.NodeTrue:
		s.t = true
	case n.State == engine.NodeFalse:
		s.f = true
	}
	for i, p := range n.Parts {
		s.parts[i].add(p)
	}
}

// Percent is how much of what there is to reach was reached, rounded down: of each
// part of a condition, a rule's or one of its actions', not of closing ones, that it
// was true and that it was false, of each rule without a condition that it matched.
func (c *Coverage) Percent() int {
	reached, all := 0, 0
	for _, rc := range c.rules {
		if rc.when == nil {
			all++
			reached += one(rc.matched)
		}
		for _, cond := range rc.conditions(c.g) {
			for s := range cond.all() {
				all += 2
				reached += one(s.t) + one(s.f)
			}
		}
	}
	if all == 0 {
		return 100
	}
	return 100 * reached / all
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// all are the parts that answer yes or no.
func (s *spot) all() iter.Seq[*spot] { return func(yield func(*spot) bool) { s.walk(yield) } }

func (s *spot) walk(yield func(*spot) bool) bool {
	if s.yesNo && !yield(s) {
		return false
	}
	for _, p := range s.parts {
		if !p.walk(yield) {
			return false
		}
	}
	return true
}

// Gaps are what no test has reached, in the order of the rules.
func (c *Coverage) Gaps() []Gap {
	var gaps []Gap
	for _, rc := range c.rules {
		if !rc.matched {
			gaps = append(gaps, Gap{Rule: rc.rule.Name, Place: rc.rule.Place, Msg: "no test matches it"})
		}
		for _, cond := range rc.conditions(c.g) {
			for s := range cond.all() {
				if msg := s.missing(); msg != "" {
					at := cond.place(s.offset)
					gaps = append(gaps, Gap{Rule: rc.rule.Name, Place: fmt.Sprintf("%s:%d:%d", at.File, at.Line, at.Col), Text: s.text, Msg: msg})
				}
			}
		}
	}
	return gaps
}

// condition is that of a rule, or of one of its actions.
type condition struct {
	*spot
	place func(offset int) rules.Problem // of a byte of it
}

func (rc *ruleCover) conditions(g *rules.Generation) []condition {
	var all []condition
	if rc.when != nil {
		all = append(all, condition{rc.when, func(offset int) rules.Problem { return g.InWhen(rc.rule.Name, offset) }})
	}
	for _, i := range slices.Sorted(maps.Keys(rc.ifs)) {
		all = append(all, condition{rc.ifs[i], func(offset int) rules.Problem { return g.InIf(rc.rule.Name, i, offset) }})
	}
	return all
}

func (s *spot) missing() string {
	switch {
	case !s.t && !s.f:
		return "never asked"
	case !s.t:
		return "never true"
	case !s.f:
		return "never false"
	}
	return ""
}
