package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// maxPassed bounds how many deliveries of a bucket are passed over in one look:
// those of other outputs, and those that another question has pulled.
const maxPassed = 10_000

// Pull hands out deliveries that were not pulled yet, the oldest first, for
// subscribers and public ones alike. Each is handed out once, whoever asks: that
// is on disk before Pull returns, so one that a crash keeps from the caller is
// not handed out again. more tells that there may be others. Their bodies and
// answers are bounded (16 MiB, but for a single longer one).
//
// Where order of arrival and time of receipt disagree, as after the clock was
// set, some that were received soon after Since may be passed over.
func (s *Store) Pull(ctx context.Context, p account.Pull) (logs []*account.Log, more bool, err error) {
	for more = true; more && len(logs) == 0; {
		if logs, more, err = s.pullSome(ctx, p); err != nil {
			return nil, false, fmt.Errorf("pull deliveries: %w", err)
		}
	}
	return logs, more, nil
}

// pullSome passes over maxPassed on each way at most, and notes that: it may hand
// out nothing although there is more.
func (s *Store) pullSome(ctx context.Context, p account.Pull) (logs []*account.Log, more bool, err error) {
	select {
	case s.pulling <- struct{}{}:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	defer func() { <-s.pulling }()

	var ways []way
	err = s.db.Read(ctx, func(c *database.Conn) error {
		logs, ways, more, err = pull(c, p)
		return err
	})
	if err != nil || len(ways) == 0 {
		return nil, false, err
	}
	err = s.write(ctx, database.Write{Do: func(c *database.Conn) error { return markPulled(c, logs, ways) }})
	if err != nil {
		return nil, false, fmt.Errorf("mark them: %w", err)
	}
	return logs, more, nil
}

// way is what a question reads through: the deliveries of one kind in a bucket.
type way struct {
	bucket   string
	internal bool
	output   string // "": any
	since    int64  // all that were received then or later
	upto     int64  // and have a seq of at most this were handed out

	found []int64 // beyond, not handed out yet
	last  int64   // the last that was looked at; 0: none
	cut   bool    // there may be more behind last
}

// pull finds what to hand out, and how far each way is gone then; only those
// ways on which there was anything new.
func pull(c *database.Conn, p account.Pull) (logs []*account.Log, ways []way, more bool, err error) {
	buckets, _, err := bucketsOr(c, p.BucketIDs, math.MaxInt)
	if err != nil {
		return nil, nil, false, err
	}
	limit := min(cmp.Or(max(p.Limit, 0), account.DefaultLimit), account.MaxLimit)
	var found []int64
	for _, bucket := range buckets {
		for _, internal := range []bool{false, true} {
			w := way{bucket: bucket, internal: internal, output: p.OutputID}
			if err := w.look(c, database.Nanos(p.Since), limit); err != nil {
				return nil, nil, false, err
			}
			if w.last != 0 {
				ways, found, more = append(ways, w), append(found, w.found...), more || w.cut
			}
		}
	}
	slices.Sort(found)
	if logs, err = readPage(c, found[:min(limit, len(found))]); err != nil {
		return nil, nil, false, err
	}
	if n := len(logs); n < len(found) {
		more = true
		for i := range ways {
			ways[i].stopBefore(found[n])
		}
	}
	return logs, ways, more, nil
}

// stopBefore leaves what is not handed out now for the next time.
func (w *way) stopBefore(seq int64) {
	i, _ := slices.BinarySearch(w.found, seq)
	if i < len(w.found) {
		w.last = w.found[i] - 1
	}
}

// look finds the first deliveries that were not pulled yet.
func (w *way) look(c *database.Conn, since int64, limit int) error {
	known, err := w.load(c)
	if err != nil {
		return err
	}
	if !known || since < w.since {
		w.since, w.upto = since, 0
	}
	first, received, err := w.at(c, w.upto+1)
	if err != nil || first == 0 {
		return err
	}
	if received < since {
		w.since = since // what is older is passed over
		if first, err = w.search(c, first, since); err != nil {
			return err
		}
	}
	return w.scan(c, first, since, limit)
}

// load reads how far the question got before.
func (w *way) load(c *database.Conn) (known bool, err error) {
	err = c.Query(func(r *sqlite3.Stmt) error {
		known, w.since, w.upto = true, r.ColumnInt64(0), r.ColumnInt64(1)
		return nil
	}, `SELECT since, upto FROM pulls WHERE bucket_id = ? AND internal = ? AND output_id = ?`, w.bucket, w.internal, w.output)
	return known, err
}

// at returns the first delivery with a seq of at least this, 0 where there is none.
func (w *way) at(c *database.Conn, seq int64) (first, received int64, err error) {
	err = c.Query(func(r *sqlite3.Stmt) error {
		first, received = r.ColumnInt64(0), r.ColumnInt64(1)
		return nil
	}, `SELECT seq, received FROM deliveries INDEXED BY deliveries_bucket
		WHERE bucket_id = ? AND internal = ? AND seq >= ? ORDER BY seq LIMIT 1`, w.bucket, w.internal, seq)
	return first, received, err
}

// search returns a seq from which on deliveries were received since then, by
// halves: the one at low was not.
func (w *way) search(c *database.Conn, low, since int64) (int64, error) {
	high, err := c.Number(lastSeq)
	if err != nil {
		return 0, err
	}
	for high++; high-low > 1; {
		mid := low + (high-low)/2
		seq, received, err := w.at(c, mid)
		if err != nil {
			return 0, err
		}
		if seq == 0 || received >= since {
			high = mid
		} else {
			low = seq
		}
	}
	return high, nil
}

func (w *way) scan(c *database.Conn, first, since int64, limit int) error {
	passed := 0
	err := c.Query(func(r *sqlite3.Stmt) error {
		w.last = r.ColumnInt64(0)
		if r.ColumnInt64(1) < since {
			w.since = since
		}
		if r.ColumnInt64(1) >= since && !r.ColumnBool(2) {
			w.found = append(w.found, w.last)
		} else {
			passed++
		}
		if w.cut = len(w.found) > limit || passed == maxPassed; w.cut {
			return errEnough
		}
		return nil
	}, `SELECT d.seq, d.received, EXISTS (SELECT 1 FROM pulled p WHERE p.seq = d.seq) OR ?1 != '' AND d.output_id != ?1
		FROM deliveries d INDEXED BY deliveries_bucket
		WHERE d.bucket_id = ?2 AND d.internal = ?3 AND d.seq >= ?4 ORDER BY d.seq`, w.output, w.bucket, w.internal, first)
	if err == errEnough {
		return nil
	}
	return err
}

func markPulled(c *database.Conn, logs []*account.Log, ways []way) error {
	for _, l := range logs { // retention may have come first
		if err := c.Exec(`INSERT OR IGNORE INTO pulled(seq) SELECT seq FROM deliveries WHERE seq = ?`, l.Seq); err != nil {
			return err
		}
	}
	for _, w := range ways {
		err := c.Exec(`INSERT OR REPLACE INTO pulls(bucket_id, internal, output_id, since, upto) VALUES(?, ?, ?, ?, ?)`,
			w.bucket, w.internal, w.output, w.since, w.last)
		if err != nil {
			return err
		}
	}
	return nil
}
