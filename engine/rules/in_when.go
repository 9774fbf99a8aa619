package rules

import "hookrun/engine"

// conditionOf says which condition of the rules is meant.
type conditionOf struct {
	rule string
	step int // index in engine.Rule.Steps; ofWhen: that of the rule itself
}

const ofWhen = -1

// InWhen returns the place of a byte of a rule's condition as a Problem without
// words: of that rule. Where it can't be told it has the rule's name alone. The
// files are read again when it is first asked for, so that rules that nobody asks
// about don't keep their sources.
func (g *Generation) InWhen(rule string, offset int) Problem {
	return g.inCondition(conditionOf{rule, ofWhen}, offset)
}

// InIf is InWhen for the condition of an action, by its index in
// engine.Rule.Steps.
func (g *Generation) InIf(rule string, step, offset int) Problem {
	return g.inCondition(conditionOf{rule, step}, offset)
}

func (g *Generation) inCondition(c conditionOf, offset int) Problem {
	p, ok := g.conditions()[c]
	if !ok {
		return Problem{Rule: c.rule}
	}
	line, col := p.d.src.inScalar(p.node, offset)
	return Problem{File: p.d.src.path, Line: line, Col: col, Rule: c.rule}
}

// conditionsOf are the conditions in files that were read without a problem.
func conditionsOf(files []File) map[conditionOf]place {
	l := &loader{kind: rulesKind()}
	for _, f := range files {
		l.open(f)
	}
	all := map[conditionOf]place{}
	for _, t := range l.tops {
		if t.keys.values["rules"] == nil {
			continue
		}
		for _, item := range t.keys.list("rules", false) {
			rule := t.d.entries(item, "a rule")
			if n := rule.values["when"]; n != nil {
				all[conditionOf{nameOf(item), ofWhen}] = place{t.d, n}
			}
			if rule.values["actions"] == nil {
				continue
			}
			for i, action := range rule.list(listKey(engine.PhaseMain), false) {
				if n := t.d.entries(action, "an action").values["if"]; n != nil {
					all[conditionOf{nameOf(item), i}] = place{t.d, n}
				}
			}
		}
	}
	return all
}
