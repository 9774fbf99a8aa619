package relaytest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

const defaultUnacked = 64

// spoil is a way in which a frame does not get there as it was sent.
type spoil int

const (
	whole   spoil = iota
	damaged       // it has the sum of another
	lost          // it is counted as sent, and is not
)

// spool is what one client has not acked. Server.mu guards it.
type spool struct {
	buckets []string // that the client subscribed to last; nil: none yet, empty: all
	entries []*entry // the oldest first
	conn    *conn    // that they are sent over; nil: the client is away
}

// entry is a webhook that waits to be acked.
type entry struct {
	webhook *wire.Webhook
	sent    *conn // the last one that it was sent over; nil: none
	acked   bool
}

// confirmed are the features that f asks for and the server has; mu is held.
func (s *Server) confirmed(f Frame) []string {
	return slices.DeleteFunc(slices.Clone(s.opts.Features), func(name string) bool { return !slices.Contains(f.Features, name) })
}

// spoolOf is the spool of a client; mu is held.
func (s *Server) spoolOf(client string, resume bool) *spool {
	if !resume {
		return &spool{}
	}
	if s.spools[client] == nil {
		s.spools[client] = &spool{}
	}
	return s.spools[client]
}

// begin has c be sent what is in the spool, from the first on; srv.mu is held.
func (p *spool) begin(c *conn) {
	p.conn, p.buckets = c, c.buckets
	wake(c)
}

func (p *spool) wants(bucket string) bool {
	return p.buckets != nil && (len(p.buckets) == 0 || slices.Contains(p.buckets, bucket) || slices.Contains(p.buckets, BucketID(bucket)))
}

func wake(c *conn) {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// keep puts a webhook into the spools of those who subscribed to the bucket, be
// they there or away, and reports whether there are any.
func (s *Server) keep(bucket string, w Webhook) (kept bool, err error) {
	on := s.wired(bucket, w)
	if _, err := wire.EncodeWebhook(on); err != nil {
		return false, fmt.Errorf("relaytest: encode webhook: %w", err)
	}
	s.change(func() {
		for p := range s.allSpools() {
			if p.wants(bucket) {
				kept = true
				p.entries = append(p.entries, &entry{webhook: on})
				if p.conn != nil {
					wake(p.conn)
				}
			}
		}
	})
	return kept, nil
}

// allSpools are those of all clients that are there, or come again; mu is held.
func (s *Server) allSpools() map[*spool]bool {
	all := map[*spool]bool{}
	for _, p := range s.spools {
		all[p] = true
	}
	for c := range s.conns {
		if c.spool != nil && c.streaming() {
			all[c.spool] = true
		}
	}
	return all
}

func (s *Server) wired(bucket string, w Webhook) *wire.Webhook {
	at := w.Received
	if at.IsZero() {
		at = time.Now()
	}
	path := cmp.Or(w.Path, "/")
	return &wire.Webhook{
		ID: w.ID, BucketID: BucketID(bucket), BucketName: bucket, InputID: inputID(bucket), InputName: inputName,
		OutputName: w.OutputName, OutputDestination: cmp.Or(w.OutputDestination, path), Path: path, ReceivedAt: at.UnixMilli(),
		Method: cmp.Or(w.Method, http.MethodPost), Query: w.Query, Header: w.Header, Body: w.Body,
	}
}

// sendUntil sends what the spool has until ended.
func (c *conn) sendUntil(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-c.wake:
		}
		for c.sendNext() {
		}
	}
}

// sendNext sends the next of the spool, and reports whether there may be more.
func (c *conn) sendNext() bool {
	more := false
	_ = c.write(func() error { // serve notices a broken connection
		e, how := c.next()
		if e == nil {
			return nil
		}
		more = true
		if how == lost {
			return nil
		}
		w := *e.webhook
		if how == damaged {
			w.Sum = "00000000"
		}
		data, err := wire.EncodeWebhook(&w)
		if err != nil {
			return err // keep tried it
		}
		return c.ws.WriteMessage(websocket.TextMessage, data)
	})
	return more
}

