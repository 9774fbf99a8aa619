package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Reject implements engine.Store.
func (s *Store) Reject(ctx context.Context, r engine.Rejection) error {
	names := make(map[string][]string, len(r.Headers))
	for _, name := range r.Headers {
		names[name] = nil
	}
	headers := encodeLists(names)
	err := s.write(ctx, database.Write{Intake: true, Size: rowBytes + len(headers), Do: func(c *database.Conn) error {
		err := c.Exec(`
			INSERT INTO rejections(id, received, source, remote, bucket, method, path, headers, size, reason, likely)
			VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.ID, r.Received, r.Source, r.Remote, r.Bucket, r.Method, r.Path, headers, int64(r.Size), r.Reason, r.Likely)
		if err != nil {
			return err
		}
		return c.Exec(`DELETE FROM rejections WHERE seq <= ?`, c.LastInsertRowID()-engine.MaxRejections)
	}})
	if err != nil {
		return fmt.Errorf("keep rejection %s: %w", r.ID, err)
	}
	return nil
}

// Rejections implements engine.Store.
func (s reads) Rejections(ctx context.Context, f engine.RejectionFilter) ([]engine.Rejection, error) {
	var found []engine.Rejection
	err := s.lend(ctx, func(c *database.Conn) error {
		found = nil
		return c.Query(func(r *sqlite3.Stmt) error {
			one, err := scanRejection(r)
			found = append(found, one)
			return err
		}, `
			SELECT id, received, source, remote, bucket, method, path, headers, size, reason, likely FROM rejections
			WHERE (?1 = '' OR bucket = ?1) AND received >= ?2 ORDER BY seq DESC LIMIT ?3`,
			f.Bucket, f.Since, int64(cmp.Or(f.Limit, engine.MaxRejections)))
	})
	if err != nil {
		return nil, fmt.Errorf("list rejections: %w", err)
	}
	return found, nil
}

func scanRejection(r *sqlite3.Stmt) (engine.Rejection, error) {
	headers, err := decodeLists(r.ColumnRawText(7))
	if err != nil {
		return engine.Rejection{}, fmt.Errorf("decode header: %w", err)
	}
	one := engine.Rejection{
		ID:       r.ColumnText(0),
		Received: database.FromNanos(r.ColumnInt64(1)),
		Source:   r.ColumnText(2),
		Remote:   r.ColumnText(3),
		Bucket:   r.ColumnText(4),
		Method:   r.ColumnText(5),
		Path:     r.ColumnText(6),
		Size:     r.ColumnInt(8),
		Reason:   r.ColumnText(9),
		Likely:   r.ColumnText(10),
	}
	for name := range headers {
		one.Headers = append(one.Headers, name)
	}
	slices.Sort(one.Headers)
	return one, nil
}
