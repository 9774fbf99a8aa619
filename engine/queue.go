package engine

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// queue holds the runs that wait and says whose turn it is. It holds Refs only:
// 100,000 waiting runs are some 30 MB.
//
//	add ─► lane ─► its head may start ─► ready, in the turn of its rule ─► next ─► (runs) ─► done
//	  │      └ not before a time ─► timed, until then
//	  └ its rule is paused or away ─► parked, until unpark
//
// A lane starts its runs in order of arrival, up to its limit at one time; one
// between two attempts keeps its place. Rules take turns, and so do the lanes of
// a rule, so that a long queue delays no other's first run.
type queue struct {
	wake chan struct{} // holds one token when there may be something new; never closed

	mu      sync.Mutex            // guards what follows
	limit   func(rule string) int // of the lanes of a rule; its answers are the same until review
	lanes   map[string]*lane
	turns   map[string]*turn // of rules that have something ready or running
	order   []*turn          // those with something ready, the next one first
	timed   laneHeap
	parked  map[string]*parking // by rule
	stopped bool                // everything is paused
	running int
	most    int // maxRuns, as next was last told
	count   int // runs that wait
}

// lane is the runs that share a limit. It is forgotten when it is empty.
type lane struct {
	key     string
	begun   []Ref    // between two attempts, by Seq; each keeps its place
	waiting []Ref    // by Seq
	active  []string // ids of those that run
	turn    *turn    // in whose ready it stands; nil: in none
	at      time.Time
	index   int // in timed; below 0: it is not there
}

// turn is what one rule has ready.
type turn struct {
	rule    string
	ready   []*lane
	running int
	listed  bool // in order
}

// parking is the runs of a rule that is not to start any.
type parking struct {
	why  string // for people
	refs []Ref
}

func newQueue(limit func(rule string) int) *queue {
	return &queue{
		limit: limit, wake: make(chan struct{}, 1),
		lanes: map[string]*lane{}, turns: map[string]*turn{}, parked: map[string]*parking{},
	}
}

// laneKey is the lane of a run: one of its own where it has none, or not yet.
func laneKey(ref Ref) string {
	if ref.Lane == "" || ref.Held {
		return "run " + ref.ID
	}
	return ref.Lane
}

// add puts runs where their Seq belongs: of events that are accepted at one
// time, the one committed first may come here last.
func (q *queue) add(refs ...Ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, ref := range refs {
		q.put(ref)
	}
}

func (q *queue) put(ref Ref) {
	q.count++
	if p := q.parked[ref.Rule]; p != nil && !ref.Ends {
		p.refs = append(p.refs, ref)
		return
	}
	key := laneKey(ref)
	l := q.lanes[key]
	if l == nil {
		l = &lane{key: key, index: -1}
		q.lanes[key] = l
	}
	list := &l.waiting
	if ref.Begun {
		list = &l.begun
	}
	at, _ := slices.BinarySearchFunc(*list, ref.Seq, bySeq)
	*list = slices.Insert(*list, at, ref)
	q.place(l)
}

func bySeq(ref Ref, seq int64) int {
	switch {
	case ref.Seq < seq:
		return -1
	case ref.Seq > seq:
		return 1
	}
	return 0
}

// head is the run of the lane that is to start next: one that begun if its time
// has come, else the first that waits, if there is a place for it. at is when
// the lane is worth another look where there is none; zero: when a run is done.
func (q *queue) head(l *lane, now time.Time) (ref *Ref, at time.Time) {
	for i := range l.begun {
		r := &l.begun[i]
		if !r.Due.After(now) {
			return r, time.Time{}
		}
		if at.IsZero() || r.Due.Before(at) {
			at = r.Due
		}
	}
	if len(l.waiting) == 0 || len(l.active)+len(l.begun) >= q.limit(l.waiting[0].Rule) {
		return nil, at
	}
	if r := &l.waiting[0]; !r.Due.After(now) {
		return r, time.Time{}
	} else if at.IsZero() || r.Due.Before(at) {
		at = r.Due
	}
	return nil, at
}

// place puts a lane where its head belongs, and forgets an empty one. One that
// stands there already keeps its turn.
func (q *queue) place(l *lane) {
	ref, at := q.head(l, time.Now())
	if ref != nil && l.turn != nil && l.turn.rule == ref.Rule {
		return
	}
	q.displace(l)
	switch {
	case ref != nil:
		t := q.turn(ref.Rule)
		l.turn = t
		t.ready = append(t.ready, l)
		q.list(t)
		q.signal()
	case !at.IsZero():
		l.at = at
		heap.Push(&q.timed, l)
		q.signal()
	case len(l.begun)+len(l.waiting)+len(l.active) == 0:
		delete(q.lanes, l.key)
	}
}

// displace takes a lane out of where it stands.
func (q *queue) displace(l *lane) {
	if l.index >= 0 {
		heap.Remove(&q.timed, l.index)
	}
	if t := l.turn; t != nil {
		l.turn = nil
		if i := slices.Index(t.ready, l); i >= 0 {
			t.ready = slices.Delete(t.ready, i, i+1)
		}
		q.tidy(t)
	}
}

