package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
)

// Columns in the order that scanRef and scanRun read them.
const (
	refColumns = `id, seq, event, rule, state, due`
	runColumns = refColumns + `, rule_hash, attempt, cut, created, started, finished, err`
)

// Update implements engine.Store.
func (s *Store) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	rows := make([]stepRow, len(steps))
	size := 0
	for i, st := range steps {
		var err error
		if rows[i], err = newStepRow(st); err != nil {
			return fmt.Errorf("update run %s: step %s: %w", r.ID, st.Step, err)
		}
		size += len(st.Output.Body)
	}
	err := s.write(ctx, &op{size: size, do: func(c *conn) error {
		seq, err := runSeq(c, r.ID)
		if err != nil {
			return err
		}
		if err := updateRun(c, seq, r); err != nil {
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

func runSeq(c *conn, id string) (int64, error) {
	seq, err := c.number(`SELECT seq FROM runs WHERE id = ?`, id)
	if err == nil && seq == 0 {
		err = engine.ErrNotFound
	}
	return seq, err
}

func updateRun(c *conn, seq int64, r *engine.Run) error {
	return c.exec(`
		UPDATE runs SET rule = ?, rule_hash = ?, state = ?, attempt = ?, cut = ?, due = ?, created = ?, started = ?, finished = ?, err = ?
		WHERE seq = ?`,
		r.Rule, r.RuleHash, string(r.State), r.Attempt, r.Cut, r.Due, r.Created, r.Started, r.Finished, r.Err, seq)
}

// stepRow is a step result in the form of the table.
type stepRow struct {
	*engine.StepResult
	output, header, process string
}

func newStepRow(st *engine.StepResult) (stepRow, error) {
	rest := st.Output
	rest.Header, rest.Body = nil, "" // these have bytes that JSON would change
	output, err := json.Marshal(rest)
	if err != nil {
		return stepRow{}, fmt.Errorf("encode output: %w", err)
	}
	process, err := json.Marshal(st.Process)
	if err != nil {
		return stepRow{}, fmt.Errorf("encode process: %w", err)
	}
	return stepRow{StepResult: st, output: string(output), header: encodeLists(st.Output.Header), process: string(process)}, nil
}

func (row stepRow) put(c *conn, run int64) error {
	return c.exec(`
		INSERT OR REPLACE INTO steps(run, attempt, idx, step, key, kind, state, started, finished, err, output, header, process, body)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		run, row.Attempt, row.Index, row.Step, row.Key, row.Kind, string(row.State), row.Started, row.Finished, row.Err,
		row.output, row.header, row.process, []byte(row.Output.Body))
}

// Unfinished implements engine.Store.
func (s *Store) Unfinished(ctx context.Context) ([]engine.Ref, error) {
	var refs []engine.Ref
	err := s.read(ctx, func(c *conn) error {
		return c.query(func(r *sqlite3.Stmt) error {
			refs = append(refs, scanRef(r))
			return nil
		}, `SELECT `+refColumns+` FROM runs INDEXED BY runs_unfinished WHERE state IN ('queued', 'running') ORDER BY seq`)
	})
	if err != nil {
		return nil, fmt.Errorf("list unfinished runs: %w", err)
	}
	return refs, nil
}

// Run implements engine.Store: it reads a run. The loop of the store is Serve.
func (s *Store) Run(ctx context.Context, id string) (*engine.Run, error) {
	runs, err := s.runsWhere(ctx, `SELECT `+runColumns+` FROM runs WHERE id = ?`, id)
	if err == nil && len(runs) == 0 {
		err = engine.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	return runs[0], nil
}

// RunsOf implements engine.Store.
func (s *Store) RunsOf(ctx context.Context, event string) ([]*engine.Run, error) {
	runs, err := s.runsWhere(ctx, `SELECT `+runColumns+` FROM runs WHERE event = ? ORDER BY seq`, event)
	if err != nil {
		return nil, fmt.Errorf("list runs of event %s: %w", event, err)
	}
	return runs, nil
}

func (s *Store) runsWhere(ctx context.Context, sql, arg string) ([]*engine.Run, error) {
	var runs []*engine.Run
	err := s.read(ctx, func(c *conn) error {
		return c.query(func(r *sqlite3.Stmt) error {
			runs = append(runs, scanRun(r))
			return nil
		}, sql, arg)
	})
	return runs, err
}

func scanRef(r *sqlite3.Stmt) engine.Ref {
	return engine.Ref{
		ID:    r.ColumnText(0),
		Seq:   r.ColumnInt64(1),
		Event: r.ColumnText(2),
		Rule:  r.ColumnText(3),
		State: engine.State(r.ColumnText(4)),
		Due:   fromNanos(r.ColumnInt64(5)),
	}
}

func scanRun(r *sqlite3.Stmt) *engine.Run {
	ref := scanRef(r)
	return &engine.Run{
		ID:       ref.ID,
		Seq:      ref.Seq,
		Event:    ref.Event,
		Rule:     ref.Rule,
		State:    ref.State,
		Due:      ref.Due,
		RuleHash: r.ColumnText(6),
		Attempt:  r.ColumnInt(7),
		Cut:      r.ColumnInt(8),
		Created:  fromNanos(r.ColumnInt64(9)),
		Started:  fromNanos(r.ColumnInt64(10)),
		Finished: fromNanos(r.ColumnInt64(11)),
		Err:      r.ColumnText(12),
	}
}

// Steps implements engine.Store.
func (s *Store) Steps(ctx context.Context, run string) ([]*engine.StepResult, error) {
	var steps []*engine.StepResult
	err := s.read(ctx, func(c *conn) (err error) {
		steps, err = readSteps(c, run)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read steps of run %s: %w", run, err)
	}
	return steps, nil
}

func readSteps(c *conn, run string) ([]*engine.StepResult, error) {
	seq, err := runSeq(c, run)
	if err != nil {
		return nil, err
	}
	var steps []*engine.StepResult
	err = c.query(func(r *sqlite3.Stmt) error {
		st, err := scanStep(r)
		if err != nil {
			return err
		}
		st.Run = run
		steps = append(steps, st)
		return nil
	}, `SELECT attempt, idx, step, key, kind, state, started, finished, err, output, header, process, body
		FROM steps WHERE run = ? ORDER BY attempt, idx`, seq)
	if err != nil {
		return nil, err
	}
	for _, st := range steps {
		if st.Stdout, err = readText(c, streamKey{seq, st.Attempt, st.Index, engine.Stdout}); err != nil {
			return nil, err
		}
		if st.Stderr, err = readText(c, streamKey{seq, st.Attempt, st.Index, engine.Stderr}); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

func scanStep(r *sqlite3.Stmt) (*engine.StepResult, error) {
	st := &engine.StepResult{
		Attempt:  r.ColumnInt(0),
		Index:    r.ColumnInt(1),
		Step:     r.ColumnText(2),
		Key:      r.ColumnText(3),
		Kind:     r.ColumnText(4),
		State:    engine.StepState(r.ColumnText(5)),
		Started:  fromNanos(r.ColumnInt64(6)),
		Finished: fromNanos(r.ColumnInt64(7)),
		Err:      r.ColumnText(8),
	}
	if err := json.Unmarshal(r.ColumnRawText(9), &st.Output); err != nil {
		return nil, fmt.Errorf("decode output of step %s: %w", st.Step, err)
	}
	header, err := decodeLists(r.ColumnRawText(10))
	if err != nil {
		return nil, fmt.Errorf("decode header of step %s: %w", st.Step, err)
	}
	st.Output.Header = header
	if err := json.Unmarshal(r.ColumnRawText(11), &st.Process); err != nil {
		return nil, fmt.Errorf("decode process of step %s: %w", st.Step, err)
	}
	st.Output.Body = string(r.ColumnRawBlob(12))
	return st, nil
}