// next notes the next entry as sent, where the window has room for it.
func (c *conn) next() (e *entry, how spoil) {
	c.srv.change(func() {
		if c.spool == nil || c.spool.conn != c || c.outstanding(len(c.sent)) >= cmp.Or(c.srv.opts.Unacked, defaultUnacked) {
			return
		}
		i := slices.IndexFunc(c.spool.entries, func(e *entry) bool { return e.sent != c })
		if i < 0 {
			return
		}
		e = c.spool.entries[i]
		e.sent = c
		c.sent = append(c.sent, e)
		if len(c.srv.spoils) > 0 {
			how = c.srv.spoils[0]
			c.srv.spoils = c.srv.spoils[1:]
		}
	})
	return e, how
}

// outstanding is how many of the first n that were sent are not acked; srv.mu is
// held.
func (c *conn) outstanding(n int) int {
	waiting := 0
	for _, e := range c.sent[:n] {
		if !e.acked {
			waiting++
		}
	}
	return waiting
}

func (c *conn) acking() bool {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	return c.spool != nil
}

// ack takes out of the spool what the client says is safe. It may be of this
// connection alone.
func (c *conn) ack(f Frame) bool {
	wrong := ""
	c.srv.change(func() {
		for _, id := range f.IDs {
			i := slices.IndexFunc(c.spool.entries, func(e *entry) bool { return e.webhook.ID == id && e.sent == c })
			if i < 0 {
				wrong = id
				continue
			}
			c.spool.entries[i].acked = true
			c.spool.entries = slices.Delete(c.spool.entries, i, i+1)
			c.srv.acked = append(c.srv.acked, id)
		}
		wake(c)
	})
	if wrong != "" || len(f.IDs) == 0 {
		return c.violation("ack of %q, which is not to be acked on this connection", wrong)
	}
	return true
}

// ping notes what was sent before it.
func (c *conn) ping() error {
	return c.write(func() error {
		c.srv.change(func() {
			if c.spool != nil {
				c.pings = append(c.pings, len(c.sent))
			}
		})
		return c.ws.WriteJSON(map[string]string{"type": "status", "status": "ping", "message": ""})
	})
}

// pong ends a connection on which a frame got lost: more was sent before the
// ping than the client has.
func (c *conn) pong(f Frame) bool {
	c.srv.mu.Lock()
	asks, before := c.spool != nil, -1
	if asks && len(c.pings) > 0 {
		before = c.outstanding(c.pings[0])
		c.pings = c.pings[1:]
	}
	c.srv.mu.Unlock()
	switch {
	case !asks && f.Held == nil:
		return true
	case !asks || f.Held == nil || before < 0:
		return c.violation("a pong of another kind than was asked for: %s", f.Raw)
	case *f.Held > before:
		return c.violation("a pong that says %d are held, where %d were sent", *f.Held, before)
	case *f.Held < before:
		c.srv.change(func() { c.srv.cuts++ })
		return false
	}
	return true
}

// Damage has the next webhook to a client that acks get there damaged.
func (s *Server) Damage() { s.change(func() { s.spoils = append(s.spoils, damaged) }) }

// Lose has the next webhook to a client that acks get lost on the way.
func (s *Server) Lose() { s.change(func() { s.spoils = append(s.spoils, lost) }) }

// WaitAcks waits until clients acked n webhooks or more.
func (s *Server) WaitAcks(ctx context.Context, n int) error {
	return s.wait(ctx, "acks", func() bool { return len(s.acked) >= n })
}

// Acked are the ids of the webhooks that were acked, in the order in which acks
// came.
func (s *Server) Acked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acked)
}

// Cuts is the number of connections that were ended because a frame got lost.
func (s *Server) Cuts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts
}

// SendGaps tells all subscribers that ack of webhooks that never come.
func (s *Server) SendGaps(gaps ...wire.Gap) error {
	cs := s.connections(func(c *conn) bool { return c.streaming() && c.spool != nil })
	data := wire.EncodeStatus(wire.Status{Status: wire.StatusGap, Message: "webhooks were lost", Gaps: gaps})
	if err := broadcast(cs, websocket.TextMessage, data); err != nil {
		return fmt.Errorf("relaytest: send gaps: %w", err)
	}
	return nil
}
