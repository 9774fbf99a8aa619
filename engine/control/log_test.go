package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// told collects pieces, a line each.
type told struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (l *told) emit(p Piece) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("%s %s", p.State, p.Why)
	if p.Stream != "" {
		line = fmt.Sprintf("%s %d %s: %q", p.Stream, p.Attempt, p.Step, p.Data)
	}
	if p.Cut > 0 {
		line += fmt.Sprintf(" after a cut of %d", p.Cut)
	}
	l.lines = append(l.lines, line)
	return nil
}

// take returns what came since it was called last.
func (l *told) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Join(l.lines, "\n")
	l.lines = nil
	return all
}

func TestLogOfAFinishedRun(t *testing.T) {
	s := &enginetest.MemStore{}
	run := accept(t, s, as("aaaaaa1", engine.Running))[0]
	second := step(run.ID, engine.StepDone)
	second.Attempt = 2
	run.Attempt = 2
	update(t, s, run, step(run.ID, engine.StepFailed), second)
	prints(t, s, run.ID, engine.Stdout, 0, "one\n")
	prints(t, s, run.ID, engine.Stderr, 0, "oops \xe2")
	half := strings.Repeat("x", engine.MaxOutput/2)
	for _, c := range []engine.Chunk{
		{Offset: 0, Data: []byte(half)},
		{Offset: engine.MaxOutput, Data: []byte("tail")},
	} {
		c.Run, c.Attempt, c.Stream = run.ID, 2, engine.Stdout
		if err := s.AppendOutput(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	run.State, run.Err = engine.Failed, "exit status 2"
	update(t, s, run)

	want := strings.Join([]string{
		`stdout 1 build: "one\n"`,
		`stderr 1 build: "oops \xe2"`,
		fmt.Sprintf(`stdout 2 build: %q`, half),
		`stdout 2 build: "tail" after a cut of 32768`,
		`failed exit status 2`,
	}, "\n")
	for _, follow := range []bool{false, true} {
		var got told
		l := &Local{Store: s, Live: live{}}
		if err := l.Log(t.Context(), run.ID, follow, got.emit); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, fmt.Sprintf("log, follow: %v", follow), got.take(), want)
	}
}

// TestLogWithoutAHookrun: nothing more can come, so there is nothing to wait for.
func TestLogWithoutAHookrun(t *testing.T) {
	s := &enginetest.MemStore{}
	run := accept(t, s, as("aaaaaa1", engine.Running))[0]
	update(t, s, run, step(run.ID, engine.StepRunning))
	prints(t, s, run.ID, engine.Stdout, 0, "one")
	var got told
	if err := (&Local{Store: s}).Log(t.Context(), run.ID, true, got.emit); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "log", got.take(), "stdout 1 build: \"one\"\nrunning no hookrun answers: it goes on when one runs")
}

func TestLogFollowsARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &enginetest.MemStore{}
		run := accept(t, s, as("aaaaaa1", engine.Queued))[0]
		l := &Local{Store: s, Live: live{why: "all places are taken"}}
		var got told
		var wg sync.WaitGroup
		var logErr error
		wg.Go(func() { logErr = l.Log(t.Context(), run.ID, true, got.emit) })
		next := func(want string) {
			t.Helper()
			time.Sleep(lookEvery)
			synctest.Wait()
			wantEqual(t, "log", got.take(), want)
		}
		next("queued all places are taken")
		next("")

		st := step(run.ID, engine.StepRunning)
		run.State, run.Attempt = engine.Running, 1
		update(t, s, run, st)
		next("running ")
		prints(t, s, run.ID, engine.Stdout, 0, "1 €\n2 \xe2\x82")
		next(`stdout 1 build: "1 €\n2 "`)
		next("")
		prints(t, s, run.ID, engine.Stdout, 10, "\xac\n")
		prints(t, s, run.ID, engine.Stderr, 0, "\xe2")
		next(`stdout 1 build: "€\n"`)
		prints(t, s, run.ID, engine.Stdout, 12, strings.Repeat("x", engine.MaxOutput))
		next(fmt.Sprintf("stdout 1 build: %q", strings.Repeat("x", engine.MaxOutput/2-12)) + "\n" +
			fmt.Sprintf("stdout 1 build: %q after a cut of 12", strings.Repeat("x", engine.MaxOutput/2)))
		prints(t, s, run.ID, engine.Stdout, 12+engine.MaxOutput, "the end")
		next(`stdout 1 build: "the end"`)
		prints(t, s, run.ID, engine.Stdout, 1<<20, "after a gap")
		next(fmt.Sprintf(`stdout 1 build: "after a gap" after a cut of %d`, 1<<20-12-engine.MaxOutput-7))

		st.State = engine.StepDone
		update(t, s, run, st)
		next(`stderr 1 build: "\xe2"`)
		run.State = engine.Done
		update(t, s, run)
		next("done ")
		wg.Wait()
		if logErr != nil {
			t.Error(logErr)
		}
	})
}

