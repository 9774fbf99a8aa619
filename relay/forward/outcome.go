package forward

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"hookrun/relay/account"
)

// When a delivery is tried again.
const (
	baseTries     = 3 // an output's own retries come on top
	firstWait     = time.Second
	maxWait       = 5 * time.Minute
	maxRetryAfter = time.Hour // that a destination can make it wait
)

// result is what one try came to.
type result struct {
	status int // of the answer; 0: there was none
	header http.Header
	body   []byte

	err   error // why there was none
	final bool  // trying again can't help
}

// outcome is what is noted of a delivery after a try.
func outcome(l *account.Log, out *account.Output, r result, took time.Duration, now time.Time) account.Update {
	u := account.Update{Status: account.StatusSent, StatusCode: r.status, Retries: l.Retries, Duration: took}
	again := !r.final && worthwhile(r.status) && l.Retries+1 < tries(out)
	switch {
	case r.err == nil && r.status/100 == 2:
		u.Answer, u.AnswerHead = r.body, r.header
		return u
	case again:
		u.Status, u.Retries = account.StatusPreparing, l.Retries+1
		u.Next = now.Add(max(backoff(l.Retries), retryAfter(r.header, now)))
		if r.err != nil {
			u.Answer = []byte(reason(r.err))
		}
		return u
	}
	u.Status = account.StatusFailed
	u.Answer, u.AnswerHead = r.body, r.header
	if r.err != nil {
		u.Answer = []byte(reason(r.err))
	}
	return u
}

// worthwhile reports whether trying again after an answer, or none, may help.
func worthwhile(status int) bool {
	switch status {
	case 0, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// tries is how often a delivery is tried at most.
func tries(out *account.Output) int {
	if out == nil || out.Retries < 0 {
		return 1
	}
	return baseTries + out.Retries
}

// backoff is how long to wait after a try before which there were so many
// retries: a random part, of half at least, of what doubles from 1 s to 5 min.
func backoff(retries int) time.Duration {
	d := maxWait
	if retries < 10 {
		d = min(firstWait<<retries, maxWait)
	}
	return d/2 + rand.N(d/2+1)
}

// retryAfter is for how long the destination does not want to be asked.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if text == "" {
		return 0
	}
	d := time.Duration(0)
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
