package hub

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hookrun/relay/account"
)

// Clients are the subscribers: those that are connected, in the order in which
// they came, then those that acknowledge and are away, by name.
func (h *Hub) Clients(ctx context.Context) ([]account.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	saved, err := h.savedPlaces(ctx)
	if err != nil {
		return nil, err
	}
	all := h.look(saved)
	counted := make(map[backlog]int64)
	clients := make([]account.Client, 0, len(all))
	for i := range all {
		if err := h.countBacklogs(ctx, &all[i], counted); err != nil {
			return nil, err
		}
		clients = append(clients, all[i].client)
	}
	return clients, nil
}

// place is a consumer in a bucket.
type place struct{ key, bucketID string }

func (h *Hub) savedPlaces(ctx context.Context) (map[place]account.Consumer, error) {
	saved, err := h.o.Store.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	places := make(map[place]account.Consumer, len(saved))
	for _, s := range saved {
		places[place{s.Name, s.BucketID}] = s
	}
	return places, nil
}

// backlog is what is kept in a bucket behind a Seq.
type backlog struct {
	bucketID string
	behind   int64
}

// known is a client as it is told, and what is still to be counted.
type known struct {
	client account.Client
	behind map[string]backlog // by the name of the bucket
	acked  map[string]int64   // of these, acknowledged; by the name of the bucket
}

// look returns the clients, without what waits for them.
func (h *Hub) look(saved map[place]account.Consumer) []known {
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
	all := make([]known, 0, len(conns))
	for _, c := range conns {
		all = append(all, c.known(a, saved))
	}
	var away []known
	for _, c := range h.consumers {
		if c.conns > 0 {
			continue
		}
		if k := c.away(a, saved); len(k.client.Buckets) > 0 {
			away = append(away, k)
		}
	}
	slices.SortFunc(away, func(a, b known) int {
		return cmp.Or(strings.Compare(a.client.Name, b.client.Name), strings.Compare(a.client.AccessTokenKey, b.client.AccessTokenKey),
			strings.Compare(a.client.Group, b.client.Group))
	})
	return append(all, away...)
}

// known is a client that is connected; Hub.mu is held.
func (c *conn) known(a *account.Account, saved map[place]account.Consumer) known {
	name, version, _ := strings.Cut(c.agent, "/")
	k := known{client: account.Client{AccessTokenKey: c.token, IP: c.ip.String(), Type: name, Version: version, SubscribedAt: account.At(c.since)}}
	if c.member != nil {
		k.client.Acks = true
		c.member.of.tell(&k, a, saved, maps.Clone(c.follows))
		return k
	}
	for id := range c.follows {
		if b := a.Bucket(id); b != nil {
			k.client.Buckets = append(k.client.Buckets, b.Name)
		}
	}
	slices.Sort(k.client.Buckets)
	return k
}

// away is a consumer that is not connected; Hub.mu is held.
func (c *consumer) away(a *account.Account, saved map[place]account.Consumer) known {
	k := known{client: account.Client{Acks: true, Away: true}}
	k.client.AccessTokenKey, _ = c.owner()
	in := make(map[string]bool, len(c.positions))
	for id := range c.positions {
		in[id] = true
		if seen := account.At(saved[place{c.key, id}].Seen); seen.After(k.client.LastSeen.Time) {
			k.client.LastSeen = seen
		}
	}
	c.tell(&k, a, saved, in)
	return k
}

// owner is what consumerKey was made of. A name may have separators in it.
func (c *consumer) owner() (token, name string) {
	token, rest, _ := strings.Cut(c.key, keySeparator)
	_, name, _ = strings.Cut(rest, keySeparator)
	return token, name
}

// tell says of a consumer its name, and how far it is in some buckets, by id;
// Hub.mu is held.
func (c *consumer) tell(k *known, a *account.Account, saved map[place]account.Consumer, in map[string]bool) {
	_, k.client.Name = c.owner()
	if c.group {
		k.client.Group = k.client.Name
	}
	k.behind, k.acked = make(map[string]backlog), make(map[string]int64)
	for id := range in {
		b, p := a.Bucket(id), c.positions[id]
		if b == nil || p == nil {
			continue
		}
		k.client.Buckets = append(k.client.Buckets, b.Name)
		// Retention moves what is saved, and not what is in memory.
		behind := max(p.settled(), saved[place{c.key, id}].Acked)
		if behind >= c.h.last {
			continue
		}
		k.behind[b.Name] = backlog{id, behind}
		for seq := range p.acked {
			if seq > behind {
				k.acked[b.Name]++
			}
		}
	}
	slices.Sort(k.client.Buckets)
}

// countBacklogs counts what waits for a client. What was counted before is in
// counted.
func (h *Hub) countBacklogs(ctx context.Context, k *known, counted map[backlog]int64) error {
	for name, b := range k.behind {
		n, ok := counted[b]
		if !ok {
			var err error
			if n, err = h.o.Store.Waiting(ctx, b.bucketID, b.behind); err != nil {
				return err
			}
			counted[b] = n
		}
		if n = max(n-k.acked[name], 0); n > 0 {
			if k.client.Waiting == nil {
				k.client.Waiting = make(map[string]int64)
			}
			k.client.Waiting[name] = n
		}
	}
	return nil
}

// Forget forgets a client that is away, as Clients tells it: its positions, and so
// what waits for it. The error wraps account.ErrNotFound, or account.ErrConnected;
// then, and with every other error, what waits goes on waiting.
func (h *Hub) Forget(ctx context.Context, k account.Client) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	h.saving.Lock() // what is saved now would be forgotten by half
	defer h.saving.Unlock()
	key := consumerKey(k.AccessTokenKey, k.Name, k.Group != "")
	if err := h.absent(key); err != nil {
		return fmt.Errorf("client %s: %w", k.Name, err)
	}
	if err := h.o.Store.ForgetConsumer(ctx, key); err != nil {
		return err
	}
	if !h.forgotten(key) {
		return fmt.Errorf("client %s: %w", k.Name, account.ErrConnected)
	}
	h.log.Info("a client is forgotten, with what waited for it", "token", k.AccessTokenKey, "client", cut(k.Name), "group", k.Group != "")
	return nil
}

// absent returns why a consumer can't be forgotten, or nil.
func (h *Hub) absent(key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch c := h.consumers[key]; {
	case c == nil:
		return account.ErrNotFound
	case c.conns > 0:
		return account.ErrConnected
	}
	return nil
}

// forgotten drops a consumer that the store has forgotten. It reports false where a
// client of it came meanwhile: then its positions are saved again.
func (h *Hub) forgotten(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.consumers[key]
	if c == nil || c.conns == 0 {
		delete(h.consumers, key)
		return true
	}
	for _, p := range c.positions {
		p.kept, p.dirty = false, true
	}
	h.hurry()
	return false
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
		if !h.usable(c.key) {
			continue // it can't come, whatever is kept for it
		}
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
