package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hookrun/relay/account"
)

func TestAfter(t *testing.T) {
	s := serve(t, options(t)).Store
	for range 3 { // 1..9
		accept(t, s, newLog(bucketA), newPublic(bucketA, output1, day0), newLog(bucketB))
	}
	for _, tt := range []struct {
		name            string
		bucket          string
		after           int64
		limit, maxBytes int
		want            []int64
	}{
		{"all", bucketA, 0, 10, 1 << 20, []int64{1, 4, 7}},
		{"behind one", bucketA, 1, 10, 1 << 20, []int64{4, 7}},
		{"behind all", bucketA, 7, 10, 1 << 20, nil},
		{"limit", bucketA, 0, 2, 1 << 20, []int64{1, 4}},
		{"bytes", bucketA, 0, 10, 20, []int64{1, 4}},
		{"one at least", bucketA, 0, 10, 1, []int64{1}},
		{"another bucket", bucketB, 2, 10, 1 << 20, []int64{3, 6, 9}},
		{"no bucket", "none", 0, 10, 1 << 20, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.After(t.Context(), tt.bucket, tt.after, tt.limit, tt.maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, "After", got, tt.want...)
		})
	}
	if n, err := s.Waiting(t.Context(), bucketA, 1); err != nil || n != 2 {
		t.Errorf("Waiting = %d, %v; want 2", n, err)
	}
}

func TestLastSeqOutlastsDeletion(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	if n, err := s.LastSeq(t.Context()); err != nil || n != 0 {
		t.Errorf("LastSeq of an empty store = %d, %v; want 0", n, err)
	}
	acceptMany(t, s.Store, bucketA, 5)
	if err := s.ForgetBucket(t.Context(), bucketA); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, o)
	if n, err := s.LastSeq(t.Context()); err != nil || n != 5 {
		t.Errorf("LastSeq = %d, %v; want 5", n, err)
	}
	l := newLog(bucketA)
	accept(t, s.Store, l)
	if l.Seq != 6 {
		t.Errorf("seq = %d, want 6", l.Seq)
	}
}

func TestDue(t *testing.T) {
	s := serve(t, options(t)).Store
	if _, ok, err := s.NextDue(t.Context()); ok || err != nil {
		t.Errorf("NextDue of an empty store = %v, %v; want none", ok, err)
	}
	at := func(n int) time.Time { return day0.Add(time.Duration(n) * time.Second) }
	late, soon, never, done := newPublic(bucketA, output1, at(9)), newPublic(bucketA, output1, at(1)), newPublic(bucketA, output1, time.Time{}), newPublic(bucketA, output2, at(2))
	inner := newLog(bucketA)
	inner.Status, inner.Next = account.StatusPreparing, at(0)
	accept(t, s, late, soon, never, done, inner)
	if err := s.Update(t.Context(), done.ID, account.Update{Status: account.StatusSent, Next: at(2)}); err != nil {
		t.Fatal(err)
	}

	want := func(now time.Time, limit int, seqs ...int64) {
		t.Helper()
		got, err := s.Due(t.Context(), now, limit)
		if err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "Due", got, seqs...)
		for _, l := range got {
			if l.Body != nil || l.Size == 0 {
				t.Errorf("Due gives a body of %d bytes and a size of %d, want the size alone", len(l.Body), l.Size)
			}
		}
	}
	next := func(now time.Time) {
		t.Helper()
		if got, ok, err := s.NextDue(t.Context()); err != nil || !ok || !got.Equal(now) {
			t.Errorf("NextDue = %v, %v, %v; want %v", got, ok, err, now)
		}
	}
	want(at(0), 10)
	want(at(1), 10, soon.Seq)
	want(at(20), 10, soon.Seq, late.Seq)
	want(at(20), 1, soon.Seq)
	next(at(1))
	if err := s.Update(t.Context(), soon.ID, account.Update{Status: account.StatusPreparing, Retries: 1, Next: at(15)}); err != nil {
		t.Fatal(err)
	}
	want(at(20), 10, late.Seq, soon.Seq)
	next(at(9))
}

