package enginetest

import (
	"cmp"
	"fmt"
	"slices"

	"hookrun/engine"
)

// memTx implements engine.Tx for as long as the lock of its store is held.
type memTx struct {
	m    *MemStore
	undo []func() // in the order of what they undo
}

func (tx *memTx) rollback() {
	for _, undo := range slices.Backward(tx.undo) {
		undo()
	}
}

// accept puts an event and its runs, each of which sees those before it.
func (tx *memTx) accept(a *engine.Acceptance) error {
	m := tx.m
	if m.events == nil {
		m.events = make(map[string]*memEvent)
		m.deliveries = make(map[delivery]string)
		m.runs = make(map[string]*memRun)
	}
	e := &memEvent{
		event: copyEvent(a.Event), verdicts: slices.Clone(a.Verdicts), rules: a.Rules, bodyErr: a.BodyErr, matchErr: a.MatchErr,
	}
	m.events[a.Event.ID] = e
	seq, eventSeq := m.seq, m.eventSeq
	tx.undo = append(tx.undo, func() {
		m.seq, m.eventSeq = seq, eventSeq
		delete(m.events, a.Event.ID)
	})
	for _, r := range a.Runs {
		if a.Admit != nil {
			if err := a.Admit(tx, r); err != nil {
				return fmt.Errorf("admit run %s: %w", r.ID, err)
			}
		}
		m.seq++
		run := &memRun{run: *r, steps: make(map[stepKey]*engine.StepResult), streams: make(map[streamKey]*stream)}
		run.run.Event, run.run.Seq = a.Event.ID, m.seq
		m.runs[r.ID] = run
		e.runs = append(e.runs, r.ID)
		tx.undo = append(tx.undo, func() { delete(m.runs, r.ID) })
	}
	for _, st := range a.Steps {
		if !slices.Contains(e.runs, st.Run) {
			return fmt.Errorf("step %s: run %s is none of the event's", st.Step, st.Run)
		}
		m.runs[st.Run].steps[stepKey{st.Attempt, st.Index}] = copyStep(st)
	}
	m.eventSeq++
	e.seq, e.outcome = m.eventSeq, a.Outcome()
	return nil
}

// Run implements engine.Tx.
func (tx *memTx) Run(id string) (*engine.Run, error) {
	r := tx.m.runs[id]
	if r == nil {
		return nil, fmt.Errorf("read run %s: %w", id, engine.ErrNotFound)
	}
	run := r.run
	return &run, nil
}

// Unfinished implements engine.Tx.
func (tx *memTx) Unfinished(q engine.Pending) ([]*engine.Run, error) {
	return tx.m.runsWhere(func(r *engine.Run) bool {
		switch {
		case r.State.Finished():
			return false
		case q.Lane != "":
			return r.Lane == q.Lane
		}
		return r.Rule == q.Rule && (q.Key == nil || r.Key == *q.Key)
	}), nil
}

// Recent implements engine.Tx.
func (tx *memTx) Recent(q engine.Recent) ([]*engine.Run, error) {
	key, err := keyOf(q.By)
	if err != nil {
		return nil, fmt.Errorf("list recent runs: %w", err)
	}
	runs := tx.m.runsWhere(func(r *engine.Run) bool {
		return key(r) != "" && key(r) == q.Key && r.Rule == q.Rule && slices.Contains(q.States, r.State) &&
			!r.Created.Before(q.From) && (q.To.IsZero() || !r.Created.After(q.To)) &&
			(r.Held || !q.Held)
	})
	slices.SortFunc(runs, func(a, b *engine.Run) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Seq, a.Seq))
	})
	return runs[:min(max(q.Limit, 0), len(runs))], nil
}

func keyOf(by engine.KeyKind) (func(*engine.Run) string, error) {
	switch by {
	case engine.ByDedupe:
		return func(r *engine.Run) string { return r.Dedupe }, nil
	case engine.ByThrottle:
		return func(r *engine.Run) string { return r.Throttle }, nil
	case engine.ByBreaker:
		return func(r *engine.Run) string { return r.Breaker }, nil
	}
	return nil, fmt.Errorf("no run has a key %q", by)
}

// Put implements engine.Tx.
func (tx *memTx) Put(r *engine.Run) error {
	run := tx.m.runs[r.ID]
	if run == nil {
		return fmt.Errorf("put run %s: %w", r.ID, engine.ErrNotFound)
	}
	was := run.run
	tx.undo = append(tx.undo, func() { run.run = was })
	run.set(r)
	return nil
}
