package store

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// BenchmarkAccept measures accepted events of 2 KB, each on disk before the
// producer goes on.
func BenchmarkAccept(b *testing.B) {
	for _, producers := range []int{1, 16} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
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
		})
	}
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
		if _, err := s.Accept(b.Context(), enginetest.NewAcceptance(rules...)); err != nil {
			b.Fatal(err)
		}
	}
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
