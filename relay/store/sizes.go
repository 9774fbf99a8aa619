package store

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
)

// What each bucket has stands in the table sizes, exactly: of its deliveries all
// up to the one that meta calls counted, and all of their fates. A fate is counted
// when it is written. Deliveries are counted afterwards, beside the writer, so
// that no webhook waits for it: they do not change. What is deleted is taken off
// in the same commit.

// Bounds and costs of counting.
const (
	rowBytes  = 1 << 10 // that a delivery is taken to hold beside what others can make long
	countRows = 10_000  // deliveries that are counted at once
)

// How long these are of a delivery d, and of its fate f.
const (
	rowOctets  = `octet_length(d.method) + octet_length(d.path) + octet_length(d.query) + octet_length(d.header) + octet_length(d.body)`
	fateOctets = `coalesce((SELECT octet_length(f.header) + octet_length(f.answer) FROM fates f WHERE f.seq = d.seq), 0)`
)

const counted = `SELECT value FROM meta WHERE key = 'counted'`

// bytes is what a delivery counts for, without its fate.
func (r *row) bytes() int64 {
	return rowBytes + int64(len(r.Method)+len(r.Path)+len(r.Query)+len(r.header)+len(r.Body))
}

func (f *fate) bytes() int64 { return int64(len(f.header) + len(f.Answer)) }

// count counts the deliveries that are new.
func (s *Store) count(ctx context.Context) error {
	for {
		n, err := s.countSome(ctx)
		if err != nil || n < countRows {
			return err
		}
	}
}

func (s *Store) countSome(ctx context.Context) (int, error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	n, last := 0, int64(0)
	buckets := map[string]int64{}
	err := s.db.Read(ctx, func(c *database.Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			n++
			last = r.ColumnInt64(0)
			buckets[r.ColumnText(1)] += rowBytes + r.ColumnInt64(2)
			return nil
		}, `SELECT d.seq, d.bucket_id, `+rowOctets+` FROM deliveries d NOT INDEXED
			WHERE d.seq > (`+counted+`) ORDER BY d.seq LIMIT ?`, countRows)
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		for bucket, bytes := range buckets {
			if err := grow(c, bucket, bytes); err != nil {
				return err
			}
		}
		return c.Exec(`UPDATE meta SET value = ? WHERE key = 'counted'`, last)
	}})
}

// grow counts what is new in a bucket, or gone where bytes is less than 0.
func grow(c *database.Conn, bucket string, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	err := c.Exec(`INSERT INTO sizes(bucket_id, bytes) VALUES(?, ?)
		ON CONFLICT(bucket_id) DO UPDATE SET bytes = bytes + excluded.bytes`, bucket, bytes)
	if err != nil || bytes > 0 {
		return err
	}
	return c.Exec(`DELETE FROM sizes WHERE bucket_id = ? AND bytes = 0`, bucket)
}

// bucketSize is what a bucket has.
type bucketSize struct {
	bucket string
	bytes  int64
}

// sizes returns it of all buckets that have anything.
func (s *Store) sizes(ctx context.Context) ([]bucketSize, error) {
	var all []bucketSize
	err := s.db.Read(ctx, func(c *database.Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			all = append(all, bucketSize{r.ColumnText(0), r.ColumnInt64(1)})
			return nil
		}, `SELECT bucket_id, bytes FROM sizes`)
	})
	return all, err
}
