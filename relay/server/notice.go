package server

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Bounds on what strangers can have written into the log.
const (
	strangersEvery = time.Minute // in it,
	maxStrangers   = 20          // different buckets have a line
	maxBucketText  = 100         // bytes of a bucket's name

	// calmAfter is how long no webhook was refused for a reason before webhooks
	// are said to be taken again: a reason has two lines in that time at most.
	calmAfter = time.Minute
)

// strangers logs webhooks to buckets that no rule is for.
type strangers struct {
	mu      sync.Mutex // guards the others, and the order of lines
	until   time.Time  // when seen begins anew
	seen    map[string]bool
	leftOut int // webhooks without a line, since the last one
}

func (s *strangers) note(log *slog.Logger, bucket, remote string) {
	bucket = cut(bucket)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.until) {
		s.until = now.Add(strangersEvery)
		s.seen = make(map[string]bool)
	}
	if s.seen[bucket] || len(s.seen) == maxStrangers {
		s.leftOut++
		return
	}
	s.seen[bucket] = true
	attrs := []any{"bucket", bucket, "remote", remote}
	if s.leftOut > 0 {
		attrs = append(attrs, "left_out", s.leftOut)
	}
	log.Warn("no rule is for this bucket", attrs...)
	s.leftOut = 0
}

// cut bounds a bucket's name in the log.
func cut(bucket string) string {
	if len(bucket) <= maxBucketText {
		return bucket
	}
	return strings.ToValidUTF8(bucket[:maxBucketText], "") + "…"
}

// refusals logs when webhooks begin to be refused for a reason, and when they
// are taken again, but not each that is refused.
type refusals struct {
	mu sync.Mutex // guards of, and the order of lines
	of map[error]*spell
}

// spell is a time in which webhooks are refused for one reason.
type spell struct {
	last  time.Time // when one was refused
	count int       // of webhooks
}

// note is called for a webhook that is refused. reason is one of ErrBusy,
// ErrUnavailable and errHeld.
func (r *refusals) note(log *slog.Logger, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sp := r.of[reason]
	if sp == nil {
		sp = &spell{}
		r.of[reason] = sp
		log.Warn("webhooks are refused", "reason", reason)
	}
	sp.last = time.Now()
	sp.count++
}

// taken is called for a webhook that is not refused.
func (r *refusals) taken(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reason, sp := range r.of {
		if time.Since(sp.last) >= calmAfter {
			delete(r.of, reason)
			log.Info("webhooks are taken again", "reason", reason, "refused", sp.count)
		}
	}
}
