package engine

import "time"

// State is where a run stands:
//
//	queued ─► running ─► done | failed | queued again (a retry, at Due)
//	queued | running ─► cancelled, abandoned (its rule is gone)
//
// After a crash running counts as queued. An attempt that a shutdown cut off
// does not count.
type State string

// States of a run.
const (
	Queued    State = "queued"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Abandoned State = "abandoned"
)

// Finished reports whether a run in this state waits for nothing more.
func (s State) Finished() bool { return s != Queued && s != Running }

// Run is one rule's work on one event.
type Run struct {
	ID       string    // UUIDv7
	Seq      int64     // order of arrival over all runs; given by Store.Accept
	Event    string    // id of the event
	Rule     string    // name of the rule
	RuleHash string    // Rule.Hash of the rule that made it
	State    State     //
	Attempt  int       // attempts begun
	Cut      int       // attempts of these that a shutdown or a crash cut off; they do not count as tries
	Due      time.Time // queued: not before this time; zero: at once
	Created  time.Time //
	Started  time.Time // first attempt; zero before
	Finished time.Time // zero until Finished
	Err      string    // why it failed, or why the last attempt did
}

// Ref is the little of a run that waiting needs.
type Ref struct {
	ID    string
	Seq   int64
	Event string
	Rule  string
	State State
	Due   time.Time

	reads int // how often it could not be read; not stored
}

// Ref returns the run's Ref.
func (r *Run) Ref() Ref {
	return Ref{ID: r.ID, Seq: r.Seq, Event: r.Event, Rule: r.Rule, State: r.State, Due: r.Due}
}

// StepState is where one step of one attempt stands.
type StepState string

// States of a step.
const (
	StepRunning     StepState = "running"
	StepDone        StepState = "done"
	StepFailed      StepState = "failed"
	StepSkipped     StepState = "skipped"     // its if was false
	StepInterrupted StepState = "interrupted" // a crash or a shutdown cut it off
)

// StepResult is what became of one step in one attempt. A later attempt adds
// its own, so that no evidence is overwritten.
type StepResult struct {
	Run      string // id of the run
	Attempt  int
	Index    int    // position in the rule's actions, from 0
	Step     string // id
	Key      string // Step.Key
	Kind     string // Action.Kind
	State    StepState
	Started  time.Time
	Finished time.Time // zero while running
	Err      string
	Output   Output
	Process  Process // while running, where the action started one

	// Stdout and Stderr are filled by Store.Steps from the chunks that
	// Store.AppendOutput took; Store.Update leaves them alone.
	Stdout, Stderr Text
}

// Text is the bounded memory of a stream: its beginning, its end, and how much
// between them is gone.
type Text struct {
	Head []byte
	Cut  int64
	Tail []byte // empty where nothing was cut and all of it fits Head
}

// Streams of a command.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Chunk is a piece of what a step prints, on its way to the store.
type Chunk struct {
	Run     string
	Attempt int
	Index   int
	Stream  string // Stdout or Stderr
	Offset  int64  // of Data in the stream; a gap to the chunk before was cut
	Data    []byte
}
