package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// maxActions bounds the actions of one list.
const maxActions = 100

// draft is an action whose place among the others is known, and not yet what it
// does: expressions may name steps that stand behind them.
type draft struct {
	object
	kind string // "": it can't be one
	step engine.Step
}

func (d draft) shape() engine.StepShape {
	return engine.StepShape{ID: d.step.ID, Kind: d.kind, Outputs: d.step.Outputs}
}

func shapes(drafts []draft) []engine.StepShape {
	var all []engine.StepShape
	for _, d := range drafts {
		all = append(all, d.shape())
	}
	return all
}

// actions reads the actions, the closing ones, and how both are done.
func (x *ruleReader) actions(r *engine.Rule) {
	main := x.drafts(x.object, engine.PhaseMain)
	x.main = shapes(main)
	x.cut = x.onCut(onCut{})
	r.Retry = x.retry(x.d.l.retry, engine.NewCompiler(x.world(engine.PhaseMain, x.main, true)))
	x.tries = r.Retry
	r.Steps = x.steps(main, engine.PhaseMain)
	r.OnSuccess = x.closing(x.object, engine.PhaseSuccess)
	r.OnFailure = x.closing(x.object, engine.PhaseFailure)
	r.Always = x.closing(x.object, engine.PhaseAlways)
	var trip object
	r.AtMost, trip = x.atMost()
	r.OnTrip = x.closing(trip, engine.PhaseTrip)
	if x.values["actions"] == nil {
		x.noActions()
	}
}

// noActions notes what a rule without actions can't be without, or can't have.
func (x *ruleReader) noActions() {
	if x.values["cancels"] == nil {
		hint := ""
		for _, kind := range kinds() {
			if x.keyNode(kind) != nil {
				hint = fmt.Sprintf("put it below actions: as - %s: …", kind)
			}
		}
		x.d.fail(x.node, hint, "a rule without actions")
		return
	}
	alone := []string{"name", "enabled", "mode", "bucket", "method", "verify", "when", "stop", "for_each", "cancels"}
	for _, key := range x.keys {
		if slices.Contains(ruleKeys(), key.Value) && !slices.Contains(alone, key.Value) {
			x.d.fail(key, "it is for the runs of a rule, and one that only cancels has none", "%s without actions", key.Value)
		}
	}
}

// listKey is the key of the list of a phase.
func listKey(p engine.Phase) string {
	if p == engine.PhaseMain {
		return "actions"
	}
	return string(p)
}

// closing reads the actions of a closing phase from the mapping that they stand
// in.
func (x *ruleReader) closing(o object, p engine.Phase) []engine.Step {
	return x.steps(x.drafts(o, p), p)
}

// drafts reads what a list of actions looks like from outside.
func (x *ruleReader) drafts(o object, p engine.Phase) []draft {
	key := listKey(p)
	if n := o.values[key]; n != nil && n.Kind == yaml.MappingNode {
		o.d.fail(n, `begin each action with "- "`, "%s must be a list, not a mapping", key)
		return nil
	}
	items := o.list(key, false)
	if len(items) > maxActions {
		o.d.fail(items[maxActions], "", "more than %d actions", maxActions)
		return nil
	}
	var drafts []draft
	alike := map[string]int{} // actions without an id so far that do the same
	for i, item := range items {
		d := x.draft(item, p, i)
		if d.step.Key == "" {
			d.step.Key = keyOf(item)
			if alike[d.step.Key]++; alike[d.step.Key] > 1 {
				d.step.Key += fmt.Sprintf("#%d", alike[d.step.Key])
			}
		}
		if p != engine.PhaseMain {
			d.step.Key = string(p) + "/" + d.step.Key // no retry takes it for an action
		}
		drafts = append(drafts, d)
	}
	return drafts
}

// draft reads what others may know of the action at index i of a list.
func (x *ruleReader) draft(n *yaml.Node, p engine.Phase, i int) draft {
	d := draft{object: x.d.entries(n, "an action")}
	d.step.ID = strconv.Itoa(i + 1)
	if p != engine.PhaseMain {
		d.step.ID = string(p) + "." + d.step.ID
	}
	if n.Kind != yaml.MappingNode {
		return d
	}
	kind, ok := d.oneKind()
	if !ok {
		return d
	}
	d.kind = kind
	d.onlyKeysOf(kind)
	if id := d.values["id"]; id != nil {
		d.step.ID = x.id(id)
		d.step.Key = "id:" + d.step.ID
	}
	d.step.Outputs = d.outputs()
	return d
}

