// Package relaytest is a webhook relay for tests: a WebSocket server that
// speaks a relay's protocol, strictly, and records what clients say.
//
//	srv := relaytest.New(t, relaytest.Options{Key: "k", Secret: "s"})
//	… start a client with srv.URL …
//	err := srv.WaitSubscribed(ctx, 1)
//	id, err := srv.Send("deploys", relaytest.Webhook{Body: []byte("{}")})
//
// It keeps to the order that the strictest of known clients wants: the frame
// after auth is its answer, the frame after subscribe is its answer, and pings
// and webhooks go to subscribers alone. What a client does against the protocol
// is recorded as a violation and ends its connection; New reports violations as
// test errors.
//
// With Features it keeps webhooks for clients that ack, as hookrun's own relay
// does: it sends again what was not acked, and no more than a window at once.
//
// It also takes the answers to webhooks, PUT /v1/logs/{id}, lists buckets, GET
// /v1/buckets, and takes webhooks, POST /v1/webhooks/{id of the input}.
package relaytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

const defaultPingEvery = 20 * time.Second

// Options says how a server behaves.
type Options struct {
	Key, Secret string // what clients must say; "": "key" and "secret"

	// Listener takes the connections; nil listens on a free port of 127.0.0.1.
	// A server with its own Listener can't be restarted.
	Listener net.Listener

	PingEvery time.Duration // between status pings; 0: 20 s; negative: none

	// Window is how long after a webhook was sent answers to it are taken; after it
	// they get 400, and answers to unknown webhooks 404, as the hosted service's
	// do after 10 s. 0: all answers are taken.
	Window time.Duration

	// Features are confirmed to clients that ask for them. "ack" needs "resume"
	// to have effect beyond a connection.
	Features []string

	// Unknown is what each subscription is told that it asked for in vain.
	Unknown []string

	// Unacked is how many webhooks a client that acks is sent at most before it
	// acks some; 0: 64.
	Unacked int

	// Plain leaves out what hookrun adds to the hosted service's frames:
	// bucket_id, meta.path and body_base64.
	Plain bool
}

// Server is a relay. Its methods may be called at any time, from any goroutine.
type Server struct {
	URL     string // of the socket: ws://127.0.0.1:port/v1/socket
	HTTPURL string // where /v1/logs/{id} is: http://127.0.0.1:port

	opts Options
	mux  *http.ServeMux
	wg   sync.WaitGroup // connections and the accept loop

	mu         sync.Mutex // guards all below
	key        string
	secret     string
	http       *http.Server // nil while stopped
	conns      map[*conn]bool
	frames     []Frame
	logs       []Log
	refusals   []int                // statuses of the next answers to webhooks, which are not taken
	sentAt     map[string]time.Time // when webhooks were sent, by id
	closes     []int
	violations []string
	spools     map[string]*spool // by client, of those that resume
	acked      []string          // ids, in the order in which acks came
	cuts       int               // connections that were ended because a frame got lost
	spoils     []spoil           // of the next webhooks to clients that ack
	deaf       int               // status with which webhooks are refused; 0: they are taken
	swallow    bool              // webhooks that are taken are sent to nobody
	changed    chan struct{}     // closed and replaced when anything above changes
}

// New starts a server that ends with the test, and fails the test if a client
// broke the protocol.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("relaytest: a client broke the protocol: %s", v)
		}
	})
	return s
}

// Start starts a server; Close ends it.
func Start(o Options) (*Server, error) {
	s := &Server{
		opts:    o,
		mux:     http.NewServeMux(),
		key:     cmp.Or(o.Key, "key"),
		secret:  cmp.Or(o.Secret, "secret"),
		conns:   map[*conn]bool{},
		sentAt:  map[string]time.Time{},
		spools:  map[string]*spool{},
		changed: make(chan struct{}),
	}
	s.mux.HandleFunc("GET /v1/socket", s.serveSocket)
	s.mux.HandleFunc("PUT /v1/logs/{id}", s.serveLog)
	s.mux.HandleFunc("GET /v1/buckets", s.serveBuckets)
	s.mux.HandleFunc("/v1/webhooks/{id}", s.serveWebhook)
	ln := o.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("relaytest: %w", err)
		}
	}
	s.URL = "ws://" + ln.Addr().String() + "/v1/socket"
	s.HTTPURL = "http://" + ln.Addr().String()
	s.serve(ln)
	return s, nil
}

// ServeHTTP serves the socket and the logs, so that a server can stand behind
// others, such as one with TLS.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) serve(ln net.Listener) {
	srv := &http.Server{Handler: s}
	s.change(func() { s.http = srv })
	s.wg.Go(func() { srv.Serve(ln) })
}

