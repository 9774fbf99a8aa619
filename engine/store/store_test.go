package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func TestConformance(t *testing.T) {
	enginetest.TestStore(t, func(t *testing.T) engine.Store { return serve(t, options(t)).Store })
}

// commitTogether has the store commit what is accepted in one batch, in this
// order, and returns the answers.
func commitTogether(t *testing.T, o Options, all ...*engine.Acceptance) []error {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	answers := make([]error, len(all))
	for i, a := range all {
		go func() { _, answers[i] = s.Accept(t.Context(), a) }()
		synctest.Wait() // until it is queued
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx); err != nil { // which ends with what is queued
		t.Fatal(err)
	}
	synctest.Wait()
	return answers
}

func TestATornEventDoesNotFailItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		before, after := enginetest.NewAcceptance("deploy"), enginetest.NewAcceptance("deploy")
		torn := enginetest.NewAcceptance("one", "two")
		torn.Runs[1].ID = torn.Runs[0].ID // fails when one row is written already
		for i, err := range commitTogether(t, o, before, torn, after) {
			if want := i == 1; errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) != want || err != nil != want {
				t.Errorf("event %d: error %v, want one: %v", i, err, want)
			}
		}
		s := serve(t, o)
		for _, a := range []*engine.Acceptance{before, after} {
			if _, err := s.Run(t.Context(), a.Runs[0].ID); err != nil {
				t.Errorf("run of a neighbour: %v", err)
			}
		}
		if _, err := s.Event(t.Context(), torn.Event.ID); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("event that failed: error %v, want %v", err, engine.ErrNotFound)
		}
	})
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := serve(t, options(t))
	a := accept(t, s.Store)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	want := "not accepting events: store is closed"
	for name, err := range map[string]error{
		"Accept": func() error { _, err := s.Accept(t.Context(), enginetest.NewAcceptance()); return errors.Unwrap(err) }(),
		"Update": errors.Unwrap(s.Update(t.Context(), a.Runs[0])),
		"Event":  func() error { _, err := s.Event(t.Context(), a.Event.ID); return errors.Unwrap(err) }(),
		"Health": s.Health(),
	} {
		if err == nil || err.Error() != want || !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
}

func TestReopenedStoreHasItAll(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	a := accept(t, s.Store)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, o)
	refs, err := again.Unfinished(t.Context())
	if err != nil || len(refs) != 1 || refs[0] != a.Runs[0].Ref() {
		t.Errorf("unfinished = %v, %v; want %v", refs, err, a.Runs[0].Ref())
	}
}

func TestSeqIsNeverGivenTwice(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	a := accept(t, s.Store)
	finishRuns(t, s.Store, a)
	if err := s.deleteEvents(t.Context(), []int64{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Event(t.Context(), a.Event.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Fatalf("deleted event: error %v, want %v", err, engine.ErrNotFound)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, o)
	if b := accept(t, again.Store); b.Runs[0].Seq <= a.Runs[0].Seq {
		t.Errorf("Seq %d after a restart, want more than %d", b.Runs[0].Seq, a.Runs[0].Seq)
	}
}

func TestManyQueuedRunsAreListedInOrder(t *testing.T) {
	s := serve(t, options(t))
	const queued = 2000
	rules := make([]string, queued)
	for i := range rules {
		rules[i] = fmt.Sprint("rule ", i)
	}
	a := enginetest.NewAcceptance(rules...)
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	refs, err := s.Unfinished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if ref != a.Runs[i].Ref() {
			t.Fatalf("run %d = %+v, want %+v", i, ref, a.Runs[i].Ref())
		}
	}
}

func TestStateNamesInTheSchemaAreTheEngines(t *testing.T) {
	if engine.Queued != "queued" || engine.Running != "running" {
		t.Errorf("states = %q, %q; the schema and its queries say 'queued', 'running'", engine.Queued, engine.Running)
	}
	for _, o := range engine.EventOutcomes() {
		if !strings.Contains(eventsOfBucket, "'"+string(o)+"'") {
			t.Errorf("runs of a bucket are not looked for where what became of their event is %s", o)
		}
	}
}
