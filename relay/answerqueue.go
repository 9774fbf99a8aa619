package relay

import (
	"context"
	"sync"
	"time"
)

// Bounds of answers that wait to be sent.
const (
	maxAnswers      = 256
	maxAnswerBytes  = 16 << 20 // of their bodies and headers
	maxRefusals     = maxAnswers / 4
	maxRefusalBytes = maxAnswerBytes / 4

	// dropsEvery is how often, at most, somebody is told that answers are dropped.
	dropsEvery = time.Minute
)

// answerQueue holds answers until they are sent. Many put and many take.
type answerQueue struct {
	mu       sync.Mutex // guards all but more
	answers  answerList // but refusals
	refusals answerList
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
	before := q.drops
	if r.Refusal {
		q.putRefusal(r)
	} else {
		q.putAnswer(r)
	}
	signal(q.more)
	if q.drops == before || time.Since(q.told) < dropsEvery {
		return false
	}
	q.told = time.Now()
	return true
}

// putAnswer finds room among the refusals first; mu is held.
func (q *answerQueue) putAnswer(r Response) {
	for q.full(r) {
		if len(q.refusals.all) > 0 {
			q.refusals.pop()
		} else {
			q.answers.pop()
		}
		q.drops++
	}
	q.answers.push(r)
}

// putRefusal finds room among the refusals alone; mu is held.
func (q *answerQueue) putRefusal(r Response) {
	for len(q.refusals.all) > 0 && (q.full(r) || len(q.refusals.all) == maxRefusals || q.refusals.bytes+r.size() > maxRefusalBytes) {
		q.refusals.pop()
		q.drops++
	}
	if q.full(r) || r.size() > maxRefusalBytes {
		q.drops++
		return
	}
	q.refusals.push(r)
}

// full reports whether something has to go so that r can be put; mu is held.
func (q *answerQueue) full(r Response) bool {
	n, bytes := len(q.answers.all)+len(q.refusals.all), q.answers.bytes+q.refusals.bytes
	return n > 0 && (n == maxAnswers || bytes+r.size() > maxAnswerBytes)
}

// take waits for the oldest answer; refusals come last. There is none when ctx
// ended, or when the queue is finished and empty.
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
	switch {
	case len(q.answers.all) > 0:
		r, ok = q.answers.pop(), true
	case len(q.refusals.all) > 0:
		r, ok = q.refusals.pop(), true
	}
	if len(q.answers.all)+len(q.refusals.all) > 0 || q.finished {
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

// counts are the answers that were dropped, and those that are there.
func (q *answerQueue) counts() (dropped int64, left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drops, len(q.answers.all) + len(q.refusals.all)
}

// answerList holds answers, the oldest first.
type answerList struct {
	all   []Response
	bytes int
}

func (l *answerList) push(r Response) {
	l.all = append(l.all, r)
	l.bytes += r.size()
}

// pop takes the oldest; there is one.
func (l *answerList) pop() Response {
	r := l.all[0]
	l.all[0] = Response{} // the array may live on; the body must not
	l.all = l.all[1:]
	l.bytes -= r.size()
	return r
}

func (r Response) size() int { return len(r.Body) + headerSize(r.Header) }
