package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// Bounds of one List.
const (
	maxTotal  = 10_000  // Page.Total stops counting here
	maxOffset = 10_000  // who wants more uses the cursor
	maxLook   = 200_000 // deliveries of a bucket that are looked at for one page
	maxWalk   = 20_000  // deliveries that are looked at where the buckets are too many to ask each
	maxAsked  = 64      // buckets that are asked each
)

// List answers a query. A page may have fewer logs than Limit, or none, before
// the last one, which alone has no NextCursor: its bodies are bounded (16 MiB, but
// for a single longer one), and so is what is looked at to find those that match.
// Total is bounded by 10,000. A Cursor or Offset that can't be is an error that
// wraps account.ErrInvalid.
func (s *Store) List(ctx context.Context, q account.Query) (account.Page, error) {
	f, err := newFilter(q)
	if err != nil {
		return account.Page{}, err
	}
	var page account.Page
	err = s.db.Read(ctx, func(c *database.Conn) error {
		if f.buckets, f.each, err = bucketsOr(c, q.BucketIDs, maxAsked); err != nil {
			return err
		}
		page, err = f.page(c)
		return err
	})
	if err != nil {
		return account.Page{}, fmt.Errorf("list deliveries: %w", err)
	}
	return page, nil
}

// filter is a query with its defaults.
type filter struct {
	buckets  []string        // to ask each
	each     bool            // else they are too many for that
	among    map[string]bool // these only, where not each is asked; nil: all
	status   string
	from, to int64
	below    int64 // seq
	limit    int
	offset   int
}

func newFilter(q account.Query) (*filter, error) {
	f := &filter{
		status: q.Status, from: database.Nanos(q.From), to: database.Nanos(q.To), below: math.MaxInt64,
		limit: min(cmp.Or(max(q.Limit, 0), account.DefaultLimit), account.MaxLimit), offset: q.Offset,
	}
	if f.to == 0 {
		f.to = math.MaxInt64
	}
	if len(q.BucketIDs) > maxAsked {
		f.among = make(map[string]bool, len(q.BucketIDs))
		for _, id := range q.BucketIDs {
			f.among[id] = true
		}
	}
	if q.Offset < 0 || q.Offset > maxOffset {
		return nil, fmt.Errorf("%w: offset %d: want 0 to %d, and the cursor of the page before to go further", account.ErrInvalid, q.Offset, maxOffset)
	}
	if q.Cursor == "" {
		return f, nil
	}
	seq, err := strconv.ParseInt(q.Cursor, 10, 64)
	if err != nil || seq < 1 {
		return nil, fmt.Errorf("%w: cursor %q is not one that a page came with", account.ErrInvalid, q.Cursor)
	}
	f.below, f.offset = seq, 0
	return f, nil
}

// bucketsOr returns the buckets that are asked for, each once; where ids is nil,
// all that have deliveries. ok is false where they are more than most.
func bucketsOr(c *database.Conn, ids []string, most int) (buckets []string, ok bool, err error) {
	if ids != nil {
		buckets = slices.Compact(slices.Sorted(slices.Values(ids)))
		return buckets, len(buckets) <= most, nil
	}
	for last := ""; len(buckets) <= most; {
		next, err := nextBucket(c, last)
		if err != nil || next == "" {
			return buckets, true, err
		}
		buckets, last = append(buckets, next), next
	}
	return nil, false, nil
}

// nextBucket returns the id of the first bucket with deliveries behind an id, ""
// behind the last.
func nextBucket(c *database.Conn, id string) (next string, err error) {
	err = c.Query(func(r *sqlite3.Stmt) error {
		next = r.ColumnText(0)
		return nil
	}, `SELECT bucket_id FROM deliveries INDEXED BY deliveries_bucket WHERE bucket_id > ? ORDER BY bucket_id LIMIT 1`, id)
	return next, err
}

