package relay

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookrun/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits before it gives up: of a bubble's time, or
// of real time.
const patience = 3 * time.Minute

// rig is a client at work.
type rig struct {
	*Client
	got    chan Message // what Handle took
	logs   *logBuffer
	cancel func() // tells Run to end
	stop   func() // ends Run and waits for it
}

// start runs a client that takes every message, unless o says otherwise. change
// may replace parts of the client before it runs.
func start(t *testing.T, o Options, change func(*Client)) *rig {
	t.Helper()
	r := &rig{got: make(chan Message, 4096), logs: &logBuffer{}}
	if o.Key == "" {
		o.Key, o.Secret = "key", "secret"
	}
	if o.Handle == nil {
		o.Handle = func(_ context.Context, m Message) error {
			r.got <- m
			return nil
		}
	}
	o.Log = slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.Client = NewClient(o)
	if change != nil {
		change(r.Client)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// next waits for the next message that Handle took.
func (r *rig) next(t *testing.T) Message {
	t.Helper()
	select {
	case m := <-r.got:
		return m
	case <-time.After(patience):
		t.Fatalf("no message came; log:\n%s", r.logs)
		return Message{}
	}
}

// bubble runs a relay and a client inside a synctest bubble, over pipes.
func bubble(t *testing.T, so relaytest.Options, o Options, change func(*Client)) (*relaytest.Server, *rig) {
	t.Helper()
	ln := newPipeListener()
	so.Listener = ln
	srv := relaytest.New(t, so)
	o.URL = srv.URL
	r := start(t, o, func(c *Client) {
		c.dialNet = ln.dial
		if change != nil {
			change(c)
		}
	})
	return srv, r
}

func send(t *testing.T, srv *relaytest.Server, body string) {
	t.Helper()
	if _, err := srv.Send("deploys", relaytest.Webhook{Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
}

func subscribed(t *testing.T, srv *relaytest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := srv.WaitSubscribed(ctx, 1); err != nil {
		t.Fatal(err)
	}
}

// pipeListener connects a client and a server without a socket, which is what
// a synctest bubble can wait for.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.close()
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// count is the number of lines with that message.
func (b *logBuffer) count(msg string) int { return strings.Count(b.String(), `msg="`+msg) }
