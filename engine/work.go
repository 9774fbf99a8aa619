package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

// attempt is one try of one run.
type attempt struct {
	*Engine
	log   *slog.Logger
	mask  *masker
	rule  *Rule
	run   *Run
	event *Event

	limit time.Duration // for the actions of this attempt
	left  time.Duration // of limit: waiting for the store takes nothing of it

	finished []*StepResult // of earlier attempts
	results  []*StepResult // of the rule's steps so far, in either way: what later ones see

	// ended is the result of the step that ended last, until it is stored. With
	// the run's end it takes one commit.
	ended *StepResult

	last *StepResult // of the step that ran last; nil: none did
}

// Why a run waits although its turn has come, and for how long.
const (
	readAgain = 5 * time.Second  // the store could not be read
	maxReads  = 10               // then the run fails
	goneAgain = 5 * time.Second  // its rule is gone
	goneGrace = 10 * time.Minute // then it is abandoned: until then the rule may come back
	maxCuts   = 20               // ends of hookrun that a run may see: it may be what causes them
)

// work makes one attempt of the run, and frees its lane.
func (e *Engine) work(ctx context.Context, ref Ref) {
	a, again := e.begin(ctx, ref)
	if a != nil {
		again = a.finish(ctx, a.steps(ctx))
	}
	e.queue.done(ref, again)
}

// begin reads what the attempt needs. Where there can be none now it returns
// nil, and the run's place in the queue unless it is settled.
func (e *Engine) begin(ctx context.Context, ref Ref) (a *attempt, again *Ref) {
	run, event, steps, err := e.read(ctx, ref.ID)
	if err != nil {
		return nil, e.unreadable(ctx, ref, run, err)
	}
	if run.Cut >= maxCuts {
		e.settle(ctx, run, Failed, fmt.Errorf("hookrun ended %d times while it ran", run.Cut))
		return nil, nil
	}
	rules := e.rules.Load()
	rule := rules.Rule(run.Rule)
	if rule == nil {
		return nil, e.ruleGone(ctx, ref, run)
	}
	log := e.log.With("run", run.ID, "rule", run.Rule)
	if rule.Hash != run.RuleHash {
		log.Info("rule was edited since the run was queued; it runs as it is now")
	}
	limit := cmp.Or(rule.Timeout, DefaultTimeout)
	return &attempt{
		Engine: e, log: log, mask: newMasker(rules.Secrets), rule: rule,
		run: run, event: event, limit: limit, left: limit, finished: finished(steps),
	}, nil
}

func (e *Engine) read(ctx context.Context, id string) (*Run, *Event, []*StepResult, error) {
	run, err := e.store.Run(ctx, id)
	if err != nil {
		return nil, nil, nil, err
	}
	event, err := e.store.Event(ctx, run.Event)
	if err != nil {
		return run, nil, nil, err
	}
	steps, err := e.store.Steps(ctx, id)
	return run, event, steps, err
}

// unreadable puts off a run that can't be read. One that can't be read for good
// must not hold up its rule: it fails. run is nil where not even that was read.
func (e *Engine) unreadable(ctx context.Context, ref Ref, run *Run, err error) *Ref {
	if errors.Is(context.Cause(ctx), ErrStopping) {
		return &ref
	}
	if ref.reads == 0 {
		e.log.Error("run can't be read, trying on", "run", ref.ID, "rule", ref.Rule, "err", err)
	}
	ref.reads++
	if ref.reads < maxReads || errors.Is(err, ErrUnavailable) {
		ref.Due = time.Now().Add(readAgain)
		return &ref
	}
	if run == nil {
		e.log.Error("run is left alone until the next start", "run", ref.ID, "rule", ref.Rule, "err", err)
		return nil
	}
	e.settle(ctx, run, Failed, err)
	return nil
}

// ruleGone puts off a run whose rule is gone: a rule that is moved from one file
// to another is away between two saves.
func (e *Engine) ruleGone(ctx context.Context, ref Ref, run *Run) *Ref {
	if ref.gone.IsZero() {
		ref.gone = time.Now()
		e.log.Warn("rule of a run is gone; the run waits for it to come back", "run", run.ID, "rule", run.Rule, "for", goneGrace)
	}
	if time.Since(ref.gone) >= goneGrace {
		e.settle(ctx, run, Abandoned, errGone)
		return nil
	}
	ref.Due = time.Now().Add(goneAgain)
	return &ref
}

// settle ends a run that is not tried any more.
func (e *Engine) settle(ctx context.Context, run *Run, state State, why error) {
	run.State, run.Err, run.Finished = state, why.Error(), time.Now().UTC()
	e.save(ctx, run)
	e.log.Error("run is given up", "run", run.ID, "rule", run.Rule, "state", string(state), "err", why)
}

// finished are the results that a later attempt builds on.
func finished(all []*StepResult) []*StepResult {
	var done []*StepResult
	for _, r := range all {
		if r.State == StepDone || r.State == StepSkipped {
			done = append(done, r)
		}
	}
	return done
}

