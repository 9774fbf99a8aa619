package store

import (
	"context"
	"errors"
	"fmt"
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

// sweepEvery sweeps every minute until ctx ends, and by size whenever much has
// come. It reads beside the writer and only its deletions, in small pieces, go
// through the queue.
func (s *Store) sweepEvery(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	var clock database.ClockWatch
	clock.Look(s.o.hooks.Now(), time.Now()) // the first tells nothing
	told := ""
	for {
		var err error
		all := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			all = true
			err = s.sweep(ctx, clock.Look(s.o.hooks.Now(), time.Now()))
		case <-s.room.crowded:
			err = s.sweepSize(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && all:
			told = ""
		case err != nil && err.Error() != told: // not every minute the same
			told = err.Error()
			s.o.Log.Warn("deletion of old webhooks put off", "err", err)
		}
	}
}

// sweep deletes what is too old, unless clock tells against it, then what is too
// much, and gives free pages back.
func (s *Store) sweep(ctx context.Context, clock error) error {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	if clock == nil {
		clock = s.sweepOld(ctx)
	}
	return errors.Join(clock, s.sweepMuch(ctx))
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
		return database.ErrClockBehind
	}
	age := time.Duration(s.keepAge.Load())
	t := toll{reason: reasonAge, lost: map[string]int64{}}
	defer s.tell(&t)
	for o := (old{before: now.Add(-age).UnixNano(), bytes: sweepBytes, waiting: true}); ; {
		found, err := s.oldest(ctx, o)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return s.forgetAbsent(ctx, now, now.Add(-max(age, minForget)))
		}
		if err := s.remove(ctx, found, o.waiting, &t); err != nil {
			return err
		}
		o.after = found[len(found)-1].seq
	}
}

// old says which of the oldest deliveries are to go.
type old struct {
	bucket  *string // of this one; nil: of all
	after   int64   // seq
	before  int64   // none behind the first that was received then or later
	bytes   int64   // that they have together, or reach with the last; one in any case
	waiting bool    // those too that the relay itself is still to send
}

// doomed is a delivery that is to be deleted.
type doomed struct {
	seq      int64
	bucket   string
	internal bool
	received int64
	waiting  bool
}

// The ways to find the oldest.
const (
	oldestOfAll = `SELECT ` + doomedColumns + ` FROM deliveries d NOT INDEXED WHERE d.seq > ?1 ORDER BY d.seq`
	oldestOfOne = `
		SELECT ` + doomedColumns + ` FROM deliveries d INDEXED BY deliveries_bucket
			WHERE d.bucket_id = ?2 AND d.internal = 0 AND d.seq > ?1
		UNION ALL
		SELECT ` + doomedColumns + ` FROM deliveries d INDEXED BY deliveries_bucket
			WHERE d.bucket_id = ?2 AND d.internal = 1 AND d.seq > ?1
		ORDER BY 1`
	doomedColumns = `d.seq, d.bucket_id, d.internal, d.received, ` + waiting + `, ` + rowOctets + ` + ` + fateOctets
)

func (s *Store) oldest(ctx context.Context, o old) ([]doomed, error) {
	sql, args := oldestOfAll, []any{o.after}
	if o.bucket != nil {
		sql, args = oldestOfOne, []any{o.after, *o.bucket}
	}
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
		}, sql, args...)
		if err == errEnough {
			return nil
		}
		return err
	})
	return found, err
}

// toll is what a sweep took from somebody.
type toll struct {
	reason string
	unsent int              // deliveries that the relay itself was still to send
	lost   map[string]int64 // by bucket: that somebody had not acknowledged
}

// tell logs a toll: once for a sweep, which may have many pieces.
func (s *Store) tell(t *toll) {
	if t.unsent > 0 {
		s.o.Log.Warn("webhooks deleted before they could be sent", "count", t.unsent, "reason", t.reason)
	}
	for bucket, n := range t.lost {
		s.o.Log.Warn("webhooks deleted before they were acknowledged", "bucket", bucket, "count", n, "reason", t.reason)
	}
}

// remove deletes deliveries in one commit, which notes with what reason they were
// taken from whom, and adds that to the toll; nil: nobody was to get them any
// more. Those that wait to be sent by now stay unless waiting is set.
func (s *Store) remove(ctx context.Context, found []doomed, waiting bool, t *toll) error {
	gone, lost, err := s.delete(ctx, found, waiting, t)
	if err != nil || t == nil {
		return err
	}
	t.unsent += countWaiting(gone)
	for bucket, n := range lost {
		t.lost[bucket] += n
		if s.o.Dropped != nil {
			s.o.Dropped(bucket, n)
		}
	}
	return nil
}

// delete returns what it deleted, and by bucket how many of them somebody was
// still to get.
func (s *Store) delete(ctx context.Context, found []doomed, waiting bool, t *toll) (gone []doomed, lost map[string]int64, err error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	err = s.write(ctx, database.Write{Do: func(c *database.Conn) (err error) {
		if gone, err = deleteRows(c, found, waiting); err != nil || t == nil {
			return err
		}
		lost, err = noteGaps(c, gone, t.reason)
		return err
	}})
	return gone, lost, err
}

// deleteRows returns which of them there were to delete.
func deleteRows(c *database.Conn, found []doomed, evenWaiting bool) ([]doomed, error) {
	gone := make([]doomed, 0, len(found))
	upto, err := c.Number(counted)
	if err != nil {
		return nil, err
	}
	bytes := map[string]int64{} // by bucket
	for _, d := range found {
		there, size := false, int64(0)
		err := c.Query(func(r *sqlite3.Stmt) error {
			there, d.bucket, d.waiting, size = true, r.ColumnText(0), r.ColumnBool(1), r.ColumnInt64(2)
			if d.seq <= upto {
				size += rowBytes + r.ColumnInt64(3)
			}
			return nil
		}, `SELECT d.bucket_id, `+waiting+`, `+fateOctets+`, `+rowOctets+` FROM deliveries d WHERE d.seq = ?`, d.seq)
		if err != nil {
			return nil, err
		}
		if !there || d.waiting && !evenWaiting {
			continue
		}
		if err := c.Exec(`DELETE FROM deliveries WHERE seq = ?`, d.seq); err != nil {
			return nil, err
		}
		gone = append(gone, d)
		bytes[d.bucket] += size
	}
	for bucket, n := range bytes {
		if err := grow(c, bucket, -n); err != nil {
			return nil, err
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
// will want: all of them while the disk is short. It ends where another sweep is
// called for.
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
		if free <= spare || len(s.room.crowded) > 0 {
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
