package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"hookrun/engine"
)

// toldOf names what a notice tells of.
func toldOf(n Notice) string {
	name, _ := n.part()
	switch name {
	case "event":
		return "event " + n.Event.ID
	case "run":
		return fmt.Sprintf("run %s %s", n.Run.ID, n.Run.State)
	case "missed":
		return fmt.Sprintf("missed %d", n.Missed)
	}
	return name
}

// onlooker collects what it is told.
type onlooker struct {
	mu   sync.Mutex // guards told
	told []string
}

func (w *onlooker) emit(n Notice) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, toldOf(n))
	return nil
}

// watchFeed watches in a bubble of synctest until the test ends.
func watchFeed(t *testing.T, f *Feed, q WatchQuery) *onlooker {
	w := &onlooker{}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	enough := errors.New("enough")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Watch(ctx, q, w.emit); !errors.Is(err, enough) {
			t.Errorf("Watch: %v, want %v", err, enough)
		}
	})
	t.Cleanup(func() {
		cancel(enough)
		wg.Wait()
	})
	synctest.Wait()
	return w
}

func TestFeedTellsWhatIsAskedFor(t *testing.T) {
	happens := []Notice{
		{Event: &EventRow{Event: Event{ID: "e1", Bucket: "deploys"}, bucketID: "id-of-deploys", Outcome: engine.EventStarted, Matched: []string{"a"}}},
		{Run: &Run{ID: "r1", Event: "e1", Rule: "a", State: engine.Queued}},
		{Run: &Run{ID: "r1", Event: "e1", Rule: "a", State: engine.Done}},
		{Event: &EventRow{Event: Event{ID: "e2", Bucket: "other"}, Outcome: engine.EventErrored, Errored: []string{"b"}}},
		{Run: &Run{ID: "r2", Event: "e0", Rule: "b", State: engine.Failed}},
		{Rejected: &engine.Rejection{Bucket: "deploys"}},
		{Rules: &Generation{}},
		{Health: &Health{}},
	}
	for _, tt := range []struct {
		name string
		q    WatchQuery
		want []string
	}{
		{"all", WatchQuery{}, []string{"event e1", "run r1 queued", "run r1 done", "event e2", "run r2 failed", "rejected"}},
		{"a bucket, and the runs of its events", WatchQuery{Bucket: "deploys"}, []string{"event e1", "run r1 queued", "run r1 done", "rejected"}},
		{"a bucket by its id", WatchQuery{Bucket: "id-of-deploys"}, []string{"event e1", "run r1 queued", "run r1 done"}},
		{"a rule that matched", WatchQuery{Rule: "a"}, []string{"event e1", "run r1 queued", "run r1 done"}},
		{"a rule that failed", WatchQuery{Rule: "b"}, []string{"event e2", "run r2 failed"}},
		{"outcomes: events alone", WatchQuery{Outcomes: []engine.EventOutcome{engine.EventErrored}}, []string{"event e2"}},
		{"states: runs alone", WatchQuery{States: []engine.State{engine.Failed, engine.Done}}, []string{"run r1 done", "run r2 failed"}},
		{"outcomes and states", WatchQuery{Outcomes: []engine.EventOutcome{engine.EventStarted}, States: []engine.State{engine.Failed}}, []string{"event e1", "run r2 failed"}},
		{"states of a bucket", WatchQuery{Bucket: "deploys", States: []engine.State{engine.Done}}, []string{"run r1 done"}},
		{"nothing", WatchQuery{Bucket: "x"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &Feed{}
				w := watchFeed(t, f, tt.q)
				for _, n := range happens {
					f.Publish(n)
				}
				synctest.Wait()
				wantEqual(t, "told", w.told, slices.Concat([]string{""}, tt.want, []string{"rules", "health"}))
			})
		})
	}
}

