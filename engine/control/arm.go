package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"hookrun/engine"
)

func conflict(hint, format string, args ...any) error {
	return &Error{http.StatusConflict, fmt.Sprintf(format, args...), hint}
}

// Replay implements Control.
func (l *Local) Replay(ctx context.Context, q ReplayQuery) (Replayed, error) {
	if l.Live == nil {
		return Replayed{}, noDaemon("an event can't be run again")
	}
	replay, err := l.replayOf(ctx, q)
	if err != nil {
		return Replayed{}, err
	}
	receipt, err := l.Live.Replay(ctx, replay)
	switch {
	case errors.Is(err, engine.ErrNoRule):
		return Replayed{}, l.noRule(replay.Rule)
	case errors.Is(err, engine.ErrNotFound):
		return Replayed{}, l.noEvent(ctx, replay.Event, replay.Event)
	case errors.Is(err, engine.ErrBusy), errors.Is(err, engine.ErrUnavailable):
		return Replayed{}, &Error{http.StatusServiceUnavailable, err.Error(), "hookrun's log says why; try again"}
	case err != nil:
		return Replayed{}, err
	}
	d := EventDetail{EventRow: EventRow{Event: Event{ID: receipt.Event}}}
	if err := l.addRuns(ctx, &d); err != nil {
		d.Runs = []Run{} // who is told of an error would replay it once more
	}
	return Replayed{Event: receipt.Event, Runs: d.Runs}, nil
}

// replayOf says what is to run again.
func (l *Local) replayOf(ctx context.Context, q ReplayQuery) (engine.Replay, error) {
	r := engine.Replay{Rule: q.Rule}
	if q.Body != nil {
		r.Body, r.Edited = *q.Body, true
	}
	switch {
	case (q.Event == "") == (q.Run == ""):
		return r, badRequest("event is the id of an event, run that of a run, for its rule", "one thing is to run again: event or run")
	case q.Run != "" && q.Rule != "":
		return r, badRequest("rule goes with event", "a run is replayed for its own rule")
	case q.Run != "":
		run, err := l.find(ctx, q.Run)
		if err != nil {
			return r, err
		}
		r.Event, r.Rule = run.Event, run.Rule
		return r, nil
	}
	event, err := l.findEvent(ctx, q.Event)
	r.Event = event.ID
	return r, err
}

// Arm implements Control.
func (l *Local) Arm(ctx context.Context, rule string) (Armed, error) {
	if l.Live == nil {
		return Armed{}, noDaemon("no rule can be armed")
	}
	if hint := l.ruleHint(rule); hint != "" && rule != "" {
		return Armed{}, &Error{http.StatusNotFound, fmt.Sprintf("there is no rule %q", rule), hint}
	}
	if err := l.Live.Arm(ctx, rule); err != nil {
		return Armed{}, err
	}
	return l.Armed(ctx)
}

// Disarm implements Control.
func (l *Local) Disarm(ctx context.Context, rule string) (Armed, error) {
	if l.Live == nil {
		return Armed{}, noDaemon("no rule is armed")
	}
	known := rule == "" || slices.Contains(l.Live.Armed(), rule) // one that is gone can be disarmed
	if hint := l.ruleHint(rule); hint != "" && !known {
		return Armed{}, &Error{http.StatusNotFound, fmt.Sprintf("there is no rule %q", rule), hint}
	}
	if err := l.Live.Disarm(ctx, rule); err != nil {
		return Armed{}, err
	}
	return l.Armed(ctx)
}

// isArmed reports whether the next run of a rule is held.
func (l *Local) isArmed(rule string) bool {
	if l.Live == nil {
		return false
	}
	armed := l.Live.Armed()
	return slices.Contains(armed, rule) || slices.Contains(armed, "")
}

// Armed implements Control.
func (l *Local) Armed(ctx context.Context) (Armed, error) {
	a := Armed{Rules: []string{}, Runs: []Run{}}
	if l.Live != nil {
		for _, name := range l.Live.Armed() {
			if name == "" {
				a.All = true
			} else {
				a.Rules = append(a.Rules, name)
			}
		}
	}
	why, err := l.why(ctx)
	if err != nil {
		return Armed{}, err
	}
	held, err := l.heldRuns(ctx)
	if err != nil {
		return Armed{}, err
	}
	for _, run := range slices.Backward(held) {
		a.Runs = append(a.Runs, newRun(run, why(run)))
	}
	return a, nil
}

// heldRuns are those that wait for a person, the newest first.
func (l *Local) heldRuns(ctx context.Context) ([]*engine.Run, error) {
	return l.Store.Runs(ctx, engine.RunFilter{Armed: true, States: []engine.State{engine.Queued, engine.Running}, Limit: MaxLimit})
}

// Release implements Control.
func (l *Local) Release(ctx context.Context, id string) (Run, error) {
	if l.Live == nil {
		return Run{}, noDaemon("what is held can be released once one does, or ended with hookrun runs cancel")
	}
	return l.change(ctx, id, func(id string) (*engine.Run, error) {
		run, err := l.Live.Release(ctx, id)
		if errors.Is(err, engine.ErrNotArmed) {
			return nil, conflict("hookrun arm lists what is held", "run %s is not held: nobody has to release it", id)
		}
		return run, err
	})
}
