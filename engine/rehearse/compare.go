package rehearse

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"hookrun/engine"
)

// Options say what is compared.
type Options struct {
	Window
	Rules  *engine.RuleSet // what would be; required
	Before *engine.RuleSet // compared with what these would make of it; nil: with what was recorded
	Rule   string          // this rule alone; "": all
	Plans  bool            // of rules that match as before: what they would run, too

	// Made gives the rules of a generation, by RuleSet.Hash, where they are known:
	// then rules that say the same now are not asked again. It is called by several
	// goroutines at once, a few times for each generation. nil: none are known.
	Made func(hash string) *engine.RuleSet
}

// Kind is how a decision differs.
type Kind string

// Kinds of differences.
const (
	Newly   Kind = "newly"   // the rule matches, and did not
	NoMore  Kind = "no_more" // it matched, and does not
	Differs Kind = "differs" // it matches as before, and does something else
	Fails   Kind = "fails"   // its condition fails, and did not; nor did it match
)

// kinds is their order for people.
func kinds() []Kind { return []Kind{Newly, NoMore, Differs, Fails} }

// Report is what a comparison came to.
type Report struct {
	Seen
	Flipped int          `json:"flipped"` // decisions that are others: matches that are new, or no more
	Rules   []RuleReport `json:"rules"`   // of which something differs, those with the most first
}

// Same reports whether nothing differs.
func (r *Report) Same() bool { return len(r.Rules) == 0 }

// RuleReport is what differs of one rule.
type RuleReport struct {
	Rule       string  `json:"rule"`
	Place      string  `json:"place,omitempty"` // file:line
	New        bool    `json:"new,omitempty"`   // it was never asked before
	Gone       bool    `json:"gone,omitempty"`  // it is not there any more, or switched off
	Newly      int     `json:"newly"`           // events; the next three too
	NoMore     int     `json:"no_more"`
	Differs    int     `json:"differs"`
	Fails      int     `json:"fails"`
	Uncompared int     `json:"uncompared,omitempty"` // that match as before, of which it is not known what was run
	Groups     []Group `json:"groups"`
}

// Bounds of a Report.
const (
	MaxSample = 5  // Group.Sample
	maxGroups = 20 // of one rule and kind; what is beyond is one group more
)

// Group is events that differ in the same way.
type Group struct {
	Kind   Kind     `json:"kind"`
	Why    string   `json:"why,omitempty"` // for people: what decides, where that is known; of Differs the places
	Count  int      `json:"count"`
	Sample []string `json:"sample"`          // ids of some of the events, the newest
	Diffs  []Diff   `json:"diffs,omitempty"` // of the first of Sample
}

// Diff is one text of what a rule does that differs.
type Diff struct {
	Step  string `json:"step"`
	Field string `json:"field"` // as a rule would say: argv[2], env REF, body
	Was   string `json:"was"`   // both masked, and cut around where they part
	Now   string `json:"now"`
}

// Compare asks o.Rules about what came. It ends with an error of ctx when that
// ends, and without one when o.Time is over.
func Compare(ctx context.Context, src Source, o Options) (*Report, error) {
	c := &comparer{src: src, o: o}
	all := c.tally()
	left, err := walk(ctx, src, o.Window, c.tally, all.merge)
	if err != nil {
		return nil, err
	}
	all.seen.Left = left
	return all.report(), nil
}

// comparer is what all workers of a comparison share.
type comparer struct {
	src Source
	o   Options

	// made holds of generations, as EventRecord.Rules has them, and rules of them
	// the Rule.Hash: keys are madeBy, values string.
	made sync.Map

	// pairs holds what is to be asked about the events of a generation: keys are as
	// EventRecord.Rules, values pair.
	pairs sync.Map
}

// madeBy is a rule of a generation.
type madeBy struct{ rules, rule string }

func (c *comparer) tally() *comparison {
	return &comparison{c: c, rules: map[string]*ruleTally{}, asked: map[string]bool{}}
}

// comparison is what some events came to.
type comparison struct {
	c     *comparer
	seen  Seen
	asked map[string]bool // rules that were asked before
	rules map[string]*ruleTally
}

