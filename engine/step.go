package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// steps runs the steps of a phase that are not finished, in order. It returns
// the error of the one that failed.
func (a *attempt) steps(ctx context.Context, phase Phase) error {
	index := a.firstIndex(phase)
	steps := a.rule.stepsOf(phase)
	for i := range steps {
		step := &steps[i]
		if done := a.finishedAs(step); done != nil {
			a.results = append(a.results, done)
			continue
		}
		if a.ended != nil {
			a.save(ctx, a.run, a.ended)
			a.ended = nil
		}
		err := a.step(ctx, index+i, phase, step)
		if a.ended != nil {
			a.results = append(a.results, a.ended)
		}
		if err != nil && !a.goesOn(step, err) {
			a.failing = step
			return err
		}
	}
	a.failing = nil
	return nil
}

// goesOn reports whether the run goes on although the step has failed, and marks
// the step if so.
func (a *attempt) goesOn(step *Step, err error) bool {
	if !step.ContinueOnError || errors.Is(err, ErrStopping) || errors.Is(err, ErrStopped) || errors.Is(err, ErrFinished) {
		return false
	}
	if step.Retry != nil {
		a.failing = step
		if _, again, _ := a.tryAgain(err); again {
			return false
		}
	}
	a.ended.Passed = true
	a.log.Warn("step failed, the run goes on: continue_on_error", "step", step.ID, "err", a.ended.Err)
	return true
}

// firstIndex is the index of the first step of a phase.
func (a *attempt) firstIndex(phase Phase) int {
	index := 0
	for _, p := range []Phase{PhaseMain, PhaseSuccess, PhaseFailure, PhaseTrip, PhaseAlways} {
		if p == phase {
			break
		}
		index += len(a.rule.stepsOf(p))
	}
	return index
}

// phases are the closing phases that fit how the run ends and that have steps.
// What is stopped before it began has nothing to clean up.
func (a *attempt) phases() []Phase {
	var fit []Phase
	switch a.run.Outcome {
	case Done:
		fit = []Phase{PhaseSuccess, PhaseAlways}
	case Failed:
		fit = []Phase{PhaseFailure, PhaseAlways}
	case Tripped:
		fit = []Phase{PhaseTrip}
	default:
		if len(a.earlier) > 0 || a.last != nil {
			fit = []Phase{PhaseAlways}
		}
	}
	return slices.DeleteFunc(fit, func(p Phase) bool { return len(a.rule.stepsOf(p)) == 0 })
}

// close does the closing steps. What fails among them is recorded and ends its
// own phase; it is not tried again and changes nothing of how the run ends. They
// have as much time as the actions had, and go on when the run is replaced.
func (a *attempt) close(ctx context.Context, phases []Phase) (again *Ref) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.mu.Lock()
	a.handle.closing = cancel
	a.mu.Unlock()
	a.left = a.limit
	for _, phase := range phases {
		err := a.steps(ctx, phase)
		if errors.Is(err, ErrStopping) {
			return a.requeue(ctx, time.Time{})
		}
		if err != nil {
			a.log.Warn("closing action failed", "phase", string(phase), "err", a.mask.string(err.Error()))
		}
	}
	return nil
}

// key is what a retry knows the step by.
func (s *Step) key() string { return cmp.Or(s.Key, s.ID) }

func (r *StepResult) key() string { return cmp.Or(r.Key, r.Step) }

// finishedAs returns the result of the step where an earlier attempt finished
// it, under the name that it has now: the rule may have been edited since.
func (a *attempt) finishedAs(step *Step) *StepResult {
	for _, r := range slices.Backward(a.earlier) {
		if r.Phase != PhaseMain && r.Attempt <= a.run.Base {
			continue // it closed the run before a person retried it
		}
		if r.key() == step.key() && r.Attempt > a.run.Fresh && r.finished() {
			as := *r
			as.Step = step.ID
			return &as
		}
	}
	return nil
}

// finished reports whether a later attempt builds on the result.
func (r *StepResult) finished() bool {
	return r.State == StepDone || r.State == StepSkipped || r.State == StepFailed && r.Passed
}

// before returns the result of the step in the attempt before, and how often it
// ended in that state since the run was made or retried by hand; nil where the
// step had no turn yet.
func (a *attempt) before(step *Step) (last *StepResult, times int) {
	ended := map[StepState]int{}
	for _, r := range a.earlier {
		if r.key() == step.key() && r.Attempt > max(a.run.Base, a.run.Fresh) {
			last = r
			ended[r.State]++
		}
	}
	if last == nil {
		return nil, 0
	}
	return last, ended[last.State]
}

// afterCut says what becomes of a step that the end of hookrun cut off before:
// it is done (true), it has failed (the error), or it is begun anew.
func (a *attempt) afterCut(step *Step) (done bool, err error) {
	last, times := a.before(step)
	if last == nil || last.Process.Dir != "" { // what outlived hookrun is picked up
		return false, nil
	}
	switch {
	case last.State == StepCrashed && step.OnCrash == FailCut:
		return false, Permanent(errors.New("a crash of hookrun cut it off, and on_crash says fail"))
	case last.State == StepCrashed && times >= maxCuts:
		return false, Permanent(fmt.Errorf("hookrun ended %d times while it ran", times))
	case last.State != StepInterrupted:
		return false, nil
	case step.OnInterrupt == DoneCut:
		return true, nil
	case step.OnInterrupt == FailCut:
		return false, Permanent(errors.New("a stop of hookrun cut it off, and on_interrupt says fail"))
	case times > MaxResumes:
		return false, Permanent(fmt.Errorf("a stop of hookrun cut it off %d times; if it is this action that stops hookrun, write on_interrupt: done or detach: true", times))
	}
	return false, nil
}

