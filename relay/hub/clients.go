package hub

import (
	"context"
	"slices"
	"strings"

	"hookrun/relay/account"
)

// Clients are the subscribers that are connected, in the order in which they
// came. What waits for a consumer is left out: see Waiting.
func (h *Hub) Clients() []account.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.o.Book.Now()
	var conns []*conn
	for c := range h.conns {
		if c.subscribed {
			conns = append(conns, c)
		}
	}
	slices.SortFunc(conns, func(a, b *conn) int { return a.number - b.number })
	clients := make([]account.Client, 0, len(conns))
	for _, c := range conns {
		name, version, _ := strings.Cut(c.agent, "/")
		k := account.Client{AccessTokenKey: c.token, IP: c.ip.String(), Type: name, Version: version, SubscribedAt: account.At(c.since)}
		for id := range c.follows {
			if b := a.Bucket(id); b != nil {
				k.Buckets = append(k.Buckets, b.Name)
			}
		}
		slices.Sort(k.Buckets)
		if m := c.member; m != nil {
			k.Acks, k.Waiting = true, int64(len(m.inflight))
			if m.of.group {
				_, k.Group, _ = strings.Cut(m.of.key, keySeparator+kindGroup+keySeparator)
			}
		}
		clients = append(clients, k)
	}
	return clients
}

// Stats is a bucket's Counts and what is there now.
type Stats struct {
	Counts
	Subscribers int
	Waiting     int64 // deliveries that the consumer furthest behind has not got or not acknowledged
}

// Stats are those of all buckets, by id.
func (h *Hub) Stats(ctx context.Context) (map[string]Stats, error) {
	stats, oldest := h.now()
	for id, seq := range oldest {
		n, err := h.o.Store.Waiting(ctx, id, seq)
		if err != nil {
			return nil, err
		}
		s := stats[id]
		s.Waiting = n
		stats[id] = s
	}
	return stats, nil
}

// now returns what can be told without the store, and for each bucket that has
// consumers the Seq of the one furthest behind, where that is not at the end.
func (h *Hub) now() (map[string]Stats, map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stats, oldest := make(map[string]Stats), make(map[string]int64)
	a := h.o.Book.Now()
	for i := range a.Buckets {
		s := Stats{}
		if c := h.counts[a.Buckets[i].ID]; c != nil {
			s.Counts = *c
		}
		stats[a.Buckets[i].ID] = s
	}
	for c := range h.conns {
		for id := range c.follows {
			if s, ok := stats[id]; ok {
				s.Subscribers++
				stats[id] = s
			}
		}
	}
	for _, c := range h.consumers {
		for id, p := range c.positions {
			seq := p.settled()
			if _, known := stats[id]; !known || seq >= h.last {
				continue
			}
			if o, ok := oldest[id]; !ok || seq < o {
				oldest[id] = seq
			}
		}
	}
	return stats, oldest
}

// CountDropped notes that retention took deliveries that a consumer had not
// acknowledged.
func (h *Hub) CountDropped(bucketID string, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(bucketID).Dropped += n
}