func (f *filter) page(c *database.Conn) (account.Page, error) {
	all, end, err := f.newest(c, math.MaxInt64, max(maxTotal, f.offset+f.limit)+1)
	if err != nil {
		return account.Page{}, err
	}
	page := account.Page{Total: int64(min(len(all), maxTotal)), Truncated: len(all) > maxTotal || end > 0}
	seqs := all
	if f.below != math.MaxInt64 {
		if seqs, end, err = f.newest(c, f.below, f.limit+1); err != nil {
			return account.Page{}, err
		}
	}
	if end > 0 {
		page.NextCursor = strconv.FormatInt(end, 10)
	}
	seqs = seqs[min(f.offset, len(seqs)):]
	if len(seqs) > f.limit {
		seqs = seqs[:f.limit]
		page.NextCursor = strconv.FormatInt(seqs[f.limit-1], 10)
	}
	if page.Logs, err = readPage(c, seqs); err != nil {
		return account.Page{}, err
	}
	if n := len(page.Logs); n < len(seqs) {
		page.NextCursor = strconv.FormatInt(page.Logs[n-1].Seq, 10)
	}
	return page, nil
}

// readPage reads deliveries by their numbers until they have pageBytes.
func readPage(c *database.Conn, seqs []int64) ([]*account.Log, error) {
	var logs []*account.Log
	left := pageBytes
	for _, seq := range seqs {
		l, _, err := readLogs(c, left, logBySeq, seq)
		if err != nil {
			return nil, err
		}
		size := len(l[0].Body) + len(l[0].Answer)
		if len(logs) > 0 && size > left {
			break
		}
		left -= size
		logs = append(logs, l[0])
	}
	return logs, nil
}

// The ways to find the newest of those that match; only so many are looked at.
const (
	newestOfBucket = `
		SELECT d.seq FROM (
			SELECT seq, received, status FROM deliveries INDEXED BY deliveries_bucket
			WHERE bucket_id = ?6 AND internal = ?7 AND seq < ?1 ORDER BY seq DESC LIMIT ?8
		) d ` + newestThat
	newestOfAll = `
		SELECT d.seq, d.bucket_id FROM (
			SELECT seq, received, status, bucket_id FROM deliveries NOT INDEXED WHERE seq < ?1 ORDER BY seq DESC LIMIT ?6
		) d ` + newestThat
	newestThat = `LEFT JOIN fates f ON ?4 != '' AND f.seq = d.seq
		WHERE d.received >= ?2 AND d.received < ?3 AND (?4 = '' OR coalesce(f.status, d.status) = ?4)
		ORDER BY d.seq DESC LIMIT ?5`
)

// newest finds those that match below a seq, the newest first: at most so many.
// All at end or above were looked at where that ended the search, else it is 0.
func (f *filter) newest(c *database.Conn, below int64, most int) (seqs []int64, end int64, err error) {
	if !f.each {
		return f.newestOfAll(c, below, most)
	}
	for _, bucket := range f.buckets {
		for _, internal := range []bool{false, true} {
			found, till, err := f.newestOf(c, bucket, internal, below, most)
			if err != nil {
				return nil, 0, err
			}
			seqs, end = append(seqs, found...), max(end, till)
		}
	}
	slices.SortFunc(seqs, func(a, b int64) int { return cmp.Compare(b, a) })
	if n := slices.IndexFunc(seqs, func(seq int64) bool { return seq < end }); n >= 0 {
		seqs = seqs[:n]
	}
	return seqs[:min(most, len(seqs))], end, nil
}

func (f *filter) newestOf(c *database.Conn, bucket string, internal bool, below int64, most int) (seqs []int64, end int64, err error) {
	err = c.Query(func(r *sqlite3.Stmt) error {
		seqs = append(seqs, r.ColumnInt64(0))
		return nil
	}, newestOfBucket, below, f.from, f.to, f.status, most, bucket, internal, maxLook)
	if err != nil || len(seqs) == most {
		return seqs, 0, err
	}
	end, err = c.Number(`
		SELECT seq FROM deliveries INDEXED BY deliveries_bucket
		WHERE bucket_id = ? AND internal = ? AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?`, bucket, internal, below, maxLook-1)
	return seqs, end, err
}

func (f *filter) newestOfAll(c *database.Conn, below int64, most int) (seqs []int64, end int64, err error) {
	err = c.Query(func(r *sqlite3.Stmt) error {
		if f.among != nil && !f.among[r.ColumnText(1)] {
			return nil
		}
		if seqs = append(seqs, r.ColumnInt64(0)); len(seqs) == most {
			return errEnough
		}
		return nil
	}, newestOfAll, below, f.from, f.to, f.status, maxWalk, maxWalk)
	if err == errEnough {
		return seqs, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	end, err = c.Number(`SELECT seq FROM deliveries NOT INDEXED WHERE seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?`, below, maxWalk-1)
	return seqs, end, err
}
