package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

// TestNoQueryScans has all be asked once and looks at how each statement that
// this took goes about it: also with a million runs none may read a whole table.
func TestNoQueryScans(t *testing.T) {
	s := serve(t, options(t))
	a := enginetest.NewAcceptance("deploy")
	a.Event.Delivery = "d-1"
	a.Admit = func(tx engine.Tx, r *engine.Run) error { return askAll(tx) }
	for range 2 { // the second is a duplicate
		if _, err := s.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	run := *a.Runs[0]
	run.Stop = engine.Replaced
	if err := s.Update(t.Context(), &run, &engine.StepResult{Run: run.ID, Attempt: 1, Step: "1", Kind: "exec"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Change(t.Context(), func(tx engine.Tx) error { return tx.Put(&run) }); err != nil {
		t.Fatal(err)
	}
	r := read(t, s.o.Dir) // one connection, which is asked it all
	readAll(t, r.reads, a)

	var asked []string
	note := func(c *database.Conn) error {
		asked = append(asked, c.Statements()...)
		return nil
	}
	err := errors.Join(s.write(t.Context(), database.Write{Do: note}), r.db.Read(t.Context(), note))
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) < 20 {
		t.Errorf("%d statements were looked at, want all", len(asked))
	}
	err = r.db.Read(t.Context(), func(c *database.Conn) error {
		for _, sql := range asked {
			wantNoScan(t, c, sql)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// askAll has every kind of query be made.
func askAll(tx engine.Tx) error {
	key := "k"
	for _, q := range []engine.Pending{{Lane: "l"}, {Rule: "deploy"}, {Rule: "deploy", Key: &key}, {Rule: "deploy", Key: new("")}} {
		if _, err := tx.Unfinished(q); err != nil {
			return err
		}
	}
	for _, by := range []engine.KeyKind{engine.ByDedupe, engine.ByThrottle, engine.ByBreaker} {
		if _, err := tx.Recent(engine.Recent{Rule: "deploy", By: by, Key: "=k", States: engine.States(), Limit: 1}); err != nil {
			return err
		}
	}
	return nil
}

// readAll has everything be read that can be.
func readAll(t *testing.T, s reads, a *engine.Acceptance) {
	t.Helper()
	ctx := t.Context()
	var errs []error
	note := func(_ any, err error) { errs = append(errs, err) }
	note(s.Unfinished(ctx))
	note(s.Run(ctx, a.Runs[0].ID))
	note(s.RunsOf(ctx, a.Event.ID))
	note(s.Event(ctx, a.Event.ID))
	note(s.Verdicts(ctx, a.Event.ID))
	note(s.Steps(ctx, a.Runs[0].ID))
	note(s.Paused(ctx))
	note(s.Instance(ctx))
	for _, f := range []engine.RunFilter{
		{}, {Rule: "deploy"}, {States: []engine.State{engine.Failed}}, {Rule: "deploy", States: []engine.State{engine.Failed}},
		{Since: a.Event.Received}, {IDPrefix: "0"}, {Before: 1}, {Rule: "deploy", Since: a.Event.Received},
	} {
		note(s.Runs(ctx, f))
	}
	for _, tt := range newCrowd(1).filters() {
		note(s.Events(ctx, tt.f))
	}
	for _, rule := range []string{"", "deploy"} {
		note(s.Rates(ctx, engine.RatesFilter{Rule: rule, Since: a.Event.Received, Step: time.Minute}))
	}
	note(s.RulesDay(ctx, a.Event.Received))
	note(s.Replays(ctx, a.Event.ID))
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func wantNoScan(t *testing.T, c *database.Conn, sql string) {
	t.Helper()
	var plan []string
	err := c.Query(func(r *sqlite3.Stmt) error {
		plan = append(plan, r.ColumnText(3))
		return nil
	}, "EXPLAIN QUERY PLAN "+sql)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(plan, "; ")
	// Few runs, and few of the events that are looked for so, have ids of the same
	// beginning; and of what is counted there are few kinds.
	few := sql == runsByID || strings.Contains(sql, "FROM "+laneOfID("").table)
	counted := strings.ReplaceAll(text, "TEMP B-TREE FOR GROUP BY", "")
	sorts := strings.Contains(counted, "TEMP B-TREE") && !few
	if strings.Contains(text, "SCAN") && !strings.Contains(text, "SCAN (subquery-1)") || sorts {
		t.Errorf("a query reads all of a table or sorts: %s\nby: %s", sql, text)
	}
}

// TestAnIndexIsNotWrittenInVain: most updates of a run change nothing that is
// in an index, and each index that is written is another page to sync.
func TestAnIndexIsNotWrittenInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that the log is not begun anew meanwhile
		o := options(t)
		s := serve(t, o)
		a := enginetest.NewAcceptance("deploy")
		a.Runs[0].Lane = "l"
		if _, err := s.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		put := func(r *engine.Run) {
			t.Helper()
			if err := s.Change(t.Context(), func(tx engine.Tx) error { return tx.Put(r) }); err != nil {
				t.Fatal(err)
			}
		}
		run := *a.Runs[0]
		run.Attempt, run.Err, run.Note = 2, "exit status 1", "tried again"
		before := logPages(t, o)
		put(&run)
		if pages := logPages(t, o) - before; pages != 1 {
			t.Errorf("an update of what no index has wrote %d pages, want that of the table alone", pages)
		}
		run.State = engine.Done
		put(&run)
		got, err := s.Run(t.Context(), run.ID)
		if err != nil || *got != run {
			t.Errorf("run = %+v, %v; want %+v", got, err, run)
		}
	})
}

// logPages is how many pages the log of a database has room for.
func logPages(t *testing.T, o Options) int64 {
	t.Helper()
	fi, err := os.Stat(filepath.Join(o.Dir, "hookrun.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	const header, page = 32, 24 + 8192
	return (fi.Size() - header) / page
}

func TestARefusalFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		before, after := enginetest.NewAcceptance("deploy"), enginetest.NewAcceptance("deploy")
		why := fmt.Errorf("of its own: %w", fs.ErrPermission) // which of the disk would mean something else
		refused := enginetest.NewAcceptance("one", "two")
		asked := 0
		refused.Admit = func(tx engine.Tx, r *engine.Run) error {
			asked++
			if r == refused.Runs[1] {
				return why
			}
			return nil
		}
		answers := commitTogether(t, o, before, refused, after)
		for i, want := range []error{nil, why, nil} {
			if err := answers[i]; !errors.Is(err, want) {
				t.Errorf("event %d: error %v, want %v", i, err, want)
			}
		}
		if asked != 4 {
			t.Errorf("Admit was asked %d times, want twice for each run", asked)
		}
		s := serve(t, o)
		for _, a := range []*engine.Acceptance{before, after} {
			if _, err := s.Run(t.Context(), a.Runs[0].ID); err != nil {
				t.Errorf("run of a neighbour: %v", err)
			}
		}
	})
}

// TestAnErrorOfTheDatabaseIsNotPassedOver: an fn that goes on after one would
// have a part of what it did committed.
func TestAnErrorOfTheDatabaseIsNotPassedOver(t *testing.T) {
	s := serve(t, options(t))
	a := accept(t, s.Store)
	run := *a.Runs[0]
	run.Note = "changed"
	err := s.Change(t.Context(), func(etx engine.Tx) error {
		tx := etx.(*tx)
		if err := tx.Put(&run); err != nil {
			return err
		}
		tx.failed(tx.c.Exec(`SELECT no_such_column FROM runs`))
		if _, err := tx.Run(run.ID); err == nil {
			t.Error("Run after an error of the database: no error")
		}
		if tx.Put(&run) == nil {
			t.Error("Put after an error of the database: no error")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "no_such_column") {
		t.Errorf("Change: error %v, want the database's", err)
	}
	if got, err := s.Run(t.Context(), run.ID); err != nil || got.Note != "" {
		t.Errorf("run = %+v, %v; want it unchanged", got, err)
	}
}

func TestWhatIsWithdrawnIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), options(t))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		answers := make(chan error, 2)
		asked := func(engine.Tx) error {
			t.Error("asked after the caller had gone")
			return nil
		}
		a := enginetest.NewAcceptance("deploy")
		a.Admit = func(tx engine.Tx, _ *engine.Run) error { return asked(tx) }
		go func() {
			_, err := s.Accept(ctx, a)
			answers <- err
		}()
		go func() { answers <- s.Change(ctx, asked) }()
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-answers; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
		}
		if err := s.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
}
