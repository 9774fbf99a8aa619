package hub

import (
	"maps"
	"slices"
	"strings"

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
