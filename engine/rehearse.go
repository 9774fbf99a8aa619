package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// RehearseOptions say how much of a Rehearsal is wanted. What is left zero is
// left out.
type RehearseOptions struct {
	Rule  string // only this rule; "": all that the bucket concerns
	Trees bool   // Explanation.When and PlannedStep.If
	Plans bool   // PlannedRun.Steps
	Index *int   // these alone of the run with this PlannedRun.Index; nil: of all

	// Past gives the results of steps that a run of the rule has had, as if they had
	// just ended; nil: no step has run.
	Past func(rule string, index int) []*StepResult

	// Refused are rules that did not take the event when it came, and why: who sent
	// it can't be told any more.
	Refused map[string]string

	// Whole asks for texts of plans that are not cut to MaxPlanText. They are masked
	// all the same.
	Whole bool

	// Ended is closed once nobody waits for the answer any more: then it comes soon,
	// and is not whole. nil: somebody does.
	Ended <-chan struct{}
}

// Bounds of what a Rehearsal shows of one event, over all rules and all runs that
// it would start. A step or a tree that was begun within them is finished.
const (
	maxPlanned     = 2000      // steps
	maxPlannedText = 4 << 20   // bytes of what is shown of them
	maxPlannedRead = 128 << 20 // bytes that their templates came to, before they were cut to be shown
	maxPlannedTime = 2 * time.Second

	maxElementText = 2 << 20 // bytes of elements of lists

	maxWholeText = 64 << 20 // bytes of what is shown of steps, where RehearseOptions.Whole asks for all of it

	maxTreeText = 4 << 20 // bytes of trees
	maxTreeTime = 2 * time.Second
)

// planBounds are what planning steps may cost.
type planBounds struct {
	steps int
	text  int // bytes that are shown
	read  int // bytes that templates came to
	time  time.Duration
}

// bounds are those of a Rehearsal.
func (o *RehearseOptions) bounds() planBounds {
	b := planBounds{maxPlanned, maxPlannedText, maxPlannedRead, maxPlannedTime}
	if o.Whole {
		b.text = maxWholeText
	}
	return b
}

// Rehearse asks the rules about an event, as Submit would, and says what each
// would do. It is pure: it changes, keeps and runs nothing.
func (s *RuleSet) Rehearse(ev *Event, o RehearseOptions) *Rehearsal {
	return s.rehearse(NewScope(ev), o)
}

func (s *RuleSet) rehearse(scope *Scope, o RehearseOptions) (r *Rehearsal) {
	ev := scope.event
	r = &Rehearsal{Event: ev.ID, Rules: s.Hash}
	defer func() {
		if p := recover(); p != nil {
			r.MatchErr, r.Asked = s.panicked(p), nil
		}
	}()
	candidates := s.candidates(ev)
	x := s.rehearsing(scope, candidates, o)
	if o.Rule == "" {
		r.Asked = slices.Grow(r.Asked, len(candidates))
	}
	for i, rule := range candidates {
		if o.Rule == "" || o.Rule == rule.Name {
			r.Asked = append(r.Asked, x.explain(rule, x.verdicts[i]))
		}
	}
	if err := scope.BodyErr(); err != nil && !errors.Is(err, errEmptyBody) {
		r.BodyErr = x.secrets.string(err.Error())
	}
	return r
}

// Verdicts are those that Rehearse gives, in its order, without what the rules
// would do: of a hundred rules they take a third of the time. err is a
// Rehearsal.MatchErr.
func (s *RuleSet) Verdicts(ev *Event, refused map[string]string) (verdicts []Verdict, err string) {
	defer func() {
		if p := recover(); p != nil {
			verdicts, err = nil, s.panicked(p)
		}
	}()
	x := s.rehearsing(NewScope(ev), s.candidates(ev), RehearseOptions{Refused: refused})
	for i := range x.verdicts {
		x.conceal(&x.verdicts[i])
	}
	return x.verdicts, ""
}

// panicked is the Rehearsal.MatchErr of a panic.
func (s *RuleSet) panicked(p any) string {
	return s.mask().string(fmt.Sprintf("matching panicked: %v", p))
}

