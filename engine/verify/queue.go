package verify

import "context"

// maxWaiting bounds the requests that wait for a fetch to end: what they ask for
// is not verified yet, so anybody can make them wait.
const maxWaiting = 8

// fetch gets what is at a URL, and bounds time and size itself.
type fetch func(ctx context.Context, url string) ([]byte, error)

// A queue lets one request fetch at a time, and a few wait for it.
type queue struct {
	turn    chan struct{} // full while somebody fetches; never closed
	waiting chan struct{} // one for each that waits; never closed
}

func newQueue() queue {
	return queue{turn: make(chan struct{}, 1), waiting: make(chan struct{}, maxWaiting)}
}

// tryEnter takes the turn where nobody has it.
func (q queue) tryEnter() bool {
	select {
	case q.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// enter waits for the turn. Who does not get it learns why.
func (q queue) enter(ctx context.Context) *Failure {
	if q.tryEnter() {
		return nil
	}
	select {
	case q.waiting <- struct{}{}:
	default:
		return fail("the keys are being fetched")
	}
	defer func() { <-q.waiting }()
	select {
	case q.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fail("the keys are being fetched, and were not waited for")
	}
}

// leave gives the turn back.
func (q queue) leave() { <-q.turn }
