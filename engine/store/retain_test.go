package store

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

var day0 = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// clock is one to set.
type clock struct{ atomic.Pointer[time.Time] }

func (c *clock) set(now time.Time) { c.Store(&now) }

// retained is a store with a clock to set.
func retained(t *testing.T, o Options) (*Store, *clock) {
	var c clock
	c.set(day0)
	o.hooks.Now = func() time.Time { return *c.Load() }
	return serve(t, o).Store, &c
}

// acceptAt takes in an event that was received then, and finishes its runs
// where finished says so.
func acceptAt(t *testing.T, s *Store, received time.Time, finished bool, body int) *engine.Acceptance {
	t.Helper()
	return acceptLate(t, s, received, received, finished, body)
}

// acceptLate is acceptAt for an event that arrived later than a relay received it.
func acceptLate(t *testing.T, s *Store, received, arrived time.Time, finished bool, body int) *engine.Acceptance {
	t.Helper()
	a := enginetest.NewAcceptance("deploy", "notify")
	a.Event.ID = idAt(arrived)
	for _, r := range a.Runs {
		r.Event = a.Event.ID
	}
	a.Event.Received = received
	a.Event.Body = make([]byte, body)
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if finished {
		finishRuns(t, s, a)
	}
	return a
}

// idAt is an id that was made then.
func idAt(at time.Time) string {
	u := uuid.Must(uuid.NewV7())
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	return u.String()
}

// TestWhatARelayKeptIsKeptHereToo: else one that comes once more would start
// everything again.
func TestWhatARelayKeptIsKeptHereToo(t *testing.T) {
	s, clock := retained(t, options(t))
	a := acceptLate(t, s, day0.Add(-40*day), day0, true, 0)
	clock.set(day0.Add(29 * day))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !has(t, s, a) {
		t.Error("an event is gone 29 days after it arrived, want it kept for 30")
	}
	clock.set(day0.Add(31 * day))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if has(t, s, a) {
		t.Error("an event is there 31 days after it arrived, want it gone")
	}
}

func has(t *testing.T, s *Store, a *engine.Acceptance) bool {
	t.Helper()
	_, err := s.Event(t.Context(), a.Event.ID)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestSweepByAge(t *testing.T) {
	type event struct {
		received time.Time
		open     bool // has an unfinished run
		kept     bool
	}
	for _, tt := range []struct {
		name   string
		now    time.Time
		events []event // in order of arrival
		err    error
	}{
		{"old ones go", day0.Add(31 * day), []event{
			{received: day0},
			{received: day0.Add(day - time.Second)},
			{received: day0.Add(day), kept: true},
			{received: day0.Add(30 * day), kept: true},
		}, nil},
		{"unfinished stay, those behind go", day0.Add(31 * day), []event{
			{received: day0, open: true, kept: true},
			{received: day0},
		}, nil},
		{"clock behind the newest event", day0.Add(365 * day), []event{
			{received: day0, kept: true},
			{received: day0.Add(366 * day), kept: true},
		}, database.ErrClockBehind},
		{"order of arrival disagrees with the clock", day0.Add(31 * day), []event{
			{received: day0},
			{received: day0.Add(30 * day), kept: true},
			{received: day0.Add(-1000 * day), kept: true}, // the clock was wrong when it came
		}, nil},
		{"nothing there", day0, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, now := retained(t, options(t))
			var all []*engine.Acceptance
			for _, e := range tt.events {
				all = append(all, acceptAt(t, s, e.received, !e.open, 10))
			}
			now.set(tt.now)
			if err := s.sweep(t.Context(), nil); !errors.Is(err, tt.err) {
				t.Fatalf("sweep: error %v, want %v", err, tt.err)
			}
			for i, e := range tt.events {
				if got := has(t, s, all[i]); got != e.kept {
					t.Errorf("event %d is there: %v, want %v", i, got, e.kept)
				}
			}
		})
	}
}

