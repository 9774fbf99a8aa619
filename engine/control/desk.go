package control

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
)

// Desk is where people ask about events and runs and change them. An id may be
// its beginning. An *Error says what is wrong with what was asked.
type Desk interface {
	History
	Control

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
	Printed(ctx context.Context, run string) ([]*engine.StepResult, error)
	Verdicts(ctx context.Context, event string) ([]engine.Verdict, error)
	RunsOf(ctx context.Context, event string) ([]*engine.Run, error)
	Runs(ctx context.Context, f engine.RunFilter) ([]*engine.Run, error)
	Unfinished(ctx context.Context) ([]engine.Ref, error)
	Paused(ctx context.Context) ([]string, error)
	Events(ctx context.Context, f engine.EventFilter) (engine.EventPage, error)
	Rates(ctx context.Context, f engine.RatesFilter) ([]engine.Rates, error)
	RulesDay(ctx context.Context, since time.Time) ([]engine.RuleUse, error)
	Replays(ctx context.Context, event string) ([]string, error)
	Rejections(ctx context.Context, f engine.RejectionFilter) ([]engine.Rejection, error)
	Info(ctx context.Context) (engine.StoreInfo, error)
}

// Hands change runs.
type Hands interface {
	Retry(ctx context.Context, id string, all bool) (*engine.Run, error)
	Cancel(ctx context.Context, id string) (*engine.Run, error)
	Pause(ctx context.Context, rule string) error
	Resume(ctx context.Context, rule string) error
}

// Live is what only a hookrun that works on the store can tell, and do.
type Live interface {
	Why(r *engine.Run) string
	Counts() map[engine.State]int64
	Rejected() int64
	Waiting() int

	Replay(ctx context.Context, r engine.Replay) (engine.Receipt, error)
	Arm(ctx context.Context, rule string) error
	Disarm(ctx context.Context, rule string) error
	Armed() []string
	Release(ctx context.Context, id string) (*engine.Run, error)
}

// Archive are the generations of rules that were in force.
type Archive interface {
	Generations() ([]Generation, error) // the newest first

	// Source gives what tells the lines of the newest one at a place, file:line; ""
	// where they can't be told.
	Source() func(place string) string
}

// Gate is where rules come into force: it holds a generation that on_reload keeps
// from that, and knows why others were refused.
type Gate interface {
	Held() *Generation // nil: none is held
	Refused() *Refusal // nil: the files hold good rules
	Accept(ctx context.Context, hash string) (Generation, error)
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
	Names func() []string // of the rules; nil, or none: they are not known
	Since time.Time       // when Live began to count
	Relay func() string   // for Summary.Relay; nil: there is no relay

	Archive Archive // nil: no generation is known
	About   About

	info infoCache

	// What follows is needed where Live is there.
	Ruleset func() *engine.RuleSet // in force
	Health  func() Health
	Feed    *Feed // what Watch tells of
	Gate    Gate  // nil: no generation is ever held

	turns Turns // of rehearsals
}

// About is what a hookrun was started with. What is zero is not known.
type About struct {
	Version  string
	Listen   string // address of the intake
	Admin    string // of the dashboard, as a person opens it
	KeepAge  time.Duration
	KeepSize int64
}

// noDaemon is the error for what needs a hookrun that works on the store.
func noDaemon(what string) error {
	return &Error{http.StatusServiceUnavailable, "no hookrun runs on this data folder: " + what, "start one, as with hookrun -rules rules.yaml, or name its folder with -data"}
}

// maxNamed bounds the names that a hint lists.
const maxNamed = 10

// List implements Desk.
func (l *Local) List(ctx context.Context, q Query) (List, error) {
	if err := q.check(); err != nil {
		return List{}, err
	}
	runs, err := l.runs(ctx, q)
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
	if len(runs) == 0 && q.Bucket != "" && list.Hint == "" {
		list.Hint = l.bucketHint(q.Bucket)
	}
	return list, nil
}

// runs are a page of them.
func (l *Local) runs(ctx context.Context, q Query) ([]*engine.Run, error) {
	if q.Event == "" {
		return l.Store.Runs(ctx, engine.RunFilter{Bucket: q.Bucket, Rule: q.Rule, States: q.States, Since: q.Since, Until: q.Until, Before: q.Before, Limit: q.Limit})
	}
	event, err := l.findEvent(ctx, q.Event)
	if err != nil {
		return nil, err
	}
	runs, err := l.Store.RunsOf(ctx, event.ID)
	runs = slices.DeleteFunc(runs, func(r *engine.Run) bool { return !q.asksFor(r) })
	slices.Reverse(runs)
	return runs[:min(len(runs), q.limit())], err
}

// asksFor reports whether a run is one that is asked for.
func (q Query) asksFor(r *engine.Run) bool {
	return (q.Rule == "" || r.Rule == q.Rule) && (len(q.States) == 0 || slices.Contains(q.States, r.State)) &&
		!r.Created.Before(q.Since) && (q.Until.IsZero() || r.Created.Before(q.Until)) && (q.Before == 0 || r.Seq < q.Before)
}

func (q Query) limit() int {
	if q.Limit == 0 {
		return engine.DefaultRunLimit
	}
	return q.Limit
}

func (q Query) check() error {
	if err := checkLimit(q.Limit); err != nil {
		return err
	}
	if err := checkTimes(q.Since, q.Until); err != nil {
		return err
	}
	if q.Event != "" && q.Bucket != "" {
		return badRequest("an event is of one bucket: leave bucket out", "event and bucket are both given")
	}
	return checkWords("state", q.States, engine.States())
}

// checkTimes refuses a question that has no answer.
func checkTimes(since, until time.Time) error {
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return badRequest("since is the earlier one", "there is no time since %s and until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return nil
}

func checkLimit(n int) error {
	if n < 0 || n > MaxLimit {
		return badRequest("", "the limit is %d, which is not between 1 and %d", n, MaxLimit)
	}
	return nil
}

// checkWords refuses a word that is none of those that are known.
func checkWords[W ~string](what string, given, known []W) error {
	var names []string
	for _, w := range known {
		names = append(names, string(w))
	}
	for _, w := range given {
		if slices.Contains(known, w) {
			continue
		}
		hint := engine.Nearest(string(w), slices.Clone(names))
		if hint == "" {
			hint = "the " + what + "s are " + strings.Join(names, ", ")
		}
		return badRequest(hint, "there is no %s %q", what, w)
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
