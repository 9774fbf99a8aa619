package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Bounds on events that are being accepted at one time; beyond them Submit
// returns ErrBusy. One event alone may be larger.
const (
	MaxPending      = 256
	MaxPendingBytes = 16 << 20
)

// Submit takes an event: it asks the rules, puts the event, the verdicts and
// the runs on disk in one commit, and queues the runs. Only when it returns nil
// may the sender be told that the event was accepted.
//
// An ID and a time of receipt are given to an event that has none. The error
// wraps ErrBusy where too many events are being accepted or too many runs wait,
// ErrUnavailable where the store takes none, ErrNotVerified or ErrNotAllowed where
// its sender is not trusted; nothing of the event is kept then.
//
// What is kept, and all that rules see, has no credentials in it any more.
//
// Where all that the event would start is done by the runs of an earlier one,
// the receipt is a duplicate's and tells of that one.
func (e *Engine) Submit(ctx context.Context, ev *Event) (Receipt, error) {
	if err := e.admit(ev.Size()); err != nil {
		return Receipt{}, err
	}
	defer e.leave(ev.Size())

	if ev.ID == "" {
		ev.ID = NewID()
	}
	if ev.Received.IsZero() {
		ev.Received = time.Now().UTC()
	}
	rules := e.rules.Load()
	t := rules.trust(ctx, ev)
	switch {
	case t.rejected != nil:
		return Receipt{}, e.reject(ctx, ev, t)
	case t.challenge != nil && !t.challenge.Signed:
		e.log.Debug("question of a service answered", "bucket", ev.Bucket) // whoever asks
		return Receipt{Challenge: t.challenge}, nil
	}
	rules.maskEvent(ev, t.asked)
	a, f, err := e.judge(ctx, rules, ev, t)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := e.take(ctx, a, f)
	if err != nil {
		return Receipt{}, err
	}
	runs := a.Runs
	if receipt.Duplicate && receipt.KeptAs == "" { // nothing was kept
		runs = nil
	}
	receipt.reply, receipt.Challenge = rules.reply(ev, runs), t.challenge
	return receipt, nil
}

// take puts the event and its runs on disk, queues them and tells of both.
func (e *Engine) take(ctx context.Context, a *Acceptance, f *fate) (Receipt, error) {
	spent := e.hold(a, f)
	receipt, err := e.store.Accept(ctx, a)
	if err != nil {
		e.rearm(ctx, spent, nil)
		return Receipt{}, fmt.Errorf("accept event: %w", err)
	}
	e.logAccepted(a, receipt)
	if receipt.Duplicate {
		e.rearm(ctx, spent, nil)
		return receipt, nil
	}
	e.rearm(ctx, spent, a.Runs)
	e.onEvent(a) // before its runs are told of
	return e.start(receipt, a, f), nil
}

// judge asks the rules, once there is room for the event's body where that has to
// be unpacked.
func (e *Engine) judge(ctx context.Context, rules *RuleSet, ev *Event, t trust) (*Acceptance, *fate, error) {
	if isPacked(ev) {
		select {
		case e.packed <- struct{}{}:
			defer func() { <-e.packed }()
		default:
			return nil, nil, fmt.Errorf("%w: %d packed bodies wait to be unpacked", ErrBusy, maxPacked)
		}
		select {
		case e.inflating <- struct{}{}:
			defer func() { <-e.inflating }()
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
		}
	}
	a, f := judge(rules, ev, t, e.instance)
	return a, f, nil
}

