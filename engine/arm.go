package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotArmed is the error of Release for a run that no person is to release.
var ErrNotArmed = errors.New("the run is not held")

// Arm has the runs of the next event that a rule matches wait, before anything
// of them is done, until a person releases or cancels them; "" is any rule. Both
// outlast a restart. Where hookrun is killed right after such an event, the rule may
// still be armed at the next start.
func (e *Engine) Arm(ctx context.Context, rule string) error {
	e.arming.Lock()
	defer e.arming.Unlock()
	armed := e.Armed()
	if slices.Contains(armed, rule) {
		return nil
	}
	if err := e.store.SetArmed(ctx, append(armed, rule)); err != nil {
		return fmt.Errorf("note what is armed: %w", err)
	}
	e.changeArmed(func(armed []string) []string { return append(armed, rule) })
	e.log.Info("the next event that matches is held before it runs", "rule", rule)
	return nil
}

// Disarm ends Arm for a rule; "" ends it for all. What is held already stays so.
func (e *Engine) Disarm(ctx context.Context, rule string) error {
	e.arming.Lock()
	defer e.arming.Unlock()
	if err := e.store.SetArmed(ctx, withoutRule(e.Armed(), rule)); err != nil {
		return fmt.Errorf("note what is armed: %w", err)
	}
	e.changeArmed(func(armed []string) []string { return withoutRule(armed, rule) })
	return nil
}

// changeArmed changes what is armed, but not what is stored of it.
func (e *Engine) changeArmed(change func([]string) []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed = change(e.armed)
	slices.Sort(e.armed)
	e.armed = slices.Compact(e.armed)
}

// Armed returns the rules that are armed, sorted; "" stands for any rule.
func (e *Engine) Armed() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.armed)
}

// hold has the runs of armed rules wait for a person, and returns what is armed
// no more by that.
func (e *Engine) hold(a *Acceptance, f *fate) (spent []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.armed) == 0 {
		return nil
	}
	for _, r := range a.Runs {
		p := f.plans[r.ID]
		if p == nil || r.State != Queued { // it ends at once
			continue
		}
		for _, rule := range []string{r.Rule, ""} {
			if slices.Contains(spent, rule) || slices.Contains(e.armed, rule) {
				p.run.Armed, p.run.Held = true, true
				r.Armed, r.Held = true, true
				spent = append(spent, rule)
				break
			}
		}
	}
	e.armed = slices.DeleteFunc(e.armed, func(rule string) bool { return slices.Contains(spent, rule) })
	slices.Sort(spent)
	return slices.Compact(spent)
}

// rearm takes back what hold spent on an event of which nothing is held in the
// end, and notes what is armed no more.
func (e *Engine) rearm(ctx context.Context, spent []string, runs []*Run) {
	if len(spent) == 0 {
		return
	}
	unspent := slices.Clone(spent)
	for _, r := range runs {
		if r.Armed {
			e.log.Info("run is held until a person releases or cancels it", "run", r.ID, "rule", r.Rule)
			unspent = slices.DeleteFunc(unspent, func(rule string) bool { return rule == r.Rule || rule == "" })
		}
	}
	e.changeArmed(func(armed []string) []string { return append(armed, unspent...) })
	if len(unspent) == len(spent) {
		return
	}
	e.arming.Lock()
	defer e.arming.Unlock()
	if err := e.store.SetArmed(context.WithoutCancel(ctx), e.Armed()); err != nil {
		e.log.Warn("it can't be noted that rules are armed no more: after a restart they are again", "rules", spent, "err", err)
	}
}

// Release lets a run go that is held since its rule was armed. What its event
// cancels is cancelled now. The error wraps ErrNotFound, ErrFinished or
// ErrNotArmed.
func (e *Engine) Release(ctx context.Context, id string) (*Run, error) {
	p, err := e.released(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("release run %s: %w", id, err)
	}
	var f fate
	var run *Run
	err = e.store.Change(ctx, func(tx Tx) (err error) {
		f.begin()
		if run, err = tx.Run(id); err != nil {
			return err
		}
		switch {
		case run.State.Finished():
			return ErrFinished
		case !run.Armed:
			return ErrNotArmed
		}
		run.Armed, run.Due = false, time.Time{}
		run.note("it was held and released by hand")
		if err := f.cancel(tx, p, run); err != nil {
			return err
		}
		return tx.Put(run)
	})
	if err != nil {
		return nil, fmt.Errorf("release run %s: %w", id, err)
	}
	e.log.Info("run is released by hand", "run", run.ID, "rule", run.Rule)
	e.tell(f.changed)
	e.onChange(*run)
	e.queue.add(run.Ref()) // still held: its turn takes it into its lane
	return run, nil
}

// released is what the rule of a held run, as it is now, says that its event
// cancels.
func (e *Engine) released(ctx context.Context, id string) (*plan, error) {
	p := &plan{}
	run, err := e.store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	rule := e.rules.Load().Rule(run.Rule)
	if rule == nil || len(rule.Cancels) == 0 {
		return p, nil
	}
	event, err := e.store.Event(ctx, run.Event)
	if err != nil {
		return nil, err
	}
	element, err := rule.element(run)
	if err != nil {
		return nil, err
	}
	return p, rule.cancelKeys(NewScope(event).With(View{Element: element}), p)
}