func TestAccountIsKept(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	if data, err := s.LoadAccount(t.Context()); data != nil || err != nil {
		t.Errorf("LoadAccount of an empty store = %q, %v; want nil", data, err)
	}
	book, err := account.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err := book.Edit(t.Context(), func(a *account.Account) error {
			a.Tokens = append(a.Tokens, account.Token{ID: fmt.Sprint("key", i)})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	book, err = account.Open(t.Context(), serve(t, o))
	if err != nil || len(book.Now().Tokens) != 3 {
		t.Errorf("tokens = %v, %v; want three", book.Now().Tokens, err)
	}
}

func TestSizes(t *testing.T) {
	s, now := retained(t, options(t))
	want := func(deliveries int64) {
		t.Helper()
		got, err := s.Sizes(t.Context())
		if err != nil || got.Deliveries != deliveries || got.Bytes < 8<<10 {
			t.Errorf("Sizes = %+v, %v; want %d deliveries and some bytes", got, err, deliveries)
		}
	}
	want(0)
	acceptMany(t, s, bucketA, 10)
	acceptMany(t, s, bucketB, 3)
	want(13)
	if err := s.ForgetBucket(t.Context(), bucketB); err != nil {
		t.Fatal(err)
	}
	want(10)
	now.set(day0.Add(DefaultKeepAge + 5*time.Second))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	want(5)
}

func TestListFilters(t *testing.T) {
	s := serve(t, options(t)).Store
	for i := range 4 { // 1..12
		a, p, b := newLog(bucketA), newPublic(bucketA, output1, day0), newLog(bucketB)
		for _, l := range []*account.Log{a, p, b} {
			l.Received = day0.Add(time.Duration(i) * time.Hour)
		}
		accept(t, s, a, p, b)
		if i == 0 {
			if err := s.Update(t.Context(), a.ID, account.Update{Status: account.StatusSent}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var many []string
	for i := range maxAsked {
		many = append(many, fmt.Sprint("bucket ", i))
	}
	for _, tt := range []struct {
		name  string
		q     account.Query
		total int64
		want  []int64
	}{
		{"all", account.Query{}, 12, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{"one bucket", account.Query{BucketIDs: []string{bucketA, bucketA}, Limit: 3}, 8, []int64{11, 10, 8}},
		{"two buckets", account.Query{BucketIDs: []string{bucketA, bucketB}, Limit: 3}, 12, []int64{12, 11, 10}},
		{"no buckets", account.Query{BucketIDs: []string{}}, 0, nil},
		{"many buckets", account.Query{BucketIDs: append(many, bucketB), Limit: 3}, 4, []int64{12, 9, 6}},
		{"status by update", account.Query{Status: account.StatusSent}, 1, []int64{1}},
		{"status from the start", account.Query{Status: account.StatusReceived, BucketIDs: []string{bucketA}}, 3, []int64{10, 7, 4}},
		{"preparing", account.Query{Status: account.StatusPreparing, Limit: 2}, 4, []int64{11, 8}},
		{"from", account.Query{From: day0.Add(3 * time.Hour)}, 3, []int64{12, 11, 10}},
		{"to", account.Query{To: day0.Add(time.Hour)}, 3, []int64{3, 2, 1}},
		{"from and to", account.Query{From: day0.Add(time.Hour), To: day0.Add(2 * time.Hour), BucketIDs: []string{bucketB}}, 1, []int64{6}},
		{"offset", account.Query{Offset: 10}, 12, []int64{2, 1}},
		{"offset behind the end", account.Query{Offset: 13}, 12, nil},
		{"cursor", account.Query{Cursor: "3"}, 12, []int64{2, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page, err := s.List(t.Context(), tt.q)
			if err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, "List", page.Logs, tt.want...)
			if page.Total != tt.total || page.Truncated {
				t.Errorf("total = %d, truncated: %v; want %d", page.Total, page.Truncated, tt.total)
			}
			if more := tt.q.Limit > 0 && tt.total > int64(tt.q.Limit); (page.NextCursor != "") != more {
				t.Errorf("next cursor = %q, want one: %v", page.NextCursor, more)
			}
		})
	}
}

func TestListRefuses(t *testing.T) {
	s := serve(t, options(t)).Store
	for _, q := range []account.Query{{Cursor: "x"}, {Cursor: "-1"}, {Offset: -1}, {Offset: maxOffset + 1}} {
		if _, err := s.List(t.Context(), q); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("List(%+v): error %v, want %v", q, err, account.ErrInvalid)
		}
	}
}

func TestListPagesWhileNewOnesArrive(t *testing.T) {
	s := serve(t, options(t)).Store
	const n = 95
	for range n {
		accept(t, s, newLog(bucketA))
	}
	var got []int64
	q := account.Query{Limit: 10}
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, seqs(page.Logs)...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
		accept(t, s, newLog(bucketA), newLog(bucketB))
	}
	for i, seq := range got {
		if seq != int64(n-i) {
			t.Fatalf("pages = %v, want %d to 1", got, n)
		}
	}
	if len(got) != n {
		t.Errorf("%d deliveries in all pages, want %d", len(got), n)
	}
}

func TestListBoundsBodies(t *testing.T) {
	s := serve(t, options(t)).Store
	for range 5 {
		l := newLog(bucketA)
		l.Body = make([]byte, pageBytes/2)
		accept(t, s, l)
	}
	var got []int64
	var pages int
	for q := (account.Query{}); ; pages++ {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, seqs(page.Logs)...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
	}
	if !slices.Equal(got, []int64{5, 4, 3, 2, 1}) || pages != 2 {
		t.Errorf("deliveries %v on %d pages before the last, want 5 to 1, and 2", got, pages)
	}
}

func TestListTotalIsBounded(t *testing.T) {
	s := serve(t, options(t)).Store
	fillStore(t, s, maxTotal+10)
	for _, q := range []account.Query{{}, {Status: account.StatusReceived}, {BucketIDs: []string{bucketA}}} {
		page, err := s.List(t.Context(), q)
		if err != nil || page.Total != maxTotal || !page.Truncated {
			t.Errorf("List(%+v) = total %d, truncated: %v, %v; want %d, truncated", q, page.Total, page.Truncated, err, maxTotal)
		}
	}
}

// fillStore accepts so many small webhooks for the subscribers of bucketA.
func fillStore(t testing.TB, s *Store, n int) {
	t.Helper()
	for n > 0 {
		ds := make([]*account.Log, min(n, 1000))
		for i := range ds {
			ds[i] = newLog(bucketA)
		}
		accept(t, s, ds...)
		n -= len(ds)
	}
}

func TestPullHandsOutOnce(t *testing.T) {
	s := serve(t, options(t)).Store
	const n, callers = 200, 8
	for range n {
		accept(t, s, newLog(bucketA), newPublic(bucketA, output1, day0), newLog(bucketB))
	}
	var mu sync.Mutex
	got := map[int64]int{}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			p := account.Pull{Limit: 7}
			if i%2 == 1 {
				p.OutputID = output1 // asks for a part of the same
			}
			for more := true; more; {
				logs, m, err := s.Pull(t.Context(), p)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.IsSorted(seqs(logs)) {
					t.Errorf("Pull = %v, want the oldest first", seqs(logs))
				}
				mu.Lock()
				for _, l := range logs {
					got[l.Seq]++
				}
				mu.Unlock()
				more = m
			}
		})
	}
	wg.Wait()
	if len(got) != 3*n {
		t.Errorf("%d deliveries were handed out, want %d", len(got), 3*n)
	}
	for seq, times := range got {
		if times != 1 {
			t.Errorf("delivery %d was handed out %d times", seq, times)
		}
	}
}

