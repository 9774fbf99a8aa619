package hub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"hookrun/relay/account"
)

// consumer is a client, or a group of clients, that acknowledges what it gets.
// Hub.mu guards it.
type consumer struct {
	h         *Hub
	key       string // token, kind and name: a token can't reach another's position
	group     bool
	positions map[string]*position // by bucket id
	members   map[*member]bool     // that are connected and subscribed

	conns   int   // that logged in under its name, subscribed or not
	handed  int64 // deliveries, to all members
	pumping bool
	wake    chan struct{} // of 1: there may be something to hand out; never closed
}

// position is how far a consumer is in a bucket. Of what it was handed, order
// holds all behind the first that it has not acknowledged.
type position struct {
	bucketID string
	next     int64          // what is behind it was never handed out
	order    []int64        // handed out; ascending; its first is not acknowledged
	acked    map[int64]bool // those of order that are, and those that were before the hub was made
	pending  []int64        // those of order that nobody has now; ascending
	current  bool           // the store has nothing behind next but what was published since
	dirty    bool           // to be saved
	kept     bool           // was saved once
	served   int64          // consumer.handed, when something of it was handed out last
}

// member is a consumer's connection.
type member struct {
	of       *consumer
	conn     *conn
	joined   bool
	inflight map[string]sent // by the delivery's id
	bytes    int             // of these
	number   int64           // of the last that was handed to it
	served   int64           // consumer.handed, when it was handed something last
	pings    []int64         // number, when each ping was queued that is not answered
	mute     bool            // it does not answer pings
	gaps     []account.Gap   // that it was told of, and may not have read of yet
	before   int             // pings of pings that were queued before that
}

// sent is a delivery that a member has and has not acknowledged.
type sent struct {
	at     *position
	seq    int64
	size   int
	number int64
}

// A consumer's key is a token's, a kind and a name, with separators between.
const (
	keySeparator = "\n" // stands in no token's key
	kindClient   = "client"
	kindGroup    = "group"
)

func consumerKey(token, name string, group bool) string {
	kind := kindClient
	if group {
		kind = kindGroup
	}
	return token + keySeparator + kind + keySeparator + name
}

// newMember returns a client's place among those of its consumer; nil where there
// are too many consumers. mu is held.
func (h *Hub) newMember(c *conn, token, name string, group bool) *member {
	key := consumerKey(token, name, group)
	if h.consumers[key] == nil && (len(h.consumers) >= maxConsumers || h.consumersOf(token) >= maxTokenConsumers) {
		if h.refusals.Allow() {
			h.log.Error("too many clients that acknowledge", "most", maxConsumers, "of one token", maxTokenConsumers, "token", token)
		}
		return nil
	}
	of := h.consumer(key)
	of.group = group
	of.conns++
	h.adopt(of, kindAndName(key))
	return &member{of: of, conn: c, inflight: make(map[string]sent)}
}

// kindAndName is a key without its token.
func kindAndName(key string) string {
	_, rest, _ := strings.Cut(key, keySeparator)
	return rest
}

// adopt has a new consumer go on where the same client was under another token: a
// key is renewed by making another. A client's id is long and random, so whoever
// says it is that client; a group's name is not, so its old token has to be gone.
// mu is held.
func (h *Hub) adopt(of *consumer, name string) {
	if len(of.positions) > 0 {
		return
	}
	for key, c := range h.consumers {
		if c == of || len(c.positions) == 0 || kindAndName(key) != name || of.group && (c.conns > 0 || h.usable(key)) {
			continue
		}
		for old := range h.conns { // that nobody knows yet to be dead
			if old.member != nil && old.member.of == c {
				h.cut(old, closeReplaced, reasonReplaced)
			}
		}
		of.positions, c.positions = c.positions, make(map[string]*position) // its pump may be at work still: see hand
		for _, p := range of.positions {
			p.dirty, p.kept = true, false
		}
		delete(h.consumers, key)
		h.moved = append(h.moved, move{key, of.key})
		h.log.Info("a client goes on under another token", "buckets", len(of.positions))
		return
	}
}

