package engine

import (
	"context"
	"errors"
)

// Store keeps events and runs where a crash can't reach them. A method that
// writes returns nil only when what it wrote is on disk. Its methods may be
// called from several goroutines at once.
//
// enginetest.TestStore is the suite that every Store passes.
type Store interface {
	// Accept puts an event, its verdicts and its runs (all queued) on disk in
	// one commit and sets Seq of each run, rising in the order of acceptance.
	// Where the event has a Delivery that was accepted from the same Source
	// before, nothing is written and the receipt tells of the first one.
	// Its error wraps ErrUnavailable while nothing can be taken.
	Accept(ctx context.Context, a *Acceptance) (Receipt, error)

	// Update writes the run as given and adds the step results, or replaces
	// those of the same run, attempt and index, in one commit. It works on when
	// Accept no longer does for want of space, as far as it can.
	// The error wraps ErrNotFound where there is no such run.
	Update(ctx context.Context, r *Run, steps ...*StepResult) error

	// AppendOutput keeps a chunk of output. Of each stream it keeps the first
	// MaxOutput/2 bytes and the last MaxOutput/2 at least, and may drop what is
	// between. Chunks of one stream come in order of Offset.
	AppendOutput(ctx context.Context, c Chunk) error

	// Unfinished returns the runs that are queued or running, by Seq.
	Unfinished(ctx context.Context) ([]Ref, error)

	// Run, Event, Steps and Verdicts read what was written. A missing run or
	// event is ErrNotFound. Steps come by attempt, then index.
	Run(ctx context.Context, id string) (*Run, error)
	Event(ctx context.Context, id string) (*Event, error)
	Steps(ctx context.Context, run string) ([]*StepResult, error)
	Verdicts(ctx context.Context, event string) ([]Verdict, error)

	// RunsOf returns the runs that the event started, by Seq.
	RunsOf(ctx context.Context, event string) ([]*Run, error)
}

// Acceptance is what Store.Accept takes in one commit.
type Acceptance struct {
	Event    *Event
	BodyErr  string // why the body could not be parsed, or ""
	MatchErr string // why no rule could be asked at all (a panic), or ""
	Rules    string // RuleSet.Hash that the verdicts are of
	Verdicts []Verdict
	Runs     []*Run
}

// Receipt tells the sender what became of an event.
type Receipt struct {
	Event     string // id; of the first one where Duplicate
	Duplicate bool
	Runs      []Ref
}

// Errors that callers of a Store and of Engine.Submit tell apart.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("not accepting events") // the store can't write now
	ErrBusy        = errors.New("too many events at once")
)
