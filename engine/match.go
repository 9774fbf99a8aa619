package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// NewRuleSet makes a generation of rules, in their order, whose names are all
// different. hash names it.
func NewRuleSet(rules []*Rule, hash string) *RuleSet {
	s := &RuleSet{
		Rules:    rules,
		Hash:     hash,
		byBucket: map[string][]*Rule{},
		byName:   make(map[string]*Rule, len(rules)),
		order:    make(map[*Rule]int, len(rules)),
		now:      time.Now,
	}
	s.mask = sync.OnceValue(func() *masker { return newMasker(s.Secrets) })
	for i, r := range rules {
		s.byName[r.Name] = r
		s.order[r] = i
		if len(r.Buckets) == 0 {
			s.anywhere = append(s.anywhere, r)
		}
		for _, b := range r.Buckets {
			s.byBucket[b] = append(s.byBucket[b], r)
		}
	}
	return s
}

// Rule returns the rule of that name, or nil.
func (s *RuleSet) Rule(name string) *Rule { return s.byName[name] }

// works reports whether runs of the rule may start.
func (s *RuleSet) works(rule string) bool {
	r := s.byName[rule]
	return r != nil && !r.Shadow
}

// off says why runs of a rule that is there may not start; "" of one that is not
// there.
func (s *RuleSet) off(rule string) string {
	switch {
	case s.byName[rule] != nil:
		return "in mode shadow"
	case slices.ContainsFunc(s.Off, func(r *Rule) bool { return r.Name == rule }):
		return "switched off"
	}
	return ""
}

// limit is how many runs may share a lane with one of the rule.
func (s *RuleSet) limit(rule string) int {
	r := s.byName[rule]
	switch {
	case r == nil:
		return 1
	case r.Concurrency.None: // it had lanes when the run was made
		return math.MaxInt
	}
	return r.Concurrency.limit()
}

// Known reports whether the rules speak of the bucket, or any of them, were it
// switched on, could match an event of it.
func (s *RuleSet) Known(bucket string) bool {
	return s.Buckets[bucket] != nil || len(s.anywhere) > 0 || len(s.byBucket[bucket]) > 0 || slices.ContainsFunc(s.Off, func(r *Rule) bool {
		return len(r.Buckets) == 0 || slices.Contains(r.Buckets, bucket)
	})
}

// candidates are the rules that the event's bucket concerns, in order. They are
// not to be changed.
func (s *RuleSet) candidates(ev *Event) []*Rule {
	lists := [][]*Rule{s.anywhere, s.byBucket[ev.Bucket]}
	if ev.BucketID != ev.Bucket {
		lists = append(lists, s.byBucket[ev.BucketID])
	}
	lists = slices.DeleteFunc(lists, func(rules []*Rule) bool { return len(rules) == 0 })
	if len(lists) == 1 { // as mostly: in order already
		return lists[0]
	}
	rules := slices.Concat(lists...)
	slices.SortFunc(rules, func(a, b *Rule) int { return cmp.Compare(s.order[a], s.order[b]) })
	return slices.Compact(rules)
}

// Match asks the rules that the event's bucket concerns, in order, and returns
// a verdict of each and the rules that matched. refused are those that do not
// take the event, and why. A rule in mode shadow ends no search. It is pure: the
// same arguments give the same answer at any time, but for Verdict.Slow.
func (s *RuleSet) Match(scope *Scope, refused map[*Rule]string) (verdicts []Verdict, matched []*Rule) {
	candidates := s.candidates(scope.event)
	verdicts = make([]Verdict, 0, len(candidates))
	var stopper *Rule
	began := s.now()
	for _, r := range candidates {
		if stopper != nil {
			verdicts = append(verdicts, Verdict{Rule: r.Name, Outcome: NoMatch, Why: fmt.Sprintf("not asked: rule %q matched and says stop", stopper.Name)})
			continue
		}
		if why, ok := refused[r]; ok {
			verdicts = append(verdicts, Verdict{Rule: r.Name, Outcome: NoMatch, Why: why})
			continue
		}
		v := r.verdict(scope)
		ended := s.now()
		if took := ended.Sub(began); took > SlowRule {
			v.Slow = took
		}
		began = ended // a look at the clock takes as long as a short condition
		verdicts = append(verdicts, v)
		if v.Outcome != Matched {
			continue
		}
		matched = append(matched, r)
		if r.Stop && !r.Shadow {
			stopper = r
		}
	}
	return verdicts, matched
}

func (r *Rule) takes(method string) bool {
	return len(r.Methods) == 0 || slices.Contains(r.Methods, method)
}

// decision is what rules make of an event.
type decision struct {
	verdicts []Verdict // one of each candidate, in order
	matched  []match   // of those whose condition is true, in order
}

// match is a rule whose condition is true, and the runs that it asks for: none
// where it could not tell them, which its verdict says.
type match struct {
	rule  *Rule
	plans []*plan
}

func (d decision) match(r *Rule) *match {
	i := slices.IndexFunc(d.matched, func(m match) bool { return m.rule == r })
	if i < 0 {
		return nil
	}
	return &d.matched[i]
}

// decide asks the rules about the event of scope, and those that match for their
// runs. instance is whose calls are looked for in ViaHeader; "": nobody's.
func (s *RuleSet) decide(scope *Scope, refused map[*Rule]string, instance string) decision {
	verdicts, matched := s.Match(scope, refused)
	d := decision{verdicts: verdicts}
	for _, r := range matched {
		plans, err := r.plans(scope, mark(instance, r.Name))
		v := verdictOf(verdicts, r.Name)
		switch {
		case err != nil:
			v.Outcome, v.Why = Errored, err.Error()
			plans = nil
		case len(plans) == 0:
			v.Why = "for_each.list: the list is empty"
		}
		d.matched = append(d.matched, match{r, plans})
	}
	return d
}

func verdictOf(verdicts []Verdict, rule string) *Verdict {
	i := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.Rule == rule })
	return &verdicts[i] // a rule that matched has one
}

// verdict asks one rule.
func (r *Rule) verdict(scope *Scope) Verdict {
	v := Verdict{Rule: r.Name, Outcome: NoMatch}
	if !r.takes(scope.event.Method) {
		v.Why = fmt.Sprintf("the method is %s, not %s", scope.event.Method, strings.Join(r.Methods, " or "))
		return v
	}
	if r.When == nil {
		v.Outcome = Matched
		return v
	}
	ok, missing, err := r.When.Eval(scope)
	v.Missing = missing
	if scope.answers != nil {
		scope.answers[r] = scope.last
	}
	switch {
	case err != nil:
		v.Outcome, v.Why = Errored, err.Error()
	case ok:
		v.Outcome = Matched
	case scope.eval.part != "":
		v.Why = scope.eval.part
	default:
		v.Why = r.When.prog.whole
	}
	return v
}

// partIsFalse begins what a verdict says of a condition that is false. The source
// of the part that decided follows, or of the whole.
const partIsFalse = "false: "