// usable reports whether the token of a consumer's key still gives access.
func (h *Hub) usable(key string) bool {
	token, _, _ := strings.Cut(key, keySeparator)
	t := h.o.Book.Now().Token(token)
	return t != nil && t.Active
}

// consumersOf counts those of a token: none may take the places of all. mu is held.
func (h *Hub) consumersOf(token string) int {
	n := 0
	for key := range h.consumers {
		if strings.HasPrefix(key, token+keySeparator) {
			n++
		}
	}
	return n
}

// release gives a place back that newMember gave. A consumer that never subscribed
// is forgotten. Hub.mu is held.
func (c *consumer) release() {
	c.conns--
	if c.conns == 0 && len(c.positions) == 0 && c.h.consumers[c.key] == c {
		delete(c.h.consumers, c.key)
	}
}

// consumer returns that of a key; mu is held.
func (h *Hub) consumer(key string) *consumer {
	c := h.consumers[key]
	if c == nil {
		c = &consumer{h: h, key: key, positions: make(map[string]*position), members: make(map[*member]bool), wake: make(chan struct{}, 1)}
		h.consumers[key] = c
	}
	return c
}

// restore takes a position as it was saved.
func (c *consumer) restore(s account.Consumer) {
	c.group = s.Group
	p := &position{bucketID: s.BucketID, next: s.Acked, acked: make(map[int64]bool), kept: true}
	for _, seq := range s.Above {
		p.acked[seq] = true
	}
	c.positions[s.BucketID] = p
}

// position returns that in a bucket. A new one begins at the end or, where nobody
// has ever subscribed to the bucket, at the beginning: what was sent before the
// first client came is for it. Hub.mu is held.
func (c *consumer) position(bucketID string) *position {
	if p := c.positions[bucketID]; p != nil {
		return p
	}
	seq := c.h.last
	if b := c.h.o.Book.Now().Bucket(bucketID); b != nil && !b.Heard {
		seq = 0
	}
	// What a sender waits with for the first client to come is for this one.
	for _, w := range c.h.waiting {
		for _, d := range w.ds {
			if d.log.BucketID == bucketID && d.held() {
				seq = min(seq, d.log.Seq-1)
			}
		}
	}
	p := &position{bucketID: bucketID, next: seq, acked: make(map[int64]bool), dirty: true}
	c.positions[bucketID] = p
	return p
}

// keepPositions makes a client's positions, and has them on disk before it is
// told that it is subscribed: what comes from then on is kept for it.
func (h *Hub) keepPositions(ctx context.Context, c *conn, f filter) error {
	h.mu.Lock()
	kept := true
	for id := range c.wanted(f, h.o.Book.Now()) {
		kept = c.member.of.position(id).kept && kept
	}
	h.mu.Unlock()
	if kept {
		return nil
	}
	return h.save(ctx)
}

// saved is a position as it is stored.
func (c *consumer) saved(p *position) account.Consumer {
	s := account.Consumer{Name: c.key, Group: c.group, BucketID: p.bucketID, Acked: p.settled(), Seen: time.Now().UTC()}
	for seq := range p.acked {
		s.Above = append(s.Above, seq)
	}
	slices.Sort(s.Above)
	return s
}

// settled is the Seq up to which everything is acknowledged, or was never for
// the consumer.
func (p *position) settled() int64 {
	if len(p.order) == 0 {
		return p.next
	}
	return p.order[0] - 1
}

// ack notes that a delivery is acknowledged.
func (p *position) ack(seq int64) {
	p.acked[seq], p.dirty = true, true
	for len(p.order) > 0 && p.acked[p.order[0]] {
		delete(p.acked, p.order[0])
		p.order = p.order[1:]
	}
}