// TestLogTellsTheStateWhereItBelongs: a run that began and printed between two looks
// is told to run before what it printed, and to wait for its retry after it.
func TestLogTellsTheStateWhereItBelongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &enginetest.MemStore{}
		run := accept(t, s, as("aaaaaa1", engine.Queued))[0]
		l := &Local{Store: s, Live: live{why: "waits"}}
		var got told
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Log(t.Context(), run.ID, true, got.emit); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		run.State, run.Attempt = engine.Running, 1
		update(t, s, run, step(run.ID, engine.StepRunning))
		prints(t, s, run.ID, engine.Stdout, 0, "one\n")
		time.Sleep(lookEvery)
		synctest.Wait()
		prints(t, s, run.ID, engine.Stdout, 4, "two\n")
		run.State = engine.Queued
		update(t, s, run)
		time.Sleep(lookEvery)
		synctest.Wait()
		prints(t, s, run.ID, engine.Stdout, 8, "three\n")
		run.State = engine.Done
		update(t, s, run)
		wg.Wait()
		wantEqual(t, "log", got.take(), strings.Join([]string{
			"queued waits",
			"running ", `stdout 1 build: "one\n"`,
			`stdout 1 build: "two\n"`, "queued waits",
			`stdout 1 build: "three\n"`, "done ",
		}, "\n"))
	})
}

// TestLogTellsAttemptsInTheirOrder: who follows a run in its second attempt is told
// first what the first one printed.
func TestLogTellsAttemptsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &enginetest.MemStore{}
		run := accept(t, s, as("aaaaaa1", engine.Running))[0]
		run.Attempt = 2
		second := step(run.ID, engine.StepRunning)
		second.Attempt = 2
		update(t, s, run, step(run.ID, engine.StepFailed), second)
		prints(t, s, run.ID, engine.Stdout, 0, "one\n")
		if err := s.AppendOutput(t.Context(), engine.Chunk{Run: run.ID, Attempt: 2, Stream: engine.Stdout, Data: []byte("two\n")}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lookEvery/2)
		defer cancel()
		var got told
		if err := (&Local{Store: s, Live: live{}}).Log(ctx, run.ID, true, got.emit); ctx.Err() == nil {
			t.Error(err)
		}
		wantEqual(t, "log", got.take(), "stdout 1 build: \"one\\n\"\nrunning \nstdout 2 build: \"two\\n\"")
	})
}

// begun is a store in which an attempt begins right after its run was read.
type begun struct {
	*enginetest.MemStore
	begin func()
}

func (s *begun) Printed(ctx context.Context, run string) ([]*engine.StepResult, error) {
	s.begin()
	return s.MemStore.Printed(ctx, run)
}

// TestLogLeavesALaterAttemptForTheNextLook: of one that began meanwhile it is not
// known yet that it runs.
func TestLogLeavesALaterAttemptForTheNextLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &begun{MemStore: &enginetest.MemStore{}}
		run := accept(t, s.MemStore, as("aaaaaa1", engine.Queued))[0]
		s.begin = sync.OnceFunc(func() {
			run.State, run.Attempt = engine.Running, 1
			update(t, s.MemStore, run, step(run.ID, engine.StepRunning))
			prints(t, s.MemStore, run.ID, engine.Stdout, 0, "one\n")
		})
		ctx, cancel := context.WithTimeout(t.Context(), lookEvery*3/2)
		defer cancel()
		var got told
		if err := (&Local{Store: s, Live: live{why: "waits"}}).Log(ctx, run.ID, true, got.emit); ctx.Err() == nil {
			t.Error(err)
		}
		wantEqual(t, "log", got.take(), "queued waits\nrunning \nstdout 1 build: \"one\\n\"")
	})
}

func TestLogEndsWithItsContextAndItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &enginetest.MemStore{}
		run := accept(t, s, as("aaaaaa1", engine.Running))[0]
		l := &Local{Store: s, Live: live{}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var got told
		if err := l.Log(ctx, run.ID, true, got.emit); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want that of the context", err)
		}
		gone := errors.New("nobody reads")
		if err := l.Log(t.Context(), run.ID, true, func(Piece) error { return gone }); !errors.Is(err, gone) {
			t.Errorf("error = %v, want %v", err, gone)
		}
	})
}

// slow is a store whose Printed takes long.
type slow struct {
	*enginetest.MemStore
	looks int
}

func (s *slow) Printed(ctx context.Context, run string) ([]*engine.StepResult, error) {
	s.looks++
	time.Sleep(time.Second)
	return s.MemStore.Printed(ctx, run)
}

// TestLogIsNoBurden: a run that takes long to read is not read all the time.
func TestLogIsNoBurden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{MemStore: &enginetest.MemStore{}}
		run := accept(t, s.MemStore, as("aaaaaa1", engine.Running))[0]
		ctx, cancel := context.WithTimeout(t.Context(), 49*time.Second)
		defer cancel()
		var got told
		if err := (&Local{Store: s, Live: live{}}).Log(ctx, run.ID, true, got.emit); ctx.Err() == nil {
			t.Error(err)
		}
		wantEqual(t, "looks of a second each in 49 seconds", s.looks, 10)
	})
}
