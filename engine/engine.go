package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options of an engine. Store and Rules are required.
type Options struct {
	Store Store
	Rules *RuleSet
	Log   *slog.Logger // nil: none

	MaxRuns int           // runs at one time where the rules do not say; 0: 4 × CPUs
	Grace   time.Duration // for running steps when the engine is to stop; 0: DefaultGrace

	// TempDir is the folder for what steps need while they run; "" is the
	// system's.
	TempDir string

	// DetachDir is the folder for what detached commands need, which outlasts
	// hookrun. "": there are none.
	DetachDir string

	// Instance tells this hookrun from all others, to recognise its own calls.
	// "": it does not.
	Instance string

	// Hurry, when closed, ends every grace time: a second signal came.
	Hurry <-chan struct{}

	// Reap ends what is left of a step that an earlier hookrun began and did not
	// see the end of. nil: nothing is done.
	Reap func(context.Context, Leftover) error

	// OnChange is called after a change of a run is on disk. It must not
	// block. nil: nobody is told.
	OnChange func(Run)

	// OnEvent is called after an event is on disk, with what was kept of it;
	// OnReject after one was turned away. They must not block, and keep nothing
	// that can change. nil: nobody is told.
	OnEvent  func(*Acceptance)
	OnReject func(Rejection)
}

// DefaultGrace is how long running steps may go on when hookrun is to stop.
const DefaultGrace = 30 * time.Second

// maxInflating is how many events at once may have their body unpacked to be
// matched: each can become payload.MaxInflated bytes.
const maxInflating = 2

// maxPacked is how many of them there may be, those that wait for their turn
// included.
const maxPacked = 8

// Engine takes events and runs what the rules make of them.
type Engine struct {
	store    Store
	log      *slog.Logger
	maxRuns  int
	grace    time.Duration
	tempDir  string
	detach   string
	instance string
	hurry    <-chan struct{}
	reap     func(context.Context, Leftover) error
	onChange func(Run)
	onEvent  func(*Acceptance)
	onReject func(Rejection)

	rules     atomic.Pointer[RuleSet]
	full      atomic.Bool   // as many runs wait as may
	packed    chan struct{} // holds one value for each event with a packed body
	inflating chan struct{} // of these, for each whose body is being unpacked
	doctor    sync.Mutex    // held by who looks for the cause of a rejection
	queue     *queue
	cut       []Ref         // runs that a crash cut off; set by Open, for Run
	ending    chan struct{} // closed by Run when its context has ended
	stopped   chan struct{} // closed by Run when running steps are told to end

	pausing sync.Mutex // held while paused is stored
	paused  []string   // rules, sorted; "": all. Guarded by mu too
	arming  sync.Mutex // held while armed is stored
	armed   []string   // rules, sorted; "": any. Guarded by mu alone: an event spends it

	mu           sync.Mutex // guards what follows
	pending      int        // events that are being accepted
	pendingBytes int
	gone         map[string]time.Time         // since when rules that have runs are gone; zero: switched off
	active       map[string]*handle           // of the attempts going on, by run
	counts       map[State]int64              // runs that came to an end
	waiters      map[string][]chan<- struct{} // by run; each holds a token when the run has ended, and is never closed
	rejected     int64                        // events that were turned away
	rejecting    int                          // of these, those that are being recorded
	strangers    map[string]*sometimes        // lines about them, by bucket
}

