package enginetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"hookrun/engine"
)

func TestMemStore(t *testing.T) {
	TestStore(t, func(*testing.T) engine.Store { return &MemStore{} })
}

func TestMemStoreDown(t *testing.T) {
	var s MemStore
	s.SetDown(engine.ErrUnavailable)
	if _, err := s.Accept(t.Context(), NewAcceptance("deploy")); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Accept while down: error %v, want %v", err, engine.ErrUnavailable)
	}
	s.SetDown(nil)
	mustAccept(t, &s, NewAcceptance("deploy"))
}

func input(stdout, stderr io.Writer, started func(engine.Process)) engine.Input {
	return engine.Input{Run: "r", Stdout: stdout, Stderr: stderr, Started: started}
}

func TestActionGivesItsResultsInOrder(t *testing.T) {
	broken := errors.New("broken")
	a := &Action{Results: []Result{
		{Err: broken, Stdout: "out", Stderr: "err", Process: engine.Process{PID: 7}},
		{Output: engine.Output{ExitCode: 3}},
	}}
	var stdout, stderr strings.Builder
	var started []engine.Process
	in := input(&stdout, &stderr, func(p engine.Process) { started = append(started, p) })

	if _, err := a.Do(t.Context(), in); !errors.Is(err, broken) {
		t.Errorf("first Do: error %v, want %v", err, broken)
	}
	for range 2 {
		out, err := a.Do(t.Context(), in)
		if err != nil || out.ExitCode != 3 {
			t.Errorf("later Do = %+v, %v; want exit code 3", out, err)
		}
	}
	wantEqual(t, "stdout", stdout.String(), "out")
	wantEqual(t, "stderr", stderr.String(), "err")
	wantEqual(t, "started", started, []engine.Process{{PID: 7}})
	wantEqual(t, "inputs", len(a.Inputs()), 3)
	wantEqual(t, "kind", a.Kind(), "fake")
}

func TestActionBlocksUntilReleasedOrEnded(t *testing.T) {
	release := make(chan struct{})
	a := &Action{Results: []Result{{Block: release}}}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		_, err := a.Do(ctx, input(io.Discard, io.Discard, nil))
		ended <- err
	}()
	if err := a.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel(engine.ErrStopping)
	if err := <-ended; !errors.Is(err, engine.ErrStopping) {
		t.Errorf("Do whose context ended: error %v, want %v", err, engine.ErrStopping)
	}
	if err := a.Await(ctx, 2); !errors.Is(err, engine.ErrStopping) {
		t.Errorf("Await of a call that does not come: error %v, want %v", err, engine.ErrStopping)
	}
	close(release)
	if _, err := a.Do(t.Context(), input(io.Discard, io.Discard, nil)); err != nil {
		t.Errorf("Do after release: %v", err)
	}
}
