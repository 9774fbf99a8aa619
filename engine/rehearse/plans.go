package rehearse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"hookrun/engine"
)

// plans compares what a rule that matches would do with what it did. known is
// false where that can't be told: nothing of it is recorded.
func (c *comparer) plans(ctx context.Context, rec *engine.EventRecord, rule string) (diffs []Diff, known bool, err error) {
	now := c.o.Rules.Rule(rule)
	if before := c.o.Before; before != nil {
		was := before.Rule(rule)
		if was.Hash == now.Hash {
			return nil, true, nil // it says the same
		}
		diffs = diffMode(was.Shadow, now.Shadow)
		return append(diffs, diffRuns(planned(c.rehearse(before, rec, rule, nil)), planned(c.rehearse(c.o.Rules, rec, rule, nil)))...), true, nil
	}
	key := madeBy{rec.Rules, rule}
	if made, ok := c.made.Load(key); ok && made == now.Hash {
		return nil, true, nil
	}
	runs, err := c.src.RunsOf(ctx, rec.Event.ID)
	if err != nil {
		return nil, false, fmt.Errorf("read runs of event %s: %w", rec.Event.ID, err)
	}
	runs = slices.DeleteFunc(runs, func(r *engine.Run) bool { return r.Rule != rule })
	if len(runs) == 0 {
		return nil, false, nil
	}
	c.made.Store(key, runs[0].RuleHash)
	if runs[0].RuleHash == now.Hash {
		return nil, true, nil
	}
	return c.diffRecorded(ctx, rec, now, runs)
}

// diffRecorded compares what a rule would do with what its runs of the event did.
func (c *comparer) diffRecorded(ctx context.Context, rec *engine.EventRecord, now *engine.Rule, runs []*engine.Run) (diffs []Diff, known bool, err error) {
	diffs = diffMode(runs[0].State == engine.Shadow, now.Shadow)
	was, results, err := c.recorded(ctx, runs)
	if err != nil || len(was) == 0 {
		return diffs, len(diffs) > 0, err
	}
	would := planned(c.rehearse(c.o.Rules, rec, now.Name, func(_ string, index int) []*engine.StepResult { return results[index] }))
	return append(diffs, diffRuns(was, would)...), true, nil
}

// diffMode says that a rule in mode shadow runs now, or the other way round.
func diffMode(was, now bool) []Diff {
	word := map[bool]string{true: "shadow", false: "live"}
	if was == now {
		return nil
	}
	return []Diff{{Field: "mode", Was: word[was], Now: word[now]}}
}

// rehearse asks rules what one of them would do.
func (c *comparer) rehearse(rules *engine.RuleSet, rec *engine.EventRecord, rule string, past func(string, int) []*engine.StepResult) []engine.PlannedRun {
	r := rules.Rehearse(rec.Event, engine.RehearseOptions{Rule: rule, Plans: true, Past: past, Refused: refusals(rec.Verdicts)})
	for _, x := range r.Asked {
		if x.Rule == rule {
			return x.Runs
		}
	}
	return nil
}

// deed is what a step did, or would do.
type deed struct {
	step string // "": all that are not named before it, of which nobody knows
	kind string
	plan engine.Plan
	skip bool   // its condition was false
	open bool   // it is not known whether it runs
	err  string // it can't be begun
}

// deeds are those of the actions of each run, by the place of its element.
type deeds map[int][]deed

// recorded are the deeds of runs in their first attempts, as far as there was
// one and it is known what it was; and all that steps came to in it. A run that
// never began is left out.
func (c *comparer) recorded(ctx context.Context, runs []*engine.Run) (deeds, map[int][]*engine.StepResult, error) {
	all, results := deeds{}, map[int][]*engine.StepResult{}
	for _, r := range runs {
		steps, err := c.src.Steps(ctx, r.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("read steps of run %s: %w", r.ID, err)
		}
		for _, s := range steps {
			if s.Phase != engine.PhaseMain || s.Attempt != steps[0].Attempt {
				continue
			}
			if s.State != engine.StepShadow { // it has no result
				results[r.Index] = append(results[r.Index], s)
			}
			if s.Plan != nil || s.State == engine.StepSkipped {
				all[r.Index] = append(all[r.Index], deedOf(s))
			}
		}
	}
	return all, results, nil
}

func deedOf(s *engine.StepResult) deed {
	d := deed{step: s.Step, kind: s.Kind, skip: s.State == engine.StepSkipped}
	if s.Plan != nil {
		d.plan = *s.Plan
	}
	return d
}

func planned(runs []engine.PlannedRun) deeds {
	all := deeds{}
	for _, r := range runs {
		list := []deed{}
		for _, s := range r.Steps {
			list = append(list, deed{s.Step, s.Kind, s.Plan, s.Skip, s.Open, s.Err})
		}
		if r.Unplanned != "" {
			list = append(list, deed{open: true}) // any more
		}
		all[r.Index] = list
	}
	return all
}

// maxDiffs is how many differences of one event are looked for.
const maxDiffs = 20

