package control

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// accept puts one event with a run for each change into the store.
func accept(t *testing.T, s engine.Store, changes ...func(*engine.Run)) []*engine.Run {
	t.Helper()
	a := enginetest.NewAcceptance(slices.Repeat([]string{"deploy"}, len(changes))...)
	for i, change := range changes {
		change(a.Runs[i])
	}
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a.Runs
}

// as is a run of this id in a state.
func as(id string, s engine.State) func(*engine.Run) {
	return func(r *engine.Run) { r.ID, r.State = id, s }
}

// live is a hookrun that says what it is told to.
type live struct {
	Live // nil: what a test does not ask

	why      string
	counts   map[engine.State]int64
	waiting  int
	rejected int64
}

func (l live) Why(*engine.Run) string         { return l.why }
func (l live) Counts() map[engine.State]int64 { return l.counts }
func (l live) Rejected() int64                { return l.rejected }
func (l live) Waiting() int                   { return l.waiting }

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %+v, want %+v", what, got, want)
	}
}

// wantError compares an error with an *Error.
func wantError(t *testing.T, err error, want Error) {
	t.Helper()
	got, ok := errors.AsType[*Error](err)
	if !ok || *got != want {
		t.Errorf("error = %#v, want %#v", err, want)
	}
}

func ids(runs []Run) []string {
	var all []string
	for _, r := range runs {
		all = append(all, r.ID)
	}
	return all
}

// update writes a run and its steps.
func update(t *testing.T, s engine.Store, r *engine.Run, steps ...*engine.StepResult) {
	t.Helper()
	if err := s.Update(context.WithoutCancel(t.Context()), r, steps...); err != nil {
		t.Fatal(err)
	}
}

// prints appends output of a run's first step in its first attempt.
func prints(t *testing.T, s engine.Store, run, stream string, offset int, text string) {
	t.Helper()
	err := s.AppendOutput(t.Context(), engine.Chunk{Run: run, Attempt: 1, Stream: stream, Offset: int64(offset), Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
}

// step is a step of a run's first attempt.
func step(run string, s engine.StepState) *engine.StepResult {
	return &engine.StepResult{Run: run, Attempt: 1, Step: "build", Kind: "exec", State: s, Started: time.Now().UTC()}
}
