package ruletest

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// past is what steps of a rule came to, for those behind them.
type past struct {
	rule name
	runs []map[string]result // by id, of each run
	each bool                // runs are listed; else it is the same in all
}

// result is what one step came to.
type result struct {
	id   name
	step engine.StepResult
}

// steps reads what steps came to: by rule, then by id, or a list of that for each
// run.
func (r *reader) steps(n *yaml.Node) []past {
	if n == nil {
		return nil
	}
	o := r.doc.Object(n, "steps")
	var all []past
	for _, key := range o.Keys() {
		p := past{rule: name{key.Value, key}}
		runs := []*yaml.Node{o.Value(key.Value)}
		if runs[0].Kind == yaml.SequenceNode {
			p.each, runs = true, runs[0].Content
		}
		for _, run := range runs {
			p.runs = append(p.runs, r.results(run))
		}
		all = append(all, p)
	}
	return all
}

func (r *reader) results(n *yaml.Node) map[string]result {
	o := r.doc.Object(n, "the steps of a rule")
	all := map[string]result{}
	for _, key := range o.Keys() {
		all[key.Value] = result{name{key.Value, key}, r.result(o.Value(key.Value))}
	}
	return all
}

func resultKeys() []string {
	return []string{"state", "error", "duration", "exit_code", "stdout", "stderr", "outputs", "status", "headers", "body", "json", "path", "size"}
}

// result reads what a step came to. Where nothing is said it was done.
func (r *reader) result(n *yaml.Node) engine.StepResult {
	const most = math.MaxInt32
	o := r.doc.Object(n, "a step", resultKeys()...)
	began := time.Time{}.Add(time.Hour)
	step := engine.StepResult{
		State: engine.StepDone, Err: o.Text("error"), Started: began, Finished: began.Add(o.Duration("duration")),
		Stdout: engine.Text{Head: []byte(o.Text("stdout"))}, Stderr: engine.Text{Head: []byte(o.Text("stderr"))},
	}
	switch o.Choice("state", string(engine.StepDone), string(engine.StepFailed), string(engine.StepSkipped)) {
	case string(engine.StepFailed):
		step.State, step.Passed = engine.StepFailed, true
	case string(engine.StepSkipped):
		step.State = engine.StepSkipped
	}
	step.Output = engine.Output{
		ExitCode: o.Number("exit_code", -1, most), Outputs: r.texts(o.Value("outputs"), "outputs"),
		Status: o.Number("status", 100, 599), Body: r.answer(o), Path: o.Text("path"), Size: int64(o.Number("size", 0, most)),
	}
	if headers := o.Value("headers"); headers != nil {
		h := http.Header{}
		r.headers(headers, h)
		step.Output.Header = h
	}
	return step
}

// answer is the body that a call got.
func (r *reader) answer(o rules.Object) string {
	if n := o.Value("json"); n != nil {
		return r.json(n)
	}
	return o.Text("body")
}

// checkPast notes what is said of steps that the rule does not have.
func (f *File) checkPast(set *engine.RuleSet, p past) {
	rule := set.Rule(p.rule.text)
	if rule == nil {
		return
	}
	for _, run := range p.runs {
		for _, id := range slices.Sorted(maps.Keys(run)) {
			f.checkStep(rule, run[id].id)
		}
	}
}

func (f *File) checkStep(rule *engine.Rule, id name) {
	var known []string
	for _, s := range rule.Steps {
		known = append(known, s.ID)
	}
	if !slices.Contains(known, id.text) {
		f.doc.Fail(id.node, hintOf(id.text, known, "its actions are "), "rule %q has no action %q", rule.Name, id.text)
	}
}

// of gives the results of a run of the rule as an engine knows them.
func (p past) of(rule *engine.Rule, index int) []*engine.StepResult {
	if !p.each {
		index = 0
	}
	if index >= len(p.runs) {
		return nil
	}
	var all []*engine.StepResult
	for i, s := range rule.Steps {
		said, ok := p.runs[index][s.ID]
		if !ok {
			continue
		}
		step := said.step
		step.Attempt, step.Index, step.Step, step.Key, step.Kind = 1, i, s.ID, s.Key, s.Action.Kind()
		all = append(all, &step)
	}
	return all
}
