package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// stepRow is a step result in the form of the table.
type stepRow struct {
	*engine.StepResult
	output, header, process, plan string
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
	row := stepRow{StepResult: st, output: string(output), header: encodeLists(st.Output.Header), process: string(process)}
	if st.Plan != nil {
		plan, err := json.Marshal(st.Plan)
		if err != nil {
			return stepRow{}, fmt.Errorf("encode plan: %w", err)
		}
		row.plan = string(plan)
	}
	return row, nil
}

// size is that of the long parts of a step.
func (row stepRow) size() int { return len(row.Output.Body) + len(row.plan) }

func (row stepRow) put(c *database.Conn, run int64) error {
	return c.Exec(`
		INSERT OR REPLACE INTO steps(run, attempt, idx, step, key, kind, state, started, finished, err, output, header, process, body, phase, passed, plan)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		run, row.Attempt, row.Index, row.Step, row.Key, row.Kind, string(row.State), row.Started, row.Finished, row.Err,
		row.output, row.header, row.process, []byte(row.Output.Body), string(row.Phase), row.Passed, row.plan)
}

// Steps implements engine.Store.
func (s reads) Steps(ctx context.Context, run string) ([]*engine.StepResult, error) {
	return s.steps(ctx, run, `output, header, process, body, phase, passed, plan`)
}

// Printed implements engine.Store.
func (s reads) Printed(ctx context.Context, run string) ([]*engine.StepResult, error) {
	steps, err := s.steps(ctx, run, `'{}', '[]', '{}', x'', phase, passed, ''`)
	for _, st := range steps {
		st.Output = engine.Output{}
	}
	return steps, err
}

// steps reads those of a run. long are the columns from output on, or what stands in
// their place.
func (s reads) steps(ctx context.Context, run, long string) ([]*engine.StepResult, error) {
	var steps []*engine.StepResult
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		steps, err = readSteps(c, run, long)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read steps of run %s: %w", run, err)
	}
	return steps, nil
}

func readSteps(c *database.Conn, run, long string) ([]*engine.StepResult, error) {
	seq, err := runSeq(c, run)
	if err != nil {
		return nil, err
	}
	var steps []*engine.StepResult
	err = c.Query(func(r *sqlite3.Stmt) error {
		st, err := scanStep(r)
		if err != nil {
			return err
		}
		st.Run = run
		steps = append(steps, st)
		return nil
	}, `SELECT attempt, idx, step, key, kind, state, started, finished, err, `+long+` FROM steps WHERE run = ? ORDER BY attempt, idx`, seq)
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
		Started:  database.FromNanos(r.ColumnInt64(6)),
		Finished: database.FromNanos(r.ColumnInt64(7)),
		Err:      r.ColumnText(8),
		Phase:    engine.Phase(r.ColumnText(13)),
		Passed:   r.ColumnBool(14),
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
	if plan := r.ColumnRawText(15); len(plan) > 0 {
		if err := json.Unmarshal(plan, &st.Plan); err != nil {
			return nil, fmt.Errorf("decode plan of step %s: %w", st.Step, err)
		}
	}
	return st, nil
}
