package hub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
)

// hold returns a consumer's place that has to be woken by hand.
func hold(r *relay) (*consumer, *member) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &conn{h: h, writing: true, token: "key", subscribed: true, follows: map[string]bool{bucketID: true}}
	c.member = h.newMember(c, "key", "box", true)
	c.member.joined = true
	c.member.of.members[c.member] = true
	c.member.of.pumping = true
	return c.member.of, c.member
}

// What comes back while a page is read is not on that page, and not lost.
func TestComesBackWhileOthersAreRead(t *testing.T) {
	r := startRelay(t, newMemStore())
	for range 6 {
		r.post("", "x")
	}
	c, m := hold(r)
	h := r.hub
	p := &position{bucketID: bucketID, next: 6, order: []int64{1, 2, 3, 4, 5, 6}, acked: map[int64]bool{}, pending: []int64{5, 6}}
	c.positions[bucketID] = p
	w := h.want(c, p)
	pg, err := h.load(t.Context(), p, w)
	if err != nil {
		t.Fatal(err)
	}
	p.pending = []int64{1, 2, 5, 6} // somebody left
	if !h.hand(c, p, w, pg) || len(m.inflight) != 0 || len(p.acked) != 0 {
		t.Fatalf("%d handed out, %v acknowledged, want nothing yet", len(m.inflight), p.acked)
	}
	if _, err := h.handOut(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if len(m.inflight) != 4 || len(p.pending) != 0 || len(p.order) != 6 {
		t.Errorf("%d handed out, %v left, want 4 and none", len(m.inflight), p.pending)
	}
}

// What comes back is before what is new.
func TestComesBackWhileNewOnesAreRead(t *testing.T) {
	r := startRelay(t, newMemStore())
	for range 3 {
		r.post("", "x")
	}
	c, m := hold(r)
	h := r.hub
	p := &position{bucketID: bucketID, next: 2, order: []int64{1, 2}, acked: map[int64]bool{}}
	c.positions[bucketID] = p
	w := h.want(c, p)
	pg, err := h.load(t.Context(), p, w)
	if err != nil || len(pg.ds) != 1 {
		t.Fatalf("%d read, %v, want 1", len(pg.ds), err)
	}
	p.pending = []int64{1, 2}
	if !h.hand(c, p, w, pg) || len(m.inflight) != 0 {
		t.Errorf("%d handed out, want nothing yet", len(m.inflight))
	}
}

// Retention may take what was handed out, and what was not.
func TestRetentionTakesWhatComesBack(t *testing.T) {
	r := startRelay(t, newMemStore())
	c, m := hold(r)
	h := r.hub
	p := &position{bucketID: bucketID, next: 3, order: []int64{1, 2, 3}, acked: map[int64]bool{}, pending: []int64{1, 2, 3}}
	c.positions[bucketID] = p
	h.known, h.last = 3, 3 // as after a restart: memory does not know them
	if _, err := h.handOut(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if len(m.inflight) != 0 || p.settled() != 3 {
		t.Errorf("%d handed out, settled at %d, want none and 3", len(m.inflight), p.settled())
	}
}

// What was acknowledged although something before is not stays so, however often
// the hub is started.
func TestAcknowledgedAheadIsKept(t *testing.T) {
	store := newMemStore()
	r := startRelay(t, store)
	c := r.acking("box", "")
	for range 3 {
		r.post("", "x")
	}
	one, two, three := c.webhook(), c.webhook(), c.webhook()
	c.ack(two.ID)
	for range 3 {
		c.say(`{"action":"subscribe"}`)
		c.want(subscribed) // it was read
		c.ws.Close()
		r.stop()
		r = startRelay(t, store)
		c = r.acking("box", "")
		for _, want := range []string{one.ID, three.ID} {
			if got := c.webhook().ID; got != want {
				t.Fatalf("delivery %s, want %s", got, want)
			}
		}
	}
}

// A store that can't be read for a moment delays, and loses nothing.
func TestPumpTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		r := setup{store: store, pipe: true}.start(t)
		c := r.acking("box", "")
		c.ws.Close()
		synctest.Wait()
		r.post("", "x")
		r.stop()

		r = setup{store: store, pipe: true}.start(t)
		c = r.dial()
		c.say(`{"action":"auth","key":"key","secret":%q,"client":"box","features":["ack"]}`, secret)
		c.want(acknowledges)
		synctest.Wait()
		store.mu.Lock()
		store.broken = errors.New("disk is away")
		store.mu.Unlock()
		c.say(`{"action":"subscribe"}`)
		c.want(subscribed)
		time.Sleep(retryWait * 3 / 2) // the second try fails too
		store.mu.Lock()
		store.broken = nil
		store.mu.Unlock()
		begin := time.Now()
		c.webhook()
		if got := time.Since(begin); got > retryWait {
			t.Errorf("the webhook came after %s, want at most %s", got, retryWait)
		}
	})
}

