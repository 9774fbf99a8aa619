package relay

import (
	"errors"
	"sync"

	"hookrun/relay/wire"
)

// Bounds of acks.
const (
	maxReady    = 8192    // that wait to be written: a relay that sends on without reading them is left
	maxAckBytes = 8 << 10 // of the ids of one frame; relays take 64 KiB, and an id can take six times as much in JSON
)

var errAcksStuck = errors.New("the relay sends on and on, and takes no acks")

// ledger holds what is to be acked on one connection: what Handle took of what
// was read there, in that order. deliver notes and write takes.
type ledger struct {
	end  func(error)   // ends the connection; set before anything is noted
	more chan struct{} // of 1: something is ready; never closed

	mu    sync.Mutex // guards ready
	ready []string

	written int64 // ids that were written; owned by write
}

func newLedger() *ledger { return &ledger{more: make(chan struct{}, 1)} }

// took notes that a message is safe. A nil ledger is of a connection without
// acks.
func (l *ledger) took(id string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ready) == maxReady {
		l.end(errAcksStuck)
		return
	}
	l.ready = append(l.ready, id)
	signal(l.more)
}

// next takes out what fits into one frame; more is signalled where that is not
// all.
func (l *ledger) next() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.ready) && n < wire.MaxAcks && (n == 0 || bytes+len(l.ready[n]) <= maxAckBytes) {
		bytes += len(l.ready[n])
		n++
	}
	ids := l.ready[:n:n]
	l.ready = l.ready[n:]
	if len(l.ready) > 0 {
		signal(l.more)
	}
	return ids
}
