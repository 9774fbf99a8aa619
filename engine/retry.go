package engine

import (
	"math/rand/v2"
	"time"
)

// maxAskedWait bounds a wait that another side asks for, and one that was
// noted before the clock was set back.
const maxAskedWait = time.Hour

// again reports whether a run that failed at its try-th try is tried again, and
// after what wait.
func (r Retry) again(try int, err error) (wait time.Duration, ok bool) {
	if try >= r.Attempts || IsPermanent(err) {
		return 0, false
	}
	return max(r.backoff(try), min(AskedWait(err), maxAskedWait)), true
}

// backoff is exponential with full jitter: anything between nothing and
// Backoff doubled for each try before this one, at most Max. The first
// millisecond is kept, so that a retry never comes at once.
func (r Retry) backoff(try int) time.Duration {
	base, most := r.Backoff, r.Max
	if base == 0 {
		base = DefaultBackoff
	}
	if most == 0 {
		most = max(DefaultMaxBackoff, base)
	}
	ceiling := most
	if shift := try - 1; shift < 32 && base<<shift > 0 && base<<shift < most {
		ceiling = base << shift
	}
	return time.Millisecond + rand.N(ceiling)
}
