//go:build linux

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// outWindow is how far senders may be before the slowest subscriber: one that is
// far behind would be cut off, as is right, but measures nothing.
const outWindow = 512

const outSenders = 16

// TestOut measures how many frames subscribers read while 16 senders send.
func TestOut(t *testing.T) {
	for _, tt := range []struct {
		name        string
		subscribers int
		acks        bool
		size, count int
	}{
		{"out, 2 KiB, 1 plain subscriber", 1, false, smallBody, formNow().webhooks},
		{"out, 2 KiB, 10 plain subscribers", 10, false, smallBody, formNow().webhooks},
		{"out, 2 KiB, 100 plain subscribers", 100, false, smallBody, formNow().webhooks},
		{"out, 2 KiB, 1 that acknowledges", 1, true, smallBody, formNow().webhooks},
		{"out, 1 MiB, 1 plain subscriber", 1, false, largeBody, formNow().large},
		{"out, 1 MiB, 1 that acknowledges", 1, true, largeBody, formNow().large},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRelay(t)
			ctx, cancel := context.WithTimeout(t.Context(), formNow().time*time.Duration(formNow().runs)+runBound)
			defer cancel()
			window := min(outWindow, outWindow*smallBody*4/tt.size) // 4 MiB
			l := load{address: r.address, senders: outSenders, body: jsonBody(tt.size), count: tt.count, time: formNow().time}
			var rates []rate
			received, acked := 0, 0
			for run := range formNow().runs {
				o := crowdOptions{address: r.address, subscribers: tt.subscribers, most: tt.count}
				if tt.acks {
					o.client = fmt.Sprintf("run-%d", run)
				}
				one, sent := measureOut(ctx, t, r, l, o, window)
				rates = append(rates, one)
				received += sent
				if tt.acks {
					acked += sent
				}
			}
			r.expect(map[string]int{metricReceived: received, metricKept: received, metricAcked: acked, metricDropped: 0})
			_, peak := r.memory()
			setup.table.addRates(t, tt.name, "frames/s", rates, ", at most "+mib(peak))
		})
	}
}

// measureOut is one run. It returns also how many webhooks were sent.
func measureOut(ctx context.Context, t *testing.T, r *relayProcess, l load, o crowdOptions, window int) (rate, int) {
	t.Helper()
	c := join(t, ctx, o)
	defer c.close()
	l.before = func(n int) error { return c.reach(ctx, n-window) }
	cpu, begin := r.cpu(), time.Now()
	sent, _, err := l.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.last(ctx, sent); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	return newRate(sent*o.subscribers, took, r.cpu()-cpu), sent
}
