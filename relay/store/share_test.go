package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

const bucketC = "cccccccc-0000-4000-8000-000000000000"

// sized returns a delivery with a body of so many bytes.
func sized(l *account.Log, body int) *account.Log {
	l.Body = make([]byte, body)
	return l
}

// acceptSized accepts n deliveries for a bucket's subscribers, a few at once.
func acceptSized(t testing.TB, s *Store, bucket string, n, body int) []*account.Log {
	t.Helper()
	all := make([]*account.Log, n)
	for i := range all {
		all[i] = sized(newLog(bucket), body)
	}
	for few := range slices.Chunk(all, 16) {
		accept(t, s, few...)
	}
	return all
}

func wantKept(t *testing.T, s *Store, what string, ls []*account.Log) {
	t.Helper()
	for i, l := range ls {
		if !has(t, s, l) {
			t.Fatalf("%s: delivery %d of %d is gone, want all kept", what, i+1, len(ls))
		}
	}
}

// wantExactSizes compares what is counted with what there is.
func wantExactSizes(t *testing.T, s *Store) map[string]int64 {
	t.Helper()
	if err := s.count(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.sizes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]int64{}
	for _, b := range got {
		counted[b.bucket] = b.bytes
	}
	there := map[string]int64{}
	for q := (account.Query{Limit: account.MaxLimit}); ; {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Logs {
			there[l.BucketID] += int64(rowBytes + len(l.Method) + len(l.Path) + len(l.Query) + len(encodeHeader(l.Header)) + len(l.Body) +
				len(encodeHeader(l.AnswerHead)) + len(l.Answer))
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
	}
	if !reflect.DeepEqual(counted, there) {
		t.Fatalf("sizes = %v, want %v", counted, there)
	}
	return counted
}

func TestAFloodLeavesOtherBucketsAlone(t *testing.T) {
	const body = 16 << 10
	o := options(t)
	o.KeepSize = 8 << 20
	s, _ := retained(t, o)
	b, c := acceptSized(t, s, bucketB, 100, body), acceptSized(t, s, bucketC, 100, body) // 1.7 MB each
	for _, bucket := range []string{bucketA, bucketB, bucketC} {
		saveConsumers(t, s, account.Consumer{Name: bucket[:1], BucketID: bucket, Seen: day0})
	}
	a := acceptSized(t, s, bucketA, 1000, body)
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, "a bucket that somebody else floods", b)
	wantKept(t, s, "a bucket that somebody else floods", c)
	if has(t, s, a[0]) || !has(t, s, a[len(a)-1]) {
		t.Error("of the flood, want the oldest gone and the newest kept")
	}
	wantGaps(t, s, "b")
	wantGaps(t, s, "c")
	if gaps, err := s.Gaps(t.Context(), "a"); err != nil || len(gaps) != 1 || gaps[0].Count < 500 {
		t.Errorf("gaps of the flooded = %+v, %v; want one of 500 at least", gaps, err)
	}
	if n, err := s.Sizes(t.Context()); err != nil || n.Bytes > o.KeepSize {
		t.Errorf("sizes = %+v, %v; want at most %d bytes", n, err, o.KeepSize)
	}

	// Where all of them flood, all of them lose, down to equal shares.
	acceptSized(t, s, bucketB, 700, body)
	acceptSized(t, s, bucketC, 1500, body)
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sizes := wantExactSizes(t, s)
	least, most := int64(math.MaxInt64), int64(0)
	for _, n := range sizes {
		least, most = min(least, n), max(most, n)
	}
	if step := most/stepShare + 2*(body+rowBytes); len(sizes) != 3 || most-least > step {
		t.Errorf("sizes = %v, want three that differ by %d at most", sizes, step)
	}
}