// steps runs the steps that are not finished, in order. It returns the error
// of the one that failed.
func (a *attempt) steps(ctx context.Context) error {
	a.run.State = Running
	a.run.Attempt++
	if a.run.Started.IsZero() {
		a.run.Started = time.Now().UTC()
	}
	a.log.Debug("run starts", "attempt", a.run.Attempt)
	for i := range a.rule.Steps {
		step := &a.rule.Steps[i]
		if done := a.finishedAs(step); done != nil {
			a.results = append(a.results, done)
			continue
		}
		if a.ended != nil {
			a.save(ctx, a.run, a.ended)
			a.ended = nil
		}
		if err := a.step(ctx, i, step); err != nil {
			return err
		}
		a.results = append(a.results, a.ended)
	}
	return nil
}

// finishedAs returns the result of the step where an earlier attempt finished
// it, under the name that it has now: the rule may have been edited since.
func (a *attempt) finishedAs(step *Step) *StepResult {
	for _, r := range a.finished {
		if cmp.Or(r.Key, r.Step) == cmp.Or(step.Key, step.ID) {
			as := *r
			as.Step = step.ID
			return &as
		}
	}
	return nil
}

// step runs one step; what became of it is in a.ended.
func (a *attempt) step(ctx context.Context, index int, step *Step) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	result := &StepResult{
		Run: a.run.ID, Attempt: a.run.Attempt, Index: index, Step: step.ID, Key: step.Key,
		Kind: step.Action.Kind(), State: StepRunning, Started: time.Now().UTC(),
	}
	err := a.doStep(ctx, step, result)
	result.Finished = time.Now().UTC()
	result.Process = Process{}
	switch {
	case err == nil && result.State != StepSkipped:
		result.State = StepDone
	case errors.Is(err, ErrStopping):
		result.State, result.Err = StepInterrupted, a.mask.string(err.Error())
	case err != nil:
		result.State, result.Err = StepFailed, a.mask.string(err.Error())
	}
	a.hide(&result.Output)
	a.ended, a.last = result, result
	a.logStep(result)
	if err == nil {
		return nil
	}
	if said := lastWords(result); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return fmt.Errorf("step %s (%s): %w", step.ID, result.Kind, err)
}

// maxWords bounds what an error tells of what a step said, in bytes.
const maxWords = 200

// lastWords is the last line that a command printed, on stderr if it can be, or
// the first of what a server answered: the likely reason of a failure.
func lastWords(r *StepResult) string {
	var said string
	switch {
	case r.Kind == "http":
		said, _, _ = strings.Cut(strings.TrimSpace(r.Output.Body), "\n")
	case len(bytes.TrimSpace(r.Stderr.Head)) > 0:
		said = lastLine(r.Stderr)
	default:
		said = lastLine(r.Stdout)
	}
	said = strings.ToValidUTF8(strings.TrimSpace(said), "?")
	if len(said) > maxWords {
		said = strings.ToValidUTF8(said[:maxWords], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, said)
}

func lastLine(t Text) string {
	tail := t.Tail
	if len(tail) == 0 {
		tail = t.Head
	}
	tail = bytes.TrimSpace(tail)
	return string(tail[bytes.LastIndexByte(tail, '\n')+1:])
}

// isCommand reports whether actions of this kind start a process.
func isCommand(kind string) bool { return kind == "exec" || kind == "shell" }

// doStep asks the step's condition and does its action. The result is told the
// output; its state only where the step is skipped.
func (a *attempt) doStep(ctx context.Context, step *Step, result *StepResult) error {
	scope := NewScope(a.event).WithSteps(a.results)
	if step.If != nil {
		ok, _, err := step.If.Eval(scope)
		if err != nil {
			return Permanent(fmt.Errorf("if: %w", err))
		}
		if !ok {
			result.State = StepSkipped
			return nil
		}
	}
	a.note(ctx, result)
	rec := a.record(result)
	recording, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { rec.run(recording) })
	err := a.act(ctx, step, scope, rec, result)
	stop()
	wg.Wait()
	result.Stdout, result.Stderr = rec.stdout.text(), rec.stderr.text()
	return err
}

func (a *attempt) record(result *StepResult) *recorder {
	return &recorder{
		store: a.store, log: a.log,
		of:     Chunk{Run: result.Run, Attempt: result.Attempt, Index: result.Index},
		stdout: stream{name: Stdout, mask: a.mask},
		stderr: stream{name: Stderr, mask: a.mask},
	}
}

