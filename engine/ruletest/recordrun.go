package ruletest

import (
	"cmp"
	"slices"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// recorder writes what became of an event.
type recorder struct {
	past Past
	dir  string
}

func (x *recorder) verdicts(test *mapping) {
	matched, unverified, errs := []string{}, []string{}, &mapping{}
	for _, v := range x.past.Verdicts {
		switch {
		case v.Outcome == engine.Matched:
			matched = append(matched, v.Rule)
		case v.Outcome == engine.Errored:
			errs.set(v.Rule, patternNode(v.Why))
		case v.Refused():
			unverified = append(unverified, v.Rule)
		}
	}
	test.names("match", matched)
	if len(unverified) > 0 {
		test.names("unverified", unverified)
	}
	if len(errs.content) > 0 {
		test.set("errors", errs.node())
	}
}

// runs writes what the rules that matched did, and what that came to.
func (x *recorder) runs(test *mapping) {
	actions, steps := &mapping{}, &mapping{}
	for _, v := range x.past.Verdicts {
		runs := x.of(v.Rule)
		if v.Outcome != engine.Matched || len(runs) == 0 {
			continue
		}
		if n := x.actionsOf(runs); n != nil {
			actions.set(v.Rule, n)
			if n := resultsOf(runs); n != nil {
				steps.set(v.Rule, n)
			}
		}
	}
	if len(actions.content) > 0 {
		test.set("actions", actions.node())
	}
	if len(steps.content) > 0 {
		test.set("steps", steps.node())
	}
}

// of are the runs of a rule, in the order of their elements, with the last result
// that each action has.
func (x *recorder) of(rule string) []PastRun {
	var runs []PastRun
	for _, r := range x.past.Runs {
		if r.Run.Rule == rule {
			runs = append(runs, PastRun{r.Run, lastOf(r.Steps)})
		}
	}
	slices.SortStableFunc(runs, func(a, b PastRun) int { return cmp.Compare(a.Run.Index, b.Run.Index) })
	return runs
}

func lastOf(steps []*engine.StepResult) []*engine.StepResult {
	last := map[int]*engine.StepResult{}
	for _, s := range steps {
		if s.Phase == engine.PhaseMain && s.State != engine.StepNotRun {
			last[s.Index] = s
		}
	}
	var all []*engine.StepResult
	for _, s := range last {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *engine.StepResult) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// actionsOf are the actions of the runs of a rule; nil where it is not known what
// they did.
func (x *recorder) actionsOf(runs []PastRun) *yaml.Node {
	all := &yaml.Node{Kind: yaml.SequenceNode}
	for _, r := range runs {
		list := x.listed(r)
		switch {
		case list == nil && len(runs) == 1:
			return x.named(r)
		case list == nil:
			return nil
		}
		all.Content = append(all.Content, list)
	}
	if len(runs) == 1 && runs[0].Run.Element == "" {
		return all.Content[0]
	}
	return all
}

// listed are all actions of a run; nil where one of them is not known.
func (x *recorder) listed(r PastRun) *yaml.Node {
	if !whole(r) {
		return nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range r.Steps {
		n := x.step(s)
		if n == nil {
			return nil
		}
		list.Content = append(list.Content, n)
	}
	return list
}

// whole reports whether all actions of a run are known: it came to its end.
func whole(r PastRun) bool {
	if r.Run.State != engine.Done && r.Run.State != engine.Shadow || r.Run.State == engine.Shadow && r.Run.Err != "" {
		return false
	}
	for i, s := range r.Steps {
		if s.Index != i {
			return false
		}
	}
	return true
}

// named are those actions of a run of which it is known what they did.
func (x *recorder) named(r PastRun) *yaml.Node {
	m := &mapping{}
	for _, s := range r.Steps {
		if n := x.step(s); n != nil {
			m.set(s.Step, n)
		}
	}
	if len(m.content) == 0 {
		return nil
	}
	return m.node()
}

// resultsOf is what the actions came to that others come behind; nil where there
// are none. What a rule in mode shadow would have come to nobody knows.
func resultsOf(runs []PastRun) *yaml.Node {
	all, any := &yaml.Node{Kind: yaml.SequenceNode}, false
	for _, r := range runs {
		m := &mapping{}
		for i, s := range r.Steps {
			if i < len(r.Steps)-1 && r.Run.State != engine.Shadow {
				m.set(s.Step, resultNode(s))
				any = true
			}
		}
		n := m.node()
		if len(m.content) == 0 {
			n.Style = yaml.FlowStyle
		}
		all.Content = append(all.Content, n)
	}
	switch {
	case !any:
		return nil
	case len(runs) == 1:
		return all.Content[0]
	}
	return all
}

func resultNode(s *engine.StepResult) *yaml.Node {
	m := &mapping{}
	if s.State != engine.StepDone {
		m.text("state", string(s.State))
	}
	if s.State == engine.StepSkipped {
		return m.node()
	}
	m.text("error", s.Err)
	if took := s.Finished.Sub(s.Started); took > 0 {
		m.text("duration", took.String())
	}
	switch s.Kind {
	case "exec", "shell":
		m.number("exit_code", int64(s.Output.ExitCode))
		m.text("stdout", s.Stdout.String())
		m.text("stderr", s.Stderr.String())
		m.sorted("outputs", s.Output.Outputs)
	case "http":
		if s.Output.Status != 0 {
			m.number("status", int64(s.Output.Status))
		}
		answer(m, s)
	case "file":
		m.text("path", s.Output.Path)
		m.number("size", s.Output.Size)
	}
	n := m.node()
	if len(m.content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func answer(m *mapping, s *engine.StepResult) {
	headers := map[string]string{}
	for name, values := range s.Output.Header {
		if len(values) > 0 {
			headers[name] = values[0] // all that an expression sees
		}
	}
	m.sorted("headers", headers)
	if n := yamlOf([]byte(s.Output.Body)); n != nil {
		m.set("json", n)
		return
	}
	m.text("body", s.Output.Body)
}