// rehearsing decides, and has what there is to say of it.
func (s *RuleSet) rehearsing(scope *Scope, candidates []*Rule, o RehearseOptions) *rehearsing {
	if o.Trees {
		scope.answers = map[*Rule]answer{}
	}
	refused := map[*Rule]string{}
	for _, rule := range candidates {
		if why, ok := o.Refused[rule.Name]; ok {
			refused[rule] = why
		}
	}
	x := &rehearsing{
		decision: s.decide(scope, refused, ""), scope: scope, o: o, secrets: s.mask(),
		book: &sketchbook{text: maxTreeText, time: maxTreeTime, ended: o.Ended},
	}
	x.veil = sync.OnceValue(func() veil { return newVeil(x.secrets, scope.event) })
	if o.Plans {
		x.planner = newPlanner(scope, x.veil(), o.bounds())
		x.planner.o, x.planner.book = o, x.book
	}
	return x
}

// rehearsing makes a Rehearsal of a decision, rule by rule.
type rehearsing struct {
	decision
	scope   *Scope // in which that was made
	o       RehearseOptions
	secrets *masker
	veil    func() veil // of these and the event's credentials: made when a value is to be shown
	book    *sketchbook
	shown   int      // bytes of elements, held against maxElementText
	planner *planner // nil: plans are not wanted
}

// explain is what a rule makes of the event.
func (x *rehearsing) explain(rule *Rule, v Verdict) Explanation {
	x.conceal(&v)
	e := Explanation{Rule: rule.Name, Place: rule.Place, Verdict: v, Shadow: rule.Shadow}
	if decided, asked := x.scope.answers[rule]; asked {
		x.scope.last = decided // be it with the last of the event's budget: the tree says the same
		e.Undrawn = x.book.full()
		e.When = rule.When.explain(x.scope, x.veil(), x.book)
		e.Near = near(e.When)
	}
	if v.Outcome != Matched {
		return e
	}
	e.Near = 1
	if m := x.match(rule); m != nil {
		for _, p := range m.plans {
			e.Runs = append(e.Runs, x.run(p))
		}
	}
	return e
}

// conceal masks what a verdict says.
func (x *rehearsing) conceal(v *Verdict) {
	v.Why = x.why(v)
	if x.secrets != nil {
		v.Missing = slices.Clone(v.Missing)
	}
	for i, path := range v.Missing {
		v.Missing[i] = x.secrets.string(path)
	}
}

// why masks the reason of a verdict, unless it is text of the rule alone, where no
// secret can stand: that is so for most rules that are asked about an event.
func (x *rehearsing) why(v *Verdict) string {
	if v.Outcome == NoMatch && strings.HasPrefix(v.Why, partIsFalse) {
		return v.Why
	}
	return x.secrets.string(v.Why)
}

// run is a run that the rule would start.
func (x *rehearsing) run(p *plan) PlannedRun {
	r := PlannedRun{Index: p.run.Index, Element: x.element(p.run.Element)}
	if p.run.Key != "" {
		r.Key = x.veil().string(p.run.Key)
	}
	switch {
	case p.run.State == Failed:
		r.Err = x.secrets.string(p.run.Err)
	case x.o.Plans && (x.o.Index == nil || *x.o.Index == p.run.Index):
		r.Steps, r.Unplanned = x.planner.steps(p)
	}
	return r
}

// element masks an element, and cuts it to MaxPlanText: then, as where a secret is a
// number, it is no JSON any more, and a text that holds it.
func (x *rehearsing) element(text string) json.RawMessage {
	if text == "" || x.shown >= maxElementText {
		return nil
	}
	text = x.veil().string(text)
	cut := showText(text, MaxPlanText)
	shown := []byte(cut)
	if cut != text || !x.veil().empty() && !json.Valid(shown) {
		shown, _ = json.Marshal(cut) // a text: always possible
	}
	x.shown += len(shown)
	return shown
}

// planner works out what runs would do, step by step.
type planner struct {
	scope *Scope
	mask  veil
	o     RehearseOptions
	book  *sketchbook // for the trees of conditions
	most  planBounds
	spent planBounds // of these; read is what scope.used has
}

// newPlanner plans within these bounds. What that takes is not taken from what
// rules may use of the event.
func newPlanner(scope *Scope, mask veil, most planBounds) *planner {
	own := scope.With(View{})
	own.used = &usage{}
	return &planner{scope: own, mask: mask, most: most}
}