// diffRuns compares the runs that are known. What a run did not come to is not
// compared: it may have failed before.
func diffRuns(was, now deeds) []Diff {
	var diffs []Diff
	for _, index := range slices.Sorted(maps.Keys(was)) {
		if len(diffs) >= maxDiffs {
			break
		}
		if _, there := now[index]; !there {
			diffs = append(diffs, Diff{Field: "element", Was: fmt.Sprint(index), Now: "no run"})
			continue
		}
		diffs = append(diffs, diffSteps(was[index], now[index])...)
	}
	return diffs[:min(len(diffs), maxDiffs)]
}

// diffSteps compares what steps of the same id did.
func diffSteps(was, now []deed) []Diff {
	var diffs []Diff
	for _, w := range was {
		i := slices.IndexFunc(now, func(d deed) bool { return d.step == w.step || d.step == "" })
		switch {
		case i >= 0:
			diffs = append(diffs, diffStep(w, now[i])...)
		case w.step != "":
			diffs = append(diffs, Diff{Step: w.step, Field: "action", Was: w.kind, Now: "gone"})
		}
	}
	return diffs
}

func diffStep(w, n deed) []Diff {
	one := func(field, was, now string) []Diff { return []Diff{{w.step, field, was, now}} }
	switch {
	case w.open || n.open:
		return nil // nobody knows
	case w.kind != n.kind:
		return one("action", w.kind, n.kind)
	case w.skip != n.skip:
		return one("if", fmt.Sprint(!w.skip), fmt.Sprint(!n.skip))
	case w.skip:
		return nil
	case w.err != n.err:
		return one("error", w.err, n.err)
	}
	return diffPlan(w.step, w.plan, n.plan)
}

// text is one of those that a plan has, with the name of its place.
type text struct{ field, value string }

// texts are those of a plan in their order.
func texts(p engine.Plan) []text {
	var list []text
	add := func(field, value string) {
		if value != "" {
			list = append(list, text{field, value})
		}
	}
	for i, arg := range p.Argv {
		list = append(list, text{fmt.Sprintf("argv[%d]", i), arg})
	}
	add("dir", p.Dir)
	for _, v := range p.Env {
		list = append(list, text{"env " + v.Name, v.Value})
	}
	add("stdin", deref(p.Stdin))
	add("path", p.Path)
	add("write", p.Write)
	add("content", deref(p.Content))
	add("method", p.Method)
	add("url", p.URL)
	for _, v := range p.Header {
		list = append(list, text{"header " + v.Name, v.Value})
	}
	add("body", deref(p.Body))
	return list
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// diffPlan compares the texts of two plans, place by place.
func diffPlan(step string, was, now engine.Plan) []Diff {
	var diffs []Diff
	before, after := texts(was), texts(now)
	find := func(in []text, field string) (string, bool) {
		i := slices.IndexFunc(in, func(t text) bool { return t.field == field })
		if i < 0 {
			return "", false
		}
		return in[i].value, true
	}
	for _, t := range before {
		other, there := find(after, t.field)
		if !there || !same(t.value, was.Open, other, now.Open) {
			diffs = append(diffs, newDiff(step, t.field, t.value, other))
		}
	}
	for _, t := range after {
		if _, there := find(before, t.field); !there {
			diffs = append(diffs, newDiff(step, t.field, "", t.value))
		}
	}
	return diffs
}

// same reports whether two texts are the same as far as they are known.
func same(was string, wasOpen []string, now string, nowOpen []string) bool {
	return was == now || fits(now, nowOpen, was) || fits(was, wasOpen, now)
}

// fits reports whether text is what pattern may become once its open places are
// known. What was cut is not known either.
func fits(pattern string, open []string, text string) bool {
	const gap = "\x00" // stands in no text that is shown
	masked := pattern
	for _, src := range open {
		masked = strings.ReplaceAll(masked, "{{ "+src+" }}", gap)
	}
	if masked == pattern {
		return false
	}
	parts := strings.Split(masked, gap)
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	rest := text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return true
}

// Bounds of the texts of a Diff, in bytes: of what both begin with, and in all.
const (
	maxShared = 40
	maxText   = 160
)

// newDiff makes a Diff of two texts, cut around where they part.
func newDiff(step, field, was, now string) Diff {
	part := 0
	for part < min(len(was), len(now)) && was[part] == now[part] {
		part++
	}
	return Diff{step, field, around(was, part), around(now, part)}
}

// around cuts a text to what is near a place in it.
func around(s string, at int) string {
	from, begin := 0, ""
	if at > maxShared && len(s) > maxText {
		from, begin = at-maxShared, "…"
	}
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	if s = s[from:]; len(s) <= maxText {
		return begin + s
	}
	to := maxText
	for to > 0 && !utf8.RuneStart(s[to]) {
		to--
	}
	return begin + s[:to] + "…"
}

// placesOf names where differences are: events that differ in the same places
// are of one group.
func placesOf(diffs []Diff) string {
	var list []string
	for _, d := range diffs {
		name := d.Field
		if d.Step != "" {
			name = d.Step + ": " + d.Field
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}
