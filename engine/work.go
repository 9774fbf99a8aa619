package engine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
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

	began    time.Time
	finished []*StepResult // of earlier attempts
	results  []*StepResult // of the rule's steps so far, in either way: what later ones see

	// ended is the result of the step that ended last, until it is stored. With
	// the run's end it takes one commit.
	ended *StepResult

	last    *StepResult // of the step that ran last; nil: none did
	command *StepResult // of the command that ran last; nil: none did
}

// Why a run waits although its turn has come, and for how long.
const (
	readAgain = 5 * time.Second  // the store could not be read
	maxReads  = 10               // then the run fails
	goneAgain = 5 * time.Second  // its rule is gone
	goneGrace = 10 * time.Minute // then it is abandoned: until then the rule may come back
	maxCuts   = 20               // ends of hookrun that a run may see, the last of them a crash: it may be the cause
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
		Engine: e, log: log, mask: rules.mask(), rule: rule,
		run: run, event: event, limit: limit, left: limit, began: time.Now(), finished: finished(steps),
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
// to another is away between two saves. One that is switched off may be so for
// any time.
func (e *Engine) ruleGone(ctx context.Context, ref Ref, run *Run) *Ref {
	how, since := e.absence(run.Rule)
	switch {
	case how == isBack:
		return &ref
	case how == isNew && since.IsZero():
		e.log.Warn("rule is switched off; its runs wait until it is on", "rule", run.Rule)
	case how == isNew:
		e.log.Warn("rule of a run is gone; the run waits for it to come back", "run", run.ID, "rule", run.Rule, "for", goneGrace)
	case !since.IsZero() && time.Since(since) >= goneGrace:
		e.settle(ctx, run, Abandoned, errGone)
		return nil
	}
	ref.Due = time.Now().Add(goneAgain)
	return &ref
}

// absence is what is known of a rule that a run did not find.
type absence int

const (
	isBack  absence = iota // it came back meanwhile
	isNew                  // nobody was told of it yet
	isKnown                // it was told
)

// absence notes that the rule is not there, and returns since when it is gone;
// zero where it is only switched off. SetRules ends it.
func (e *Engine) absence(rule string) (absence, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rules := e.rules.Load()
	if rules.Rule(rule) != nil {
		return isBack, time.Time{}
	}
	since, known := e.gone[rule]
	off := slices.ContainsFunc(rules.Off, func(r *Rule) bool { return r.Name == rule })
	if known && off == since.IsZero() {
		return isKnown, since
	}
	since = time.Now()
	if off {
		since = time.Time{}
	}
	e.gone[rule] = since
	return isNew, since
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
	decided := a.last
	if run.State == Done {
		decided = a.command
	}
	attrs := append([]any{"event", run.Event, "attempt", run.Attempt}, exitAttrs(decided)...)
	attrs = append(attrs, "duration", time.Since(a.began).Round(time.Millisecond))
	switch {
	case run.State == Done:
		a.log.Info("run done", attrs...)
	case run.State == Failed:
		if left := a.rule.Retry.Attempts - (run.Attempt - run.Cut); left > 0 {
			attrs = append(attrs, "not_tried_again", "it would fail again")
		}
		a.log.Error("run failed", append(attrs, "err", run.Err)...)
	case run.Due.IsZero():
		a.log.Info("run is cut off and goes on at the next start", attrs...)
	default:
		a.log.Warn("run failed, will retry", append(attrs, "in", time.Until(run.Due).Round(time.Millisecond), "err", run.Err)...)
	}
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
