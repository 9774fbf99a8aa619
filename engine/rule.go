package engine

import (
	"net/netip"
	"time"
)

// Rule says which events start which actions. It is made once, by a loader,
// and never changes.
type Rule struct {
	Name    string
	Place   string        // file:line of the rule, for people
	Hash    string        // of all that the rule says
	Buckets []string      // empty: every bucket. Names or ids
	Methods []string      // empty: every method. Upper case
	When    *Condition    // nil: always
	Stop    bool          // a match ends the search
	Shadow  bool          // it is asked, and nothing of it runs: what it would do is kept
	Timeout time.Duration // of one attempt; 0: DefaultTimeout
	Retry   Retry
	Steps   []Step // none: a rule that only cancels

	Verify     Verifier // who knows the sender; nil: the bucket's
	VerifyNone bool     // nobody is asked, not even the bucket's
	Respond    *Respond // nil: the bucket's

	ForEach     *ForEach // nil: one run for the event
	Concurrency Concurrency
	Dedupe      *Dedupe   // nil: events are not compared
	Throttle    *Throttle // nil: every event counts
	AtMost      *AtMost   // nil: no breaker
	Cancels     []Cancel

	// Closing steps: after Steps were done, after they failed for good, after
	// either or a stop in their middle; and when AtMost trips.
	OnSuccess, OnFailure, Always, OnTrip []Step
}

// stepsOf are the steps of a phase.
func (r *Rule) stepsOf(p Phase) []Step {
	switch p {
	case PhaseSuccess:
		return r.OnSuccess
	case PhaseFailure:
		return r.OnFailure
	case PhaseTrip:
		return r.OnTrip
	case PhaseAlways:
		return r.Always
	}
	return r.Steps
}

// MaxForEach bounds the runs that one event starts of one rule.
const MaxForEach = 1000

// ForEach makes a run of each element of a list.
type ForEach struct {
	List *Value // of the elements
	As   string // the name that expressions see the element by
	Key  *Key   // nil: none. The default of the other keys
}

// Concurrency says how many runs of a lane go at one time, and what becomes of
// one that comes while they do.
type Concurrency struct {
	None   bool   // no lane at all: every run starts at once
	Group  string // rules of one group share lanes; "": the rule has its own
	Key    *Key   // one lane for each text; nil: ForEach's, else one lane for all
	Limit  int    // runs at one time; 0 counts as 1
	OnBusy OnBusy // "": BusyQueue
}

// OnBusy is what becomes of a run whose lane is full.
type OnBusy string

// Ways to be busy. A lane is full with its first Limit unfinished runs, in order
// of arrival, whether they run already or are about to.
const (
	BusyQueue   OnBusy = "queue"   // it waits, in order of arrival
	BusySkip    OnBusy = "skip"    // it is skipped
	BusyReplace OnBusy = "replace" // the oldest is stopped, then it starts
	BusyLatest  OnBusy = "latest"  // it waits, and whatever waited before it is superseded
)

// Dedupe recognises what was done already.
type Dedupe struct {
	Key    *Key // a run whose key is nil or "" is compared with none
	Within time.Duration
}

// Throttle lets one run through in a while.
type Throttle struct {
	Every time.Duration
	Key   *Key // nil: ForEach's, else one for all
	Last  bool // the last event of a burst, when it has been quiet for Every; else the first
}

// AtMost is a breaker: more than Runs in the time Per trip it.
type AtMost struct {
	Runs int
	Per  time.Duration
	Key  *Key // nil: ForEach's, else one for all
}

// Cancel says whose unfinished runs an event ends.
type Cancel struct {
	Rule string // name
	Key  *Key   // compared with Run.Key; nil: all runs of the rule
}

// DefaultTimeout bounds one attempt of a run whose rule says nothing of it.
const DefaultTimeout = time.Hour

// Retry says how often and when a failed run is tried again.
type Retry struct {
	Attempts int           // tries in all; 0 counts as 1
	If       *Condition    // over error and steps, decides whether another try may help; nil: the action's own judgement
	Backoff  time.Duration // before the second try, doubled for each further one; 0: DefaultBackoff
	Max      time.Duration // no wait is longer; 0: DefaultMaxBackoff
}

// Defaults of Retry.
const (
	DefaultBackoff    = 10 * time.Second
	DefaultMaxBackoff = 5 * time.Minute
)

// Step is one action of a rule.
type Step struct {
	ID      string        // as the rule gives it, else its number from "1"
	Key     string        // what a retry knows the step by, whatever was edited around it: "id:" and its id, else a hash of what it does; unique in the rule. "": the ID
	If      *Condition    // nil: always
	Timeout time.Duration // 0: only the rule's
	Action  Action

	Retry           *Retry // of this step; nil: the rule's
	ContinueOnError bool   // when it has failed for good the run goes on

	// What becomes of the step when hookrun ends while it runs: ResumeCut
	// ("" too), FailCut, and DoneCut for OnInterrupt alone.
	OnInterrupt, OnCrash OnCut

	Outputs []string // names that the command writes to HOOKRUN_OUTPUT
}

// OnCut is what becomes of a step that the end of hookrun cut off.
type OnCut string

// Ways to treat a step that was cut off.
const (
	ResumeCut OnCut = "resume" // it is done again, MaxResumes times after a stop
	FailCut   OnCut = "fail"   // it has failed
	DoneCut   OnCut = "done"   // it is done: it was this step that stopped hookrun
)

// MaxResumes is how often a step that a stop of hookrun cut off is begun anew: a
// deploy that restarts hookrun would go on for ever.
const MaxResumes = 3

// DefaultQueueLimit is how many runs may wait where the rules do not say.
const DefaultQueueLimit = 250_000

// RuleSet is one generation of rules. It never changes; a reload makes a new
// one.
type RuleSet struct {
	Rules   []*Rule
	Hash    string   // of all rules
	Secrets []Secret // values to mask wherever output is kept

	Buckets map[string]*Bucket // by name or id: what is said of a bucket beside its rules
	Proxies []netip.Prefix     // whose word about a sender's address is taken

	MaxRuns    int // runs at one time; 0: 4 × CPUs
	QueueLimit int // runs that may wait; beyond it no event is taken. 0: DefaultQueueLimit

	// Off are the rules that are switched off. Their buckets are known all the
	// same: a sender that is told 404 may switch its hook off for good.
	Off []*Rule

	mask     func() *masker     // of Secrets; made when it is first asked for
	byBucket map[string][]*Rule // rules that name a bucket, in order
	anywhere []*Rule            // rules that name none, in order
	byName   map[string]*Rule
	order    map[*Rule]int
	now      func() time.Time // what tests replace
}
