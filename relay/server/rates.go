package server

import (
	"container/list"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// Bounds on the requests of one address.
const (
	ratePerSecond = 50
	rateBurst     = 200
	maxAddresses  = 4096 // that are remembered; the one not heard of for longest is forgotten
)

// rates bounds how often an address may ask.
type rates struct {
	max int // addresses

	mu     sync.Mutex // guards of and recent
	of     map[netip.Prefix]*list.Element
	recent *list.List // of *asker, the latest in front
}

// asker is an address that asked.
type asker struct {
	from   netip.Prefix
	bucket *rate.Limiter
}

func newRates() *rates {
	return &rates{max: maxAddresses, of: make(map[netip.Prefix]*list.Element), recent: list.New()}
}

// allow reports whether an address may ask now, and counts that it did.
func (r *rates) allow(from netip.Prefix) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[from]; e != nil {
		r.recent.MoveToFront(e)
		return e.Value.(*asker).bucket.Allow()
	}
	if len(r.of) == r.max {
		oldest := r.recent.Remove(r.recent.Back()).(*asker)
		delete(r.of, oldest.from)
	}
	a := &asker{from, rate.NewLimiter(ratePerSecond, rateBurst)}
	r.of[from] = r.recent.PushFront(a)
	return a.bucket.Allow()
}
