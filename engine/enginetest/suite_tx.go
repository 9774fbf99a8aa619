package enginetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"hookrun/engine"
)

// fill sets each field of the struct that v points to, so that no two are alike
// for the same or for another seed, other than those that are named.
func fill(v any, seed int, but ...string) {
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if slices.Contains(but, name) {
			continue
		}
		n := seed*100 + i + 1
		switch f := s.Field(i); p := f.Addr().Interface().(type) {
		case *time.Time:
			*p = time.Unix(int64(n), 123456789).UTC()
		case *map[string]string:
			*p = map[string]string{name: fmt.Sprint("é ", n)}
		case *map[string][]string:
			*p = map[string][]string{name: {fmt.Sprint("\xe9 ", n), "b"}}
		default:
			fillValue(f, name, n)
		}
	}
}

func fillValue(f reflect.Value, name string, n int) {
	switch f.Kind() {
	case reflect.String:
		f.SetString(fmt.Sprint(name, " ", n))
	case reflect.Int, reflect.Int64:
		f.SetInt(int64(n))
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Struct:
		fill(f.Addr().Interface(), n)
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		fillValue(f.Elem(), name, n)
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		fillValue(f.Index(0), name, n)
		fillValue(f.Index(1), name+" more", n)
	default:
		panic("no way to fill the field " + name)
	}
}

// filled changes all of a run but for what is given once; it stays unfinished.
func filled(r *engine.Run, seed int) *engine.Run {
	run := *r
	fill(&run, seed, "ID", "Seq", "Event", "State")
	return &run
}

func testFields(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	a.Runs[0] = filled(a.Runs[0], 1)
	receipt := mustAccept(t, s, a)
	run := a.Runs[0]
	read := func(what string, want *engine.Run) {
		t.Helper()
		wantEqual(t, what, must[*engine.Run](t)(s.Run(t.Context(), run.ID)), want)
		wantEqual(t, what+", listed", must[[]*engine.Run](t)(s.Runs(t.Context(), engine.RunFilter{})), []*engine.Run{want})
		wantEqual(t, what+", as unfinished", must[[]engine.Ref](t)(s.Unfinished(t.Context())), []engine.Ref{want.Ref()})
	}
	wantEqual(t, "receipt", receipt.Runs, []engine.Ref{run.Ref()})
	read("accepted run", run)

	updated := filled(run, 2)
	updated.Base, updated.Note = run.Base, run.Note // a person's: Update writes neither
	step := &engine.StepResult{}
	fill(step, 3, "Stdout", "Stderr")
	step.Run = run.ID
	if err := s.Update(t.Context(), updated, step); err != nil {
		t.Fatal(err)
	}
	read("updated run", updated)
	noted, retried := *updated, *updated
	noted.Note = "of an attempt"
	if err := s.Update(t.Context(), &noted); err != nil {
		t.Fatal(err)
	}
	read("run that a person noted something of", updated)
	retried.Base--
	if err := s.Update(t.Context(), &retried); !errors.Is(err, engine.ErrFinished) {
		t.Errorf("Update of a run that was retried since: error %v, want %v", err, engine.ErrFinished)
	}
	read("run that was retried since", updated)
	wantEqual(t, "step", must[[]*engine.StepResult](t)(s.Steps(t.Context(), run.ID)), []*engine.StepResult{step})
	printed := *step
	printed.Output, printed.Plan, printed.Process = engine.Output{}, nil, engine.Process{}
	wantEqual(t, "step, as one follows it", must[[]*engine.StepResult](t)(s.Printed(t.Context(), run.ID)), []*engine.StepResult{&printed})

	put := filled(run, 4)
	moved := *put
	moved.Seq, moved.Event = 99, "another" // given once
	mustChange(t, s, func(tx engine.Tx) error { return tx.Put(&moved) })
	read("put run", put)
	mustChange(t, s, func(tx engine.Tx) error {
		wantEqual(t, "run in a change", must[*engine.Run](t)(tx.Run(run.ID)), put)
		return nil
	})
}

