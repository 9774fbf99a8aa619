package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Action does one step of a run: runs a command, writes a file, makes a call.
// Do is called from several goroutines at once and keeps nothing between calls.
//
// Do returns what there is to tell even when it fails. It ends soon after ctx
// does, and then its error wraps context.Cause(ctx). An error is worth another
// try unless it is wrapped by Permanent.
type Action interface {
	Kind() string // "exec", "shell", "file", "http"
	Do(ctx context.Context, in Input) (Output, error)

	// Plan returns what Do would do, as far as in's Scope tells: it does nothing,
	// and looks at nothing but in and the rule. Its error is the one that Do would
	// fail with before it does anything. Of in only Scope, Event, Run, Rule,
	// Attempt and Step need be set. For what depends on steps that have not run the
	// Scope gives a number, which RuleSet.Rehearse puts the source in the place of.
	Plan(in Input) (Plan, error)
}

// Input is what an action gets to see of the run it belongs to.
type Input struct {
	Scope   *Scope // for templates
	Event   *Event // not to be changed
	Run     string // id of the run
	Rule    string // name of the rule
	Attempt int    // 1 for the first
	Step    string // id of the step, "1", "2", … where the rule gives none

	// Stdout and Stderr take what a command prints. They keep a bounded part,
	// never fail and never block for long. Never nil.
	Stdout, Stderr io.Writer

	// Started is called once with the process that the action started, so that
	// the next start of hookrun can find it after a crash. Never nil.
	Started func(Process)

	// Planned is called once with what is about to be done, right before. Never
	// nil.
	Planned func(Plan)

	// Via is the value of the header ViaHeader for calls that the action makes.
	Via string

	// Resume is the process that an earlier attempt of this step left running,
	// whose Dir is not "": the action goes on with it. nil: there is none.
	Resume *Process

	// DetachDir is the folder in which actions keep what has to outlast
	// hookrun; "": nothing can.
	DetachDir string

	// TempDir is the folder for files that a step needs while it runs; "" is the
	// system's.
	TempDir string

	// Hurry is closed when the grace times are to be skipped: a second signal
	// came. It may be nil, which never hurries.
	Hurry <-chan struct{}
}

// Process names an operating system process beyond the reuse of its number.
type Process struct {
	PID   int    `json:"pid"`   // also the id of its process group
	Start string `json:"start"` // when it started, in the system's own terms; "" where the system does not tell

	// Dir is the folder of a process that is to outlive hookrun: its output and
	// how it ended are there. "": it ends with hookrun.
	Dir string `json:"dir,omitempty"`
}

// Leftover is what a step may have left running when hookrun crashed.
type Leftover struct {
	Process   Process // as the step told it; zero where the crash came before
	Run, Step string  // as in Input
	Attempt   int
}

// Output is what an action tells of itself. Only the fields of its kind are set.
type Output struct {
	ExitCode int    `json:"exit_code"`        // exec, shell; -1 when never started or ended by a signal, of a detached command 128 and its number
	Signal   string `json:"signal,omitempty"` // exec, shell: the signal that ended it

	// Outputs are what the command wrote to the file of HOOKRUN_OUTPUT: all the
	// names that its step declares, where it succeeded.
	Outputs map[string]string `json:"outputs,omitempty"`

	Status int                 `json:"status,omitempty"` // http
	Header map[string][]string `json:"header,omitempty"` // http
	Body   string              `json:"body,omitempty"`   // http: at most MaxOutput bytes

	Path string `json:"path,omitempty"` // file: where it was written
	Size int64  `json:"size,omitempty"` // file: bytes written
}

// MaxOutput is how much is kept of one stream of a command and of one HTTP
// response, in bytes: half from its beginning, half from its end.
const MaxOutput = 64 << 10

// Permanent marks an error that another try can't mend.
func Permanent(err error) error { return &permanentError{err} }

// IsPermanent reports whether err, or one that it wraps, was marked by
// Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// RetryAfter marks an error with the wait that the other side asked for before
// another try.
func RetryAfter(err error, wait time.Duration) error { return &retryAfterError{err, wait} }

// AskedWait returns the wait that RetryAfter put on err or one that it wraps,
// and 0 where there is none.
func AskedWait(err error) time.Duration {
	var r *retryAfterError
	if errors.As(err, &r) {
		return r.wait
	}
	return 0
}

type retryAfterError struct {
	err  error
	wait time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// Causes with which a step's context ends. ErrTimeout comes wrapped, with the
// time that was given. A detached process goes on through ErrStopping alone.
var (
	ErrTimeout  = errors.New("timed out")
	ErrStopping = errors.New("hookrun is stopping")
	ErrStopped  = errors.New("stopped") // replaced or cancelled
)

// ViaHeader is the header by which hookrun recognises an event that one of its
// own calls led to.
const ViaHeader = "Hookrun-Via"
