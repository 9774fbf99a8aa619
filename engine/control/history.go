package control

import (
	"context"
	"time"

	"hookrun/engine"
)

// History is the part of a Desk that tells what came and why it did what it did.
// An id may be its beginning.
type History interface {
	Events(ctx context.Context, q EventQuery) (EventList, error)
	Event(ctx context.Context, id string) (EventDetail, error)
	Body(ctx context.Context, id string) (Body, error) // of an event, whole

	// Explain asks the rules in force about an event, kept or made up: what each
	// makes of it, why, and what it would do. Nothing is kept, nothing is run.
	Explain(ctx context.Context, q ExplainQuery) (*engine.Rehearsal, error)

	// Rejections are webhooks that were turned away, the newest first.
	Rejections(ctx context.Context, q RejectionQuery) (RejectionList, error)

	// Watch gives emit what happens from now on, until ctx ends; first, once it
	// watches, a Notice that tells nothing. What one who is slow to take it misses is
	// told by a Notice with Missed.
	Watch(ctx context.Context, q WatchQuery, emit func(Notice) error) error

	Rates(ctx context.Context, q RateQuery) (RateList, error)
	Status(ctx context.Context) (Status, error)
}

// Control is the part of a Desk that changes more than single runs.
type Control interface {
	// Replay has an event of the past run again, as an event of its own.
	Replay(ctx context.Context, q ReplayQuery) (Replayed, error)

	// Arm has the next run of a rule wait until a person says Release, or Cancel;
	// Disarm takes that back. "": of any rule.
	Arm(ctx context.Context, rule string) (Armed, error)
	Disarm(ctx context.Context, rule string) (Armed, error)
	Armed(ctx context.Context) (Armed, error)
	Release(ctx context.Context, run string) (Run, error)

	Rules(ctx context.Context) (RuleList, error)
	Generations(ctx context.Context) (GenerationList, error)

	// AcceptRules puts the generation in force that on_reload holds. hash is its
	// Hash: nobody accepts what has come since.
	AcceptRules(ctx context.Context, hash string) (Generation, error)
}

// EventQuery asks for events. What is left zero asks for any.
type EventQuery struct {
	Bucket   string // its name or id
	Rule     string // a run of it was made; see EventList.Hint for others that it was asked about
	Outcomes []engine.EventOutcome
	Since    time.Time
	Until    time.Time
	Before   int64 // EventList.Next of the page before
	After    int64 // Seq is higher; the oldest come first
	Limit    int   // at most so many, up to MaxLimit; 0: engine.DefaultEventLimit
}

// EventList is a page of events.
type EventList struct {
	Events []EventRow `json:"events"`

	// Next is EventQuery.Before of the next page, or After where the query had that;
	// 0: there is none. A page may be short and have a next one.
	Next int64  `json:"next,omitempty"`
	Hint string `json:"hint,omitempty"` // where there are none: what may be wrong with the question; else what is not among them
}

// EventRow is an event as a list shows it.
type EventRow struct {
	Event
	Seq      int64               `json:"seq"`            // order of arrival; 0 in a Notice
	Kind     string              `json:"kind,omitempty"` // what its sender calls it: "push"
	Outcome  engine.EventOutcome `json:"outcome"`
	Matched  []string            `json:"matched,omitempty"` // rules that matched
	Errored  []string            `json:"errored,omitempty"` // rules whose condition failed
	ReplayOf string              `json:"replay_of,omitempty"`
	BodyErr  string              `json:"body_err,omitempty"`
	MatchErr string              `json:"match_err,omitempty"`

	bucketID string // in a Notice: what WatchQuery.Bucket may name, too
}

// EventDetail is all about one event.
type EventDetail struct {
	EventRow
	BucketID   string              `json:"bucket_id,omitempty"`
	Delivery   string              `json:"delivery,omitempty"` // the source's name of the delivery
	Query      string              `json:"query,omitempty"`    // raw
	Header     map[string][]string `json:"header"`
	Meta       map[string]string   `json:"meta,omitempty"`
	Edited     bool                `json:"edited,omitempty"`      // its body is not that of ReplayOf
	Body       Bytes               `json:"body,omitempty"`        // its beginning, with the secrets of the rules masked; Size tells how many bytes it has
	BodyCut    int                 `json:"body_cut,omitempty"`    // bytes that come behind
	BodyMasked bool                `json:"body_masked,omitempty"` // there is a secret in Body
	Rules      string              `json:"rules"`                 // hash of the rules that were asked
	Current    bool                `json:"current"`               // they are those in force
	Verdicts   []engine.Verdict    `json:"verdicts"`
	Runs       []Run               `json:"runs"`                // at most MaxLimit of them, the first
	MoreRuns   int                 `json:"more_runs,omitempty"` // that are left out
	Replays    []string            `json:"replays,omitempty"`   // ids of events that are replays of it, the newest
}

