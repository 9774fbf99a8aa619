package store

import (
	"fmt"
	"slices"
	"time"

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
// in one bucket, and returns how many of them somebody was still to get.
func noteBucketGaps(c *database.Conn, bucket string, gone []doomed, reason string) (int64, error) {
	last := gone[len(gone)-1].seq
	behind, err := readConsumers(c, consumerColumns+`WHERE bucket_id = ? AND acked < ?`, bucket, last)
	if err != nil {
		return 0, err
	}
	lost := make(map[int64]bool)
	for _, u := range behind {
		g := account.Gap{Consumer: u.Name, BucketID: bucket, Reason: reason}
		for _, d := range gone {
			if _, acked := slices.BinarySearch(u.Above, d.seq); d.seq > u.Acked && !acked {
				lost[d.seq] = true
				widen(&g, database.FromNanos(d.received))
			}
		}
		if g.Count > 0 {
			if err := addGap(c, g); err != nil {
				return 0, err
			}
		}
		u.Acked = last
		if err := putConsumer(c, u); err != nil {
			return 0, err
		}
	}
	return int64(len(lost)), nil
}

// widen adds one delivery to a gap.
func widen(g *account.Gap, received time.Time) {
	if g.Count == 0 || received.Before(g.From) {
		g.From = received
	}
	if g.Count == 0 || received.After(g.To) {
		g.To = received
	}
	g.Count++
}