// skip notes that there is nothing to hand out up to a Seq.
func (p *position) skip(upTo int64) {
	p.current = true
	if upTo <= p.next {
		return
	}
	p.next, p.dirty = upTo, true
	maps.DeleteFunc(p.acked, func(seq int64, _ bool) bool { // retention took it
		_, handed := slices.BinarySearch(p.order, seq)
		return !handed && seq <= upTo
	})
}

// notify has the pump look for something to hand out; Hub.mu is held.
func (c *consumer) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// followedByOther reports whether a member other than m follows a bucket.
func (c *consumer) followedByOther(m *member, bucketID string) bool {
	for other := range c.members {
		if other != m && other.conn.follows[bucketID] {
			return true
		}
	}
	return false
}

// join has a member take part; of a client that is no group the newest
// connection alone does. Hub.mu is held.
func (m *member) join() {
	c := m.of
	if !c.group {
		for other := range c.members {
			c.h.cut(other.conn, closeReplaced, reasonReplaced)
		}
	}
	m.joined = true
	c.members[m] = true
	if !c.pumping {
		c.pumping = true
		life := c.h.life
		c.h.wg.Go(func() { c.h.pump(life, c) })
	}
}

// leave takes a member out. What it has not acknowledged is for another, or for
// its next connection. Hub.mu is held.
func (m *member) leave() {
	if !m.joined {
		return
	}
	m.joined = false
	delete(m.of.members, m)
	for _, s := range m.inflight {
		s.at.pending = append(s.at.pending, s.seq)
	}
	for id, p := range m.of.positions {
		slices.Sort(p.pending)
		p.dirty = p.dirty || m.conn.follows[id] // for when it was seen
	}
	m.inflight, m.bytes = nil, 0
	m.of.notify()
}

// hasRoom reports whether a member may be handed another delivery.
func (m *member) hasRoom(size int) bool {
	n := len(m.inflight)
	return n == 0 || n < windowFrames && m.bytes+size <= windowBytes
}

// gets reports whether a member is to get what comes in a bucket.
func (m *member) gets(bucketID string) bool { return m.conn.follows[bucketID] && !m.conn.isOver() }

// room is how many deliveries of a bucket the members may be handed, at most a
// page.
func (c *consumer) room(bucketID string) int {
	room := 0
	for m := range c.members {
		if m.gets(bucketID) && m.hasRoom(perDelivery) {
			room += windowFrames - len(m.inflight)
		}
	}
	return min(room, pageLogs)
}

// pick returns the member that follows a bucket and has the least to do; nil
// where none has room.
func (c *consumer) pick(bucketID string, size int) *member {
	var best *member
	for m := range c.members {
		if m.gets(bucketID) && m.hasRoom(size) && (best == nil || m.idler(best)) {
			best = m
		}
	}
	return best
}

// idler reports whether m has less to do than o or, where both have as much, was
// handed something longer ago. The order of a small map is no fair dice.
func (m *member) idler(o *member) bool {
	return cmp.Or(cmp.Compare(len(m.inflight), len(o.inflight)), cmp.Compare(m.served, o.served)) < 0
}

// acked is what a client says when webhooks are safe with it. It reports false
// when the connection is to end.
func (c *conn) acked(ids []string) bool {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	m := c.member
	if m == nil || !m.joined {
		return true
	}
	for _, id := range ids {
		s, ok := m.inflight[id]
		if !ok {
			// A name that was damaged on the way: whoever it meant waits in vain.
			c.finish(closeLost, reasonLost)
			return false
		}
		delete(m.inflight, id)
		m.bytes -= s.size
		s.at.ack(s.seq)
		h.count(s.at.bucketID).Acked++
	}
	m.of.notify()
	if m.of.group {
		h.hurry() // what another member would get again is bounded by this
	}
	return true
}

// pinged notes what a member had been handed when a ping was queued; Hub.mu is
// held.
func (m *member) pinged() {
	if m.mute = m.mute || len(m.pings) == maxPings; !m.mute {
		m.pings = append(m.pings, m.number)
	}
}

