package hub

import (
	"cmp"
	"slices"

	"hookrun/relay/account"
)

// feed is what was published in a bucket lately, and who is to get what comes.
// Hub.mu guards it.
type feed struct {
	recent []*delivery // by Seq; those of Hub.recent that are of this bucket
	behind int64       // recent holds every delivery with a greater Seq

	plain     map[*conn]bool
	consumers map[*consumer]bool // that have a member who subscribed
}

// feed returns that of a bucket; mu is held.
func (h *Hub) feed(bucketID string) *feed {
	f := h.feeds[bucketID]
	if f == nil {
		f = &feed{behind: h.known, plain: make(map[*conn]bool), consumers: make(map[*consumer]bool)}
		h.feeds[bucketID] = f
	}
	return f
}

// last is the Seq of the newest delivery that was published, 0 where none was.
func (f *feed) last() int64 {
	if len(f.recent) == 0 {
		return f.behind
	}
	return f.recent[len(f.recent)-1].log.Seq
}

// after returns what is behind a Seq. ok is false where only the store can tell.
func (f *feed) after(seq int64, most int) (ds []*delivery, ok bool) {
	if seq < f.behind {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(f.recent, seq+1, func(d *delivery, seq int64) int { return cmp.Compare(d.log.Seq, seq) })
	ds = f.recent[i:]
	return slices.Clone(ds[:min(most, len(ds))]), true
}

// publish hands deliveries that are on disk to subscribers. It is called in the
// order of Seq, by whoever commits, so it waits for nothing.
func (h *Hub) publish(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		h.last, d.published = max(h.last, d.log.Seq), true
		h.count(d.log.BucketID).Received++
		if !d.log.Internal {
			continue
		}
		f := h.feed(d.log.BucketID)
		h.remember(f, d)
		d.taken = len(f.plain)+len(f.consumers) > 0
		for c := range f.plain {
			if c.enqueue(d) {
				h.count(d.log.BucketID).Delivered++
			}
		}
		for c := range f.consumers {
			c.notify()
		}
	}
}

// remember keeps a delivery for those who come for it soon, and forgets the
// oldest for it; mu is held.
func (h *Hub) remember(f *feed, d *delivery) {
	h.recent = append(h.recent, d)
	h.bytes += d.bytes
	f.recent = append(f.recent, d)
	for len(h.recent) > 1 && (len(h.recent) > maxRecent || h.bytes > maxRecentBytes) {
		old := h.recent[0]
		h.recent[0] = nil
		h.recent = h.recent[1:]
		h.bytes -= old.bytes
		of := h.feeds[old.log.BucketID]
		of.recent[0] = nil
		of.recent = of.recent[1:]
		of.behind = old.log.Seq
	}
}

// forgetFeeds forgets what there is of buckets that are gone; mu is held.
func (h *Hub) forgetFeeds(a *account.Account) {
	for id, f := range h.feeds {
		if a.Bucket(id) == nil && len(f.recent)+len(f.plain)+len(f.consumers) == 0 {
			delete(h.feeds, id)
			h.known = h.last // what is behind it in this bucket, only the store knows
		}
	}
}

// Counts is what became of a bucket's webhooks since the hub was made.
type Counts struct {
	Received  int64 // deliveries that came in
	Delivered int64 // queued for a subscriber, or answered by a destination; each subscriber counts
	Resent    int64 // of Delivered, once more to a consumer that had not acknowledged
	Dropped   int64 // not read by a subscriber: it was too slow, or retention was first
	Slow      int64 // subscribers that were cut off for it
	Acked     int64 // acknowledged by consumers
}

// count returns the counts of a bucket; mu is held.
func (h *Hub) count(bucketID string) *Counts {
	c := h.counts[bucketID]
	if c == nil {
		c = &Counts{}
		h.counts[bucketID] = c
	}
	return c
}
