package store

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

func has(t *testing.T, s *Store, l *account.Log) bool {
	t.Helper()
	_, err := s.Log(t.Context(), l.ID)
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func saveConsumers(t *testing.T, s *Store, cs ...account.Consumer) {
	t.Helper()
	if err := s.SaveConsumers(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
}

func consumers(t *testing.T, s *Store) []account.Consumer {
	t.Helper()
	got, err := s.Consumers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantConsumers(t *testing.T, s *Store, want ...account.Consumer) {
	t.Helper()
	if got := consumers(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("consumers = %+v,\nwant %+v", got, want)
	}
}

func wantGaps(t *testing.T, s *Store, consumer string, want ...account.Gap) {
	t.Helper()
	got, err := s.Gaps(t.Context(), consumer)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("gaps of %s = %+v,\nwant %+v", consumer, got, want)
	}
}

func TestSaveConsumersNeverGoesBack(t *testing.T) {
	s, now := retained(t, options(t))
	at := func(n int) time.Time { return day0.Add(time.Duration(n) * time.Second) }
	saveConsumers(t, s,
		account.Consumer{Name: "one", BucketID: bucketA, Acked: 10, Above: []int64{12, 15}, Seen: at(5)},
		account.Consumer{Name: "one", BucketID: bucketB, Acked: 3, Seen: at(5)},
		account.Consumer{Name: "all", Group: true, BucketID: bucketA, Seen: at(5)},
	)
	now.set(at(7))
	saveConsumers(t, s,
		account.Consumer{Name: "one", BucketID: bucketA, Acked: 8, Above: []int64{9, 12, 14}, Seen: at(4)},
		account.Consumer{Name: "one", BucketID: bucketB, Acked: 4, Seen: at(6)},
		account.Consumer{Name: "all", Group: true, BucketID: bucketA, Acked: 1},
	)
	wantConsumers(t, s,
		account.Consumer{Name: "all", Group: true, BucketID: bucketA, Acked: 1, Seen: at(7)},
		account.Consumer{Name: "one", BucketID: bucketA, Acked: 10, Above: []int64{12, 14, 15}, Seen: at(5)},
		account.Consumer{Name: "one", BucketID: bucketB, Acked: 4, Seen: at(6)},
	)
	if err := s.ForgetConsumer(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	wantConsumers(t, s, account.Consumer{Name: "all", Group: true, BucketID: bucketA, Acked: 1, Seen: at(7)})
}

func TestSweepByAge(t *testing.T) {
	type delivery struct {
		received time.Time
		kept     bool
	}
	for _, tt := range []struct {
		name string
		now  time.Time
		ds   []delivery // in order of arrival
		err  error
	}{
		{"old ones go", day0.Add(4 * day), []delivery{{day0, false}, {day0.Add(day - 1), false}, {day0.Add(day), true}, {day0.Add(3 * day), true}}, nil},
		{"clock behind the newest", day0.Add(365 * day), []delivery{{day0, true}, {day0.Add(366 * day), true}}, database.ErrClockBehind},
		{"order of arrival disagrees with the clock", day0.Add(4 * day), []delivery{{day0, false}, {day0.Add(3 * day), true}, {day0.Add(-1000 * day), true}}, nil},
		{"nothing there", day0, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, now := retained(t, options(t))
			var all []*account.Log
			for _, d := range tt.ds {
				for _, l := range []*account.Log{newLog(bucketA), newPublic(bucketA, output1, d.received)} {
					l.Received = d.received
					accept(t, s, l)
					all = append(all, l)
				}
			}
			now.set(tt.now)
			if err := s.sweep(t.Context(), nil); !errors.Is(err, tt.err) {
				t.Fatalf("sweep: error %v, want %v", err, tt.err)
			}
			for i, l := range all {
				if got, want := has(t, s, l), tt.ds[i/2].kept; got != want {
					t.Errorf("delivery %d is there: %v, want %v", i, got, want)
				}
			}
		})
	}
}

func TestSweepTakesAllThatBelongsToADelivery(t *testing.T) {
	s, now := retained(t, options(t))
	l := newPublic(bucketA, output1, day0)
	accept(t, s, l)
	if err := s.Update(t.Context(), l.ID, account.Update{Status: account.StatusSent}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Pull(t.Context(), account.Pull{}); err != nil {
		t.Fatal(err)
	}
	now.set(day0.Add(30 * day))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"deliveries", "fates", "pulled"} {
		if n, err := s.number(t.Context(), `SELECT count(*) FROM `+table); err != nil || n != 0 {
			t.Errorf("%d rows in %s, %v; want none", n, table, err)
		}
	}
}

func TestGaps(t *testing.T) {
	const sec = time.Second
	o := options(t)
	o.KeepAge = time.Hour
	var dropped []string
	o.Dropped = func(bucket string, n int64) { dropped = append(dropped, fmt.Sprint(bucket[:1], n)) }
	s, now := retained(t, o)
	acceptMany(t, s, bucketA, 10)                   // 1..10
	acceptMany(t, s, bucketB, 2)                    // 11, 12
	accept(t, s, newPublic(bucketB, output1, day0)) // 13: nobody's
	saveConsumers(t, s,
		account.Consumer{Name: "done", BucketID: bucketA, Acked: 10, Seen: day0},
		account.Consumer{Name: "group", Group: true, BucketID: bucketA, Acked: 2, Above: []int64{4, 6, 9}, Seen: day0},
		account.Consumer{Name: "single", BucketID: bucketA, Acked: 4, Seen: day0},
		account.Consumer{Name: "single", BucketID: bucketB, Acked: 11, Seen: day0},
	)

	// Deliveries 1..6, received up to 5 s, are too old, and 11, 12 stand behind
	// young ones.
	now.set(day0.Add(time.Hour + 5*sec + 1))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first := account.Gap{Consumer: "group", BucketID: bucketA, Count: 2, From: day0.Add(2 * sec), To: day0.Add(4 * sec), Reason: "age"} // 3, 5
	wantGaps(t, s, "group", first)
	wantGaps(t, s, "single", account.Gap{Consumer: "single", BucketID: bucketA, Count: 2, From: day0.Add(4 * sec), To: day0.Add(5 * sec), Reason: "age"}) // 5, 6
	wantGaps(t, s, "done")
	wantConsumers(t, s,
		account.Consumer{Name: "done", BucketID: bucketA, Acked: 10, Seen: day0},
		account.Consumer{Name: "group", Group: true, BucketID: bucketA, Acked: 6, Above: []int64{9}, Seen: day0},
		account.Consumer{Name: "single", BucketID: bucketA, Acked: 6, Seen: day0},
		account.Consumer{Name: "single", BucketID: bucketB, Acked: 11, Seen: day0},
	)
	if want := []string{"a3"}; !slices.Equal(dropped, want) { // 3, 5, 6
		t.Errorf("dropped = %v, want %v", dropped, want)
	}

	// A save of what was known before does not take the position back.
	saveConsumers(t, s, account.Consumer{Name: "single", BucketID: bucketA, Acked: 5, Seen: day0})

	// The rest goes: the open gap grows, and what was told of it is forgotten.
	now.set(day0.Add(2 * time.Hour))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantGaps(t, s, "group", account.Gap{Consumer: "group", BucketID: bucketA, Count: 5, From: day0.Add(2 * sec), To: day0.Add(9 * sec), Reason: "age"})
	if err := s.ForgetGaps(t.Context(), []account.Gap{first}); err != nil {
		t.Fatal(err)
	}
	rest := account.Gap{Consumer: "group", BucketID: bucketA, Count: 3, From: day0.Add(4 * sec), To: day0.Add(9 * sec), Reason: "age"}
	wantGaps(t, s, "group", rest)
	if err := s.ForgetGaps(t.Context(), []account.Gap{rest}); err != nil {
		t.Fatal(err)
	}
	wantGaps(t, s, "group")
	wantGaps(t, s, "single",
		account.Gap{Consumer: "single", BucketID: bucketB, Count: 1, From: day0.Add(sec), To: day0.Add(sec), Reason: "age"},
		account.Gap{Consumer: "single", BucketID: bucketA, Count: 6, From: day0.Add(4 * sec), To: day0.Add(9 * sec), Reason: "age"})
	slices.Sort(dropped[1:])
	if want := []string{"a3", "a4", "b1"}; !slices.Equal(dropped, want) {
		t.Errorf("dropped = %v, want %v", dropped, want)
	}
}

func TestSweepBySizeKeepsWhatWaitsToBeSent(t *testing.T) {
	const body = 100 << 10
	o := options(t)
	o.KeepSize = 4 << 20
	s, now := retained(t, o)
	now.set(day0.Add(-day)) // size does not ask the clock
	saveConsumers(t, s, account.Consumer{Name: "slow", BucketID: bucketA, Seen: day0})
	var public, all []*account.Log
	for i := range 100 {
		l := newLog(bucketA)
		if i < 10 {
			l = newPublic(bucketA, output1, day0)
			public = append(public, l)
		} else {
			all = append(all, l)
		}
		l.Body = make([]byte, body)
		accept(t, s, l)
	}
	if err := s.sweep(t.Context(), database.ErrClockSet); !errors.Is(err, database.ErrClockSet) {
		t.Fatalf("sweep: error %v, want %v", err, database.ErrClockSet)
	}
	for _, l := range public {
		if !has(t, s, l) {
			t.Error("one that waits to be sent is gone although others were there to go")
		}
	}
	gone := 0
	for i, l := range all {
		if !has(t, s, l) {
			if gone++; gone != i+1 {
				t.Errorf("delivery %d is gone, older ones are there", i)
			}
		}
	}
	gaps, err := s.Gaps(t.Context(), "slow")
	if err != nil || len(gaps) != 1 || gaps[0].Count != int64(gone) || gaps[0].Reason != "size" || gone == 0 || gone == len(all) {
		t.Errorf("gaps = %+v, %v; want one of %d for size", gaps, err, gone)
	}
	if n, err := s.Sizes(t.Context()); err != nil || n.Bytes > o.KeepSize {
		t.Errorf("sizes = %+v, %v; want at most %d bytes", n, err, o.KeepSize)
	}

	s.Keep(0, 256<<10) // too small for those that wait: they have to go as well
	if err := s.sweep(t.Context(), database.ErrClockSet); !errors.Is(err, database.ErrClockSet) {
		t.Fatalf("sweep: error %v, want %v", err, database.ErrClockSet)
	}
	if has(t, s, public[0]) || has(t, s, all[len(all)-1]) {
		t.Error("the database is too big, and there is something to delete")
	}
	pages, err := s.number(t.Context(), `PRAGMA page_count`)
	if err != nil || pages > sparePages+256<<10/8192 {
		t.Errorf("database of %d pages, %v; want the free ones given back", pages, err)
	}
}

func TestSweepGoesInSmallPieces(t *testing.T) {
	s, _ := retained(t, options(t))
	fillStore(t, s, 2*sweepRows)
	for range 3 {
		l := newLog(bucketA)
		l.Body = make([]byte, sweepBytes-2*rowBytes)
		accept(t, s, l)
	}
	var pieces []int
	for o := (old{before: day0.Add(day).UnixNano(), bytes: sweepBytes}); ; {
		found, err := s.oldest(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			break
		}
		pieces = append(pieces, len(found))
		o.after = found[len(found)-1].seq
	}
	if want := []int{sweepRows, sweepRows, 2, 1}; !slices.Equal(pieces, want) {
		t.Errorf("deliveries in each piece = %v, want %v", pieces, want)
	}
}

func TestOneThatIsToBeSentAgainIsNotSwept(t *testing.T) {
	s, _ := retained(t, options(t))
	l := newPublic(bucketA, output1, day0)
	l.Status = account.StatusFailed
	accept(t, s, l)
	found, err := s.oldest(t.Context(), old{before: day0.Add(day).UnixNano(), bytes: 1})
	if err != nil || len(found) != 1 {
		t.Fatalf("oldest = %v, %v; want one", found, err)
	}
	// Between the look and the deletion:
	if err := s.Update(t.Context(), l.ID, account.Update{Status: account.StatusPreparing, Next: day0}); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(t.Context(), found, false, &toll{reason: reasonSize, lost: map[string]int64{}}); err != nil {
		t.Fatal(err)
	}
	if !has(t, s, l) {
		t.Error("one that waits to be sent was deleted")
	}
}

func TestConsumersAreNotForgottenBecauseTheRelayWasAway(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	saveConsumers(t, s.Store, account.Consumer{Name: "c", BucketID: bucketA, Seen: day0})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	var c clock
	c.set(day0.Add(30 * day))
	o.hooks.Now = func() time.Time { return *c.Load() }
	s = serve(t, o)
	for i, want := range []int{1, 0} {
		if err := s.sweep(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := consumers(t, s.Store); len(got) != want {
			t.Errorf("%d hours after the start: consumers = %v, want %d", i, got, want)
		}
		c.set(c.Load().Add(backAgain))
	}
}

func TestConsumersThatWereAwayAreForgotten(t *testing.T) {
	s, now := retained(t, options(t))
	saveConsumers(t, s,
		account.Consumer{Name: "here", BucketID: bucketA, Seen: day0.Add(day)},
		account.Consumer{Name: "gone", BucketID: bucketA, Seen: day0},
	)
	acceptMany(t, s, bucketA, 1)
	now.set(day0.Add(minForget))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(consumers(t, s)); n != 2 {
		t.Errorf("%d consumers after a week, want both", n)
	}
	now.set(day0.Add(minForget + 1))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := consumers(t, s); len(got) != 1 || got[0].Name != "here" {
		t.Errorf("consumers = %+v, want the one that was here", got)
	}
	wantGaps(t, s, "gone")
}

func TestForgetBucket(t *testing.T) {
	s, _ := retained(t, options(t))
	fillStore(t, s, sweepRows+1)
	accept(t, s, newPublic(bucketA, output1, day0), newLog(bucketB))
	saveConsumers(t, s, account.Consumer{Name: "c", BucketID: bucketA, Seen: day0}, account.Consumer{Name: "c", BucketID: bucketB, Seen: day0})
	if _, _, err := s.Pull(t.Context(), account.Pull{Limit: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.ForgetBucket(t.Context(), bucketA); err != nil {
		t.Fatal(err)
	}
	page, err := s.List(t.Context(), account.Query{})
	if err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, "List", page.Logs, sweepRows+3)
	wantConsumers(t, s, account.Consumer{Name: "c", BucketID: bucketB, Seen: day0})
	wantGaps(t, s, "c")
}

func TestSweepComesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.KeepAge = 90 * time.Second
		s := serve(t, o)
		l := newLog(bucketA)
		l.Received = time.Now()
		accept(t, s.Store, l)
		time.Sleep(sweepInterval + time.Second)
		synctest.Wait()
		if !has(t, s.Store, l) {
			t.Error("the delivery is gone after a minute, want it kept for a minute and a half")
		}
		s.Keep(30*time.Second, 0)
		time.Sleep(sweepInterval)
		synctest.Wait()
		if has(t, s.Store, l) {
			t.Error("the delivery is there after two minutes")
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
}
