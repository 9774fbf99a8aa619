package hub

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/account"
	"hookrun/relay/wire"
)

// A widespread client that reads "closed" in a reason never comes back.
func TestNoReasonSaysClosed(t *testing.T) {
	for _, reason := range []string{
		reasonRestarting, reasonRevoked, reasonSlow, reasonReplaced, reasonLost, reasonRequest, reasonLogin, reasonCrowded, reasonNotStored,
	} {
		if strings.Contains(strings.ToLower(reason), "closed") {
			t.Errorf("reason %q says closed", reason)
		}
		if n := len(websocket.FormatCloseMessage(closeLost, reason)); n > 125 {
			t.Errorf("reason %q is too long for a frame", reason)
		}
	}
}

// ends returns how long it takes until the connection has ended, however.
func (c *client) ends() time.Duration {
	begin := time.Now()
	c.ws.SetReadDeadline(time.Time{})
	for {
		if _, _, err := c.ws.ReadMessage(); err != nil {
			return time.Since(begin)
		}
	}
}

func TestLoginTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.dial()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { // pings buy no time
			for c.ws.WriteControl(websocket.PingMessage, nil, soon()) == nil {
				time.Sleep(time.Second)
			}
		})
		if got := c.ends(); got != loginTimeout {
			t.Errorf("the connection ended after %s, want %s", got, loginTimeout)
		}
		c.ws.Close()
	})
}

// A client need not pong, as long as its library answers control pings.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		for _, silent := range []bool{false, true} {
			c := r.plain()
			if silent {
				c.ws.SetPingHandler(func(string) error { return nil })
			}
			stop := time.AfterFunc(10*idleTimeout, func() { c.ws.Close() })
			got := c.ends()
			stop.Stop()
			if want := idleTimeout; silent && got != want {
				t.Errorf("a silent client ended after %s, want %s", got, want)
			}
			if want := 10 * idleTimeout; !silent && got != want {
				t.Errorf("a client ended after %s, want %s", got, want)
			}
		}
	})
}

func TestPingsComeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		// The disk is stuck, which must hold up no ping.
		a := r.acking("box", "")
		r.post("", "x")
		a.ack(a.webhook().ID)
		stuck := make(chan struct{})
		defer close(stuck)
		r.store.mu.Lock()
		r.store.beforeSave = func() { <-stuck }
		r.store.mu.Unlock()
		c := a
		begin := time.Now()
		for range 10 {
			c.ws.SetReadDeadline(time.Time{})
			if _, data, err := c.ws.ReadMessage(); err != nil || string(data) != ping {
				t.Fatalf("frame %s %v, want a ping", data, err)
			}
			if gap := time.Since(begin); gap > pingEvery {
				t.Errorf("%s between pings, want at most %s", gap, pingEvery)
			}
			begin = time.Now()
		}
		c.ws.Close()
	})
}

func TestSlowReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		r.plain() // reads no more
		quick := r.plain()
		var got atomic.Int64
		go func() {
			for {
				_, data, err := quick.ws.ReadMessage()
				if err != nil {
					return
				}
				if strings.Contains(string(data), `"webhook"`) {
					got.Add(1)
				}
			}
		}()
		quick.ws.SetReadDeadline(time.Time{})
		const all = maxQueued + 10
		for range all {
			if _, err := r.hub.Deliver(t.Context(), webhook(nil)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		stats, err := r.hub.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The frame that is being written counts as delivered: it may have got there.
		want := Counts{Received: all, Delivered: all + maxQueued + 1, Dropped: maxQueued + 1, Slow: 1}
		if s := stats[bucketID]; s.Counts != want || s.Subscribers != 1 || got.Load() != all {
			t.Errorf("%+v, %d read, want %+v and %d", s, got.Load(), want, all)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(r.clients()); n != 1 {
			t.Errorf("%d clients, want 1", n)
		}
		quick.ws.Close()
	})
}

