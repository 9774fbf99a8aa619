package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"hookrun/engine"
)

// Source is the past: an engine.Store, or who reads one.
type Source interface {
	// Records gives a page of events, the newest first; see engine.Store.
	Records(ctx context.Context, f engine.EventFilter) ([]engine.EventRecord, int64, error)

	// RunsOf and Steps tell what an event started, and what that did.
	RunsOf(ctx context.Context, event string) ([]*engine.Run, error)
	Steps(ctx context.Context, run string) ([]*engine.StepResult, error)
}

// Window says which events of the past are looked at.
type Window struct {
	Since   time.Time     // received since then; zero: all that are kept
	Bucket  string        // name or id; "": any
	Limit   int           // at most so many, the newest; 0: DefaultLimit
	Time    time.Duration // then it ends with what was looked at; 0: it takes what it takes
	Workers int           // goroutines that ask; 0: as many as there are CPUs to use
}

// DefaultLimit is how many events a Window without Limit has.
const DefaultLimit = 100_000

// pageEvents is how many events one worker has at one time. Records gives fewer
// where they are large.
const pageEvents = 200

// Seen is which events were looked at.
type Seen struct {
	Events  int       `json:"events"`
	Skipped int       `json:"skipped,omitempty"` // beside these: no rule was asked about them, or they are replays of others
	Oldest  time.Time `json:"oldest,omitzero"`   // of Events: when it was received
	Newest  time.Time `json:"newest,omitzero"`
	Left    string    `json:"left_out,omitempty"` // why older ones were left out; "": none were
}

func (s *Seen) add(rec *engine.EventRecord) {
	s.Events++
	s.merge(Seen{Oldest: rec.Received, Newest: rec.Received})
}

// merge adds what was seen elsewhere.
func (s *Seen) merge(o Seen) {
	s.Events += o.Events
	s.Skipped += o.Skipped
	if s.Oldest.IsZero() || !o.Oldest.IsZero() && o.Oldest.Before(s.Oldest) {
		s.Oldest = o.Oldest
	}
	if o.Newest.After(s.Newest) {
		s.Newest = o.Newest
	}
}

// skipped reports whether nothing can be learnt from an event: no rule was asked
// about it when it came, or it is another one that came again by hand.
func skipped(rec *engine.EventRecord) bool {
	return rec.Outcome == engine.EventAnswered || rec.MatchErr != "" || rec.ReplayOf != ""
}

// tally is what one worker makes of a page.
type tally interface {
	// event looks at one event.
	event(ctx context.Context, rec *engine.EventRecord) error
}

// page is a part of the past on its way through a worker.
type page[T tally] struct {
	records []engine.EventRecord
	made    T
	err     error
	done    chan struct{} // closed by the worker
}

// walker reads the past and has it looked at.
type walker[T tally] struct {
	src    Source
	window Window
	fresh  func() T // an empty tally
	jobs   chan *page[T]
	order  chan *page[T] // what was put into jobs; both are closed by read
}

// walk has each event of the window looked at, and gives take what became of
// each page, in their order. left says why older events were left out.
func walk[T tally](ctx context.Context, src Source, o Window, fresh func() T, take func(T)) (left string, err error) {
	o.Limit = cmp.Or(o.Limit, DefaultLimit)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	w := &walker[T]{src, o, fresh, make(chan *page[T]), make(chan *page[T], o.Workers)}
	timed, stop := context.WithCancel(ctx)
	defer stop()
	if o.Time > 0 {
		var end context.CancelFunc
		timed, end = context.WithTimeout(timed, o.Time)
		defer end()
	}
	var wg sync.WaitGroup
	var readErr error
	wg.Go(func() { left, readErr = w.read(timed) })
	for range o.Workers {
		wg.Go(func() { w.work(timed) })
	}
	for p := range w.order {
		<-p.done
		if err == nil {
			err = p.err
		}
		if err != nil {
			stop() // the rest is for nothing
			continue
		}
		take(p.made)
	}
	wg.Wait() // read has closed order, and the workers have nothing more to do
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(timed.Err(), context.DeadlineExceeded): // what failed since did so for that
		return fmt.Sprintf("they had to be done within %s", o.Time), nil
	}
	return left, cmp.Or(err, readErr)
}

// read reads page after page and gives them to the workers.
func (w *walker[T]) read(ctx context.Context) (left string, err error) {
	defer close(w.order)
	defer close(w.jobs)
	f := engine.EventFilter{Bucket: w.window.Bucket, Since: w.window.Since}
	for n := 0; ; {
		f.Limit = min(pageEvents, w.window.Limit-n)
		if f.Limit <= 0 {
			return fmt.Sprintf("no more than %d are looked at", w.window.Limit), nil
		}
		records, next, err := w.src.Records(ctx, f)
		if err != nil {
			return "", fmt.Errorf("read events: %w", err)
		}
		if n += len(records); len(records) > 0 && !w.give(ctx, records) {
			return "", nil
		}
		if next == 0 {
			return "", nil
		}
		f.Before = next
	}
}

// give passes a page on. It reports whether there is somebody to take it.
func (w *walker[T]) give(ctx context.Context, records []engine.EventRecord) bool {
	p := &page[T]{records: records, made: w.fresh(), done: make(chan struct{})}
	for _, to := range []chan *page[T]{w.jobs, w.order} {
		select {
		case to <- p:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// work looks at pages until there are no more. Once ctx has ended it leaves the
// rest of its page.
func (w *walker[T]) work(ctx context.Context) {
	for p := range w.jobs {
		for i := range p.records {
			if p.err != nil || ctx.Err() != nil {
				break
			}
			p.err = p.made.event(ctx, &p.records[i])
		}
		p.records = nil
		close(p.done)
	}
}
