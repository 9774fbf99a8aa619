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

// queue holds messages between the reader and the deliverer. One goroutine puts
// and one takes; it outlives connections.
type queue struct {
	mu    sync.Mutex // guards msgs, bytes
	msgs  []Message
	bytes int

	room chan struct{} // of 1: something was taken out; never closed
	more chan struct{} // of 1: something was put in; never closed
}

func newQueue() *queue {
	return &queue{room: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// offer puts m in, or reports that there is no room for it.
func (q *queue) offer(m Message) bool {
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
func (q *queue) put(ctx context.Context, m Message) error {
	for !q.offer(m) {
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// head waits for the oldest message and returns it. It stays in the queue, and
// in its bounds, until pop.
func (q *queue) head(ctx context.Context) (Message, error) {
	for {
		if m, ok := q.peek(); ok {
			return m, nil
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

func (q *queue) peek() (Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) == 0 {
		return Message{}, false
	}
	return q.msgs[0], true
}

// pop takes the oldest message out.
func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= q.msgs[0].size()
	q.msgs[0] = Message{} // the array may live on; the body must not
	q.msgs = q.msgs[1:]
	signal(q.room)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}
