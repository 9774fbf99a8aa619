package server

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Bounds on what strangers can have written into the log.
const (
	noticesEvery = time.Minute // in it,
	maxNotices   = 20          // different things have a line
	maxNameText  = 100         // bytes of a bucket's name, or a header's

	// calmAfter is how long no webhook was refused for a reason before webhooks
	// are said to be taken again: a reason has two lines in that time at most.
	calmAfter = time.Minute
)

// notices logs what strangers can bring about, such as webhooks to buckets that
// no rule is for.
type notices struct {
	mu      sync.Mutex // guards the others, and the order of lines
	until   time.Time  // when seen begins anew
	seen    map[string]bool
	leftOut int // without a line, since the last one
}

// note logs what has not been logged under this key for a while.
func (n *notices) note(log *slog.Logger, what, key string, attrs ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); !now.Before(n.until) {
		n.until = now.Add(noticesEvery)
		n.seen = make(map[string]bool)
	}
	if n.seen[key] || len(n.seen) == maxNotices {
		n.leftOut++
		return
	}
	n.seen[key] = true
	if n.leftOut > 0 {
		attrs = append(attrs, "left_out", n.leftOut)
	}
	log.Warn(what, attrs...)
	n.leftOut = 0
}

// cut bounds a stranger's name for something in the log.
func cut(name string) string {
	if len(name) <= maxNameText {
		return name
	}
	return strings.ToValidUTF8(name[:maxNameText], "") + "…"
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