// MaxShownBody bounds what EventDetail.Body is made of, in bytes.
const MaxShownBody = 256 << 10

// Body is the body of an event, as it came.
type Body struct {
	Event string // id
	Type  string // its Content-Type, as the sender says; not to be trusted
	Data  []byte
}

// RejectionQuery asks for rejections. What is left zero asks for any.
type RejectionQuery struct {
	Bucket string // its name
	Since  time.Time
	Limit  int // at most so many, up to engine.MaxRejections; 0: engine.DefaultEventLimit
}

// RejectionList is the answer to a RejectionQuery.
type RejectionList struct {
	Rejections []engine.Rejection `json:"rejections"`
}

// ExplainQuery says which event the rules are asked about: one that is kept, or
// one that was made up.
type ExplainQuery struct {
	Event string   `json:"event,omitempty"` // id
	Made  *Request `json:"made,omitempty"`
	Rule  string   `json:"rule,omitempty"` // only this one
}

// Request is an event that was made up.
type Request struct {
	Bucket string              `json:"bucket"`
	Method string              `json:"method,omitempty"` // POST
	Path   string              `json:"path,omitempty"`   // "/"
	Query  string              `json:"query,omitempty"`  // raw
	Header map[string][]string `json:"header,omitempty"`
	Body   Bytes               `json:"body,omitempty"`
}

// WatchQuery says what Watch tells of. What is left zero asks for any. Rules,
// health and what was missed are told of in any case.
type WatchQuery struct {
	Bucket   string                // its name or id: events and rejections of it, and runs of the events that were told of
	Rule     string                // its runs, and the events that it matched or failed on
	Outcomes []engine.EventOutcome // events with one of these; without States no runs
	States   []engine.State        // runs in one of these; without Outcomes no events
}

// Notice tells of one thing that happened; one of its fields is set.
type Notice struct {
	Event    *EventRow         `json:"event,omitempty"`    // it was accepted
	Run      *Run              `json:"run,omitempty"`      // it has changed
	Rejected *engine.Rejection `json:"rejected,omitempty"` // an event was turned away
	Rules    *Generation       `json:"rules,omitempty"`    // a generation came into force, or is held
	Refused  *Refusal          `json:"refused,omitempty"`  // rules were refused
	Health   *Health           `json:"health,omitempty"`   // it has changed
	Missed   int               `json:"missed,omitempty"`   // notices that were left out here
}

// RateQuery asks for Rates; see engine.RatesFilter.
type RateQuery struct {
	Rule  string
	Since time.Time
	Step  time.Duration
}

// RateList is the answer to a RateQuery.
type RateList struct {
	Step  float64 `json:"step_seconds"`
	Rates []Rate  `json:"rates"`
}

// Rate is one span of time.
type Rate struct {
	From   time.Time            `json:"from"`
	Events int                  `json:"events"`
	Runs   map[engine.State]int `json:"runs"` // created in it, by state
	Median float64              `json:"median_seconds,omitempty"`
	Worst  float64              `json:"worst_seconds,omitempty"`
}

// Status is how a hookrun is.
type Status struct {
	Version string    `json:"version"`
	Since   time.Time `json:"since,omitzero"` // when it was started; zero: none runs
	Health  Health    `json:"health"`
	Relay   string    `json:"relay,omitempty"`  // for people
	Listen  string    `json:"listen,omitempty"` // address of the intake
	Admin   string    `json:"admin,omitempty"`  // address of the dashboard
	Store   StoreInfo `json:"store"`
	Summary Summary   `json:"summary"`
	Rules   int       `json:"rules"`             // in force
	Held    bool      `json:"held"`              // a generation waits to be accepted
	Refused *Refusal  `json:"refused,omitempty"` // the rules that the files hold now; nil: they are good

	Watchers int `json:"watchers"` // who watch what happens: hookrun tail, pages of the dashboard
}

