package relaytest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

const writeTimeout = time.Minute // long: a client may push back for half of it

// Frame is what a client sent.
type Frame struct {
	wire.Request
	Raw string // the frame as it came
}

// conn is one client.
type conn struct {
	srv *Server
	ws  *websocket.Conn

	// writing, of 1, is full while somebody writes to ws. It is no mutex,
	// because a synctest bubble can't tell that those wait.
	writing chan struct{}

	authenticated bool // owned by serve

	// Guarded by srv.mu.
	buckets []string // nil until subscribed, empty for all
	spool   *spool   // of the client; nil: it knows no acks
	sent    []*entry // over this connection, in order
	pings   []int    // how many were sent before each ping that is not answered

	wake chan struct{} // of 1: there may be something in the spool to send; never closed
}

// streaming is called with srv.mu held.
func (c *conn) streaming() bool { return c.buckets != nil }

// wants reports whether c subscribed to a bucket; srv.mu is held.
func (c *conn) wants(bucket string) bool {
	if c.buckets == nil {
		return false
	}
	return len(c.buckets) == 0 || slices.Contains(c.buckets, bucket) || slices.Contains(c.buckets, BucketID(bucket))
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade answered
	}
	defer ws.Close()
	ws.SetReadLimit(wire.MaxRequest)
	c := &conn{srv: s, ws: ws, writing: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	running := false
	s.change(func() {
		if running = s.http != nil; running {
			s.conns[c] = true
			s.wg.Add(1) // the hijacked connection is no longer the HTTP server's
		}
	})
	if !running {
		return
	}
	defer s.wg.Done()
	defer s.change(func() { delete(s.conns, c) })

	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { c.pingUntil(ended) })
	wg.Go(func() { c.sendUntil(ended) })
	c.serve()
	ws.Close()
	close(ended)
	wg.Wait()
}

// serve reads frames until the connection ends.
func (c *conn) serve() {
	for {
		kind, data, err := c.ws.ReadMessage()
		var ce *websocket.CloseError
		if errors.As(err, &ce) && ce.Code != websocket.CloseAbnormalClosure {
			c.srv.change(func() { c.srv.closes = append(c.srv.closes, ce.Code) })
		}
		if err != nil || !c.take(kind, data) {
			return
		}
	}
}

// take records a frame and answers it. It reports whether the connection goes
// on.
func (c *conn) take(kind int, data []byte) bool {
	r, err := wire.DecodeRequest(data)
	if err != nil || kind != websocket.TextMessage {
		return c.violation("a frame that is not a request in text: %q", data)
	}
	f := Frame{r, string(data)}
	c.srv.change(func() { c.srv.frames = append(c.srv.frames, f) })
	switch {
	case f.Action == "auth" && !c.authenticated:
		return c.auth(f)
	case !c.authenticated:
		return c.violation("%q before auth", f.Action)
	case f.Action == "subscribe":
		return c.subscribe(f)
	case f.Action == "pong":
		return c.pong(f)
	case f.Action == "ack" && c.acking():
		return c.ack(f)
	}
	return c.violation("action %q", f.Action)
}

func (c *conn) auth(f Frame) bool {
	c.srv.mu.Lock()
	c.authenticated = f.Key == c.srv.key && f.Secret == c.srv.secret
	features := c.srv.confirmed(f)
	if c.authenticated && slices.Contains(features, wire.FeatureAck) {
		c.spool = c.srv.spoolOf(f.Client, slices.Contains(features, wire.FeatureResume))
	}
	c.srv.mu.Unlock()
	if !c.authenticated {
		c.status("unauthorized", "bad key or secret")
		return false
	}
	const hello = "connected successfully, subscribe to buckets"
	if len(features) == 0 {
		return c.status("authenticated", hello) == nil
	}
	return c.json(map[string]any{"type": "status", "status": "authenticated", "message": hello, "features": features}) == nil
}

// subscribe replaces what c is subscribed to. Nothing else is written to c
// before the answer.
func (c *conn) subscribe(f Frame) bool {
	buckets := slices.DeleteFunc(append([]string{}, f.Buckets...), func(b string) bool { return b == "" })
	c.srv.mu.Lock()
	c.buckets = nil
	c.srv.mu.Unlock()
	answer := map[string]any{"type": "status", "status": "subscribed", "message": "subscribed to buckets: " + strings.Join(buckets, ", ")}
	if len(c.srv.opts.Unknown) > 0 {
		answer["unknown"] = c.srv.opts.Unknown
	}
	if err := c.json(answer); err != nil {
		return false
	}
	c.srv.change(func() {
		c.buckets = buckets
		if c.spool != nil {
			c.spool.begin(c)
		}
	})
	return true
}

func (c *conn) violation(format string, args ...any) bool {
	c.srv.change(func() { c.srv.violations = append(c.srv.violations, fmt.Sprintf(format, args...)) })
	return false
}

func (c *conn) status(status, message string) error {
	return c.json(map[string]string{"type": "status", "status": status, "message": message})
}

func (c *conn) json(v any) error {
	return c.write(func() error { return c.ws.WriteJSON(v) })
}

func (c *conn) write(f func() error) error {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
	return f()
}

func (c *conn) pingUntil(ended <-chan struct{}) {
	every := c.srv.opts.PingEvery
	if every < 0 {
		return
	}
	if every == 0 {
		every = defaultPingEvery
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
			c.srv.mu.Lock()
			streaming := c.streaming()
			c.srv.mu.Unlock()
			if streaming {
				_ = c.ping() // serve notices a broken connection
			}
		}
	}
}
