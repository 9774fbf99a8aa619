package store

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Events implements engine.Store.
func (s reads) Events(ctx context.Context, f engine.EventFilter) (page engine.EventPage, err error) {
	err = s.lend(ctx, func(c *database.Conn) error {
		seqs, next, err := findEvents(c, f)
		page = engine.EventPage{Next: next}
		for _, seq := range seqs {
			const noBody = 0 // a body that is shorter is read
			record, err := readRecord(c, seq, noBody)
			if err != nil {
				return err
			}
			page.Events = append(page.Events, record.EventSummary)
		}
		return err
	})
	if err != nil {
		return engine.EventPage{}, fmt.Errorf("list events: %w", err)
	}
	return page, nil
}

// Records implements engine.Store.
func (s reads) Records(ctx context.Context, f engine.EventFilter) (records []engine.EventRecord, next int64, err error) {
	err = s.lend(ctx, func(c *database.Conn) error {
		var seqs []int64
		if seqs, next, err = findEvents(c, f); err != nil {
			return err
		}
		records = nil
		for i, size := 0, 0; i < len(seqs); i++ {
			record, err := readRecord(c, seqs[i], longBody)
			if err != nil {
				return err
			}
			records = append(records, record)
			if size += record.Event.Size(); size >= engine.MaxRecords && i+1 < len(seqs) {
				next = seqs[i]
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read events: %w", err)
	}
	return records, next, nil
}

// findEvents returns the numbers of a page of events, and Next of it.
func findEvents(c *database.Conn, f engine.EventFilter) (seqs []int64, next int64, err error) {
	search, err := newSearch(c, f)
	if err != nil {
		return nil, 0, err
	}
	return search.page()
}

// readRecord reads all of an event; a body only where it is shorter than longest
// or, where longest is longBody, whole.
func readRecord(c *database.Conn, seq int64, longest int) (engine.EventRecord, error) {
	var record engine.EventRecord
	err := c.Query(func(r *sqlite3.Stmt) (err error) {
		record, err = scanRecord(r)
		return err
	}, `SELECT `+eventColumns+`, outcome, rules, body_err, match_err, verdicts
		FROM events e JOIN arrivals a USING (seq) WHERE seq = ?2`, longest, seq)
	if err == nil && longest == longBody && record.Size >= longBody {
		record.Event.Body, err = c.ReadBlob("events", "body", seq)
	}
	if err != nil {
		return engine.EventRecord{}, fmt.Errorf("event %d: %w", seq, err)
	}
	return record, nil
}

func scanRecord(r *sqlite3.Stmt) (engine.EventRecord, error) {
	e, err := scanEvent(r)
	if err != nil {
		return engine.EventRecord{}, err
	}
	verdicts, err := decodeVerdicts(r.ColumnRawText(22))
	if err != nil {
		return engine.EventRecord{}, fmt.Errorf("decode verdicts: %w", err)
	}
	record := engine.NewEventRecord(e, verdicts)
	record.Seq, record.Size = r.ColumnInt64(0), r.ColumnInt(1)
	record.Outcome = engine.EventOutcome(r.ColumnText(18))
	record.Rules, record.BodyErr, record.MatchErr = r.ColumnText(19), r.ColumnText(20), r.ColumnText(21)
	return record, nil
}

// Replays implements engine.Store.
func (s reads) Replays(ctx context.Context, event string) ([]string, error) {
	var ids []string
	err := s.lend(ctx, func(c *database.Conn) error {
		ids = nil
		return c.Query(func(r *sqlite3.Stmt) error {
			ids = append(ids, r.ColumnText(0))
			return nil
		}, `SELECT id FROM arrivals a INDEXED BY arrivals_replay JOIN events e USING (seq)
			WHERE replay_of != '' AND replay_of = ? ORDER BY seq DESC LIMIT ?`, event, engine.MaxReplays)
	})
	if err != nil {
		return nil, fmt.Errorf("list replays of event %s: %w", event, err)
	}
	return ids, nil
}
