package relay

import (
	"context"
	"math/rand/v2"
	"time"
)

// minWait is the shortest wait between two tries.
const minWait = 500 * time.Millisecond

// backoff gives the waits between tries: each random between minWait and a
// ceiling that doubles from first to most. Clients which lost their relay
// together don't come back together. first is more than minWait.
type backoff struct {
	first, most time.Duration

	ceiling time.Duration // of the last wait; 0 before the first
}

func (b *backoff) next() time.Duration {
	b.ceiling = min(max(b.first, 2*b.ceiling), b.most)
	return minWait + rand.N(b.ceiling-minWait+1)
}

func (b *backoff) reset() { b.ceiling = 0 }

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