func TestWhatWaitsToBeSentIsNotKeptAtTheCostOfOtherBuckets(t *testing.T) {
	const body = 16 << 10
	o := options(t)
	o.KeepSize = 8 << 20
	s, _ := retained(t, o)
	b := acceptSized(t, s, bucketB, 100, body)
	for range 50 { // to an output that never answers
		var ds []*account.Log
		for range 16 {
			ds = append(ds, sized(newPublic(bucketA, output1, day0), body))
		}
		accept(t, s, ds...)
	}
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, "a bucket beside one full of what waits", b)
	if n, err := s.Sizes(t.Context()); err != nil || n.Bytes > o.KeepSize {
		t.Errorf("sizes = %+v, %v; want at most %d bytes", n, err, o.KeepSize)
	}
}

func TestFullest(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waiting bool
		spent   string // nothing in it may go
		sizes   map[string]int64
		want    bucketSize
	}{
		{"nothing there", true, "", nil, bucketSize{}},
		{"one", true, "", map[string]int64{"a": 160}, bucketSize{"a", 160}},
		{"one, all but what waits", false, "", map[string]int64{"a": 160}, bucketSize{"a", 10}},
		{"down to the next", true, "", map[string]int64{"a": 500, "b": 300, "c": 20}, bucketSize{"a", 200}},
		{"down to a share", false, "", map[string]int64{"a": 500, "b": 30, "c": 70}, bucketSize{"a", 300}},
		{"others as big", true, "", map[string]int64{"a": 1601, "b": 1600}, bucketSize{"a", 100}},
		{"the next has more than a share", false, "a", map[string]int64{"a": 500, "b": 400, "c": 0}, bucketSize{"b", 100}},
		{"the others have less than a share", false, "a", map[string]int64{"a": 500, "b": 200, "c": 1}, bucketSize{}},
		{"in the end the others as well", true, "a", map[string]int64{"a": 500, "b": 200, "c": 1}, bucketSize{"b", 199}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cut{tt.waiting, map[string]int64{tt.spent: math.MaxInt64}}
			var sizes []bucketSize
			for bucket, n := range tt.sizes {
				sizes = append(sizes, bucketSize{bucket, n})
			}
			got, ok := c.fullest(sizes)
			if wantOK := tt.want.bucket != ""; ok != wantOK || ok && got != tt.want {
				t.Errorf("fullest = %v, %v; want %v, %v", got, ok, tt.want, wantOK)
			}
		})
	}
}

