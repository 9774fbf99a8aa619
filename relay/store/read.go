package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// lastSeq asks for the greatest seq ever given.
const lastSeq = `SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'`

// What is read of a delivery, in the order of scanLog. The last three are of the
// answer. ?1 is longValue: readLogs sets it and reads long values itself.
const (
	logHead = `
		SELECT d.seq, d.id, d.webhook_id, d.bucket_id, d.input_id, d.output_id, d.internal, d.received,
			d.method, d.path, d.query, d.ip, d.resent, d.header, length(d.body), `
	logFate = `
			coalesce(f.status, d.status), coalesce(f.updated, d.updated), f.status_code, f.retries, f.duration, f.next, `
	withBody      = `length(d.body), iif(length(d.body) < ?1, d.body, NULL), `
	withoutBody   = `0, NULL, `
	withAnswer    = `f.header, length(f.answer), iif(length(f.answer) < ?1, f.answer, NULL) `
	withoutAnswer = `NULL, 0, NULL `
	logTables     = `FROM deliveries d LEFT JOIN fates f ON f.seq = d.seq `

	logColumns = logHead + withBody + logFate

	logByID  = logColumns + withAnswer + logTables + `WHERE d.id = ?2`
	logBySeq = logColumns + withAnswer + logTables + `WHERE d.seq = ?2`
)

// readLogs reads the deliveries that a query gives, in its order, until their
// bodies and answers have maxBytes together or reached it with the last: one is
// read in any case. cut reports whether that left some out.
func readLogs(c *database.Conn, maxBytes int, sql string, args ...any) (logs []*account.Log, cut bool, err error) {
	var long []longValues
	bytes := 0
	err = c.Query(func(r *sqlite3.Stmt) error {
		l, v, err := scanLog(r)
		if err != nil {
			return err
		}
		if len(logs) > 0 && bytes+v.body+v.answer > maxBytes {
			cut = true
			return errEnough
		}
		bytes += v.body + v.answer
		logs, long = append(logs, l), append(long, v)
		return nil
	}, sql, append([]any{longValue}, args...)...)
	if err != nil && err != errEnough {
		return nil, false, err
	}
	for i, l := range logs {
		if err := long[i].read(c, l); err != nil {
			return nil, false, fmt.Errorf("delivery %s: %w", l.ID, err)
		}
	}
	return logs, cut, nil
}

// longValues are how long the values of a delivery are, in bytes.
type longValues struct{ body, answer int }

// read reads those that are long.
func (v longValues) read(c *database.Conn, l *account.Log) (err error) {
	if v.body >= longValue {
		if l.Body, err = c.ReadBlob("deliveries", "body", l.Seq); err != nil {
			return err
		}
	}
	if v.answer >= longValue {
		l.Answer, err = c.ReadBlob("fates", "answer", l.Seq)
	}
	return err
}

func scanLog(r *sqlite3.Stmt) (*account.Log, longValues, error) {
	l := &account.Log{}
	var v longValues
	var header, answerHead []byte
	var duration int64
	database.Scan(r, 0, []any{
		&l.Seq, &l.ID, &l.WebhookID, &l.BucketID, &l.InputID, &l.OutputID, &l.Internal, &l.Received,
		&l.Method, &l.Path, &l.Query, &l.IP, &l.Resent, &header, &l.Size, &v.body, &l.Body,
		&l.Status, &l.Updated, &l.StatusCode, &l.Retries, &duration, &l.Next, &answerHead, &v.answer, &l.Answer,
	})
	l.Duration = time.Duration(duration)
	var err error
	if l.Header, err = decodeHeader(header); err != nil {
		return nil, v, fmt.Errorf("delivery %s: %w", l.ID, err)
	}
	if l.AnswerHead, err = decodeHeader(answerHead); err != nil {
		return nil, v, fmt.Errorf("answer to delivery %s: %w", l.ID, err)
	}
	return l, v, nil
}

