package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
)

// Desk is where people ask about runs and change them. An id may be its
// beginning. An *Error says what is wrong with what was asked.
type Desk interface {
	List(ctx context.Context, q Query) (List, error)
	Show(ctx context.Context, id string) (Detail, error)

	// Log gives emit what a run's commands have printed, in order, and then a
	// Piece with its state. With follow it goes on until the run has finished,
	// and tells of each state that it comes to; it ends when ctx does.
	Log(ctx context.Context, id string, follow bool, emit func(Piece) error) error

	Retry(ctx context.Context, id string, all bool) (Run, error) // all: from the first action
	Cancel(ctx context.Context, id string) (Run, error)

	Paused(ctx context.Context) (Paused, error)
	Pause(ctx context.Context, rule string) (Paused, error) // "": all
	Resume(ctx context.Context, rule string) (Paused, error)

	Summary(ctx context.Context) (Summary, error)
}

// Store is what a Local reads.
type Store interface {
	Run(ctx context.Context, id string) (*engine.Run, error)
	Event(ctx context.Context, id string) (*engine.Event, error)
	Steps(ctx context.Context, run string) ([]*engine.StepResult, error)
	Verdicts(ctx context.Context, event string) ([]engine.Verdict, error)
	RunsOf(ctx context.Context, event string) ([]*engine.Run, error)
	Runs(ctx context.Context, f engine.RunFilter) ([]*engine.Run, error)
	Unfinished(ctx context.Context) ([]engine.Ref, error)
	Paused(ctx context.Context) ([]string, error)
}

// Hands change runs.
type Hands interface {
	Retry(ctx context.Context, id string, all bool) (*engine.Run, error)
	Cancel(ctx context.Context, id string) (*engine.Run, error)
	Pause(ctx context.Context, rule string) error
	Resume(ctx context.Context, rule string) error
}

// Live is what only a hookrun that works on the store can tell.
type Live interface {
	Why(r *engine.Run) string
	Counts() map[engine.State]int64
	Rejected() int64
	Waiting() int
}

var (
	_ Hands = (*engine.Engine)(nil)
	_ Live  = (*engine.Engine)(nil)
	_ Desk  = (*Local)(nil)
	_ Desk  = (*Client)(nil)
)

// Local is the Desk over a store in this process.
type Local struct {
	Store Store
	Hands Hands           // needed by what changes something
	Live  Live            // nil: no hookrun works on the store
	Rules func() []string // the names of the rules; nil, or none: they are not known
	Since time.Time       // when Live began to count
	Relay func() string   // for Summary.Relay; nil: there is no relay
}

// maxNamed bounds the names that a hint lists.
const maxNamed = 10

// List implements Desk.
func (l *Local) List(ctx context.Context, q Query) (List, error) {
	if err := q.check(); err != nil {
		return List{}, err
	}
	runs, err := l.Store.Runs(ctx, engine.RunFilter{Rule: q.Rule, States: q.States, Since: q.Since, Before: q.Before, Limit: q.Limit})
	if err != nil {
		return List{}, err
	}
	why, err := l.why(ctx)
	if err != nil {
		return List{}, err
	}
	list := List{Runs: make([]Run, 0, len(runs))}
	for _, r := range runs {
		list.Runs = append(list.Runs, newRun(r, why(r)))
	}
	if len(runs) == q.limit() {
		list.Next = runs[len(runs)-1].Seq
	}
	if len(runs) == 0 && q.Rule != "" {
		list.Hint = l.ruleHint(q.Rule)
	}
	return list, nil
}

func (q Query) limit() int {
	if q.Limit == 0 {
		return engine.DefaultRunLimit
	}
	return q.Limit
}

func (q Query) check() error {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return badRequest("", "the limit is %d, which is not between 1 and %d", q.Limit, MaxLimit)
	}
	var names []string
	for _, s := range engine.States() {
		names = append(names, string(s))
	}
	for _, s := range q.States {
		if slices.Contains(engine.States(), s) {
			continue
		}
		hint := engine.Nearest(string(s), slices.Clone(names))
		if hint == "" {
			hint = "the states are " + strings.Join(names, ", ")
		}
		return badRequest(hint, "there is no state %q", s)
	}
	return nil
}

// why returns what says for people what a queued run waits for.
func (l *Local) why(ctx context.Context) (func(*engine.Run) string, error) {
	if l.Live != nil {
		return func(r *engine.Run) string {
			if r.State != engine.Queued {
				return ""
			}
			return l.Live.Why(r)
		}, nil
	}
	paused, err := l.Store.Paused(ctx)
	if err != nil {
		return nil, err
	}
	return func(r *engine.Run) string {
		switch {
		case r.State.Finished():
			return ""
		case slices.Contains(paused, ""):
			return "everything is paused, and no hookrun answers"
		case slices.Contains(paused, r.Rule):
			return "its rule is paused, and no hookrun answers"
		}
		return "no hookrun answers: it goes on when one runs"
	}, nil
}
