package store

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"

	"hookrun/relay/account"
)

// BenchmarkAccept measures webhooks of 2 KB, each on disk before the producer
// goes on. Ids in the order of time are kinder to the index than random ones.
func BenchmarkAccept(b *testing.B) {
	for _, producers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) { benchmarkAccept(b, options(b), producers, newLog) })
	}
	b.Run("producers=256,as-many-deleted", func(b *testing.B) {
		o := options(b)
		o.KeepSize = 32 << 20
		benchmarkAccept(b, o, 256, newLog)
	})
	b.Run("producers=256,random-ids", func(b *testing.B) {
		benchmarkAccept(b, options(b), 256, func(bucket string) *account.Log {
			l := newLog(bucket)
			l.ID = uuid.NewString()
			return l
		})
	})
}

func benchmarkAccept(b *testing.B, o Options, producers int, newLog func(string) *account.Log) {
	s := serve(b, o)
	body := bytes.Repeat([]byte("0123456789abcdef"), 2<<10/16)
	next := make(chan *account.Log, producers)
	done := make(chan error)
	for range producers {
		go func() {
			var first error
			for l := range next {
				if err := s.Accept(b.Context(), []*account.Log{l}, nil); err != nil && first == nil {
					first = err
				}
			}
			done <- first
		}()
	}
	b.ResetTimer()
	for range b.N {
		l := newLog(bucketA)
		l.Body = body
		next <- l
	}
	close(next)
	for range producers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "webhooks/s")
}

// BenchmarkAfter measures a page of 64 for a subscriber in a store of 100,000.
func BenchmarkAfter(b *testing.B) {
	const kept, page = 100_000, 64
	s := serve(b, options(b))
	fillBench(b, s.Store, kept)
	b.ReportAllocs()
	seq := int64(0)
	for b.Loop() {
		logs, err := s.After(b.Context(), bucketA, seq, page, 1<<20)
		if err != nil || len(logs) != page {
			b.Fatalf("After = %d deliveries, %v; want %d", len(logs), err, page)
		}
		seq = (seq + page) % (kept - page)
	}
}

// BenchmarkList measures the first page and the total in a store of 100,000, of
// all and of what is not there.
func BenchmarkList(b *testing.B) {
	s := serve(b, options(b))
	fillBench(b, s.Store, 100_000)
	for _, status := range []string{"", account.StatusReceived, account.StatusFailed} {
		b.Run("status="+status, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.List(b.Context(), account.Query{Status: status}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRemove measures the longest piece of a sweep: others wait for so long.
// Consumers are behind all of it, somewhere in it, or have acknowledged some of it
// out of order.
func BenchmarkRemove(b *testing.B) {
	far := func(int64, int) account.Consumer { return account.Consumer{} }
	within := func(seq int64, i int) account.Consumer { return account.Consumer{Acked: seq + int64(i)%sweepRows} }
	holes := func(seq int64, i int) account.Consumer {
		u := account.Consumer{Acked: seq + int64(i)%sweepRows}
		for n := range int64(20) {
			u.Above = append(u.Above, u.Acked+2+2*n)
		}
		return u
	}
	for _, bb := range []struct {
		name      string
		consumers int
		at        func(seq int64, i int) account.Consumer
	}{{"far", 1, far}, {"far", 1000, far}, {"within", 1000, within}, {"holes", 1000, holes}} {
		b.Run(fmt.Sprintf("consumers=%d,%s", bb.consumers, bb.name), func(b *testing.B) { benchmarkRemove(b, bb.consumers, bb.at) })
	}
}

func benchmarkRemove(b *testing.B, consumers int, at func(seq int64, i int) account.Consumer) {
	o := options(b)
	o.Log = nil
	s := serve(b, o)
	for b.Loop() {
		b.StopTimer()
		seq, err := s.LastSeq(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		all := make([]account.Consumer, consumers)
		for i := range all {
			all[i] = at(seq, i)
			all[i].Name, all[i].BucketID = fmt.Sprint(seq, "-", i), bucketA
		}
		// Those of the round before are past this piece; the bucket keeps only these.
		if err := s.ForgetBucket(b.Context(), bucketA); err != nil {
			b.Fatal(err)
		}
		if err := s.SaveConsumers(b.Context(), all); err != nil {
			b.Fatal(err)
		}
		fillBench(b, s.Store, sweepRows)
		found, err := s.oldest(b.Context(), old{before: math.MaxInt64, bytes: sweepBytes})
		if err != nil || len(found) != sweepRows {
			b.Fatalf("oldest = %d deliveries, %v; want %d", len(found), err, sweepRows)
		}
		b.StartTimer()
		if err := s.remove(b.Context(), found, false, &toll{reason: reasonSize, lost: map[string]int64{}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCount measures how 10,000 new deliveries are counted, beside the
// writer.
func BenchmarkCount(b *testing.B) {
	s := serve(b, options(b))
	for b.Loop() {
		b.StopTimer()
		fillBench(b, s.Store, countRows)
		b.StartTimer()
		if err := s.count(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func fillBench(b *testing.B, s *Store, n int) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 2<<10/16)
	for n > 0 {
		ds := make([]*account.Log, min(n, 1000))
		for i := range ds {
			ds[i] = newLog(bucketA)
			ds[i].Body = body
		}
		accept(b, s, ds...)
		n -= len(ds)
	}
}