func TestPositionIsStoredBeforeTheAnswer(t *testing.T) {
	store := newMemStore()
	r := startRelay(t, store)
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":"box","features":["ack"]}`, secret)
	c.want(acknowledges)
	store.mu.Lock()
	store.broken = errors.New("disk full")
	store.mu.Unlock()
	c.say(`{"action":"subscribe"}`)
	if code, reason := c.closed(); code != 1013 || reason != reasonNotStored {
		t.Errorf("closed with %d %q, want 1013 %q", code, reason, reasonNotStored)
	}
	store.mu.Lock()
	store.broken = nil
	store.mu.Unlock()
	r.acking("box", "")
	r.kill()
	r.post2(t, store, "while away")
	r = startRelay(t, store)
	if got := string(r.acking("box", "").webhook().Body); got != "while away" {
		t.Errorf("body %q, want while away", got)
	}
}

// post2 has a webhook taken by another hub on the same store.
func (r *relay) post2(t *testing.T, store *memStore, body string) {
	t.Helper()
	between := startRelay(t, store)
	between.post("", body)
	between.stop()
}

func TestReplacedByANewerConnection(t *testing.T) {
	r := startRelay(t, newMemStore())
	old := r.acking("box", "")
	r.post("", "1")
	first := old.webhook()
	c := r.acking("box", "")
	if code, reason := old.closed(); code != closeReplaced || reason != reasonReplaced {
		t.Errorf("closed with %d %q, want %d %q", code, reason, closeReplaced, reasonReplaced)
	}
	if got := c.webhook(); got.ID != first.ID {
		t.Errorf("delivery %s, want %s again", got.ID, first.ID)
	}
	stats, err := r.hub.Stats(t.Context())
	if err != nil || stats[bucketID].Resent != 1 {
		t.Errorf("stats %+v %v, want 1 sent again", stats[bucketID], err)
	}
}

func TestAckOfWhatIsNotHeld(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.acking("box", "")
	r.post("", "x")
	w := c.webhook()
	c.ack(w.ID, w.ID)
	if code, reason := c.closed(); code != closeLost || reason != reasonLost {
		t.Errorf("closed with %d %q, want %d %q", code, reason, closeLost, reasonLost)
	}
	again := r.acking("box", "")
	r.post("", "next")
	if got := string(again.webhook().Body); got != "next" {
		t.Errorf("body %q, want next: the first was acknowledged", got)
	}
}

// The window bounds what a client holds; an acknowledgement makes room.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box", "")
		for range windowFrames + 5 {
			if _, err := r.hub.Deliver(t.Context(), webhook(nil)); err != nil {
				t.Fatal(err)
			}
		}
		var ids []string
		for range windowFrames {
			ids = append(ids, c.webhook().ID)
		}
		synctest.Wait()
		if got := r.inflight("box"); got != windowFrames {
			t.Errorf("%d are handed out, want %d", got, windowFrames)
		}
		c.ack(ids[7])
		ids[7] = c.webhook().ID
		c.ack(ids...)
		for range 4 {
			c.webhook()
		}
		// By bytes: the second of two large ones waits.
		c2 := r.acking("bag", "")
		body := []byte(strings.Repeat("x", windowBytes/3))
		for range 2 {
			if _, err := r.hub.Deliver(t.Context(), webhook(body)); err != nil {
				t.Fatal(err)
			}
		}
		one := c2.webhook()
		synctest.Wait()
		if got := r.inflight("bag"); got != 1 {
			t.Errorf("%d are handed out, want 1", got)
		}
		c2.ack(one.ID)
		c2.webhook()
	})
}

// pings reads until the next ping.
func (c *client) pinged() {
	c.t.Helper()
	for {
		c.ws.SetReadDeadline(time.Time{})
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			c.t.Fatal(err)
		}
		if string(data) == ping {
			return
		}
	}
}

func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box", "")
		for range 3 {
			r.post("", "x")
		}
		c.webhook()
		w := c.webhook()
		c.pinged()
		c.ack(w.ID)
		c.say(`{"action":"pong","held":2}`) // all is well
		r.post("", "x")                     // counts for the next
		c.pinged()
		c.say(`{"action":"pong"}`) // says nothing
		c.pinged()
		c.say(`{"action":"pong","held":3}`)
		c.say(`{"action":"pong","held":0}`) // asked for by no ping
		c.pinged()
		c.say(`{"action":"pong","held":2}`)
		if code, reason := c.closed(); code != closeLost || reason != reasonLost {
			t.Errorf("closed with %d %q, want %d %q", code, reason, closeLost, reasonLost)
		}
		c = r.acking("box", "")
		for range 3 {
			c.webhook()
		}
	})
}

