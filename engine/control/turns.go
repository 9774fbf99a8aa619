package control

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Bounds of Turns.
const (
	maxTurns = 3                // at one time
	turnWait = 10 * time.Second // for one; then it is said that there is none
)

// RetryAfter is when one may ask again who is told that hookrun can't answer now, in
// seconds.
const RetryAfter = "10"

// Turns keep what takes much memory, or time, from being done for everybody at
// once: a few have a turn, the others wait for theirs. Its zero value is ready.
type Turns struct {
	once  sync.Once
	taken chan struct{} // one for each that has a turn; made once, never closed
}

// Take waits for a turn, which is over with done. The error is an *Error where
// others took too long, and else says why ctx has ended.
func (t *Turns) Take(ctx context.Context) (done func(), err error) {
	t.once.Do(func() { t.taken = make(chan struct{}, maxTurns) })
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken }, nil
	case <-timer.C:
		return nil, &Error{http.StatusServiceUnavailable, "hookrun is busy with what others asked for", "try again in some seconds"}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