func TestSweepTakesAllThatBelongsToAnEvent(t *testing.T) {
	s, now := retained(t, options(t))
	a := acceptAt(t, s, day0, false, 10)
	run := a.Runs[0]
	step := &engine.StepResult{Run: run.ID, Attempt: 1, Step: "1", Kind: "exec", State: engine.StepDone}
	if err := s.Update(t.Context(), run, step); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendOutput(t.Context(), engine.Chunk{Run: run.ID, Attempt: 1, Stream: engine.Stdout, Data: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	finishRuns(t, s, a)
	now.set(day0.Add(365 * day))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"events", "arrivals", "runs", "steps", "output"} {
		if n, err := s.number(t.Context(), `SELECT count(*) FROM `+table); err != nil || n != 0 {
			t.Errorf("%d rows in %s, %v; want none", n, table, err)
		}
	}
}

func TestSweepBySize(t *testing.T) {
	const events, body = 100, 100 << 10
	o := options(t)
	o.KeepSize = 4 << 20
	s, now := retained(t, o)
	var all []*engine.Acceptance
	for i := range events {
		all = append(all, acceptAt(t, s, day0.Add(time.Duration(i)*time.Second), i != 0, body))
	}
	now.set(day0.Add(-day)) // size does not ask the clock
	if err := s.sweep(t.Context(), database.ErrClockSet); err == nil || err.Error() != "the clock was set less than an hour ago" {
		t.Fatalf("sweep: error %v, want %v", err, database.ErrClockSet)
	}

	if !has(t, s, all[0]) {
		t.Error("the event with an unfinished run is gone")
	}
	kept := 0
	for i, a := range all[1:] {
		switch {
		case has(t, s, a):
			kept++
		case kept > 0:
			t.Errorf("event %d is gone, older ones are there", i+1)
		}
	}
	if most := int(o.KeepSize) / body; kept == 0 || kept > most {
		t.Errorf("%d events of %d bytes are kept, want at most %d and some", kept, body, most)
	}
	if got, most := fileSize(t, s), o.KeepSize+sparePages*8192; got > most {
		t.Errorf("database of %d bytes, want at most %d", got, most)
	}
}

// fileSize is how long the database file is when the log has been moved into it.
func fileSize(t *testing.T, s *Store) int64 {
	t.Helper()
	pages, err := s.number(t.Context(), `PRAGMA page_count`)
	if err != nil {
		t.Fatal(err)
	}
	return pages * 8192
}

func TestSweepGoesInSmallSteps(t *testing.T) {
	s, _ := retained(t, options(t))
	const events, rowsEach = 300, 3
	for range events {
		acceptAt(t, s, day0, true, 10)
	}
	rules := make([]string, 2*sweepRows)
	for i := range rules {
		rules[i] = "rule"
	}
	wide := enginetest.NewAcceptance(rules...)
	wide.Event.ID, wide.Event.Received = idAt(day0), day0
	for _, r := range wide.Runs {
		r.State, r.Event = engine.Done, wide.Event.ID
	}
	if _, err := s.Accept(t.Context(), wide); err != nil {
		t.Fatal(err)
	}

	var steps []int
	for after := int64(0); ; {
		old, err := s.oldest(t.Context(), after, day0.Add(day), sweepBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(old) == 0 {
			break
		}
		steps = append(steps, len(old))
		after = old[len(old)-1]
	}
	most := sweepRows / rowsEach
	want := []int{most, events - most, 1} // an event is never torn
	if len(steps) != len(want) || steps[0] != want[0] || steps[1] != want[1] || steps[2] != want[2] {
		t.Errorf("events in each step = %v, want %v", steps, want)
	}
}

func TestARetriedRunIsNotSwept(t *testing.T) {
	s, _ := retained(t, options(t))
	a := acceptAt(t, s, day0, true, 10)
	old, err := s.oldest(t.Context(), 0, day0.Add(day), sweepBytes)
	if err != nil || len(old) != 1 {
		t.Fatalf("oldest = %v, %v; want the event", old, err)
	}
	a.Runs[0].State = engine.Queued // between the look and the deletion
	if err := s.Change(t.Context(), func(tx engine.Tx) error { return tx.Put(a.Runs[0]) }); err != nil {
		t.Fatal(err)
	}
	if err := s.deleteEvents(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if !has(t, s, a) {
		t.Error("an event with a queued run was deleted")
	}
}

func TestSweepComesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.KeepAge = 90 * time.Second
		s := serve(t, o)
		a := acceptAt(t, s.Store, time.Now(), true, 10)
		time.Sleep(sweepInterval + time.Second)
		synctest.Wait()
		if !has(t, s.Store, a) {
			t.Error("the event is gone after a minute, want it kept for a minute and a half")
		}
		time.Sleep(sweepInterval)
		synctest.Wait()
		if has(t, s.Store, a) {
			t.Error("the event is there after two minutes")
		}
	})
}

func TestSweptSpaceIsGivenBack(t *testing.T) {
	o := options(t)
	o.KeepAge = day
	s, now := retained(t, o)
	for range 200 {
		acceptAt(t, s, day0, true, 100<<10)
	}
	before := fileSize(t, s)
	now.set(day0.Add(365 * day))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if after := fileSize(t, s); after > before/2 {
		t.Errorf("file of %d bytes, %d before the sweep; want less than half", after, before)
	}
}
