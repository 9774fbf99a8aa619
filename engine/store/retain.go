package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
)

// How the history is kept within its bounds.
const (
	sweepInterval = time.Minute
	sweepRows     = 500      // rows that one commit deletes, an event of more rows alone
	sweepBytes    = 16 << 20 // bytes that one commit deletes, reached by its last event
	rowBytes      = 512      // what a row is taken to hold, beside a body
	vacuumPages   = 256      // pages that one commit gives back to the disk, 2 MB
	spareShare    = 4        // a quarter of the file may be free pages, for the next events
	sparePages    = 1024     // and so many in any case
)

var errEnough = errors.New("enough") // ends a query early

// sweepEvery sweeps every minute until ctx ends. It reads beside the writer and
// only its deletions, in small pieces, go through the queue.
func (s *Store) sweepEvery(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	var clock database.ClockWatch
	clock.Look(s.o.hooks.Now(), time.Now()) // the first tells nothing
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.sweep(ctx, clock.Look(s.o.hooks.Now(), time.Now()))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			told = ""
		case err.Error() != told: // not every minute the same
			told = err.Error()
			s.o.Log.Warn("deletion of old events put off", "err", err)
		}
	}
}

// sweep deletes what is too old, unless clock tells against it, then the oldest
// of what is too much, and gives free pages back. It never deletes an event with
// an unfinished run.
func (s *Store) sweep(ctx context.Context, clock error) error {
	if clock == nil {
		clock = s.sweepOld(ctx)
	}
	return errors.Join(clock, s.sweepMany(ctx), s.vacuum(ctx))
}

// sweepOld deletes by age. Age by the clock and order of arrival have to agree:
// it ends at the first event that is young enough, and does nothing while the
// clock is behind the newest event.
func (s *Store) sweepOld(ctx context.Context) error {
	now := s.o.hooks.Now()
	newest, err := s.number(ctx, `SELECT received FROM events ORDER BY seq DESC LIMIT 1`)
	if err != nil {
		return err
	}
	if now.UnixNano() < newest {
		return database.ErrClockBehind
	}
	before := now.Add(-s.o.KeepAge)
	for after := int64(0); ; {
		old, err := s.oldest(ctx, after, before, sweepBytes)
		if err != nil || len(old) == 0 {
			return err
		}
		if err := s.deleteEvents(ctx, old); err != nil {
			return err
		}
		after = old[len(old)-1]
	}
}

// sweepMany deletes the oldest events while the database is too big.
func (s *Store) sweepMany(ctx context.Context) error {
	for after := int64(0); ; {
		used, err := s.number(ctx, `SELECT `+usedBytes)
		if err != nil || used <= s.o.KeepSize {
			return err
		}
		old, err := s.oldest(ctx, after, database.FromNanos(1<<63-1), min(used-s.o.KeepSize, sweepBytes))
		if err != nil || len(old) == 0 {
			return err
		}
		if err := s.deleteEvents(ctx, old); err != nil {
			return err
		}
		after = old[len(old)-1]
	}
}

// oldest returns the finished events behind number after, in order of arrival:
// as many as have sweepRows rows or the given bytes together, one at least, none
// behind the first that arrived at before or later.
func (s *Store) oldest(ctx context.Context, after int64, before time.Time, bytes int64) ([]int64, error) {
	var found []int64
	err := s.read(ctx, func(c *database.Conn) error {
		var rows, size int64
		err := c.Query(func(r *sqlite3.Stmt) error {
			if arrived(r.ColumnText(3), r.ColumnInt64(1)) >= database.Nanos(before) || size >= bytes {
				return errEnough
			}
			if r.ColumnBool(2) {
				return nil
			}
			n, err := c.Number(rowsOfEvent, r.ColumnText(3))
			if err != nil {
				return err
			}
			if rows += n; rows > sweepRows && len(found) > 0 {
				return errEnough
			}
			size += r.ColumnInt64(4) + n*rowBytes
			found = append(found, r.ColumnInt64(0))
			return nil
		}, `SELECT seq, received, `+unfinished+`, id, length(body) FROM events WHERE seq > ? ORDER BY seq`, after)
		if err == errEnough {
			return nil
		}
		return err
	})
	return found, err
}

// arrived is when an event came here, by its id, a UUID of version 7 (RFC 9562,
// 5.7). A relay may have received it long before: it is not to go, and with it
// what tells that it comes once more, as soon as it is done.
func arrived(id string, received int64) int64 {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return received
	}
	seconds, nanos := u.Time().UnixTime()
	return max(received, time.Unix(seconds, nanos).UnixNano())
}

// rowsOfEvent counts what goes with an event, but for the short row of its arrival.
const rowsOfEvent = `
	SELECT 1 + (SELECT count(*) FROM runs WHERE event = ?1)
		+ (SELECT count(*) FROM steps WHERE run IN (SELECT seq FROM runs WHERE event = ?1))
		+ (SELECT count(*) FROM output WHERE run IN (SELECT seq FROM runs WHERE event = ?1))`

// unfinished is true of an event of which something is still to be done.
const unfinished = `EXISTS (SELECT 1 FROM runs WHERE event = events.id AND state IN ('queued', 'running'))`

// deleteEvents deletes events and all that belongs to them in one commit, but
// for those that have an unfinished run by now: a person may have retried one.
func (s *Store) deleteEvents(ctx context.Context, seqs []int64) error {
	return s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		for _, seq := range seqs {
			if err := c.Exec(`DELETE FROM events WHERE seq = ? AND NOT `+unfinished, seq); err != nil {
				return err
			}
		}
		return nil
	}})
}

// vacuum gives free pages back to the disk, but for those that the next events
// will want: all of them while the disk is short.
func (s *Store) vacuum(ctx context.Context) error {
	for {
		free, err := s.number(ctx, `PRAGMA freelist_count`)
		if err != nil {
			return err
		}
		pages, err := s.number(ctx, `PRAGMA page_count`)
		if err != nil {
			return err
		}
		spare := max(pages/spareShare, sparePages)
		if s.Health() != nil {
			spare = 0
		}
		if free <= spare {
			return nil
		}
		err = s.write(ctx, database.Write{Do: func(c *database.Conn) error {
			return c.Query(func(*sqlite3.Stmt) error { return nil }, fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, vacuumPages))
		}})
		if err != nil {
			return err
		}
	}
}

// number reads one number from the database.
func (s *Store) number(ctx context.Context, sql string) (n int64, err error) {
	err = s.read(ctx, func(c *database.Conn) error {
		n, err = c.Number(sql)
		return err
	})
	return n, err
}
