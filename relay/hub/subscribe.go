package hub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/account"
	"hookrun/relay/wire"
)

// What clients are told. They know these words.
const (
	textAuthenticated = "connected successfully, subscribe to buckets"
	textUnauthorized  = "unauthorized: bad key or secret"
	textSubscribed    = "subscribed to buckets: "
)

// filter is what a client asked for.
type filter struct {
	all   bool
	names []string // of buckets, or ids
}

// login is the first frame. It reports false when the connection is to end.
func (c *conn) login(ctx context.Context, r wire.Request) bool {
	t := (*account.Token)(nil)
	if r.Action == wire.ActionAuth {
		t = account.Authenticate(c.h.o.Book.Now(), r.Key, r.Secret)
	}
	if t == nil {
		c.h.refused(c, r)
		c.status(wire.Status{Status: wire.StatusUnauthorized, Message: textUnauthorized})
		c.finish(websocket.ClosePolicyViolation, reasonLogin)
		return false
	}
	if c.h.o.Guard != nil {
		c.h.o.Guard.Passed(c.ip)
	}
	if !c.admit(t, r) {
		return false
	}
	c.h.log.Info("client connected", "remote", c.ip, "token", t.ID, "client", c.agent, "acknowledges", c.member != nil)
	if err := c.h.o.Book.Login(ctx, t.ID, time.Now()); err != nil {
		c.h.log.Warn("the time of a login is not kept", "token", t.ID, "err", err)
	}
	return true
}

// admit makes the connection one of a token, and answers.
func (c *conn) admit(t *account.Token, r wire.Request) bool {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if !admits(h.o.Book.Now(), t.ID, t.SecretHash) { // revoked in this moment: accountChanged did not see it
		c.finish(websocket.ClosePolicyViolation, reasonRevoked)
		return false
	}
	answer := wire.Status{Status: wire.StatusAuthenticated, Message: textAuthenticated}
	if who, group := named(r); who != "" && slices.Contains(r.Features, wire.FeatureAck) {
		if c.member = h.newMember(c, t.ID, who, group); c.member == nil {
			c.finish(websocket.CloseTryAgainLater, reasonCrowded)
			return false
		}
		answer.Features = []string{wire.FeatureAck, wire.FeatureResume}
	}
	c.token, c.secretHash = t.ID, t.SecretHash
	c.status(answer)
	return true
}

// named is the name under which a client's position is kept: its group's, or its
// own.
func named(r wire.Request) (name string, group bool) {
	if r.Client == "" || len(r.Client) > maxClientName || len(r.Group) > maxClientName {
		return "", false
	}
	return cmp.Or(r.Group, r.Client), r.Group != ""
}

// refused notes a login that failed. Anybody can have it written, so that is
// bounded.
func (h *Hub) refused(c *conn, r wire.Request) {
	if h.o.Guard != nil {
		h.o.Guard.Failed(c.ip)
	}
	if h.refusals.Allow() {
		h.log.Warn("a client is refused: its key or secret is wrong", "remote", c.ip, "client", c.agent, "action", cut(r.Action))
	}
}