// TestFeedTellsOfTheEngine: what it is given is what one sees.
func TestFeedTellsOfTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Feed{}
		var got []Notice
		emit := func(n Notice) error {
			if got = append(got, n); len(got) == 1 {
				f.Event(&engine.Acceptance{
					Event: &engine.Event{
						ID: "e1", Bucket: "deploys", BucketID: "id-of-deploys", Method: "POST", Path: "/", ReplayOf: "e0", Body: []byte("abc"), Header: http.Header{"X-Github-Event": {"push"}},
					},
					Verdicts: []engine.Verdict{{Rule: "a", Outcome: engine.Matched}, {Rule: "b", Outcome: engine.Errored}, {Rule: "c", Outcome: engine.NoMatch}},
					Runs:     []*engine.Run{{State: engine.Queued}},
				})
				f.Run(engine.Run{ID: "r1", State: engine.Running, Armed: true})
				f.Rejected(engine.Rejection{Bucket: "x"})
			}
			if len(got) == 4 {
				return errors.New("enough")
			}
			return nil
		}
		if err := f.Watch(t.Context(), WatchQuery{}, emit); err == nil || err.Error() != "enough" {
			t.Fatal(err)
		}
		wantEqual(t, "event", *got[1].Event, EventRow{
			Event: Event{ID: "e1", Bucket: "deploys", Method: "POST", Path: "/", Size: 3}, Kind: "push", Outcome: engine.EventStarted,
			Matched: []string{"a"}, Errored: []string{"b"}, ReplayOf: "e0", bucketID: "id-of-deploys",
		})
		wantEqual(t, "run", *got[2].Run, Run{ID: "r1", State: engine.Running, Armed: true})
		wantEqual(t, "rejection", *got[3].Rejected, engine.Rejection{Bucket: "x"})
	})
}

// TestSlowWatcherMisses: it never holds up who publishes, and learns how many it
// missed, and where.
func TestSlowWatcherMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Feed{}
		reads := make(chan bool)
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			f.Watch(ctx, WatchQuery{}, func(n Notice) error {
				<-reads
				got = append(got, toldOf(n))
				return nil
			})
		})
		publish := func(from, n int) {
			for i := range n {
				f.Publish(Notice{Event: &EventRow{Event: Event{ID: fmt.Sprint(from + i)}}})
			}
		}
		reads <- true // it watches
		synctest.Wait()
		publish(0, 1)
		synctest.Wait() // it has taken that, and hangs
		publish(1, maxUnread+44)
		for range maxUnread + 2 {
			reads <- true
		}
		synctest.Wait()
		publish(1000, 1)
		reads <- true
		synctest.Wait()
		cancel()
		wg.Wait()

		want := []string{""}
		for i := range maxUnread + 1 {
			want = append(want, fmt.Sprintf("event %d", i))
		}
		wantEqual(t, "told", got, append(want, "missed 44", "event 1000"))
		wantEqual(t, "watchers left", []int{len(f.watchers), f.Watchers()}, []int{0, 0})
	})
}

func TestWatchersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Feed{}
		for range MaxWatchers {
			watchFeed(t, f, WatchQuery{})
		}
		err := f.Watch(t.Context(), WatchQuery{}, func(Notice) error { return nil })
		wantError(t, err, Error{http.StatusServiceUnavailable, "32 watch already", "end a hookrun tail, or close a page of the dashboard"})
	})
}

// TestFollowedEventsAreBounded: the runs of the newest events of a bucket are
// told of, however many come.
func TestFollowedEventsAreBounded(t *testing.T) {
	w := &watcher{query: WatchQuery{Bucket: "b"}}
	for i := range 3 * maxFollowed {
		w.wants(Notice{Event: &EventRow{Event: Event{ID: fmt.Sprint(i), Bucket: "b"}}})
		if len(w.followed) > maxFollowed {
			t.Fatalf("%d events are followed, want %d at most", len(w.followed), maxFollowed)
		}
		if !w.wants(Notice{Run: &Run{Event: fmt.Sprint(i)}}) {
			t.Fatalf("the run of event %d is not told of", i)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	l := &Local{}
	for _, tt := range []struct {
		name string
		q    WatchQuery
		want Error
	}{
		{"outcome", WatchQuery{Outcomes: []engine.EventOutcome{"strated"}}, Error{http.StatusBadRequest, `there is no outcome "strated"`, `did you mean "started"?`}},
		{"state", WatchQuery{States: []engine.State{"don"}}, Error{http.StatusBadRequest, `there is no state "don"`, `did you mean "done"?`}},
		{"no hookrun", WatchQuery{}, Error{http.StatusServiceUnavailable, "no hookrun runs on this data folder: nothing happens that could be watched",
			"start one, as with hookrun -rules rules.yaml, or name its folder with -data"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, l.Watch(t.Context(), tt.q, nil), tt.want)
		})
	}
}
