package store

import (
	"context"
	"sync/atomic"
)

// How far the database may grow beyond its bound.
const (
	slackShare = 10      // by a tenth, before a sweep is called
	minSlack   = 1 << 20 // and so many bytes in any case: a sweep has its cost
)

// room lets the database grow only so far beyond its bound between two sweeps.
type room struct {
	fresh   atomic.Int64                  // bytes accepted since the last sweep
	crowded chan struct{}                 // holds one value while a sweep is called for; never closed
	shut    atomic.Pointer[chan struct{}] // what Accept waits for; nil: for nothing. Closed by open
}

func newRoom() room { return room{crowded: make(chan struct{}, 1)} }

// enter waits while a sweep can't keep up with what comes. It returns an error
// where ctx ends first.
func (r *room) enter(ctx context.Context, ended <-chan struct{}) error {
	shut := r.shut.Load()
	if shut == nil {
		return nil
	}
	select {
	case <-*shut:
	case <-ended: // there is no sweep any more: let it be refused
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// took calls for a sweep when more than slack was accepted since the last. When
// it is twice as much, that one has not begun yet: who comes waits for it.
func (r *room) took(bytes, slack int64) {
	fresh := r.fresh.Add(bytes)
	if fresh < slack {
		return
	}
	if fresh >= 2*slack {
		r.hold() // before the call, so that a sweep follows which ends it
	}
	select {
	case r.crowded <- struct{}{}:
	default:
	}
}

// swept begins to count anew.
func (r *room) swept() { r.fresh.Store(0) }

// hold makes those who come wait.
func (r *room) hold() {
	shut := make(chan struct{})
	r.shut.CompareAndSwap(nil, &shut)
}

// open lets all of them in. Only a sweep calls it.
func (r *room) open() {
	if shut := r.shut.Swap(nil); shut != nil {
		close(*shut)
	}
}

// slack is how many bytes the database may grow beyond its bound.
func (s *Store) slack() int64 { return max(s.keepSize.Load()/slackShare, minSlack) }
