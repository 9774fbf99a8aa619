package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"hookrun/engine"
)

// TestStore is the suite that every engine.Store passes. open returns an empty
// store that is ready for use until the test ends.
func TestStore(t *testing.T, open func(t *testing.T) engine.Store) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, engine.Store)
	}{
		{"accepted event is read back exactly", testRoundTrip},
		{"long body", testLongBody},
		{"event without matches is kept", testNoRuns},
		{"caller may reuse what it gave", testCopies},
		{"second delivery writes nothing", testDuplicate},
		{"deliveries are told apart by source", testDeliverySources},
		{"seq rises", testSeq},
		{"acceptance is all or nothing", testAtomic},
		{"update writes run and steps", testUpdate},
		{"update replaces a step, attempts add theirs", testSteps},
		{"unfinished by seq", testUnfinished},
		{"missing is ErrNotFound", testNotFound},
		{"every field is read back", testFields},
		{"admit finds the runs before it", testAdmitOrder},
		{"admit refuses all of the event", testAdmitRefuses},
		{"admit changes others in the same commit", testAdmitChanges},
		{"admit is not asked in vain", testAdmitUnasked},
		{"change is all or nothing", testChange},
		{"16 goroutines change a run", testConcurrentChange},
		{"a finished run is not updated", testFinished},
		{"what others decided stays", testDecided},
		{"pending runs", testPending},
		{"recent runs of a key", testRecent},
		{"transactions in random order", testRandomTx},
		{"runs by filter", testFilter},
		{"runs by bucket", testRunsOfBucket},
		{"runs in pages", testPages},
		{"events by filter", testEventFilter},
		{"what a list tells of an event", testSummaries},
		{"outcomes of events", testOutcomes},
		{"steps of runs in shadow", testShadowSteps},
		{"events in pages, by random filters", testEventPages},
		{"whole events by the page", testRecords},
		{"runs and events by time", testRates},
		{"use of rules", testRulesDay},
		{"replays of an event", testReplays},
		{"how much is kept", testInfo},
		{"paused rules", testPaused},
		{"armed rules", testArmed},
		{"rejections, the newest of them", testRejections},
		{"output", testOutput},
		{"output in random pieces", testRandomOutput},
		{"16 goroutines accept", testConcurrentAccept},
		{"one delivery from 16 goroutines", testConcurrentDuplicate},
		{"ended context writes nothing", testCancelled},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// NewAcceptance returns an event with a run for each of the rules, as a push to
// a bucket gives it.
func NewAcceptance(rules ...string) *engine.Acceptance {
	now := time.Now().UTC().Round(0)
	a := &engine.Acceptance{
		Event: &engine.Event{
			ID:       engine.NewID(),
			Received: now,
			Source:   engine.SourceIntake,
			Bucket:   "deploys",
			Method:   http.MethodPost,
			Path:     "/",
			Header:   http.Header{"Content-Type": {"application/json"}},
			Body:     []byte(`{"ref":"refs/heads/main"}`),
		},
		Rules: "0123abcd",
	}
	for _, rule := range rules {
		a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: rule, Outcome: engine.Matched})
		a.Runs = append(a.Runs, &engine.Run{
			ID:       engine.NewID(),
			Event:    a.Event.ID,
			Rule:     rule,
			RuleHash: "hash of " + rule,
			State:    engine.Queued,
			Created:  now,
		})
	}
	return a
}

func mustAccept(t *testing.T, s engine.Store, a *engine.Acceptance) engine.Receipt {
	t.Helper()
	receipt, err := s.Accept(t.Context(), a)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return receipt
}

// must returns v, or ends the test with err.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %+v, want %+v", what, got, want)
	}
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("%s: error %v, want %v", what, err, engine.ErrNotFound)
	}
}

