package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"hookrun/relay/account"
	"hookrun/relay/server"
	"hookrun/relay/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bucketID = "593fe5f4-45f9-45cc-ba23-675fdc7c1638"
	inputID  = "b90f2fe9-621d-4290-9e74-edd5b61325dd"
	secret   = "sk-0123456789"
)

// relay is a hub behind HTTP, with a bucket "deploys" and a token "key".
type relay struct {
	t     testing.TB
	hub   *Hub
	store *memStore
	book  *account.Book
	url   string // http://…
	dials func(ctx context.Context, network, address string) (net.Conn, error)
	http  *http.Client
	stop  func() // as a clean stop does
	kill  func() // as a crash does: what is not in the store is gone
}

// setup is what a test wants of a relay. Only store is required.
type setup struct {
	store   *memStore
	change  func(*account.Account)
	options func(*Options)
	pipe    bool // connections in memory, for tests about time
}

func startRelay(t testing.TB, store *memStore, change ...func(*account.Account)) *relay {
	t.Helper()
	return setup{store: store, change: func(a *account.Account) {
		for _, fn := range change {
			fn(a)
		}
	}}.start(t)
}

func (s setup) start(t testing.TB) *relay {
	t.Helper()
	ctx := t.Context()
	book, err := account.Open(ctx, s.store)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, store: s.store, book: book}
	r.edit(func(a *account.Account) {
		if a.Bucket("deploys") == nil {
			a.Buckets = append(a.Buckets, account.Bucket{
				ID: bucketID, Name: "deploys", Stream: true,
				Inputs: []account.Input{{ID: inputID, Name: account.DefaultInput, BucketID: bucketID}},
			})
			a.Tokens = append(a.Tokens, account.Token{ID: "key", Active: true, SecretHash: account.HashSecret(secret)})
		}
		if s.change != nil {
			s.change(a)
		}
	})
	var srv *server.Server
	o := Options{
		Store: s.store, Book: book, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		Address: func(q *http.Request) netip.Addr { return srv.Address(q) },
	}
	if s.options != nil {
		s.options(&o)
	}
	if r.hub, err = New(ctx, o); err != nil {
		t.Fatal(err)
	}
	srv = server.New(server.Options{Inbox: r.hub, Route: func(q *http.Request) server.Target {
		if q.URL.Path == "/v1/socket" {
			return server.Target{Handler: http.HandlerFunc(r.hub.ServeSocket)}
		}
		target, _ := r.hub.Route(q)
		return target
	}})
	r.listen(srv.Handler(), s.pipe)
	return r
}

// listen serves until stop.
func (r *relay) listen(handler http.Handler, pipe bool) {
	ln := net.Listener(newPipes())
	if !pipe {
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			r.t.Fatal(err)
		}
	}
	r.url = "http://" + ln.Addr().String()
	r.dials = (&net.Dialer{}).DialContext
	if p, ok := ln.(*pipes); ok {
		r.dials = p.dial
	}
	transport := &http.Transport{DialContext: r.dials, MaxIdleConnsPerHost: 100}
	r.http = &http.Client{Transport: transport}
	srv := &http.Server{Handler: handler}
	running, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(ln) })
	wg.Go(func() { r.hub.Run(running) })
	end := func() {
		transport.CloseIdleConnections()
		srv.Close()
		cancel()
		wg.Wait()
	}
	r.stop = sync.OnceFunc(end)
	r.kill = func() {
		r.store.abandon()
		r.stop()
		r.store.adopt()
	}
	r.t.Cleanup(r.stop)
}

