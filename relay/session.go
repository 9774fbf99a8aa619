package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	answerTimeout = 20 * time.Second // from the upgrade until subscribed
	writeTimeout  = 10 * time.Second // for one frame of ours
	blockedMax    = 30 * time.Second // without room for a message
	goodbyeWait   = time.Second      // for the relay to answer our close frame
	maxBad        = 10               // frames in a row that could not be understood
	maxOut        = 4                // frames of ours that wait to be written
)

var (
	errRefused  = errors.New("the key was refused")
	errNoAnswer = fmt.Errorf("the relay did not confirm auth and subscribe within %s", answerTimeout)
	errBlocked  = fmt.Errorf("messages could not be handed over for %s", blockedMax)
	errGarbage  = fmt.Errorf("%d frames in a row could not be understood", maxBad)
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
	out   chan request // to write; never closed

	// Owned by read.
	phase phase
	bad   int // frames in a row that could not be understood

	answer *time.Timer             // ends the session unless it is stopped
	end    context.CancelCauseFunc // ends the session; the first reason counts
}

func newSession(c *Client, conn *websocket.Conn, p *pulse) *session {
	return &session{c: c, conn: conn, pulse: p, out: make(chan request, maxOut)}
}

// run serves the connection until it fails or ctx ends. It returns why, and for
// how long it was subscribed. What was read finds its way into the queue while
// handing lasts.
func (s *session) run(ctx, handing context.Context) (up time.Duration, err error) {
	live, end := context.WithCancelCause(ctx)
	defer end(nil)
	s.end = end
	s.answer = time.AfterFunc(answerTimeout, func() { end(errNoAnswer) })
	defer s.answer.Stop()
	s.out <- request{Action: "auth", Key: s.c.opts.Key, Secret: s.c.opts.Secret}

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
	case errors.Is(cause, errGarbage):
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

// write writes what is in out until live ends or the connection fails.
func (s *session) write(live context.Context) error {
	for {
		select {
		case <-live.Done():
			return nil
		case r := <-s.out:
			data, err := encode(r)
			if err != nil {
				return err
			}
			s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err := s.conn.WriteMessage(websocket.TextMessage, data); err != nil {
				return fmt.Errorf("write to relay: %w", err)
			}
		}
	}
}

// send has r written, unless live ends first.
func (s *session) send(live context.Context, r request) {
	select {
	case s.out <- r:
	case <-live.Done():
	}
}

// read takes frames until the connection fails. After live ended it takes no
// more, and only waits for the relay's close frame.
func (s *session) read(handing, live context.Context) error {
	for {
		kind, data, err := s.conn.ReadMessage()
		if errors.Is(err, websocket.ErrReadLimit) {
			s.c.count(func(st *status) { st.skipped++ })
			return fmt.Errorf("the relay sent a frame of more than %d bytes: %w", maxFrame, err)
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
	if kind != websocket.TextMessage {
		return s.skip(len(data), errNotText)
	}
	f, err := decode(data)
	if err == nil && f.Type == typeWebhook && s.phase == authenticating {
		err = errTooEarly
	}
	if err != nil {
		return s.skip(len(data), err)
	}
	s.bad = 0
	switch f.Type {
	case typeWebhook:
		s.accept(handing, f.Webhook)
		return nil
	case typeStatus:
		return s.react(live, f)
	}
	s.ignore(len(data))
	return nil
}

// skip passes over a frame that can't be understood. Its content stays out of
// the log: it may be half a webhook.
func (s *session) skip(size int, reason error) error {
	s.c.count(func(st *status) { st.skipped++ })
	s.c.opts.Log.Warn("relay frame not understood, skipped", "relay", s.c.host, "bytes", size, "reason", reason)
	if s.bad++; s.bad >= maxBad {
		return errGarbage
	}
	return nil
}

// ignore passes over a frame that is meant for newer clients.
func (s *session) ignore(size int) {
	s.c.count(func(st *status) { st.ignored++ })
	s.c.opts.Log.Debug("relay frame of an unknown kind, ignored", "relay", s.c.host, "bytes", size)
}

// react does what a status frame asks for.
func (s *session) react(live context.Context, f frame) error {
	switch {
	case f.Status == statusPing:
		s.send(live, request{Action: "pong"})
	case s.refused(f):
		return s.c.refusal(f.Status + ": " + f.Message)
	case f.Status == statusAuthenticated && s.phase == authenticating:
		s.phase = subscribing
		s.send(live, request{Action: "subscribe", Buckets: s.c.opts.Buckets})
	case f.Status == statusSubscribed && s.phase == subscribing:
		s.phase = streaming
		s.answer.Stop()
		s.c.connected()
	default:
		s.ignore(len(f.Status) + len(f.Message))
	}
	return nil
}

// refused reports whether f turns our key away. Relays agree on the status
// "unauthorized"; some say it in other words, which count only while auth is
// unanswered: a bucket's name in a later message may hold the same words.
func (s *session) refused(f frame) bool {
	if f.Status == statusUnauthorized || f.Status == statusForbidden {
		return true
	}
	if s.phase != authenticating || f.Status == statusAuthenticated {
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

// accept puts m in the queue. While there is no room it reads nothing, so that
// the relay feels it; after blockedMax the session ends, and because run waits
// for the reader, the next one begins only when m found its room.
func (s *session) accept(handing context.Context, m Message) {
	m.Received = time.Now().UTC()
	s.c.count(func(st *status) { st.received++ })
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
