package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hookrun/engine"
)

// Show implements Desk.
func (l *Local) Show(ctx context.Context, id string) (Detail, error) {
	run, err := l.find(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	why, err := l.why(ctx)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Run: newRun(run, why(run)), Element: json.RawMessage(run.Element)}
	if err := l.showEvent(ctx, run, &d); err != nil {
		return Detail{}, err
	}
	if run.Armed && !run.State.Finished() {
		if err := l.plan(ctx, run, &d); err != nil {
			return Detail{}, err
		}
	}
	steps, err := l.Store.Steps(ctx, run.ID)
	if err != nil {
		return Detail{}, err
	}
	d.Steps = make([]Step, len(steps))
	for i, st := range steps {
		d.Steps[i] = newStep(st)
	}
	trim(d.Steps)
	return d, nil
}

func (l *Local) showEvent(ctx context.Context, run *engine.Run, d *Detail) error {
	event, err := l.Store.Event(ctx, run.Event)
	if err != nil {
		return err
	}
	d.Event = newEvent(event)
	verdicts, err := l.Store.Verdicts(ctx, run.Event)
	if err != nil {
		return err
	}
	for i := range verdicts {
		if verdicts[i].Rule == run.Rule {
			d.Verdict = &verdicts[i]
		}
	}
	return nil
}

// plan adds what a run that has not begun would do by the rules in force.
func (l *Local) plan(ctx context.Context, run *engine.Run, d *Detail) error {
	if l.Ruleset == nil {
		d.PlannedErr = "no hookrun runs: there are no rules in force that would say"
		return nil
	}
	rules := l.Ruleset()
	if rules.Rule(run.Rule) == nil {
		d.PlannedErr = "its rule is not in force any more: once released it ends as abandoned"
		return nil
	}
	done, err := l.turns.Take(ctx)
	if err != nil {
		return err
	}
	defer done()
	event, err := l.Store.Event(ctx, run.Event)
	if err != nil {
		return err
	}
	for _, asked := range rules.Rehearse(event, engine.RehearseOptions{Rule: run.Rule, Plans: true, Index: &run.Index, Ended: ctx.Done()}).Asked {
		if at := slices.IndexFunc(asked.Runs, func(p engine.PlannedRun) bool { return p.Index == run.Index }); at >= 0 {
			d.Planned = &asked.Runs[at]
			return nil
		}
	}
	d.PlannedErr = "its rule has changed and would not start it any more; once released it does what the rule says now"
	return nil
}

// maxShown bounds the output and the plans that one Detail has, in bytes: a step has
// up to three times engine.MaxOutput and a plan, and a run any number of attempts.
const maxShown = 8 << 20

// trim takes output and plan of the oldest steps away where all of it is too much.
func trim(steps []Step) {
	left := maxShown
	for i := range slices.Backward(steps) {
		s := &steps[i]
		left -= s.Stdout.size() + s.Stderr.size() + len(s.Body) + s.Plan.Size()
		if left < 0 {
			s.Stdout, s.Stderr, s.Body, s.Plan = s.Stdout.gone(), s.Stderr.gone(), nil, nil
		}
	}
}

// gone is the text with nothing left of it.
func (t Text) gone() Text { return Text{Cut: t.Cut + int64(t.size())} }

// Bounds of finding a run, or an event.
const (
	minPrefix = 6   // characters of the beginning of its id
	maxFound  = 100 // of them that are counted where several ids begin so
)

// find returns the run whose id begins with what was given.
func (l *Local) find(ctx context.Context, given string) (*engine.Run, error) {
	id := strings.ToLower(strings.TrimSpace(given))
	if len(id) < minPrefix {
		return nil, badRequest("hookrun runs lists them", "%q is too short for the id of a run: give its first %d characters or more", given, minPrefix)
	}
	runs, err := l.Store.Runs(ctx, engine.RunFilter{IDPrefix: id, Limit: maxFound})
	switch {
	case err != nil:
		return nil, err
	case len(runs) == 1:
		return runs[0], nil
	case len(runs) == 0:
		return nil, l.notFound(ctx, given, id)
	}
	return nil, ambiguous("runs", len(runs), given)
}

// ambiguous is the error for the beginning of several ids, n of which were found.
func ambiguous(what string, n int, given string) error {
	many := fmt.Sprint(n)
	if n == maxFound {
		many = fmt.Sprintf("%d or more", maxFound)
	}
	return &Error{http.StatusConflict, fmt.Sprintf("the ids of %s %s begin with %q", many, what, given), "give more of it"}
}

// notFound is the error for an id that no run has. People take that of an event
// for one.
func (l *Local) notFound(ctx context.Context, given, id string) error {
	runs, err := l.Store.RunsOf(ctx, id)
	if err != nil || len(runs) == 0 {
		return &Error{http.StatusNotFound, fmt.Sprintf("there is no run %q", given), "hookrun runs lists them; old ones are deleted, see -keep-age"}
	}
	var ids []string
	for _, r := range runs[:min(len(runs), maxNamed)] {
		ids = append(ids, r.ID)
	}
	if more := len(runs) - len(ids); more > 0 {
		ids = append(ids, fmt.Sprintf("and %d more", more))
	}
	return &Error{http.StatusNotFound, fmt.Sprintf("%q is an event, not a run", given), "its runs: " + strings.Join(ids, ", ")}
}
