//go:build linux

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

const (
	dialers       = 32   // subscribers that connect at once
	perSource     = 4000 // connections from one address of this machine: it has so many ports
	tellEvery     = 32   // small webhooks between two words of how far a subscriber is, or acknowledgements
	smallFrame    = 64 << 10
	handshakeTime = 30 * time.Second
	goodbyeTime   = 30 * time.Second // for all to say goodbye
)

// crowdOptions say who subscribes. Only address and subscribers are required.
type crowdOptions struct {
	address     string // of the relay
	subscribers int
	client      string // that acknowledges; "": plain subscribers. Else subscribers must be 1
	first, most int    // the numbers of the webhooks that may come: most, from first on
	buffer      int    // bytes to read at once; 0: 16 KiB

	// heard is called with the number of each new webhook when its frame is read,
	// by as many at once as there are subscribers; nil: nobody is told.
	heard func(n int)
}

// crowd is subscribers that count what they get.
type crowd struct {
	o    crowdOptions
	subs []*subscriber
	wg   sync.WaitGroup // of their readers

	all atomic.Bool // each webhook is told of: somebody waits for the last

	mu    sync.Mutex // guards err
	moved *sync.Cond // somebody got further, or failed
	err   error      // the first
	ended bool       // the crowd is on its way home, and no error counts
}

// subscriber is one connection.
type subscriber struct {
	c    *crowd
	ws   *websocket.Conn
	got  atomic.Int64 // different webhooks
	seen []uint64     // a bit for each, by number; of the reader alone

	again int // webhooks that came once more; of the reader alone, then of whoever waited for it

	mu   sync.Mutex // guards acks, and whoever writes
	acks []string   // ids to acknowledge
}

// join connects a crowd. It leaves with close, or with the test.
func join(t testing.TB, ctx context.Context, o crowdOptions) *crowd {
	t.Helper()
	c := &crowd{o: o, subs: make([]*subscriber, o.subscribers)}
	c.moved = sync.NewCond(&c.mu)
	if c.o.buffer == 0 {
		c.o.buffer = 16 << 10
	}
	t.Cleanup(c.close)
	pool := &sync.Pool{}
	places := make(chan int, len(c.subs))
	for i := range c.subs {
		places <- i
	}
	close(places)
	var wg sync.WaitGroup
	for range min(dialers, len(c.subs)) {
		wg.Go(func() {
			for i := range places {
				s, err := c.dial(ctx, i, pool)
				if err != nil {
					c.fail(fmt.Errorf("subscriber %d: %w", i, err))
					return
				}
				c.subs[i] = s
			}
		})
	}
	wg.Wait()
	if c.err != nil {
		t.Fatal(c.err)
	}
	for _, s := range c.subs {
		c.wg.Go(s.read)
	}
	return c
}

// dial connects and subscribes one.
func (c *crowd) dial(ctx context.Context, i int, pool *sync.Pool) (*subscriber, error) {
	source := net.IPv4(127, 0, 0, byte(1+i/perSource))
	d := websocket.Dialer{
		NetDialContext:   (&net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}).DialContext,
		HandshakeTimeout: handshakeTime, ReadBufferSize: c.o.buffer, WriteBufferSize: 1 << 10, WriteBufferPool: pool,
	}
	ws, _, err := d.DialContext(ctx, "ws://"+c.o.address+"/v1/socket", nil)
	if err != nil {
		return nil, err
	}
	s := &subscriber{c: c, ws: ws, seen: make([]uint64, (c.o.most+63)/64)}
	if err := s.subscribe(); err != nil {
		ws.Close()
		return nil, err
	}
	return s, nil
}