// id reads the name of an action.
func (x *ruleReader) id(n *yaml.Node) string {
	if !x.d.scalar(n, "id") {
		return ""
	}
	if !identifier.MatchString(n.Value) || len(n.Value) > maxName {
		x.d.fail(n, "letters, digits and _, a letter first: expressions say steps.build", "id %s is no name", show(n))
	}
	if line, taken := x.ids[n.Value]; taken {
		x.d.fail(n, "ids are unique over all actions of a rule", "the id %q is taken by the action in line %d", n.Value, line)
		return n.Value
	}
	x.ids[n.Value] = n.Line
	return n.Value
}

// steps compiles the actions of a list. Each sees the ones before it, closing
// ones those of the rule too.
func (x *ruleReader) steps(drafts []draft, p engine.Phase) []engine.Step {
	var before []engine.StepShape
	if p != engine.PhaseMain && p != engine.PhaseTrip { // where a rule trips, its actions are not done
		before = slices.Clone(x.main)
	}
	var steps []engine.Step
	for _, d := range drafts {
		if d.kind != "" {
			x.step(&d, p, before)
		}
		steps = append(steps, d.step)
		before = append(before, d.shape())
	}
	return steps
}

// world is what the expressions of an action see. told says that they see how
// the run goes, which those of closing actions do anyway.
func (x *ruleReader) world(p engine.Phase, steps []engine.StepShape, told bool) engine.World {
	return engine.World{Steps: steps, Element: x.element, Closing: told || p != engine.PhaseMain}
}

// step reads the rest of an action: how it is done, and what it does. before
// are the steps that it sees.
func (x *ruleReader) step(d *draft, p engine.Phase, before []engine.StepShape) {
	a := action{d.object, engine.NewCompiler(x.world(p, before, false))}
	s := &d.step
	if cond := a.values["if"]; cond != nil {
		s.If = a.d.condition(cond, a.c, "if")
	}
	s.Timeout = a.duration("timeout", 0)
	s.ContinueOnError = a.flag("continue_on_error", false)
	cut := a.onCut(x.cut)
	s.OnInterrupt, s.OnCrash = cut.interrupt, cut.crash
	s.Retry = x.stepRetry(d, p, before)
	if n := d.values["detach"]; n != nil && p != engine.PhaseMain {
		a.d.fail(d.keyNode("detach"), "put the action below actions:", "detach cannot stand in %s: nothing would go on with the command", p)
	}
	s.Action = a.does(d.kind, d.step)
}

// stepRetry reads the retry of one action, nil where the rule's is meant. Its
// condition sees the action itself, too.
func (x *ruleReader) stepRetry(d *draft, p engine.Phase, before []engine.StepShape) *engine.Retry {
	if d.values["retry"] == nil {
		return nil
	}
	if p != engine.PhaseMain {
		d.d.fail(d.keyNode("retry"), "closing actions are not retried", "retry cannot stand in %s", p)
		return nil
	}
	seen := slices.Concat(before, []engine.StepShape{d.shape()})
	r := d.retry(x.tries, engine.NewCompiler(x.world(p, seen, true)))
	return &r
}

// onCut is what becomes of a step that the end of hookrun cuts off.
type onCut struct{ interrupt, crash engine.OnCut }

// onCut reads the two keys of a rule or an action.
func (o object) onCut(unset onCut) onCut {
	resume, fail, done := string(engine.ResumeCut), string(engine.FailCut), string(engine.DoneCut)
	cut := onCut{
		interrupt: engine.OnCut(o.choice("on_interrupt", "resume does the action again, fail gives up, done takes it as done", resume, fail, done)),
	}
	if n := o.values["on_crash"]; n != nil && n.Value == done {
		o.d.fail(n, "a crash can't tell whether the step was done: resume or fail", "on_crash must be resume or fail, not %q", done)
	} else {
		cut.crash = engine.OnCut(o.choice("on_crash", "resume does the action again, fail gives up", resume, fail))
	}
	return onCut{cmp.Or(cut.interrupt, unset.interrupt), cmp.Or(cut.crash, unset.crash)}
}

// allSteps are the actions of a rule and its closing ones.
func allSteps(r *engine.Rule) []engine.Step {
	return slices.Concat(r.Steps, r.OnSuccess, r.OnFailure, r.Always, r.OnTrip)
}
