package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hookrun/engine"
)

// Retry implements Desk.
func (l *Local) Retry(ctx context.Context, id string, all bool) (Run, error) {
	return l.change(ctx, id, func(id string) (*engine.Run, error) { return l.Hands.Retry(ctx, id, all) })
}

// Cancel implements Desk.
func (l *Local) Cancel(ctx context.Context, id string) (Run, error) {
	return l.change(ctx, id, func(id string) (*engine.Run, error) { return l.Hands.Cancel(ctx, id) })
}

func (l *Local) change(ctx context.Context, given string, do func(id string) (*engine.Run, error)) (Run, error) {
	found, err := l.find(ctx, given)
	if err != nil {
		return Run{}, err
	}
	run, err := do(found.ID)
	switch {
	case errors.Is(err, engine.ErrNotFinished):
		return Run{}, &Error{http.StatusConflict, fmt.Sprintf("run %s has not finished, so it can't be retried", found.ID), "hookrun runs cancel ends it"}
	case errors.Is(err, engine.ErrShadow):
		return Run{}, &Error{http.StatusConflict, fmt.Sprintf("run %s can't be retried: its rule was in mode shadow, so that it never ran", found.ID), "hookrun replay -run " + found.ID + " runs its event with the rules as they are now"}
	case found.State == engine.Shadow && errors.Is(err, engine.ErrFinished):
		return Run{}, &Error{http.StatusConflict, fmt.Sprintf("run %s can't be cancelled: its rule was in mode shadow, so that nothing of it runs", found.ID), ""}
	case errors.Is(err, engine.ErrFinished):
		return Run{}, &Error{http.StatusConflict, fmt.Sprintf("run %s has finished already: it is %s", found.ID, found.State), "hookrun runs retry runs it again"}
	case err != nil:
		return Run{}, err
	}
	why, err := l.why(ctx)
	if err != nil {
		return Run{}, err
	}
	return newRun(run, why(run)), nil
}

// Paused implements Desk.
func (l *Local) Paused(ctx context.Context) (Paused, error) {
	names, err := l.Store.Paused(ctx)
	if err != nil {
		return Paused{}, err
	}
	p := Paused{All: slices.Contains(names, ""), Rules: []string{}}
	for _, name := range names {
		if name != "" {
			p.Rules = append(p.Rules, name)
		}
	}
	return p, nil
}

// Pause implements Desk.
func (l *Local) Pause(ctx context.Context, rule string) (Paused, error) {
	return l.setPaused(ctx, rule, l.Hands.Pause)
}

// Resume implements Desk.
func (l *Local) Resume(ctx context.Context, rule string) (Paused, error) {
	return l.setPaused(ctx, rule, l.Hands.Resume)
}

func (l *Local) setPaused(ctx context.Context, rule string, set func(context.Context, string) error) (Paused, error) {
	now, err := l.Paused(ctx)
	if err != nil {
		return Paused{}, err
	}
	known := rule == "" || slices.Contains(now.Rules, rule) // one that is gone can be resumed
	if hint := l.ruleHint(rule); hint != "" && !known {
		return Paused{}, &Error{http.StatusNotFound, fmt.Sprintf("there is no rule %q", rule), hint}
	}
	if err := set(ctx, rule); err != nil {
		return Paused{}, err
	}
	return l.Paused(ctx)
}

// ruleHint says which rule was meant where there is none of this name; "" where
// there is, or nobody knows.
func (l *Local) ruleHint(rule string) string {
	if l.Names == nil {
		return ""
	}
	names := slices.Clone(l.Names())
	if len(names) == 0 || slices.Contains(names, rule) {
		return ""
	}
	if hint := engine.Nearest(rule, names); hint != "" {
		return hint
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return "the rules are " + strings.Join(names, ", ")
}

// Summary implements Desk.
func (l *Local) Summary(ctx context.Context) (Summary, error) {
	paused, err := l.Paused(ctx)
	if err != nil {
		return Summary{}, err
	}
	held, err := l.heldRuns(ctx)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Held: len(held), Paused: paused, Ended: map[engine.State]int64{}}
	if l.Relay != nil {
		s.Relay = l.Relay()
	}
	if l.Live != nil {
		s.Since, s.Ended, s.Rejected, s.Waiting = l.Since, l.Live.Counts(), l.Live.Rejected(), l.Live.Waiting()
		return s, nil
	}
	refs, err := l.Store.Unfinished(ctx)
	if err != nil {
		return Summary{}, err
	}
	for _, ref := range refs {
		if !ref.Armed {
			s.Waiting++
		}
	}
	return s, nil
}

// Stopped are the Hands where no hookrun works on the store: what they do takes
// effect at the next start.
type Stopped struct{ Store engine.Store }

var _ Hands = Stopped{}

// Retry implements Hands.
func (s Stopped) Retry(ctx context.Context, id string, all bool) (*engine.Run, error) {
	return engine.RetryRun(ctx, s.Store, id, all)
}

// Cancel implements Hands.
func (s Stopped) Cancel(ctx context.Context, id string) (*engine.Run, error) {
	return engine.CancelRun(ctx, s.Store, id)
}

// Pause implements Hands.
func (s Stopped) Pause(ctx context.Context, rule string) error {
	_, err := engine.PauseRule(ctx, s.Store, rule)
	return err
}

// Resume implements Hands.
func (s Stopped) Resume(ctx context.Context, rule string) error {
	_, err := engine.ResumeRule(ctx, s.Store, rule)
	return err
}