// everyByte has each byte once, in a text that is not Unicode.
func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func testRoundTrip(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy", "notify")
	a.Event.Source = engine.SourceRelay
	a.Event.Delivery = "meta-1"
	a.Event.Remote = "192.0.2.7:1234"
	a.Event.BucketID = "b-1"
	a.Event.Input = "in"
	a.Event.Path = "/a b/ü"
	a.Event.Query = "a=1&b=%20&c=\xff"
	a.Event.Body = everyByte()
	a.Event.ReplayOf = "another"
	a.Event.Edited = true
	a.Event.Meta = map[string]string{"k": "v", "": "empty name", "bytes": string(everyByte())}
	a.Event.Header = http.Header{
		"X-Twice":  {"1", "", "2"},
		"x-latin":  {"caf\xe9"},
		"X-None":   {},
		"X-Quotes": {`"\` + "\t\u2028<&>"},
	}
	a.Verdicts = append(a.Verdicts,
		engine.Verdict{Rule: "other", Outcome: engine.NoMatch, Why: `body.ref == "x"`, Missing: []string{"body.ref"}},
		engine.Verdict{Rule: "bad", Outcome: engine.Errored, Why: "nil > 1"})

	receipt := mustAccept(t, s, a)
	wantEqual(t, "receipt", receipt, engine.Receipt{Event: a.Event.ID, Runs: []engine.Ref{a.Runs[0].Ref(), a.Runs[1].Ref()}})
	wantEqual(t, "event", must[*engine.Event](t)(s.Event(t.Context(), a.Event.ID)), a.Event)
	wantEqual(t, "verdicts", must[[]engine.Verdict](t)(s.Verdicts(t.Context(), a.Event.ID)), a.Verdicts)
	wantEqual(t, "runs", must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID)), a.Runs)
	wantEqual(t, "run", must[*engine.Run](t)(s.Run(t.Context(), a.Runs[1].ID)), a.Runs[1])
}

func testLongBody(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	a.Event.Body = bytes.Repeat(everyByte(), 9<<20/256+1)[:9<<20+3]
	mustAccept(t, s, a)
	got := must[*engine.Event](t)(s.Event(t.Context(), a.Event.ID))
	if !bytes.Equal(got.Body, a.Event.Body) {
		t.Errorf("body of %d bytes came back changed, with %d bytes", len(a.Event.Body), len(got.Body))
	}
}

func testNoRuns(t *testing.T, s engine.Store) {
	a := NewAcceptance()
	a.Event.Body = nil
	a.Event.Header = nil
	a.BodyErr = "no body"
	a.MatchErr = "panic"
	mustAccept(t, s, a)
	wantEqual(t, "event", must[*engine.Event](t)(s.Event(t.Context(), a.Event.ID)), a.Event)
	if runs := must[[]*engine.Run](t)(s.RunsOf(t.Context(), a.Event.ID)); len(runs) != 0 {
		t.Errorf("RunsOf = %d runs, want none", len(runs))
	}
	if verdicts := must[[]engine.Verdict](t)(s.Verdicts(t.Context(), a.Event.ID)); len(verdicts) != 0 {
		t.Errorf("Verdicts = %v, want none", verdicts)
	}
}

func testCopies(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	a.Event.Body[0] = '!'
	a.Event.Header.Set("Content-Type", "changed")
	a.Runs[0].Rule = "changed"
	e := must[*engine.Event](t)(s.Event(t.Context(), a.Event.ID))
	wantEqual(t, "body", string(e.Body), `{"ref":"refs/heads/main"}`)
	wantEqual(t, "header", e.Header.Get("Content-Type"), "application/json")
	wantEqual(t, "rule", must[*engine.Run](t)(s.Run(t.Context(), a.Runs[0].ID)).Rule, "deploy")
}

func testDuplicate(t *testing.T, s engine.Store) {
	first, second := NewAcceptance("deploy", "notify"), NewAcceptance("deploy")
	first.Event.Delivery, second.Event.Delivery = "d-1", "d-1"
	mustAccept(t, s, first)
	got := mustAccept(t, s, second)

	want := engine.Receipt{Event: first.Event.ID, Duplicate: true, Runs: []engine.Ref{first.Runs[0].Ref(), first.Runs[1].Ref()}}
	wantEqual(t, "receipt", got, want)
	_, err := s.Event(t.Context(), second.Event.ID)
	wantNotFound(t, "Event of the second", err)
	_, err = s.Run(t.Context(), second.Runs[0].ID)
	wantNotFound(t, "Run of the second", err)
	wantEqual(t, "Seq of the run that is not", second.Runs[0].Seq, int64(0))
}

func testDeliverySources(t *testing.T, s engine.Store) {
	for _, tt := range []struct{ source, delivery string }{
		{engine.SourceIntake, ""}, {engine.SourceIntake, ""},
		{engine.SourceIntake, "d-1"}, {engine.SourceRelay, "d-1"}, {engine.SourceRelay, "d-2"},
	} {
		a := NewAcceptance("deploy")
		a.Event.Source, a.Event.Delivery = tt.source, tt.delivery
		if receipt := mustAccept(t, s, a); receipt.Duplicate {
			t.Errorf("delivery %q of %s is a duplicate, want a new event", tt.delivery, tt.source)
		}
	}
}

func testSeq(t *testing.T, s engine.Store) {
	last := int64(0)
	for range 5 {
		a := NewAcceptance("one", "two", "three")
		mustAccept(t, s, a)
		for _, r := range a.Runs {
			if r.Seq <= last {
				t.Fatalf("Seq %d after %d, want it to rise", r.Seq, last)
			}
			last = r.Seq
		}
	}
}

func testAtomic(t *testing.T, s engine.Store) {
	old := NewAcceptance("deploy")
	mustAccept(t, s, old)

	sameRun := NewAcceptance("one", "two")
	sameRun.Event.Delivery = "d-1"
	sameRun.Runs[1].ID = old.Runs[0].ID
	if _, err := s.Accept(t.Context(), sameRun); err == nil {
		t.Fatal("Accept of a run id that is taken: no error")
	}
	_, err := s.Event(t.Context(), sameRun.Event.ID)
	wantNotFound(t, "Event of the refused", err)
	_, err = s.Run(t.Context(), sameRun.Runs[0].ID)
	wantNotFound(t, "Run of the refused", err)

	sameRun.Runs[1].ID = engine.NewID()
	if receipt := mustAccept(t, s, sameRun); receipt.Duplicate {
		t.Error("the refused acceptance left its delivery behind")
	}

	sameEvent := NewAcceptance("one")
	sameEvent.Event.ID = old.Event.ID
	if _, err := s.Accept(t.Context(), sameEvent); err == nil {
		t.Error("Accept of an event id that is taken: no error")
	}
	if n := len(must[[]*engine.Run](t)(s.RunsOf(t.Context(), old.Event.ID))); n != 1 {
		t.Errorf("the event has %d runs, want its own", n)
	}
}

func testUpdate(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	at := time.Date(2026, 7, 1, 10, 0, 0, 123456789, time.UTC)

	run := *a.Runs[0]
	run.State = engine.Failed
	run.Attempt, run.Cut = 3, 1
	run.Due, run.Started, run.Finished = at, at.Add(time.Second), at.Add(time.Minute)
	run.RuleHash = "another"
	run.Err = "exit status 1: \xff"
	step := &engine.StepResult{
		Run: run.ID, Attempt: 3, Index: 0, Step: "build", Key: "id:build", Kind: "http", State: engine.StepFailed,
		Started: at, Finished: at.Add(time.Second), Err: "no",
		Output: engine.Output{
			ExitCode: -1, Signal: "killed", Status: 500, Path: "/a", Size: 1 << 40,
			Header: map[string][]string{"X-A": {"caf\xe9", "b"}}, Body: string(everyByte()),
		},
		Process: engine.Process{PID: 42, Start: "123"},
	}
	if err := s.Update(t.Context(), &run, step); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "run", must[*engine.Run](t)(s.Run(t.Context(), run.ID)), &run)
	wantEqual(t, "steps", must[[]*engine.StepResult](t)(s.Steps(t.Context(), run.ID)), []*engine.StepResult{step})
}

func testSteps(t *testing.T, s engine.Store) {
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	run := a.Runs[0]
	step := func(attempt, index int, state engine.StepState) *engine.StepResult {
		return &engine.StepResult{Run: run.ID, Attempt: attempt, Index: index, Step: fmt.Sprint(index + 1), Kind: "exec", State: state}
	}
	for _, steps := range [][]*engine.StepResult{
		{step(2, 0, engine.StepRunning), step(1, 10, engine.StepDone)},
		{step(1, 2, engine.StepFailed)},
		{},
		{step(2, 0, engine.StepDone), step(1, 0, engine.StepDone)},
	} {
		if err := s.Update(t.Context(), run, steps...); err != nil {
			t.Fatal(err)
		}
	}
	got := must[[]*engine.StepResult](t)(s.Steps(t.Context(), run.ID))
	wantEqual(t, "steps", got, []*engine.StepResult{
		step(1, 0, engine.StepDone), step(1, 2, engine.StepFailed), step(1, 10, engine.StepDone), step(2, 0, engine.StepDone),
	})
}

func testUnfinished(t *testing.T, s engine.Store) {
	states := []engine.State{engine.Queued, engine.Done, engine.Running, engine.Failed, engine.Cancelled, engine.Abandoned, engine.Queued}
	due := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var want []engine.Ref
	for _, state := range states {
		a := NewAcceptance("deploy")
		mustAccept(t, s, a)
		run := a.Runs[0]
		run.State, run.Due = state, due
		if err := s.Update(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if !state.Finished() {
			want = append(want, run.Ref())
		}
	}
	wantEqual(t, "unfinished", must[[]engine.Ref](t)(s.Unfinished(t.Context())), want)
}

func testNotFound(t *testing.T, s engine.Store) {
	_, err := s.Run(t.Context(), "nobody")
	wantNotFound(t, "Run", err)
	_, err = s.Event(t.Context(), "nobody")
	wantNotFound(t, "Event", err)
	_, err = s.Steps(t.Context(), "nobody")
	wantNotFound(t, "Steps", err)
	_, err = s.Printed(t.Context(), "nobody")
	wantNotFound(t, "Printed", err)
	_, err = s.Verdicts(t.Context(), "nobody")
	wantNotFound(t, "Verdicts", err)
	wantNotFound(t, "Update", s.Update(t.Context(), &engine.Run{ID: "nobody"}, &engine.StepResult{Attempt: 1}))
	wantNotFound(t, "Change", s.Change(t.Context(), func(tx engine.Tx) error {
		_, err := tx.Run("nobody")
		wantNotFound(t, "Run inside of a change", err)
		return tx.Put(&engine.Run{ID: "nobody"})
	}))
	wantNotFound(t, "AppendOutput", s.AppendOutput(t.Context(), engine.Chunk{Run: "nobody", Stream: engine.Stdout, Data: []byte("x")}))
}

const half = engine.MaxOutput / 2

// pattern returns n bytes of a stream, from its byte off.
func pattern(off, n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		at := off + int64(i)
		b[i] = byte(at*7 + at>>8)
	}
	return b
}

// span is a part of a stream: n bytes from off.
type span struct{ off, n int64 }

func testOutput(t *testing.T, s engine.Store) {
	for _, tt := range []struct {
		name       string
		chunks     []span
		head, tail span
		cut        int64
	}{
		{name: "nothing"},
		{name: "one line", chunks: []span{{0, 5}}, head: span{0, 5}},
		{name: "lines join", chunks: []span{{0, 5}, {5, 7}, {12, 1}}, head: span{0, 13}},
		{name: "half full", chunks: []span{{0, half}}, head: span{0, half}},
		{name: "over the half", chunks: []span{{0, half - 1}, {half - 1, 2}}, head: span{0, half}, tail: span{half, 1}},
		{name: "full", chunks: []span{{0, 2 * half}}, head: span{0, half}, tail: span{half, half}},
		{name: "one too many", chunks: []span{{0, 2 * half}, {2 * half, 1}}, head: span{0, half}, tail: span{half + 1, half}, cut: 1},
		{name: "long at once", chunks: []span{{0, 1 << 20}}, head: span{0, half}, tail: span{1<<20 - half, half}, cut: 1<<20 - 2*half},
		{name: "gap", chunks: []span{{0, 5}, {100, 5}}, head: span{0, 5}, tail: span{100, 5}, cut: 95},
		{name: "gap at the start", chunks: []span{{10, 5}}, tail: span{10, 5}, cut: 10},
		{name: "two gaps", chunks: []span{{0, 5}, {100, 5}, {200, 5}}, head: span{0, 5}, tail: span{200, 5}, cut: 195},
		{name: "gap behind the head", chunks: []span{{0, half}, {1 << 20, half}, {1<<20 + half, 9}}, head: span{0, half}, tail: span{1<<20 + 9, half}, cut: 1<<20 - half + 9},
		{name: "gap behind a tail", chunks: []span{{0, half + 10}, {1 << 20, 3}}, head: span{0, half}, tail: span{1 << 20, 3}, cut: 1<<20 - half},
		{name: "gap before the half, grown over it", chunks: []span{{0, 5}, {100, 2 * half}}, head: span{0, 5}, tail: span{100 + half, half}, cut: 95 + half},
		{name: "written twice", chunks: []span{{0, 5}, {0, 5}, {2, 6}}, head: span{0, 8}},
		{name: "empty chunk", chunks: []span{{0, 5}, {5, 0}}, head: span{0, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run, st := newStep(t, s)
			for _, c := range tt.chunks {
				appendSpan(t, s, run, engine.Stderr, c)
			}
			// Another stream, and the other attempt's, are not touched by it.
			appendSpan(t, s, run, engine.Stdout, span{0, 3})
			err := s.AppendOutput(t.Context(), engine.Chunk{Run: run.ID, Attempt: 2, Stream: engine.Stderr, Data: []byte("other")})
			if err != nil {
				t.Fatal(err)
			}

			want := engine.Text{Head: pattern(tt.head.off, tt.head.n), Cut: tt.cut, Tail: pattern(tt.tail.off, tt.tail.n)}
			got := readStep(t, s, run, st)
			wantText(t, "stderr", got.Stderr, want)
			wantText(t, "stdout", got.Stdout, engine.Text{Head: pattern(0, 3)})
		})
	}
}

// newStep returns a run with one step in its first attempt.
func newStep(t *testing.T, s engine.Store) (*engine.Run, *engine.StepResult) {
	t.Helper()
	a := NewAcceptance("deploy")
	mustAccept(t, s, a)
	st := &engine.StepResult{Run: a.Runs[0].ID, Attempt: 1, Step: "1", Kind: "exec", State: engine.StepRunning}
	if err := s.Update(t.Context(), a.Runs[0], st); err != nil {
		t.Fatal(err)
	}
	return a.Runs[0], st
}

func appendSpan(t *testing.T, s engine.Store, run *engine.Run, stream string, c span) {
	t.Helper()
	err := s.AppendOutput(t.Context(), engine.Chunk{Run: run.ID, Attempt: 1, Stream: stream, Offset: c.off, Data: pattern(c.off, c.n)})
	if err != nil {
		t.Fatal(err)
	}
}

// readStep reads the only step of run, after an update that leaves output alone.
func readStep(t *testing.T, s engine.Store, run *engine.Run, st *engine.StepResult) *engine.StepResult {
	t.Helper()
	st.State = engine.StepDone
	if err := s.Update(t.Context(), run, st); err != nil {
		t.Fatal(err)
	}
	steps := must[[]*engine.StepResult](t)(s.Steps(t.Context(), run.ID))
	if len(steps) != 1 {
		t.Fatalf("Steps = %d steps, want 1", len(steps))
	}
	printed := must[[]*engine.StepResult](t)(s.Printed(t.Context(), run.ID))
	wantText(t, "printed stdout", printed[0].Stdout, steps[0].Stdout)
	wantText(t, "printed stderr", printed[0].Stderr, steps[0].Stderr)
	return steps[0]
}

func wantText(t *testing.T, what string, got, want engine.Text) {
	t.Helper()
	if got.Cut != want.Cut || !bytes.Equal(got.Head, want.Head) || !bytes.Equal(got.Tail, want.Tail) {
		t.Errorf("%s: head of %d bytes, %d cut, tail of %d bytes; want %d, %d, %d of the stream's own bytes",
			what, len(got.Head), got.Cut, len(got.Tail), len(want.Head), want.Cut, len(want.Tail))
	}
}

// testRandomOutput compares with a model that remembers the whole stream.
func testRandomOutput(t *testing.T, s engine.Store) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		run, st := newStep(t, s)
		end, gaps := int64(0), []int64{0} // gaps: where each run of adjoining bytes starts
		ends := []int64{0}                // and ends
		for range 40 {
			if rnd.IntN(8) == 0 {
				end += 1 + rnd.Int64N(5000)
				gaps, ends = append(gaps, end), append(ends, end)
			}
			n := 1 + rnd.Int64N(1<<(1+rnd.IntN(16)))
			appendSpan(t, s, run, engine.Stdout, span{end, n})
			end += n
			ends[len(ends)-1] = end
		}
		head := min(ends[0], half)
		tail := max(gaps[len(gaps)-1], head, end-half)
		want := engine.Text{Head: pattern(0, head), Cut: tail - head, Tail: pattern(tail, end-tail)}
		wantText(t, fmt.Sprintf("stdout of seed %d", seed), readStep(t, s, run, st).Stdout, want)
	}
}

const producers = 16

func testConcurrentAccept(t *testing.T, s engine.Store) {
	const each = 20
	accepted := make([][]*engine.Acceptance, producers)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for range each {
				a := NewAcceptance("one", "two")
				if _, err := s.Accept(t.Context(), a); err != nil {
					t.Errorf("Accept: %v", err)
					return
				}
				accepted[p] = append(accepted[p], a)
			}
		})
	}
	wg.Wait()

	var want []engine.Ref
	for _, as := range accepted {
		for i, a := range as {
			if i > 0 && a.Runs[0].Seq <= as[i-1].Runs[1].Seq {
				t.Errorf("Seq %d of a later acceptance, %d of an earlier one", a.Runs[0].Seq, as[i-1].Runs[1].Seq)
			}
			if _, err := s.Event(t.Context(), a.Event.ID); err != nil {
				t.Error(err)
			}
			want = append(want, a.Runs[0].Ref(), a.Runs[1].Ref())
		}
	}
	slices.SortFunc(want, func(a, b engine.Ref) int { return int(a.Seq - b.Seq) })
	wantEqual(t, "unfinished", must[[]engine.Ref](t)(s.Unfinished(t.Context())), want)
}

func testConcurrentDuplicate(t *testing.T, s engine.Store) {
	receipts := make([]engine.Receipt, producers)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			a := NewAcceptance("deploy")
			a.Event.Delivery = "d-1"
			var err error
			if receipts[p], err = s.Accept(t.Context(), a); err != nil {
				t.Errorf("Accept: %v", err)
			}
		})
	}
	wg.Wait()
	firsts := 0
	for _, r := range receipts {
		if !r.Duplicate {
			firsts++
		}
		wantEqual(t, "event of a receipt", r.Event, receipts[0].Event)
	}
	wantEqual(t, "acceptances that were no duplicate", firsts, 1)
	wantEqual(t, "unfinished runs", len(must[[]engine.Ref](t)(s.Unfinished(t.Context()))), 1)
}

func testCancelled(t *testing.T, s engine.Store) {
	kept := NewAcceptance("deploy")
	mustAccept(t, s, kept)
	why := errors.New("the sender went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)

	refused := NewAcceptance("deploy")
	if _, err := s.Accept(ctx, refused); !errors.Is(err, why) {
		t.Errorf("Accept: error %v, want %v", err, why)
	}
	_, err := s.Event(t.Context(), refused.Event.ID)
	wantNotFound(t, "Event", err)

	run := *kept.Runs[0]
	run.State = engine.Done
	if err := s.Update(ctx, &run); !errors.Is(err, why) {
		t.Errorf("Update: error %v, want %v", err, why)
	}
	err = s.Change(ctx, func(tx engine.Tx) error { return tx.Put(&run) })
	if !errors.Is(err, why) {
		t.Errorf("Change: error %v, want %v", err, why)
	}
	if err := s.SetPaused(ctx, []string{"deploy"}); !errors.Is(err, why) {
		t.Errorf("SetPaused: error %v, want %v", err, why)
	}
	wantEqual(t, "state", must[*engine.Run](t)(s.Run(t.Context(), run.ID)).State, engine.Queued)
	wantEqual(t, "paused", len(must[[]string](t)(s.Paused(t.Context()))), 0)
}
