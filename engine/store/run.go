package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// The columns of a run but for seq, id, event and event_seq, which are given once. Each
// list is in the order of the function that writes it and reads it.
const (
	indexedColumns = `rule, state, created, key, lane, dedupe, throttle, breaker`
	decidedColumns = `stop, "by"`
	handColumns    = `note` // a person's
	otherColumns   = `rule_hash, attempt, cut, due, started, finished, err, idx, held, outcome, base, fresh, waited, armed, element`
	ownColumns     = indexedColumns + `, ` + decidedColumns + `, ` + handColumns + `, ` + otherColumns
	runColumns     = `seq, id, event, ` + ownColumns
)

func indexedFields(r *engine.Run) []any {
	return []any{&r.Rule, (*string)(&r.State), &r.Created, &r.Key, &r.Lane, &r.Dedupe, &r.Throttle, &r.Breaker}
}

func decidedFields(r *engine.Run) []any { return []any{&r.Stop, &r.By} }

func handFields(r *engine.Run) []any { return []any{&r.Note} }

func ownFields(r *engine.Run) []any {
	return slices.Concat(indexedFields(r), decidedFields(r), handFields(r), otherFields(r))
}

func otherFields(r *engine.Run) []any {
	return []any{
		&r.RuleHash, &r.Attempt, &r.Cut, &r.Due, &r.Started, &r.Finished, &r.Err, &r.Index, &r.Held, &r.Outcome,
		&r.Base, &r.Fresh, &r.Waited, &r.Armed, &r.Element,
	}
}

// The statements that write a run.
const (
	insertRunSQL = `INSERT INTO runs(id, event, event_seq, ` + ownColumns + `)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateRunSQL = `UPDATE runs SET (` + otherColumns + `) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE seq = ?`
	decideRunSQL = `UPDATE runs SET (` + decidedColumns + `) = (?, ?) WHERE seq = ?`
	handRunSQL   = `UPDATE runs SET ` + handColumns + ` = ? WHERE seq = ?`

	// Each index would be written again, though nothing is new.
	indexRunSQL = `UPDATE runs SET (` + indexedColumns + `) = (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
		WHERE seq = ?9 AND (` + indexedColumns + `) IS NOT (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)`
)

func insertRun(c *database.Conn, event string, eventSeq int64, r *engine.Run) (seq int64, err error) {
	if err := c.Exec(insertRunSQL, append([]any{r.ID, event, eventSeq}, ownFields(r)...)...); err != nil {
		return 0, err
	}
	return c.LastInsertRowID(), nil
}

// Update implements engine.Store.
func (s *Store) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	rows := make([]stepRow, len(steps))
	size := len(r.Element)
	for i, st := range steps {
		var err error
		if rows[i], err = newStepRow(st); err != nil {
			return fmt.Errorf("update run %s: step %s: %w", r.ID, st.Step, err)
		}
		size += rows[i].size()
	}
	err := s.write(ctx, database.Write{Size: size, Do: func(c *database.Conn) error {
		seq, err := writableRun(c, r)
		if err != nil {
			return err
		}
		if err := updateRun(c, seq, r, r.Stop != ""); err != nil {
			return err
		}
		for _, row := range rows {
			if err := row.put(c, seq); err != nil {
				return fmt.Errorf("step %s: %w", row.Step, err)
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("update run %s: %w", r.ID, err)
	}
	return nil
}

func runSeq(c *database.Conn, id string) (int64, error) {
	seq, err := c.Number(`SELECT seq FROM runs WHERE id = ?`, id)
	if err == nil && seq == 0 {
		err = engine.ErrNotFound
	}
	return seq, err
}

// writableRun returns the number of a run that an attempt still may write: it has
// not finished, nor been retried since.
func writableRun(c *database.Conn, r *engine.Run) (seq int64, err error) {
	var state engine.State
	var base int
	err = c.Query(func(row *sqlite3.Stmt) error {
		seq, state, base = row.ColumnInt64(0), engine.State(row.ColumnText(1)), row.ColumnInt(2)
		return nil
	}, `SELECT seq, state, base FROM runs WHERE id = ?`, r.ID)
	switch {
	case err != nil:
		return 0, err
	case seq == 0:
		return 0, engine.ErrNotFound
	case state.Finished() || base != r.Base:
		return 0, engine.ErrFinished
	}
	return seq, nil
}

// putRun writes all of a run.
func putRun(c *database.Conn, seq int64, r *engine.Run) error {
	if err := c.Exec(handRunSQL, append(handFields(r), seq)...); err != nil {
		return err
	}
	return updateRun(c, seq, r, true)
}

// updateRun writes a run; what others decide about it only where decided is set,
// and nothing of what a person does.
func updateRun(c *database.Conn, seq int64, r *engine.Run, decided bool) error {
	if err := c.Exec(updateRunSQL, append(otherFields(r), seq)...); err != nil {
		return err
	}
	if decided {
		if err := c.Exec(decideRunSQL, append(decidedFields(r), seq)...); err != nil {
			return err
		}
	}
	return c.Exec(indexRunSQL, append(indexedFields(r), seq)...)
}

// Run implements engine.Store: it reads a run. The loop of the store is Serve.
func (s reads) Run(ctx context.Context, id string) (*engine.Run, error) {
	var run *engine.Run
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		run, err = readRun(c, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	return run, nil
}

func readRun(c *database.Conn, id string) (*engine.Run, error) {
	runs, err := queryRuns(c, selectRuns+`WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, engine.ErrNotFound
	}
	return runs[0], nil
}

// RunsOf implements engine.Store.
func (s reads) RunsOf(ctx context.Context, event string) ([]*engine.Run, error) {
	var runs []*engine.Run
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		runs, err = runsOf(c, event)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list runs of event %s: %w", event, err)
	}
	return runs, nil
}

func runsOf(c *database.Conn, event string) ([]*engine.Run, error) {
	return queryRuns(c, selectRuns+`WHERE event = ? ORDER BY seq`, event)
}

const selectRuns = `SELECT ` + runColumns + ` FROM runs `

func queryRuns(c *database.Conn, sql string, args ...any) ([]*engine.Run, error) {
	var runs []*engine.Run
	err := c.Query(func(r *sqlite3.Stmt) error {
		runs = append(runs, scanRun(r))
		return nil
	}, sql, args...)
	return runs, err
}

func scanRun(r *sqlite3.Stmt) *engine.Run {
	run := &engine.Run{}
	fields := append([]any{&run.Seq, &run.ID, &run.Event}, ownFields(run)...)
	database.Scan(r, 0, fields)
	return run
}
