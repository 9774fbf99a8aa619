package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Rates implements engine.Store. It looks at each run and event of the time that
// is asked for.
func (s reads) Rates(ctx context.Context, f engine.RatesFilter) ([]engine.Rates, error) {
	spans, err := f.Spans(time.Now())
	if err == nil && len(spans) > 0 {
		err = s.lend(ctx, func(c *database.Conn) error {
			if err := countRuns(c, f, spans); err != nil {
				return err
			}
			return countEvents(c, f, spans)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("count by time: %w", err)
	}
	return spans, nil
}

// countRuns counts the runs created in the spans and, of those that are done, how
// long they took.
func countRuns(c *database.Conn, f engine.RatesFilter, spans []engine.Rates) error {
	for i := range spans {
		spans[i].Ended = make(map[engine.State]int)
	}
	took := make([][]time.Duration, len(spans))
	states := make(interned)
	err := c.Query(func(r *sqlite3.Stmt) error {
		i, state := r.ColumnInt(0), engine.State(states.text(r.ColumnRawText(1)))
		spans[i].Ended[state]++
		if state == engine.Done {
			took[i] = append(took[i], time.Duration(r.ColumnInt64(2)))
		}
		return nil
	}, `SELECT (created - ?1) / ?2, state, finished - started FROM runs INDEXED BY runs_created
		WHERE created >= ?1 AND created < ?1 + ?2 * ?3 AND (?4 = '' OR rule = ?4)`,
		spans[0].From, int64(f.Step), len(spans), f.Rule)
	for i := range spans {
		spans[i].SetDurations(took[i])
	}
	return err
}

// countEvents counts the events received in the spans.
func countEvents(c *database.Conn, f engine.RatesFilter, spans []engine.Rates) error {
	first, err := firstFrom(c, spans[0].From)
	if err != nil {
		return err
	}
	sql := `SELECT seq, (received - ?1) / ?2 FROM arrivals NOT INDEXED
		WHERE seq >= ?4 AND received >= ?1 AND received < ?1 + ?2 * ?3`
	args := []any{spans[0].From, int64(f.Step), len(spans), first}
	if f.Rule != "" {
		sql = `SELECT a.seq, (received - ?1) / ?2 FROM runs r INDEXED BY runs_event_seq CROSS JOIN arrivals a NOT INDEXED ON a.seq = r.event_seq
			WHERE r.event_seq >= ?4 AND received >= ?1 AND received < ?1 + ?2 * ?3 AND rule = ?5 ORDER BY r.event_seq`
		args = append(args, f.Rule)
	}
	for i := range spans {
		spans[i].Events = 0
	}
	last := int64(0) // an event may have several runs
	return c.Query(func(r *sqlite3.Stmt) error {
		if seq := r.ColumnInt64(0); seq != last {
			spans[r.ColumnInt(1)].Events++
			last = seq
		}
		return nil
	}, sql, args...)
}

// RulesDay implements engine.Store.
func (s reads) RulesDay(ctx context.Context, since time.Time) ([]engine.RuleUse, error) {
	var uses []engine.RuleUse
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		if uses, err = usedRules(c); err != nil {
			return err
		}
		return countUses(c, since, uses)
	})
	if err != nil {
		return nil, fmt.Errorf("count runs of rules: %w", err)
	}
	return uses, nil
}

// usedRules finds each rule that has runs and its newest: it goes from name to
// name in an index.
func usedRules(c *database.Conn) ([]engine.RuleUse, error) {
	var uses []engine.RuleUse
	for last := ""; len(uses) < engine.MaxRuleUses; {
		runs, err := queryRuns(c, nextRule, last)
		if err != nil || len(runs) == 0 {
			return uses, err
		}
		last = runs[0].Rule
		newest, err := queryRuns(c, newestOfRule, last)
		if err != nil {
			return nil, err
		}
		uses = append(uses, engine.RuleUse{Rule: last, Runs: make(map[engine.State]int), Last: newest[0]})
	}
	return uses, nil
}

const (
	nextRule     = selectRuns + `INDEXED BY runs_event_seq WHERE rule > ? ORDER BY rule LIMIT 1`
	newestOfRule = selectRuns + `INDEXED BY runs_event_seq WHERE rule = ? ORDER BY event_seq DESC, seq DESC LIMIT 1`
)

// countUses counts the runs that were created since then.
func countUses(c *database.Conn, since time.Time, uses []engine.RuleUse) error {
	of := make(map[string]map[engine.State]int, len(uses))
	for _, u := range uses {
		of[u.Rule] = u.Runs
	}
	return c.Query(func(r *sqlite3.Stmt) error {
		if runs := of[r.ColumnText(0)]; runs != nil {
			runs[engine.State(r.ColumnText(1))] = r.ColumnInt(2)
		}
		return nil
	}, `SELECT rule, state, count(*) FROM runs INDEXED BY runs_created WHERE created >= ? GROUP BY rule, state`, notBefore(since))
}
