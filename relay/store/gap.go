package store

import (
	"fmt"
	"math"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// Words of account.Gap.Reason.
const (
	reasonAge  = "age"
	reasonSize = "size"
)

// noteGaps notes who had not acknowledged what was deleted, and moves their
// positions behind it. It returns, by bucket, how many there were.
func noteGaps(c *database.Conn, gone []doomed, reason string) (map[string]int64, error) {
	byBucket := map[string][]doomed{}
	for _, d := range gone {
		if d.internal {
			byBucket[d.bucket] = append(byBucket[d.bucket], d)
		}
	}
	lost := map[string]int64{}
	for bucket, ds := range byBucket {
		n, err := noteBucketGaps(c, bucket, ds, reason)
		if err != nil {
			return nil, fmt.Errorf("note gaps in bucket %s: %w", bucket, err)
		}
		if n > 0 {
			lost[bucket] = n
		}
	}
	return lost, nil
}

// noteBucketGaps notes the gaps that deleted deliveries, in the order of seq, make
// in one bucket, and returns how many of them somebody was still to get. Its cost
// goes with the consumers that are behind, not with these times the deliveries:
// others wait for it.
func noteBucketGaps(c *database.Conn, bucket string, gone []doomed, reason string) (int64, error) {
	first, last := gone[0].seq, gone[len(gone)-1].seq
	missed := make([]bool, len(gone)) // by somebody
	all := gapOf(account.Consumer{BucketID: bucket}, gone, missed)
	all.Reason = reason
	if far, err := addGapToAll(c, all, first); err != nil {
		return 0, err
	} else if far == 0 {
		clear(missed)
	}
	near, err := readConsumers(c, consumerColumns+`WHERE bucket_id = ? AND acked < ? AND (acked >= ? OR above != x'')`, bucket, last, first)
	if err != nil {
		return 0, err
	}
	for _, u := range near {
		g := gapOf(u, gone, missed)
		g.Reason = reason
		if err := noteGap(c, u, g, last); err != nil {
			return 0, err
		}
	}
	lost := int64(0)
	for _, m := range missed {
		if m {
			lost++
		}
	}
	return lost, c.Exec(`UPDATE consumers SET acked = ?1 WHERE bucket_id = ?2 AND acked < ?1 AND above = x''`, last, bucket)
}

// noteGap adds to the gap of one consumer, and moves its position on where it has
// acknowledged anything above: the others are moved together.
func noteGap(c *database.Conn, u account.Consumer, g account.Gap, last int64) error {
	if g.Count > 0 {
		if err := addGap(c, g); err != nil {
			return err
		}
	}
	if len(u.Above) == 0 {
		return nil
	}
	return c.Exec(`UPDATE consumers SET acked = ?, above = ? WHERE bucket_id = ? AND name = ?`,
		last, encodeAbove(u.Above, last), u.BucketID, u.Name)
}

// gapOf is what a consumer had not acknowledged of deleted deliveries, in the
// order of seq; it sets missed for each.
func gapOf(u account.Consumer, gone []doomed, missed []bool) account.Gap {
	count, from, to := int64(0), int64(math.MaxInt64), int64(math.MinInt64)
	above := u.Above
	for i, d := range gone {
		for len(above) > 0 && above[0] < d.seq {
			above = above[1:]
		}
		if d.seq <= u.Acked || len(above) > 0 && above[0] == d.seq {
			continue
		}
		missed[i] = true
		count++
		from, to = min(from, d.received), max(to, d.received)
	}
	return account.Gap{
		Consumer: u.Name, BucketID: u.BucketID, Count: count,
		From: database.FromNanos(from), To: database.FromNanos(to),
	}
}
