package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Unfinished implements engine.Store.
func (s reads) Unfinished(ctx context.Context) ([]engine.Ref, error) {
	var refs []engine.Ref
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		refs, err = readUnfinished(c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list unfinished runs: %w", err)
	}
	return refs, nil
}

func readUnfinished(c *database.Conn) ([]engine.Ref, error) {
	n, err := c.Number(`SELECT count(*) FROM runs INDEXED BY runs_state WHERE state IN ('queued', 'running')`)
	if err != nil {
		return nil, err
	}
	refs := make([]engine.Ref, 0, n)
	names := make(interned)
	for _, state := range unfinishedStates() {
		err := c.Query(func(r *sqlite3.Stmt) error {
			refs = append(refs, scanRef(r, state, names))
			return nil
		}, `SELECT seq, id, rule, iif(outcome = 'tripped', '', lane), due, held, attempt > base, stop != '' OR outcome != '', "by", armed FROM runs INDEXED BY runs_state WHERE state = ? ORDER BY seq`, string(state))
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(refs, func(a, b engine.Ref) int { return cmp.Compare(a.Seq, b.Seq) })
	return refs, nil
}

func unfinishedStates() []engine.State { return []engine.State{engine.Queued, engine.Running} }

func scanRef(r *sqlite3.Stmt, state engine.State, names interned) engine.Ref {
	return engine.Ref{
		Seq:   r.ColumnInt64(0),
		ID:    r.ColumnText(1),
		Rule:  names.text(r.ColumnRawText(2)),
		Lane:  names.text(r.ColumnRawText(3)),
		State: state,
		Due:   database.FromNanos(r.ColumnInt64(4)),
		Held:  r.ColumnBool(5),
		Begun: r.ColumnBool(6),
		Ends:  r.ColumnBool(7),
		By:    r.ColumnText(8),
		Armed: r.ColumnBool(9),
	}
}

// interned has many runs share the text of what they have in common.
type interned map[string]string

func (in interned) text(b []byte) string {
	s, ok := in[string(b)]
	if !ok {
		s = string(b)
		in[s] = s
	}
	return s
}

// Runs implements engine.Store.
func (s reads) Runs(ctx context.Context, f engine.RunFilter) ([]*engine.Run, error) {
	var runs []*engine.Run
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		runs, err = filterRuns(c, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return runs, nil
}

// The ways to find the newest runs: each reads, by its index, those of one state
// in order. Only the one by id sorts, as few have the same beginning.
const (
	runsByNothing = selectRuns + `NOT INDEXED WHERE ` + newestRuns
	runsByState   = selectRuns + `INDEXED BY runs_state WHERE state = ?1 AND ` + newestRuns
	runsByRule    = selectRuns + `INDEXED BY runs_rule WHERE state = ?1 AND rule = ?2 AND ` + newestRuns
	runsByID      = selectRuns + `WHERE seq IN (
			SELECT seq FROM runs WHERE id >= ?3 AND id < ?4 AND (?1 = '' OR state = ?1) AND (?2 = '' OR rule = ?2)
			AND created >= ?5 AND created <= ?9 AND (NOT ?10 OR armed != 0) AND +seq >= ?6 AND +seq < ?7 ORDER BY +seq DESC LIMIT ?8)`
	runsByArmed = selectRuns + `INDEXED BY runs_armed WHERE armed != 0 AND (?1 = '' OR state = ?1) AND (?2 = '' OR rule = ?2) AND ` + newestRuns
	newestRuns  = `created >= ?5 AND created <= ?9 AND (NOT ?10 OR armed != 0) AND seq >= ?6 AND seq < ?7 ORDER BY seq DESC LIMIT ?8`
)

const behindAll = "\xff" // no byte of an id is as high

func filterRuns(c *database.Conn, f engine.RunFilter) ([]*engine.Run, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = engine.DefaultRunLimit
	}
	below := f.Before
	if below == 0 {
		below = math.MaxInt64
	}
	sql, states := runsByNothing, []engine.State{""}
	switch {
	case f.IDPrefix != "":
		sql = runsByID
	case f.Armed:
		sql = runsByArmed
	case f.Rule != "":
		sql, states = runsByRule, engine.States()
	case len(f.States) > 0:
		sql = runsByState
	}
	if len(f.States) > 0 {
		states = f.States
	}
	first, err := firstSince(c, f)
	if err != nil {
		return nil, err
	}
	last, err := lastUntil(c, f)
	if err != nil {
		return nil, err
	}
	runs, err := runsInStates(c, states, sql, f.Rule, f.IDPrefix, f.IDPrefix+behindAll,
		notBefore(f.Since), first, min(below, last), limit, before(f.Until), f.Armed)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(runs, func(a, b *engine.Run) int { return cmp.Compare(b.Seq, a.Seq) })
	return runs[:min(limit, len(runs))], nil
}

// firstSince returns the lowest Seq that is to be looked at, so that no older
// runs are: order of arrival and of creation agree but for a clock that was set.
func firstSince(c *database.Conn, f engine.RunFilter) (int64, error) {
	if f.Since.IsZero() {
		return 0, nil
	}
	return c.Number(`SELECT coalesce(min(seq), ?) FROM runs INDEXED BY runs_created WHERE created >= ?`, int64(math.MaxInt64), f.Since)
}

// lastUntil returns what the highest Seq that is to be looked at is below, likewise.
func lastUntil(c *database.Conn, f engine.RunFilter) (int64, error) {
	if f.Until.IsZero() {
		return math.MaxInt64, nil
	}
	last, err := c.Number(`SELECT max(seq) FROM runs INDEXED BY runs_created WHERE created >= ? AND created < ?`, notBefore(f.Since), f.Until)
	return last + 1, err
}

// runsInStates runs a query for each of the states, which is its first argument.
func runsInStates(c *database.Conn, states []engine.State, sql string, args ...any) ([]*engine.Run, error) {
	var all []*engine.Run
	for _, state := range slices.Compact(slices.Sorted(slices.Values(states))) {
		runs, err := queryRuns(c, sql, append([]any{string(state)}, args...)...)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	return all, nil
}
