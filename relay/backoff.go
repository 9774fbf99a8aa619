package relay

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff gives the waits between tries: each a random part of a ceiling that
// doubles from first to most. The whole wait is random ("full jitter"), so that
// clients which lost their relay together don't come back together.
type backoff struct {
	first, most time.Duration

	ceiling time.Duration // of the last wait; 0 before the first
}

func (b *backoff) next() time.Duration {
	b.ceiling = min(max(b.first, 2*b.ceiling), b.most)
	return rand.N(b.ceiling + 1)
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
