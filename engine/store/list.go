package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

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
// in order. Only those by id and by bucket sort: few have the same beginning, or are
// of a bucket with few events.
const (
	runsByNothing = selectRuns + `NOT INDEXED WHERE ` + newestRuns
	runsByState   = selectRuns + `INDEXED BY runs_state WHERE state = ?1 AND ` + newestRuns
	runsByRule    = selectRuns + `INDEXED BY runs_rule WHERE state = ?1 AND rule = ?2 AND ` + newestRuns
	runsByID      = selectRuns + `WHERE seq IN (
			SELECT seq FROM runs WHERE id >= ?3 AND id < ?4 AND (?1 = '' OR state = ?1) AND (?2 = '' OR rule = ?2)
			AND +seq >= ?6 AND +seq < ?7` + askedRuns + ` ORDER BY +seq DESC LIMIT ?8)`
	runsByArmed  = selectRuns + `INDEXED BY runs_armed WHERE armed != 0 AND (?1 = '' OR state = ?1) AND (?2 = '' OR rule = ?2) AND ` + newestRuns
	runsByBucket = selectRuns + `WHERE seq IN (
			SELECT r.seq FROM (` + eventsOfBucket + `) b CROSS JOIN events e ON e.seq = b.seq CROSS JOIN runs r INDEXED BY runs_event ON r.event = e.id
			WHERE (?1 = '' OR r.state = ?1) AND (?2 = '' OR r.rule = ?2)) AND +seq >= ?6 AND +seq < ?7` + askedRuns + ` ORDER BY +seq DESC LIMIT ?8`
	newestRuns = `seq >= ?6 AND seq < ?7` + askedRuns + ` ORDER BY seq DESC LIMIT ?8`
	askedRuns  = ` AND created >= ?5 AND created <= ?9 AND (NOT ?10 OR armed != 0)
		AND (?11 = '' OR EXISTS (SELECT 1 FROM arrivals WHERE seq = event_seq AND (bucket = ?11 OR bucket_id = ?11)))`
)

// eventsOfBucket are the numbers of the events of the bucket of a name or id,
// argument 11: twice where it is both.
const eventsOfBucket = `
	SELECT seq FROM arrivals INDEXED BY arrivals_outcome
		WHERE outcome IN ('started', 'suppressed', 'shadow', 'unmatched', 'error', 'answered') AND bucket = ?11
	UNION ALL SELECT seq FROM arrivals INDEXED BY arrivals_bucket_id WHERE bucket_id != '' AND bucket_id = ?11`

// fewEvents is how many events a bucket may have for its runs to be found by them:
// those of others are found among the newest runs.
const fewEvents = 2000

const behindAll = "\xff" // no byte of an id is as high

func filterRuns(c *database.Conn, f engine.RunFilter) ([]*engine.Run, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = engine.DefaultRunLimit
	}
	sql, states, err := wayToRuns(c, f)
	if err != nil {
		return nil, err
	}
	first, err := firstSince(c, f)
	if err != nil {
		return nil, err
	}
	below, err := lastUntil(c, f)
	if err != nil {
		return nil, err
	}
	if f.Before != 0 {
		below = min(below, f.Before)
	}
	runs, err := runsInStates(c, states, sql, f.Rule, f.IDPrefix, f.IDPrefix+behindAll,
		notBefore(f.Since), first, below, limit, before(f.Until), f.Armed, f.Bucket)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(runs, func(a, b *engine.Run) int { return cmp.Compare(b.Seq, a.Seq) })
	return runs[:min(limit, len(runs))], nil
}

// wayToRuns chooses the way that has the least to look at, and the states that it is
// gone for; "" stands for all of them.
func wayToRuns(c *database.Conn, f engine.RunFilter) (sql string, states []engine.State, err error) {
	asked := []engine.State{""}
	if len(f.States) > 0 {
		asked = f.States
	}
	switch {
	case f.IDPrefix != "":
		return runsByID, asked, nil
	case f.Armed:
		return runsByArmed, asked, nil
	}
	if f.Bucket != "" {
		rare, err := isRare(c, f.Bucket)
		if err != nil || rare {
			return runsByBucket, asked, err
		}
	}
	switch {
	case f.Rule != "" && len(f.States) == 0:
		return runsByRule, engine.States(), nil
	case f.Rule != "":
		return runsByRule, f.States, nil
	case len(f.States) > 0:
		return runsByState, f.States, nil
	}
	return runsByNothing, asked, nil
}

// isRare reports whether a bucket has few events.
func isRare(c *database.Conn, bucket string) (bool, error) {
	n, err := c.Number(`SELECT count(*) FROM (`+strings.ReplaceAll(eventsOfBucket, "?11", "?1")+` LIMIT ?2)`, bucket, fewEvents+1)
	return n <= fewEvents, err
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
