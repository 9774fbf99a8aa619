package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffIsRandomFromHalfASecondToADoublingCeiling(t *testing.T) {
	const rounds = 1000
	ceilings := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
		16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	lowest, highest := make([]time.Duration, len(ceilings)), make([]time.Duration, len(ceilings))
	for round := range rounds {
		b := backoff{first: firstWait, most: maxWait}
		for i := range ceilings {
			wait := b.next()
			if round == 0 {
				lowest[i] = wait
			}
			lowest[i], highest[i] = min(lowest[i], wait), max(highest[i], wait)
		}
	}
	for i, ceiling := range ceilings {
		const least = 500 * time.Millisecond
		if lowest[i] < least || highest[i] > ceiling {
			t.Errorf("waits of try %d = %s to %s, want them within %s and %s", i+1, lowest[i], highest[i], least, ceiling)
		}
		// Among 1000 waits none in the lowest or highest fifth: once in 10^97.
		fifth := (ceiling - least) / 5
		if lowest[i] > least+fifth || highest[i] < ceiling-fifth {
			t.Errorf("waits of try %d = %s to %s, want them spread over %s to %s", i+1, lowest[i], highest[i], least, ceiling)
		}
	}
}

func TestBackoffBeginsAnewAfterReset(t *testing.T) {
	b := backoff{first: time.Second, most: time.Hour}
	for range 20 {
		b.next()
	}
	b.reset()
	if got := b.next(); got > time.Second {
		t.Errorf("first wait after reset = %s, want 1s at most", got)
	}
}

func TestQueueBounds(t *testing.T) {
	bare := body(0)
	small, half, huge := body(1), body(maxWaitingBytes/2-bare.size()), body(2*maxWaitingBytes)
	tests := []struct {
		name  string
		in    []item
		offer item
		want  bool
	}{
		{"empty", nil, small, true},
		{"empty, for one that is larger than the bound", nil, huge, true},
		{"something waits, for a larger one", []item{small}, huge, false},
		{"a larger one waits", []item{huge}, small, false},
		{"bytes to the brim", []item{half}, half, true},
		{"bytes are full", []item{half, half}, small, false},
		{"one below the count", repeat(small, maxWaiting-1), small, true},
		{"count is full", repeat(small, maxWaiting), small, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := newQueue()
			for i, m := range tt.in {
				if !q.offer(m) {
					t.Fatalf("offer of message %d = false, want true", i)
				}
			}
			if got := q.offer(tt.offer); got != tt.want {
				t.Fatalf("offer = %t, want %t", got, tt.want)
			}
			if tt.want || len(tt.in) == 0 {
				return
			}
			for range tt.in {
				q.pop()
			}
			if !q.offer(tt.offer) {
				t.Error("offer to the emptied queue = false, want true")
			}
		})
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * maxWaiting
		q := newQueue()
		go func() {
			for i := range n {
				if err := q.put(t.Context(), item{Message: Message{ID: fmt.Sprint(i)}}); err != nil {
					t.Errorf("put = %v, want nil", err)
				}
			}
		}()
		synctest.Wait() // the first are in, the next waits for room
		for i := range n {
			m, ok := q.head(t.Context())
			if !ok || m.ID != fmt.Sprint(i) {
				t.Fatalf("head = %s, %t, want %d", m.ID, ok, i)
			}
			q.pop()
		}
	})
}

func TestQueueWaitsEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		empty, full := newQueue(), newQueue()
		for range maxWaiting {
			full.offer(body(1))
		}
		found, put := make(chan bool, 1), make(chan error, 1)
		go func() {
			_, ok := empty.head(ctx)
			found <- ok
		}()
		go func() { put <- full.put(ctx, body(1)) }()
		synctest.Wait()
		if len(found) != 0 || len(put) != 0 {
			t.Fatal("head of an empty or put into a full queue returned, want it to wait")
		}
		cancel()
		if <-found {
			t.Error("head = a message, want none: ctx ended")
		}
		if err := <-put; !errors.Is(err, context.Canceled) {
			t.Errorf("put = %v, want context.Canceled", err)
		}
	})
}

func TestFinishedQueueIsEmptiedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.offer(body(1))
		q.finish()
		if _, ok := q.head(t.Context()); !ok {
			t.Error("head = none, want what was put in before finish")
		}
		q.pop()
		if _, ok := q.head(t.Context()); ok {
			t.Error("head of an empty queue = a message, want none")
		}

		waiting := newQueue()
		found := make(chan bool, 1)
		go func() {
			_, ok := waiting.head(t.Context())
			found <- ok
		}()
		synctest.Wait()
		waiting.finish()
		if <-found {
			t.Error("head = a message, want none: the queue is finished")
		}
	})
}

func body(n int) item { return item{Message: Message{Body: make([]byte, n)}} }

func repeat(m item, n int) []item {
	ms := make([]item, n)
	for i := range ms {
		ms[i] = m
	}
	return ms
}

func TestWatch(t *testing.T) {
	tests := []struct {
		name  string
		beats time.Duration // a byte comes so often; 0: never
		jump  time.Duration // of the wall clock, after a minute
		want  error         // nil: the connection is trusted for an hour
		after time.Duration // when it is given up
	}{
		{name: "bytes every minute", beats: time.Minute},
		{name: "bytes within the last moment", beats: maxSilence - time.Second},
		{name: "silence", want: errSilent, after: maxSilence},
		{name: "slept an hour", beats: time.Second, jump: time.Hour, want: errSlept, after: time.Minute + watchEvery},
		{name: "clock set back an hour", beats: time.Second, jump: -time.Hour, want: errSlept, after: time.Minute + watchEvery},
		{name: "clock corrected by seconds", beats: time.Second, jump: maxDrift - time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start, p := time.Now(), newPulse()
				go beat(ctx, p, tt.beats)
				wall := func() time.Time {
					if time.Since(start) > time.Minute {
						return wallClock().Add(tt.jump)
					}
					return wallClock()
				}
				err := watch(ctx, p, wall)
				if err != tt.want {
					t.Errorf("watch = %v, want %v", err, tt.want)
				}
				if took := time.Since(start); tt.want != nil && took != tt.after {
					t.Errorf("watch returned after %s, want %s", took, tt.after)
				}
			})
		})
	}
}

func beat(ctx context.Context, p *pulse, every time.Duration) {
	for every > 0 && ctx.Err() == nil {
		p.beat()
		sleep(ctx, every)
	}
}

func TestWallClockHasNoMonotonicPart(t *testing.T) {
	now := wallClock()
	if now != now.Round(0) {
		t.Errorf("wallClock = %v, want no monotonic part: it stands still in sleep", now)
	}
}
