package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"hookrun/engine"
)

// Query asks for runs. What is left zero asks for any.
type Query struct {
	Event  string // id of the event that they are of
	Bucket string // name or id of that of their events; not with Event
	Rule   string
	States []engine.State
	Since  time.Time // created then or later
	Until  time.Time // created before
	Before int64     // List.Next of the page before
	Limit  int       // at most so many, up to MaxLimit; 0: engine.DefaultRunLimit
}

// MaxLimit bounds the runs of one List.
const MaxLimit = 1000

// List is a page of runs, the newest first.
type List struct {
	Runs []Run  `json:"runs"`
	Next int64  `json:"next,omitempty"` // Query.Before of the next page; 0: there is none
	Hint string `json:"hint,omitempty"` // where there are none: what may be wrong with the question
}

// Run is a run as people see it.
type Run struct {
	ID       string       `json:"id"`
	Seq      int64        `json:"seq"`   // order of arrival
	Event    string       `json:"event"` // id of the event
	Rule     string       `json:"rule"`
	Key      string       `json:"key,omitempty"` // of concurrency
	State    engine.State `json:"state"`
	Attempts int          `json:"attempts"`          // begun
	Cut      int          `json:"cut,omitempty"`     // of these, cut off by an end of hookrun
	Retried  bool         `json:"retried,omitempty"` // by a person
	Created  time.Time    `json:"created"`
	Started  time.Time    `json:"started,omitzero"`  // the first attempt
	Finished time.Time    `json:"finished,omitzero"` //
	Due      time.Time    `json:"due,omitzero"`      // queued: not before this
	Error    string       `json:"error,omitempty"`   // why it, or its last attempt, failed; of other ends, why
	By       string       `json:"by,omitempty"`      // id of the run that decided what became of it
	Stop     engine.State `json:"stop,omitempty"`    // what it is about to end as
	Waited   string       `json:"waited,omitempty"`  // what the first attempt waited for
	Note     string       `json:"note,omitempty"`    // what a person did with it
	Index    int          `json:"index,omitempty"`   // for_each: the element's place in the list
	Why      string       `json:"why,omitempty"`     // queued: what it waits for
	Armed    bool         `json:"armed,omitempty"`   // queued: a person is to say whether it goes
}

// Detail is all about one run.
type Detail struct {
	Run     Run             `json:"run"`
	Element json.RawMessage `json:"element,omitempty"` // for_each: the element
	Event   *Event          `json:"event,omitempty"`
	Verdict *engine.Verdict `json:"verdict,omitempty"` // of the run's rule
	Steps   []Step          `json:"steps"`             // by attempt, then in order

	// Planned is what a run that is held for a person would do if it was released
	// now, or PlannedErr says why that can't be told.
	Planned    *engine.PlannedRun `json:"planned,omitempty"`
	PlannedErr string             `json:"planned_error,omitempty"`
}

// Event is the event of a run, without its body, header and query.
type Event struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	Source   string    `json:"source"`
	Remote   string    `json:"remote,omitempty"`
	Bucket   string    `json:"bucket"`
	Input    string    `json:"input,omitempty"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Size     int       `json:"size"` // of the body, in bytes
}

// Step is what became of one step in one attempt.
type Step struct {
	Attempt  int               `json:"attempt"`
	Index    int               `json:"index"`
	Phase    engine.Phase      `json:"phase,omitempty"` // of the closing ones
	Step     string            `json:"step"`
	Kind     string            `json:"kind"`
	State    engine.StepState  `json:"state"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished,omitzero"`
	Error    string            `json:"error,omitempty"`
	Passed   bool              `json:"passed,omitempty"`    // it failed, and the run went on
	ExitCode *int              `json:"exit_code,omitempty"` // of a command that has ended by itself
	Signal   string            `json:"signal,omitempty"`
	Status   int               `json:"status,omitempty"`
	Path     string            `json:"path,omitempty"`
	Size     int64             `json:"size,omitempty"` // of what was written to Path
	Outputs  map[string]string `json:"outputs,omitempty"`
	Plan     *engine.Plan      `json:"plan,omitempty"` // what it does; nil too of an old step where the whole is too much
	Body     Bytes             `json:"body,omitempty"` // of an HTTP answer
	Stdout   Text              `json:"stdout,omitzero"`
	Stderr   Text              `json:"stderr,omitzero"`
}