func (s *subscriber) subscribe() error {
	s.ws.SetReadDeadline(time.Now().Add(handshakeTime))
	auth := wire.Request{Action: wire.ActionAuth, Key: relayKey, Secret: relayToken}
	if s.c.o.client != "" {
		auth.Client, auth.Features = s.c.o.client, []string{wire.FeatureAck, wire.FeatureResume}
	}
	for _, step := range []struct {
		say  wire.Request
		want string
	}{
		{auth, wire.StatusAuthenticated},
		{wire.Request{Action: wire.ActionSubscribe, Buckets: []string{bucketName}}, wire.StatusSubscribed},
	} {
		if err := s.say(step.say); err != nil {
			return err
		}
		_, data, err := s.ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("wait for %q: %w", step.want, err)
		}
		if err := expectStatus(data, step.want); err != nil {
			return err
		}
	}
	return s.ws.SetReadDeadline(time.Time{})
}

func (s *subscriber) say(r wire.Request) error {
	data, err := wire.EncodeRequest(r)
	if err != nil {
		return err
	}
	s.ws.SetWriteDeadline(time.Now().Add(handshakeTime))
	return s.ws.WriteMessage(websocket.TextMessage, data)
}

// read takes what comes until the connection ends.
func (s *subscriber) read() {
	defer s.ws.Close()
	var frame bytes.Buffer
	for {
		frame.Reset()
		_, r, err := s.ws.NextReader()
		if err == nil {
			_, err = frame.ReadFrom(r)
		}
		if err == nil {
			err = s.take(frame.Bytes())
		}
		if err != nil {
			s.c.fail(err)
			return
		}
	}
}

// take looks at a frame no closer than it must. relay/wire says the order of what
// is in it.
func (s *subscriber) take(frame []byte) error {
	const webhook, query = `{"type":"webhook","meta":{"id":"`, `"query":"n=`
	rest, ok := bytes.CutPrefix(frame, []byte(webhook))
	if !ok {
		return expectStatus(frame, wire.StatusPing) // a gap is a loss
	}
	id, rest, _ := bytes.Cut(rest, []byte{'"'})
	_, rest, _ = bytes.Cut(rest, []byte(query))
	digits, _, _ := bytes.Cut(rest, []byte{'"'})
	n, err := strconv.Atoi(string(digits))
	if place := n - s.c.o.first; err != nil || place < 0 || place >= s.c.o.most {
		return fmt.Errorf("a webhook came that nobody sent: number %q", digits)
	}
	if !s.note(n) && s.c.o.client == "" {
		return fmt.Errorf("webhook %d came twice", n)
	}
	large := len(frame) > smallFrame
	if s.got.Load()%tellEvery == 0 || large || s.c.all.Load() {
		s.c.tell()
	}
	if s.c.o.client == "" {
		return nil
	}
	return s.ack(string(id), large)
}

// note counts a webhook. It reports false for one that has come before.
func (s *subscriber) note(n int) bool {
	place := n - s.c.o.first
	bit := uint64(1) << (place % 64)
	if s.seen[place/64]&bit != 0 {
		s.again++
		return false
	}
	s.seen[place/64] |= bit
	if s.c.o.heard != nil {
		s.c.o.heard(n)
	}
	s.got.Add(1) // whoever waits for it goes on now
	return true
}

// expectStatus takes a frame that must be of that status.
func expectStatus(frame []byte, want string) error {
	f, err := wire.DecodeFrame(frame)
	switch {
	case err != nil:
		return fmt.Errorf("wait for %q: %w", want, err)
	case f.Status.Status != want:
		return fmt.Errorf("the relay says %q (%s), want %q", f.Status.Status, f.Status.Message, want)
	}
	return nil
}

// ack acknowledges a webhook, at once or together with others.
func (s *subscriber) ack(id string, now bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acks = append(s.acks, id); len(s.acks) < tellEvery && !now {
		return nil
	}
	return s.flush()
}

// flush acknowledges all that is to be; mu is held.
func (s *subscriber) flush() error {
	if len(s.acks) == 0 {
		return nil
	}
	err := s.say(wire.Request{Action: wire.ActionAck, IDs: s.acks})
	s.acks = s.acks[:0]
	return err
}