// Open makes an engine and queues what the store holds unfinished, before anything
// new. It starts nothing; Run does, and takes back the runs that a crash cut off.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{
		store: o.Store, log: o.Log, maxRuns: o.MaxRuns, grace: o.Grace,
		tempDir: o.TempDir, detach: o.DetachDir, instance: o.Instance, hurry: o.Hurry, reap: o.Reap, onChange: o.OnChange,
		queue: newQueue(o.Rules.limit), inflating: make(chan struct{}, maxInflating), ending: make(chan struct{}), stopped: make(chan struct{}),
		gone: map[string]time.Time{}, active: map[string]*handle{}, counts: map[State]int64{},
		waiters: map[string][]chan<- struct{}{}, strangers: map[string]*sometimes{},
		packed: make(chan struct{}, maxPacked),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.maxRuns == 0 {
		e.maxRuns = 4 * runtime.NumCPU()
	}
	if e.grace == 0 {
		e.grace = DefaultGrace
	}
	if e.onChange == nil {
		e.onChange = func(Run) {}
	}
	if e.onEvent = o.OnEvent; e.onEvent == nil {
		e.onEvent = func(*Acceptance) {}
	}
	if e.onReject = o.OnReject; e.onReject == nil {
		e.onReject = func(Rejection) {}
	}
	if e.reap == nil {
		e.reap = func(context.Context, Leftover) error { return nil }
	}
	e.rules.Store(o.Rules)
	paused, err := e.store.Paused(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is paused: %w", err)
	}
	e.setPaused(paused)
	if e.armed, err = e.store.Armed(ctx); err != nil {
		return nil, fmt.Errorf("read what is armed: %w", err)
	}
	if err := e.recover(ctx); err != nil {
		return nil, fmt.Errorf("recover runs: %w", err)
	}
	return e, nil
}

// SetRules swaps the rules whole. Events that are being matched and runs that
// are running keep those that they began with.
func (e *Engine) SetRules(rules *RuleSet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules.Store(rules)
	e.queue.review(rules.limit)
	for rule, since := range e.gone {
		switch {
		case rules.works(rule):
			delete(e.gone, rule)
			e.unpark(rule)
		case since.IsZero() && rules.off(rule) == "": // it was switched off, and now it is gone: its time begins
			e.unpark(rule)
		}
	}
}

// Rules returns the rules in force.
func (e *Engine) Rules() *RuleSet { return e.rules.Load() }

// Waiting counts the queued runs.
func (e *Engine) Waiting() int { return e.queue.waiting() }

// recover queues what is unfinished.
func (e *Engine) recover(ctx context.Context) error {
	refs, err := e.store.Unfinished(ctx)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(ref Ref) bool { return ref.Armed })
	for i, ref := range refs {
		if ref.State == Running {
			refs[i].State, refs[i].Begun = Queued, true
			refs[i].Due = time.Now().Add(farAway) // its place in its lane is kept until it is taken back
			e.cut = append(e.cut, refs[i])
			e.active[ref.ID] = &handle{cancel: func(error) {}}
			continue
		}
		if wait := time.Until(ref.Due); wait > 0 && !ref.Ends {
			// From here on it counts on the monotonic clock. Before, the other one may
			// have been set back: no rule asked for a longer wait than its own.
			refs[i].Due = time.Now().Add(min(wait, e.longestWait(ref.Rule)))
		} else {
			refs[i].Due = time.Time{}
		}
	}
	if len(refs) > 0 {
		e.log.Info("unfinished runs are queued again", "runs", len(refs))
	}
	e.queue.add(refs...)
	if len(refs) >= longRecovery {
		debug.FreeOSMemory()
	}
	return nil
}

// farAway is later than anything that hookrun waits for.
const farAway = 1000 * time.Hour

// longRecovery is how many runs leave so much garbage when they are read and
// queued that it is given back at once.
const longRecovery = 10_000

// longestWait is the longest that a run of the rule may wait for a time.
func (e *Engine) longestWait(rule string) time.Duration {
	longest := maxAskedWait
	r := e.rules.Load().Rule(rule)
	if r == nil {
		return longest
	}
	longest = max(longest, r.Retry.Max, r.Retry.Backoff)
	if r.Throttle != nil {
		longest = max(longest, r.Throttle.Every)
	}
	for _, s := range r.Steps {
		if s.Retry != nil {
			longest = max(longest, s.Retry.Max, s.Retry.Backoff)
		}
	}
	return longest
}