// Whatever happens, what is counted is what there is.
func TestSizesAreExact(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	o := options(t)
	s := serve(t, o)
	buckets := []string{bucketA, bucketB, bucketC}
	var all []*account.Log
	text := func() string { return string(make([]byte, r.IntN(100))) }
	acceptSome := func() error {
		var ds []*account.Log
		for range 1 + r.IntN(3) {
			l := newLog(buckets[r.IntN(3)])
			if r.IntN(3) == 0 {
				l = newPublic(l.BucketID, output1, day0)
				l.Answer = []byte(text())
			}
			l.Path, l.Query, l.Body = "/\xff"+text(), text(), []byte(text())
			l.Header.Set("X-Text", text())
			ds = append(ds, l)
		}
		if r.IntN(10) == 0 {
			ds = append(ds, sized(newLog(bucketA), longValue))
		}
		all = append(all, ds...)
		return s.Accept(t.Context(), ds, nil)
	}
	update := func() error {
		u := account.Update{Status: account.StatusSent, AnswerHead: map[string][]string{"X": {text()}}, Answer: []byte(text())}
		if r.IntN(10) == 0 {
			u.Answer = make([]byte, longValue)
		}
		err := s.Update(t.Context(), all[r.IntN(len(all))].ID, u)
		if errors.Is(err, account.ErrNotFound) {
			return nil
		}
		return err
	}
	refused := func() error { // what was half done is undone
		l := newLog(bucketA)
		if err := s.Accept(t.Context(), []*account.Log{l, l}, nil); err == nil {
			return errors.New("one delivery was accepted twice")
		}
		return nil
	}
	takeOldest := func() error {
		bucket := buckets[r.IntN(3)]
		found, err := s.oldest(t.Context(), old{bucket: &bucket, before: math.MaxInt64, bytes: int64(r.IntN(10_000)), waiting: true})
		if err != nil || len(found) == 0 {
			return err
		}
		return s.remove(t.Context(), found, r.IntN(2) == 0, &toll{reason: reasonSize, lost: map[string]int64{}})
	}
	forget := func() error { return s.ForgetBucket(t.Context(), buckets[r.IntN(3)]) }
	count := func() error { return s.count(t.Context()) }
	reopen := func() error {
		if err := s.stop(); err != nil {
			return err
		}
		s = serve(t, o)
		return nil
	}
	for range 300 {
		var err error
		switch n := r.IntN(100); {
		case n < 45 || len(all) == 0:
			err = acceptSome()
		case n < 75:
			err = update()
		case n < 85:
			err = takeOldest()
		case n < 90:
			err = count()
		case n < 95:
			err = refused()
		case n < 98:
			err = forget()
		default:
			err = reopen()
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(10) == 0 {
			wantExactSizes(t, s.Store)
		}
	}
	wantExactSizes(t, s.Store)
	for _, bucket := range buckets {
		if err := s.ForgetBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	if sizes := wantExactSizes(t, s.Store); len(sizes) != 0 {
		t.Errorf("sizes = %v when all is forgotten, want none", sizes)
	}
}

// Counting does not go wrong beside those who accept and delete.
func TestSizesAreExactBesideOthers(t *testing.T) {
	s := serve(t, options(t))
	var wg sync.WaitGroup
	for _, bucket := range []string{bucketA, bucketB} {
		wg.Go(func() {
			for range 50 {
				l := newLog(bucket)
				if err := s.Accept(t.Context(), []*account.Log{l, newLog(bucket)}, nil); err != nil {
					t.Error(err)
				}
				err := s.Update(t.Context(), l.ID, account.Update{Answer: make([]byte, 100)})
				if err != nil && !errors.Is(err, account.ErrNotFound) {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				if err := errors.Join(s.count(t.Context()), s.ForgetBucket(t.Context(), bucket)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantExactSizes(t, s.Store)
}

// No minute passes here: it is the flood that calls for sweeps.
func TestTheFileStaysWithinItsBoundInAFlood(t *testing.T) {
	for _, tt := range []struct{ body, producers int }{{8 << 10, 64}, {64 << 10, 16}, {1 << 20, 4}} {
		t.Run(fmt.Sprintf("bodies of %d", tt.body), func(t *testing.T) {
			const bound = 8 << 20
			o := options(t)
			o.KeepSize, o.Log = bound, nil
			s := serve(t, o)
			wide := int64(0)
			var mu sync.Mutex // guards wide
			var wg sync.WaitGroup
			for range tt.producers {
				wg.Go(func() {
					for range 10 * bound / tt.body / tt.producers {
						if err := s.Accept(t.Context(), []*account.Log{sized(newLog(bucketA), tt.body)}, nil); err != nil {
							t.Error(err)
							return
						}
						pages, err := s.number(t.Context(), `PRAGMA page_count`)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						wide = max(wide, pages*8192)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			// Up to 2 slacks too much a sweep lets others in; 2 more make them wait
			// for its next piece, but for what is on its way. A body fills whole pages.
			paged := int64(tt.body/8192+2) * 8192
			most := bound + (4*s.slack()+int64(tt.producers*tt.body))*paged/int64(tt.body)
			if wide > most {
				t.Errorf("the file had %d bytes, want at most %d", wide, most)
			}
			t.Logf("at most %d bytes with a bound of %d", wide, bound)
		})
	}
}

func TestWhoComesWaitsWhileASweepIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom()
		open, ended := make(chan struct{}), make(chan struct{})
		close(ended)
		if err := r.enter(t.Context(), open); err != nil {
			t.Errorf("enter: %v with room", err)
		}
		r.hold()
		r.hold() // no other door
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.enter(late, open); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("enter: error %v without room, want that of its context", err)
		}
		if err := r.enter(t.Context(), ended); err != nil {
			t.Errorf("enter: %v when nobody sweeps any more", err)
		}
		let := make(chan error, 1)
		go func() { let <- r.enter(t.Context(), open) }()
		synctest.Wait()
		if len(let) != 0 {
			t.Error("one came in without room")
		}
		r.open()
		if err := <-let; err != nil {
			t.Errorf("enter: %v when there is room again", err)
		}
	})
}

func TestMuchThatCameCallsForASweep(t *testing.T) {
	r := newRoom()
	for _, tt := range []struct {
		bytes int64
		calls int
	}{{60, 0}, {39, 0}, {1, 1}, {1, 1}} {
		r.took(tt.bytes, 100)
		if got := len(r.crowded); got != tt.calls {
			t.Errorf("after %d more: %d calls for a sweep, want %d", tt.bytes, got, tt.calls)
		}
	}
	if r.took(98, 100); r.shut.Load() != nil {
		t.Error("who comes has to wait although the sweep may begin in time")
	}
	if r.took(1, 100); r.shut.Load() == nil {
		t.Error("nobody has to wait although no sweep begins")
	}
	<-r.crowded
	r.swept()
	if r.took(99, 100); len(r.crowded) != 0 {
		t.Error("a sweep is called for although little came since the last")
	}
}

// Gaps are noted for many at once as they would be for each.
func TestGapsOfManyConsumers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s, _ := retained(t, options(t))
	var gone []doomed
	for seq := int64(20); seq < 40; seq++ {
		if r.IntN(4) > 0 {
			gone = append(gone, doomed{seq: seq, bucket: bucketA, internal: true, received: int64(1 + r.IntN(1000))})
		}
	}
	gone = append(gone, doomed{seq: 40, bucket: bucketA, internal: true, received: 500})
	for round := range 20 {
		var all, want []account.Consumer
		gaps := map[string]account.Gap{}
		missed := map[int64]bool{}
		for i := range r.IntN(8) {
			u := account.Consumer{Name: fmt.Sprint(round, "-", i), BucketID: bucketA, Acked: int64(r.IntN(50)), Seen: day0}
			for seq := u.Acked + 1; seq < 50 && r.IntN(2) == 0; seq += int64(1 + r.IntN(5)) {
				u.Above = append(u.Above, seq+1)
			}
			all = append(all, u)
			g := account.Gap{Consumer: u.Name, BucketID: bucketA, Reason: reasonAge}
			for _, d := range gone {
				if at := database.FromNanos(d.received); d.seq > u.Acked && !slices.Contains(u.Above, d.seq) {
					if g.Count == 0 || at.Before(g.From) {
						g.From = at
					}
					if g.Count == 0 || at.After(g.To) {
						g.To = at
					}
					g.Count++
					missed[d.seq] = true
				}
			}
			gaps[u.Name] = g
			u.Acked = max(u.Acked, 40)
			u.Above = slices.DeleteFunc(slices.Clone(u.Above), func(seq int64) bool { return seq <= u.Acked })
			if len(u.Above) == 0 {
				u.Above = nil
			}
			want = append(want, u)
		}
		saveConsumers(t, s, all...)
		lost := int64(0)
		err := s.db.Write(t.Context(), database.Write{Do: func(c *database.Conn) (err error) {
			lost, err = noteBucketGaps(c, bucketA, gone, reasonAge)
			return err
		}})
		if err != nil || lost != int64(len(missed)) {
			t.Fatalf("%d lost, %v; want %d", lost, err, len(missed))
		}
		wantConsumers(t, s, want...)
		for name, g := range gaps {
			if g.Count == 0 {
				wantGaps(t, s, name)
			} else {
				wantGaps(t, s, name, g)
			}
			if err := s.ForgetConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
}
