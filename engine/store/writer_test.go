package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func TestConformance(t *testing.T) {
	enginetest.TestStore(t, func(t *testing.T) engine.Store { return serve(t, options(t)).Store })
}

// unserved opens a store whose writer the test works itself.
func unserved(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		if err := s.Serve(ctx); err != nil {
			t.Errorf("Serve with an ended context: %v", err)
		}
	})
	return s
}

// insertOp is an op that takes in an event with a run.
func insertOp(t *testing.T, a *engine.Acceptance) *op {
	t.Helper()
	row, err := newEventRow(a)
	if err != nil {
		t.Fatal(err)
	}
	return &op{event: true, done: make(chan struct{}), do: func(c *conn) error {
		_, err := row.insert(c)
		return err
	}}
}

func TestOneFailingOpDoesNotFailItsNeighbours(t *testing.T) {
	s := unserved(t, options(t))
	before, after := enginetest.NewAcceptance("deploy"), enginetest.NewAcceptance("deploy")
	torn := enginetest.NewAcceptance("one", "two")
	torn.Runs[1].ID = torn.Runs[0].ID // fails when one row is written already
	batch := []*op{insertOp(t, before), insertOp(t, torn), insertOp(t, after)}

	if err := s.writer.commit(batch); err != nil {
		t.Fatalf("commit: %v", err)
	}
	for i, wantErr := range []bool{false, true, false} {
		<-batch[i].done
		if err := batch[i].err; (err != nil) != wantErr {
			t.Errorf("op %d: error %v, want one: %v", i, err, wantErr)
		}
	}
	for _, a := range []*engine.Acceptance{before, after} {
		if _, err := s.Run(t.Context(), a.Runs[0].ID); err != nil {
			t.Errorf("run of a neighbour: %v", err)
		}
	}
	if _, err := s.Event(t.Context(), torn.Event.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("event of the failed op: error %v, want %v", err, engine.ErrNotFound)
	}
}

// TestATransactionThatCannotBeUndoneIsFatal: nothing could be written after it.
func TestATransactionThatCannotBeUndoneIsFatal(t *testing.T) {
	s := unserved(t, options(t))
	err := s.writer.conn.db.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, what, _, _, _ string) sqlite3.AuthorizerReturnCode {
		if action == sqlite3.AUTH_TRANSACTION && what == "ROLLBACK" {
			return sqlite3.AUTH_DENY
		}
		return sqlite3.AUTH_OK
	})
	if err != nil {
		t.Fatal(err)
	}
	a := enginetest.NewAcceptance("one", "two")
	a.Runs[1].ID = a.Runs[0].ID
	o := insertOp(t, a)
	if err := s.writer.commit([]*op{o}); !errors.Is(err, ErrIO) {
		t.Errorf("commit: error %v, want %v", err, ErrIO)
	}
	<-o.done
	if !errors.Is(o.err, ErrIO) || !errors.Is(o.err, engine.ErrUnavailable) {
		t.Errorf("op: error %v, want %v and %v", o.err, ErrIO, engine.ErrUnavailable)
	}

	if err := s.writer.conn.db.SetAuthorizer(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.writer.conn.exec(`ROLLBACK`); err != nil { // so that the store can be closed
		t.Fatal(err)
	}
}

func TestABatchIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waiting int
		size    int
		want    int
	}{
		{"few", 3, 1, 3},
		{"many", maxBatch, 1, maxBatch - 1}, // and the first
		{"big", 10, maxBatchBytes / 4, 4},
		{"one is too big", 2, maxBatchBytes + 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ops := make(chan *op, maxBatch)
			for range tt.waiting {
				ops <- &op{size: tt.size}
			}
			if got := len(gather(&op{}, ops)) - 1; got != tt.want {
				t.Errorf("gather took %d of the waiting, want %d", got, tt.want)
			}
		})
	}
}

func TestWritersWaitForServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), options(t))
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		a := enginetest.NewAcceptance("deploy")
		go func() {
			_, err := s.Accept(t.Context(), a)
			answer <- err
		}()
		synctest.Wait()
		select {
		case err := <-answer:
			t.Fatalf("Accept before Serve returned %v, want it to wait", err)
		default:
		}

		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.Serve(ctx) }()
		if err := <-answer; err != nil {
			t.Errorf("Accept: %v", err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServeFinishesWhatIsQueuedWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		const queued = 20
		answers := make(chan error, queued)
		var all []*engine.Acceptance
		for range queued {
			a := enginetest.NewAcceptance("deploy")
			all = append(all, a)
			go func() {
				_, err := s.Accept(t.Context(), a)
				answers <- err
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		for range queued {
			if err := <-answers; err != nil {
				t.Errorf("Accept that was queued: %v", err)
			}
		}
		again := serve(t, o)
		for _, a := range all {
			if _, err := again.Event(t.Context(), a.Event.ID); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAnEndedContextWithdrawsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), options(t))
		if err != nil {
			t.Fatal(err)
		}
		gone := errors.New("the sender went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		answer := make(chan error, 1)
		a := enginetest.NewAcceptance("deploy")
		go func() {
			_, err := s.Accept(ctx, a)
			answer <- err
		}()
		synctest.Wait()
		cancel(gone)
		if err := <-answer; !errors.Is(err, gone) {
			t.Errorf("Accept: error %v, want %v", err, gone)
		}

		if err := s.writer.commit(gather(<-s.ops, s.ops)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Event(t.Context(), a.Event.ID); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("event that was withdrawn: error %v, want %v", err, engine.ErrNotFound)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := s.Serve(ended); err != nil {
			t.Error(err)
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
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
}

func TestAnInterruptedReadLeavesNoOldSnapshot(t *testing.T) {
	s := serve(t, options(t))
	for range 2 * readerCount {
		gone := errors.New("the reader went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := s.read(ctx, func(c *conn) error {
			if _, err := c.number(`SELECT count(*) FROM events`); err != nil {
				return err
			}
			cancel(gone)
			_, err := c.number(`SELECT count(*) FROM runs`)
			return err
		})
		if !errors.Is(err, gone) {
			t.Fatalf("read whose context ends: error %v, want %v", err, gone)
		}
		a := accept(t, s.Store)
		for range readerCount {
			if _, err := s.Event(t.Context(), a.Event.ID); err != nil {
				t.Errorf("read after an interrupted one: %v", err)
			}
		}
	}
}

func TestTheLogStaysShortUnderLoad(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	const events, size = 600, 64 << 10 // 38 MiB in all
	for range events {
		a := enginetest.NewAcceptance()
		a.Event.Body = make([]byte, size)
		if _, err := s.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(filepath.Join(o.Dir, "hookrun.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(2 * checkpointPages * 8192); fi.Size() > most {
		t.Errorf("log of %d bytes after %d, want at most %d", fi.Size(), events*size, most)
	}
}

func TestAnIdleDatabaseIsWholeWithoutItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		s := serve(t, o)
		a := accept(t, s.Store)
		time.Sleep(3 * tickEvery)
		synctest.Wait()

		file, err := os.ReadFile(filepath.Join(o.Dir, "hookrun.db"))
		if err != nil {
			t.Fatal(err)
		}
		copied := options(t)
		if err := os.WriteFile(filepath.Join(copied.Dir, "hookrun.db"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		c := serve(t, copied)
		if _, err := c.Event(t.Context(), a.Event.ID); err != nil {
			t.Errorf("event in a copy of the file alone: %v", err)
		}
	})
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