// Text is what is kept of a stream.
type Text struct {
	Head Bytes `json:"head,omitempty"`
	Cut  int64 `json:"cut,omitempty"` // bytes between Head and Tail that are gone
	Tail Bytes `json:"tail,omitempty"`
}

// IsZero reports whether there was nothing; encoding/json asks.
func (t Text) IsZero() bool { return len(t.Head) == 0 && t.Cut == 0 && len(t.Tail) == 0 }

// Piece is a part of what a run's commands print, or tells of its state: one of
// Stream and State is set.
type Piece struct {
	Attempt int          `json:"attempt,omitempty"`
	Phase   engine.Phase `json:"phase,omitempty"`
	Step    string       `json:"step,omitempty"`
	Stream  string       `json:"stream,omitempty"` // engine.Stdout or engine.Stderr
	Cut     int64        `json:"cut,omitempty"`    // bytes before Data that are gone
	Data    Bytes        `json:"data,omitempty"`

	State engine.State `json:"state,omitempty"`
	Why   string       `json:"why,omitempty"` // what it waits for, or why it ended so
}

// Bytes is what came from a command or a server. In JSON it is a text where it is
// UTF-8, else {"base64": …}.
type Bytes []byte

type encoded struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(encoded{b})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		*b = Bytes(s)
		return nil
	}
	var e encoded
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("neither a text nor base64: %w", err)
	}
	*b = e.Base64
	return nil
}

// Paused says what is paused.
type Paused struct {
	All   bool     `json:"all"`   // everything
	Rules []string `json:"rules"` // besides, each by itself; sorted
}

// Summary counts runs.
type Summary struct {
	Since    time.Time              `json:"since,omitzero"` // when hookrun was started; zero: none runs
	Ended    map[engine.State]int64 `json:"ended"`          // runs that came to this end since then
	Rejected int64                  `json:"rejected"`       // events whose sender was not trusted, since then
	Waiting  int                    `json:"waiting"`
	Held     int                    `json:"held"` // runs that wait for a person, besides; at most MaxLimit are counted
	Paused   Paused                 `json:"paused"`
	Relay    string                 `json:"relay,omitempty"` // how the connection to the relay is, for people; "": there is none
}

// Error is an error for people, with the likely mend.
type Error struct {
	Status int    `json:"-"` // of the HTTP answer
	Msg    string `json:"error"`
	Hint   string `json:"hint,omitempty"`
}

// Error implements error.
func (e *Error) Error() string { return e.Msg }

func badRequest(hint, format string, args ...any) error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, args...), hint}
}

func newRun(r *engine.Run, why string) Run {
	return Run{
		ID: r.ID, Seq: r.Seq, Event: r.Event, Rule: r.Rule, Key: r.Key, State: r.State,
		Attempts: r.Attempt, Cut: r.Cut, Retried: r.Base > 0,
		Created: r.Created, Started: r.Started, Finished: r.Finished, Due: r.Due,
		Error: r.Err, By: r.By, Stop: r.Stop, Waited: r.Waited, Note: r.Note, Index: r.Index, Why: why, Armed: r.Armed,
	}
}

func newEvent(ev *engine.Event) *Event {
	return &Event{
		ID: ev.ID, Received: ev.Received, Source: ev.Source, Remote: ev.Remote, Bucket: ev.Bucket, Input: ev.Input,
		Method: ev.Method, Path: ev.Path, Size: len(ev.Body),
	}
}

func newStep(st *engine.StepResult) Step {
	s := Step{
		Attempt: st.Attempt, Index: st.Index, Phase: st.Phase, Step: st.Step, Kind: st.Kind, State: st.State,
		Started: st.Started, Finished: st.Finished, Error: st.Err, Passed: st.Passed,
		Signal: st.Output.Signal, Status: st.Output.Status, Path: st.Output.Path, Size: st.Output.Size, Outputs: st.Output.Outputs, Plan: st.Plan,
		Body: Bytes(st.Output.Body), Stdout: newText(st.Stdout), Stderr: newText(st.Stderr),
	}
	ended := st.State == engine.StepDone || st.State == engine.StepFailed
	if command := st.Kind == "exec" || st.Kind == "shell"; command && ended && st.Output.ExitCode >= 0 && st.Output.Signal == "" {
		s.ExitCode = &st.Output.ExitCode
	}
	return s
}

func newText(t engine.Text) Text { return Text{Head: t.Head, Cut: t.Cut, Tail: t.Tail} }

// size is how much of the stream is kept.
func (t Text) size() int { return len(t.Head) + len(t.Tail) }
