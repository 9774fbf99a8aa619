package ruletest

import (
	"fmt"
	"maps"
	"net/url"
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

// withoutThem are runs of an event with its credentials masked in what came out of
// their steps: a command may have printed them. Plans are kept without.
func withoutThem(runs []PastRun, ev *engine.Event) []PastRun {
	set := engine.NewRuleSet(nil, "")
	set.Secrets = credentialsOf(ev)
	var all []PastRun
	for _, r := range runs {
		one := PastRun{Run: r.Run}
		for _, s := range r.Steps {
			one.Steps = append(one.Steps, withMasked(set, s))
		}
		all = append(all, one)
	}
	return all
}

// credentialsOf are the values in the header and the query of an event that prove
// who sent it.
func credentialsOf(ev *engine.Event) (all []engine.Secret) {
	query, _ := url.ParseQuery(ev.Query) // of what is wrong in it nothing is known
	for _, from := range []map[string][]string{ev.Header, query} {
		for name, values := range from {
			for _, v := range values {
				if engine.IsCredential(name) {
					_, token, _ := strings.Cut(v, " ") // behind Bearer
					all = append(all, engine.NewSecret(v), engine.NewSecret(token))
				}
			}
		}
	}
	return all
}

func withMasked(set *engine.RuleSet, s *engine.StepResult) *engine.StepResult {
	one := *s
	for _, text := range []*engine.Text{&one.Stdout, &one.Stderr} {
		text.Head, text.Tail = []byte(set.Mask(string(text.Head))), []byte(set.Mask(string(text.Tail)))
	}
	one.Err, one.Output.Body = set.Mask(s.Err), set.Mask(s.Output.Body)
	one.Output.Outputs = maps.Clone(s.Output.Outputs)
	for name, value := range one.Output.Outputs {
		one.Output.Outputs[name] = set.Mask(value)
	}
	return &one
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