func TestPull(t *testing.T) {
	hour := func(n int) time.Time { return day0.Add(time.Duration(n) * time.Hour) }
	o := options(t)
	s := serve(t, o)
	for i := range 10 { // 1..20
		a, p := newLog(bucketA), newPublic(bucketB, output1, day0)
		a.Received, p.Received = hour(i), hour(i)
		accept(t, s.Store, a, p)
	}
	steps := []struct {
		p    account.Pull
		more bool
		want []int64
	}{
		{account.Pull{BucketIDs: []string{}}, false, nil},
		{account.Pull{OutputID: output2}, false, nil},
		{account.Pull{BucketIDs: []string{bucketA}, Since: hour(8)}, false, []int64{17, 19}},
		{account.Pull{BucketIDs: []string{bucketA}, Since: hour(9)}, false, nil},
		{account.Pull{BucketIDs: []string{bucketA}, Since: hour(5), Limit: 2}, true, []int64{11, 13}}, // what was passed over
		{account.Pull{BucketIDs: []string{bucketA}, Since: hour(6), Limit: 2}, false, []int64{15}},
		{account.Pull{OutputID: output1, Limit: 2}, true, []int64{2, 4}},
		{account.Pull{Limit: 4}, true, []int64{1, 3, 5, 6}},
		{account.Pull{Limit: 100}, false, []int64{7, 8, 9, 10, 12, 14, 16, 18, 20}},
		{account.Pull{}, false, nil},
	}
	for i, step := range steps {
		logs, more, err := s.Pull(t.Context(), step.p)
		if err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, fmt.Sprint("Pull ", i), logs, step.want...)
		if more != step.more {
			t.Errorf("Pull %d: more = %v, want %v", i, more, step.more)
		}
		if err := s.stop(); err != nil { // it is on disk
			t.Fatal(err)
		}
		s = serve(t, o)
	}
	accept(t, s.Store, newLog(bucketA))
	logs, _, err := s.Pull(t.Context(), account.Pull{})
	if err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, "Pull of a new one", logs, 21)
}

// What was passed over does not hide what is behind it.
func TestPullPassesOverManyOthers(t *testing.T) {
	s := serve(t, options(t)).Store
	ds := make([]*account.Log, 2*maxPassed+1)
	for i := range ds {
		ds[i] = newPublic(bucketA, output1, time.Time{})
	}
	ds[2*maxPassed].OutputID = output2
	accept(t, s, ds...)
	logs, more, err := s.Pull(t.Context(), account.Pull{OutputID: output2})
	if err != nil || more {
		t.Fatalf("Pull: more = %v, %v; want no more", more, err)
	}
	wantSeqs(t, "Pull", logs, 2*maxPassed+1)
	if n, err := s.number(t.Context(), `SELECT max(upto) FROM pulls`); err != nil || n != 2*maxPassed+1 {
		t.Errorf("passed over up to %d, %v; want %d", n, err, 2*maxPassed+1)
	}
}