// What no frame can hold harms nobody. Anybody who may send can send that.
func TestUnsendableWebhook(t *testing.T) {
	r := startRelay(t, newMemStore())
	p, a := r.plain(), r.acking("box", "")
	w := webhook(nil)
	w.Method = strings.Repeat("M", 2000)
	if _, err := r.hub.Deliver(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	r.post("", "next")
	for _, c := range []*client{p, a} {
		if got := string(c.webhook().Body); got != "next" {
			t.Errorf("body %q, want next", got)
		}
	}
	if got := r.hub.counts[bucketID].Dropped; got != 2 {
		t.Errorf("%d dropped, want 2", got)
	}
}

func TestStopWritesWhatIsQueued(t *testing.T) {
	r := startRelay(t, newMemStore())
	clients := []*client{r.plain(), r.acking("box", ""), r.plain()}
	const all = 100 // fits the window
	for i := range all {
		if _, err := r.hub.Deliver(t.Context(), webhook(fmt.Append(nil, i))); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for i := range all { // the pump has handed out all by then
		w := clients[1].webhook()
		if got := string(w.Body); got != fmt.Sprint(i) {
			t.Fatalf("body %s, want %d", got, i)
		}
		ids = append(ids, w.ID)
	}
	var wg sync.WaitGroup
	wg.Go(r.stop)
	for !r.hub.hasEnded() {
		runtime.Gosched()
	}
	for _, c := range []*client{clients[0], clients[2]} {
		for i := range all {
			if got := string(c.webhook().Body); got != fmt.Sprint(i) {
				t.Fatalf("body %s, want %d", got, i)
			}
		}
	}
	clients[1].ack(ids...) // behind the close frame, and in time
	for _, c := range clients {
		if code, reason := c.closed(); code != websocket.CloseServiceRestart || reason != reasonRestarting {
			t.Errorf("closed with %d %q, want %d %q", code, reason, websocket.CloseServiceRestart, reasonRestarting)
		}
	}
	wg.Wait()
	for _, s := range r.store.consumers {
		if s.Acked != all {
			t.Errorf("position %+v, want all %d acknowledged", s, all)
		}
	}
}

// guard lets an address fail once.
type guard struct {
	mu     sync.Mutex // guards failed
	failed map[netip.Addr]bool
}

func (g *guard) Allowed(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.failed[a]
}

func (g *guard) Failed(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed[a] = true
}

func (g *guard) Passed(netip.Addr) {}

func TestGuard(t *testing.T) {
	r := setup{store: newMemStore(), options: func(o *Options) { o.Guard = &guard{failed: make(map[netip.Addr]bool)} }}.start(t)
	r.plain()
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":"wrong"}`)
	c.want(unauthorized)
	d := websocket.Dialer{NetDialContext: r.dials}
	_, resp, err := d.Dial("ws"+strings.TrimPrefix(r.url, "http")+"/v1/socket", nil)
	if err == nil || resp == nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answer %v %v, want 429", resp, err)
	}
}

func TestAccountChangesAreFollowed(t *testing.T) {
	r := startRelay(t, newMemStore())
	all, acks := r.plain(), r.acking("box", "")
	named := r.plain()
	named.say(`{"action":"subscribe","buckets":["other"]}`)
	named.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: other"}`)
	r.edit(other)
	r.postOther("new")
	for _, c := range []*client{all, acks, named} {
		w := c.webhook()
		if got := string(w.Body); got != "new" {
			t.Errorf("body %q, want new", got)
		}
		if c == acks {
			c.ack(w.ID)
		}
	}
	r.edit(func(a *account.Account) { a.Buckets = a.Buckets[:1] })
	r.postOther("gone")
	r.post("", "last")
	for _, c := range []*client{all, acks} {
		if got := string(c.webhook().Body); got != "last" {
			t.Errorf("body %q, want last", got)
		}
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for _, c := range r.hub.consumers {
		if len(c.positions) != 1 {
			t.Errorf("%d positions, want 1", len(c.positions))
		}
	}
}

func TestRevoked(t *testing.T) {
	tests := map[string]func(*account.Account){
		"deleted":    func(a *account.Account) { a.Tokens = nil },
		"not active": func(a *account.Account) { a.Tokens[0].Active = false },
		"new secret": func(a *account.Account) { a.Tokens[0].SecretHash = account.HashSecret("sk-new") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, newMemStore())
			for _, c := range []*client{r.plain(), r.acking("box", "")} {
				defer func() {
					if code, reason := c.closed(); code != websocket.ClosePolicyViolation || reason != reasonRevoked {
						t.Errorf("closed with %d %q, want %q", code, reason, reasonRevoked)
					}
				}()
			}
			r.edit(change)
		})
	}
}