// act does the action. A panic of it is an error of the step.
func (a *attempt) act(ctx context.Context, step *Step, scope *Scope, rec *recorder, result *StepResult) (err error) {
	limit, wait := a.limit, a.left
	if step.Timeout > 0 && step.Timeout < wait {
		limit, wait = step.Timeout, step.Timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%w after %s", ErrTimeout, limit))
	defer cancel()
	began := time.Now()
	defer func() {
		a.left -= time.Since(began)
		if r := recover(); r != nil {
			err = Permanent(fmt.Errorf("action panicked: %v", r))
		}
	}()
	result.Output, err = step.Action.Do(ctx, Input{
		Scope: scope, Event: a.event,
		Run: a.run.ID, Rule: a.rule.Name, Attempt: a.run.Attempt, Step: step.ID,
		Stdout: &rec.stdout, Stderr: &rec.stderr,
		Started: func(p Process) {
			result.Process = p
			a.note(ctx, result)
		},
		TempDir: a.tempDir,
		Hurry:   a.hurry,
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrStopping) && !errors.Is(err, ErrStopping) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// hide masks secrets in what an action says of itself.
func (a *attempt) hide(o *Output) {
	if a.mask == nil {
		return
	}
	o.Body = a.mask.string(o.Body)
	for name, values := range o.Header {
		hidden := make([]string, len(values))
		for i, v := range values {
			hidden[i] = a.mask.string(v)
		}
		o.Header[name] = hidden
	}
}

func (a *attempt) logStep(r *StepResult) {
	attrs := []any{"step", r.Step, "kind", r.Kind, "state", string(r.State), "duration", r.Finished.Sub(r.Started).Round(time.Millisecond)}
	attrs = append(attrs, exitAttrs(r)...)
	if said := lastWords(r); said != "" {
		attrs = append(attrs, "said", said)
	}
	a.log.Debug("step ended", attrs...)
}

// exitAttrs tell how a command ended, where one ran.
func exitAttrs(r *StepResult) []any {
	switch {
	case r == nil || !isCommand(r.Kind) || r.State == StepSkipped:
		return nil
	case r.Output.Signal != "":
		return []any{"signal", r.Output.Signal}
	case r.Output.ExitCode >= 0:
		return []any{"exit_code", r.Output.ExitCode}
	}
	return nil // it did not start
}

// finish settles the run after an attempt that ended with err. It returns the
// run's place in the queue where it is to be tried again.
func (a *attempt) finish(ctx context.Context, err error) (again *Ref) {
	now := time.Now().UTC()
	var due time.Time
	run := a.run
	run.Err = ""
	switch {
	case err == nil:
		run.State, run.Finished = Done, now
	case errors.Is(err, ErrStopping):
		run.State, run.Err = Queued, a.mask.string(err.Error())
		run.Cut++
	default:
		run.Err = a.mask.string(err.Error())
		wait, ok := a.rule.Retry.again(run.Attempt-run.Cut, err)
		if ok {
			run.State, due = Queued, time.Now().Add(wait)
			break
		}
		run.State, run.Finished = Failed, now
	}
	run.Due = due.UTC()
	if a.ended != nil {
		a.save(ctx, run, a.ended)
	} else {
		a.save(ctx, run)
	}
	a.logRun()
	if run.State != Queued {
		return nil
	}
	ref := run.Ref()
	ref.Due = due // on the monotonic clock: setting the other neither fires nor strands it
	return &ref
}

func (a *attempt) logRun() {
	run := a.run
	attrs := append([]any{"event", run.Event, "attempt", run.Attempt}, exitAttrs(a.last)...)
	switch {
	case run.State == Done:
		a.log.Info("run done", append(attrs, "duration", run.Finished.Sub(run.Started).Round(time.Millisecond))...)
	case run.State == Failed:
		a.log.Error("run failed", append(attrs, "duration", run.Finished.Sub(run.Started).Round(time.Millisecond), "err", run.Err)...)
	case run.Due.IsZero():
		a.log.Info("run is cut off and goes on at the next start", attrs...)
	default:
		a.log.Warn("run failed, will retry", append(attrs, "in", time.Until(run.Due).Round(time.Millisecond), "err", run.Err)...)
	}
}

// note stores that a step runs. It tries once: a step must not wait for the
// disk, and what becomes of it is stored later.
func (a *attempt) note(ctx context.Context, result *StepResult) {
	if err := a.store.Update(context.WithoutCancel(ctx), a.run, result); err != nil {
		a.log.Warn("start of a step is not stored", "step", result.Step, "err", err)
		return
	}
	a.onChange(*a.run)
}

// Waits of save between its tries.
const (
	saveAgainFirst = 100 * time.Millisecond
	saveAgainMost  = 5 * time.Second
)

// save stores the run and its steps, and tries again while the store can't be
// written: what has happened must be told. It gives up only when hookrun is
// stopping; the next start then finds the state before.
func (e *Engine) save(ctx context.Context, run *Run, steps ...*StepResult) {
	saving := context.WithoutCancel(ctx)
	failed := false
	for wait := saveAgainFirst; ; wait = min(2*wait, saveAgainMost) {
		err := e.store.Update(saving, run, steps...)
		if err == nil {
			break
		}
		if !failed {
			e.log.Error("run can't be saved, trying on", "run", run.ID, "rule", run.Rule, "err", err)
			failed = true
		}
		if errors.Is(err, ErrNotFound) || !e.pause(wait) {
			return
		}
	}
	if failed {
		e.log.Info("run is saved after all", "run", run.ID, "rule", run.Rule)
	}
	e.onChange(*run)
}

// pause waits, and reports false where hookrun does not wait any more.
func (e *Engine) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stopped:
		return false
	}
}
