package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/relay"
)

// How a relay is told what became of a webhook.
const (
	answerWindow = 10 * time.Second       // in which a relay still passes an answer on to the sender
	answerSpare  = 2 * time.Second        // of it, for the way there
	settled      = 100 * time.Millisecond // in which runs may end, so that one word does for the answer and the outcome

	// Webhooks at once whose sender, or whose outcome, is waited for, and the bytes
	// that are held for each of the two.
	maxWaits     = 1000
	maxWaitBytes = 32 << 20

	strayEvery = time.Minute // how often, at most, webhooks that nobody asked for are told of
)

// relayTaker takes the messages of one relay client.
type relayTaker struct {
	*relayAnswers
	wanted rules.Relay // what the client subscribes to
	test   *selfTest   // nil: the relay is not tested

	// Owned by handle, which is called for one message at a time.
	strays int       // webhooks of other buckets
	told   time.Time // when of them last
}

// handle hands a message to the engine. An error asks for it once more.
func (t *relayTaker) handle(ctx context.Context, m relay.Message) error {
	if t.test.takes(m) || isTest(t.wanted.Secret, m) { // no event, and nothing runs
		t.to.Send(relay.Response{ID: m.ID, Outcome: relay.OutcomeSent, Deadline: asked(m).Add(answerWindow)})
		return nil
	}
	if !subscribed(t.wanted, m) {
		t.stray(m)
		return nil
	}
	if m.Lossy {
		t.log.Warn("the relay puts U+FFFD in the place of bytes that are not UTF-8, and this body holds it: what is not text is not as it was sent", "bucket", m.BucketName, "id", m.ID)
	}
	if m.Received.IsZero() {
		m.Received = time.Now().UTC()
	}
	receipt, err := t.engine.Submit(ctx, event(t.url, m))
	switch {
	case errors.Is(err, engine.ErrNotVerified):
		t.refuse(m, http.StatusUnauthorized, "not verified\n")
		return nil
	case errors.Is(err, engine.ErrNotAllowed): // nor will it be another time
		t.refuse(m, http.StatusForbidden, "not allowed\n")
		return nil
	case err != nil:
		return err
	}
	if m.ID != "" {
		t.taken <- &relayTaken{id: m.ID, received: asked(m), bytes: len(m.Body), receipt: receipt}
	}
	return nil
}

// refuse tells that a webhook was turned away.
func (t *relayTaker) refuse(m relay.Message, status int, text string) {
	t.to.Send(relay.Response{
		ID: m.ID, Status: status, Body: []byte(text), Outcome: relay.OutcomeFailed,
		Refusal: true, Deadline: asked(m).Add(answerWindow),
	})
}

// asked is when the sender's wait for an answer began: when the relay says that
// it took the webhook, but not after it was read here, as its clock may be ahead.
func asked(m relay.Message) time.Time {
	if !m.Read.IsZero() && m.Read.Before(m.Received) {
		return m.Read
	}
	return m.Received
}

// subscribed reports whether the rules asked for what is sent to the message's
// bucket. They name it, or give its id.
func subscribed(want rules.Relay, m relay.Message) bool {
	return want.All || slices.ContainsFunc(want.Buckets, func(b string) bool { return b == m.BucketName || b == m.BucketID })
}

// stray drops a message that nobody asked for: a relay does not choose what
// runs here.
func (t *relayTaker) stray(m relay.Message) {
	t.strays++
	if time.Since(t.told) < strayEvery {
		return
	}
	t.told = time.Now()
	t.log.Warn("the relay sends webhooks of a bucket that was not subscribed to; they are dropped", "bucket", m.BucketName, "bucket_id", m.BucketID, "dropped", t.strays)
}

// relayTaken is a webhook that the engine has taken.
type relayTaken struct {
	id       string
	received time.Time
	bytes    int // of its body
	receipt  engine.Receipt
}

// relayAnswers tells one relay what became of its webhooks. It never holds a
// message up, and every webhook is answered; where too many are waited for, the
// oldest get the receipt, and their outcome is left out.
type relayAnswers struct {
	answers
	url         string
	key, secret engine.Secret
	to          *relay.Answers
	log         *slog.Logger
	taken       chan *relayTaken // from handle to run; never closed
	over        chan struct{}    // closed by relayLink.take when the rules name another relay

	senders  waits // for their answer
	outcomes waits // for the end of runs
}

func newRelayAnswers(l *relayLink, want rules.Relay) *relayAnswers {
	to := relay.NewAnswers(relay.AnswerOptions{
		URL: want.URL, Key: want.Key.Reveal(), Secret: want.Secret.Reveal(),
		Client: l.client, Log: l.log, UserAgent: userAgent(), Hurry: l.hurry,
	})
	return &relayAnswers{
		answers: l.answers, url: want.URL, key: want.Key, secret: want.Secret, to: to, log: l.log,
		taken: make(chan *relayTaken), over: make(chan struct{}),
		senders:  waits{log: l.log, what: "answers", most: maxWaits},
		outcomes: waits{log: l.log, what: "outcomes", most: maxWaits},
	}
}