// A client that answers no ping for long is not judged by a late answer.
func TestMuteClientIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box", "")
		for range maxPings + 2 {
			c.pinged()
		}
		r.post("", "x")
		w := c.webhook()
		c.pinged()
		for range maxPings + 2 {
			c.say(`{"action":"pong","held":0}`)
		}
		c.ack(w.ID)
		r.post("", "still here")
		if got := string(c.webhook().Body); got != "still here" {
			t.Errorf("body %q, want still here", got)
		}
	})
}

func TestGapIsTold(t *testing.T) {
	store := newMemStore()
	r := startRelay(t, store)
	r.acking("box", "").ws.Close()
	r.post("", "1")
	r.post("", "2")
	r.stop()
	store.retain(func(l *account.Log) bool { return l.Seq == 1 })
	r = startRelay(t, store)
	c := r.acking("box", "")
	gap, hook := c.hear(), c.hear()
	if !strings.Contains(gap, `"gap"`) {
		gap, hook = hook, gap
	}
	at := store.logs[0].Received.Unix()
	prefix := `{"type":"status","status":"gap","message":"webhooks were lost: they were kept for too short a time","gaps":[{"bucket_id":"` + bucketID + `","bucket_name":"deploys","count":1,`
	if !strings.HasPrefix(gap, prefix) || !strings.HasSuffix(gap, `"reason":"age"}]}`) || at == 0 {
		t.Errorf("frame %s, want one about the gap", gap)
	}
	if !strings.Contains(hook, `"body":"2"`) {
		t.Errorf("frame %s, want the second webhook", hook)
	}
	// The line may break before the client has read it: it is told until then.
	if left := r.gapsLeft(); left != 1 {
		t.Errorf("%d gaps are left, want one", left)
	}
	for share := range pingShares {
		r.hub.ping(share)
	}
	c.say(`{"action":"pong","held":1}`)
	c.say(`{"action":"subscribe"}`) // is answered behind that
	c.want(subscribed)
	if left := r.gapsLeft(); left != 0 {
		t.Errorf("%d gaps are left, want none", left)
	}
}

func (r *relay) gapsLeft() int {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return len(r.store.gaps)
}

// A name alone takes no place for good, and one more than there may be is
// turned away.
func TestConsumersAreBounded(t *testing.T) {
	r := startRelay(t, newMemStore())
	h := r.hub
	h.mu.Lock()
	var members []*member
	for i := range maxConsumers {
		token := fmt.Sprintf("t%d", i/maxTokenConsumers)
		members = append(members, h.newMember(&conn{h: h}, token, fmt.Sprint(i), false))
	}
	h.mu.Unlock()
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":"box","features":["ack"]}`, secret)
	if code, reason := c.closed(); code != 1013 || reason != reasonCrowded {
		t.Errorf("closed with %d %q, want 1013 %q", code, reason, reasonCrowded)
	}
	h.mu.Lock()
	for _, m := range members[maxTokenConsumers:] {
		m.of.release()
	}
	if h.newMember(&conn{h: h}, "t0", "one more", false) != nil {
		t.Errorf("a token has more than %d", maxTokenConsumers)
	}
	h.mu.Unlock()
	r.acking("box", "")
}

// The store says who was away for too long.
func TestForgottenConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		r := setup{store: store, pipe: true}.start(t)
		gone, here := r.acking("gone", ""), r.acking("here", "")
		gone.ws.Close()
		stop := time.AfterFunc(3*touchEvery, func() { here.ws.Close() })
		defer stop.Stop()
		time.Sleep(2 * saveEvery) // its absence is saved
		store.mu.Lock()
		maps.DeleteFunc(store.consumers, func(key string, _ account.Consumer) bool { return strings.Contains(key, "gone") })
		store.mu.Unlock()
		here.ends()
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		var left []string
		for key := range r.hub.consumers {
			left = append(left, key)
		}
		if !slices.Equal(left, []string{consumerKey("key", "here", false)}) {
			t.Errorf("consumers %q, want here alone", left)
		}
	})
}

// A bucket's feed does not outlive it.
func TestFeedsAreForgotten(t *testing.T) {
	r := startRelay(t, newMemStore(), other)
	c := r.plain2()
	r.postOther("x")
	c.webhook()
	r.edit(func(a *account.Account) { a.Buckets = a.Buckets[:1] })
	r.hub.tidy(time.Now())
	if n := len(r.hub.feeds); n != 2 {
		t.Errorf("%d feeds, want 2: a delivery is still in memory", n)
	}
	r.hub.mu.Lock()
	r.hub.recent, r.hub.feeds[otherID].recent, r.hub.bytes = nil, nil, 0
	r.hub.mu.Unlock()
	r.hub.tidy(time.Now())
	if n := len(r.hub.feeds); n != 1 || len(r.hub.counts) != 0 {
		t.Errorf("%d feeds, %d counts, want 1 and none", n, len(r.hub.counts))
	}
}

