package enginetest

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
)

// history0 is when the events of these tests were received.
var history0 = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

// acceptEvents accepts an event for each change, which is applied to it first.
// Without one its one rule is "a" and its run is queued.
func acceptEvents(t *testing.T, s engine.Store, changes ...func(*engine.Acceptance)) []*engine.Acceptance {
	t.Helper()
	var all []*engine.Acceptance
	for i, change := range changes {
		a := NewAcceptance()
		a.Event.Received = history0.Add(time.Duration(i) * time.Second)
		addRun(a, "a", engine.Queued)
		change(a)
		mustAccept(t, s, a)
		all = append(all, a)
	}
	return all
}

// addRun adds a match and its run.
func addRun(a *engine.Acceptance, rule string, state engine.State) *engine.Run {
	r := &engine.Run{ID: engine.NewID(), Event: a.Event.ID, Rule: rule, State: state, Created: a.Event.Received}
	a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: rule, Outcome: engine.Matched})
	a.Runs = append(a.Runs, r)
	return r
}

// dropRuns has no rule match.
func dropRuns(a *engine.Acceptance) { a.Verdicts, a.Runs = nil, nil }

// renamed gives the event another id.
func renamed(a *engine.Acceptance, id string) {
	a.Event.ID = id
	for _, r := range a.Runs {
		r.Event = id
	}
}

// seqsOf returns the number of each event, by its id.
func seqsOf(t *testing.T, s engine.Store) map[string]int64 {
	t.Helper()
	seqs := make(map[string]int64)
	for _, e := range walkEvents(t, s, engine.EventFilter{Limit: 1000}) {
		seqs[e.ID] = e.Seq
	}
	return seqs
}

// walkEvents goes through all pages.
func walkEvents(t *testing.T, s engine.Store, f engine.EventFilter) []engine.EventSummary {
	t.Helper()
	var all []engine.EventSummary
	for {
		page := must[engine.EventPage](t)(s.Events(t.Context(), f))
		if f.Limit > 0 && len(page.Events) > f.Limit {
			t.Fatalf("a page of %d events, want at most %d", len(page.Events), f.Limit)
		}
		all = append(all, page.Events...)
		switch {
		case page.Next == 0:
			return all
		case f.After != 0 && page.Next <= f.After, f.After == 0 && f.Before != 0 && page.Next >= f.Before:
			t.Fatalf("Next = %d of the page after %d and before %d: it does not go on", page.Next, f.After, f.Before)
		case f.After != 0:
			f.After = page.Next
		default:
			f.Before = page.Next
		}
	}
}

