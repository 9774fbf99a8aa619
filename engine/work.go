package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// attempt is one try of one run:
//
//	begin ─► its steps ─► decide ─┬► queued again: a retry, or hookrun is stopping
//	                              └► done | failed | replaced | cancelled: closing steps ─► finish
type attempt struct {
	*Engine
	handle *handle
	log    *slog.Logger
	mask   *masker
	rule   *Rule
	run    *Run
	event  *Event

	element *Element // nil: the run is for the whole event
	limit   time.Duration
	left    time.Duration // of limit: waiting for the store takes nothing of it

	began   time.Time
	earlier []*StepResult // of earlier attempts
	results []*StepResult // of the steps so far, in either way: what later ones see

	// ended is the result of the step that ended last, until it is stored. With
	// the run's end it takes one commit.
	ended *StepResult

	failing  *Step       // the step that ended the attempt; nil: none did
	decisive *StepResult // of the one that ran last before the closing ones; nil: none did
	last     *StepResult // of the step that ran last; nil: none did
	command  *StepResult // of the command that ran last; nil: none did

	files eventFiles
}

// Why a run waits although its turn has come, and for how long.
const (
	readAgain = 5 * time.Second  // the store could not be read
	maxReads  = 10               // then the run fails
	goneGrace = 10 * time.Minute // a run whose rule is gone is abandoned then: until then the rule may come back
	maxCuts   = 20               // crashes of hookrun that a step may see: it may be the cause
)

// handle is how an attempt is reached while it goes on.
type handle struct {
	cancel  context.CancelCauseFunc // ends its steps
	closing context.CancelCauseFunc // ends its closing steps; nil before them
	stopped bool                    // how the run ends was decided meanwhile
	retried *Ref                    // the run was ended and retried by a person meanwhile; nil: it was not
}

// stop is the cause with which the steps of a run end that another run, or a
// person, stops.
type stop struct{ why string }

func (s *stop) Error() string { return s.why }
func (s *stop) Unwrap() error { return ErrStopped }

// stopWhy says for people why a run ends as Stop says. A crash may have come
// before its own attempt was told, whose error stands in Err then.
func (r *Run) stopWhy() string {
	switch {
	case r.Stop == Replaced:
		return replacedWhy
	case r.By == "":
		return byHand
	}
	return "an event cancels it"
}

// work makes one attempt of the run, and frees its place.
func (e *Engine) work(ctx context.Context, ref Ref) {
	acting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &handle{cancel: cancel}
	e.mu.Lock()
	e.active[ref.ID] = h
	e.mu.Unlock()

	again := e.try(ctx, acting, h, ref)

	// Who decides about the run finds it here, or else in the queue.
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.active, ref.ID)
	if again != nil && h.stopped {
		again.Due, again.Ends = time.Time{}, true
	}
	e.queue.done(ref, again)
	if h.retried != nil {
		e.queue.add(*h.retried)
	}
}

// retry queues a run that a person retries, once an attempt that has not seen
// its end yet is over.
func (e *Engine) retry(ref Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.active[ref.ID]; h != nil {
		h.retried = &ref
		return
	}
	e.queue.add(ref)
}

// try makes the attempt. acting ends before ctx where the run is stopped.
func (e *Engine) try(ctx, acting context.Context, h *handle, ref Ref) *Ref {
	a, again := e.begin(ctx, ref)
	if a == nil {
		return again
	}
	a.handle = h
	defer a.dropFiles()
	if again, ends := a.actions(acting); !ends {
		return again
	}
	return a.finish(ctx)
}

// interrupt ends the steps of an attempt that goes on, and reports whether there
// is one.
func (e *Engine) interrupt(r Run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.active[r.ID]
	if h == nil {
		return false
	}
	h.stopped = true
	h.cancel(&stop{r.Err})
	return true
}

// interruptClosing ends the closing steps of an attempt.
func (e *Engine) interruptClosing(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.active[id]; h != nil && h.closing != nil {
		h.closing(&stop{byHand})
	}
}

