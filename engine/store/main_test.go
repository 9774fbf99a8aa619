package store

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		os.Exit(acceptUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}

// roomyDisk stands in for this machine's disk: local, with room, and a ballast
// that costs nothing.
func roomyDisk() database.Hooks {
	return database.Hooks{
		BallastSize: 4 << 10,
		Space:       func(string) (database.Space, error) { return database.Space{Free: 100 << 30, Total: 200 << 30}, nil },
		Kind:        func(string) (database.Kind, error) { return database.Kind{}, nil },
	}
}

// options returns those of a store in a folder of its own.
func options(t testing.TB) Options {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: dir, Log: testLog(t), hooks: roomyDisk()}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// served is a store at work.
type served struct {
	*Store
	stop func() error // ends Serve and returns its error; may be called twice
}

// serve opens a store and serves it until the test ends.
func serve(t testing.TB, o Options) served {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	var serr error
	go func() {
		defer close(ended)
		serr = s.Serve(ctx)
	}()
	stop := func() error {
		cancel()
		<-ended
		return serr
	}
	t.Cleanup(func() { stop() })
	return served{s, stop}
}

// waitEnded waits until Serve takes nothing more.
func waitEnded(t *testing.T, s *Store) {
	t.Helper()
	select {
	case <-s.db.Ended():
	case <-time.After(10 * time.Second):
		t.Fatal("Serve goes on")
	}
}

func accept(t testing.TB, s *Store) *engine.Acceptance {
	t.Helper()
	a := enginetest.NewAcceptance("deploy")
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// finishRuns brings the runs of an acceptance to their end.
func finishRuns(t testing.TB, s *Store, a *engine.Acceptance) {
	t.Helper()
	for _, r := range a.Runs {
		r.State = engine.Done
		if err := s.Update(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}
