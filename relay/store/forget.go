package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// When a consumer is forgotten.
const (
	minForget = 7 * 24 * time.Hour // it was away for longer, or for longer than deliveries are kept
	backAgain = time.Hour          // and did not come for so long after the relay was started
)

// forgetAbsent forgets the consumers that were not here since then, and what they
// were to be told: unless it was the relay that was away.
func (s *Store) forgetAbsent(ctx context.Context, now, since time.Time) error {
	if now.Sub(s.opened) < backAgain {
		return nil
	}
	absent := 0
	err := s.db.Read(ctx, func(c *database.Conn) error {
		n, err := c.Number(`SELECT count(*) FROM consumers WHERE seen < ?`, since)
		absent = int(n)
		return err
	})
	if err != nil || absent == 0 {
		return err
	}
	var gone []account.Consumer
	err = s.write(ctx, database.Write{Do: func(c *database.Conn) (err error) {
		if gone, err = readConsumers(c, consumerColumns+`WHERE seen < ?`, since); err != nil {
			return err
		}
		for _, u := range gone {
			if err := c.Exec(`DELETE FROM consumers WHERE bucket_id = ? AND name = ?`, u.BucketID, u.Name); err != nil {
				return err
			}
			if err := c.Exec(`DELETE FROM gaps WHERE bucket_id = ? AND consumer = ?`, u.BucketID, u.Name); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	for _, u := range gone {
		s.o.Log.Info("consumer forgotten: it was away for too long", "consumer", u.Name, "bucket", u.BucketID, "seen", u.Seen)
	}
	return nil
}

// ForgetBucket deletes all deliveries that a bucket has, the positions of its
// consumers and their gaps. It goes in pieces that do not stop others; one that
// was ended by ctx can be begun again.
func (s *Store) ForgetBucket(ctx context.Context, bucketID string) error {
	last, err := s.number(ctx, lastSeq) // more may come meanwhile
	if err != nil {
		return fmt.Errorf("forget bucket %s: %w", bucketID, err)
	}
	for _, internal := range []bool{false, true} {
		if err := s.removeBucket(ctx, bucketID, internal, last); err != nil {
			return fmt.Errorf("forget bucket %s: %w", bucketID, err)
		}
	}
	err = s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		for _, sql := range []string{
			`DELETE FROM consumers WHERE bucket_id = ?`,
			`DELETE FROM gaps WHERE bucket_id = ?`,
			`DELETE FROM pulls WHERE bucket_id = ?`,
		} {
			if err := c.Exec(sql, bucketID); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("forget bucket %s: %w", bucketID, err)
	}
	return nil
}

// removeBucket deletes a bucket's deliveries of one kind up to a seq.
func (s *Store) removeBucket(ctx context.Context, bucket string, internal bool, last int64) error {
	for {
		var found []doomed
		err := s.db.Read(ctx, func(c *database.Conn) error {
			size := int64(0)
			err := c.Query(func(r *sqlite3.Stmt) error {
				if size >= sweepBytes {
					return errEnough
				}
				size += rowBytes + r.ColumnInt64(1)
				found = append(found, doomed{seq: r.ColumnInt64(0)})
				return nil
			}, `SELECT seq, length(body) FROM deliveries INDEXED BY deliveries_bucket
				WHERE bucket_id = ? AND internal = ? AND seq <= ? ORDER BY seq LIMIT ?`, bucket, internal, last, sweepRows)
			if err == errEnough {
				return nil
			}
			return err
		})
		if err != nil || len(found) == 0 {
			return err
		}
		if err := s.remove(ctx, found, true, nil); err != nil {
			return err
		}
	}
}