// release takes a run that throttle held into its lane, where its rule's on_busy
// may have it end at once.
func (e *Engine) release(ctx context.Context, ref Ref) (again *Ref) {
	var f fate
	var run *Run
	err := e.store.Change(context.WithoutCancel(ctx), func(tx Tx) (err error) {
		f.begin()
		if run, err = tx.Run(ref.ID); err != nil || run.State.Finished() {
			return err
		}
		run.Held, run.Due = false, time.Time{}
		if rule := e.rules.Load().Rule(run.Rule); rule != nil {
			if err := f.enter(tx, rule.Concurrency, run); err != nil {
				return err
			}
		}
		return tx.Put(run)
	})
	if err != nil {
		return e.unreadable(ctx, ref, nil, err)
	}
	e.tell(f.changed)
	if !run.State.Finished() {
		r := run.Ref()
		return &r
	}
	if run.State == Skipped {
		e.logDecided(&plan{}, run)
	}
	return nil
}

// begin reads what the attempt needs. Where there can be none now it returns
// nil, and the run's place in the queue unless it is settled.
func (e *Engine) begin(ctx context.Context, ref Ref) (a *attempt, again *Ref) {
	run, event, steps, err := e.read(ctx, ref.ID)
	if run != nil && run.State.Finished() {
		return nil, nil // decided by another after its turn had come
	}
	if err != nil {
		return nil, e.unreadable(ctx, ref, run, err)
	}
	rules := e.rules.Load()
	rule := rules.Rule(run.Rule)
	if rule == nil || rule.Shadow {
		return nil, e.ruleGone(ctx, ref, run, steps)
	}
	e.endDetached(ctx, run, rule, steps)
	log := e.log.With("run", run.ID, "rule", run.Rule)
	if rule.Hash != run.RuleHash {
		log.Info("rule was edited since the run was queued; it runs as it is now")
	}
	limit := cmp.Or(rule.Timeout, DefaultTimeout)
	a = &attempt{
		Engine: e, log: log, mask: rules.mask(), rule: rule,
		run: run, event: event, limit: limit, left: limit, began: time.Now(), earlier: steps,
	}
	if !run.Begun() {
		run.Waited = ref.waited(time.Since(run.Created))
	}
	if a.element, err = rule.element(run); err != nil {
		e.settle(ctx, run, Failed, err)
		return nil, nil
	}
	return a, nil
}

// endDetached ends detached commands of earlier attempts that no step will pick
// up: how the run ends is decided, or its rule does not have the step any more.
func (e *Engine) endDetached(ctx context.Context, run *Run, rule *Rule, steps []*StepResult) {
	for _, s := range steps {
		if s.Process.Dir == "" || s.Attempt != run.Attempt {
			continue
		}
		picked := rule != nil && slices.ContainsFunc(rule.Steps, func(step Step) bool { return step.key() == s.key() })
		if !picked || run.Stop != "" || run.Outcome != "" {
			e.log.Info("detached command is ended: nothing goes on with it", "run", run.ID, "step", s.Step, "pid", s.Process.PID)
			e.endLeftover(context.WithoutCancel(ctx), s)
		}
	}
}

