package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestRetryAgain(t *testing.T) {
	plain, permanent := errors.New("x"), Permanent(errors.New("x"))
	r := Retry{Attempts: 3, Backoff: time.Second, Max: time.Minute}
	tests := []struct {
		name string
		try  int
		err  error
		ok   bool
		most time.Duration
		min  time.Duration
	}{
		{name: "first", try: 1, err: plain, ok: true, most: time.Second},
		{name: "second doubles", try: 2, err: plain, ok: true, most: 2 * time.Second},
		{name: "last", try: 3, err: plain},
		{name: "permanent", try: 1, err: fmt.Errorf("step: %w", permanent)},
		{name: "asked wait", try: 1, err: fmt.Errorf("step: %w", RetryAfter(plain, 30*time.Second)), ok: true, min: 30 * time.Second, most: 30 * time.Second},
		{name: "asked for too long", try: 1, err: RetryAfter(plain, 100*time.Hour), ok: true, min: time.Hour, most: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 200 {
				wait, ok := r.again(tt.try, tt.err)
				if ok != tt.ok || ok && (wait < max(tt.min, time.Millisecond) || wait > tt.most+time.Millisecond) {
					t.Fatalf("again(%d, %v) = %s, %v, want up to %s, %v", tt.try, tt.err, wait, ok, tt.most, tt.ok)
				}
			}
		})
	}
}

// TestBackoffIsBounded holds for any number of tries: the doubling must not
// overflow.
func TestBackoffIsBounded(t *testing.T) {
	r := Retry{Attempts: 1 << 30, Backoff: time.Hour, Max: 2 * time.Hour}
	for try := 1; try < 200; try++ {
		if wait := r.backoff(try); wait < time.Millisecond || wait > r.Max+time.Millisecond {
			t.Fatalf("backoff(%d) = %s, want at most %s", try, wait, r.Max)
		}
	}
	var zero Retry
	if wait := zero.backoff(100); wait > DefaultMaxBackoff+time.Millisecond {
		t.Errorf("backoff of the zero Retry = %s, want at most %s", wait, DefaultMaxBackoff)
	}
}
