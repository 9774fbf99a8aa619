package relay

import (
	"context"
	"sync"
	"time"
)

// Bounds of answers that wait to be sent.
const (
	maxAnswers     = 256
	maxAnswerBytes = 16 << 20 // of their bodies and headers

	// dropsEvery is how often, at most, somebody is told that answers are dropped.
	dropsEvery = time.Minute
)

// answerQueue holds answers until they are sent. Many put and many take.
type answerQueue struct {
	mu       sync.Mutex // guards all but more
	answers  []Response
	bytes    int
	finished bool // nothing more is waited for
	drops    int64
	told     time.Time // when put last reported a drop

	more chan struct{} // of 1: something may be there, or nothing more will be; never closed
}

func newAnswerQueue() *answerQueue { return &answerQueue{more: make(chan struct{}, 1)} }

// put adds an answer and drops the oldest for it where there is no room: the
// sender of the newest is the likeliest to wait still. begins reports that
// answers are dropped, once in a while.
func (q *answerQueue) put(r Response) (begins bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := false
	for len(q.answers) > 0 && (len(q.answers) == maxAnswers || q.bytes+r.size() > maxAnswerBytes) {
		q.pop()
		q.drops++
		dropped = true
	}
	q.answers = append(q.answers, r)
	q.bytes += r.size()
	signal(q.more)
	if !dropped || time.Since(q.told) < dropsEvery {
		return false
	}
	q.told = time.Now()
	return true
}

func (r Response) size() int { return len(r.Body) + headerSize(r.Header) }

// pop takes the oldest answer; mu is held and there is one.
func (q *answerQueue) pop() Response {
	r := q.answers[0]
	q.answers[0] = Response{} // the array may live on; the body must not
	q.answers = q.answers[1:]
	q.bytes -= r.size()
	return r
}

// take waits for the oldest answer. There is none when ctx ended, or when the
// queue is finished and empty.
func (q *answerQueue) take(ctx context.Context) (r Response, ok bool) {
	for {
		r, ok, finished := q.try()
		if ok || finished {
			return r, ok
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return Response{}, false
		}
	}
}

func (q *answerQueue) try() (r Response, ok, finished bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.answers) > 0 {
		r, ok = q.pop(), true
	}
	if len(q.answers) > 0 || q.finished {
		signal(q.more) // for another one that waits
	}
	return r, ok, q.finished
}

// finish says that nothing more is to be waited for. What is there can be taken.
func (q *answerQueue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	signal(q.more)
}

func (q *answerQueue) dropped() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drops
}
