package server

import (
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Reasons for which a body is not read to its end.
var (
	errHeld  = errors.New("the bodies in memory reached their bound")
	errShare = errors.New("too many bytes of bodies from one address")
)

// budget is a number of bytes, or of other things, that many share.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// shares are the budgets of addresses, so that no single one can use up what
// all have together. Addresses that use nothing are not kept.
type shares struct {
	max int64 // of each address

	mu sync.Mutex // guards of
	of map[netip.Prefix]int64
}

// take takes n of the share of an address. The zero address has no bound.
func (s *shares) take(from netip.Prefix, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !from.IsValid() || n == 0 {
		return true
	}
	if s.of[from]+n > s.max {
		return false
	}
	s.of[from] += n
	return true
}

func (s *shares) give(from netip.Prefix, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !from.IsValid() || n == 0 {
		return
	}
	s.of[from] -= n
	if s.of[from] == 0 {
		delete(s.of, from)
	}
}

// meter takes what it reads from the budget of all and from the share of its
// address, as it comes: a sender that only promises a large body takes nothing
// from the others.
type meter struct {
	all    *budget
	shares *shares
	from   netip.Prefix // zero: of no address that could be told apart
	r      io.Reader
	taken  int64
}

func (m *meter) Read(p []byte) (int, error) {
	read, err := m.r.Read(p)
	n := int64(read)
	if !m.shares.take(m.from, n) {
		return 0, errShare
	}
	if !m.all.take(n) {
		m.shares.give(m.from, n)
		return 0, errHeld
	}
	m.taken += n
	return read, err
}

func (m *meter) release() {
	m.all.give(m.taken)
	m.shares.give(m.from, m.taken)
}