// edit changes the account.
func (r *relay) edit(change func(*account.Account)) {
	r.t.Helper()
	err := r.book.Edit(r.t.Context(), func(a *account.Account) error {
		change(a)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{} // closed by Close
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	theirs, ours := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// answer is what a sender got.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends a webhook to the input.
func (r *relay) post(path, body string) answer {
	r.t.Helper()
	return r.send(r.request("POST", "/v1/webhooks/"+inputID+path, body))
}

func (r *relay) request(method, path, body string) *http.Request {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	return q
}

func (r *relay) send(q *http.Request) answer {
	r.t.Helper()
	resp, err := r.http.Do(q)
	if err != nil {
		r.t.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Error(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// client is a WebSocket client that says what a test has it say.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func (r *relay) dial() *client { return r.dialWith(websocket.Dialer{}) }

func (r *relay) dialWith(d websocket.Dialer) *client {
	r.t.Helper()
	d.NetDialContext = r.dials
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(r.url, "http")+"/v1/socket", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { ws.Close() })
	return &client{r.t, ws}
}

func (c *client) say(format string, args ...any) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next frame that is no ping, which may come at any time.
func (c *client) hear() string {
	c.t.Helper()
	for {
		if frame := c.next(); frame != ping {
			return frame
		}
	}
}

// next returns the next frame.
func (c *client) next() string {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, data, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// want fails the test where the next frame is another one, pings aside.
func (c *client) want(frame string) {
	c.t.Helper()
	if got := c.hear(); got != frame {
		c.t.Fatalf("frame %.500s, want %s", got, frame)
	}
}

// wantNext is want, and no ping either.
func (c *client) wantNext(frame string) {
	c.t.Helper()
	if got := c.next(); got != frame {
		c.t.Fatalf("frame %.500s, want %s", got, frame)
	}
}

// webhook reads the next frame, which is one.
func (c *client) webhook() wire.Webhook {
	c.t.Helper()
	data := c.hear()
	f, err := wire.DecodeFrame([]byte(data))
	if err != nil || f.Type != wire.TypeWebhook {
		c.t.Fatalf("frame %s: %v, want a webhook", data, err)
	}
	if f.Webhook.Damaged() {
		c.t.Errorf("frame %s has a wrong sum", data)
	}
	return f.Webhook
}

// closed returns the code and reason with which the connection ends.
func (c *client) closed() (int, string) {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		_, _, err := c.ws.ReadMessage()
		if e, ok := err.(*websocket.CloseError); ok {
			return e.Code, e.Text
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

const (
	ping          = `{"type":"status","status":"ping","message":""}`
	authenticated = `{"type":"status","status":"authenticated","message":"connected successfully, subscribe to buckets"}`
	subscribed    = `{"type":"status","status":"subscribed","message":"subscribed to buckets: deploys"}`
	acknowledges  = `{"type":"status","status":"authenticated","message":"connected successfully, subscribe to buckets","features":["ack","resume"]}`
)

// plain returns a client that is subscribed to everything.
func (r *relay) plain() *client { return r.plainWith(websocket.Dialer{}) }

func (r *relay) plainWith(d websocket.Dialer) *client {
	r.t.Helper()
	c := r.dialWith(d)
	c.say(`{"action":"auth","key":"key","secret":%q}`, secret)
	c.wantNext(authenticated)
	c.say(`{"action":"subscribe"}`)
	c.wantNext(subscribed)
	return c
}

// acking returns a client that acknowledges, subscribed to everything.
func (r *relay) acking(name, group string) *client {
	r.t.Helper()
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":%q,"group":%q,"features":["ack","resume"]}`, secret, name, group)
	c.wantNext(acknowledges)
	c.say(`{"action":"subscribe"}`)
	c.wantNext(subscribed)
	return c
}

func (c *client) ack(ids ...string) {
	c.t.Helper()
	list, err := json.Marshal(ids)
	if err != nil {
		c.t.Fatal(err)
	}
	c.say(`{"action":"ack","ids":%s}`, bytes.TrimSpace(list))
}

func soon() time.Time { return time.Now().Add(10 * time.Second) }

// answer says what became of a delivery, as the management API does.
func (r *relay) answer(id string, u account.Update) error {
	l, err := r.store.Log(r.t.Context(), id)
	if err != nil {
		return err
	}
	return r.hub.Answer(r.t.Context(), l, u)
}
