package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
)

// How what is kept stays within its bounds.
const (
	sweepInterval = time.Minute
	sweepRows     = 1000    // deliveries that one commit deletes
	sweepBytes    = 4 << 20 // bytes that one commit deletes, reached by its last delivery
	vacuumPages   = 256     // pages that one commit gives back to the disk, 2 MB
	spareShare    = 4       // a quarter of the file may be free pages, for the next webhooks
	sparePages    = 1024    // and so many in any case
)

// usedBytes asks how much of the database is in use, the log of writes left out.
const usedBytes = `
	SELECT (p.page_count - f.freelist_count) * z.page_size
	FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size z`

// waiting is true of a delivery d that the relay itself is still to send.
const waiting = `(NOT d.internal AND EXISTS (SELECT 1 FROM fates f WHERE f.seq = d.seq AND f.status = 'preparing' AND f.next != 0))`

// sweepEvery sweeps every minute until ctx ends. It reads beside the writer and
// only its deletions, in small pieces, go through the queue.
func (s *Store) sweepEvery(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	var clock clockWatch
	clock.look(s.o.hooks.Now(), time.Now()) // the first tells nothing
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.sweep(ctx, clock.look(s.o.hooks.Now(), time.Now()))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			told = ""
		case err.Error() != told: // not every minute the same
			told = err.Error()
			s.o.Log.Warn("deletion of old webhooks put off", "err", err)
		}
	}
}

// sweep deletes what is too old, unless clock tells against it, then the oldest
// of what is too much, and gives free pages back.
func (s *Store) sweep(ctx context.Context, clock error) error {
	if clock == nil {
		clock = s.sweepOld(ctx)
	}
	return errors.Join(clock, s.sweepMany(ctx, false), s.sweepMany(ctx, true), s.vacuum(ctx))
}

// sweepOld deletes by age, and forgets the consumers that were away for long. Age
// by the clock and order of arrival have to agree: it ends at the first delivery
// that is young enough, and does nothing while the clock is behind the newest.
func (s *Store) sweepOld(ctx context.Context) error {
	now := s.o.hooks.Now()
	newest, err := s.number(ctx, `SELECT received FROM deliveries WHERE seq = (SELECT max(seq) FROM deliveries)`)
	if err != nil {
		return err
	}
	if now.UnixNano() < newest {
		return errClockBehind
	}
	age := time.Duration(s.keepAge.Load())
	for o := (old{before: now.Add(-age).UnixNano(), bytes: sweepBytes, waiting: true}); ; {
		found, err := s.oldest(ctx, o)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return s.forgetAbsent(ctx, now, now.Add(-max(age, minForget)))
		}
		if err := s.remove(ctx, found, o.waiting, reasonAge); err != nil {
			return err
		}
		o.after = found[len(found)-1].seq
	}
}

// sweepMany deletes the oldest deliveries while the database is too big: those
// that wait to be sent only where waiting is set.
func (s *Store) sweepMany(ctx context.Context, waiting bool) error {
	for o := (old{before: math.MaxInt64, waiting: waiting}); ; {
		used, err := s.number(ctx, usedBytes)
		if err != nil {
			return err
		}
		excess := used - s.keepSize.Load()
		if excess <= 0 {
			return nil
		}
		o.bytes = min(excess, sweepBytes)
		found, err := s.oldest(ctx, o)
		if err != nil || len(found) == 0 {
			return err
		}
		if err := s.remove(ctx, found, waiting, reasonSize); err != nil {
			return err
		}
		o.after = found[len(found)-1].seq
	}
}

// old says which of the oldest deliveries are to go.
type old struct {
	after   int64 // seq
	before  int64 // none behind the first that was received then or later
	bytes   int64 // that they have together, or reach with the last; one in any case
	waiting bool  // those too that the relay itself is still to send
}

// doomed is a delivery that is to be deleted.
type doomed struct {
	seq      int64
	bucket   string
	internal bool
	received int64
	waiting  bool
}

func (s *Store) oldest(ctx context.Context, o old) ([]doomed, error) {
	var found []doomed
	err := s.db.Read(ctx, func(c *database.Conn) error {
		size := int64(0)
		err := c.Query(func(r *sqlite3.Stmt) error {
			d := doomed{r.ColumnInt64(0), r.ColumnText(1), r.ColumnBool(2), r.ColumnInt64(3), r.ColumnBool(4)}
			if d.received >= o.before || size >= o.bytes || len(found) == sweepRows {
				return errEnough
			}
			if d.waiting && !o.waiting {
				return nil
			}
			size += rowBytes + r.ColumnInt64(5)
			found = append(found, d)
			return nil
		}, `SELECT d.seq, d.bucket_id, d.internal, d.received, `+waiting+`,
			length(d.body) + coalesce((SELECT length(f.answer) FROM fates f WHERE f.seq = d.seq), 0)
			FROM deliveries d NOT INDEXED WHERE d.seq > ? ORDER BY d.seq`, o.after)
		if err == errEnough {
			return nil
		}
		return err
	})
	return found, err
}

// remove deletes deliveries in one commit, which notes with what reason they were
// taken from whom; "": nobody was to get them any more. Those that wait to be sent
// by now stay unless waiting is set.
func (s *Store) remove(ctx context.Context, found []doomed, waiting bool, reason string) error {
	var gone []doomed
	var lost map[string]int64
	err := s.db.Write(ctx, database.Write{Do: func(c *database.Conn) (err error) {
		if gone, err = deleteRows(c, found, waiting); err != nil || reason == "" {
			return err
		}
		lost, err = noteGaps(c, gone, reason)
		return err
	}})
	if err != nil {
		return err
	}
	if unsent := countWaiting(gone); unsent > 0 && reason != "" {
		s.o.Log.Warn("webhooks deleted before they could be sent", "count", unsent, "reason", reason)
	}
	for bucket, n := range lost {
		s.o.Log.Warn("webhooks deleted before they were acknowledged", "bucket", bucket, "count", n, "reason", reason)
		if s.o.Dropped != nil {
			s.o.Dropped(bucket, n)
		}
	}
	return nil
}

// deleteRows returns which of them there were to delete.
func deleteRows(c *database.Conn, found []doomed, evenWaiting bool) ([]doomed, error) {
	gone := make([]doomed, 0, len(found))
	for _, d := range found {
		if err := c.Exec(`DELETE FROM deliveries AS d WHERE seq = ? AND (? OR NOT `+waiting+`)`, d.seq, evenWaiting); err != nil {
			return nil, err
		}
		if c.Changes() > 0 {
			gone = append(gone, d)
		}
	}
	return gone, c.Exec(`UPDATE meta SET value = value + ? WHERE key = 'deleted'`, len(gone))
}

func countWaiting(ds []doomed) int {
	n := 0
	for _, d := range ds {
		if d.waiting {
			n++
		}
	}
	return n
}

// vacuum gives free pages back to the disk, but for those that the next webhooks
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
		err = s.db.Write(ctx, database.Write{Do: func(c *database.Conn) error {
			return c.Query(func(*sqlite3.Stmt) error { return nil }, fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, vacuumPages))
		}})
		if err != nil {
			return err
		}
	}
}
