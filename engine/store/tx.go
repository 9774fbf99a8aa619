package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Change implements engine.Store. fn is called on the goroutine of Serve.
func (s *Store) Change(ctx context.Context, fn func(engine.Tx) error) error {
	err := s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		return (&tx{c: c}).ask(fn)
	}})
	if err != nil {
		return fmt.Errorf("change runs: %w", err)
	}
	return nil
}

// tx implements engine.Tx inside of a transaction of the writer.
type tx struct {
	c      *database.Conn
	put    bool  // runs were changed
	broken error // of the database: the transaction may be gone, nothing is done in it any more
}

// ask calls fn, whose own error is not to be taken for one of the database.
func (t *tx) ask(fn func(engine.Tx) error) error {
	err := fn(t)
	if t.broken != nil {
		return t.broken
	}
	if err != nil {
		return database.Refuse(err)
	}
	return nil
}

// Run implements engine.Tx.
func (t *tx) Run(id string) (*engine.Run, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	run, err := readRun(t.c, id)
	if err != nil {
		return nil, t.failed(fmt.Errorf("read run %s: %w", id, err))
	}
	return run, nil
}

// failed notes an error of the database.
func (t *tx) failed(err error) error {
	if !errors.Is(err, engine.ErrNotFound) {
		t.broken = err
	}
	return err
}

// The ways to find unfinished runs.
const (
	pendingByLane = selectRuns + `INDEXED BY runs_lane
		WHERE lane != '' AND lane = ? AND state IN ('queued', 'running') ORDER BY seq`
	pendingByKey = selectRuns + `INDEXED BY runs_key
		WHERE key != '' AND rule = ? AND key = ? AND state IN ('queued', 'running') ORDER BY seq`
	pendingByRule = selectRuns + `INDEXED BY runs_rule WHERE state = ?1 AND rule = ?2 AND (?3 OR key = '')`
)

// Unfinished implements engine.Tx.
func (t *tx) Unfinished(q engine.Pending) ([]*engine.Run, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	runs, err := t.unfinished(q)
	if err != nil {
		return nil, t.failed(fmt.Errorf("list unfinished runs: %w", err))
	}
	return runs, nil
}

func (t *tx) unfinished(q engine.Pending) ([]*engine.Run, error) {
	switch {
	case q.Lane != "":
		return queryRuns(t.c, pendingByLane, q.Lane)
	case q.Key != nil && *q.Key != "":
		return queryRuns(t.c, pendingByKey, q.Rule, *q.Key)
	}
	runs, err := runsInStates(t.c, unfinishedStates(), pendingByRule, q.Rule, q.Key == nil)
	slices.SortFunc(runs, func(a, b *engine.Run) int { return cmp.Compare(a.Seq, b.Seq) })
	return runs, err
}

// The ways to find the newest runs that have a key: each reads, by its index,
// those of one state in order, and so passes over none, however many are of
// other states.
const (
	recentByDedupe   = selectRuns + `INDEXED BY runs_dedupe WHERE dedupe != '' AND dedupe = ?3 AND ` + recentRuns
	recentByThrottle = selectRuns + `INDEXED BY runs_throttle WHERE throttle != '' AND throttle = ?3 AND ` + recentRuns
	recentByBreaker  = selectRuns + `INDEXED BY runs_breaker WHERE breaker != '' AND breaker = ?3 AND ` + recentRuns
	recentRuns       = `state = ?1 AND rule = ?2 AND created >= ?4 AND created <= ?5 AND held >= ?6
		ORDER BY created DESC, seq DESC LIMIT ?7`
)

// Recent implements engine.Tx.
func (t *tx) Recent(q engine.Recent) ([]*engine.Run, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	sql := ""
	switch q.By {
	case engine.ByDedupe:
		sql = recentByDedupe
	case engine.ByThrottle:
		sql = recentByThrottle
	case engine.ByBreaker:
		sql = recentByBreaker
	default:
		return nil, fmt.Errorf("list recent runs: no run has a key %q", q.By)
	}
	limit := max(q.Limit, 0)
	runs, err := runsInStates(t.c, q.States, sql, q.Rule, q.Key, notBefore(q.From), notAfter(q.To), q.Held, limit)
	if err != nil {
		return nil, t.failed(fmt.Errorf("list recent runs: %w", err))
	}
	slices.SortFunc(runs, func(a, b *engine.Run) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Seq, a.Seq))
	})
	return runs[:min(limit, len(runs))], nil
}

// notBefore is the earliest stored time that is meant by a bound.
func notBefore(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return database.Nanos(t)
}

// notAfter is the latest stored time that is meant by a bound.
func notAfter(t time.Time) int64 {
	if t.IsZero() {
		return math.MaxInt64
	}
	return database.Nanos(t)
}

// Put implements engine.Tx.
func (t *tx) Put(r *engine.Run) error {
	if t.broken != nil {
		return t.broken
	}
	seq, err := runSeq(t.c, r.ID)
	if err == nil {
		err = putRun(t.c, seq, r)
	}
	if err != nil {
		return t.failed(fmt.Errorf("put run %s: %w", r.ID, err))
	}
	t.put = true
	return nil
}