// step runs one step; what became of it is in a.ended.
func (a *attempt) step(ctx context.Context, index int, phase Phase, step *Step) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	result := &StepResult{
		Run: a.run.ID, Attempt: a.run.Attempt, Index: index, Phase: phase, Step: step.ID, Key: step.Key,
		Kind: step.Action.Kind(), State: StepRunning, Started: time.Now().UTC(),
	}
	done, err := a.afterCut(step)
	if !done && err == nil {
		err = a.doStep(ctx, step, result)
	}
	if errors.Is(err, ErrFinished) {
		return err
	}
	result.Finished = time.Now().UTC()
	switch {
	case err == nil && result.State != StepSkipped:
		result.State = StepDone
	case errors.Is(err, ErrStopping):
		result.State, result.Err = StepInterrupted, a.mask.string(err.Error())
	case err != nil:
		result.State, result.Err = StepFailed, a.mask.string(err.Error())
	}
	if result.State != StepInterrupted || result.Process.Dir == "" {
		result.Process = Process{}
	}
	a.hide(&result.Output)
	a.ended, a.last = result, result
	if isCommand(result.Kind) && result.State != StepSkipped && phase == PhaseMain {
		a.command = result
	}
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

// scope is the world that expressions of the run see now.
func (a *attempt) scope(err string) *Scope {
	results := slices.Clone(a.results)
	for _, s := range a.rule.Steps {
		if !slices.ContainsFunc(results, func(r *StepResult) bool { return r.Step == s.ID }) {
			results = append(results, &StepResult{Step: s.ID, State: StepNotRun, Output: Output{ExitCode: -1}})
		}
	}
	return NewScope(a.event).With(View{Steps: results, Element: a.element, Run: a.run, Err: a.mask.string(err), Files: a.files.paths})
}

// done are the results of the steps of a phase that earlier attempts ended.
func (a *attempt) done(phase Phase) []*StepResult {
	var results []*StepResult
	for _, s := range a.rule.stepsOf(phase) {
		last, _ := a.before(&s)
		if done := a.finishedAs(&s); done != nil {
			last = done
		}
		if last != nil {
			results = append(results, last)
		}
	}
	return results
}

// doStep asks the step's condition and does its action. The result is told the
// output; its state only where the step is skipped.
func (a *attempt) doStep(ctx context.Context, step *Step, result *StepResult) error {
	if err := a.layFiles(); err != nil {
		return err
	}
	scope := a.scope(a.run.Err)
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
	var resume *Process
	if last, _ := a.before(step); last != nil && last.Process.Dir != "" {
		resume = &last.Process
		result.Process, result.Started, result.Plan = last.Process, last.Started, last.Plan
	}
	if err := a.note(ctx, result); err != nil {
		return err
	}
	rec := a.record(result)
	recording, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { rec.run(recording) })
	err := a.act(ctx, step, scope, resume, rec, result)
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
func (a *attempt) act(ctx context.Context, step *Step, scope *Scope, resume *Process, rec *recorder, result *StepResult) (err error) {
	limit, wait := a.limit, a.left
	if step.Timeout > 0 && step.Timeout < wait {
		limit, wait = step.Timeout, step.Timeout
	}
	if resume != nil { // its time went on meanwhile
		wait -= min(max(time.Since(result.Started), 0), wait)
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
			_ = a.note(ctx, result) // it runs by now: how it ends is told later
		},
		Planned: func(p Plan) { // what notes the start of a command, or the step's end, carries it to the store
			shown := scope.show(p, a.mask, false)
			result.Plan = &shown
		},
		Via:       via(a.event, mark(a.instance, a.rule.Name)),
		Resume:    resume,
		DetachDir: a.detach,
		TempDir:   a.tempDir,
		Hurry:     a.hurry,
	})
	cause := context.Cause(ctx)
	switch {
	case err == nil || errors.Is(err, ErrStopping) || errors.Is(err, ErrStopped):
		return err
	case errors.Is(cause, ErrStopping), errors.Is(cause, ErrStopped):
		return fmt.Errorf("%w: %w", cause, err)
	case a.endedWithUs(result.Output.Signal):
		result.Process = Process{} // nothing is left of it
		return fmt.Errorf("%w: %w", ErrStopping, err)
	}
	return err
}

// signalWait is how long a command's end by a signal may come before hookrun's
// own: a supervisor that stops hookrun signals its commands at the same time.
const signalWait = 500 * time.Millisecond

// endedWithUs reports whether a command that a signal ended got it because
// hookrun is to end.
func (a *attempt) endedWithUs(signal string) bool {
	if !slices.Contains([]string{"SIGTERM", "SIGINT", "SIGHUP"}, signal) {
		return false
	}
	wait := time.NewTimer(signalWait)
	defer wait.Stop()
	select {
	case <-a.ending:
		return true
	case <-wait.C:
		return false
	}
}

// hide masks secrets in what an action says of itself.
func (a *attempt) hide(o *Output) {
	if a.mask == nil {
		return
	}
	o.Body = a.mask.string(o.Body)
	for name, value := range o.Outputs {
		o.Outputs[name] = a.mask.string(value)
	}
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
	if r.Err != "" {
		attrs = append(attrs, "err", r.Err)
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

// note stores that a step runs. It tries once: a step must not wait for the
// disk, and what becomes of it is stored later. Its one error is ErrFinished:
// another has ended the run, and the step is not to begin.
func (a *attempt) note(ctx context.Context, result *StepResult) error {
	err := a.store.Update(context.WithoutCancel(ctx), a.run, result)
	if errors.Is(err, ErrFinished) {
		return err
	}
	if err != nil {
		a.log.Warn("start of a step is not stored", "step", result.Step, "err", err)
		return nil
	}
	a.onChange(*a.run)
	return nil
}