// Health says whether events are taken.
type Health struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// StoreInfo is the size of a store and what is kept.
type StoreInfo struct {
	Folder   string    `json:"folder"`
	Size     int64     `json:"size_bytes"`      // of the database and its log, on disk
	Used     int64     `json:"used_bytes"`      // of that in use: what KeepSize is held against
	Free     int64     `json:"disk_free_bytes"` //
	Events   int64     `json:"events"`
	Runs     int64     `json:"runs"`
	Oldest   time.Time `json:"oldest,omitzero"` // received
	Newest   time.Time `json:"newest,omitzero"`
	KeepAge  float64   `json:"keep_age_seconds,omitempty"` // 0: not known, as no hookrun runs
	KeepSize int64     `json:"keep_size_bytes,omitempty"`
}

// ReplayQuery says what is to run again: an event with all rules that match it now,
// or the rule of a run alone.
type ReplayQuery struct {
	Event string `json:"event,omitempty"` // id; this or Run
	Run   string `json:"run,omitempty"`   // id: its event, for its rule
	Rule  string `json:"rule,omitempty"`  // with Event: this rule alone
	Body  *Bytes `json:"body,omitempty"`  // in the place of the event's; nil: as it was
}

// Replayed is what became of a Replay.
type Replayed struct {
	Event string `json:"event"` // id of the new event
	Runs  []Run  `json:"runs"`  // none too where they could not be read
}

// Armed says which rules wait for a person at their next run, and what waits.
type Armed struct {
	All   bool     `json:"all"`
	Rules []string `json:"rules"`
	Runs  []Run    `json:"runs"` // held, the oldest first; the newest MaxLimit of them
}

// RuleList is the rules in force, in their order.
type RuleList struct {
	Rules []RuleInfo `json:"rules"`
	Hash  string     `json:"hash"`
}

// RuleInfo is a rule as people see it.
type RuleInfo struct {
	Name    string               `json:"name"`
	Place   string               `json:"place"` // file:line
	Buckets []string             `json:"buckets,omitempty"`
	Methods []string             `json:"methods,omitempty"`
	When    string               `json:"when,omitempty"`
	Off     bool                 `json:"off,omitempty"` // enabled: false
	Shadow  bool                 `json:"shadow,omitempty"`
	Paused  bool                 `json:"paused,omitempty"`
	Armed   bool                 `json:"armed,omitempty"`
	Source  string               `json:"source,omitempty"` // its lines in the file, secrets masked
	Last    *Run                 `json:"last,omitempty"`   // its newest run
	Day     map[engine.State]int `json:"day,omitempty"`    // runs of the last 24 hours, by state
}

// GenerationList is the generations that were in force, the newest first.
type GenerationList struct {
	Generations []Generation `json:"generations"`
	Held        *Generation  `json:"held,omitempty"` // the one that waits to be accepted
}

// Generation is the rules files at one time.
type Generation struct {
	N       int       `json:"n,omitempty"` // number; 0 of one that is held
	Hash    string    `json:"hash"`        // of the files
	At      time.Time `json:"at"`
	Files   []string  `json:"files"`
	Current bool      `json:"current,omitempty"` // it is in force
	Diff    string    `json:"diff,omitempty"`    // unified, to the one before, secrets masked; not in a Notice
	Changes *Changes  `json:"changes,omitempty"` // what it changes of the last day's decisions; nil: not known
	Why     string    `json:"why,omitempty"`     // of one that is held: for what
}

// Refusal is why rules are not in force that the files hold: they have problems.
type Refusal struct {
	At       time.Time     `json:"at"`
	Problems []RuleProblem `json:"problems"`       // the first MaxProblems
	More     int           `json:"more,omitempty"` // that are left out
}

// MaxProblems bounds Refusal.Problems.
const MaxProblems = 5

// RuleProblem is what is wrong with rules at one place.
type RuleProblem struct {
	Place string `json:"place"` // file:line:column, as far as it is known
	Rule  string `json:"rule,omitempty"`
	Msg   string `json:"message"`
	Hint  string `json:"hint,omitempty"` // the likely mend
}

// Changes is what other rules would have made of past events.
type Changes struct {
	Events  int           `json:"events"`  // that were asked about
	Of      string        `json:"of"`      // for people: "the last 24h"
	Flipped int           `json:"flipped"` // decisions that are others
	Rules   []RuleChanges `json:"rules,omitempty"`
}

// RuleChanges is Changes of one rule.
type RuleChanges struct {
	Rule    string   `json:"rule"`
	Newly   int      `json:"newly"`             // events that match now and did not
	NoMore  int      `json:"no_more"`           // that matched and do not now
	Differs int      `json:"differs"`           // that match as before, with other arguments, paths or bodies
	Sample  []string `json:"sample,omitempty"`  // ids of some of these events
	Details []string `json:"details,omitempty"` // of some: what differs, a line each
}