func (c *crowd) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Broadcast()
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.ended {
		c.err = err
	}
	c.moved.Broadcast()
}

// has reports whether everybody has got n webhooks.
func (c *crowd) has(n int) bool {
	return !slices.ContainsFunc(c.subs, func(s *subscriber) bool { return int(s.got.Load()) < n })
}

// reach waits until everybody has got n webhooks.
func (c *crowd) reach(ctx context.Context, n int) error {
	if c.has(n) {
		return nil
	}
	defer context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.subs {
		for c.err == nil && int(s.got.Load()) < n {
			c.moved.Wait()
		}
		if c.err != nil {
			return fmt.Errorf("subscriber %d has %d of %d webhooks: %w", i, s.got.Load(), n, c.err)
		}
	}
	return nil
}

// last is reach for the last webhook.
func (c *crowd) last(ctx context.Context, n int) error {
	c.all.Store(true) // from now on nobody keeps it to himself
	return c.reach(ctx, n)
}

// close has everybody acknowledge what is left and say goodbye, and waits until
// the relay has heard that. It may be called twice.
func (c *crowd) close() {
	c.mu.Lock()
	twice := c.ended
	c.ended = true
	c.mu.Unlock()
	if twice {
		return
	}
	for _, s := range c.subs {
		if s != nil {
			s.leave()
		}
	}
	c.wg.Wait()
	for _, s := range c.subs {
		if s != nil {
			s.ws.Close() // where join failed, nobody reads
		}
	}
}

func (s *subscriber) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(goodbyeTime)
	err := s.flush()
	text := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err = errors.Join(err, s.ws.WriteControl(websocket.CloseMessage, text, until)); err != nil {
		s.ws.Close() // it has ended already
		return
	}
	s.ws.SetReadDeadline(until)
}

// TestSubscriberNotices holds that a figure can't come from a run that lost
// something, or had it twice.
func TestSubscriberNotices(t *testing.T) {
	frame := func(n int) []byte {
		data, err := wire.EncodeWebhook(&wire.Webhook{ID: "id", BucketName: bucketName, Query: fmt.Sprintf("n=%d", n), Method: "POST", Body: []byte(`{"query":"n=9"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	status := func(word string) []byte { return wire.EncodeStatus(wire.Status{Status: word}) }
	for _, tt := range []struct {
		name, client string
		frames       [][]byte
		got, again   int
		fails        bool // at the last frame
	}{
		{"each once", "", [][]byte{frame(10), frame(12), status(wire.StatusPing), frame(11)}, 3, 0, false},
		{"twice", "", [][]byte{frame(10), frame(10)}, 1, 1, true},
		{"twice, to one that acknowledges", "a", [][]byte{frame(10), frame(10), frame(11)}, 2, 1, false},
		{"never sent", "", [][]byte{frame(9)}, 0, 0, true},
		{"never sent, beyond the last", "", [][]byte{frame(13)}, 0, 0, true},
		{"a gap", "a", [][]byte{frame(10), status(wire.StatusGap)}, 1, 0, true},
		{"no frame", "", [][]byte{[]byte("?")}, 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &crowd{o: crowdOptions{client: tt.client, first: 10, most: 3}}
			c.moved = sync.NewCond(&c.mu)
			s := &subscriber{c: c, seen: make([]uint64, 1)}
			for i, f := range tt.frames {
				err := s.take(f)
				if want := tt.fails && i == len(tt.frames)-1; (err != nil) != want {
					t.Errorf("take(frame %d) = %v, want an error: %t", i, err, want)
				}
			}
			if got, again := int(s.got.Load()), s.again; got != tt.got || again != tt.again {
				t.Errorf("got %d webhooks and %d again, want %d and %d", got, again, tt.got, tt.again)
			}
		})
	}
}