// isPacked reports whether the body has to be unpacked before it is read.
func isPacked(ev *Event) bool {
	coding := ev.Header.Get("Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// start queues the runs of an event that was just accepted.
func (e *Engine) start(receipt Receipt, a *Acceptance, f *fate) Receipt {
	e.tell(f.changed)
	for _, r := range a.Runs {
		e.logDecided(f.plans[r.ID], r)
	}
	for i, ref := range receipt.Runs { // as they are after the last one was decided
		if ref.State.Finished() {
			continue
		}
		e.onChange(*a.Runs[i])
		if ref.Armed {
			continue
		}
		if wait := time.Until(ref.Due); wait > 0 { // from here on it counts on the monotonic clock
			ref.Due = time.Now().Add(wait)
		} else {
			ref.Due = time.Time{}
		}
		e.queue.add(ref)
	}
	for i, ref := range receipt.Runs {
		if f.plans[ref.ID].tripped {
			receipt.Runs[i].State = Tripped // all that it does is on_trip
		}
	}
	return f.receipt(receipt, a.Runs)
}

// receipt is what the sender gets to know: where every run is a duplicate, the
// event that had them first. What is in shadow counts for nothing.
func (f *fate) receipt(r Receipt, runs []*Run) Receipt {
	first := ""
	for _, run := range runs {
		switch {
		case run.State == Shadow:
		case run.State != Duplicate:
			return r
		case first == "":
			first = f.plans[run.ID].first
		}
	}
	if first != "" {
		r.KeptAs, r.Event, r.Duplicate = r.Event, first, true
	}
	return r
}

// admit takes a place for an event of that size.
func (e *Engine) admit(size int) error {
	if err := e.queueFull(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending == MaxPending || e.pending > 0 && e.pendingBytes+size > MaxPendingBytes {
		return ErrBusy
	}
	e.pending++
	e.pendingBytes += size
	return nil
}

func (e *Engine) leave(size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending--
	e.pendingBytes -= size
}

// queueFull reports whether as many runs wait as may. The log has the begin and
// the end of that.
func (e *Engine) queueFull() error {
	limit := cmp.Or(e.rules.Load().QueueLimit, DefaultQueueLimit)
	n := e.queue.waiting()
	full := n >= limit
	if e.full.Swap(full) != full {
		if full {
			e.log.Warn("as many runs wait as queue_limit allows: no events are taken", "waiting", n, "queue_limit", limit)
		} else {
			e.log.Info("events are taken again", "waiting", n, "queue_limit", limit)
		}
	}
	if full {
		return fmt.Errorf("%w: %d runs wait", ErrBusy, n)
	}
	return nil
}

// judge asks the rules about the event. A panic in there must not cost the
// event: it is kept without runs, with what happened.
func judge(rules *RuleSet, ev *Event, t trust, instance string) (a *Acceptance, f *fate) {
	a = &Acceptance{Event: ev, Rules: rules.Hash}
	if t.challenge != nil { // no rule is asked about what was answered
		a.Answered = true
		return a, newFate(nil)
	}
	defer func() {
		if r := recover(); r != nil {
			a.MatchErr = fmt.Sprintf("matching panicked: %v", r)
			a.Verdicts, a.Runs, a.Admit, f = nil, nil, nil, newFate(nil)
		}
	}()
	scope := NewScope(ev)
	d := rules.decide(scope, t.refused, instance)
	a.Verdicts = d.verdicts
	var all, shadows []*plan
	for _, m := range d.matched {
		all = append(all, m.plans...)
		if m.rule.Shadow {
			shadows = append(shadows, m.plans...)
		}
	}
	a.Steps = rules.shadow(scope, shadows)
	for _, p := range all {
		run := p.run
		a.Runs = append(a.Runs, &run)
	}
	if f = newFate(all); !f.plain() {
		a.Admit = f.admit
	}
	if err := scope.BodyErr(); err != nil && !errors.Is(err, errEmptyBody) {
		a.BodyErr = err.Error()
	}
	return a, f
}

// logDecided tells of a run that does not simply start.
func (e *Engine) logDecided(p *plan, r *Run) {
	attrs := []any{"run", r.ID, "rule", r.Rule, "event", r.Event}
	if r.By != "" {
		attrs = append(attrs, "by", r.By)
	}
	switch {
	case p.tripped:
		e.log.Warn("breaker tripped: the rule runs no more until there is room", append(attrs, "why", r.Err)...)
	case p.loop:
		e.log.Warn("loop: the rule does not run", append(attrs, "why", r.Err)...)
	case p.recovered:
		e.log.Info("breaker has recovered", attrs...)
	case r.State == Shadow: // the verdict is told
	case r.State == Tripped:
		e.log.Debug("run does not start", append(attrs, "state", string(r.State), "why", r.Err)...)
	case r.State.Finished():
		e.log.Info("run does not start", append(attrs, "state", string(r.State), "why", r.Err)...)
	case r.Held:
		e.log.Debug("run is held until its burst is over", attrs...)
	}
	if r.State.Finished() {
		e.ended(*r)
	}
}

// maxToldEnds is how many runs that one event ends are told of one by one.
const maxToldEnds = 20

// tell passes on what a commit decided about other runs.
func (e *Engine) tell(changed []Run) {
	var gone []Ref
	for _, r := range changed {
		if r.State.Finished() {
			gone = append(gone, r.Ref())
		}
	}
	e.queue.remove(gone...)
	if len(gone) > maxToldEnds {
		e.log.Info("runs do not start", "runs", len(gone), "by", changed[0].By)
	}
	for _, r := range changed {
		ref := r.Ref()
		if r.State.Finished() {
			if len(gone) <= maxToldEnds {
				e.log.Info("run does not start", "run", r.ID, "rule", r.Rule, "state", string(r.State), "by", r.By, "why", r.Err)
			}
			e.ended(r)
			continue
		}
		e.log.Info("run is to stop", "run", r.ID, "rule", r.Rule, "state", string(r.Stop), "by", r.By, "why", r.Err)
		if !e.interrupt(r) {
			e.queue.hasten(ref)
		}
		e.onChange(r)
	}
}

// logAccepted tells what came and what it started: never what was in it.
func (e *Engine) logAccepted(a *Acceptance, receipt Receipt) {
	ev := a.Event
	if receipt.Duplicate {
		e.log.Info("event is a duplicate", "event", receipt.Event, "bucket", ev.Bucket)
		return
	}
	e.log.Info("event received", "event", ev.ID, "bucket", ev.Bucket, "method", ev.Method, "bytes", len(ev.Body), "runs", len(a.Runs))
	if a.Answered {
		e.log.Info("question of a service answered", "event", ev.ID, "bucket", ev.Bucket)
	}
	if a.MatchErr != "" {
		e.log.Error("no rule could be asked", "event", ev.ID, "err", a.MatchErr)
	}
	if a.BodyErr != "" {
		level := slog.LevelInfo
		if len(a.Runs) == 0 { // the likely reason
			level = slog.LevelWarn
		}
		e.log.Log(context.Background(), level, "body is not parsed", "event", ev.ID, "err", a.BodyErr)
	}
	for i, v := range a.Verdicts {
		if v.Outcome == Matched && slices.ContainsFunc(a.Runs, func(r *Run) bool { return r.State == Shadow && r.Rule == v.Rule }) {
			e.log.Info("rule matched, in shadow: nothing runs", "rule", v.Rule, "event", ev.ID)
			continue
		}
		e.logVerdict(ev, v, len(a.Runs) == 0 && i < maxToldVerdicts)
	}
	if len(a.Runs) == 0 && len(a.Verdicts) == 0 && !a.Answered {
		e.log.Info("no rule that is switched on is for this bucket", "event", ev.ID, "bucket", ev.Bucket)
	}
}

// maxToldVerdicts is how many rules are told of that did not match an event
// which started nothing: somebody will want to know why.
const maxToldVerdicts = 5

func (e *Engine) logVerdict(ev *Event, v Verdict, told bool) {
	attrs := []any{"rule", v.Rule, "event", ev.ID}
	if v.Slow > 0 {
		e.log.Warn("rule is slow to ask: every event of its bucket waits for it", append(attrs, "took", v.Slow.Round(time.Millisecond))...)
	}
	switch {
	case v.Outcome == Matched:
		if v.Why != "" { // it starts nothing all the same
			attrs = append(attrs, "why", v.Why)
		}
		e.log.Info("rule matched", attrs...)
		return
	case v.Outcome == Errored:
		e.log.Warn("condition failed", append(attrs, "err", v.Why)...)
		return
	}
	attrs = append(attrs, "why", v.Why)
	if len(v.Missing) > 0 {
		attrs = append(attrs, "missing", v.Missing)
	}
	level := slog.LevelDebug
	if told || v.Refused() {
		level = slog.LevelInfo
	}
	e.log.Log(context.Background(), level, "rule did not match", attrs...)
}