func (q *queue) turn(rule string) *turn {
	t := q.turns[rule]
	if t == nil {
		t = &turn{rule: rule}
		q.turns[rule] = t
	}
	return t
}

func (q *queue) list(t *turn) {
	if !t.listed && len(t.ready) > 0 {
		t.listed = true
		q.order = append(q.order, t)
	}
}

// tidy takes a turn with nothing ready out of the order, and forgets one with
// nothing at all.
func (q *queue) tidy(t *turn) {
	if len(t.ready) > 0 {
		return
	}
	if t.listed {
		t.listed = false
		q.order = slices.DeleteFunc(q.order, func(o *turn) bool { return o == t })
	}
	if t.running == 0 {
		delete(q.turns, t.rule)
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // a token waits already
	}
}

// spare is the part of maxRuns that is kept for rules of which nothing runs: a
// quarter.
const spare = 4

// mayStart reports whether a rule may have one more of the places.
func (q *queue) mayStart(t *turn, maxRuns int) bool {
	free := maxRuns - q.running
	return free > 0 && (t.running == 0 || free > maxRuns/spare)
}

// next takes the run whose turn it is, with at most maxRuns at one time. Where
// there is none, wait says for how long there will be none unless wake tells;
// below 0: until it does.
func (q *queue) next(maxRuns int) (ref Ref, ok bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.most = maxRuns
	now := time.Now()
	for len(q.timed) > 0 && !q.timed[0].at.After(now) {
		q.place(q.timed[0])
	}
	for _, t := range slices.Clone(q.order) {
		if q.stopped && !q.endsFirst(t, now) {
			continue
		}
		if !q.mayStart(t, maxRuns) {
			if ref, _ := q.head(t.ready[0], now); ref != nil {
				ref.slots = true
			}
			continue
		}
		if ref, ok := q.take(t, now); ok {
			return ref, true, 0
		}
	}
	if len(q.timed) == 0 {
		return Ref{}, false, -1
	}
	return Ref{}, false, time.Until(q.timed[0].at)
}

// endsFirst puts a lane first whose head only ends, and reports whether there is
// one: a pause of everything holds up all but those.
func (q *queue) endsFirst(t *turn, now time.Time) bool {
	at := slices.IndexFunc(t.ready, func(l *lane) bool {
		head, _ := q.head(l, now)
		return head != nil && head.Ends
	})
	if at < 0 {
		return false
	}
	t.ready[0], t.ready[at] = t.ready[at], t.ready[0]
	return true
}

// take starts the head of the rule's next lane, and sends both to the end of
// their lines. There is none where the clock was set back meanwhile.
func (q *queue) take(t *turn, now time.Time) (Ref, bool) {
	l := t.ready[0]
	head, _ := q.head(l, now)
	if head == nil {
		q.place(l)
		return Ref{}, false
	}
	ref := *head
	if ref.Begun {
		l.begun = without(l.begun, ref)
	} else {
		l.waiting = l.waiting[1:]
	}
	q.count--
	q.running++
	t.running++
	l.active = append(l.active, ref.ID)
	q.order = slices.DeleteFunc(q.order, func(o *turn) bool { return o == t })
	t.listed = false
	t.ready = t.ready[1:]
	l.turn = nil
	q.list(t)
	q.place(l)
	return ref, true
}

func without(refs []Ref, ref Ref) []Ref {
	return slices.DeleteFunc(refs, func(r Ref) bool { return r.ID == ref.ID })
}

// done frees the place of a run that next gave out. again, where it is not nil,
// is the same run waiting for another try.
func (q *queue) done(ref Ref, again *Ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	t := q.turn(ref.Rule)
	t.running--
	l := q.lanes[laneKey(ref)]
	l.active = slices.DeleteFunc(l.active, func(id string) bool { return id == ref.ID })
	if len(l.waiting) > 0 {
		l.waiting[0].behind = ref.ID
	}
	if again != nil {
		q.put(*again)
	}
	if q.lanes[l.key] == l {
		q.place(l)
	}
	q.tidy(t)
	q.signal() // a place is free
}

// find returns the list that a waiting run stands in, and where. The lane is nil
// where the run is parked; there is no list where it does not wait.
func (q *queue) find(ref Ref) (list *[]Ref, at int, l *lane) {
	is := func(r Ref) bool { return r.ID == ref.ID }
	if p := q.parked[ref.Rule]; p != nil {
		if at = slices.IndexFunc(p.refs, is); at >= 0 {
			return &p.refs, at, nil
		}
	}
	for _, key := range laneKeys(ref) {
		l := q.lanes[key]
		if l == nil {
			continue
		}
		for _, list := range []*[]Ref{&l.begun, &l.waiting} {
			if at, found := slices.BinarySearchFunc(*list, ref.Seq, bySeq); found {
				return list, at, l
			}
		}
	}
	return nil, 0, nil
}

