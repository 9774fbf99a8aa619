package store

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// Accept keeps the deliveries of one webhook, all or none, and sets their Seq:
// greater than any before. It returns nil only when they are on disk; committed,
// which may be nil, is called before, in the order of Seq over all calls, and must
// be quick. The error wraps database.ErrUnavailable while the disk has no room.
// While more comes than can be deleted to keep within Options.KeepSize, it waits.
func (s *Store) Accept(ctx context.Context, ds []*account.Log, committed func()) error {
	rows := make([]row, len(ds))
	size := int64(0)
	for i, d := range ds {
		rows[i] = newRow(d)
		size += rows[i].bytes()
	}
	if err := s.room.enter(ctx, s.db.Ended()); err != nil {
		return fmt.Errorf("accept a webhook: wait for room: %w", err)
	}
	err := s.write(ctx, database.Write{Intake: true, Size: int(size), Committed: committed, Do: func(c *database.Conn) error {
		for i := range rows {
			if err := rows[i].insert(c); err != nil {
				return fmt.Errorf("delivery %s: %w", rows[i].ID, err)
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("accept a webhook: %w", err)
	}
	s.room.took(size, s.slack())
	return nil
}

// row is a delivery in the form of the tables, made by the caller's goroutine so
// that the writer's has less to do.
type row struct {
	*account.Log
	header []byte
	fate   *fate // nil: nothing became of it yet
}

func newRow(d *account.Log) row {
	r := row{Log: d, header: encodeHeader(d.Header)}
	if d.StatusCode != 0 || d.Answer != nil || d.AnswerHead != nil || d.Retries != 0 || d.Duration != 0 || !d.Next.IsZero() {
		r.fate = newFate(account.Update{
			Status: d.Status, StatusCode: d.StatusCode, Answer: d.Answer, AnswerHead: d.AnswerHead,
			Retries: d.Retries, Duration: d.Duration, Next: d.Next,
		}, database.Nanos(d.Updated))
	}
	return r
}

func (r *row) insert(c *database.Conn) error {
	err := c.Exec(`
		INSERT INTO deliveries(id, bucket_id, internal, received, status, updated, webhook_id, input_id, output_id,
			method, path, query, ip, resent, header, body)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.BucketID, r.Internal, r.Received, r.Status, r.Updated, r.WebhookID, r.InputID, r.OutputID,
		r.Method, r.Path, r.Query, r.IP, r.Resent, r.header, value(r.Body))
	if err != nil {
		return err
	}
	r.Seq = c.LastInsertRowID()
	if err := fill(c, "deliveries", "body", r.Seq, r.Body); err != nil || r.fate == nil {
		return err
	}
	_, err = r.fate.put(c, r.ID)
	return err
}

// value is what is written of bytes at first: a long value has its place kept,
// and fill writes it.
func value(data []byte) any {
	if len(data) >= longValue {
		return database.Zeros(len(data))
	}
	return data
}

func fill(c *database.Conn, table, column string, seq int64, data []byte) error {
	if len(data) < longValue {
		return nil
	}
	return c.WriteBlob(table, column, seq, data)
}

// Update notes what became of a delivery. The error wraps account.ErrNotFound
// where it is not kept any more. That there is no room for anything new does not
// hinder it.
func (s *Store) Update(ctx context.Context, id string, u account.Update) error {
	f := newFate(u, database.Nanos(s.o.hooks.Now()))
	err := s.write(ctx, database.Write{Size: rowBytes + int(f.bytes()), Do: func(c *database.Conn) error {
		found, err := f.put(c, id)
		if err == nil && !found {
			err = database.Refuse(account.ErrNotFound)
		}
		return err
	}})
	if err != nil {
		return fmt.Errorf("update delivery %s: %w", id, err)
	}
	s.room.took(f.bytes(), s.slack())
	return nil
}

// fate is an update in the form of the tables.
type fate struct {
	account.Update
	updated int64
	header  []byte
}

func newFate(u account.Update, updated int64) *fate {
	return &fate{u, updated, encodeHeader(u.AnswerHead)}
}

// put writes the fate of a delivery in place of what was there, and reports
// whether there is such a delivery.
func (f *fate) put(c *database.Conn, id string) (bool, error) {
	var seq, before int64
	bucket := ""
	err := c.Query(func(r *sqlite3.Stmt) error {
		seq, bucket, before = r.ColumnInt64(0), r.ColumnText(1), r.ColumnInt64(2)
		return nil
	}, `SELECT d.seq, d.bucket_id, `+fateOctets+` FROM deliveries d WHERE d.id = ?`, id)
	if err != nil || seq == 0 {
		return false, err
	}
	if err := grow(c, bucket, f.bytes()-before); err != nil {
		return false, err
	}
	err = c.Exec(`
		INSERT OR REPLACE INTO fates(seq, status, updated, status_code, retries, duration, next, header, answer)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, f.Status, f.updated, f.StatusCode, f.Retries, int64(f.Duration), f.Next, f.header, value(f.Answer))
	if err != nil {
		return false, err
	}
	return true, fill(c, "fates", "answer", seq, f.Answer)
}