func mustChange(t *testing.T, s engine.Store, fn func(engine.Tx) error) {
	t.Helper()
	if err := s.Change(t.Context(), fn); err != nil {
		t.Fatalf("Change: %v", err)
	}
}

// lastOf is a look at the last run of the rule that had the dedupe key.
func lastOf(rule, key string) engine.Recent {
	return engine.Recent{Rule: rule, By: engine.ByDedupe, Key: key, States: engine.States(), Limit: 1}
}

func testAdmitOrder(t *testing.T, s engine.Store) {
	accept := func(runs int) *engine.Acceptance {
		a := NewAcceptance(slices.Repeat([]string{"deploy"}, runs)...)
		a.Admit = func(tx engine.Tx, r *engine.Run) error {
			r.Dedupe, r.Lane = "=k", "lane"
			before := must[[]*engine.Run](t)(tx.Recent(lastOf("deploy", "=k")))
			wantEqual(t, "pending runs", len(must[[]*engine.Run](t)(tx.Unfinished(engine.Pending{Lane: "lane"}))), len(before))
			if len(before) > 0 {
				r.State, r.By = engine.Duplicate, before[0].ID
			}
			_, err := tx.Run(r.ID)
			wantNotFound(t, "Run that is asked about", err)
			return nil
		}
		receipt := mustAccept(t, s, a)
		var refs []engine.Ref
		for _, r := range a.Runs {
			refs = append(refs, r.Ref())
		}
		wantEqual(t, "receipt", receipt.Runs, refs)
		wantEqual(t, "runs", must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID)), a.Runs)
		return a
	}
	first := accept(3).Runs
	last := accept(1).Runs[0]
	wantEqual(t, "state of the first", first[0].State, engine.Queued)
	wantEqual(t, "By of the second", first[1].By, first[0].ID)
	wantEqual(t, "By of the third", first[2].By, first[1].ID)
	wantEqual(t, "By of the next event's", last.By, first[2].ID)
}

func testAdmitRefuses(t *testing.T, s engine.Store) {
	old := NewAcceptance("deploy")
	mustAccept(t, s, old)
	why := errors.New("no")
	a := NewAcceptance("one", "two")
	a.Event.Delivery = "d-1"
	a.Admit = func(tx engine.Tx, r *engine.Run) error {
		if r == a.Runs[1] {
			return why
		}
		other := must[*engine.Run](t)(tx.Run(old.Runs[0].ID))
		other.Note = "changed"
		return tx.Put(other)
	}
	if _, err := s.Accept(t.Context(), a); !errors.Is(err, why) {
		t.Errorf("Accept: error %v, want %v", err, why)
	}
	_, err := s.Event(t.Context(), a.Event.ID)
	wantNotFound(t, "Event of the refused", err)
	_, err = s.Run(t.Context(), a.Runs[0].ID)
	wantNotFound(t, "Run of the refused", err)
	wantEqual(t, "the other run", must[*engine.Run](t)(s.Run(t.Context(), old.Runs[0].ID)), old.Runs[0])

	a.Admit = nil
	if receipt := mustAccept(t, s, a); receipt.Duplicate {
		t.Error("the refused acceptance left its delivery behind")
	}
	wantEqual(t, "Seq of the run accepted next", a.Runs[0].Seq, old.Runs[0].Seq+1)
}

func testAdmitChanges(t *testing.T, s engine.Store) {
	old := NewAcceptance("deploy")
	mustAccept(t, s, old)
	a := NewAcceptance("deploy", "deploy")
	a.Admit = func(tx engine.Tx, r *engine.Run) error {
		for _, o := range must[[]*engine.Run](t)(tx.Unfinished(engine.Pending{Rule: "deploy"})) {
			o.State, o.By = engine.Superseded, r.ID
			if err := tx.Put(o); err != nil {
				return err
			}
		}
		return nil
	}
	receipt := mustAccept(t, s, a)
	first, second := a.Runs[0], a.Runs[1]
	for _, tt := range []struct {
		run   *engine.Run
		state engine.State
		by    string
	}{{old.Runs[0], engine.Superseded, first.ID}, {first, engine.Superseded, second.ID}, {second, engine.Queued, ""}} {
		got := must[*engine.Run](t)(s.Run(t.Context(), tt.run.ID))
		wantEqual(t, "state and By", []string{string(got.State), got.By}, []string{string(tt.state), tt.by})
	}
	stored := must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID))
	wantEqual(t, "receipt", receipt.Runs, []engine.Ref{stored[0].Ref(), stored[1].Ref()})
}

