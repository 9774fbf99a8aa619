package hub

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/account"
	"hookrun/relay/server"
	"hookrun/relay/wire"
)

// Whatever happens between, each delivery gets to each consumer, in order, and
// what is acknowledged does not come again.
func TestConsumersGetAll(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 20
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			for range 30 {
				w.act()
			}
			w.settle()
			w.check()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

const worldBuckets = 3

// world is a relay, those who use it, and what they are to see.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	setup setup
	relay *relay
	n     int // of the newest webhook; its body
	users []*user

	mu        sync.Mutex // guards all below
	published [worldBuckets][]int
	gone      map[int]bool // that retention took
	views     map[string]*view
	heard     bool // somebody has subscribed
}

// user is a client; of a group several share a view.
type user struct {
	name, group string
	view        *view
	c           *client // nil: is not connected
	open        []wire.Webhook
	ended       bool // the connection
}

// view is what a consumer saw.
type view struct {
	since [worldBuckets]int // webhooks up to this one are not for it
	began bool
	seen  map[int]bool
	acked map[string]bool // since the last crash
	last  [worldBuckets]int
}

func bucketOf(i int) string { return fmt.Sprintf("0d2c1f5e-0000-4000-8000-%012d", i) }
func inputOf(i int) string  { return fmt.Sprintf("0d2c1f5e-0000-4000-9000-%012d", i) }

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), gone: make(map[int]bool), views: make(map[string]*view)}
	w.setup = setup{store: newMemStore(), pipe: true, options: func(o *Options) { o.Log = nil }, change: func(a *account.Account) {
		for i := range worldBuckets {
			if a.Bucket(bucketOf(i)) == nil {
				a.Buckets = append(a.Buckets, account.Bucket{
					ID: bucketOf(i), Name: fmt.Sprint("b", i), Stream: true, Inputs: []account.Input{{ID: inputOf(i), BucketID: bucketOf(i)}},
				})
			}
		}
	}}
	w.relay = w.setup.start(t)
	for _, u := range []*user{{name: "s0"}, {name: "s1"}, {name: "m0", group: "g"}, {name: "m1", group: "g"}, {name: "m2", group: "g"}} {
		key := u.group
		if key == "" {
			key = u.name
		}
		if w.views[key] == nil {
			w.views[key] = &view{seen: make(map[int]bool), acked: make(map[string]bool)}
		}
		u.view = w.views[key]
		w.users = append(w.users, u)
	}
	return w
}

// act does one thing that may happen.
func (w *world) act() {
	u := w.users[w.rand.IntN(len(w.users))]
	switch n := w.rand.IntN(100); {
	case n < 30:
		w.publish(1 + w.rand.IntN(20))
	case n < 33:
		w.publish(2 * windowFrames)
	case n < 52:
		w.connect(u)
	case n < 80:
		w.ack(u, w.rand.IntN(40))
	case n < 88:
		w.drop(u)
	case n < 93:
		time.Sleep(time.Duration(w.rand.IntN(1000)) * time.Millisecond)
	case n < 95:
		w.retain()
	case n < 98:
		w.restart(w.relay.stop)
	default:
		w.restart(w.relay.kill)
		w.mu.Lock()
		for _, v := range w.views {
			clear(v.acked) // the latest may not be stored
		}
		w.mu.Unlock()
	}
	synctest.Wait()
	w.invariants()
}

