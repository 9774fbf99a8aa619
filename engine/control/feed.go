package control

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"hookrun/engine"
)

// MaxWatchers is how many watch a Feed at one time; further ones are refused.
const MaxWatchers = 32

// Bounds of a watcher.
const (
	maxUnread   = 256 // notices that wait for one watcher; further ones it misses
	maxFollowed = 512 // events of a bucket whose runs a watcher is told of, the newest
)

// Feed tells those who watch what happens. To publish never blocks, and costs
// next to nothing where nobody watches. Its zero value has no watchers.
type Feed struct {
	count atomic.Int32 // watchers

	mu       sync.Mutex // guards what follows
	watchers []*watcher
}

// watcher is one who watches.
type watcher struct {
	query WatchQuery
	wake  chan struct{} // holds one where something is unread; closed by nobody

	mu       sync.Mutex // guards what follows
	unread   []Notice
	missed   int      // notices behind the unread ones that found no room
	followed []string // ids of events that were told of; kept where query has a Bucket
}

// Watchers is how many watch.
func (f *Feed) Watchers() int { return int(f.count.Load()) }

// Event publishes an event that is on disk, as engine.Options.OnEvent.
func (f *Feed) Event(a *engine.Acceptance) {
	if f.Watchers() > 0 {
		f.Publish(Notice{Event: accepted(a)})
	}
}

// accepted is the row of an event that has just been accepted. Its Seq is not
// known.
func accepted(a *engine.Acceptance) *EventRow {
	e := engine.NewEventRecord(a.Event, a.Verdicts).EventSummary
	e.Outcome, e.BodyErr, e.MatchErr = a.Outcome(), a.BodyErr, a.MatchErr
	row := newEventRow(e)
	row.bucketID = a.Event.BucketID
	return &row
}

// Run publishes a run that has changed, as engine.Options.OnChange.
func (f *Feed) Run(r engine.Run) {
	if f.Watchers() > 0 {
		run := newRun(&r, "")
		f.Publish(Notice{Run: &run})
	}
}

// Rejected publishes an event that was turned away, as engine.Options.OnReject.
func (f *Feed) Rejected(r engine.Rejection) {
	if f.Watchers() > 0 {
		f.Publish(Notice{Rejected: &r})
	}
}

// Publish tells those who watch. What n points to does not change any more.
func (f *Feed) Publish(n Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watchers {
		w.offer(n)
	}
}

// Watch is History's, for a question that is right.
func (f *Feed) Watch(ctx context.Context, q WatchQuery, emit func(Notice) error) error {
	w, err := f.enter(q)
	if err != nil {
		return err
	}
	defer f.leave(w)
	if err := emit(Notice{}); err != nil {
		return err
	}
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, n := range w.take() {
			if err := emit(n); err != nil {
				return err
			}
		}
	}
}

func (f *Feed) enter(q WatchQuery) (*watcher, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.watchers) == MaxWatchers {
		return nil, &Error{http.StatusServiceUnavailable, fmt.Sprintf("%d watch already", MaxWatchers), "end a hookrun tail, or close a page of the dashboard"}
	}
	w := &watcher{query: q, wake: make(chan struct{}, 1)}
	f.watchers = append(f.watchers, w)
	f.count.Add(1)
	return w, nil
}

func (f *Feed) leave(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = slices.DeleteFunc(f.watchers, func(other *watcher) bool { return other == w })
	f.count.Add(-1)
}

// offer takes a notice that the watcher wants.
func (w *watcher) offer(n Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wants(n) {
		return
	}
	if len(w.unread) == maxUnread {
		w.missed++
		return
	}
	w.unread = append(w.unread, n)
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// take returns what is unread, and what was missed behind it.
func (w *watcher) take() []Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.unread
	if w.missed > 0 {
		all = append(all, Notice{Missed: w.missed})
	}
	w.unread, w.missed = nil, 0
	return all
}

// wants reports whether a notice is one that is asked for. mu is held.
func (w *watcher) wants(n Notice) bool {
	q := w.query
	switch {
	case n.Event != nil:
		return w.wantsEvent(n.Event)
	case n.Run != nil:
		r := n.Run
		return (len(q.States) > 0 || len(q.Outcomes) == 0) && (len(q.States) == 0 || slices.Contains(q.States, r.State)) &&
			(q.Rule == "" || r.Rule == q.Rule) && (q.Bucket == "" || slices.Contains(w.followed, r.Event))
	case n.Rejected != nil:
		return q.Rule == "" && len(q.Outcomes) == 0 && len(q.States) == 0 && (q.Bucket == "" || n.Rejected.Bucket == q.Bucket)
	}
	return true
}

// wantsEvent is wants for an event, and follows one of the bucket that is asked
// for. mu is held.
func (w *watcher) wantsEvent(e *EventRow) bool {
	q := w.query
	if q.Bucket != "" && e.Bucket != q.Bucket && e.bucketID != q.Bucket {
		return false
	}
	if q.Bucket != "" {
		if len(w.followed) == maxFollowed {
			w.followed = slices.Delete(w.followed, 0, maxFollowed/2)
		}
		w.followed = append(w.followed, e.ID)
	}
	return (len(q.Outcomes) > 0 || len(q.States) == 0) && (len(q.Outcomes) == 0 || slices.Contains(q.Outcomes, e.Outcome)) &&
		(q.Rule == "" || slices.Contains(e.Matched, q.Rule) || slices.Contains(e.Errored, q.Rule))
}

// Watch implements History.
func (l *Local) Watch(ctx context.Context, q WatchQuery, emit func(Notice) error) error {
	if err := checkWords("outcome", q.Outcomes, engine.EventOutcomes()); err != nil {
		return err
	}
	if err := checkWords("state", q.States, engine.States()); err != nil {
		return err
	}
	if l.Feed == nil {
		return noDaemon("nothing happens that could be watched")
	}
	return l.Feed.Watch(ctx, q, emit)
}