// remove takes out runs that are not to start any more.
func (q *queue) remove(refs ...Ref) {
	if len(refs) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	gone := make(map[string]bool, len(refs))
	for _, ref := range refs {
		gone[ref.ID] = true
	}
	drop := func(list *[]Ref) {
		before := len(*list)
		*list = slices.DeleteFunc(*list, func(r Ref) bool { return gone[r.ID] })
		q.count -= before - len(*list)
	}
	done := map[string]bool{} // lanes, and rules with parked runs: each is looked through once
	for _, ref := range refs {
		if p := q.parked[ref.Rule]; p != nil && !done["parked "+ref.Rule] {
			done["parked "+ref.Rule] = true
			drop(&p.refs)
		}
		for _, key := range laneKeys(ref) {
			if l := q.lanes[key]; l != nil && !done[key] {
				done[key] = true
				drop(&l.begun)
				drop(&l.waiting)
				q.place(l)
			}
		}
	}
}

// laneKeys are the lanes that a run may stand in: its own, or, while throttle
// holds it, one of none.
func laneKeys(ref Ref) []string {
	ref.Held = false
	return []string{laneKey(ref), "run " + ref.ID}
}

// hasten has a run that waits for its next attempt have it now. Where ref says
// that it only ends, no pause holds it up.
func (q *queue) hasten(ref Ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, at, l := q.find(ref)
	if list == nil {
		return
	}
	ends := ref.Ends
	ref = (*list)[at]
	ref.Due, ref.Ends = time.Time{}, ref.Ends || ends
	*list = slices.Delete(*list, at, at+1)
	q.count--
	if l != nil {
		q.place(l)
	}
	q.put(ref)
}

// park keeps the runs of a rule from starting until unpark; why is for people.
func (q *queue) park(rule, why string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.parked[rule]; p != nil {
		p.why = why
		return
	}
	p := &parking{why: why}
	of := func(r Ref) bool { return r.Rule == rule && !r.Ends }
	for _, l := range q.lanes {
		if !slices.ContainsFunc(l.begun, of) && !slices.ContainsFunc(l.waiting, of) {
			continue
		}
		for _, list := range []*[]Ref{&l.begun, &l.waiting} {
			for _, r := range *list {
				if of(r) {
					p.refs = append(p.refs, r)
				}
			}
			*list = slices.DeleteFunc(*list, of)
		}
		q.place(l)
	}
	q.parked[rule] = p
}

// unpark lets the runs of a rule start again.
func (q *queue) unpark(rule string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.parked[rule]
	if p == nil {
		return
	}
	delete(q.parked, rule)
	q.count -= len(p.refs)
	slices.SortFunc(p.refs, func(a, b Ref) int { return bySeq(a, b.Seq) })
	for _, ref := range p.refs {
		q.put(ref)
	}
}

// stop keeps all runs from starting, or lets them start again.
func (q *queue) stop(stopped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = stopped
	q.signal()
}

// review looks at every lane anew, with other limits.
func (q *queue) review(limit func(rule string) int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
	for _, l := range q.lanes {
		q.place(l)
	}
	q.signal()
}

// waiting counts the runs that wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// why says for people what a run waits for; "" where it does not wait.
func (q *queue) why(ref Ref) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, at, l := q.find(ref)
	switch {
	case list == nil:
		return ""
	case l == nil:
		return q.parked[ref.Rule].why
	case q.stopped:
		return "everything is paused"
	}
	r := (*list)[at]
	wait := time.Until(r.Due)
	if wait > time.Second {
		wait = wait.Round(time.Second)
	}
	switch wait = wait.Round(time.Millisecond); {
	case r.Held && wait > 0:
		return fmt.Sprintf("throttle: it starts in %s, unless another comes in its place", spell(max(wait, time.Millisecond)))
	case wait > 0 && r.Begun:
		return fmt.Sprintf("it is tried again in %s", spell(wait))
	case wait > 0:
		return fmt.Sprintf("it is looked at again in %s", spell(wait))
	}
	before := slices.Clone(l.active)
	if !r.Begun {
		for _, b := range l.begun {
			before = append(before, b.ID)
		}
	}
	if head, _ := q.head(l, time.Now()); head != nil && head.ID == r.ID {
		if q.mayStart(q.turn(r.Rule), q.most) {
			return "it is about to start"
		}
		return "all places of max_runs that its rule may have are taken"
	}
	said := fmt.Sprintf("concurrency: %s has %s", l.key, strings.Join(before, ", "))
	if !r.Begun && at > 0 {
		said += fmt.Sprintf(", and %d wait before it", at)
	}
	return said
}

// laneHeap orders lanes by when they are worth a look.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *laneHeap) Push(l any) {
	l.(*lane).index = len(*h)
	*h = append(*h, l.(*lane))
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	l.index = -1
	*h = old[:len(old)-1]
	return l
}