// cut bounds a stranger's word in the log.
func cut(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// subscribe replaces what a client is subscribed to.
func (c *conn) subscribe(ctx context.Context, r wire.Request) bool {
	h := c.h
	f := filter{all: r.All()}
	if !f.all {
		f.names = slices.DeleteFunc(slices.Clone(r.Buckets), func(s string) bool { return s == "" })
	}
	if c.member != nil {
		if err := h.keepPositions(ctx, c, f); err != nil {
			h.log.Error("a client can't be subscribed: its position is not stored", "remote", c.ip, "token", c.token, "err", err)
			c.finish(websocket.CloseTryAgainLater, reasonNotStored)
			return false
		}
	}
	h.heard(ctx, c, f)
	var gaps []account.Gap
	if c.member != nil {
		gaps = h.gaps(ctx, c)
	}
	h.mu.Lock()
	if c.isOver() {
		h.mu.Unlock()
		return false
	}
	a := h.o.Book.Now()
	answer := wire.Status{Status: wire.StatusSubscribed, Message: textSubscribed + strings.Join(h.told(c, f, a), ", ")}
	unseen := c.unseen(f, a)
	if c.member != nil {
		answer.Unknown = unseen // others know no such word
	}
	c.status(answer)
	c.filter, c.since = f, time.Now()
	first := !c.subscribed
	c.subscribed = true
	if c.member != nil && first {
		c.member.join()
	}
	h.follow(c, a)
	if c.member == nil && first {
		h.deliverHeld(c)
	}
	h.mu.Unlock()
	if len(unseen) > 0 && h.refusals.Allow() {
		h.log.Warn("a client asks for buckets that there are not, or that its token does not see: it gets nothing of them",
			"remote", c.ip, "token", c.token, "client", c.agent, "buckets", cut(strings.Join(unseen, ", ")))
	}
	h.tell(c, a, gaps)
	return true
}

// heard notes which buckets somebody subscribes to for the first time: the next
// new client begins at their end. Where that can't be noted, it begins at the
// beginning too.
func (h *Hub) heard(ctx context.Context, c *conn, f filter) {
	a := h.o.Book.Now()
	h.mu.Lock()
	ids := maps.Keys(c.wanted(f, a))
	h.mu.Unlock()
	unheard := slices.DeleteFunc(slices.Collect(ids), func(id string) bool { return a.Bucket(id).Heard })
	if len(unheard) == 0 {
		return
	}
	err := h.o.Book.Edit(ctx, func(a *account.Account) error {
		for _, id := range unheard {
			if b := a.Bucket(id); b != nil {
				b.Heard = true
			}
		}
		return nil
	})
	if err != nil {
		h.log.Warn("that buckets have a subscriber is not stored", "err", err)
	}
}

// told is what a client is told that it is subscribed to: what it asked for, or
// all that it may see.
func (h *Hub) told(c *conn, f filter, a *account.Account) []string {
	if !f.all {
		return f.names
	}
	var names []string
	t := a.Token(c.token)
	for i := range a.Buckets {
		if b := &a.Buckets[i]; t != nil && t.Sees(b) {
			names = append(names, b.Name)
		}
	}
	return names
}

// wanted are the buckets that a client is to get, as things are now, by id.
func (c *conn) wanted(f filter, a *account.Account) map[string]bool {
	ids := make(map[string]bool)
	t := a.Token(c.token)
	if t == nil {
		return ids
	}
	for _, name := range f.names {
		if b := a.Bucket(name); b != nil && t.Sees(b) {
			ids[b.ID] = true
		}
	}
	for i := range a.Buckets {
		if b := &a.Buckets[i]; f.all && t.Sees(b) {
			ids[b.ID] = true
		}
	}
	return ids
}

// unseen are the buckets that a client asked for in vain.
func (c *conn) unseen(f filter, a *account.Account) []string {
	t := a.Token(c.token)
	return slices.DeleteFunc(slices.Clone(f.names), func(name string) bool {
		b := a.Bucket(name)
		return b != nil && t != nil && t.Sees(b)
	})
}

// follow has a client get what its filter says, and nothing else; mu is held.
func (h *Hub) follow(c *conn, a *account.Account) {
	if !c.subscribed {
		return
	}
	ids := c.wanted(c.filter, a)
	if maps.Equal(ids, c.follows) {
		return
	}
	h.unfollow(c)
	c.follows = ids
	for id := range ids {
		f := h.feed(id)
		if c.member == nil {
			f.plain[c] = true
		} else {
			f.consumers[c.member.of] = true
			c.member.of.position(id).dirty = true // for when it was seen
		}
	}
	if c.member != nil {
		c.member.of.notify()
	}
}

// unfollow is follow with nothing to get; mu is held.
func (h *Hub) unfollow(c *conn) {
	for id := range c.follows {
		f := h.feeds[id]
		delete(f.plain, c)
		if c.member != nil && !c.member.of.followedByOther(c.member, id) {
			delete(f.consumers, c.member.of)
		}
	}
	c.follows = nil
}

// deliverHeld gives a client that has just come the deliveries whose senders wait
// for an answer and that nobody has got yet; mu is held.
func (h *Hub) deliverHeld(c *conn) {
	var held []*delivery
	for id, w := range h.waiting {
		for _, d := range w.ds {
			if d.log.ID == id && d.held() && c.follows[d.log.BucketID] {
				held = append(held, d)
			}
		}
	}
	slices.SortFunc(held, func(a, b *delivery) int { return cmp.Compare(a.log.Seq, b.log.Seq) })
	for _, d := range held {
		if d.taken = c.enqueue(d); d.taken {
			h.count(d.log.BucketID).Delivered++
		}
	}
}

// gaps are what the client's consumer lost meanwhile.
func (h *Hub) gaps(ctx context.Context, c *conn) []account.Gap {
	gaps, err := h.o.Store.Gaps(ctx, c.member.of.key)
	if err != nil {
		h.log.Error("a client can't be told what it lost", "token", c.token, "err", err)
	}
	return gaps
}

// tell tells a consumer what it lost, until it is known to have read it.
func (h *Hub) tell(c *conn, a *account.Account, gaps []account.Gap) {
	if len(gaps) == 0 {
		return
	}
	s := wire.Status{Status: wire.StatusGap, Message: "webhooks were lost: they were kept for too short a time"}
	for _, g := range gaps {
		name := ""
		if b := a.Bucket(g.BucketID); b != nil {
			name = b.Name
		}
		s.Gaps = append(s.Gaps, wire.Gap{
			BucketID: g.BucketID, BucketName: name, Count: g.Count, From: g.From.Unix(), To: g.To.Unix(), Reason: g.Reason,
		})
		h.log.Warn("a client has lost webhooks: retention took them before they were acknowledged", "token", c.token,
			"client", c.agent, "bucket", name, "count", g.Count, "from", g.From, "to", g.To, "reason", g.Reason)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.status(s)
	// Once it answers a ping that is queued from now on, it has read this.
	c.member.gaps, c.member.before = gaps, len(c.member.pings)
}
