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
)

// How far apart deliveries are put off for which an output has no place.
const (
	firstPace  = 5 * time.Millisecond // before it was measured
	minPace    = 2 * time.Millisecond
	maxPutOff  = 5 * time.Minute
	paceWeight = 4 // the newest measure is one of so many
)

// forgetAfter is how long what is known of an output is kept.
const forgetAfter = time.Hour

// lines are the deliveries being sent, by output.
type lines struct {
	mu    sync.Mutex // guards all below
	now   map[string]bool
	left  map[string]bool // since begin
	lines map[string]*line
	bytes int
}

// line is one output.
type line struct {
	busy, bytes int
	pace        time.Duration // how often a delivery gets done
	tail        time.Time     // when the last that was put off is to be tried
	failing     bool
	used        time.Time // when a try ended last
}

func newLines() *lines {
	return &lines{now: map[string]bool{}, left: map[string]bool{}, lines: map[string]*line{}}
}

// begin is called before the store is asked what is due, and returns how many of
// those are being sent. What ends from then on may be in the store's answer
// still, and is not taken again.
func (ls *lines) begin() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	clear(ls.left)
	at := time.Now().Add(-forgetAfter)
	maps.DeleteFunc(ls.lines, func(_ string, n *line) bool { return n.busy == 0 && n.tail.Before(at) && n.used.Before(at) })
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
	full                 // its output is busy enough
	crowded              // no more can be sent at all
)

// enter takes a place for a delivery. until is when it is to be tried where its
// output is full. An output has its second place and all after it only while
// half of all are free, so that slow ones leave some to others.
func (ls *lines) enter(l *account.Log, at time.Time) (p place, until time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.now[l.ID] || ls.left[l.ID] {
		return known, time.Time{}
	}
	n := ls.lines[l.OutputID]
	if n == nil {
		n = &line{pace: firstPace}
		ls.lines[l.OutputID] = n
	}
	size := l.Size
	switch {
	case n.busy > 0 && (n.busy >= maxLine || n.bytes+size > maxLineBytes || len(ls.now) >= reserved):
		return full, n.putOff(at)
	case len(ls.now) >= maxBusy, len(ls.now) > 0 && ls.bytes+size > maxBusyBytes:
		return crowded, time.Time{}
	}
	ls.now[l.ID] = true
	ls.bytes += size
	n.busy++
	n.bytes += size
	return taken, time.Time{}
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
	n := ls.lines[l.OutputID]
	n.busy--
	n.bytes -= l.Size
	if n.used.IsZero() {
		n.pace = took / maxLine
	}
	n.pace += (took/maxLine - n.pace) / paceWeight
	n.used = time.Now()
}

// soon is how long to wait at most for what was put off and would have a place
// now; false where there is no such thing.
func (ls *lines) soon(at time.Time) (d time.Duration, ok bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, n := range ls.lines {
		if n.tail.Before(at) || n.busy > 0 && (n.busy >= maxLine || len(ls.now) >= reserved) {
			continue
		}
		if pace := max(n.pace, minPace); !ok || pace < d {
			d, ok = pace, true
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