// TestFirstClientGetsWhatCameBefore: a sender may be set up before there is
// anybody; later clients begin at the end.
func TestFirstClientGetsWhatCameBefore(t *testing.T) {
	r := startRelay(t, newMemStore())
	r.post("", "1")
	r.post("", "2")
	c := r.acking("box", "")
	for _, want := range []string{"1", "2"} {
		w := c.webhook()
		if got := string(w.Body); got != want {
			t.Errorf("body %s, want %s", got, want)
		}
		c.ack(w.ID)
	}
	other := r.acking("other", "")
	r.post("", "3")
	if got := string(other.webhook().Body); got != "3" {
		t.Errorf("body %s, want 3", got)
	}
}

// TestPlainClientIsHeardToo: after it nobody gets what came before.
func TestPlainClientIsHeardToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		r.plain()
		synctest.Wait()
		r.post("", "1")
		c := r.acking("box", "")
		r.post("", "2")
		if got := string(c.webhook().Body); got != "2" {
			t.Errorf("body %s, want 2", got)
		}
	})
}

// TestClientGoesOnUnderAnotherToken: a key is renewed by making another one.
func TestClientGoesOnUnderAnotherToken(t *testing.T) {
	for _, tt := range []struct {
		name, group string
		oldGone     bool
		want        string // the first that it gets under the other token
	}{
		{"a client is known by its id", "", false, "waits"},
		{"a group is not", "g", false, "new"},
		{"unless its token is gone", "g", true, "waits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testAnotherToken(t, tt.group, tt.oldGone, tt.want) })
		})
	}
}

func testAnotherToken(t *testing.T, group string, oldGone bool, want string) {
	store := newMemStore()
	r := setup{store: store, pipe: true}.start(t)
	r.edit(func(a *account.Account) {
		a.Tokens = append(a.Tokens, account.Token{ID: "second", Active: true, SecretHash: account.HashSecret(secret)})
	})
	c := r.acking("box", group)
	r.post("", "first")
	c.ack(c.webhook().ID)
	synctest.Wait()
	c.ws.Close()
	synctest.Wait()
	r.post("", "waits")
	if oldGone {
		r.edit(func(a *account.Account) {
			a.Tokens = slices.DeleteFunc(a.Tokens, func(t account.Token) bool { return t.ID == "key" })
		})
	}
	c = r.dial()
	c.say(`{"action":"auth","key":"second","secret":%q,"client":"box","group":%q,"features":["ack","resume"]}`, secret, group)
	c.want(acknowledges)
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed)
	r.post("", "new")
	if got := string(c.webhook().Body); got != want {
		t.Errorf("body %s, want %s", got, want)
	}
	left := 0
	for _, saved := range store.consumers {
		if strings.HasPrefix(saved.Name, "key"+keySeparator) {
			left++
		}
	}
	if (left == 0) != (want == "waits") {
		t.Errorf("%d positions are left under the old token", left)
	}
}

func TestBucketsThatAreNotThereAreTold(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q,"client":"box","features":["ack"]}`, secret)
	c.want(acknowledges)
	c.say(`{"action":"subscribe","buckets":["deploys","deploy"]}`)
	c.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: deploys, deploy","unknown":["deploy"]}`)
}

// TestAnotherTokenWhileTheOldLineSeemsToStand: a machine lost its power and comes
// back with another key before anybody has noticed.
func TestAnotherTokenWhileTheOldLineSeemsToStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		r.edit(func(a *account.Account) {
			a.Tokens = append(a.Tokens, account.Token{ID: "second", Active: true, SecretHash: account.HashSecret(secret)})
		})
		old := r.acking("box", "")
		r.post("", "waits")
		old.webhook()
		c := r.dial()
		c.say(`{"action":"auth","key":"second","secret":%q,"client":"box","features":["ack","resume"]}`, secret)
		c.want(acknowledges)
		c.say(`{"action":"subscribe"}`)
		c.want(subscribed)
		if got := string(c.webhook().Body); got != "waits" {
			t.Errorf("body %s, want what was not acknowledged", got)
		}
		if code, reason := old.closed(); code != closeReplaced || reason != reasonReplaced {
			t.Errorf("the old line ends with %d %q, want %d %q", code, reason, closeReplaced, reasonReplaced)
		}
	})
}
