//go:build linux

package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	heldSenders = 64
	heldParts   = 4   // in which the store is filled, to see whether memory grows
	heldSlowest = 300 // webhooks a second, in or out: less ends the test
)

// TestHeld measures a relay that keeps webhooks for a client that is away: the
// memory while they come in, starts with them, and how fast the client gets them
// when it is back.
func TestHeld(t *testing.T) {
	held := formNow().held / heldParts * heldParts
	r := startRelay(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Duration(held/heldSlowest)*time.Second+5*time.Minute)
	defer cancel()
	absent := crowdOptions{address: r.address, subscribers: 1, client: "absent", most: held}
	join(t, ctx, absent).close() // from now on webhooks are kept for it
	start, _ := r.memory()

	what := fmt.Sprintf("%d webhooks of 2 KiB held", held)
	grown := []string{mib(start)}
	l := load{address: r.address, senders: heldSenders, body: jsonBody(smallBody), count: held / heldParts}
	cpu, begin := r.cpu(), time.Now()
	for range heldParts {
		if _, _, err := l.run(ctx); err != nil {
			t.Fatal(err)
		}
		l.first += l.count
		now, _ := r.memory()
		grown = append(grown, mib(now))
	}
	filled := newRate(held, time.Since(begin), r.cpu()-cpu)
	_, peak := r.memory()
	setup.table.add(t, what, strings.Join(grown, ", "), fmt.Sprintf("relay's memory at the start and after each quarter, at most %s; %.0f/s in", mib(peak), filled.perSecond))
	r.expect(map[string]int{metricReceived: held, metricKept: held, metricWaiting: held})

	stopped := r.stop()
	r.start()
	afterStop := r.ready
	r.kill()
	r.start()
	now, _ := r.memory()
	setup.table.add(t, what+": a start", millis(afterStop)+" to ready", fmt.Sprintf("after a kill -9 %s; it stopped in %s; %s", millis(r.ready), millis(stopped), mib(now)))
	r.expect(map[string]int{metricKept: held, metricWaiting: held})

	absent.address = r.address
	cpu, begin = r.cpu(), time.Now()
	c := join(t, ctx, absent)
	if err := c.last(ctx, held); err != nil {
		t.Fatal(err)
	}
	drained := newRate(held, time.Since(begin), r.cpu()-cpu)
	c.close()
	if again := c.subs[0].again; again > 0 {
		t.Errorf("%d webhooks came twice to a client that never went away", again)
	}
	now, peak = r.memory()
	setup.table.addRates(t, what+": drained", "webhooks/s", []rate{drained}, fmt.Sprintf(", %s then, at most %s", mib(now), mib(peak)))
	r.expect(map[string]int{metricAcked: held, metricWaiting: 0, metricDropped: 0})
}
