package engine

import (
	"context"
	"errors"
	"time"
)

// Store keeps events and runs where a crash can't reach them. A method that
// writes returns nil only when what it wrote is on disk. Its methods may be
// called from several goroutines at once.
//
// enginetest.TestStore is the suite that every Store passes.
type Store interface {
	// Accept puts an event, its verdicts and its runs on disk in one commit and
	// sets Seq of each run, rising in the order of acceptance.
	// Where the event has a Delivery that was accepted from the same Source
	// before, nothing is written and the receipt tells of the first one.
	// Its error wraps ErrUnavailable while nothing can be taken.
	Accept(ctx context.Context, a *Acceptance) (Receipt, error)

	// Update writes the run as given and adds the step results, or replaces
	// those of the same run, attempt and index, in one commit. It works on when
	// Accept no longer does for want of space, as far as it can. What others
	// decide about a run stays: its Note is left as it is, and where r has no Stop,
	// Stop and By are too. Of a run that has finished nothing is changed, nor of
	// one that was retried by hand since r was read (its Base is another): that is
	// ErrFinished.
	// The error wraps ErrNotFound where there is no such run.
	Update(ctx context.Context, r *Run, steps ...*StepResult) error

	// Change has fn look at runs and change them, in one commit. fn may be
	// called again where that commit failed; where it returns an error, nothing
	// is changed.
	Change(ctx context.Context, fn func(Tx) error) error

	// AppendOutput keeps a chunk of output. Of each stream it keeps the first
	// MaxOutput/2 bytes and the last MaxOutput/2 at least, and may drop what is
	// between. Chunks of one stream come in order of Offset.
	AppendOutput(ctx context.Context, c Chunk) error

	// Unfinished returns the runs that are queued or running, by Seq.
	Unfinished(ctx context.Context) ([]Ref, error)

	// Run, Event, Steps and Verdicts read what was written. A missing run or
	// event is ErrNotFound. Steps come by attempt, then index. Printed gives them
	// without Output, Plan and Process, for one who follows what is printed.
	Run(ctx context.Context, id string) (*Run, error)
	Event(ctx context.Context, id string) (*Event, error)
	Steps(ctx context.Context, run string) ([]*StepResult, error)
	Printed(ctx context.Context, run string) ([]*StepResult, error)
	Verdicts(ctx context.Context, event string) ([]Verdict, error)

	// RunsOf returns the runs that the event started, by Seq.
	RunsOf(ctx context.Context, event string) ([]*Run, error)

	// Runs returns what the filter asks for, the newest first.
	Runs(ctx context.Context, f RunFilter) ([]*Run, error)

	// Events and Records are the history: a page of what the filter asks for, the
	// newest first, or behind f.After the oldest first. Records gives fewer than
	// asked for where they are large: MaxRecords bytes together, or one. next is as
	// in EventPage. Rates counts by time.
	Events(ctx context.Context, f EventFilter) (EventPage, error)
	Records(ctx context.Context, f EventFilter) (records []EventRecord, next int64, err error)
	Rates(ctx context.Context, f RatesFilter) ([]Rates, error)

	// RulesDay tells of each rule that has runs, by name: how many since then, and
	// its newest. Replays returns the ids of events that are replays of the event,
	// the newest first, MaxReplays at most. Info tells the size of it all.
	RulesDay(ctx context.Context, since time.Time) ([]RuleUse, error)
	Replays(ctx context.Context, event string) ([]string, error)
	Info(ctx context.Context) (StoreInfo, error)

	// Reject keeps a rejection, and the newest MaxRejections of them. It returns
	// ErrUnavailable, wrapped, when Accept does. Rejections gives what was kept.
	Reject(ctx context.Context, r Rejection) error
	Rejections(ctx context.Context, f RejectionFilter) ([]Rejection, error)

	// SetPaused notes the rules that a person has paused, "" for all rules;
	// Paused returns them, sorted.
	SetPaused(ctx context.Context, rules []string) error
	Paused(ctx context.Context) ([]string, error)

	// SetArmed and Armed are the same for rules of which the next run is held.
	SetArmed(ctx context.Context, rules []string) error
	Armed(ctx context.Context) ([]string, error)
}

// Tx is the runs as they are inside of one commit. It is of no use after it.
type Tx interface {
	Run(id string) (*Run, error)          // ErrNotFound
	Unfinished(q Pending) ([]*Run, error) // by Seq
	Recent(q Recent) ([]*Run, error)      // the newest first
	Put(r *Run) error                     // writes all of the run, which is there; ErrNotFound
}

// Pending asks for unfinished runs: those of a lane, or those of a rule.
type Pending struct {
	Lane string // "": by Rule
	Rule string
	Key  *string // with Rule: of this Run.Key alone; nil: of any
}

// Recent asks for the runs of a rule that have the same key.
type Recent struct {
	Rule     string
	By       KeyKind
	Key      string    // scoped, as in the run
	From, To time.Time // of Run.Created, both inclusive; zero: any
	States   []State   // one of these
	Held     bool      // only those that are held
	Limit    int       // at most so many
}

// KeyKind is one of the keys that a run is looked up by.
type KeyKind string

// The keys of Run that Recent knows.
const (
	ByDedupe   KeyKind = "dedupe"
	ByThrottle KeyKind = "throttle"
	ByBreaker  KeyKind = "breaker"
)

// RunFilter asks for runs. What is left zero asks for any.
type RunFilter struct {
	IDPrefix string // the id begins so
	Bucket   string // name or id of its event's
	Rule     string
	States   []State
	Since    time.Time // created then or later
	Until    time.Time // created before
	Armed    bool      // only those that wait for a person
	Before   int64     // Seq is lower: the next page
	Limit    int       // at most so many; 0: DefaultRunLimit
}

// DefaultRunLimit is how many runs a filter without Limit gives.
const DefaultRunLimit = 50

// Acceptance is what Store.Accept takes in one commit.
type Acceptance struct {
	Event    *Event
	BodyErr  string // why the body could not be parsed, or ""
	MatchErr string // why no rule could be asked at all (a panic), or ""
	Rules    string // RuleSet.Hash that the verdicts are of
	Verdicts []Verdict
	Runs     []*Run
	Steps    []*StepResult // of runs in state Shadow
	Answered bool          // it is the question of a service, and no rule was asked

	// Admit, where it is not nil, is called for each run in turn, inside of the
	// commit and right before the run is written. It may change the run, and
	// others by way of tx. Where the commit is tried again all runs are asked
	// again, with what Admit made of them the first time.
	Admit func(tx Tx, r *Run) error
}

// Receipt tells the sender what became of an event.
type Receipt struct {
	Event     string // id; of the first one where Duplicate
	Duplicate bool
	KeptAs    string // id of the event itself, where it is kept beside the first one; or ""
	Runs      []Ref

	Challenge *Challenge // not nil: this is the answer. Event is "" where nothing is kept
	reply     *reply     // nil: the receipt is the answer
}

// Errors that callers of a Store and of Engine.Submit tell apart.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("not accepting events") // the store can't write now
	ErrBusy        = errors.New("too many events at once")
	ErrFinished    = errors.New("the run has finished")
	ErrNotFinished = errors.New("the run has not finished")
	ErrShadow      = errors.New("its rule was in mode shadow: it never ran")
)
