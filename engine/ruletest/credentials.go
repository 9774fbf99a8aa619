package ruletest

import (
	"fmt"
	"slices"
	"strings"

	"hookrun/engine"
)

// withoutCredentials is an event as a test shows it: with engine.Masked in the place
// of what proves who sent it. where names what was masked.
func withoutCredentials(ev *engine.Event) (shown *engine.Event, where []string) {
	e := *ev
	e.Header = ev.Header.Clone()
	for _, name := range keysOf(e.Header) {
		for i, value := range e.Header[name] {
			if engine.IsCredential(name) && !strings.Contains(value, engine.Masked) { // some are kept so
				e.Header[name][i] = engine.Masked
				where = append(where, "the header "+valid(name))
			}
		}
	}
	if e.Query = engine.MaskParams(ev.Query); e.Query != ev.Query {
		where = append(where, "the query")
	}
	return &e, slices.Compact(where)
}

// maskedNote says in a test what is masked in it and, of the rules that were asked,
// where they are known, which ones make something else of the event for that.
func maskedNote(rules *engine.RuleSet, p Past, shown *engine.Event, where []string) string {
	if len(where) == 0 {
		return ""
	}
	note := fmt.Sprintf("Credentials are *** here: %s.", strings.Join(where, ", "))
	if rules == nil {
		return note + " The test fails where a rule wants them: write others that will do."
	}
	if others := decidedOtherwise(rules, p.Verdicts, shown); len(others) > 0 {
		note += fmt.Sprintf(" The test fails, as these rules want them: %s. Write others that will do.", strings.Join(others, ", "))
	}
	return note
}

// decidedOtherwise are the rules that make something else of an event than was made
// of it then.
func decidedOtherwise(rules *engine.RuleSet, then []engine.Verdict, ev *engine.Event) []string {
	refused, was := map[string]string{}, map[string]engine.Outcome{}
	for _, v := range then {
		was[v.Rule] = v.Outcome
		if v.Refused() {
			refused[v.Rule] = v.Why
		}
	}
	var others []string
	for _, x := range rules.Rehearse(ev, engine.RehearseOptions{Refused: refused}).Asked {
		if x.Verdict.Outcome != was[x.Rule] {
			others = append(others, x.Rule)
		}
	}
	return others
}
