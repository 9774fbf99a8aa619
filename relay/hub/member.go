package hub

import (
	"cmp"
	"context"
	"slices"

	"hookrun/relay/account"
)

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