// Log finds a delivery; the error wraps account.ErrNotFound.
func (s *Store) Log(ctx context.Context, id string) (*account.Log, error) {
	var logs []*account.Log
	err := s.db.Read(ctx, func(c *database.Conn) (err error) {
		logs, _, err = readLogs(c, pageBytes, logByID, id)
		return err
	})
	if err == nil && len(logs) == 0 {
		err = account.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read delivery %s: %w", id, err)
	}
	return logs[0], nil
}

// After returns a bucket's deliveries for subscribers behind a Seq, the oldest
// first: at most limit, and no more than about maxBytes of bodies, but one at
// least where there is one. Headers and body of an answer are left out.
func (s *Store) After(ctx context.Context, bucketID string, seq int64, limit, maxBytes int) ([]*account.Log, error) {
	var logs []*account.Log
	err := s.db.Read(ctx, func(c *database.Conn) (err error) {
		logs, _, err = readLogs(c, maxBytes, logColumns+withoutAnswer+`
			FROM deliveries d INDEXED BY deliveries_bucket LEFT JOIN fates f ON f.seq = d.seq
			WHERE d.bucket_id = ?2 AND d.internal = 1 AND d.seq > ?3 ORDER BY d.seq LIMIT ?4`, bucketID, seq, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read deliveries of bucket %s behind %d: %w", bucketID, seq, err)
	}
	return logs, nil
}

// LastSeq is the greatest Seq ever given, 0 before the first.
func (s *Store) LastSeq(ctx context.Context) (int64, error) {
	n, err := s.number(ctx, lastSeq)
	if err != nil {
		return 0, fmt.Errorf("read the last number of a delivery: %w", err)
	}
	return n, nil
}

// Waiting counts a bucket's deliveries for subscribers behind a Seq.
func (s *Store) Waiting(ctx context.Context, bucketID string, seq int64) (int64, error) {
	n, err := s.number(ctx, `
		SELECT count(*) FROM deliveries INDEXED BY deliveries_bucket
		WHERE bucket_id = ? AND internal = 1 AND seq > ?`, bucketID, seq)
	if err != nil {
		return 0, fmt.Errorf("count what waits in bucket %s: %w", bucketID, err)
	}
	return n, nil
}

// Due returns public deliveries whose Next has come by at, that which is due
// longest first. Bodies are left out: there may be many, and each may be long.
func (s *Store) Due(ctx context.Context, at time.Time, limit int) ([]*account.Log, error) {
	var logs []*account.Log
	err := s.db.Read(ctx, func(c *database.Conn) (err error) {
		// A bound in bytes would let one that is being sent hide those behind it.
		const unbounded = 1 << 62
		logs, _, err = readLogs(c, unbounded, logHead+withoutBody+logFate+withAnswer+`
			FROM fates f INDEXED BY fates_due JOIN deliveries d ON d.seq = f.seq
			WHERE f.status = 'preparing' AND f.next != 0 AND f.next <= ?2 AND NOT d.internal
			ORDER BY f.next, f.seq LIMIT ?3`, at, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what is due: %w", err)
	}
	return logs, nil
}

// NextDue tells when Due has something next, which may be a time that has passed;
// false where nothing is to be sent.
func (s *Store) NextDue(ctx context.Context) (time.Time, bool, error) {
	n, err := s.number(ctx, `
		SELECT f.next FROM fates f INDEXED BY fates_due JOIN deliveries d ON d.seq = f.seq
		WHERE f.status = 'preparing' AND f.next != 0 AND NOT d.internal ORDER BY f.next LIMIT 1`)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read what is due next: %w", err)
	}
	return database.FromNanos(n), n != 0, nil
}

// number reads one number from the database, 0 where there is none.
func (s *Store) number(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = s.db.Read(ctx, func(c *database.Conn) error {
		n, err = c.Number(sql, args...)
		return err
	})
	return n, err
}
