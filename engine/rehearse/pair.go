package rehearse

import (
	"slices"

	"hookrun/engine"
)

// pair is what is asked about an event: the rules before, where these are asked,
// and those now. Rules that say the same in both are left out where that can't
// matter.
type pair struct {
	before *engine.RuleSet // nil: what was recorded counts
	now    *engine.RuleSet
	only   map[string]bool // rules of either that are compared; nil: all
}

// same reports whether there is nothing to ask.
func (p pair) same() bool { return p.only != nil && len(p.only) == 0 }

// concerns reports whether a rule is one of those that are compared.
func (p pair) concerns(rule string) bool { return p.only == nil || p.only[rule] }

// pairOf is what is asked about an event.
func (c *comparer) pairOf(rec *engine.EventRecord) pair {
	if p, ok := c.pairs.Load(rec.Rules); ok {
		return p.(pair)
	}
	before := c.o.Before
	if before == nil && c.o.Made != nil {
		before = c.o.Made(rec.Rules)
	}
	p := pair{before: c.o.Before, now: c.o.Rules}
	if before != nil {
		p = differing(before, c.o.Rules)
	}
	c.pairs.Store(rec.Rules, p)
	return p
}

// differing leaves out what is the same in both: a rule's hash is of all that
// decides what it makes of an event. Only rules that say stop have a say in what
// becomes of others; where there is one, all are asked.
func differing(before, now *engine.RuleSet) pair {
	stops := func(r *engine.Rule) bool { return r.Stop }
	if slices.ContainsFunc(before.Rules, stops) || slices.ContainsFunc(now.Rules, stops) {
		return pair{before: before, now: now}
	}
	p := pair{only: map[string]bool{}}
	p.before = without(before, now, p.only)
	p.now = without(now, before, p.only)
	return p
}

// without is a set of the rules that are not the same in the other one, whose
// names it notes.
func without(rules, other *engine.RuleSet, names map[string]bool) *engine.RuleSet {
	var list []*engine.Rule
	for _, r := range rules.Rules {
		if o := other.Rule(r.Name); o == nil || o.Hash != r.Hash {
			list = append(list, r)
			names[r.Name] = true
		}
	}
	set := engine.NewRuleSet(list, rules.Hash)
	set.Secrets = rules.Secrets
	return set
}