func testAdmitUnasked(t *testing.T, s engine.Store) {
	asked := 0
	accept := func(delivery string) {
		a := NewAcceptance("deploy", "notify")
		a.Event.Delivery = delivery
		a.Admit = func(engine.Tx, *engine.Run) error {
			asked++
			return nil
		}
		mustAccept(t, s, a)
	}
	accept("d-1")
	accept("d-1")
	wantEqual(t, "runs that were asked about", asked, 2)
}

func testChange(t *testing.T, s engine.Store) {
	a := NewAcceptance("one", "two")
	mustAccept(t, s, a)
	one, two := a.Runs[0], a.Runs[1]
	note := func(tx engine.Tx, id, text string) error {
		run, err := tx.Run(id)
		if err != nil {
			return err
		}
		run.Note = text
		return tx.Put(run)
	}
	why := errors.New("no")
	err := s.Change(t.Context(), func(tx engine.Tx) error {
		if err := errors.Join(note(tx, one.ID, "a"), note(tx, two.ID, "b"), note(tx, one.ID, "c")); err != nil {
			return err
		}
		wantEqual(t, "note inside of the change", must[*engine.Run](t)(tx.Run(one.ID)).Note, "c")
		return why
	})
	if !errors.Is(err, why) {
		t.Errorf("Change: error %v, want %v", err, why)
	}
	wantEqual(t, "runs after a change that failed", must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID)), a.Runs)

	mustChange(t, s, func(tx engine.Tx) error {
		_, err := tx.Run("nobody")
		wantNotFound(t, "Run", err)
		run := must[*engine.Run](t)(tx.Run(one.ID))
		if err := note(tx, one.ID, "d"); err != nil {
			return err
		}
		run.Note = "changed by who got it"
		return note(tx, two.ID, "e")
	})
	one.Note, two.Note = "d", "e"
	wantEqual(t, "runs after a change", must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID)), a.Runs)
}

