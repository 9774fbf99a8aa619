package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

const (
	answerTimeout = 20 * time.Second // from the upgrade until subscribed
	writeTimeout  = 10 * time.Second // for one frame of ours
	blockedMax    = 30 * time.Second // without room for a message
	goodbyeWait   = time.Second      // for the relay to answer our close frame
	maxBad        = 10               // frames in a row that could not be understood
	maxOut        = 4                // frames of ours that wait to be written

	// What a relay says of when it took a webhook is believed within these.
	maxPast   = 31 * 24 * time.Hour
	maxFuture = time.Minute
)

var (
	errRefused  = errors.New("the key was refused")
	errNoAnswer = fmt.Errorf("the relay did not confirm auth and subscribe within %s", answerTimeout)
	errBlocked  = fmt.Errorf("messages could not be handed over for %s", blockedMax)
	errGarbage  = fmt.Errorf("%d frames in a row could not be understood", maxBad)

	// errUnclear ends a connection with acks: the frame may have been a webhook,
	// which is then sent again.
	errUnclear = errors.New("a frame could not be understood")
	errDamaged = errors.New("a frame was damaged on the way")
)

// What a frame can be, beside what wire finds, that is not understood.
var (
	errNotText  = errors.New("not text")
	errTooEarly = errors.New("webhook before authenticated")
	errNoID     = errors.New("webhook without an id to ack")
	errNewType  = errors.New("an unknown type")
)

// phase is how far a session got.
type phase int

const (
	authenticating phase = iota
	subscribing
	streaming
)

// session is one connection, from the upgrade to the close.
type session struct {
	c     *Client
	conn  *websocket.Conn
	pulse *pulse
	out   chan outFrame // to write; never closed
	acks  *ledger

	// Owned by read.
	phase   phase
	bad     int   // frames in a row that could not be understood
	acking  bool  // the relay confirmed acks
	resumes bool  // and that it sends again what was not acked on another connection
	taken   int64 // messages read

	answer *time.Timer             // ends the session unless it is stopped
	end    context.CancelCauseFunc // ends the session; the first reason counts
}

// outFrame is a frame of ours to be written.
type outFrame struct {
	wire.Request
	counted bool  // say what is held
	upTo    int64 // of so many messages read
}

func newSession(c *Client, conn *websocket.Conn, p *pulse) *session {
	return &session{c: c, conn: conn, pulse: p, out: make(chan outFrame, maxOut), acks: newLedger()}
}

// run serves the connection until it fails or ctx ends. It returns why, and for
// how long it was subscribed. What was read finds its way into the queue while
// handing lasts.
func (s *session) run(ctx, handing context.Context) (up time.Duration, err error) {
	live, end := context.WithCancelCause(ctx)
	defer end(nil)
	s.end, s.acks.end = end, end
	s.answer = time.AfterFunc(answerTimeout, func() { end(errNoAnswer) })
	defer s.answer.Stop()
	s.out <- outFrame{Request: s.c.opts.auth()}

	var wg sync.WaitGroup
	readEnded := make(chan struct{})
	wg.Go(func() {
		defer close(readEnded)
		end(s.read(handing, live))
	})
	wg.Go(func() { end(s.write(live)) })
	wg.Go(func() { end(watch(live, s.pulse, s.c.wall)) })

	<-live.Done()
	err = context.Cause(live)
	s.goodbye(err, readEnded)
	up = s.c.disconnected(ctx, err)
	if s.resumes && s.c.opts.Group != "" {
		s.dropEarlier(nil) // another of the group gets them now
	}
	wg.Wait() // for the reader: until its last message is in the queue
	return up, err
}

// goodbye sends a close frame, waits a moment for the relay's own, and closes
// the socket. Nobody is left to tell of an error.
func (s *session) goodbye(cause error, readEnded <-chan struct{}) {
	code, reason := websocket.CloseGoingAway, "going away"
	switch {
	case errors.Is(cause, errBlocked):
		code, reason = websocket.CloseTryAgainLater, "busy"
	case errors.Is(cause, errGarbage), errors.Is(cause, errUnclear), errors.Is(cause, errDamaged):
		code, reason = websocket.ClosePolicyViolation, "frames not understood"
	}
	s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(goodbyeWait))
	t := time.NewTimer(goodbyeWait)
	defer t.Stop()
	select {
	case <-readEnded:
	case <-t.C:
	case <-s.c.opts.Hurry:
	}
	s.conn.Close()
}

