package engine

import "time"

// State is where a run stands:
//
//	queued ─► running ─► done | failed | queued again (a retry, at Due)
//	queued | running ─► cancelled, replaced, abandoned (its rule is gone)
//	queued ─► superseded, skipped (after throttle held it)
//	at once: duplicate, throttled, tripped (after on_trip, where there is one), skipped, shadow
//	finished ─► queued (a person retries it)
//
// After a crash running counts as queued. An attempt that a shutdown cut off
// does not count.
type State string

// States of a run. All but the first two are finished.
const (
	Queued     State = "queued"
	Running    State = "running"
	Done       State = "done"
	Failed     State = "failed"
	Cancelled  State = "cancelled"  // by a person, or by the event of Run.By
	Abandoned  State = "abandoned"  // its rule is gone
	Skipped    State = "skipped"    // on_busy: skip; it gave way to Run.By
	Replaced   State = "replaced"   // on_busy: replace; Run.By took its place
	Superseded State = "superseded" // on_busy: latest, or throttle mode: last; Run.By goes in its place
	Duplicate  State = "duplicate"  // dedupe: Run.By does the same, or did
	Throttled  State = "throttled"  // throttle mode: first; Run.By had the window
	Tripped    State = "tripped"    // at_most was reached, or a rule led to itself
	Shadow     State = "shadow"     // its rule says mode: shadow; its steps say what it would have run
)

// States lists all states.
func States() []State {
	return []State{Queued, Running, Done, Failed, Cancelled, Abandoned, Skipped, Replaced, Superseded, Duplicate, Throttled, Tripped, Shadow}
}

// Finished reports whether a run in this state waits for nothing more.
func (s State) Finished() bool { return s != Queued && s != Running }

// Run is one rule's work on one event, or on one element of a list in it.
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
	Err      string    // why it failed, or why the last attempt did; of other ends, why

	Element string // for_each: the element as JSON; "" where the run is for the whole event
	Index   int    // for_each: the element's place in the list, from 0

	Key      string // text of the concurrency key: what `cancels` looks for
	Lane     string // runs of one lane share a limit; "": it runs beside all others
	Dedupe   string // scoped key of dedupe; this and the two below: "" for none
	Throttle string // scoped key of throttle
	Breaker  string // scoped key of at_most

	Held    bool   // queued: throttle holds it until Due; it is in no lane yet
	Armed   bool   // queued, and Held: a person is to say whether it goes
	By      string // id of the run that decided what became of this one, or ""
	Stop    State  // how it is to end, decided by another while it had begun; "": nobody did
	Outcome State  // how it ends once its closing actions are done; "": its actions are not over
	Base    int    // attempts before a person retried it: they are no tries
	Fresh   int    // what attempts up to this one finished is done again
	Waited  string // for people: what the first attempt waited for
	Note    string // for people: what a person did with it
}

// Begun reports whether the run has had an attempt since a person retried it,
// if ever one did: it keeps its place in its lane between two attempts.
func (r *Run) Begun() bool { return r.Attempt > r.Base }

// Ref is the little of a run that waiting needs.
type Ref struct {
	ID    string
	Seq   int64
	Rule  string
	Lane  string
	State State
	Due   time.Time
	Held  bool   // Run.Held
	Armed bool   // Run.Armed
	Begun bool   // Run.Begun
	Ends  bool   // Run.Ends
	By    string // Run.By

	slots  bool   // it waited for one of max_runs; this and what follows is not stored
	reads  int    // how often it could not be read
	behind string // the run that had its lane last
}

// Ends reports whether it is decided how the unfinished run ends: a pause does
// not hold that up.
func (r *Run) Ends() bool { return r.Stop != "" || r.Outcome != "" }

// Ref returns the run's Ref. A run that only does on_trip is in no lane: it waits
// for none of those that are too many.
func (r *Run) Ref() Ref {
	ref := Ref{
		ID: r.ID, Seq: r.Seq, Rule: r.Rule, Lane: r.Lane, State: r.State, Due: r.Due,
		Held: r.Held, Armed: r.Armed, Begun: r.Begun(), Ends: r.Ends(), By: r.By,
	}
	if r.Outcome == Tripped {
		ref.Lane = ""
	}
	return ref
}

// StepState is where one step of one attempt stands.
type StepState string

// States of a step.
const (
	StepRunning     StepState = "running"
	StepDone        StepState = "done"
	StepFailed      StepState = "failed"
	StepSkipped     StepState = "skipped"     // its if was false
	StepInterrupted StepState = "interrupted" // a stop of hookrun cut it off
	StepCrashed     StepState = "crashed"     // a crash of hookrun cut it off
	StepShadow      StepState = "shadow"      // of a run in state Shadow: Plan says what it would do
	StepNotRun      StepState = "not_run"     // in expressions: its turn did not come; never stored
)

// Phase is the list of a rule that a step stands in.
type Phase string

// Phases of a run, in the order in which they come. Of the closing ones those
// are done that fit how the actions ended.
const (
	PhaseMain    Phase = "" // actions
	PhaseSuccess Phase = "on_success"
	PhaseFailure Phase = "on_failure"
	PhaseTrip    Phase = "on_trip"
	PhaseAlways  Phase = "always"
)

// StepResult is what became of one step in one attempt. A later attempt adds
// its own, so that no evidence is overwritten.
type StepResult struct {
	Run      string // id of the run
	Attempt  int
	Index    int // position among all steps of the rule, those of closing phases behind its actions, from 0
	Phase    Phase
	Step     string // id
	Key      string // Step.Key
	Kind     string // Action.Kind
	State    StepState
	Started  time.Time
	Finished time.Time // zero while running
	Err      string
	Passed   bool // it failed, and the run went on all the same: continue_on_error
	Output   Output
	Plan     *Plan   // what it does, as RuleSet.Show gives it; nil before it is known
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