func testConcurrentChange(t *testing.T, s engine.Store) {
	const each = 20
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for range each {
				err := s.Change(t.Context(), func(tx engine.Tx) error {
					run, err := tx.Run(a.Runs[0].ID)
					if err != nil {
						return err
					}
					run.Attempt++
					return tx.Put(run)
				})
				if err != nil {
					t.Errorf("Change: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantEqual(t, "changes that were kept", must[*engine.Run](t)(s.Run(t.Context(), a.Runs[0].ID)).Attempt, producers*each)
}

func testFinished(t *testing.T, s engine.Store) {
	for _, state := range engine.States() {
		a := NewAcceptance("deploy")
		a.Runs[0].State = state
		mustAccept(t, s, a)
		late := *a.Runs[0]
		late.State, late.Err = engine.Running, "late"
		err := s.Update(t.Context(), &late, &engine.StepResult{Run: late.ID, Attempt: 1, Step: "1", Kind: "exec"})
		got := must[*engine.Run](t)(s.Run(t.Context(), late.ID))
		steps := len(must[[]*engine.StepResult](t)(s.Steps(t.Context(), late.ID)))
		if !state.Finished() {
			wantEqual(t, "error of Update", err, nil)
			wantEqual(t, "updated run", got, &late)
			wantEqual(t, "its steps", steps, 1)
			continue
		}
		if !errors.Is(err, engine.ErrFinished) {
			t.Errorf("Update of a run that is %s: error %v, want %v", state, err, engine.ErrFinished)
		}
		wantEqual(t, "finished run", got, a.Runs[0])
		wantEqual(t, "its steps", steps, 0)

		mustChange(t, s, func(tx engine.Tx) error { return tx.Put(&late) })
		wantEqual(t, "run that was put", must[*engine.Run](t)(s.Run(t.Context(), late.ID)), &late)
	}
}

func testDecided(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	mine := *a.Runs[0]
	mine.State = engine.Running
	want := func(stop engine.State, by string) {
		t.Helper()
		if err := s.Update(t.Context(), &mine); err != nil {
			t.Fatal(err)
		}
		got := must[*engine.Run](t)(s.Run(t.Context(), mine.ID))
		wantEqual(t, "Stop and By", []string{string(got.Stop), got.By}, []string{string(stop), by})
		wantEqual(t, "attempt", got.Attempt, mine.Attempt)
	}
	mine.By = "ignored without Stop"
	want("", "")
	decided := mine
	decided.Stop, decided.By = engine.Replaced, "another"
	mustChange(t, s, func(tx engine.Tx) error { return tx.Put(&decided) })
	mine.Attempt++
	want(engine.Replaced, "another")
	mine.Stop, mine.By = engine.Cancelled, ""
	want(engine.Cancelled, "")
	mine.Stop, mine.By = "", "ignored without Stop"
	want(engine.Cancelled, "")
	decided.Stop, decided.By = "", ""
	mustChange(t, s, func(tx engine.Tx) error { return tx.Put(&decided) })
	want("", "")
}

// acceptRuns accepts an event with the runs, which are changed versions of a
// plain one.
func acceptRuns(t *testing.T, s engine.Store, changes ...func(*engine.Run)) []*engine.Run {
	t.Helper()
	a := NewAcceptance(slices.Repeat([]string{"deploy"}, len(changes))...)
	for i, change := range changes {
		change(a.Runs[i])
	}
	mustAccept(t, s, a)
	return a.Runs
}

// wantRuns compares with some of all, by their places.
func wantRuns(t *testing.T, what string, got, all []*engine.Run, want ...int) {
	t.Helper()
	places := make([]int, 0, len(got))
	for _, r := range got {
		i := slices.IndexFunc(all, func(a *engine.Run) bool { return a.ID == r.ID })
		places = append(places, i)
		if i >= 0 {
			wantEqual(t, fmt.Sprintf("%s: run %d", what, i), r, all[i])
		}
	}
	if !slices.Equal(places, want) {
		t.Errorf("%s: runs %v, want %v", what, places, want)
	}
}

func testPending(t *testing.T, s engine.Store) {
	keyed := func(rule, key, lane string, state engine.State) func(*engine.Run) {
		return func(r *engine.Run) { r.Rule, r.Key, r.Lane, r.State = rule, key, lane, state }
	}
	all := acceptRuns(t, s,
		keyed("a", "", "", engine.Queued),
		keyed("a", "k", "l", engine.Running),
		keyed("a", "k", "l", engine.Done),
		keyed("a", "", "", engine.Running),
		keyed("b", "k", "l", engine.Queued),
		keyed("a", "k", "m", engine.Queued),
		keyed("a", "", "l", engine.Failed),
		keyed("a", "j", "l", engine.Queued),
		keyed("a", "", "", engine.Queued),
	)
	k, none, unknown := "k", "", "?"
	for _, tt := range []struct {
		name string
		q    engine.Pending
		want []int
	}{
		{"lane", engine.Pending{Lane: "l"}, []int{1, 4, 7}},
		{"lane before rule", engine.Pending{Lane: "l", Rule: "b"}, []int{1, 4, 7}},
		{"no such lane", engine.Pending{Lane: "?"}, nil},
		{"rule", engine.Pending{Rule: "a"}, []int{0, 1, 3, 5, 7, 8}},
		{"rule and key", engine.Pending{Rule: "a", Key: &k}, []int{1, 5}},
		{"rule and no key", engine.Pending{Rule: "a", Key: &none}, []int{0, 3, 8}},
		{"no such key", engine.Pending{Rule: "a", Key: &unknown}, nil},
		{"no such rule", engine.Pending{Rule: "?"}, nil},
		{"nothing", engine.Pending{}, nil},
	} {
		mustChange(t, s, func(tx engine.Tx) error {
			wantRuns(t, tt.name, must[[]*engine.Run](t)(tx.Unfinished(tt.q)), all, tt.want...)
			return nil
		})
	}
}

func testRecent(t *testing.T, s engine.Store) {
	day0 := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	at := func(sec int, state engine.State, set func(*engine.Run)) func(*engine.Run) {
		return func(r *engine.Run) {
			r.Created, r.State = day0.Add(time.Duration(sec)*time.Second), state
			set(r)
		}
	}
	dedupe := func(r *engine.Run) { r.Dedupe = "=k" }
	all := acceptRuns(t, s,
		at(0, engine.Done, dedupe),
		at(9, engine.Failed, dedupe), // the clock went wrong
		at(3, engine.Running, dedupe),
		at(3, engine.Queued, func(r *engine.Run) { r.Dedupe, r.Held = "=k", true }),
		at(4, engine.Duplicate, dedupe),
		at(5, engine.Queued, func(r *engine.Run) { r.Throttle, r.Breaker = "=k", "=j" }),
		at(5, engine.Queued, func(r *engine.Run) { r.Rule, r.Dedupe = "other", "=k" }),
		at(6, engine.Done, func(*engine.Run) {}),
	)
	sec := func(n int) time.Time { return day0.Add(time.Duration(n) * time.Second) }
	for _, tt := range []struct {
		name   string
		change func(*engine.Recent)
		want   []int
	}{
		{"all", func(*engine.Recent) {}, []int{1, 4, 3, 2, 0}},
		{"window, both ends inclusive", func(q *engine.Recent) { q.From, q.To = sec(0), sec(4) }, []int{4, 3, 2, 0}},
		{"just too late and too early", func(q *engine.Recent) { q.From, q.To = sec(0).Add(1), sec(4).Add(-1) }, []int{3, 2}},
		{"from", func(q *engine.Recent) { q.From = sec(4) }, []int{1, 4}},
		{"to", func(q *engine.Recent) { q.To = sec(3) }, []int{3, 2, 0}},
		{"to the end of time", func(q *engine.Recent) { q.To = sec(0).Add(1<<63 - 1) }, []int{1, 4, 3, 2, 0}},
		{"states", func(q *engine.Recent) { q.States = []engine.State{engine.Running, engine.Done, engine.Running} }, []int{2, 0}},
		{"no state", func(q *engine.Recent) { q.States = nil }, nil},
		{"held", func(q *engine.Recent) { q.Held = true }, []int{3}},
		{"limit", func(q *engine.Recent) { q.Limit = 2 }, []int{1, 4}},
		{"limit of none", func(q *engine.Recent) { q.Limit = 0 }, nil},
		{"limit of the window", func(q *engine.Recent) { q.Limit, q.To = 1, sec(8) }, []int{4}},
		{"other rule", func(q *engine.Recent) { q.Rule = "other" }, []int{6}},
		{"throttle", func(q *engine.Recent) { q.By = engine.ByThrottle }, []int{5}},
		{"breaker", func(q *engine.Recent) { q.By, q.Key = engine.ByBreaker, "=j" }, []int{5}},
		{"other key", func(q *engine.Recent) { q.By = engine.ByBreaker }, nil},
		{"no key", func(q *engine.Recent) { q.Key = "" }, nil},
	} {
		q := engine.Recent{Rule: "deploy", By: engine.ByDedupe, Key: "=k", States: engine.States(), Limit: 10}
		tt.change(&q)
		mustChange(t, s, func(tx engine.Tx) error {
			wantRuns(t, tt.name, must[[]*engine.Run](t)(tx.Recent(q)), all, tt.want...)
			return nil
		})
	}
	err := s.Change(t.Context(), func(tx engine.Tx) error {
		_, err := tx.Recent(engine.Recent{By: "rule"})
		return err
	})
	if err == nil {
		t.Error("Recent by something that is no key: no error")
	}
}