// waited says for people what the first attempt waited for, where it did.
func (r Ref) waited(d time.Duration) string {
	d = d.Round(time.Millisecond)
	switch {
	case r.behind != "":
		return fmt.Sprintf("%s, last for run %s of its lane", d, r.behind)
	case r.slots:
		return fmt.Sprintf("%s for one of the places of max_runs", d)
	}
	return ""
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

// ruleGone parks the runs of a rule that is gone: one that is moved from one
// file to another is away between two saves. One that is switched off may be so
// for any time.
func (e *Engine) ruleGone(ctx context.Context, ref Ref, run *Run, steps []*StepResult) (again *Ref) {
	if end := cmp.Or(run.Outcome, run.Stop); end != "" { // nothing of it depends on the rule any more
		e.endDetached(ctx, run, nil, steps)
		why := run.Err
		if run.Outcome == "" {
			why = run.stopWhy()
		}
		e.settle(ctx, run, end, errors.New(why))
		return nil
	}
	if e.absence(run) == isOver {
		e.endDetached(ctx, run, nil, steps)
		e.settle(ctx, run, Abandoned, errGone)
		return nil
	}
	return &ref // into the parking, or to its turn
}

// absence is what is known of a rule that a run did not find.
type absence int

const (
	isBack   absence = iota // it came back meanwhile
	isParked                // its runs are parked
	isOver                  // it has been gone for too long
)

// absence notes that the rule is not there, and parks its runs. SetRules ends
// it.
func (e *Engine) absence(run *Run) absence {
	e.mu.Lock()
	defer e.mu.Unlock()
	rules := e.rules.Load()
	if rules.works(run.Rule) {
		return isBack
	}
	since, known := e.gone[run.Rule]
	why := "its rule is gone; it is abandoned unless the rule comes back within " + spell(goneGrace)
	switch off := rules.off(run.Rule); {
	case off != "":
		why = "its rule is " + off
		if !known || !since.IsZero() {
			e.log.Warn("rule runs nothing now; its runs wait until it does", "rule", run.Rule, "why", off)
			e.gone[run.Rule] = time.Time{}
		}
	case !known || since.IsZero():
		e.log.Warn("rule of a run is gone; the run waits for it to come back", "run", run.ID, "rule", run.Rule, "for", goneGrace)
		e.gone[run.Rule] = time.Now()
	case time.Since(since) >= goneGrace:
		return isOver
	}
	e.queue.park(run.Rule, why)
	return isParked
}

// giveUpGone lets the runs of rules that are gone for too long come to their
// end, and returns for how long there will be none; below 0: for ever.
func (e *Engine) giveUpGone() (wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait = -1
	for rule, since := range e.gone {
		if since.IsZero() {
			continue
		}
		left := goneGrace - time.Since(since)
		if left <= 0 {
			e.queue.unpark(rule) // begin finds out
			continue
		}
		if wait < 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// settle ends a run that is not tried any more.
func (e *Engine) settle(ctx context.Context, run *Run, state State, why error) {
	run.State, run.Err, run.Finished = state, why.Error(), time.Now().UTC()
	run.Outcome, run.Due, run.Held = "", time.Time{}, false
	e.save(ctx, run)
	if state == Failed || state == Abandoned {
		e.log.Error("run is given up", "run", run.ID, "rule", run.Rule, "state", string(state), "err", why)
		return
	}
	e.log.Info("run has ended without its closing actions", "run", run.ID, "rule", run.Rule, "state", string(state))
}

// actions does the rule's own steps, and reports whether the run ends now.
// Where it does not, again is its place in the queue.
func (a *attempt) actions(ctx context.Context) (again *Ref, ends bool) {
	a.run.State = Running
	if a.run.Stop == "" || len(a.rule.Always) > 0 { // else there is nothing to be done
		a.run.Attempt++
	}
	if a.run.Started.IsZero() {
		a.run.Started = time.Now().UTC()
	}
	a.log.Debug("run starts", "attempt", a.run.Attempt)
	if a.run.Outcome != "" { // an earlier attempt came to the closing steps
		a.results = a.done(PhaseMain)
		return nil, true
	}
	var err error
	if a.run.Stop != "" {
		err = &stop{a.run.stopWhy()}
	} else {
		err = a.steps(ctx, PhaseMain)
	}
	return a.decide(ctx, err)
}

// decide says what becomes of the run after its steps ended with err.
func (a *attempt) decide(ctx context.Context, err error) (again *Ref, ends bool) {
	run := a.run
	run.Err = ""
	if err != nil {
		run.Err = a.mask.string(err.Error())
	}
	switch {
	case err == nil:
		run.Outcome = Done
	case errors.Is(err, ErrFinished):
		a.log.Debug("run was ended by another meanwhile")
		return nil, false
	case errors.Is(err, ErrStopping):
		return a.requeue(ctx, time.Time{}), false
	case errors.Is(err, ErrStopped):
		if by, ok := errors.AsType[*stop](err); ok {
			run.Err = by.why
		}
		a.takeStop(ctx)
	default:
		wait, ok, why := a.tryAgain(err)
		if ok {
			return a.requeue(ctx, time.Now().Add(wait)), false
		}
		run.Outcome, run.Err = Failed, run.Err+why
	}
	return nil, true
}

// takeStop takes over how the run ends from what was decided meanwhile.
func (a *attempt) takeStop(ctx context.Context) {
	run := a.run
	if run.Stop == "" {
		// It is there: the attempt was told after the commit.
		if stored, err := a.store.Run(context.WithoutCancel(ctx), run.ID); err == nil {
			run.Stop, run.By = stored.Stop, stored.By
		}
	}
	run.Outcome = cmp.Or(run.Stop, Cancelled)
}

// requeue saves the run for another attempt, at due; the zero time is for one
// that is cut off because hookrun is stopping.
func (a *attempt) requeue(ctx context.Context, due time.Time) *Ref {
	run := a.run
	run.State = Queued
	if due.IsZero() {
		run.Cut++
	}
	run.Due = due.UTC()
	if due.IsZero() {
		run.Due = time.Time{}
	}
	a.saveEnded(ctx)
	a.logRun()
	ref := run.Ref()
	ref.Due = due // on the monotonic clock: setting the other neither fires nor strands it
	return &ref
}

// finish does the closing steps that fit how the run ends, and ends it.
func (a *attempt) finish(ctx context.Context) (again *Ref) {
	run := a.run
	a.decisive = a.last
	if phases := a.phases(); len(phases) > 0 {
		a.saveEnded(ctx) // from here on a crash does not repeat what is before
		if again := a.close(ctx, phases); again != nil {
			return again
		}
	}
	run.State, run.Finished, run.Due = run.Outcome, time.Now().UTC(), time.Time{}
	run.Outcome = ""
	a.saveEnded(ctx)
	a.logRun()
	return nil
}

// saveEnded stores the run, with the step that ended last.
func (a *attempt) saveEnded(ctx context.Context) {
	if a.ended != nil {
		a.save(ctx, a.run, a.ended)
		a.ended = nil
		return
	}
	a.save(ctx, a.run)
}

func (a *attempt) logRun() {
	run := a.run
	decided := a.decisive
	switch run.State {
	case Queued:
		decided = a.last
	case Done:
		decided = a.command
	}
	attrs := append([]any{"event", run.Event, "attempt", run.Attempt}, exitAttrs(decided)...)
	attrs = append(attrs, "duration", time.Since(a.began).Round(time.Millisecond))
	switch {
	case run.State == Done:
		a.log.Info("run done", attrs...)
	case run.State == Failed:
		a.log.Error("run failed", append(attrs, "err", run.Err)...)
	case run.State.Finished():
		a.log.Info("run has stopped", append(attrs, "state", string(run.State), "by", run.By, "why", run.Err)...)
	case run.Due.IsZero():
		a.log.Info("run is cut off and goes on at the next start", attrs...)
	default:
		a.log.Warn("run failed, will retry", append(attrs, "in", max(time.Until(run.Due), 0).Round(time.Millisecond), "err", run.Err)...)
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
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrFinished) || !e.pause(wait) {
			return
		}
	}
	if failed {
		e.log.Info("run is saved after all", "run", run.ID, "rule", run.Rule)
	}
	e.ended(*run)
}

// ended counts a run that has finished, and tells of the change of any.
func (e *Engine) ended(run Run) {
	if run.State.Finished() {
		e.mu.Lock()
		e.counts[run.State]++
		for _, ended := range e.waiters[run.ID] {
			select {
			case ended <- struct{}{}:
			default: // it was told
			}
		}
		e.mu.Unlock()
	}
	e.onChange(run)
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