// isOf reports whether that is the relay, and the key to it.
func (a *relayAnswers) isOf(want rules.Relay) bool {
	return a.url == want.URL && a.key == want.Key && a.secret == want.Secret
}

// run answers webhooks until ctx ends or the relay is not asked any more. Who
// is not answered by then gets the receipt.
func (a *relayAnswers) run(ctx context.Context) {
	waiting, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	var senders, waiters sync.WaitGroup
	senders.Go(func() {
		if err := a.to.Run(sending); err != nil {
			a.log.Error("the relay is not told what becomes of webhooks", "err", err)
		}
	})
	for going := true; going; {
		select {
		case w := <-a.taken:
			waiters.Go(func() { a.tell(waiting, w) })
		case <-a.over:
			going = false
		case <-ctx.Done():
			going = false
		}
	}
	t := time.AfterFunc(settled, giveUp) // a run that has ended just now is still told
	defer t.Stop()
	waiters.Wait()
	stop()
	senders.Wait()
}

// tell answers the webhook, and says how its runs ended when they have.
func (a *relayAnswers) tell(ctx context.Context, w *relayTaken) {
	r := a.response(ctx, w)
	late := !time.Now().Before(r.Deadline) // where the relay kept the webhook: its sender has left
	if late {
		r.Deadline = time.Time{} // the outcome is still of use
	}
	if !late || r.Outcome != "" {
		a.to.Send(r)
	}
	if r.Outcome != "" {
		return
	}
	runs := w.receipt.Runs
	w.receipt = engine.Receipt{} // it holds the event, which may be large
	ctx, leave := a.outcomes.enter(ctx, len(r.Body))
	defer leave()
	r.Deadline = time.Time{}
	if r.Outcome = a.outcome(ctx, runs); r.Outcome != "" {
		a.to.Send(r)
	}
}

// response is what the relay passes on to the sender, and the outcome where that
// is soon known.
func (a *relayAnswers) response(ctx context.Context, w *relayTaken) relay.Response {
	ctx, leave := a.senders.enter(ctx, w.bytes)
	defer leave()
	window, cancel := context.WithDeadline(ctx, w.received.Add(answerWindow-answerSpare))
	defer cancel()
	r := a.answer(window, w)
	soon, cancel := context.WithTimeout(window, settled)
	defer cancel()
	r.Outcome = a.outcome(soon, w.receipt.Runs)
	return r
}

// answer is what the rules say that the sender gets. A stream does not fit into
// it: the sender gets the receipt.
func (a *relayAnswers) answer(ctx context.Context, w *relayTaken) relay.Response {
	status := http.StatusAccepted
	if w.receipt.Duplicate {
		status = http.StatusOK
	}
	r := relay.Response{
		ID: w.id, Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: receiptBody(w.receipt),
		Deadline: w.received.Add(answerWindow),
	}
	if c := a.custom(ctx, w.receipt); c != nil && c.Stream == nil {
		r.Status, r.Header, r.Body = c.Status, c.Header, c.Body
	}
	return r
}

// outcome waits for all runs of the webhook and says how they ended; "" where ctx
// ended before.
func (a *relayAnswers) outcome(ctx context.Context, runs []engine.Ref) string {
	outcome := relay.OutcomeSent
	for _, ref := range runs {
		state, err := a.engine.Await(ctx, ref.ID)
		if err != nil {
			return ""
		}
		if state == engine.Failed {
			outcome = relay.OutcomeFailed
		}
	}
	return outcome
}

// waits bounds how many wait, and what is held for them: where there is no room
// for another one, the oldest give way.
type waits struct {
	log  *slog.Logger
	what string // is waited for
	most int    // who wait at once

	mu    sync.Mutex // guards all below
	order []*waiter  // the oldest first
	bytes int
	full  bool // some gave way, and it is not half empty since
	gone  int  // gave way since it was full
}

// waiter is one that waits.
type waiter struct {
	bytes   int
	giveWay context.CancelFunc
}

// enter has somebody wait, with the context that it returns, until leave is
// called.
func (w *waits) enter(ctx context.Context, bytes int) (_ context.Context, leave func()) {
	ctx, giveWay := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.order) > 0 && (len(w.order) == w.most || w.bytes+bytes > maxWaitBytes) {
		w.order[0].giveWay()
		w.remove(0)
		w.gone++
		if !w.full {
			w.full = true
			w.log.Warn("too many webhooks of the relay are waited for, the oldest no longer are", "for", w.what)
		}
	}
	one := &waiter{bytes, giveWay}
	w.order = append(w.order, one)
	w.bytes += bytes
	return ctx, func() {
		giveWay()
		w.leave(one)
	}
}

func (w *waits) leave(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	place := slices.Index(w.order, one)
	if place < 0 {
		return // it gave way
	}
	w.remove(place)
	if w.full && len(w.order) <= w.most/2 && w.bytes <= maxWaitBytes/2 {
		w.log.Info("all webhooks of the relay are waited for again", "for", w.what, "gave_way", w.gone)
		w.full, w.gone = false, 0
	}
}

// remove takes out the one at a place; mu is held.
func (w *waits) remove(place int) {
	w.bytes -= w.order[place].bytes
	w.order = slices.Delete(w.order, place, place+1)
}