// takeAllBack takes back all that a crash cut off, beside each other and beside
// what comes meanwhile: ending what is left of a command may take its grace time.
// One that fails is told and queued all the same: a full disk must not keep
// hookrun from working.
func (e *Engine) takeAllBack(ctx context.Context) {
	var wg sync.WaitGroup
	for _, ref := range e.cut {
		e.log.Info("run was cut off by the end of hookrun", "run", ref.ID, "rule", ref.Rule)
		wg.Go(func() {
			if err := e.takeBack(ctx, ref.ID); err != nil {
				e.log.Error("end of a run is not stored", "run", ref.ID, "rule", ref.Rule, "err", err)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			ref.Ends = ref.Ends || e.active[ref.ID].stopped
			delete(e.active, ref.ID)
			e.queue.hasten(ref)
		})
	}
	wg.Wait()
}

// takeBack makes a run that a crash cut off a queued one, and ends what its
// command left behind: two of one rule must not run at once. A detached command
// goes on, to be picked up by the next attempt.
func (e *Engine) takeBack(ctx context.Context, id string) error {
	reading := context.WithoutCancel(ctx)
	run, err := e.store.Run(reading, id)
	if err != nil {
		return err
	}
	steps, err := e.store.Steps(reading, id)
	if err != nil {
		return err
	}
	var cut []*StepResult
	for _, s := range steps {
		if s.State != StepRunning {
			continue
		}
		if isCommand(s.Kind) && s.Process.Dir == "" {
			e.endLeftover(ctx, s)
		}
		s.State, s.Finished, s.Err = StepCrashed, time.Now().UTC(), "hookrun ended while it ran"
		cut = append(cut, s)
	}
	run.State, run.Due = Queued, time.Time{}
	run.Cut++
	return e.store.Update(reading, run, cut...)
}

// endLeftover ends what a step left running.
func (e *Engine) endLeftover(ctx context.Context, s *StepResult) {
	if err := e.reap(ctx, Leftover{Process: s.Process, Run: s.Run, Step: s.Step, Attempt: s.Attempt}); err != nil {
		e.log.Warn("leftover process goes on", "run", s.Run, "step", s.Step, "pid", s.Process.PID, "err", err)
	}
}

// Run runs what is queued until ctx ends. Then running steps get the grace
// time, are stopped, and their runs are queued for the next start. It returns
// when nothing runs any more.
func (e *Engine) Run(ctx context.Context) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var running sync.WaitGroup
	running.Go(func() { e.takeAllBack(ctx) })
	for {
		ref, ok := e.turn(ctx)
		if !ok {
			break
		}
		if ref.Held { // one after the other, in the order in which they came
			e.queue.done(ref, e.release(work, ref))
			continue
		}
		running.Go(func() { e.work(work, ref) })
	}
	close(e.ending)
	e.drain(&running, stop)
	return nil
}

// turn waits for a run whose turn it is.
func (e *Engine) turn(ctx context.Context) (Ref, bool) {
	for ctx.Err() == nil {
		abandon := e.giveUpGone()
		ref, ok, wait := e.queue.next(e.mostRuns())
		if ok {
			return ref, true
		}
		if abandon >= 0 && (wait < 0 || abandon < wait) {
			wait = abandon
		}
		e.await(ctx, wait)
	}
	return Ref{}, false
}

// mostRuns is how many runs may go at one time.
func (e *Engine) mostRuns() int { return cmp.Or(e.rules.Load().MaxRuns, e.maxRuns) }

// maxAwait is the longest sleep on the wall clock's word: it may be set.
const maxAwait = time.Second

func (e *Engine) await(ctx context.Context, wait time.Duration) {
	var alarm <-chan time.Time // nil: never
	if wait >= 0 {
		timer := time.NewTimer(min(wait, maxAwait))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-alarm:
	case <-e.queue.wake:
	case <-ctx.Done():
	}
}

// drain waits for the running runs, first with patience.
func (e *Engine) drain(running *sync.WaitGroup, stop context.CancelCauseFunc) {
	idle := make(chan struct{})
	go func() { // ends with the last run
		running.Wait()
		close(idle)
	}()
	grace := time.NewTimer(e.grace)
	defer grace.Stop()
	select {
	case <-idle:
		return
	case <-grace.C:
	case <-e.hurry:
	}
	close(e.stopped)
	stop(ErrStopping)
	<-idle
}

// errGone is why a run is abandoned.
var errGone = errors.New("its rule is gone")
