//go:build linux

package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// table is what was measured.
type table struct {
	mu   sync.Mutex // guards rows
	rows []row
}

type row struct {
	test  string // that measured it
	cells [3]string
}

// add notes a result; note says what belongs to it.
func (tb *table) add(t *testing.T, what, result, note string) {
	t.Logf("%s: %s (%s)", what, result, note)
	test, _, _ := strings.Cut(t.Name(), "/")
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows = append(tb.rows, row{test, [3]string{what, result, note}})
}

// order is that of the table; tests run in the order of their files.
func order(r row) int {
	return slices.Index([]string{"TestDisk", "TestIn", "TestInLarge", "TestOut", "TestLatency", "TestIdle", "TestHeld"}, r.test)
}

// print writes the table as Markdown; only that of the real form means anything.
func (tb *table) print(w io.Writer) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if !setup.load || len(tb.rows) == 0 {
		return
	}
	slices.SortStableFunc(tb.rows, func(a, b row) int { return order(a) - order(b) })
	rows := [][3]string{
		{"measured", "result", fmt.Sprintf("%d cores, %s, relay and load on them together", runtime.NumCPU(), runtime.Version())},
		{"-", "-", "-"},
	}
	for _, r := range tb.rows {
		rows = append(rows, r.cells)
	}
	var wide [3]int
	for _, r := range rows {
		for i, cell := range r {
			wide[i] = max(wide[i], len([]rune(cell)))
		}
	}
	for _, r := range rows {
		for i, cell := range r {
			fill := " "
			if cell == "-" {
				fill = "-"
			}
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(fill, wide[i]-len([]rune(cell))))
		}
		fmt.Fprintln(w, "|")
	}
}

// median of what was measured several times.
func median[T cmp.Ordered](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// percentile p of values in ascending order, by the nearest rank.
func percentile(sorted []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

func TestMedianAndPercentile(t *testing.T) {
	if got, want := median([]int{9, 1, 5}), 5; got != want {
		t.Errorf("median = %d, want %d", got, want)
	}
	var sorted []time.Duration
	for n := range 200 {
		sorted = append(sorted, time.Duration(n+1))
	}
	for _, tt := range []struct {
		p    float64
		want time.Duration
	}{{50, 100}, {99, 198}, {100, 200}, {0, 1}} {
		if got := percentile(sorted, tt.p); got != tt.want {
			t.Errorf("percentile(1…200, %v) = %d, want %d", tt.p, got, tt.want)
		}
	}
	if got, want := percentile([]time.Duration{7}, 99), time.Duration(7); got != want {
		t.Errorf("percentile of one value = %d, want %d", got, want)
	}
}