// ruleTally counts what differs of a rule.
type ruleTally struct {
	uncompared int
	groups     map[groupKey]*Group
}

type groupKey struct {
	kind Kind
	why  string
}

// event implements tally.
func (t *comparison) event(ctx context.Context, rec *engine.EventRecord) error {
	if skipped(rec) {
		t.seen.Skipped++
		return nil
	}
	t.seen.add(rec)
	ask := t.c.pairOf(rec)
	if ask.same() {
		return nil
	}
	refused := refusals(rec.Verdicts)
	then := rec.Verdicts
	if t.c.o.Before != nil {
		then, _ = ask.before.Verdicts(rec.Event, refused)
	}
	now, matchErr := ask.now.Verdicts(rec.Event, refused)
	was := earlier{verdicts: then, found: make([]bool, len(then))}
	for i := range now {
		if err := t.rule(ctx, rec, &now[i], was.of(now[i].Rule)); err != nil {
			return err
		}
	}
	for i := range then {
		v := &then[i]
		if !ask.concerns(v.Rule) {
			continue
		}
		t.asked[v.Rule] = true
		if v.Outcome == engine.Matched && !was.found[i] {
			t.note(rec, v.Rule, Group{Kind: NoMore, Why: t.whyNotAsked(matchErr, v.Rule)})
		}
	}
	return nil
}

// earlier is the verdicts of before, one of each rule, and which have been found.
type earlier struct {
	verdicts []engine.Verdict
	found    []bool
	next     int            // where the next one is likely to be: rules mostly are in the same order
	byRule   map[string]int // nil until one is not there
}

// of returns the verdict of a rule; nil: it was not asked.
func (e *earlier) of(rule string) *engine.Verdict {
	i := e.next
	if i >= len(e.verdicts) || e.verdicts[i].Rule != rule {
		if e.byRule == nil {
			e.byRule = make(map[string]int, len(e.verdicts))
			for i := range e.verdicts {
				e.byRule[e.verdicts[i].Rule] = i
			}
		}
		var asked bool
		if i, asked = e.byRule[rule]; !asked {
			return nil
		}
	}
	e.found[i], e.next = true, i+1
	return &e.verdicts[i]
}

// whyNotAsked says why a rule was not asked about an event that it matched.
func (t *comparison) whyNotAsked(matchErr, rule string) string {
	switch {
	case matchErr != "":
		return matchErr
	case t.c.o.Rules.Rule(rule) == nil:
		return "it is not there any more, or switched off"
	}
	return "its bucket is another one"
}

// rule compares what one rule makes of an event with what was made of it; was is
// nil where it was not asked.
func (t *comparison) rule(ctx context.Context, rec *engine.EventRecord, now, was *engine.Verdict) error {
	if t.c.o.Rule != "" && now.Rule != t.c.o.Rule {
		return nil
	}
	matched, matches := was != nil && was.Outcome == engine.Matched, now.Outcome == engine.Matched
	switch {
	case matches && !matched:
		t.note(rec, now.Rule, Group{Kind: Newly, Why: whyNot(was)})
	case matched && !matches:
		t.note(rec, now.Rule, Group{Kind: NoMore, Why: falsePart(now.Why, "is")})
	case now.Outcome == engine.Errored && was != nil && was.Outcome != engine.Errored:
		t.note(rec, now.Rule, Group{Kind: Fails, Why: now.Why})
	case matches && t.c.o.Plans:
		return t.plans(ctx, rec, now.Rule)
	}
	return nil
}

// whyNot says why a rule did not match.
func whyNot(was *engine.Verdict) string {
	switch {
	case was == nil:
		return "it was not asked"
	case was.Why == "":
		return ""
	}
	return "before, " + falsePart(was.Why, "was")
}

// falsePart says it of a part of a condition that decided: a is false.
func falsePart(why, verb string) string {
	if part, ok := strings.CutPrefix(why, "false: "); ok {
		return part + " " + verb + " false"
	}
	return why
}

// plans compares what a rule would do with what it did.
func (t *comparison) plans(ctx context.Context, rec *engine.EventRecord, rule string) error {
	diffs, known, err := t.c.plans(ctx, rec, rule)
	switch {
	case err != nil:
		return err
	case !known:
		t.of(rule).uncompared++
	case len(diffs) > 0:
		t.note(rec, rule, Group{Kind: Differs, Why: placesOf(diffs), Diffs: diffs})
	}
	return nil
}