func idsOf(events []engine.EventSummary) []string {
	ids := []string{}
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func testEventFilter(t *testing.T, s engine.Store) {
	all := acceptEvents(t, s,
		func(a *engine.Acceptance) { renamed(a, "aa1"); a.Event.Bucket, a.Event.BucketID = "one", "id-1" },
		func(a *engine.Acceptance) { renamed(a, "ab1"); a.Event.Bucket = "two"; dropRuns(a) },
		func(a *engine.Acceptance) { // received long before it arrived
			renamed(a, "b_1")
			a.Event.Bucket, a.Event.BucketID = "one", "id-1"
			a.Event.Received = history0.Add(-time.Hour)
			addRun(a, "b", engine.Shadow)
		},
		func(a *engine.Acceptance) {
			renamed(a, "b%1")
			a.Event.Bucket, a.Event.BucketID = "id-1", "id-3"
			dropRuns(a)
			addRun(a, "b", engine.Shadow)
		},
		func(a *engine.Acceptance) { // the clock went wrong
			renamed(a, "ab2")
			a.Event.Bucket = "two"
			a.Event.Received = history0.Add(10 * time.Hour)
		},
		func(a *engine.Acceptance) {
			renamed(a, "abc")
			a.Event.Bucket = "one"
			a.Runs[0].State = engine.Throttled
			addRun(a, "b", engine.Duplicate)
			addRun(a, "b", engine.Duplicate)
		},
	)
	seqs := seqsOf(t, s)
	seq := func(i int) int64 { return seqs[all[i].Event.ID] }
	at := func(sec int) time.Time { return history0.Add(time.Duration(sec) * time.Second) }
	outcomes := func(o ...engine.EventOutcome) []engine.EventOutcome { return o }
	started := outcomes(engine.EventStarted)
	for _, tt := range []struct {
		name string
		f    engine.EventFilter
		want []int
	}{
		{"any", engine.EventFilter{}, []int{5, 4, 3, 2, 1, 0}},
		{"bucket by name or id", engine.EventFilter{Bucket: "id-1"}, []int{3, 2, 0}},
		{"bucket by name", engine.EventFilter{Bucket: "one"}, []int{5, 2, 0}},
		{"bucket by id", engine.EventFilter{Bucket: "id-3"}, []int{3}},
		{"no such bucket", engine.EventFilter{Bucket: "?"}, nil},
		{"rule", engine.EventFilter{Rule: "b"}, []int{5, 3, 2}},
		{"no such rule", engine.EventFilter{Rule: "?"}, nil},
		{"outcome", engine.EventFilter{Outcomes: started}, []int{4, 2, 0}},
		{"outcomes", engine.EventFilter{Outcomes: outcomes(engine.EventUnmatched, engine.EventShadowed, engine.EventUnmatched)}, []int{3, 1}},
		{"outcome that no event has", engine.EventFilter{Outcomes: outcomes(engine.EventAnswered)}, nil},
		{"outcome that there is not", engine.EventFilter{Outcomes: outcomes("?")}, nil},
		{"bucket and outcome", engine.EventFilter{Bucket: "one", Outcomes: started}, []int{2, 0}},
		{"bucket and rule", engine.EventFilter{Bucket: "one", Rule: "b"}, []int{5, 2}},
		{"rule and outcome", engine.EventFilter{Rule: "b", Outcomes: started}, []int{2}},
		{"bucket, rule and outcome", engine.EventFilter{Bucket: "id-1", Rule: "b", Outcomes: outcomes(engine.EventShadowed)}, []int{3}},
		{"since", engine.EventFilter{Since: at(3)}, []int{5, 4, 3}},
		{"since just after", engine.EventFilter{Since: at(3).Add(1)}, []int{5, 4}},
		{"since after all", engine.EventFilter{Since: at(100_000)}, nil},
		{"since a time that has no nanoseconds", engine.EventFilter{Since: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		{"until such a time", engine.EventFilter{Until: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}, []int{5, 4, 3, 2, 1, 0}},
		{"until", engine.EventFilter{Until: at(3)}, []int{2, 1, 0}},
		{"until just after", engine.EventFilter{Until: at(3).Add(1)}, []int{3, 2, 1, 0}},
		{"until before all", engine.EventFilter{Until: at(-100_000)}, nil},
		{"since and until", engine.EventFilter{Since: at(1), Until: at(5)}, []int{3, 1}},
		{"until, of a bucket", engine.EventFilter{Until: at(0), Bucket: "one"}, []int{2}},
		{"until, of a rule, in an outcome", engine.EventFilter{Until: at(6), Rule: "b", Outcomes: outcomes(engine.EventSuppressed)}, []int{5}},
		{"prefix", engine.EventFilter{IDPrefix: "ab"}, []int{5, 4, 1}},
		{"whole id", engine.EventFilter{IDPrefix: "abc"}, []int{5}},
		{"more than an id", engine.EventFilter{IDPrefix: "abcd"}, nil},
		{"prefix is no pattern", engine.EventFilter{IDPrefix: "b_"}, []int{2}},
		{"nor this", engine.EventFilter{IDPrefix: "b%"}, []int{3}},
		{"prefix and bucket", engine.EventFilter{IDPrefix: "a", Bucket: "one"}, []int{5, 0}},
		{"prefix and rule", engine.EventFilter{IDPrefix: "a", Rule: "b"}, []int{5}},
		{"prefix, since, until", engine.EventFilter{IDPrefix: "a", Since: at(1), Until: at(6)}, []int{5, 1}},
		{"before", engine.EventFilter{Before: seq(3)}, []int{2, 1, 0}},
		{"before, of a bucket", engine.EventFilter{Before: seq(5), Bucket: "one"}, []int{2, 0}},
		{"before, of a rule", engine.EventFilter{Before: seq(5), Rule: "b"}, []int{3, 2}},
		{"before, by prefix", engine.EventFilter{Before: seq(4), IDPrefix: "a"}, []int{1, 0}},
		{"before all", engine.EventFilter{Before: seq(0)}, nil},
		{"after", engine.EventFilter{After: seq(2)}, []int{3, 4, 5}},
		{"after, until", engine.EventFilter{After: seq(1), Until: at(5)}, []int{2, 3}},
		{"after and before", engine.EventFilter{After: seq(1), Before: seq(4)}, []int{2, 3}},
		{"after the newest", engine.EventFilter{After: seq(5)}, nil},
		{"from the first on", engine.EventFilter{After: -1, Bucket: "one"}, []int{0, 2, 5}},
		{"limit", engine.EventFilter{Limit: 2}, []int{5, 4}},
		{"limit of a rule", engine.EventFilter{Limit: 1, Rule: "b"}, []int{5}},
		{"limit, the oldest first", engine.EventFilter{Limit: 2, After: -1}, []int{0, 1}},
	} {
		want := []string{}
		for _, i := range tt.want {
			want = append(want, all[i].Event.ID)
		}
		page := must[engine.EventPage](t)(s.Events(t.Context(), tt.f))
		wantEqual(t, tt.name, idsOf(page.Events), want)
		more := map[bool]string{true: "one", false: "none"}
		if got := page.Next != 0; got != (tt.f.Limit > 0) {
			t.Errorf("%s: next page: %s, want %s", tt.name, more[got], more[tt.f.Limit > 0])
		}
	}
}

func testSummaries(t *testing.T, s engine.Store) {
	all := acceptEvents(t, s, func(a *engine.Acceptance) {
		e := a.Event
		e.Source, e.Remote, e.BucketID, e.Input, e.Path = engine.SourceRelay, "192.0.2.7:1", "b-1", "in", "/a b"
		e.Header = http.Header{"X-Github-Event": {"push"}}
		e.Body = bytes.Repeat([]byte("x"), 300<<10)
		e.ReplayOf = "an older one"
		a.BodyErr, a.Rules = "no JSON: \xff", "hash"
		a.Verdicts = append(a.Verdicts,
			engine.Verdict{Rule: "no", Outcome: engine.NoMatch}, engine.Verdict{Rule: "bad", Outcome: engine.Errored, Why: "nil > 1"})
	}, func(a *engine.Acceptance) {
		dropRuns(a)
		a.Event.Body, a.Event.Header, a.MatchErr = nil, nil, "panic"
	})
	got := must[engine.EventPage](t)(s.Events(t.Context(), engine.EventFilter{})).Events
	if len(got) != 2 {
		t.Fatalf("Events = %d events, want 2", len(got))
	}
	second, first := all[0].Event, all[1].Event
	wantEqual(t, "the newest", got[0], engine.EventSummary{
		Seq: got[1].Seq + 1, ID: first.ID, Received: first.Received, Source: first.Source, Bucket: "deploys", Method: "POST", Path: "/",
		Outcome: engine.EventErrored, Rules: "0123abcd", MatchErr: "panic",
	})
	wantEqual(t, "the oldest", got[1], engine.EventSummary{
		Seq: got[1].Seq, ID: second.ID, Received: second.Received, Source: engine.SourceRelay, Remote: "192.0.2.7:1", Bucket: "deploys",
		Input: "in", Method: "POST", Path: "/a b", Kind: "push", Size: 300 << 10, Outcome: engine.EventStarted, Matched: []string{"a"},
		Errored: []string{"bad"}, ReplayOf: "an older one", Rules: "hash", BodyErr: "no JSON: \xff",
	})
}

func testOutcomes(t *testing.T, s engine.Store) {
	for _, tt := range []struct {
		name   string
		change func(a *engine.Acceptance)
		want   engine.EventOutcome
	}{
		{"queued", func(*engine.Acceptance) {}, engine.EventStarted},
		{"one of two is queued", func(a *engine.Acceptance) { addRun(a, "b", engine.Duplicate) }, engine.EventStarted},
		{"duplicate", func(a *engine.Acceptance) { a.Runs[0].State = engine.Duplicate }, engine.EventSuppressed},
		{"a match without a run", func(a *engine.Acceptance) { a.Runs = nil }, engine.EventSuppressed},
		{"shadow", func(a *engine.Acceptance) { a.Runs[0].State = engine.Shadow }, engine.EventShadowed},
		{"shadow and duplicate", func(a *engine.Acceptance) {
			a.Runs[0].State = engine.Shadow
			addRun(a, "b", engine.Duplicate)
		}, engine.EventSuppressed},
		{"no rule", dropRuns, engine.EventUnmatched},
		{"a condition failed", func(a *engine.Acceptance) {
			dropRuns(a)
			a.Verdicts = []engine.Verdict{{Rule: "a", Outcome: engine.Errored}}
		}, engine.EventErrored},
		{"answered", func(a *engine.Acceptance) { dropRuns(a); a.Answered = true }, engine.EventAnswered},
		{"throttled by admit", func(a *engine.Acceptance) {
			a.Admit = func(_ engine.Tx, r *engine.Run) error { r.State = engine.Throttled; return nil }
		}, engine.EventSuppressed},
		{"started by admit", func(a *engine.Acceptance) {
			a.Runs[0].State = engine.Duplicate
			a.Admit = func(_ engine.Tx, r *engine.Run) error { r.State = engine.Queued; return nil }
		}, engine.EventStarted},
	} {
		a := acceptEvents(t, s, tt.change)[0]
		page := must[engine.EventPage](t)(s.Events(t.Context(), engine.EventFilter{IDPrefix: a.Event.ID}))
		if len(page.Events) != 1 || page.Events[0].Outcome != tt.want {
			t.Errorf("%s: %+v, want outcome %s", tt.name, page.Events, tt.want)
		}
	}
	// What becomes of the runs later does not change what became of the event.
	a := acceptEvents(t, s, func(*engine.Acceptance) {})[0]
	a.Runs[0].State = engine.Failed
	if err := s.Update(t.Context(), a.Runs[0]); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "outcome, later", must[engine.EventPage](t)(s.Events(t.Context(), engine.EventFilter{Limit: 1})).Events[0].Outcome, engine.EventStarted)
}

func testShadowSteps(t *testing.T, s engine.Store) {
	text := "{}"
	step := func(run string, index int) *engine.StepResult {
		return &engine.StepResult{
			Run: run, Attempt: 1, Index: index, Step: fmt.Sprint(index + 1), Kind: "exec", State: engine.StepShadow,
			Plan: &engine.Plan{Argv: []string{"make", ""}, Env: []engine.PlanVar{{Name: "A", Value: "é"}}, Stdin: &text, Open: []string{"steps.a.stdout"}},
		}
	}
	a := NewAcceptance("a", "b")
	for i, r := range a.Runs {
		r.State = engine.Shadow
		a.Steps = append(a.Steps, step(r.ID, 0))
		if i == 1 {
			a.Steps = append(a.Steps, step(r.ID, 1))
		}
	}
	mustAccept(t, s, a)
	for i, want := range [][]*engine.StepResult{a.Steps[:1], a.Steps[1:]} {
		wantEqual(t, "steps of "+a.Runs[i].Rule, must[[]*engine.StepResult](t)(s.Steps(t.Context(), a.Runs[i].ID)), want)
	}

	stray := NewAcceptance("a")
	stray.Steps = []*engine.StepResult{step(a.Runs[0].ID, 7)}
	if _, err := s.Accept(t.Context(), stray); err == nil {
		t.Error("Accept of a step of another event's run: no error")
	}
	_, err := s.Event(t.Context(), stray.Event.ID)
	wantNotFound(t, "Event of the refused", err)
}

// randomHistory accepts events that differ in all that filters ask for.
func randomHistory(t *testing.T, s engine.Store, rnd *rand.Rand, n int) []*engine.Acceptance {
	t.Helper()
	states := []engine.State{engine.Queued, engine.Shadow, engine.Duplicate}
	changes := make([]func(*engine.Acceptance), n)
	for i := range changes {
		changes[i] = func(a *engine.Acceptance) {
			renamed(a, fmt.Sprintf("%x-%s", rnd.IntN(4), a.Event.ID))
			a.Event.Bucket, a.Event.BucketID = fmt.Sprint("b", rnd.IntN(3)), []string{"", "b1", "id"}[rnd.IntN(3)]
			if rnd.IntN(10) == 0 { // it was on its way for long, or the clock was wrong
				a.Event.Received = a.Event.Received.Add(time.Duration(rnd.IntN(7200)-3600) * time.Second)
			}
			dropRuns(a)
			for range rnd.IntN(4) {
				addRun(a, fmt.Sprint("r", rnd.IntN(3)), states[rnd.IntN(len(states))])
			}
		}
	}
	return acceptEvents(t, s, changes...)
}

func randomFilter(rnd *rand.Rand, n int) engine.EventFilter {
	f := engine.EventFilter{Limit: 1 + rnd.IntN(n/4)}
	oneOf := func(some ...string) string { return some[rnd.IntN(len(some))] }
	f.IDPrefix = oneOf("", "", "", "1", "2-0")
	f.Bucket = oneOf("", "b0", "b1", "id")
	f.Rule = oneOf("", "", "r0", "r1")
	for _, o := range engine.EventOutcomes() {
		if rnd.IntN(4) == 0 {
			f.Outcomes = append(f.Outcomes, o)
		}
	}
	if rnd.IntN(2) == 0 {
		f.Since = history0.Add(time.Duration(rnd.IntN(n)) * time.Second)
	}
	if rnd.IntN(2) == 0 {
		f.Until = history0.Add(time.Duration(rnd.IntN(n)) * time.Second)
	}
	if rnd.IntN(2) == 0 {
		f.After = -1
	}
	return f
}

// testEventPages compares with a MemStore: each walk gives each event once, in
// order, whatever was asked for.
func testEventPages(t *testing.T, s engine.Store) {
	const events = 300
	rnd := rand.New(rand.NewPCG(1, 2))
	var mem MemStore
	seqs := make(map[int64]int64) // of mem, by those of s
	all := randomHistory(t, s, rnd, events)
	for _, a := range all {
		mustAccept(t, &mem, a)
	}
	ours, theirs := seqsOf(t, s), seqsOf(t, &mem)
	for id, seq := range ours {
		seqs[seq] = theirs[id]
	}
	wantEqual(t, "events", len(seqs), events)
	for i := range 200 {
		f := randomFilter(rnd, events)
		got := walkEvents(t, s, f)
		for i := range got {
			got[i].Seq = seqs[got[i].Seq]
		}
		want := walkEvents(t, &mem, f)
		if !slices.Equal(idsOf(got), idsOf(want)) {
			t.Errorf("filter %d, %+v: %d events\n%s\nof a MemStore: %d\n%s", i, f,
				len(got), strings.Join(idsOf(got), " "), len(want), strings.Join(idsOf(want), " "))
		}
		wantEqual(t, "what is told of them", got, want)
	}
}

func testRecords(t *testing.T, s engine.Store) {
	changes := make([]func(*engine.Acceptance), 9)
	for i := range changes {
		changes[i] = func(a *engine.Acceptance) {
			a.Event.Body = bytes.Repeat([]byte{byte(i), 0xff}, 2<<20+i)
			a.Event.Meta = map[string]string{"i": fmt.Sprint(i)}
			a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: "no", Outcome: engine.NoMatch, Missing: []string{"body.ref"}})
		}
	}
	all := acceptEvents(t, s, changes...)
	summaries := walkEvents(t, s, engine.EventFilter{After: -1})
	for _, f := range []engine.EventFilter{{Limit: 100}, {Limit: 100, After: -1}, {Limit: 2}} {
		var got []engine.EventRecord
		pages := 0
		for next := int64(1); next != 0; pages++ {
			var page []engine.EventRecord
			var err error
			if page, next, err = s.Records(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			size := 0
			for i, r := range page {
				if size >= engine.MaxRecords {
					t.Errorf("record %d of a page comes behind %d bytes, want at most %d", i, size, engine.MaxRecords)
				}
				size += r.Event.Size()
			}
			got = append(got, page...)
			if f.After != 0 {
				f.After = next
			} else {
				f.Before = next
			}
		}
		if pages < 2 {
			t.Errorf("36 MB came in %d page, want some", pages)
		}
		slices.SortFunc(got, func(a, b engine.EventRecord) int { return cmp.Compare(a.Seq, b.Seq) })
		wantEqual(t, "records", len(got), len(all))
		for i, r := range got {
			wantEqual(t, "summary", r.EventSummary, summaries[i])
			wantEqual(t, "verdicts", r.Verdicts, all[i].Verdicts)
			if !bytes.Equal(r.Event.Body, all[i].Event.Body) {
				t.Errorf("body %d came back changed, with %d bytes", i, len(r.Event.Body))
			}
			r.Event.Body = all[i].Event.Body
			wantEqual(t, "event", r.Event, all[i].Event)
		}
	}
}

func testRates(t *testing.T, s engine.Store) {
	const minute = time.Minute
	start := time.Now().Add(-time.Hour).UTC().Round(0)
	at := func(after time.Duration, rule string, state engine.State, took time.Duration) func(*engine.Acceptance) {
		return func(a *engine.Acceptance) {
			dropRuns(a)
			a.Event.Received = start.Add(after)
			r := addRun(a, rule, state)
			r.Started, r.Finished = start, start.Add(took)
		}
	}
	acceptEvents(t, s,
		at(-1, "a", engine.Done, time.Second), // too early
		at(0, "a", engine.Done, 4*time.Second),
		at(1, "b", engine.Done, time.Second),
		at(minute-1, "a", engine.Done, 3*time.Second),
		at(2*minute, "a", engine.Failed, time.Second),
		at(minute-1, "a", engine.Queued, 0), // it arrived late
		func(a *engine.Acceptance) { at(minute, "a", engine.Shadow, 0)(a); addRun(a, "a", engine.Shadow) }, // two runs
		func(a *engine.Acceptance) { at(minute, "", "", 0)(a); dropRuns(a) },
		at(5*minute, "a", engine.Done, time.Second),
	)
	got := must[[]engine.Rates](t)(s.Rates(t.Context(), engine.RatesFilter{Since: start, Step: minute}))
	if len(got) < 60 || len(got) > 62 {
		t.Fatalf("%d spans of a minute in an hour, want 60", len(got))
	}
	span := func(i, events int, ended map[engine.State]int, median, worst time.Duration) engine.Rates {
		return engine.Rates{From: start.Add(time.Duration(i) * minute), Events: events, Ended: ended, Median: median, Worst: worst}
	}
	type states = map[engine.State]int
	wantEqual(t, "rates", got[:6], []engine.Rates{
		span(0, 4, states{engine.Done: 3, engine.Queued: 1}, 3*time.Second, 4*time.Second),
		span(1, 2, states{engine.Shadow: 2}, 0, 0),
		span(2, 1, states{engine.Failed: 1}, 0, 0),
		span(3, 0, states{}, 0, 0),
		span(4, 0, states{}, 0, 0),
		span(5, 1, states{engine.Done: 1}, time.Second, time.Second),
	})
	got = must[[]engine.Rates](t)(s.Rates(t.Context(), engine.RatesFilter{Since: start, Step: 3 * minute, Rule: "a"}))
	wantEqual(t, "rates of a rule", got[:2], []engine.Rates{
		{From: start, Events: 5, Ended: states{engine.Done: 2, engine.Queued: 1, engine.Shadow: 2, engine.Failed: 1}, Median: 4 * time.Second, Worst: 4 * time.Second},
		{From: start.Add(3 * minute), Events: 1, Ended: states{engine.Done: 1}, Median: time.Second, Worst: time.Second},
	})
	got = must[[]engine.Rates](t)(s.Rates(t.Context(), engine.RatesFilter{Since: start, Step: time.Second}))
	wantEqual(t, "spans, at most", len(got), engine.MaxRates)
	got = must[[]engine.Rates](t)(s.Rates(t.Context(), engine.RatesFilter{Since: time.Now().Add(time.Hour), Step: time.Second}))
	wantEqual(t, "spans to come", len(got), 0)
	if _, err := s.Rates(t.Context(), engine.RatesFilter{Since: start}); err == nil {
		t.Error("Rates without a step: no error")
	}
}

func testRulesDay(t *testing.T, s engine.Store) {
	of := func(sec int, runs ...*engine.Run) func(*engine.Acceptance) {
		return func(a *engine.Acceptance) {
			dropRuns(a)
			a.Event.Received = history0.Add(time.Duration(sec) * time.Second)
			for _, r := range runs {
				*r = *addRun(a, r.Rule, r.State)
				a.Runs[len(a.Runs)-1] = r
			}
		}
	}
	run := func(rule string, state engine.State) *engine.Run { return &engine.Run{Rule: rule, State: state} }
	lastA, lastB := run("a", engine.Done), run("b <é>", engine.Failed)
	acceptEvents(t, s,
		of(0, run("a", engine.Done), lastB),
		of(10, run("a", engine.Done), run("a", engine.Queued)),
		of(20, run("a", engine.Failed), lastA),
	)
	got := must[[]engine.RuleUse](t)(s.RulesDay(t.Context(), history0.Add(10*time.Second)))
	wantEqual(t, "rules", len(got), 2)
	wantEqual(t, "runs of a", got[0].Runs, map[engine.State]int{engine.Done: 2, engine.Queued: 1, engine.Failed: 1})
	wantEqual(t, "runs of b", got[1].Runs, map[engine.State]int{})
	wantEqual(t, "names", []string{got[0].Rule, got[1].Rule}, []string{"a", "b <é>"})
	wantEqual(t, "newest runs", []*engine.Run{got[0].Last, got[1].Last}, []*engine.Run{lastA, lastB})
}

func testReplays(t *testing.T, s engine.Store) {
	changes := []func(*engine.Acceptance){func(a *engine.Acceptance) { renamed(a, "origin") }, func(*engine.Acceptance) {}}
	for range engine.MaxReplays + 3 {
		changes = append(changes, func(a *engine.Acceptance) { a.Event.ReplayOf = "origin" })
	}
	all := acceptEvents(t, s, changes...)
	got := must[[]string](t)(s.Replays(t.Context(), "origin"))
	wantEqual(t, "replays", len(got), engine.MaxReplays)
	wantEqual(t, "the newest", got[0], all[len(all)-1].Event.ID)
	wantEqual(t, "the one before", got[1], all[len(all)-2].Event.ID)
	for _, id := range []string{"", "nobody", all[1].Event.ID} {
		wantEqual(t, "replays of "+id, len(must[[]string](t)(s.Replays(t.Context(), id))), 0)
	}
}

func testInfo(t *testing.T, s engine.Store) {
	empty := must[engine.StoreInfo](t)(s.Info(t.Context()))
	wantEqual(t, "events of none", [2]int64{empty.Events, empty.Runs}, [2]int64{})
	wantEqual(t, "times of none", [2]time.Time{empty.Oldest, empty.Newest}, [2]time.Time{})
	all := acceptEvents(t, s, func(a *engine.Acceptance) { addRun(a, "b", engine.Done) }, dropRuns, dropRuns)
	got := must[engine.StoreInfo](t)(s.Info(t.Context()))
	wantEqual(t, "events and runs", [2]int64{got.Events, got.Runs}, [2]int64{3, 2})
	wantEqual(t, "oldest", got.Oldest, all[0].Event.Received)
	wantEqual(t, "newest", got.Newest, all[2].Event.Received)
}
