package forward

import (
	"maps"
	"sync"
	"time"

	"hookrun/relay/account"
)

// Bounds of what is sent at once.
const (
	maxBusy      = 64        // deliveries,
	maxBusyBytes = 128 << 20 // and their bodies
	maxLine      = 8         // of one output,
	maxLineBytes = 16 << 20  // and their bodies; one in any case
	reserved     = maxBusy / 2

	maxBucket      = maxBusy * 3 / 4      // of one bucket, over all its outputs,
	maxBucketBytes = maxBusyBytes * 3 / 4 // and their bodies; one in any case
)

// How far apart deliveries are put off for which an output, or its bucket, has no
// place.
const (
	firstPace  = 5 * time.Millisecond // before it was measured
	minPace    = 2 * time.Millisecond
	maxPutOff  = 5 * time.Minute
	paceWeight = 4 // the newest measure is one of so many
)

// forgetAfter is how long what is known of an output or bucket is kept.
const forgetAfter = time.Hour

// lines are the deliveries being sent, by output and by bucket.
type lines struct {
	mu      sync.Mutex // guards all below
	now     map[string]bool
	left    map[string]bool // since begin
	lines   map[string]*line
	buckets map[string]*line
	bytes   int
}

// line is one output, or a bucket with all of its outputs.
type line struct {
	busy, bytes int
	pace        time.Duration // how often a delivery gets done
	tail        time.Time     // when the last that was put off is to be tried
	failing     bool
	used        time.Time // when a try ended last
}

func newLines() *lines {
	return &lines{now: map[string]bool{}, left: map[string]bool{}, lines: map[string]*line{}, buckets: map[string]*line{}}
}

// begin is called before the store is asked what is due, and returns how many of
// those are being sent. What ends from then on may be in the store's answer
// still, and is not taken again.
func (ls *lines) begin() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	clear(ls.left)
	at := time.Now().Add(-forgetAfter)
	old := func(_ string, n *line) bool { return n.busy == 0 && n.tail.Before(at) && n.used.Before(at) }
	maps.DeleteFunc(ls.lines, old)
	maps.DeleteFunc(ls.buckets, old)
	return len(ls.now)
}

func (ls *lines) busy() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.now)
}

// place is what enter says.
type place int

const (
	taken   place = iota // it is to be sent now
	known                // it is being sent
	full                 // its output, or bucket, is busy enough
	crowded              // no more can be sent at all
)

// enter takes a place for a delivery. until is when it is to be tried where its
// output or bucket is full. An output has its second place and all after it only
// while half of all are free, so that slow ones leave some to others; and however
// many outputs a bucket has, a quarter of all is left to other buckets.
func (ls *lines) enter(l *account.Log, at time.Time) (p place, until time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.now[l.ID] || ls.left[l.ID] {
		return known, time.Time{}
	}
	n, b := lineOf(ls.lines, l.OutputID), lineOf(ls.buckets, l.BucketID)
	size := l.Size
	switch {
	case b.full(size, maxBucket, maxBucketBytes):
		return full, b.putOff(at)
	case n.full(size, maxLine, maxLineBytes), n.busy > 0 && len(ls.now) >= reserved:
		return full, n.putOff(at)
	case len(ls.now) >= maxBusy, len(ls.now) > 0 && ls.bytes+size > maxBusyBytes:
		return crowded, time.Time{}
	}
	ls.now[l.ID] = true
	ls.bytes += size
	n.take(size)
	b.take(size)
	return taken, time.Time{}
}

// lineOf returns the line of an output or bucket, a new one where there is none.
func lineOf(lines map[string]*line, id string) *line {
	n := lines[id]
	if n == nil {
		n = &line{pace: firstPace}
		lines[id] = n
	}
	return n
}

// full reports whether there is no place for one more, of so many places and
// bytes. One has a place in any case.
func (n *line) full(size, places, bytes int) bool {
	return n.busy > 0 && (n.busy >= places || n.bytes+size > bytes)
}

func (n *line) take(size int) {
	n.busy++
	n.bytes += size
}

// putOff is when one more that has no place is to be tried.
func (n *line) putOff(at time.Time) time.Time {
	if n.tail.Before(at) {
		n.tail = at
	}
	n.tail = n.tail.Add(max(n.pace*3/4, minPace)) // rather too early: the output is not to run dry
	if last := at.Add(maxPutOff); n.tail.After(last) {
		n.tail = last
	}
	return n.tail
}

// leave gives a place back. took is how long the try was.
func (ls *lines) leave(l *account.Log, took time.Duration) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.now, l.ID)
	ls.left[l.ID] = true
	ls.bytes -= l.Size
	ls.lines[l.OutputID].leave(l.Size, took/maxLine)
	ls.buckets[l.BucketID].leave(l.Size, took/maxBucket)
}

// leave gives a place back. pace is how often one would get done where all are
// taken.
func (n *line) leave(size int, pace time.Duration) {
	n.busy--
	n.bytes -= size
	if n.used.IsZero() {
		n.pace = pace
	}
	n.pace += (pace - n.pace) / paceWeight
	n.used = time.Now()
}

// soon is how long to wait at most for what was put off and would have a place
// now; false where there is no such thing.
func (ls *lines) soon(at time.Time) (d time.Duration, ok bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	look := func(n *line) {
		if pace := max(n.pace, minPace); !n.tail.Before(at) && (!ok || pace < d) {
			d, ok = pace, true
		}
	}
	for _, n := range ls.lines {
		if n.busy == 0 || n.busy < maxLine && len(ls.now) < reserved {
			look(n)
		}
	}
	for _, b := range ls.buckets {
		if b.busy < maxBucket {
			look(b)
		}
	}
	return d, ok
}

// failing notes whether an output fails, and returns whether it did before.
func (ls *lines) failing(outputID string, now bool) (before bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := ls.lines[outputID] // it is busy: there is one
	before, n.failing = n.failing, now
	return before
}
