package store

import (
	"context"
	"errors"
	"math"
	"time"
)

// stepShare bounds how much a bucket loses at once where others have as much: a
// sixteenth of it. So far it may fall behind them.
const stepShare = 16

// sweepSize deletes what is too much and gives free pages back.
func (s *Store) sweepSize(ctx context.Context) error {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	return s.sweepMuch(ctx)
}

// sweepMuch counts in any case: there is little to count then when it has to be.
func (s *Store) sweepMuch(ctx context.Context) error {
	s.room.swept()
	left, err := s.sweepMany(ctx, false)
	if err == nil && left {
		_, err = s.sweepMany(ctx, true)
	}
	return errors.Join(err, s.count(ctx), s.vacuum(ctx))
}

// cut is a sweep that goes on until the database is small enough.
type cut struct {
	waiting bool             // those too that the relay itself is still to send
	after   map[string]int64 // by bucket: all up to this seq is gone or stays
}

// sweepMany deletes while the database is too big, piece by piece: the oldest of
// that bucket which has the most, so that who fills the store loses what is his.
// Those that wait to be sent stay unless waiting is set. It ends after a minute,
// as others have their turn then. left tells that it is still too big, and all
// that is left stays.
func (s *Store) sweepMany(ctx context.Context, waiting bool) (left bool, err error) {
	defer s.room.open()
	t := toll{reason: reasonSize, lost: map[string]int64{}}
	defer s.tell(&t)
	c := cut{waiting, map[string]int64{}}
	for began := time.Now(); time.Since(began) < sweepInterval; {
		excess, err := s.excess(ctx)
		if err != nil || excess <= 0 {
			return false, err
		}
		found, err := s.surplus(ctx, &c, excess)
		if err != nil || len(found) == 0 {
			return true, err
		}
		if err := s.remove(ctx, found, waiting, &t); err != nil {
			return true, err
		}
	}
	return false, nil
}

// excess returns by how many bytes the database is too big, and makes those who
// come wait where it grows although it is swept. It may have been too big for
// long, as where the bound is new: nobody has to wait for that.
func (s *Store) excess(ctx context.Context) (int64, error) {
	used, err := s.number(ctx, usedBytes)
	if err != nil {
		return 0, err
	}
	keep := s.keepSize.Load()
	if used <= keep || s.settled == 0 {
		s.settled = used
	}
	if used > max(s.settled, keep)+s.slack()+min(s.slack(), sweepBytes) {
		s.room.hold()
	} else {
		s.room.open()
	}
	return used - keep, nil
}

// surplus finds what is to go next, nothing where all that is left stays.
func (s *Store) surplus(ctx context.Context, c *cut, excess int64) ([]doomed, error) {
	for {
		if err := s.count(ctx); err != nil {
			return nil, err
		}
		sizes, err := s.sizes(ctx)
		if err != nil {
			return nil, err
		}
		b, ok := c.fullest(sizes)
		if !ok {
			return nil, nil
		}
		found, err := s.oldest(ctx, old{
			bucket: &b.bucket, after: c.after[b.bucket], before: math.MaxInt64,
			bytes: min(b.bytes, excess, sweepBytes), waiting: c.waiting,
		})
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			c.after[b.bucket] = found[len(found)-1].seq
			return found, nil
		}
		c.after[b.bucket] = math.MaxInt64
	}
}

// fullest returns the bucket that is to lose something, and how many bytes at
// once; false where none is. It is the one that has the most, of those that have
// anything that may go, down to where the next is. But where some have nothing
// but what stays, the others lose only what is above an equal share.
func (c *cut) fullest(sizes []bucketSize) (bucketSize, bool) {
	var first, second bucketSize
	total := int64(0)
	for _, b := range sizes {
		total += b.bytes
		if c.after[b.bucket] == math.MaxInt64 {
			continue
		}
		if b.bytes > first.bytes {
			first, second = b, first
		} else if b.bytes > second.bytes {
			second = b
		}
	}
	if first.bytes == 0 {
		return first, false
	}
	level := second.bytes
	if !c.waiting {
		share := total / int64(len(sizes))
		if first.bytes < share {
			return first, false
		}
		level = max(level, share)
	}
	first.bytes = max(first.bytes-level, first.bytes/stepShare)
	return first, true
}
