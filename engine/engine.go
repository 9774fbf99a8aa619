package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
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

	MaxRuns int           // runs at one time; 0: 4 × CPUs
	Grace   time.Duration // for running steps when the engine is to stop; 0: DefaultGrace

	// TempDir is the folder for what steps need while they run; "" is the
	// system's.
	TempDir string

	// Hurry, when closed, ends every grace time: a second signal came.
	Hurry <-chan struct{}

	// Reap ends what is left of a process that an earlier hookrun started and
	// did not see the end of. nil: nothing is done.
	Reap func(context.Context, Process) error

	// OnChange is called after a change of a run is on disk. It must not
	// block. nil: nobody is told.
	OnChange func(Run)
}

// DefaultGrace is how long running steps may go on when hookrun is to stop.
const DefaultGrace = 30 * time.Second

// Engine takes events and runs what the rules make of them.
type Engine struct {
	store    Store
	log      *slog.Logger
	maxRuns  int
	grace    time.Duration
	tempDir  string
	hurry    <-chan struct{}
	onChange func(Run)

	rules   atomic.Pointer[RuleSet]
	queue   *queue
	stopped chan struct{} // closed by Run when running steps are told to end

	mu           sync.Mutex // guards what follows
	pending      int        // events that are being accepted
	pendingBytes int
	gone         map[string]time.Time // since when rules that have runs are gone; zero: switched off
}

// Open makes an engine and recovers what the store holds: runs that were cut
// off are queued again, before anything new. It starts nothing; Run does.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{
		store: o.Store, log: o.Log, maxRuns: o.MaxRuns, grace: o.Grace,
		tempDir: o.TempDir, hurry: o.Hurry, onChange: o.OnChange, queue: newQueue(), stopped: make(chan struct{}),
		gone: map[string]time.Time{},
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
	e.rules.Store(o.Rules)
	if err := e.recover(ctx, o.Reap); err != nil {
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
	maps.DeleteFunc(e.gone, func(rule string, _ time.Time) bool { return rules.Rule(rule) != nil })
}

// Rules returns the rules in force.
func (e *Engine) Rules() *RuleSet { return e.rules.Load() }

// Waiting counts the queued runs.
func (e *Engine) Waiting() int { return e.queue.waiting() }

// recover queues what is unfinished.
func (e *Engine) recover(ctx context.Context, reap func(context.Context, Process) error) error {
	refs, err := e.store.Unfinished(ctx)
	if err != nil {
		return err
	}
	refs = e.takeAllBack(ctx, refs, reap)
	for i, ref := range refs {
		if wait := time.Until(ref.Due); wait > 0 {
			// From here on it counts on the monotonic clock. Before, the other one may
			// have been set back: no rule asked for a longer wait than its own.
			refs[i].Due = time.Now().Add(min(wait, e.longestWait(ref.Rule)))
		}
	}
	if len(refs) > 0 {
		e.log.Info("unfinished runs are queued again", "runs", len(refs))
	}
	e.queue.add(refs...)
	return nil
}

// longestWait is the longest that a retry of the rule may wait.
func (e *Engine) longestWait(rule string) time.Duration {
	if r := e.rules.Load().Rule(rule); r != nil {
		return max(r.Retry.Max, r.Retry.Backoff, maxAskedWait)
	}
	return maxAskedWait
}

// takeAllBack is takeBack for all that were running, beside each other: ending
// what is left of a command may take its grace time. One that fails is told and
// queued all the same: a full disk must not keep hookrun from starting. It
// returns what is to be queued.
func (e *Engine) takeAllBack(ctx context.Context, refs []Ref, reap func(context.Context, Process) error) []Ref {
	var wg sync.WaitGroup
	for i, ref := range refs {
		if ref.State != Running {
			continue
		}
		refs[i].State, refs[i].Due = Queued, time.Time{}
		e.log.Info("run was cut off by the end of hookrun", "run", ref.ID, "rule", ref.Rule)
		wg.Go(func() {
			state, err := e.takeBack(ctx, ref.ID, reap)
			if err != nil {
				e.log.Error("end of a run is not stored", "run", ref.ID, "rule", ref.Rule, "err", err)
				return
			}
			refs[i].State = state
		})
	}
	wg.Wait()
	return slices.DeleteFunc(refs, func(r Ref) bool { return r.State.Finished() })
}

// takeBack makes a run that a crash cut off a queued one, and ends what its
// command left behind: two of one rule must not run at once.
func (e *Engine) takeBack(ctx context.Context, id string, reap func(context.Context, Process) error) (State, error) {
	run, err := e.store.Run(ctx, id)
	if err != nil {
		return Queued, err
	}
	steps, err := e.store.Steps(ctx, id)
	if err != nil {
		return Queued, err
	}
	var cut []*StepResult
	for _, s := range steps {
		if s.State != StepRunning {
			continue
		}
		if reap != nil && s.Process.PID != 0 {
			if err := reap(ctx, s.Process); err != nil {
				e.log.Warn("leftover process goes on", "run", id, "step", s.Step, "pid", s.Process.PID, "err", err)
			}
		}
		s.State, s.Finished, s.Err = StepInterrupted, time.Now().UTC(), "hookrun ended while it ran"
		cut = append(cut, s)
	}
	run.State, run.Due = Queued, time.Time{}
	run.Cut++
	if run.Cut >= maxCuts {
		run.State, run.Finished = Failed, time.Now().UTC()
		run.Err = fmt.Sprintf("hookrun ended %d times while it ran", run.Cut)
		e.log.Error("run is given up", "run", id, "rule", run.Rule, "state", string(run.State), "err", run.Err)
	}
	return run.State, e.store.Update(ctx, run, cut...)
}

// Run runs what is queued until ctx ends. Then running steps get the grace
// time, are stopped, and their runs are queued for the next start. It returns
// when nothing runs any more.
func (e *Engine) Run(ctx context.Context) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var running sync.WaitGroup
	slots := make(chan struct{}, e.maxRuns)
	for {
		ref, ok := e.turn(ctx, slots)
		if !ok {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			e.work(work, ref)
		})
	}
	e.drain(&running, stop)
	return nil
}

// turn waits for a free slot and for a run whose turn it is.
func (e *Engine) turn(ctx context.Context, slots chan<- struct{}) (Ref, bool) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return Ref{}, false
	}
	for ctx.Err() == nil {
		ref, ok, wait := e.queue.next()
		if ok {
			return ref, true
		}
		e.await(ctx, wait)
	}
	return Ref{}, false
}

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
