package cli

import (
	"fmt"
	"slices"

	"hookrun/engine"
	"hookrun/engine/control"
)

// maxPastShown is how many runs of a rule explain tells of.
const maxPastShown = 10

// explainedJSON is what explain prints of an event of the past as JSON: what the
// rules make of it, and the runs that it has.
type explainedJSON struct {
	*engine.Rehearsal
	Runs     []control.Run `json:"runs"`
	MoreRuns int           `json:"more_runs,omitempty"` // that are left out
}

// past is what an event that is kept came to.
type past struct {
	event string // id
	runs  []control.Run
	more  int    // that are left out
	same  bool   // the rules that are asked are those that made the runs
	words string // behind a command that tells more
}

// pastOf is that of one rule, or of all.
func pastOf(d *control.EventDetail, rule string) past {
	p := past{event: d.ID, runs: d.Runs, more: d.MoreRuns}
	if rule != "" {
		p.runs = p.of(rule)
	}
	return p
}

// of are the runs of a rule.
func (p *past) of(rule string) []control.Run {
	return slices.DeleteFunc(slices.Clone(p.runs), func(r control.Run) bool { return r.Rule != rule })
}

// run is that of a rule for an element, nil where it has none.
func (p *past) run(rule string, index int) *control.Run {
	at := slices.IndexFunc(p.runs, func(r control.Run) bool { return r.Rule == rule && r.Index == index })
	if at < 0 {
		return nil
	}
	return &p.runs[at]
}

// became prints what became of the runs that the event has of a rule.
func (e *explained) became(rule string) {
	runs := e.past.of(rule)
	for i := range runs[:min(len(runs), maxPastShown)] {
		e.pastRun(&runs[i], len(runs) > 1)
	}
	if len(runs) > maxPastShown || len(runs) > 0 && e.past.more > 0 {
		fmt.Fprintf(e.out, "  and more: hookrun runs -event %s%s\n", short(e.past.event), e.past.words)
	}
}

// pastRun prints what became of a run, and where to read on.
func (e *explained) pastRun(r *control.Run, several bool) {
	title := "  run " + short(r.ID)
	if several {
		title += fmt.Sprintf(" for element %d", r.Index)
	}
	e.out.marked(printable(title)+"  ", string(r.State), "", stateColour(r.State))
	if why := whyColumn(r); why != "" {
		e.out.whole("    " + why)
	}
	more := "    "
	if r.Attempts > 0 {
		more = "    what it did: "
	}
	fmt.Fprintf(e.out, "%shookrun runs show %s%s\n", more, short(r.ID), e.past.words)
}

// wouldRun is the title of a run that the rule would start; "": it has run, and
// what it did is kept.
func (e *explained) wouldRun(rule string, r *engine.PlannedRun) string {
	switch was := e.past.run(rule, r.Index); {
	case was == nil || !e.past.same:
		return "would run"
	case was.Attempts > 0:
		return ""
	case was.State.Finished():
		return "would have run"
	}
	return "is to run"
}
