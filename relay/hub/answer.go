package hub

import (
	"context"
	"net/http"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/server"
)

// waiter is a sender that waits for what an output answers.
type waiter struct {
	h     *Hub
	ds    []*delivery // that may answer
	input string
	until time.Time
	timer *time.Timer         // takes it out
	said  chan *server.Custom // of 1; written once, by whoever takes the waiter out of Hub.waiting
}

// awaits returns the waiter for an input whose senders get the answer of an
// output; nil for others, and where too many wait. It is in place before the
// delivery can be answered.
func (h *Hub) awaits(in *account.Input, ds []*delivery) *waiter {
	if in.ResponseFromOutput == "" {
		return nil
	}
	w := &waiter{h: h, until: time.Now().Add(answerWindow), said: make(chan *server.Custom, 1)}
	for _, d := range ds {
		if !d.log.Internal && d.log.Next.IsZero() {
			continue // goes to nobody
		}
		if in.ResponseFromOutput == account.AnyOutput || in.ResponseFromOutput == d.log.OutputID {
			w.ds = append(w.ds, d)
		}
	}
	if len(w.ds) == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.awaitedBy[in.ID] >= maxInputWaiting || !h.waiters.take(w.bytes()) {
		return nil
	}
	w.input = in.ID
	h.awaitedBy[in.ID]++
	for _, d := range w.ds {
		h.waiting[d.log.ID] = w
	}
	// A sender for whom there is no place to wait never asks.
	w.timer = time.AfterFunc(answerWindow, func() { h.giveUp(w) })
	return w
}

// bytes is what a waiter holds in memory.
func (w *waiter) bytes() int {
	n := 0
	for _, d := range w.ds {
		n += d.bytes
	}
	return n
}

// giveUp takes a waiter out. It reports whether it was still in.
func (h *Hub) giveUp(w *waiter) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.take(w)
}

// take is giveUp with mu held.
func (h *Hub) take(w *waiter) bool {
	was := false
	for _, d := range w.ds {
		if h.waiting[d.log.ID] == w {
			delete(h.waiting, d.log.ID)
			was = true
		}
	}
	if was {
		w.timer.Stop()
		h.waiters.give(w.bytes())
		if h.awaitedBy[w.input]--; h.awaitedBy[w.input] == 0 {
			delete(h.awaitedBy, w.input)
		}
	}
	return was
}

// answer is server.Answer.Later: it waits for an output's answer. nil is the
// input's own.
func (w *waiter) answer(ctx context.Context) *server.Custom {
	t := time.NewTimer(time.Until(w.until))
	defer t.Stop()
	select {
	case c := <-w.said:
		return c
	case <-t.C:
	case <-ctx.Done():
	}
	if !w.h.giveUp(w) {
		select {
		case c := <-w.said: // came at the last moment
			return c
		default:
		}
	}
	w.stalled(context.WithoutCancel(ctx))
	return nil
}

// stalled notes that nobody answered.
func (w *waiter) stalled(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, d := range w.ds {
		if !d.log.Internal {
			continue // is still being sent
		}
		err := w.h.o.Store.Update(ctx, d.log.ID, account.Update{Status: account.StatusStalled})
		if err != nil {
			w.h.log.Warn("that nobody answered a webhook is not noted", "delivery", d.log.ID, "err", err)
		}
	}
}

// Answer notes what became of a delivery, and passes it on to a sender that
// waits for it. An error wraps account.ErrNotFound, or account.ErrLate where the
// delivery was received, and handed to a client, more than 10 s ago.
func (h *Hub) Answer(ctx context.Context, l *account.Log, u account.Update) error {
	if !h.answered(l.ID, u) && !h.isOpen(l) {
		return account.ErrLate
	}
	return h.o.Store.Update(ctx, l.ID, u)
}

// answered passes an answer on to who waits for it. It reports whether somebody
// did.
func (h *Hub) answered(id string, u account.Update) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waiting[id]
	if w == nil {
		return false
	}
	h.take(w)
	w.said <- answerOf(u)
	return true
}

// answerOf is an output's answer as the sender gets it.
func answerOf(u account.Update) *server.Custom {
	c := &server.Custom{Status: u.StatusCode, Header: sandboxed(u.AnswerHead), Body: u.Answer}
	if c.Status < 200 || c.Status > 599 {
		c.Status = http.StatusOK
		if u.Status == account.StatusFailed {
			c.Status = http.StatusBadGateway
		}
	}
	return c
}

// isOpen reports whether a delivery may still be answered.
func (h *Hub) isOpen(l *account.Log) bool {
	if time.Since(l.Received) <= answerWindow {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.reopened[l.ID])
}

// Forwarded is told of each try of a delivery that the relay itself sent.
func (h *Hub) Forwarded(l *account.Log, u account.Update) {
	if u.Status == account.StatusPreparing {
		return // will be tried again
	}
	if u.StatusCode == 0 {
		u.Answer = nil // says why there is none, to whoever runs the relay
	}
	h.answered(l.ID, u)
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.Status == account.StatusSent {
		h.count(l.BucketID).Delivered++
	}
}
