package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
// wraps ErrBusy where too many events are being accepted, ErrUnavailable where
// the store takes none; nothing of the event is kept then.
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
	a := judge(e.rules.Load(), ev)
	receipt, err := e.store.Accept(ctx, a)
	if err != nil {
		return Receipt{}, fmt.Errorf("accept event: %w", err)
	}
	e.logAccepted(a, receipt)
	if !receipt.Duplicate {
		e.queue.add(receipt.Runs...)
	}
	return receipt, nil
}

// admit takes a place for an event of that size.
func (e *Engine) admit(size int) error {
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

// judge asks the rules about the event. A panic in there must not cost the
// event: it is kept without runs, with what happened.
func judge(rules *RuleSet, ev *Event) (a *Acceptance) {
	a = &Acceptance{Event: ev, Rules: rules.Hash}
	defer func() {
		if r := recover(); r != nil {
			a.MatchErr = fmt.Sprintf("matching panicked: %v", r)
			a.Verdicts, a.Runs = nil, nil
		}
	}()
	scope := NewScope(ev)
	verdicts, matched := rules.Match(scope)
	a.Verdicts = verdicts
	for _, r := range matched {
		a.Runs = append(a.Runs, &Run{
			ID: NewID(), Event: ev.ID, Rule: r.Name, RuleHash: r.Hash,
			State: Queued, Created: ev.Received,
		})
	}
	if err := scope.BodyErr(); err != nil && !errors.Is(err, errEmptyBody) {
		a.BodyErr = err.Error()
	}
	return a
}

// logAccepted tells what came and what it started: never what was in it.
func (e *Engine) logAccepted(a *Acceptance, receipt Receipt) {
	ev := a.Event
	if receipt.Duplicate {
		e.log.Info("event is a duplicate", "event", receipt.Event, "bucket", ev.Bucket)
		return
	}
	e.log.Info("event received", "event", ev.ID, "bucket", ev.Bucket, "method", ev.Method, "bytes", len(ev.Body), "runs", len(a.Runs))
	if a.MatchErr != "" {
		e.log.Error("no rule could be asked", "event", ev.ID, "err", a.MatchErr)
	}
	if a.BodyErr != "" {
		level := slog.LevelDebug
		if len(a.Runs) == 0 { // the likely reason
			level = slog.LevelWarn
		}
		e.log.Log(context.Background(), level, "body is not parsed", "event", ev.ID, "err", a.BodyErr)
	}
	for i, v := range a.Verdicts {
		e.logVerdict(ev, v, len(a.Runs) == 0 && i < maxToldVerdicts)
	}
	if len(a.Runs) == 0 && len(a.Verdicts) == 0 {
		e.log.Info("no rule that is switched on is for this bucket", "event", ev.ID, "bucket", ev.Bucket)
	}
}

// maxToldVerdicts is how many rules are told of that did not match an event
// which started nothing: somebody will want to know why.
const maxToldVerdicts = 5

func (e *Engine) logVerdict(ev *Event, v Verdict, told bool) {
	attrs := []any{"rule", v.Rule, "event", ev.ID}
	switch {
	case v.Outcome == Matched:
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
	if told {
		level = slog.LevelInfo
	}
	e.log.Log(context.Background(), level, "rule did not match", attrs...)
}
