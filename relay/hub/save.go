package hub

import (
	"context"
	"slices"
	"time"

	"hookrun/relay/account"
)

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

// move is a consumer that goes on under another key.
type move struct{ from, to string }

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
