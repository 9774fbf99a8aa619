package store

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// BenchmarkAccept measures accepted events of 2 KB, each on disk before the
// producer goes on.
func BenchmarkAccept(b *testing.B) {
	for _, producers := range []int{1, 16} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) { benchmarkAccept(b, producers, nil) })
		b.Run(fmt.Sprintf("producers=%d,admit", producers), func(b *testing.B) { benchmarkAccept(b, producers, admitOne) })
	}
}

func benchmarkAccept(b *testing.B, producers int, admit func(engine.Tx, *engine.Run) error) {
	s := serve(b, options(b))
	body := bytes.Repeat([]byte("0123456789abcdef"), 2<<10/16)
	next := make(chan *engine.Acceptance, producers)
	done := make(chan error)
	for range producers {
		go func() {
			var first error
			for a := range next {
				if _, err := s.Accept(b.Context(), a); err != nil && first == nil {
					first = err
				}
			}
			done <- first
		}()
	}
	b.ResetTimer()
	for range b.N {
		a := enginetest.NewAcceptance("deploy")
		a.Event.Body = body
		a.Runs[0].Lane = `rule "deploy"`
		a.Admit = admit
		next <- a
	}
	close(next)
	for range producers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(residentMiB(), "MiB-resident")
}

// admitOne asks two things about each run, and has the first alone be done.
func admitOne(tx engine.Tx, r *engine.Run) error {
	r.Throttle = "="
	recent, err := tx.Recent(engine.Recent{
		Rule: r.Rule, By: engine.ByThrottle, Key: r.Throttle, From: r.Created.Add(-time.Hour), To: r.Created.Add(time.Hour), Limit: 1,
		States: []engine.State{engine.Queued, engine.Running, engine.Done, engine.Failed, engine.Cancelled, engine.Abandoned, engine.Replaced},
	})
	if err != nil {
		return err
	}
	busy, err := tx.Unfinished(engine.Pending{Lane: r.Lane})
	if err != nil {
		return err
	}
	if len(recent)+len(busy) > 0 {
		r.State = engine.Throttled
	}
	return nil
}

// BenchmarkUnfinished measures what a start has to read with 100,000 runs queued.
func BenchmarkUnfinished(b *testing.B) {
	const queued = 100_000
	s := serve(b, options(b))
	for range queued / 100 {
		rules := make([]string, 100)
		for i := range rules {
			rules[i] = fmt.Sprint("rule ", i)
		}
		a := enginetest.NewAcceptance(rules...)
		for _, r := range a.Runs {
			r.Lane = fmt.Sprintf("rule %q", r.Rule)
		}
		if _, err := s.Accept(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		refs, err := s.Unfinished(b.Context())
		if err != nil || len(refs) != queued {
			b.Fatalf("Unfinished = %d runs, %v; want %d", len(refs), err, queued)
		}
	}
}

// residentMiB is the memory of this process, 0 where the system does not tell.
func residentMiB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(kb)[0], 64) // 0 where it is no number
			return n / 1024
		}
	}
	return 0
}
