package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

var errAbove = errors.New("acknowledged numbers are not as they were written")

const consumerColumns = `SELECT bucket_id, name, grouped, acked, above, seen FROM consumers `

// readConsumers reads what a query that begins with consumerColumns gives.
func readConsumers(c *database.Conn, sql string, args ...any) ([]account.Consumer, error) {
	var all []account.Consumer
	err := c.Query(func(r *sqlite3.Stmt) error {
		var u account.Consumer
		var above []byte
		database.Scan(r, 0, []any{&u.BucketID, &u.Name, &u.Group, &u.Acked, &above, &u.Seen})
		var err error
		if u.Above, err = decodeAbove(above, u.Acked); err != nil {
			return fmt.Errorf("consumer %s: %w", u.Name, err)
		}
		all = append(all, u)
		return nil
	}, sql, args...)
	return all, err
}

// Consumers returns all that were saved, one for each name and bucket.
func (s *Store) Consumers(ctx context.Context) ([]account.Consumer, error) {
	var all []account.Consumer
	err := s.db.Read(ctx, func(c *database.Conn) (err error) {
		all, err = readConsumers(c, consumerColumns+`ORDER BY bucket_id, name`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read consumers: %w", err)
	}
	return all, nil
}

// SaveConsumers keeps the positions of consumers, in one transaction. A position
// never goes back: the greater Acked stays, what was acknowledged above it stays
// so, and Seen is the later one. Who has no Seen is taken to be here now.
func (s *Store) SaveConsumers(ctx context.Context, cs []account.Consumer) error {
	now := s.o.hooks.Now()
	err := s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		for _, u := range cs {
			if u.Seen.IsZero() {
				u.Seen = now
			}
			if err := saveConsumer(c, u); err != nil {
				return fmt.Errorf("consumer %s: %w", u.Name, err)
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("save consumers: %w", err)
	}
	return nil
}

func saveConsumer(c *database.Conn, u account.Consumer) error {
	before, err := readConsumers(c, consumerColumns+`WHERE bucket_id = ? AND name = ?`, u.BucketID, u.Name)
	if err != nil {
		return err
	}
	for _, b := range before { // one at most
		u.Acked = max(u.Acked, b.Acked)
		u.Above = slices.Concat(u.Above, b.Above)
		if b.Seen.After(u.Seen) {
			u.Seen = b.Seen
		}
	}
	return putConsumer(c, u)
}

func putConsumer(c *database.Conn, u account.Consumer) error {
	return c.Exec(`INSERT OR REPLACE INTO consumers(bucket_id, name, grouped, acked, above, seen) VALUES(?, ?, ?, ?, ?, ?)`,
		u.BucketID, u.Name, u.Group, u.Acked, encodeAbove(u.Above, u.Acked), u.Seen)
}

// ForgetConsumer forgets the positions and gaps of a name.
func (s *Store) ForgetConsumer(ctx context.Context, name string) error {
	err := s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		if err := c.Exec(`DELETE FROM consumers WHERE name = ?`, name); err != nil {
			return err
		}
		return c.Exec(`DELETE FROM gaps WHERE consumer = ?`, name)
	}})
	if err != nil {
		return fmt.Errorf("forget consumer %s: %w", name, err)
	}
	return nil
}

// Gaps returns what retention took from a consumer, the oldest first.
func (s *Store) Gaps(ctx context.Context, consumer string) ([]account.Gap, error) {
	var gaps []account.Gap
	err := s.db.Read(ctx, func(c *database.Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			var g account.Gap
			database.Scan(r, 0, []any{&g.Consumer, &g.BucketID, &g.Count, &g.From, &g.To, &g.Reason})
			gaps = append(gaps, g)
			return nil
		}, `SELECT consumer, bucket_id, missed, oldest, newest, reason FROM gaps
			WHERE consumer = ? ORDER BY oldest, bucket_id, reason`, consumer)
	})
	if err != nil {
		return nil, fmt.Errorf("read gaps of consumer %s: %w", consumer, err)
	}
	return gaps, nil
}

// ForgetGaps forgets gaps as Gaps returned them. What was added to one since then
// stays.
func (s *Store) ForgetGaps(ctx context.Context, gaps []account.Gap) error {
	err := s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		for _, g := range gaps {
			// One that began later is another one: this was forgotten before.
			err := c.Exec(`UPDATE gaps SET missed = missed - ?1, oldest = max(oldest, ?2)
				WHERE consumer = ?3 AND bucket_id = ?4 AND reason = ?5 AND oldest <= ?6`,
				g.Count, g.To, g.Consumer, g.BucketID, g.Reason, g.From)
			if err != nil {
				return err
			}
		}
		return c.Exec(`DELETE FROM gaps WHERE missed <= 0`)
	}})
	if err != nil {
		return fmt.Errorf("forget gaps: %w", err)
	}
	return nil
}

// widenGap goes on from an INSERT into gaps where there is one for that reason.
const widenGap = `
	ON CONFLICT(consumer, bucket_id, reason) DO UPDATE SET missed = missed + excluded.missed,
		oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)`

// addGap adds to the gap that a consumer has in a bucket for that reason, if any.
func addGap(c *database.Conn, g account.Gap) error {
	return c.Exec(`INSERT INTO gaps(consumer, bucket_id, reason, missed, oldest, newest) VALUES(?, ?, ?, ?, ?, ?)`+widenGap,
		g.Consumer, g.BucketID, g.Reason, g.Count, g.From, g.To)
}

// addGapToAll adds one gap to those of all consumers of its bucket that have
// acknowledged nothing from a seq on, nor anything above their position. It
// returns how many there are.
func addGapToAll(c *database.Conn, g account.Gap, first int64) (int64, error) {
	err := c.Exec(`
		INSERT INTO gaps(consumer, bucket_id, reason, missed, oldest, newest)
		SELECT name, bucket_id, ?1, ?2, ?3, ?4 FROM consumers WHERE bucket_id = ?5 AND acked < ?6 AND above = x''`+widenGap,
		g.Reason, g.Count, g.From, g.To, g.BucketID, first)
	return c.Changes(), err
}

// encodeAbove writes the numbers above acked, each once.
func encodeAbove(above []int64, acked int64) []byte {
	above = slices.Clone(above)
	slices.Sort(above)
	var out []byte
	last := acked
	for _, seq := range above {
		if seq > last {
			out = binary.AppendUvarint(out, uint64(seq-last))
			last = seq
		}
	}
	return out
}

// decodeAbove is encodeAbove's other way; nil where there is none.
func decodeAbove(data []byte, acked int64) ([]int64, error) {
	var above []int64
	for r := (lists{data}); len(r.rest) > 0; {
		n, ok := r.number()
		if !ok {
			return nil, errAbove
		}
		acked += int64(n)
		above = append(above, acked)
	}
	return above, nil
}