func (t *comparison) of(rule string) *ruleTally {
	if t.rules[rule] == nil {
		t.rules[rule] = &ruleTally{groups: map[groupKey]*Group{}}
	}
	return t.rules[rule]
}

// note counts an event of a group.
func (t *comparison) note(rec *engine.EventRecord, rule string, g Group) {
	if t.c.o.Rule != "" && rule != t.c.o.Rule {
		return
	}
	g.Count, g.Sample = 1, []string{rec.Event.ID}
	t.of(rule).add(&g)
}

// add takes a group in, behind those of newer events.
func (r *ruleTally) add(g *Group) {
	key := groupKey{g.Kind, g.Why}
	if r.groups[key] == nil && r.count(g.Kind) >= maxGroups {
		key.why = otherReasons
	}
	have := r.groups[key]
	if have == nil {
		g.Why = key.why
		r.groups[key] = g
		return
	}
	have.Count += g.Count
	have.Sample = append(have.Sample, g.Sample[:min(len(g.Sample), MaxSample-len(have.Sample))]...)
}

// otherReasons is the group of what is beyond maxGroups.
const otherReasons = "other reasons"

// count is how many groups there are of a kind, beside that of other reasons.
func (r *ruleTally) count(kind Kind) int {
	n := 0
	for key := range r.groups {
		if key.kind == kind && key.why != otherReasons {
			n++
		}
	}
	return n
}

// merge adds what a later page came to.
func (t *comparison) merge(o *comparison) {
	t.seen.merge(o.seen)
	maps.Copy(t.asked, o.asked)
	for name, r := range o.rules {
		have := t.of(name)
		have.uncompared += r.uncompared
		for _, g := range r.sorted() {
			have.add(&g)
		}
	}
}

// sorted are the groups, in an order that depends on nothing else.
func (r *ruleTally) sorted() []Group {
	list := []Group{}
	for _, g := range r.groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds(), a.Kind), slices.Index(kinds(), b.Kind)),
			-cmp.Compare(a.Count, b.Count), strings.Compare(a.Why, b.Why),
		)
	})
	return list
}

// report makes the Report of all that was counted.
func (t *comparison) report() *Report {
	rep := &Report{Seen: t.seen, Rules: []RuleReport{}}
	for name, r := range t.rules {
		if len(r.groups) == 0 {
			continue
		}
		one := RuleReport{Rule: name, New: t.isNew(name), Gone: true, Uncompared: r.uncompared, Groups: r.sorted()}
		if rule := t.c.o.Rules.Rule(name); rule != nil {
			one.Place, one.Gone = rule.Place, false
		}
		for _, g := range one.Groups {
			one.count(g)
		}
		rep.Flipped += one.Newly + one.NoMore
		rep.Rules = append(rep.Rules, one)
	}
	slices.SortFunc(rep.Rules, func(a, b RuleReport) int {
		return cmp.Or(-cmp.Compare(a.total(), b.total()), strings.Compare(a.Rule, b.Rule))
	})
	return rep
}

// isNew reports whether the rules before did not have the rule.
func (t *comparison) isNew(rule string) bool {
	if before := t.c.o.Before; before != nil {
		return before.Rule(rule) == nil
	}
	return !t.asked[rule]
}

func (r *RuleReport) count(g Group) {
	switch g.Kind {
	case Newly:
		r.Newly += g.Count
	case NoMore:
		r.NoMore += g.Count
	case Differs:
		r.Differs += g.Count
	case Fails:
		r.Fails += g.Count
	}
}

func (r *RuleReport) total() int { return r.Newly + r.NoMore + r.Differs + r.Fails }

// refusals are the rules that did not take an event when it came, and why.
func refusals(then []engine.Verdict) map[string]string {
	var refused map[string]string
	for _, v := range then {
		if !v.Refused() {
			continue
		}
		if refused == nil {
			refused = map[string]string{}
		}
		refused[v.Rule] = v.Why
	}
	return refused
}
