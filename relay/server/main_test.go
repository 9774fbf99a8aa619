package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeInbox knows every bucket but "stranger" and keeps what it gets.
type fakeInbox struct {
	deliver func(context.Context, Webhook) (Receipt, error) // nil: takes everything as "ev1"
	answer  func(context.Context, Webhook) (Answer, error)  // not nil: in place of deliver

	mu  sync.Mutex // guards got
	got []Webhook
}

func (f *fakeInbox) Known(bucket string) bool { return bucket != "stranger" }

func (f *fakeInbox) Deliver(ctx context.Context, w Webhook) (Answer, error) {
	f.mu.Lock()
	f.got = append(f.got, w)
	f.mu.Unlock()
	switch {
	case f.answer != nil:
		return f.answer(ctx, w)
	case f.deliver != nil:
		receipt, err := f.deliver(ctx, w)
		return Answer{Receipt: receipt}, err
	}
	return Answer{Receipt: Receipt{Event: "ev1"}}, nil
}

func (f *fakeInbox) webhooks() []Webhook {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

// running is a server that serves until stop is called or the test ends.
type running struct {
	*Server
	addr string
	stop func() error // ends Serve and returns what it returned
}

// tally is what a server answered, by kind.
type tally struct {
	accepted, tooLarge, unknown, refused, limited, incomplete, turnedAway, failed, notAwaited int64
}

func (r *running) tally() tally {
	c := &r.counts
	return tally{c.accepted.Load(), c.tooLarge.Load(), c.unknown.Load(), c.refused.Load(), c.limited.Load(),
		c.incomplete.Load(), c.turnedAway.Load(), c.failed.Load(), c.notAwaited.Load()}
}

func serve(t *testing.T, o Options) *running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, New(o), ln)
}

func serveOn(t *testing.T, s *Server, ln net.Listener) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &running{s, ln.Addr().String(), stop}
}

// client is one connection that a test writes on byte by byte.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (r *running) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

// write sends text, in which every line ends with LF, as a sender would: lines
// of the header end with CRLF.
func (c *client) write(text string) {
	c.t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	if _, err := io.WriteString(c, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body); err != nil {
		c.t.Fatal(err)
	}
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
	close  bool // the server ends the connection
}

func (c *client) read(method string) answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Close}
}

// send sends one request on a connection of its own and returns the answer.
func (r *running) send(t *testing.T, request string) answer {
	t.Helper()
	c := r.dial(t)
	defer c.Close()
	c.write(request)
	method, _, _ := strings.Cut(request, " ")
	return c.read(method)
}

func wantAnswer(t *testing.T, got answer, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Errorf("answer = %d %q, want %d %q", got.status, got.body, status, body)
	}
}

// pipes is a listener in memory, so that a test's clock can be a fake one.
type pipes struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// dial returns when the server accepted.
func (p *pipes) dial(t *testing.T) *client {
	t.Helper()
	here, there := net.Pipe()
	select {
	case p.conns <- there:
	case <-p.done:
		t.Fatal("dial: the listener is closed")
	}
	return newClient(t, here)
}

// logged collects what a server logs.
type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var errDisk = errors.New("disk is on fire at /srv/secret")
