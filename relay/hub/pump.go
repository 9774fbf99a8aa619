package hub

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// retryWait is how long a pump waits when the store can't be read.
const retryWait = 2 * time.Second

// pump hands out what a consumer is to get, as its members have room, until
// there is no member any more.
func (h *Hub) pump(ctx context.Context, c *consumer) {
	for {
		worked, err := h.handOut(ctx, c)
		switch {
		case err != nil && ctx.Err() == nil:
			h.log.Error("webhooks can't be read for a client, will try again", "in", retryWait, "err", err)
			if wait(ctx, retryWait) {
				continue
			}
		case worked:
			continue
		}
		if h.pumped(c) {
			return
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pumped reports whether a pump is to end, as nobody is there to hand to.
func (h *Hub) pumped(c *consumer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.pumping = len(c.members) > 0
	return !c.pumping
}

// handOut goes once through a consumer's positions. It reports whether it handed
// out anything.
func (h *Hub) handOut(ctx context.Context, c *consumer) (worked bool, err error) {
	for _, p := range h.followed(c) {
		w := h.want(c, p)
		if w.most == 0 {
			continue
		}
		pg, err := h.load(ctx, p, w)
		if err != nil {
			return worked, err
		}
		if h.hand(c, p, w, pg) {
			worked = true
		}
	}
	return worked, nil
}

// want is what a position is to get next.
type want struct {
	behind int64 // a Seq
	again  bool  // such that were handed out before
	most   int   // deliveries; 0: there are none, or nobody has room
}

// page is what there is of a want.
type page struct {
	ds   []*delivery
	upTo int64 // where ds is empty: there is none up to this Seq
}

// followed are the positions in buckets that a member follows, the one first that
// got nothing for longest: room comes bit by bit, and the first takes it. The order
// of the map would give a bucket several times what another gets.
func (h *Hub) followed(c *consumer) []*position {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ps []*position
	for id, p := range c.positions {
		if c.followedByOther(nil, id) {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b *position) int { return cmp.Compare(a.served, b.served) })
	return ps
}

// want looks what a position is to get next, as far as there is room.
func (h *Hub) want(c *consumer, p *position) want {
	h.mu.Lock()
	defer h.mu.Unlock()
	room := c.room(p.bucketID)
	switch {
	case len(p.pending) > 0:
		return want{p.pending[0] - 1, true, room}
	case len(p.order) >= maxAhead, p.current && h.feed(p.bucketID).last() <= p.next:
		return want{}
	}
	return want{p.next, false, room}
}

// load finds what is wanted, in memory where it is there. Frames are made here, as
// that takes time.
func (h *Hub) load(ctx context.Context, p *position, w want) (page, error) {
	h.mu.Lock()
	ds, ok := h.feed(p.bucketID).after(w.behind, w.most)
	pg := page{ds, h.last}
	h.mu.Unlock()
	if ok {
		h.measure(pg.ds)
		return pg, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	logs, err := h.o.Store.After(ctx, p.bucketID, w.behind, w.most, pageBytes)
	if err != nil {
		return page{}, err
	}
	a := h.o.Book.Now()
	for _, l := range logs {
		if l.Seq > pg.upTo {
			break // is published soon: whoever waits for its answer is to know it
		}
		pg.ds = append(pg.ds, newDelivery(l, a))
	}
	h.measure(pg.ds)
	return pg, nil
}

// measure finds the deliveries that can't be sent.
func (h *Hub) measure(ds []*delivery) {
	for _, d := range ds {
		if _, err := d.encoded(); err != nil && d.unsendable.CompareAndSwap(false, true) && h.refusals.Allow() {
			h.log.Error("a webhook can't be sent to clients; it is kept in the log", "delivery", d.log.ID, "bytes", len(d.log.Body), "err", err)
		}
	}
}

// hand gives deliveries to members, in order, while they have room. It reports
// whether there is more to do at once.
func (h *Hub) hand(c *consumer, p *position, w want, pg page) (worked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case c.positions[p.bucketID] != p: // is another consumer's now, or gone with its bucket
		return false
	case w.again:
		return h.handAgain(c, p, w, pg)
	case len(p.pending) > 0:
		return true // somebody left meanwhile: what comes back is first
	case len(pg.ds) == 0:
		p.skip(pg.upTo)
		return h.feed(p.bucketID).last() > p.next
	}
	for _, d := range pg.ds {
		seq := d.log.Seq
		switch {
		case p.acked[seq], d.unsendable.Load():
			h.passOver(p, d)
			worked = true
			continue
		case len(p.order) >= maxAhead || !h.give(c, p, d, false):
			return worked
		}
		p.next = seq
		p.order = append(p.order, seq)
		worked = true
	}
	return worked
}

// passOver leaves a delivery out: it was acknowledged before the hub was made, or
// can't be sent. It stays in order, so that it is not forgotten before those in
// front of it are acknowledged.
func (h *Hub) passOver(p *position, d *delivery) {
	if d.unsendable.Load() {
		h.count(p.bucketID).Dropped++
	}
	p.next = d.log.Seq
	p.order = append(p.order, d.log.Seq)
	p.ack(d.log.Seq)
}

// handAgain is hand for deliveries that were handed out before. What is not there
// any more, retention has taken: it counts as acknowledged.
func (h *Hub) handAgain(c *consumer, p *position, w want, pg page) (worked bool) {
	for len(p.pending) > 0 {
		seq := p.pending[0]
		i, found := slices.BinarySearchFunc(pg.ds, seq, func(d *delivery, seq int64) int { return cmp.Compare(d.log.Seq, seq) })
		switch {
		case seq <= w.behind:
			return true // came back meanwhile: nobody has looked for it yet
		case found && pg.ds[i].unsendable.Load(): // by a name that it had not before
			h.count(p.bucketID).Dropped++
			p.ack(seq)
		case found:
			if !h.give(c, p, pg.ds[i], true) {
				return worked
			}
		case i == len(pg.ds) && len(pg.ds) > 0:
			return true // on the next page
		default:
			p.ack(seq)
		}
		p.pending = p.pending[1:]
		worked = true
	}
	return worked
}

// give hands a delivery to a member with room. It reports false where none has.
func (h *Hub) give(c *consumer, p *position, d *delivery, again bool) bool {
	size := d.bytes
	m := c.pick(p.bucketID, size)
	if m == nil {
		return false
	}
	c.handed++
	p.served, m.served = c.handed, c.handed
	m.number++
	m.inflight[d.log.ID] = sent{p, d.log.Seq, size, m.number}
	m.bytes += size
	count := h.count(p.bucketID)
	count.Delivered++
	if again {
		count.Resent++
	}
	d.taken = true
	h.reopen(d)
	m.conn.assign(d)
	return true
}

// reopen lets a delivery be answered that was received a while ago: it gets to a
// client only now.
func (h *Hub) reopen(d *delivery) {
	now := time.Now()
	if now.Sub(d.log.Received) > answerWindow/2 && len(h.reopened) < maxReopened {
		h.reopened[d.log.ID] = now.Add(answerWindow)
	}
}
