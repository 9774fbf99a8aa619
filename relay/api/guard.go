package api

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds on logins that fail, for one address.
const (
	failBurst = 10              // at once, and then
	failEvery = 5 * time.Second // one in this time

	// An address with a login that was right not long ago fails against a wider
	// bound: one client with an old secret that tries again every few seconds must
	// not lock out the others behind the same router.
	knownBurst = 100
	knownEvery = time.Second
	knownFor   = 10 * time.Minute // since the login that was right

	maxAddresses = 4096 // that are remembered; the one not heard of for longest is forgotten
)

// Guard slows down whoever guesses secrets, by address: an IPv4 address, or the
// /64 network of an IPv6 address. An address has 10 failed logins, and one more
// every 5 s; within 10 minutes after a login that was right it has 100, and one
// more every second. So somebody with a token of their own can guess once a
// second, which is far too slow for the secrets that a relay makes.
//
// This machine itself is not bound, as a proxy on it would be all its clients at
// once; nor is the zero address. Make one with NewGuard; it is safe for
// concurrent use.
type Guard struct {
	mu        sync.Mutex // guards addresses, and what is in it
	addresses *recent[netip.Prefix, *visitor]
}

// visitor is an address that logged in, or tried to.
type visitor struct {
	strict, wide *rate.Limiter
	known        time.Time // when a login was right last
}

// NewGuard returns a guard that knows nobody yet.
func NewGuard() *Guard {
	return &Guard{addresses: newRecent[netip.Prefix, *visitor](maxAddresses)}
}

// Allowed reports whether an address may try to log in now. Where not, its
// secret must not be looked at.
func (g *Guard) Allowed(a netip.Addr) bool {
	from, bound := network(a)
	if !bound {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.addresses.get(from)
	return !ok || v.allowed(time.Now())
}

// Failed notes that a login failed.
func (g *Guard) Failed(a netip.Addr) {
	now := time.Now()
	g.visit(a, func(v *visitor) {
		// Those that were tried at the same time are all counted, as a debt. In the
		// wider bound the strict one has none: it would last for days.
		v.wide.ReserveN(now, 1)
		if v.isKnown(now) {
			v.strict.AllowN(now, 1)
			return
		}
		v.strict.ReserveN(now, 1)
	})
}

// Passed notes that a login was right.
func (g *Guard) Passed(a netip.Addr) {
	g.visit(a, func(v *visitor) { v.known = time.Now() })
}

func (g *Guard) visit(a netip.Addr, note func(*visitor)) {
	from, bound := network(a)
	if !bound {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	note(g.addresses.getOrMake(from, func() *visitor {
		return &visitor{
			strict: rate.NewLimiter(rate.Every(failEvery), failBurst),
			wide:   rate.NewLimiter(rate.Every(knownEvery), knownBurst),
		}
	}))
}

func (v *visitor) allowed(now time.Time) bool {
	if v.isKnown(now) {
		return v.wide.TokensAt(now) >= 1
	}
	return v.strict.TokensAt(now) >= 1
}

func (v *visitor) isKnown(now time.Time) bool {
	return !v.known.IsZero() && now.Sub(v.known) < knownFor
}

// network is whom the bounds hold for. An IPv6 address is one of more than could
// be counted, so they hold for its network.
func network(a netip.Addr) (p netip.Prefix, bound bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsLoopback() {
		return p, false
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}