// move is a consumer that goes on under another key.
type move struct{ from, to string }

// ponged takes the answer to a ping. It reports false when the connection is to
// end.
func (c *conn) ponged(ctx context.Context, held *int) bool {
	told, ok := c.compare(held)
	if len(told) == 0 {
		return ok
	}
	if err := c.h.o.Store.ForgetGaps(ctx, told); err != nil {
		c.h.log.Error("a client will be told again of what it lost", "token", c.token, "err", err)
	}
	return ok
}

// compare compares what a client holds with what it was sent before the ping. It
// reports false when the connection is to end: a frame got lost on the way. told
// are the gaps that the client is known to have read of.
func (c *conn) compare(held *int) (told []account.Gap, ok bool) {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	m := c.member
	if m == nil || m.mute || len(m.pings) == 0 {
		return nil, true
	}
	upTo := m.pings[0]
	m.pings = m.pings[1:]
	if m.before--; m.before < 0 {
		told, m.gaps = m.gaps, nil
	}
	if held == nil {
		return told, true
	}
	open := 0
	for _, s := range m.inflight {
		if s.number <= upTo {
			open++
		}
	}
	if open > *held {
		h.log.Warn("webhooks were lost on the way to a client, and are sent again", "token", c.token, "client", c.agent, "lost", open-*held)
		c.finish(closeLost, reasonLost)
		return told, false
	}
	return told, true
}

// save stores the positions that have changed.
func (h *Hub) save(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	h.saving.Lock()
	defer h.saving.Unlock()
	if err := h.saveMoves(ctx); err != nil {
		return err
	}
	changed, positions := h.takeDirty()
	if len(changed) == 0 {
		return nil
	}
	err := h.o.Store.SaveConsumers(ctx, changed)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range positions {
		p.kept = p.kept || err == nil
		p.dirty = p.dirty || err != nil
	}
	return err
}

// saveMoves has the store know who goes on under another token.
func (h *Hub) saveMoves(ctx context.Context) error {
	for {
		h.mu.Lock()
		moved := h.moved
		h.mu.Unlock()
		if len(moved) == 0 {
			return nil
		}
		if err := h.o.Store.RenameConsumer(ctx, moved[0].from, moved[0].to); err != nil {
			return err
		}
		h.mu.Lock()
		h.moved = h.moved[1:] // only here something is taken out
		h.mu.Unlock()
	}
}

// saveOrTell is save for who can do nothing about an error.
func (h *Hub) saveOrTell(ctx context.Context) {
	if err := h.save(ctx); err != nil && ctx.Err() == nil {
		h.log.Warn("positions of clients are not stored; after a restart they get some webhooks again", "err", err)
	}
}

// forget drops the positions that the store has forgotten, as their consumers
// were away for long.
func (h *Hub) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	h.saving.Lock() // who is saved now is not forgotten
	defer h.saving.Unlock()
	saved, err := h.o.Store.Consumers(ctx)
	if err != nil {
		return err
	}
	type place struct{ key, bucketID string }
	known := make(map[place]bool)
	for _, s := range saved {
		known[place{s.Name, s.BucketID}] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, c := range h.consumers {
		if c.conns > 0 || c.pumping {
			continue
		}
		for id, p := range c.positions {
			if p.kept && !p.dirty && !known[place{key, id}] {
				delete(c.positions, id)
			}
		}
		if len(c.positions) == 0 {
			delete(h.consumers, key)
		}
	}
	return nil
}

func (h *Hub) takeDirty() (changed []account.Consumer, positions []*position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.consumers {
		for _, p := range c.positions {
			if p.dirty {
				p.dirty = false
				changed = append(changed, c.saved(p))
				positions = append(positions, p)
			}
		}
	}
	return changed, positions
}

// hurry has positions saved at once.
func (h *Hub) hurry() {
	select {
	case h.saveNow <- struct{}{}:
	default:
	}
}
