package database

import (
	"testing"
	"time"
)

func TestClockWatch(t *testing.T) {
	type look struct {
		wall, steady time.Duration // since the look before
		trusted      bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"steady", []look{{0, 0, true}, {time.Minute, time.Minute, true}, {time.Minute, time.Minute, true}}},
		{"slewed", []look{{0, 0, true}, {time.Minute + 30*time.Millisecond, time.Minute, true}}},
		{"a year ahead", []look{{0, 0, true}, {365 * 24 * time.Hour, time.Minute, false}, {time.Minute, time.Minute, false}}},
		{"an hour back", []look{{0, 0, true}, {-time.Hour, time.Minute, false}}},
		{"ahead and back", []look{{0, 0, true}, {365 * 24 * time.Hour, time.Minute, false}, {-365 * 24 * time.Hour, time.Minute, false}}},
		{"settled", []look{{0, 0, true}, {time.Hour, time.Minute, false}, {clockSettle, clockSettle, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w ClockWatch
			start := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
			wall, steady := start, start
			for i, l := range tt.looks {
				wall, steady = wall.Add(l.wall), steady.Add(l.steady)
				if err := w.Look(wall, steady); (err == nil) != l.trusted {
					t.Errorf("look %d: error %v, want the clock trusted: %v", i, err, l.trusted)
				}
			}
		})
	}
}
