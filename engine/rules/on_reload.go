package rules

import (
	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// OnReload says what becomes of a generation that is read while another one is in
// force.
type OnReload struct {
	// Confirm is set where a generation is held until a person accepts it if it
	// decides otherwise of more than Over of the last day's events and rules.
	Confirm bool
	Over    int
}

// maxConfirmOver bounds OnReload.Over: beyond it nothing is ever held.
const maxConfirmOver = 1_000_000

// onReload reads the key of that name.
func (l *loader) onReload() OnReload {
	t, n := l.only("on_reload")
	if n == nil {
		return OnReload{}
	}
	const key = "confirm_if_changes_over"
	o, ok := t.keys.part("on_reload", "{"+key+": "+said(n, aCount, "5")+"}", key)
	if !ok || !o.needs("on_reload", "write {"+key+": 5}", key) {
		return OnReload{}
	}
	return OnReload{Confirm: true, Over: o.between(key, 0, maxConfirmOver, 0, "0 holds whatever changes a single decision")}
}

// InWhen returns the place of a byte of a rule's condition as a Problem without
// words: of that rule. Where it can't be told it has the rule's name alone. The
// files are read again for it, so that rules don't keep their sources.
func (g *Generation) InWhen(r *engine.Rule, offset int) Problem {
	for _, f := range g.Files {
		l := &loader{kind: rulesKind()}
		l.open(f)
		for _, t := range l.tops {
			if n := t.whenOf(r); n != nil {
				line, col := t.d.src.inScalar(n, offset)
				return Problem{File: f.Path, Line: line, Col: col, Rule: r.Name}
			}
		}
	}
	return Problem{Rule: r.Name}
}

// whenOf returns the condition of a rule, nil where the file does not hold it.
func (t top) whenOf(r *engine.Rule) *yaml.Node {
	if t.keys.values["rules"] == nil {
		return nil
	}
	for _, item := range t.keys.list("rules", false) {
		if t.d.at(item) == r.Place && nameOf(item) == r.Name {
			return t.d.object(item, "a rule", ruleKeys()...).values["when"]
		}
	}
	return nil
}
