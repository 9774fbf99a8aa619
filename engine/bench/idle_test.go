//go:build linux

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestIdle measures what subscribers cost who wait, and how long it takes until
// all of them have one webhook.
func TestIdle(t *testing.T) {
	idle := formNow().idle
	r := startRelay(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*formNow().settle+5*time.Minute)
	defer cancel()
	l := load{address: r.address, senders: 1, body: jsonBody(smallBody), count: 100}
	warm, _, err := l.run(ctx) // so that what a first webhook costs is no subscriber's
	if err != nil {
		t.Fatal(err)
	}
	before, _ := r.memory()

	heap := r.metrics()
	begin := time.Now()
	times := newTimes(idle)
	c := join(t, ctx, crowdOptions{
		address: r.address, subscribers: idle, first: l.count, most: 1, buffer: 1 << 10, heard: func(int) { times.note() },
	})
	took := time.Since(begin)
	full, _ := r.memory()
	wait(ctx, formNow().settle)
	settled, _ := r.memory()
	after := r.metrics()
	each := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(idle) }
	setup.table.add(t, fmt.Sprintf("%d idle subscribers", idle), fmt.Sprintf("%.1f KiB each", each(settled-before)),
		fmt.Sprintf("relay: %s before, %s with them all just connected, %s after %v; heap %.1f and stacks %.1f KiB each; %.0f connected a second",
			mib(before), mib(full), mib(settled), formNow().settle,
			each(int64(after[metricHeap]-heap[metricHeap])), each(int64(after[metricStack]-heap[metricStack])), perSecond(idle, took)))

	l.first, l.count = l.count, 1
	begin = time.Now()
	if _, _, err := l.run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.last(ctx, 1); err != nil {
		t.Fatal(err)
	}
	all := times.since(begin)
	_, peak := r.memory()
	setup.table.add(t, fmt.Sprintf("one webhook to %d subscribers", idle), "all have it after "+millis(all[len(all)-1]),
		fmt.Sprintf("half after %s; relay at most %s", millis(percentile(all, 50)), mib(peak)))
	r.expect(map[string]int{metricReceived: warm + 1, metricKept: warm + 1, metricDropped: 0})
}

// wait lets a time pass in which the relay has nothing to do.
func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// times are when something happened, of as many as there are.
type times struct {
	next atomic.Int64
	at   []time.Time // each written by whoever got its place from next
}

func newTimes(most int) *times { return &times{at: make([]time.Time, most)} }

func (ts *times) note() { ts.at[ts.next.Add(1)-1] = time.Now() }

// since returns how long after begin each was, in ascending order. All of them
// must have happened.
func (ts *times) since(begin time.Time) []time.Duration {
	all := make([]time.Duration, len(ts.at))
	for i, at := range ts.at {
		all[i] = at.Sub(begin)
	}
	slices.Sort(all)
	return all
}