func (w *world) publish(count int) {
	for range count {
		b := w.rand.IntN(worldBuckets)
		w.n++
		w.mu.Lock()
		w.published[b] = append(w.published[b], w.n)
		w.mu.Unlock()
		_, err := w.relay.hub.Deliver(w.t.Context(), server.Webhook{
			Bucket: inputOf(b), Method: "POST", Path: "/", Body: strconv.AppendInt(nil, int64(w.n), 10), Received: time.Now(), Remote: "192.0.2.1:1",
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) connect(u *user) {
	if u.c != nil {
		return
	}
	synctest.Wait()
	c := w.relay.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":%q,"group":%q,"features":["ack"]}`, secret, u.name, u.group)
	c.wantNext(acknowledges)
	w.mu.Lock()
	if !u.view.began {
		u.view.began = true
		for b := range u.view.since {
			if w.heard { // else it gets what came before anybody
				u.view.since[b] = w.n
			}
		}
		w.heard = true
	}
	w.mu.Unlock()
	c.say(`{"action":"subscribe","buckets":["b0","b1","b2"]}`)
	c.wantNext(`{"type":"status","status":"subscribed","message":"subscribed to buckets: b0, b1, b2"}`)
	u.c, u.open, u.ended = c, nil, false
	c.ws.SetReadDeadline(time.Time{})
	go w.read(u, c)
}

// read notes what a connection brings.
func (w *world) read(u *user, c *client) {
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		f, err := wire.DecodeFrame(data)
		if err != nil {
			w.t.Errorf("frame %s: %v", data, err)
		}
		if f.Type == wire.TypeWebhook {
			w.receive(u, f.Webhook)
		}
	}
}

func (w *world) receive(u *user, hook wire.Webhook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _ := strconv.Atoi(string(hook.Body))
	b := int(hook.BucketName[1] - '0')
	v := u.view
	if v.acked[hook.ID] {
		w.t.Errorf("%s gets %d again, which is acknowledged", u.name, n)
	}
	if n <= v.since[b] {
		w.t.Errorf("%s gets %d, which is from before it came", u.name, n)
	}
	if !v.seen[n] && n < v.last[b] && u.group == "" {
		w.t.Errorf("%s gets %d behind %d", u.name, n, v.last[b])
	}
	v.seen[n] = true
	v.last[b] = max(v.last[b], n)
	u.open = append(u.open, hook)
}

// ack has a client acknowledge up to most of what it holds, in any order.
func (w *world) ack(u *user, most int) {
	if u.c == nil {
		return
	}
	w.mu.Lock()
	w.rand.Shuffle(len(u.open), func(i, j int) { u.open[i], u.open[j] = u.open[j], u.open[i] })
	k := min(most, len(u.open), wire.MaxAcks)
	var ids []string
	for _, hook := range u.open[:k] {
		ids = append(ids, hook.ID)
		u.view.acked[hook.ID] = true
	}
	u.open = u.open[k:]
	w.mu.Unlock()
	if k > 0 {
		u.c.ack(ids...)
	}
	synctest.Wait()
}

func (w *world) drop(u *user) {
	if u.c != nil {
		u.c.ws.Close()
		synctest.Wait()
		u.c = nil
	}
}

func (w *world) restart(end func()) {
	end()
	synctest.Wait()
	for _, u := range w.users {
		w.drop(u)
	}
	w.relay = w.setup.start(w.t)
}

// retain deletes some of the older deliveries.
func (w *world) retain() {
	upTo := w.rand.IntN(w.n + 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setup.store.retain(func(l *account.Log) bool {
		n, _ := strconv.Atoi(string(l.Body))
		if n > upTo || n%3 == 0 {
			return false
		}
		w.gone[n] = true
		return true
	})
}

// settle has everybody get all that there is.
func (w *world) settle() {
	for _, u := range w.users {
		w.connect(u)
	}
	synctest.Wait()
	for more := true; more; {
		more = false
		for _, u := range w.users {
			w.ack(u, wire.MaxAcks)
			w.mu.Lock()
			more = more || len(u.open) > 0
			w.mu.Unlock()
		}
		w.invariants()
	}
}

func (w *world) invariants() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.users {
		if len(u.open) > windowFrames {
			w.t.Errorf("%s holds %d, want at most %d", u.name, len(u.open), windowFrames)
		}
	}
	h := w.relay.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.recent) > maxRecent || h.bytes > maxRecentBytes {
		w.t.Errorf("%d deliveries of %d bytes are in memory", len(h.recent), h.bytes)
	}
}

func (w *world) check() {
	w.mu.Lock()
	for key, v := range w.views {
		for b, all := range w.published {
			for _, n := range all {
				if n > v.since[b] && !v.seen[n] && !w.gone[n] {
					w.t.Errorf("%s never got %d", key, n)
				}
			}
		}
	}
	w.mu.Unlock()
	for _, u := range w.users {
		w.drop(u)
	}
	w.relay.stop()
	for name, c := range w.setup.store.consumers {
		if len(c.Above) > 0 && c.Acked < w.setup.store.seq-int64(w.n) {
			w.t.Errorf("position %q is %+v at the end", name, c)
		}
	}
}

// A hub that forgets the oldest finds it in the store.
func TestBacklogLargerThanMemory(t *testing.T) {
	r := setup{store: newMemStore(), pipe: true, options: func(o *Options) { o.Log = nil }}.start(t)
	c := r.acking("box", "")
	const all = maxRecent + 1000
	for i := range all {
		if _, err := r.hub.Deliver(t.Context(), webhook(strconv.AppendInt(nil, int64(i), 10))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.hub.recent); n > maxRecent {
		t.Errorf("%d deliveries are in memory, want at most %d", n, maxRecent)
	}
	for i := range all {
		w := c.webhook()
		if got := string(w.Body); got != fmt.Sprint(i) {
			t.Fatalf("body %s, want %d", got, i)
		}
		c.ack(w.ID)
	}
	c.ws.WriteControl(websocket.CloseMessage, nil, soon())
}