// notPlanned begins what is said of steps that were too much.
const notPlanned = "not planned: "

// full says why no further step is planned; "": one is.
func (pl *planner) full() string {
	switch most, spent := pl.most, pl.spent; {
	case spent.steps >= most.steps:
		return fmt.Sprintf("%sthe event has more than %d steps", notPlanned, most.steps)
	case spent.text >= most.text:
		return fmt.Sprintf("%sthe steps before have more than %d MiB to show", notPlanned, most.text>>20)
	case pl.scope.used.text >= most.read:
		return fmt.Sprintf("%sthe templates before came to more than %d MiB", notPlanned, most.read>>20)
	case spent.time >= most.time:
		return fmt.Sprintf("%sthe steps before took longer than %s", notPlanned, most.time)
	case isClosed(pl.o.Ended):
		return notPlanned + "nobody waits for it"
	}
	return ""
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// steps plans the actions of a run, and says why it left the rest. One that is
// skipped has run, for those behind it.
func (pl *planner) steps(p *plan) (steps []PlannedStep, unplanned string) {
	if unplanned = pl.full(); unplanned != "" {
		return nil, unplanned
	}
	var known []*StepResult
	if pl.o.Past != nil {
		known = slices.Clone(pl.o.Past(p.rule.Name, p.run.Index))
	}
	element, err := p.rule.element(&p.run)
	for i := range p.rule.Steps {
		if unplanned = pl.full(); unplanned != "" {
			break
		}
		step := &p.rule.Steps[i]
		planned := PlannedStep{Index: i, Step: step.ID, Kind: step.Action.Kind()}
		if err != nil {
			planned.Err = pl.mask.string(err.Error())
		} else {
			pl.counted(p, &planned, View{Steps: known, Element: element, Open: p.rule.open(known)})
		}
		if planned.Skip {
			known = append(known, &StepResult{Step: step.ID, State: StepSkipped})
		}
		steps = append(steps, planned)
	}
	return steps, unplanned
}

// counted is step, with what it took.
func (pl *planner) counted(p *plan, planned *PlannedStep, v View) {
	began := time.Now()
	pl.step(p, planned, pl.scope.With(v))
	pl.spent.steps++
	pl.spent.text += planned.Plan.Size() + len(planned.Err)
	pl.spent.time += time.Since(began)
}

// open are the actions that no result is known of.
func (r *Rule) open(known []*StepResult) []string {
	var ids []string
	for i := range r.Steps {
		id := r.Steps[i].ID
		if !slices.ContainsFunc(known, func(k *StepResult) bool { return k.Step == id }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// step plans one action in the world of scope. A panic of it is an error of the
// step.
func (pl *planner) step(p *plan, planned *PlannedStep, scope *Scope) {
	defer func() {
		if r := recover(); r != nil {
			planned.Err = scope.conceal(pl.mask, fmt.Sprintf("planning panicked: %v", r))
		}
	}()
	step := &p.rule.Steps[planned.Index]
	if step.If != nil {
		pl.condition(step.If, planned, scope)
	}
	if planned.Skip || planned.Err != "" {
		return
	}
	plan, err := step.Action.Plan(Input{
		Scope: scope, Event: scope.event, Run: p.run.ID, Rule: p.rule.Name, Attempt: 1, Step: step.ID,
	})
	if err != nil {
		planned.Err = scope.conceal(pl.mask, err.Error())
		return
	}
	planned.Plan = scope.veiled(plan, pl.mask, pl.o.Whole)
}

// condition asks whether the step is skipped.
func (pl *planner) condition(c *Condition, planned *PlannedStep, scope *Scope) {
	if scope.isOpen(c.prog) {
		planned.Open = true
		if pl.o.Trees {
			planned.If = &Node{Text: c.String(), State: NodeUnreached}
		}
		return
	}
	ok, _, err := c.Eval(scope)
	if err != nil {
		planned.Err = scope.conceal(pl.mask, fmt.Sprintf("if: %v", err))
	}
	planned.Skip = err == nil && !ok
	if pl.o.Trees {
		planned.If = c.explain(scope, pl.mask, pl.book)
	}
}
