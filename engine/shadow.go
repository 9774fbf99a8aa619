package engine

import (
	"cmp"
	"time"
)

// Bounds of what is planned of the rules in mode shadow that an event matches: its
// sender waits for it. See planBounds.
const (
	maxShadowed   = 200
	maxShadowText = 1 << 20
	maxShadowRead = 16 << 20
	maxShadowTime = 500 * time.Millisecond
)

// shadow ends the runs of rules in mode shadow before they begin, and returns what
// each of their actions would do. Such a run is in nobody's way: it has no lane
// and is compared with none.
func (s *RuleSet) shadow(scope *Scope, plans []*plan) []*StepResult {
	if len(plans) == 0 {
		return nil
	}
	var results []*StepResult
	pl := newPlanner(scope, newVeil(s.mask(), scope.event), planBounds{maxShadowed, maxShadowText, maxShadowRead, maxShadowTime})
	pl.scope.used = scope.used // what the rules have left
	for _, p := range plans {
		r := &p.run
		why := r.Err
		if r.State != Failed { // its keys could be told
			steps, unplanned := pl.steps(p)
			for _, planned := range steps {
				results = append(results, planned.result(p))
			}
			why = cmp.Or(why, unplanned)
		}
		p.loop, p.cancels = false, nil
		r.Lane, r.Dedupe, r.Throttle, r.Breaker = "", "", "", ""
		end(r, Shadow, nil, why)
	}
	return results
}

// result is what is kept of a step in mode shadow. It is of no attempt, as none
// was made.
func (st *PlannedStep) result(p *plan) *StepResult {
	at := p.run.Created
	r := &StepResult{
		Run: p.run.ID, Index: st.Index, Step: st.Step, Key: p.rule.Steps[st.Index].Key, Kind: st.Kind,
		State: StepShadow, Started: at, Finished: at, Err: st.Err, Output: Output{ExitCode: -1},
	}
	switch {
	case st.Skip:
		r.State = StepSkipped
	case st.Err == "":
		r.Plan = &st.Plan
	}
	return r
}
