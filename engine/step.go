package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

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
	if isCommand(result.Kind) && result.State != StepSkipped {
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
// disk, and what becomes of it is stored later.
func (a *attempt) note(ctx context.Context, result *StepResult) {
	if err := a.store.Update(context.WithoutCancel(ctx), a.run, result); err != nil {
		a.log.Warn("start of a step is not stored", "step", result.Step, "err", err)
		return
	}
	a.onChange(*a.run)
}
