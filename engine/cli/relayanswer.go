package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/relay"
	"hookrun/relay/server"
)

// How a relay is told what became of a webhook.
const (
	answerWindow = 10 * time.Second       // in which a relay still passes an answer on to the sender
	answerSpare  = 2 * time.Second        // of it, for the way there
	settled      = 100 * time.Millisecond // in which the last of several runs may end, so that one word does for the answer and the outcome
	maxOutcomes  = 1000                   // webhooks at once whose runs are waited for
)

// relayAnswers takes the messages of one relay and tells it what became of them.
// It never holds a message up: what can't be told is left out.
type relayAnswers struct {
	answers
	url   string
	to    *relay.Answers
	log   *slog.Logger
	slots chan struct{} // holds one value for each webhook that is waited for

	waiting sync.WaitGroup // those who wait; they end with the context of their message
}

// handle hands a message to the engine. An error asks for it once more.
func (a *relayAnswers) handle(ctx context.Context, m relay.Message) error {
	received := time.Now()
	if m.Lossy {
		a.log.Warn("the relay puts U+FFFD in the place of bytes that are not UTF-8, and this body holds it: what is not text is not as it was sent", "bucket", m.BucketName, "id", m.ID)
	}
	receipt, err := a.engine.Submit(ctx, event(a.url, m))
	switch {
	case errors.Is(err, engine.ErrNotVerified):
		a.to.Send(relay.Response{
			ID: m.ID, Status: http.StatusUnauthorized, Body: []byte("not verified\n"), Outcome: relay.OutcomeFailed, Deadline: received.Add(answerWindow),
		})
		return nil
	case err != nil:
		return err
	}
	if m.ID == "" {
		return nil
	}
	select {
	case a.slots <- struct{}{}:
	default:
		a.log.Warn("the relay is not told what becomes of a webhook: too many are waited for", "event", receipt.Event)
		return nil
	}
	a.waiting.Go(func() {
		defer func() { <-a.slots }()
		a.tell(ctx, m.ID, received, receipt)
	})
	return nil
}

// tell answers the webhook, and says how its runs ended when they have.
func (a *relayAnswers) tell(ctx context.Context, id string, received time.Time, receipt engine.Receipt) {
	window, cancel := context.WithDeadline(ctx, received.Add(answerWindow-answerSpare))
	defer cancel()
	r := a.response(window, id, receipt)
	r.Deadline = received.Add(answerWindow)
	patience := window // nobody is in a hurry: one word for both, if there is time
	if receipt.HasAnswer() {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(window, settled)
		defer cancel()
	}
	r.Outcome = a.outcome(patience, receipt)
	if ctx.Err() != nil {
		return
	}
	a.to.Send(r)
	if r.Outcome != "" {
		return
	}
	r.Deadline = time.Time{}
	if r.Outcome = a.outcome(ctx, receipt); r.Outcome != "" {
		a.to.Send(r)
	}
}

// response is what the relay passes on to the sender. A stream does not fit into
// it: the sender gets the receipt.
func (a *relayAnswers) response(ctx context.Context, id string, receipt engine.Receipt) relay.Response {
	status := http.StatusAccepted
	if receipt.Duplicate {
		status = http.StatusOK
	}
	r := relay.Response{ID: id, Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: receiptBody(receipt)}
	var c *server.Custom
	if c = a.custom(ctx, receipt); c == nil || c.Stream != nil {
		return r
	}
	r.Status, r.Header, r.Body = c.Status, c.Header, c.Body
	return r
}

// outcome waits for all runs of the webhook and says how they ended; "" where ctx
// ended before.
func (a *relayAnswers) outcome(ctx context.Context, receipt engine.Receipt) string {
	outcome := relay.OutcomeSent
	for _, ref := range receipt.Runs {
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
