//go:build linux

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// runBound is how much longer than planned a run may take.
const runBound = 60 * time.Second

// rate is what one run came to.
type rate struct {
	perSecond float64 // what is counted
	cpu       float64 // cores that the relay took
	each      float64 // microseconds of a core that each took
}

func newRate(counted int, took, cpu time.Duration) rate {
	return rate{perSecond(counted, took), cpu.Seconds() / took.Seconds(), cpu.Seconds() * 1e6 / float64(counted)}
}

// addRates notes the median of several runs.
func (tb *table) addRates(t *testing.T, what, unit string, all []rate, note string) {
	var perSecond, cpu, each []float64
	for _, r := range all {
		perSecond, cpu, each = append(perSecond, r.perSecond), append(cpu, r.cpu), append(each, r.each)
	}
	tb.add(t, what, fmt.Sprintf("%.0f %s", median(perSecond), unit),
		fmt.Sprintf("relay: %.2f cores, %.0f µs each%s", median(cpu), median(each), note))
}

// TestDisk says what the disk can do by itself: every commit waits for it.
func TestDisk(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const page, pages = 4 << 10, 1 << 10
	data := make([]byte, page)
	if _, err := f.Write(make([]byte, page*pages)); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	begin := time.Now()
	for n := 0; n < formNow().webhooks && time.Since(begin) < formNow().time; n++ {
		one := time.Now()
		if _, err := f.WriteAt(data, int64(n%pages)*page); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(one))
	}
	setup.table.add(t, "the disk: 4 KiB and fdatasync, one after the other",
		fmt.Sprintf("%.0f/s", perSecond(len(took), time.Since(begin))), "p50 "+millis(median(took)))
}

// TestIn measures how fast webhooks of 2 KB get on disk that nobody is to get.
func TestIn(t *testing.T) {
	for _, senders := range []int{1, 16, 256} {
		t.Run(fmt.Sprintf("%d senders", senders), func(t *testing.T) {
			measureIn(t, load{senders: senders, body: jsonBody(smallBody), count: formNow().webhooks}, "in, 2 KiB, %d senders")
		})
	}
}

// TestInLarge is TestIn with bodies of 1 MiB.
func TestInLarge(t *testing.T) {
	for _, senders := range []int{1, 16} {
		t.Run(fmt.Sprintf("%d senders", senders), func(t *testing.T) {
			measureIn(t, load{senders: senders, body: jsonBody(largeBody), count: formNow().large}, "in, 1 MiB, %d senders")
		})
	}
}

func measureIn(t *testing.T, l load, what string) {
	r := startRelay(t)
	l.address, l.time = r.address, formNow().time
	ctx, cancel := context.WithTimeout(t.Context(), l.time*time.Duration(formNow().runs)+runBound)
	defer cancel()
	var rates []rate
	total := 0
	for range formNow().runs {
		cpu := r.cpu()
		sent, took, err := l.run(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rates = append(rates, newRate(sent, took, r.cpu()-cpu))
		total += sent
	}
	r.expect(map[string]int{metricReceived: total, metricKept: total})
	_, peak := r.memory()
	setup.table.addRates(t, fmt.Sprintf(what, l.senders), "webhooks/s", rates, ", at most "+mib(peak))
}