// A token that is revoked between being looked up and being noted lets nobody in.
func TestRevokedWhileLoggingIn(t *testing.T) {
	r := startRelay(t, newMemStore())
	old := r.book.Now().Token("key")
	r.edit(func(a *account.Account) { a.Tokens[0].Active = false })
	c := &conn{h: r.hub, writing: true}
	if c.admit(old, wire.Request{Action: wire.ActionAuth}) {
		t.Error("the connection was let in")
	}
	if c.token != "" || c.reason != reasonRevoked {
		t.Errorf("token %q, reason %q, want none and %q", c.token, c.reason, reasonRevoked)
	}
}

// A client that goes on talking behind the close frame is not kept.
func TestGoodbyeIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box", "g")
		other := r.acking("bag", "g")
		c.ws.SetCloseHandler(func(int, string) error { return nil }) // does not answer
		begin := time.Now()
		go func() {
			for {
				if _, _, err := c.ws.NextReader(); err != nil {
					return
				}
			}
		}()
		c.ack("unknown")
		synctest.Wait()
		for range 3 {
			if got := string(r.posted(other)); got != "x" {
				t.Errorf("body %q, want x", got)
			}
		}
		for c.ws.WriteControl(websocket.PingMessage, nil, soon()) == nil {
			time.Sleep(time.Second)
		}
		if got := time.Since(begin); got > 2*goodbyeTime {
			t.Errorf("the connection stayed for %s, want at most %s", got, 2*goodbyeTime)
		}
		other.ws.Close()
	})
}

// posted posts a webhook that a client gets.
func (r *relay) posted(c *client) []byte {
	r.post("", "x")
	return c.webhook().Body
}

func TestReconnectStorm(t *testing.T) {
	r := startRelay(t, newMemStore())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d := websocket.Dialer{NetDialContext: r.dials}
			for i := range 20 {
				ws, _, err := d.Dial("ws"+strings.TrimPrefix(r.url, "http")+"/v1/socket", nil)
				if err != nil {
					t.Error(err)
					return
				}
				// Another one may have replaced it at any moment.
				ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"action":"auth","key":"key","secret":%q,"client":"box","features":["ack"]}`, secret))
				ws.WriteMessage(websocket.TextMessage, []byte(`{"action":"subscribe"}`))
				if i%2 == 0 {
					ws.ReadMessage()
				}
				ws.Close()
			}
		})
	}
	wg.Wait()
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":"bag","features":["ack"]}`, secret)
	c.want(acknowledges)
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed)
	if got := string(r.posted(c)); got != "x" {
		t.Errorf("body %q, want x", got)
	}
}

func TestClients(t *testing.T) {
	r := startRelay(t, newMemStore(), other)
	p := r.plain2()
	g := r.dial()
	g.say(`{"action":"auth","key":"key","secret":%q,"client":"box","group":"g","features":["ack"]}`, secret)
	g.want(acknowledges)
	g.say(`{"action":"subscribe","buckets":["deploys"]}`)
	g.want(subscribed)
	r.dial().say(`{"action":"auth","key":"key","secret":%q}`, secret)
	r.post("", "x")
	p.webhook()
	w := g.webhook()
	clients := r.clients()
	if len(clients) != 2 {
		t.Fatalf("%d clients, want 2", len(clients))
	}
	one, two := clients[0], clients[1]
	if one.AccessTokenKey != "key" || !slices.Equal(one.Buckets, []string{"deploys", "other"}) || one.IP != "127.0.0.1" || one.Type != "Go-http-client" || one.Version != "1.1" || one.Acks {
		t.Errorf("client %+v", one)
	}
	if !two.Acks || two.Group != "g" || two.Waiting["deploys"] != 1 || !slices.Equal(two.Buckets, []string{"deploys"}) || two.SubscribedAt.IsZero() {
		t.Errorf("client %+v", two)
	}
	stats, err := r.hub.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stats[bucketID], (Stats{Counts{Received: 1, Delivered: 2}, 2, 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	g.ack(w.ID)
	g.say(`{"action":"subscribe","buckets":["deploys"]}`)
	g.want(subscribed)
	r.hub.CountDropped(bucketID, 3)
	if stats, err = r.hub.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := stats[bucketID], (Stats{Counts{Received: 1, Delivered: 2, Acked: 1, Dropped: 3}, 2, 0}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	if got, want := stats[otherID], (Stats{Subscribers: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestWhoComesAfterTheEndIsTurnedAway(t *testing.T) {
	r := startRelay(t, newMemStore())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, err := New(t.Context(), Options{Store: r.store, Book: r.book})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(ctx); err != nil {
		t.Errorf("Run: %v, want no error", err)
	}
	if h.enter(&conn{h: h}) {
		t.Error("a connection was let in")
	}
}