// write writes what is in out, and acks, until live ends or the connection
// fails.
func (s *session) write(live context.Context) error {
	for {
		var err error
		select {
		case <-live.Done():
			return nil
		case f := <-s.out:
			err = s.writeFrame(f)
		case <-s.acks.more:
			err = s.writeAcks()
		}
		if err != nil {
			return err
		}
	}
}

// writeAcks writes one frame of those that are ready, and no other waits for
// more to come.
func (s *session) writeAcks() error {
	ids := s.acks.next()
	if len(ids) == 0 {
		return nil
	}
	if err := s.writeFrame(outFrame{Request: wire.Request{Action: wire.ActionAck, IDs: ids}}); err != nil {
		return err
	}
	s.acks.written += int64(len(ids))
	return nil
}

// writeFrame writes f. What is held is counted here, behind the acks that were
// written: the relay reads both in this order.
func (s *session) writeFrame(f outFrame) error {
	if f.counted {
		held := int(max(0, f.upTo-s.acks.written))
		f.Held = &held
	}
	data, err := wire.EncodeRequest(f.Request)
	if err != nil {
		return err
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := s.conn.WriteMessage(websocket.TextMessage, data); err != nil {
		return fmt.Errorf("write to relay: %w", err)
	}
	return nil
}

// send has f written, unless live ends first.
func (s *session) send(live context.Context, f outFrame) {
	select {
	case s.out <- f:
	case <-live.Done():
	}
}

// read takes frames until the connection fails. After live ended it takes no
// more, and only waits for the relay's close frame.
func (s *session) read(handing, live context.Context) error {
	for {
		kind, data, err := s.conn.ReadMessage()
		if errors.Is(err, websocket.ErrReadLimit) {
			s.c.count(func(st *Status) { st.Skipped++ })
			return fmt.Errorf("the relay sent a frame of more than %d bytes: %w", wire.MaxFrame, err)
		}
		if err != nil {
			return fmt.Errorf("read from relay: %w", err)
		}
		if live.Err() != nil {
			continue
		}
		if err := s.take(handing, live, kind, data); err != nil {
			s.end(err)
		}
	}
}

// take does what a frame asks for. An error ends the session.
func (s *session) take(handing, live context.Context, kind int, data []byte) error {
	s.c.count(func(st *Status) { st.LastFrame = time.Now() })
	if kind != websocket.TextMessage {
		return s.skip(len(data), errNotText)
	}
	f, err := wire.DecodeFrame(data)
	if err == nil {
		err = s.unfit(&f)
	}
	if err != nil {
		return s.skip(len(data), err)
	}
	s.bad = 0
	switch f.Type {
	case wire.TypeWebhook:
		s.accept(handing, &f.Webhook)
		return nil
	case wire.TypeStatus:
		return s.react(live, f.Status)
	}
	s.ignore(len(data))
	return nil
}

// unfit says why a frame that could be read is still not understood.
func (s *session) unfit(f *wire.Frame) error {
	webhook := f.Type == wire.TypeWebhook
	switch {
	case webhook && s.phase == authenticating:
		return errTooEarly
	case webhook && f.Webhook.Damaged():
		return errDamaged
	case webhook && s.acking && f.Webhook.ID == "":
		return errNoID
	case s.acking && !webhook && f.Type != wire.TypeStatus:
		return errNewType
	}
	return nil
}

// skip passes over a frame that can't be understood, or ends the session where
// it is sent again then. Its content stays out of the log: it may be half a
// webhook.
func (s *session) skip(size int, reason error) error {
	s.c.count(func(st *Status) { st.Skipped++ })
	switch {
	case s.acking && errors.Is(reason, errDamaged):
		return errDamaged
	case s.acking:
		return fmt.Errorf("%w: %w", errUnclear, reason)
	}
	s.c.opts.Log.Warn("relay frame not understood, skipped", "relay", s.c.host, "bytes", size, "reason", reason)
	if s.bad++; s.bad >= maxBad {
		return errGarbage
	}
	return nil
}

// ignore passes over a frame that is meant for newer clients.
func (s *session) ignore(size int) {
	s.c.count(func(st *Status) { st.Ignored++ })
	s.c.opts.Log.Debug("relay frame of an unknown kind, ignored", "relay", s.c.host, "bytes", size)
}

// react does what a status frame asks for.
func (s *session) react(live context.Context, f wire.Status) error {
	switch {
	case f.Status == wire.StatusPing:
		s.send(live, outFrame{Request: wire.Request{Action: wire.ActionPong}, counted: s.acking, upTo: s.taken})
	case s.refused(f):
		return s.c.refusal(f.Status + ": " + f.Message)
	case f.Status == wire.StatusAuthenticated && s.phase == authenticating:
		s.phase = subscribing
		s.acking = s.c.opts.ClientID != "" && slices.Contains(f.Features, wire.FeatureAck)
		s.resumes = s.acking && slices.Contains(f.Features, wire.FeatureResume)
		s.send(live, outFrame{Request: wire.Request{Action: wire.ActionSubscribe, Buckets: s.c.opts.Buckets}})
	case f.Status == wire.StatusSubscribed && s.phase == subscribing:
		s.phase = streaming
		s.answer.Stop()
		if slices.ContainsFunc(f.Unknown, func(b string) bool { return !slices.Contains(s.c.opts.Buckets, b) }) {
			return errDamaged // what was asked for got there as something else
		}
		s.forgetEarlier()
		s.c.connected(s.acking)
		if len(f.Unknown) > 0 {
			s.c.opts.Log.Warn("the relay has no such buckets, or does not show them to this key: nothing comes of them",
				"relay", s.c.host, "buckets", f.Unknown)
		}
	case f.Status == wire.StatusGap && s.acking:
		s.noteGaps(f.Gaps)
	default:
		s.ignore(len(f.Status) + len(f.Message))
	}
	return nil
}

// forgetEarlier drops what waits of earlier connections where it comes again, so
// that a relay that is lost again and again does not fill the memory.
func (s *session) forgetEarlier() {
	if s.resumes {
		s.dropEarlier(s.acks)
	}
}

// dropEarlier drops what waits of other connections than that of l.
func (s *session) dropEarlier(l *ledger) {
	n := s.c.queue.forget(l)
	if n == 0 {
		return
	}
	s.c.count(func(st *Status) { st.Dropped += int64(n) })
	s.c.opts.Log.Debug("relay messages that wait are dropped for re-sending", "relay", s.c.host, "messages", n)
}

// noteGaps tells of webhooks that never come.
func (s *session) noteGaps(gaps []wire.Gap) {
	for _, g := range gaps {
		s.c.count(func(st *Status) {
			st.Gaps++
			st.Lost += max(0, g.Count)
		})
		known := gap(g)
		s.c.opts.Log.Warn("webhooks were lost at the relay before they could be sent", "relay", s.c.host, "bucket", g.BucketName,
			"bucket_id", g.BucketID, "count", g.Count, "from", known.From, "to", known.To, "reason", g.Reason)
		if s.c.opts.OnGap != nil {
			s.c.opts.OnGap(known)
		}
	}
}

// refused reports whether f turns our key away. Relays agree on the status
// "unauthorized"; some say it in other words, which count only while auth is
// unanswered: a bucket's name in a later message may hold the same words.
func (s *session) refused(f wire.Status) bool {
	if f.Status == wire.StatusUnauthorized || f.Status == wire.StatusForbidden {
		return true
	}
	if s.phase != authenticating || f.Status == wire.StatusAuthenticated {
		return false
	}
	said := strings.ToLower(f.Status + "\n" + f.Message)
	for _, words := range []string{"unauthorized", "invalid key", "key or secret"} {
		if strings.Contains(said, words) {
			return true
		}
	}
	return false
}

// accept puts a webhook in the queue. While there is no room it reads nothing,
// so that the relay feels it; after blockedMax the session ends, and because run
// waits for the reader, the next one begins only when it found its room.
func (s *session) accept(handing context.Context, w *wire.Webhook) {
	m := item{Message: message(w)}
	m.Read = time.Now().UTC()
	m.Received = s.received(w, m.Read)
	if s.acking {
		m.from = s.acks
		s.taken++
	}
	s.c.count(func(st *Status) {
		st.Received++
		st.LastWebhook = m.Read
	})
	if s.c.queue.offer(m) {
		return
	}
	t := time.AfterFunc(blockedMax, func() {
		s.c.opts.Log.Warn("no room for relay messages, disconnecting until there is", "relay", s.c.host)
		s.end(errBlocked)
	})
	defer t.Stop()
	// It fails only when handing ends; then Run counts m with the rest.
	_ = s.c.queue.put(handing, m)
}

// received is when the relay took w, where it says so and can be believed.
func (s *session) received(w *wire.Webhook, now time.Time) time.Time {
	if !s.acking || w.ReceivedAt == 0 {
		return now
	}
	said := time.UnixMilli(w.ReceivedAt).UTC()
	if said.Before(now.Add(-maxPast)) || said.After(now.Add(maxFuture)) {
		s.c.tellClock(said, now)
		return now
	}
	return said
}
