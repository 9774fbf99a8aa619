package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// What a person does with runs, by hand.

// RetryRun queues a run that has finished once more, whatever it came to; its
// tries are counted anew. What it has finished stays finished, unless all is set
// or the run was done. The error wraps ErrNotFound, ErrNotFinished or ErrShadow.
func RetryRun(ctx context.Context, s Store, id string, all bool) (*Run, error) {
	var run *Run
	err := s.Change(ctx, func(tx Tx) (err error) {
		if run, err = tx.Run(id); err != nil {
			return err
		}
		switch {
		case !run.State.Finished():
			return ErrNotFinished
		case run.State == Shadow:
			return ErrShadow
		}
		was := string(run.State)
		if run.By != "" {
			was += " by run " + run.By
		}
		run.note("it was " + was + " and was retried by hand")
		if all || run.State == Done {
			run.Fresh = run.Attempt
		}
		run.State, run.Base = Queued, run.Attempt
		run.Stop, run.Outcome, run.By, run.Err = "", "", "", ""
		run.Due, run.Finished, run.Held, run.Armed = time.Time{}, time.Time{}, false, false
		return tx.Put(run)
	})
	if err != nil {
		return nil, fmt.Errorf("retry run %s: %w", id, err)
	}
	return run, nil
}

// maxNote bounds Run.Note, in bytes: what was noted last is kept.
const maxNote = 2000

// note adds a line about what a person did.
func (r *Run) note(what string) {
	line := time.Now().UTC().Format(time.RFC3339) + " " + what
	if r.Note != "" {
		line = r.Note + "\n" + line
	}
	r.Note = line[max(0, len(line)-maxNote):]
}

// CancelRun ends a run that has not finished: at once where it has not begun,
// else when its running step has ended. The error wraps ErrNotFound or
// ErrFinished.
func CancelRun(ctx context.Context, s Store, id string) (*Run, error) {
	var f fate
	var run *Run
	err := s.Change(ctx, func(tx Tx) (err error) {
		f.begin()
		if run, err = tx.Run(id); err != nil {
			return err
		}
		if run.State.Finished() {
			return ErrFinished
		}
		run.note(byHand)
		if run.State == Queued && run.Outcome != "" { // all but its closing actions is over
			run.State, run.Outcome, run.Finished = run.Outcome, "", time.Now().UTC()
			f.changed = []Run{*run}
			return tx.Put(run)
		}
		if err := f.stop(tx, run, Cancelled, "", byHand); err != nil || len(f.changed) > 0 {
			return err
		}
		return tx.Put(run) // it ends already: only the note is new
	})
	if err != nil {
		return nil, fmt.Errorf("cancel run %s: %w", id, err)
	}
	return run, nil
}

// Retry is RetryRun, and the run starts when its turn comes.
func (e *Engine) Retry(ctx context.Context, id string, all bool) (*Run, error) {
	run, err := RetryRun(ctx, e.store, id, all)
	if err != nil {
		return nil, err
	}
	e.log.Info("run is retried by hand", "run", run.ID, "rule", run.Rule, "all", all)
	e.retry(run.Ref())
	e.onChange(*run)
	return run, nil
}

// Cancel is CancelRun, and a step that is running is stopped, also where it is
// one of the closing ones.
func (e *Engine) Cancel(ctx context.Context, id string) (*Run, error) {
	run, err := CancelRun(ctx, e.store, id)
	if err != nil {
		return nil, err
	}
	e.tell([]Run{*run})
	e.interruptClosing(id)
	return run, nil
}

// Paused returns the rules that are paused, sorted; "" stands for all rules.
func (e *Engine) Paused() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.paused)
}

// PauseRule notes that a rule is paused, "" for all rules, and returns all that
// are.
func PauseRule(ctx context.Context, s Store, rule string) ([]string, error) {
	return changePaused(ctx, s, func(paused []string) []string { return append(paused, rule) })
}

// ResumeRule ends PauseRule for a rule, "" for all, and returns what is still
// paused.
func ResumeRule(ctx context.Context, s Store, rule string) ([]string, error) {
	return changePaused(ctx, s, func(paused []string) []string { return withoutRule(paused, rule) })
}

// withoutRule takes a rule off names, in place; "" takes off all.
func withoutRule(names []string, rule string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return rule == "" || name == rule })
}

func changePaused(ctx context.Context, s Store, change func([]string) []string) ([]string, error) {
	before, err := s.Paused(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is paused: %w", err)
	}
	paused := change(slices.Clone(before))
	slices.Sort(paused)
	paused = slices.Compact(paused)
	if slices.Equal(paused, before) {
		return paused, nil
	}
	if err := s.SetPaused(ctx, paused); err != nil {
		return nil, fmt.Errorf("note what is paused: %w", err)
	}
	return paused, nil
}

// Pause keeps new attempts of a rule's runs from starting, also after a restart,
// until Resume; "" is all rules. Its events are taken and its runs queued.
func (e *Engine) Pause(ctx context.Context, rule string) error {
	return e.repause(ctx, PauseRule, rule)
}

// Resume ends Pause for a rule; "" ends it for all.
func (e *Engine) Resume(ctx context.Context, rule string) error {
	return e.repause(ctx, ResumeRule, rule)
}

// repause puts in force what change stores.
func (e *Engine) repause(ctx context.Context, change func(context.Context, Store, string) ([]string, error), rule string) error {
	e.pausing.Lock()
	defer e.pausing.Unlock()
	paused, err := change(ctx, e.store, rule)
	if err != nil || slices.Equal(paused, e.Paused()) {
		return err
	}
	named := slices.DeleteFunc(slices.Clone(paused), func(p string) bool { return p == "" })
	e.log.Info("paused rules have changed", "all", len(named) < len(paused), "rules", named)
	e.setPaused(paused)
	return nil
}

// pausedWhy is why runs of a paused rule wait.
const pausedWhy = "its rule is paused"

func (e *Engine) setPaused(paused []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.paused
	e.paused = paused
	e.queue.stop(slices.Contains(paused, ""))
	for _, rule := range paused {
		if rule != "" {
			e.queue.park(rule, pausedWhy)
		}
	}
	for _, rule := range before {
		if !slices.Contains(paused, rule) {
			e.queue.unpark(rule)
		}
	}
}

// unpark lets the runs of a rule start that is not paused besides. e.mu is held.
func (e *Engine) unpark(rule string) {
	if slices.Contains(e.paused, rule) {
		e.queue.park(rule, pausedWhy)
		return
	}
	e.queue.unpark(rule)
}

// Why says for people what a queued run waits for; "" where it does not wait.
func (e *Engine) Why(r *Run) string {
	if r.Armed {
		return "its rule was armed: a person is to release or cancel it"
	}
	return e.queue.why(r.Ref())
}

// Rejected returns how many events were turned away since Open as their sender
// was not trusted.
func (e *Engine) Rejected() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rejected
}

// Counts returns how many runs have come to each finished state since Open.
func (e *Engine) Counts() map[State]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.counts)
}

// Working counts the runs of which an attempt is going on.
func (e *Engine) Working() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.active)
}
