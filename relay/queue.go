package relay

import (
	"context"
	"sync"
)

// Bounds of what was read and is not handled yet.
const (
	maxWaiting      = 256      // messages
	maxWaitingBytes = 16 << 20 // a single larger message is taken when none other waits
)

// item is a message that waits.
type item struct {
	Message
	from *ledger // of the connection that brought it; nil: that knows no acks
}

// queue holds messages between the reader and the deliverer. One goroutine puts
// and one takes; it outlives connections.
type queue struct {
	mu       sync.Mutex // guards msgs, bytes, finished
	msgs     []item
	bytes    int
	finished bool // nothing more is put in

	room chan struct{} // of 1: something was taken out; never closed
	more chan struct{} // of 1: something was put in, or nothing more will be; never closed
}

func newQueue() *queue {
	return &queue{room: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// offer puts m in, or reports that there is no room for it.
func (q *queue) offer(m item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := m.size()
	if len(q.msgs) > 0 && (len(q.msgs) == maxWaiting || q.bytes+n > maxWaitingBytes) {
		return false
	}
	q.msgs = append(q.msgs, m)
	q.bytes += n
	signal(q.more)
	return true
}

// put waits for room and puts m in. It gives up only when ctx ends.
func (q *queue) put(ctx context.Context, m item) error {
	for !q.offer(m) {
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// finish says that nothing more will be put in.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	signal(q.more)
}

// head waits for the oldest message and returns it. It stays in the queue, and
// in its bounds, until pop. There is none when ctx ended, or when the queue is
// finished and empty.
func (q *queue) head(ctx context.Context) (m item, ok bool) {
	for {
		m, ok, finished := q.peek()
		if ok || finished {
			return m, ok
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return item{}, false
		}
	}
}

func (q *queue) peek() (m item, ok, finished bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) == 0 {
		return item{}, false, q.finished
	}
	return q.msgs[0], true, false
}

// pop takes the oldest message out.
func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= q.msgs[0].size()
	q.msgs[0] = item{} // the array may live on; the body must not
	q.msgs = q.msgs[1:]
	signal(q.room)
}

// forget drops what came over connections with acks before the one of l, and
// returns how many messages that were: the relay sends them again. The first
// stays, as it may be about to be taken.
func (q *queue) forget(l *ledger) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) == 0 {
		return 0
	}
	kept := q.msgs[:1]
	for _, m := range q.msgs[1:] {
		if m.from == nil || m.from == l {
			kept = append(kept, m)
			continue
		}
		q.bytes -= m.size()
	}
	dropped := len(q.msgs) - len(kept)
	clear(q.msgs[len(kept):]) // the array lives on; the bodies must not
	q.msgs = kept
	signal(q.room)
	return dropped
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}