// Stop ends all connections and listens no more, as a relay that is down.
func (s *Server) Stop() {
	var srv *http.Server
	s.change(func() { srv, s.http = s.http, nil })
	if srv != nil {
		srv.Close()
	}
	s.CutConnections()
	s.wg.Wait()
}

// Restart stops the server and listens again at the same address. Records stay.
func (s *Server) Restart() error {
	if s.opts.Listener != nil {
		return errors.New("relaytest: a server with its own listener can't be restarted")
	}
	s.Stop()
	ln, err := net.Listen("tcp", s.HTTPURL[len("http://"):])
	if err != nil {
		return fmt.Errorf("relaytest: restart: %w", err)
	}
	s.serve(ln)
	return nil
}

// Close ends the server. It returns when no goroutine of it is left.
func (s *Server) Close() { s.Stop() }

// SetKey changes what clients must say from the next connection on.
func (s *Server) SetKey(key, secret string) {
	s.change(func() { s.key, s.secret = key, secret })
}

// RefuseLogs has the next answers to webhooks refused, each with the next of
// these statuses.
func (s *Server) RefuseLogs(statuses ...int) {
	s.change(func() { s.refusals = append(s.refusals, statuses...) })
}

// CutConnections ends all connections without a word.
func (s *Server) CutConnections() {
	for _, c := range s.connections(nil) {
		c.ws.Close()
	}
}

// CutMidFrame begins to send a frame to each connection and ends it there.
func (s *Server) CutMidFrame() {
	s.WriteBytes([]byte("\x81\x64" + `{"type":"webhook","meta":`)) // text, 100 bytes
	s.CutConnections()
}

// WriteBytes writes to all connections what need not be a frame.
func (s *Server) WriteBytes(b []byte) {
	for _, c := range s.connections(nil) {
		_ = c.write(func() error { // the client may be gone
			_, err := c.ws.NetConn().Write(b)
			return err
		})
	}
}

// Subscribed is the number of connections that are subscribed.
func (s *Server) Subscribed() int { return len(s.connections((*conn).streaming)) }

// WaitSubscribed waits until n connections or more are subscribed.
func (s *Server) WaitSubscribed(ctx context.Context, n int) error {
	return s.wait(ctx, "subscribers", func() bool {
		subscribed := 0
		for c := range s.conns {
			if c.buckets != nil {
				subscribed++
			}
		}
		return subscribed >= n
	})
}

// WaitFrames waits until clients sent n frames or more with this action.
func (s *Server) WaitFrames(ctx context.Context, action string, n int) error {
	return s.wait(ctx, action+" frames", func() bool {
		seen := 0
		for _, f := range s.frames {
			if f.Action == action {
				seen++
			}
		}
		return seen >= n
	})
}

// WaitCloses waits until clients sent n close frames or more.
func (s *Server) WaitCloses(ctx context.Context, n int) error {
	return s.wait(ctx, "close frames", func() bool { return len(s.closes) >= n })
}

// WaitAnswers waits until n answers to webhooks came, or more.
func (s *Server) WaitAnswers(ctx context.Context, n int) error {
	return s.wait(ctx, "answers", func() bool { return len(s.logs) >= n })
}

// WaitLog waits for the answer to a webhook.
func (s *Server) WaitLog(ctx context.Context, id string) (Log, error) {
	return s.waitLog(ctx, "log "+id, func(l Log) bool { return l.ID == id })
}

// WaitOutcome waits until a webhook is said to be sent or failed, and returns the
// answer that says so.
func (s *Server) WaitOutcome(ctx context.Context, id string) (Log, error) {
	return s.waitLog(ctx, "outcome of "+id, func(l Log) bool { return l.ID == id && l.Status != "" })
}

func (s *Server) waitLog(ctx context.Context, what string, is func(Log) bool) (Log, error) {
	var found Log
	err := s.wait(ctx, what, func() bool {
		i := slices.IndexFunc(s.logs, is)
		if i >= 0 {
			found = s.logs[i]
		}
		return i >= 0
	})
	return found, err
}

// Frames are the frames that clients sent, in the order in which they came.
func (s *Server) Frames() []Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

// Logs are the answers to webhooks, in the order in which they came.
func (s *Server) Logs() []Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logs)
}

// Closes are the codes of the close frames that clients sent; 1005 where one
// had no code.
func (s *Server) Closes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.closes)
}

// Violations are the breaks of the protocol, as sentences.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// connections are those that take, or all of them where take is nil.
func (s *Server) connections(take func(*conn) bool) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cs []*conn
	for c := range s.conns {
		if take == nil || take(c) {
			cs = append(cs, c)
		}
	}
	return cs
}

// change changes what mu guards, and wakes those who wait for it.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits until ok, which is called with mu held.
func (s *Server) wait(ctx context.Context, what string, ok func() bool) error {
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("relaytest: wait for %s: %w", what, ctx.Err())
		}
	}
}
