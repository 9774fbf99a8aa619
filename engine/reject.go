package engine

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Rejection is a request that was turned away. It is kept apart from the events,
// without its body, its query and the values of its header.
type Rejection struct {
	ID       string    `json:"id"`               // UUIDv7
	Received time.Time `json:"received"`         //
	Source   string    `json:"source"`           // as of an event, and so are those that follow
	Remote   string    `json:"remote,omitempty"` //
	Bucket   string    `json:"bucket"`           //
	Method   string    `json:"method"`           //
	Path     string    `json:"path"`             //
	Headers  []string  `json:"headers"`          // names, sorted
	Size     int       `json:"size"`             // bytes of the body
	Reason   string    `json:"reason"`           // why
	Likely   string    `json:"likely,omitempty"` // for the operator alone: what is wrong, as far as that was tried; "" too where many are rejected
}

// Bounds of what is kept of a rejection.
const (
	MaxRejections      = 1000 // of them, the newest
	maxRejectedHeaders = 100
	maxRejectedText    = 1 << 10 // bytes of one text
)

// RejectionFilter asks for rejections, the newest first. What is left zero asks
// for any.
type RejectionFilter struct {
	Bucket string
	Since  time.Time
	Limit  int // at most so many; 0: MaxRejections
}

// unprovable says where a signature can't be checked, whoever made it.
func unprovable(ev *Event) string {
	if ev.Lossy {
		return "the body holds U+FFFD, which the relay puts in the place of bytes that are not UTF-8: a signature over such a body can't be checked here"
	}
	return ""
}

// reject records an event that is turned away, and returns what its sender may
// know. It costs a sender's time and never an event: where too many are recorded
// at once they are counted alone.
func (e *Engine) reject(ctx context.Context, ev *Event, t trust) error {
	e.mu.Lock()
	e.rejected++
	busy := e.rejecting == maxRejecting
	if !busy {
		e.rejecting++
	}
	leftOut, told := e.strangersOf(ev.Bucket).take(time.Now())
	e.mu.Unlock()
	mask := e.rules.Load().mask()
	r := rejection(ev, t, mask)
	r.Likely = mask.string(e.likely(ctx, ev, t, told))
	if told {
		e.logRejected(r, leftOut)
	}
	e.onReject(r)
	if busy {
		return t.rejected
	}
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.rejecting--
	}()
	if err := e.store.Reject(ctx, r); err != nil {
		e.log.Debug("rejection is not recorded", "bucket", r.Bucket, "err", err)
	}
	return t.rejected
}

// notLooked is in the place of a cause that nobody looked for.
const notLooked = "not looked for: many were rejected at that time"

// likely looks for what the operator may mend. It is work that a stranger can
// ask for, so one is looked for at a time, and only where the log has a line.
func (e *Engine) likely(ctx context.Context, ev *Event, t trust, told bool) string {
	if t.doctor == nil {
		return ""
	}
	if why := unprovable(ev); why != "" {
		return why
	}
	if !told || !e.doctor.TryLock() {
		return notLooked
	}
	defer e.doctor.Unlock()
	return t.doctor.Likely(ctx, ev)
}

// strangersOf are the lines about rejections of a bucket. A stranger may think of
// any name where a rule names none, so they are bounded. mu is held.
func (e *Engine) strangersOf(bucket string) *sometimes {
	const most = 100
	s := e.strangers[bucket]
	if s == nil && len(e.strangers) >= most {
		bucket = ""
		s = e.strangers[bucket]
	}
	if s == nil {
		s = &sometimes{}
		e.strangers[bucket] = s
	}
	return s
}

func (e *Engine) logRejected(r Rejection, leftOut int) {
	attrs := []any{"bucket", r.Bucket, "remote", r.Remote, "why", r.Reason}
	if r.Likely != "" {
		attrs = append(attrs, "likely", r.Likely)
	}
	if leftOut > 0 {
		attrs = append(attrs, "left_out", leftOut)
	}
	e.log.Warn("event rejected", attrs...)
}

// maxRejecting is how many rejections are recorded at one time.
const maxRejecting = 16

func rejection(ev *Event, t trust, mask *masker) Rejection {
	var names []string
	for name := range ev.Header {
		names = append(names, shortened(name))
	}
	slices.Sort(names)
	return Rejection{
		ID: ev.ID, Received: ev.Received, Source: ev.Source, Remote: ev.Remote, Bucket: shortened(ev.Bucket),
		Method: shortened(ev.Method), Path: shortened(mask.string(ev.Path)), Headers: names[:min(len(names), maxRejectedHeaders)],
		Size: len(ev.Body), Reason: mask.string(t.reason),
	}
}

func shortened(s string) string {
	if len(s) <= maxRejectedText {
		return s
	}
	return strings.ToValidUTF8(s[:maxRejectedText], "") + "…"
}

// sometimes lets a line into the log only so often.
type sometimes struct {
	until   time.Time // when lines are counted anew
	lines   int       // since then
	leftOut int       // since the last line
}

// How many lines strangers can have written.
const (
	strangersEvery = time.Minute
	maxStrangers   = 20
)

// take reports whether there may be a line, and how many there were not.
func (s *sometimes) take(now time.Time) (leftOut int, ok bool) {
	if !now.Before(s.until) {
		s.until, s.lines = now.Add(strangersEvery), 0
	}
	if s.lines == maxStrangers {
		s.leftOut++
		return 0, false
	}
	s.lines++
	leftOut, s.leftOut = s.leftOut, 0
	return leftOut, true
}
