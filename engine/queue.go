package engine

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// queue holds the runs that wait, each in the lane of its rule. A lane runs one
// at a time, in order of arrival; lanes take turns, so that a long one delays
// no other. It holds Refs only: 100,000 waiting runs are some megabytes.
//
//	add ─► lane.waiting ─► head is due? ─► ready ─► next ─► (runs) ─► done ─► next head
//	                             └ not yet ─► delayed, by time
type queue struct {
	wake chan struct{} // holds one token when there may be something new; never closed

	mu      sync.Mutex // guards what follows
	lanes   map[string]*lane
	ready   []*lane // their head may start; first come, first served
	delayed laneHeap
}

// lane is the runs of one key. It is in ready, in delayed or running, or it
// is empty and forgotten.
type lane struct {
	key     string
	retry   *Ref  // goes before all others; nil: none
	waiting []Ref // by Seq
	running bool
	listed  bool // in ready or delayed
}

func (l *lane) insert(ref Ref) {
	at := len(l.waiting)
	for at > 0 && l.waiting[at-1].Seq > ref.Seq {
		at--
	}
	l.waiting = slices.Insert(l.waiting, at, ref)
}

func (l *lane) empty() bool { return l.retry == nil && len(l.waiting) == 0 }

// due is when the first run may start. The lane is not empty.
func (l *lane) due() time.Time {
	if l.retry != nil {
		return l.retry.Due
	}
	return l.waiting[0].Due
}

// pop takes the first run. The lane is not empty.
func (l *lane) pop() (ref Ref) {
	if l.retry != nil {
		ref, l.retry = *l.retry, nil
		return ref
	}
	ref, l.waiting = l.waiting[0], l.waiting[1:]
	return ref
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), lanes: map[string]*lane{}}
}

// add puts new runs where their Seq belongs: of events that are accepted at one
// time, the one committed first may come here last.
func (q *queue) add(refs ...Ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, ref := range refs {
		l := q.lanes[ref.Rule]
		if l == nil {
			l = &lane{key: ref.Rule}
			q.lanes[ref.Rule] = l
		}
		l.insert(ref)
		q.list(l)
	}
}

// done frees the lane of a run that next gave out. again, where it is not nil,
// is the same run waiting for another try, before all others of its lane.
func (q *queue) done(ref Ref, again *Ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[ref.Rule]
	l.running, l.retry = false, again
	if l.empty() {
		delete(q.lanes, l.key)
		return
	}
	q.list(l)
}

// list puts a lane where its head belongs.
func (q *queue) list(l *lane) {
	if l.running || l.listed {
		return
	}
	l.listed = true
	if l.due().After(time.Now()) {
		heap.Push(&q.delayed, l)
	} else {
		q.ready = append(q.ready, l)
	}
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // a token waits already
	}
}

// next takes the run whose turn it is. Where there is none, wait says for how
// long there will be none unless wake tells; below 0: until it does.
func (q *queue) next() (ref Ref, ok bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for now := time.Now(); len(q.delayed) > 0 && !q.delayed[0].due().After(now); {
		q.ready = append(q.ready, heap.Pop(&q.delayed).(*lane))
	}
	if len(q.ready) == 0 {
		if len(q.delayed) == 0 {
			return Ref{}, false, -1
		}
		return Ref{}, false, time.Until(q.delayed[0].due())
	}
	l := q.ready[0]
	q.ready = q.ready[1:]
	l.listed, l.running = false, true
	return l.pop(), true, 0
}

// waiting counts the runs that wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, l := range q.lanes {
		n += len(l.waiting)
		if l.retry != nil {
			n++
		}
	}
	return n
}

// laneHeap orders lanes by when their head is due.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].due().Before(h[j].due()) }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laneHeap) Push(l any)        { *h = append(*h, l.(*lane)) }

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	*h = old[:len(old)-1]
	return l
}
