package control

import (
	"context"
	"slices"
	"time"

	"hookrun/engine"
)

// Rules implements Control.
func (l *Local) Rules(ctx context.Context) (RuleList, error) {
	if l.Ruleset == nil {
		return RuleList{}, noDaemon("there are no rules in force")
	}
	paused, err := l.Store.Paused(ctx)
	if err != nil {
		return RuleList{}, err
	}
	source := func(string) string { return "" }
	if l.Archive != nil {
		source = l.Archive.Source()
	}
	set := l.Ruleset()
	list := RuleList{Rules: []RuleInfo{}, Hash: set.Hash}
	for _, r := range slices.Concat(set.Rules, set.Off) {
		info := newRuleInfo(r)
		info.Off = set.Rule(r.Name) == nil
		info.Paused = slices.Contains(paused, r.Name) || slices.Contains(paused, "")
		info.Armed = l.isArmed(r.Name)
		info.When, info.Source = set.Mask(info.When), set.Mask(source(r.Place))
		list.Rules = append(list.Rules, info)
	}
	return list, l.addUse(ctx, list.Rules)
}

func newRuleInfo(r *engine.Rule) RuleInfo {
	info := RuleInfo{Name: r.Name, Place: r.Place, Buckets: r.Buckets, Methods: r.Methods, Shadow: r.Shadow}
	if r.When != nil {
		info.When = r.When.String()
	}
	return info
}

// ruleDay is the time of which RuleInfo.Day tells.
const ruleDay = 24 * time.Hour

// addUse adds what the rules were used for.
func (l *Local) addUse(ctx context.Context, rules []RuleInfo) error {
	uses, err := l.Store.RulesDay(ctx, time.Now().Add(-ruleDay))
	if err != nil {
		return err
	}
	why, err := l.why(ctx)
	if err != nil {
		return err
	}
	of := make(map[string]engine.RuleUse, len(uses))
	for _, u := range uses {
		of[u.Rule] = u
	}
	for i := range rules {
		u := of[rules[i].Name]
		rules[i].Day = u.Runs
		if u.Last != nil {
			last := newRun(u.Last, why(u.Last))
			rules[i].Last = &last
		}
	}
	return nil
}

// Generations implements Control.
func (l *Local) Generations(context.Context) (GenerationList, error) {
	list := GenerationList{Generations: []Generation{}, Held: l.held()}
	if l.Archive == nil {
		return list, nil
	}
	all, err := l.Archive.Generations()
	if err != nil {
		return GenerationList{}, err
	}
	list.Generations = append(list.Generations, all...)
	if l.Ruleset != nil {
		mask := l.Ruleset().Mask
		for i := range all {
			list.Generations[i].Diff = mask(list.Generations[i].Diff)
		}
	}
	return list, nil
}

func (l *Local) held() *Generation {
	if l.Gate == nil {
		return nil
	}
	return l.Gate.Held()
}

// AcceptRules implements Control.
func (l *Local) AcceptRules(ctx context.Context, hash string) (Generation, error) {
	if l.Live == nil {
		return Generation{}, noDaemon("there is no generation that waits to be accepted")
	}
	held := l.held()
	switch {
	case held == nil:
		return Generation{}, conflict("hookrun rules lists the generations", "no generation of rules waits to be accepted")
	case hash == "":
		return Generation{}, badRequest("hookrun rules accept "+held.Hash, "it is not said which generation is accepted")
	case hash != held.Hash:
		return Generation{}, conflict("look at what it changes before you accept it: hookrun rules", "the generation that waits is %s, not %s", held.Hash, hash)
	}
	return l.Gate.Accept(ctx, held.Hash)
}
