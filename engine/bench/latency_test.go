//go:build linux

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// How latency is measured: at a rate that is far from the bounds.
const (
	latencyRate    = 200 // webhooks a second
	latencySenders = 32  // so that hardly any webhook waits for one that is free
)

// TestLatency measures the time from a webhook's turn to be sent to its frame's
// reading. Turns come at a fixed rate, whether or not the webhook before has been
// answered: a relay that stands still for a while shows in every webhook that
// waits meanwhile.
func TestLatency(t *testing.T) {
	for _, tt := range []struct{ name, client string }{
		{"POST to frame, 2 KiB, plain subscriber", ""},
		{"POST to frame, 2 KiB, one that acknowledges", "latency"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRelay(t)
			var half, most, longest []time.Duration
			for run := range formNow().runs {
				client := tt.client
				if client != "" {
					client = fmt.Sprintf("%s-%d", client, run)
				}
				all := measureLatency(t, r, client)
				half, most = append(half, percentile(all, 50)), append(most, percentile(all, 99))
				longest = append(longest, all[len(all)-1])
			}
			setup.table.add(t, fmt.Sprintf("%s, at %d/s", tt.name, latencyRate),
				"p50 "+millis(median(half))+", p99 "+millis(median(most)), "longest "+millis(median(longest)))
		})
	}
}

// measureLatency returns the latencies of a run, in ascending order.
func measureLatency(t *testing.T, r *relayProcess, client string) []time.Duration {
	t.Helper()
	count := formNow().turns
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(count/latencyRate)*time.Second+runBound)
	defer cancel()
	epoch := time.Now()
	turns, frames := make([]atomic.Int64, count), make([]atomic.Int64, count) // nanoseconds since epoch
	c := join(t, ctx, crowdOptions{address: r.address, subscribers: 1, client: client, most: count, heard: func(n int) {
		frames[n].Store(int64(time.Since(epoch)))
	}})
	defer c.close()

	p := newPace(count)
	l := load{address: r.address, senders: latencySenders, body: jsonBody(smallBody), count: count, before: func(n int) error {
		at, err := p.turn(ctx)
		turns[n].Store(int64(at.Sub(epoch)))
		return err
	}}
	pacing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { p.run(pacing, time.Second/latencyRate) })
	sent, _, err := l.run(ctx)
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.last(ctx, sent); err != nil {
		t.Fatal(err)
	}
	all := make([]time.Duration, count)
	for n := range all {
		all[n] = time.Duration(frames[n].Load() - turns[n].Load())
	}
	slices.Sort(all)
	if all[0] <= 0 {
		t.Fatalf("a frame was read %v after its webhook's turn", all[0])
	}
	return all
}

// pace gives out turns at a fixed rate.
type pace struct {
	turns chan time.Time // holds all turns that nobody has taken; never closed
	count int
}

func newPace(count int) *pace { return &pace{make(chan time.Time, count), count} }

// run gives out all turns, one every so often.
func (p *pace) run(ctx context.Context, every time.Duration) {
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := range p.count {
		timer.Reset(time.Until(begin.Add(time.Duration(n) * every)))
		select {
		case <-timer.C:
			p.turns <- time.Now()
		case <-ctx.Done():
			return
		}
	}
}

// turn waits for a turn, and returns when it came.
func (p *pace) turn(ctx context.Context) (time.Time, error) {
	select {
	case at := <-p.turns:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}
