package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

func TestADeliveryComesBackAsItWas(t *testing.T) {
	full := newPublic(bucketA, output1, day0.Add(time.Second))
	full.Path, full.Query, full.Resent = "/a%20b/\xff", "x=1&y=%20", "an older one"
	full.Header = http.Header{"X-Many": {"1", "", "2"}, "X-Raw": {"\x00\xff\n"}, "lower": {"kept"}, "X-None": {}}
	full.Body = []byte{0, 0xff, '\n'}
	full.StatusCode, full.Answer, full.AnswerHead = 503, []byte("no\x00"), http.Header{"Retry-After": {"1"}}
	full.Retries, full.Duration, full.Updated = 2, 1500*time.Millisecond, day0.Add(time.Minute)
	bare := &account.Log{ID: "bare", Status: account.StatusStalled}
	long := newLog(bucketA)
	long.Body = bytes.Repeat([]byte("0123456789abcdef"), longValue/16)

	o := options(t)
	s := serve(t, o)
	accept(t, s.Store, full, bare)
	accept(t, s.Store, long)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, o)
	for i, want := range []*account.Log{full, bare, long} {
		got, err := s.Log(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantLog(t, got, want)
		if got.Seq != int64(i+1) {
			t.Errorf("seq of delivery %d = %d", i, got.Seq)
		}
	}
}

func TestABodyOf64MiB(t *testing.T) {
	s := serve(t, options(t))
	l := newLog(bucketA)
	l.Body = make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{1}).Read(l.Body)
	accept(t, s.Store, l, newLog(bucketA))
	logs, err := s.After(t.Context(), bucketA, 0, 10, 1<<20)
	if err != nil || len(logs) != 1 || !bytes.Equal(logs[0].Body, l.Body) {
		t.Fatalf("After = %d deliveries, %v; want the long one alone, with its body", len(logs), err)
	}
	// What became of it is noted without writing the body again.
	before := fileSize(t, filepath.Join(s.o.Dir, "relay.db-wal"))
	if err := s.Update(t.Context(), l.ID, account.Update{Status: account.StatusSent}); err != nil {
		t.Fatal(err)
	}
	if grown := fileSize(t, filepath.Join(s.o.Dir, "relay.db-wal")) - before; grown > 1<<20 {
		t.Errorf("an update wrote %d bytes, want few", grown)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

func TestAcceptIsAllOrNothing(t *testing.T) {
	s := serve(t, options(t))
	first := newLog(bucketA)
	accept(t, s.Store, first)
	twin := newLog(bucketA)
	twin.ID = first.ID
	called := false
	if err := s.Accept(t.Context(), []*account.Log{newLog(bucketA), twin}, func() { called = true }); err == nil || called {
		t.Errorf("Accept of an id that is there: error %v, committed called: %v", err, called)
	}
	next := newLog(bucketA)
	accept(t, s.Store, next)
	if next.Seq != 2 {
		t.Errorf("seq behind a webhook that was refused = %d, want 2", next.Seq)
	}
	if err := s.Accept(t.Context(), nil, func() { called = true }); err != nil || !called {
		t.Errorf("Accept of nothing: error %v, committed called: %v", err, called)
	}
}

func TestCommittedComesInTheOrderOfSeq(t *testing.T) {
	const producers, each = 64, 20
	s := serve(t, options(t))
	var mu sync.Mutex
	var order []int64
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for range each {
				ds := []*account.Log{newLog(bucketA), newLog(bucketB)}
				var called atomic.Bool
				err := s.Accept(t.Context(), ds, func() {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, ds[0].Seq, ds[1].Seq)
					called.Store(true)
				})
				if err != nil || !called.Load() {
					t.Errorf("Accept: error %v, committed called before: %v", err, called.Load())
				}
			}
		})
	}
	wg.Wait()
	if len(order) != 2*producers*each || !slices.IsSorted(order) {
		t.Errorf("%d deliveries were committed, in order: %v; want %d", len(order), slices.IsSorted(order), 2*producers*each)
	}
	for i, seq := range order {
		if seq != int64(i+1) {
			t.Fatalf("delivery %d has seq %d", i+1, seq)
		}
	}
}

func TestUpdate(t *testing.T) {
	o := options(t)
	now := day0.Add(time.Hour)
	o.hooks.Now = func() time.Time { return now }
	s := serve(t, o)
	l := newLog(bucketA)
	accept(t, s.Store, l)
	for _, u := range []account.Update{
		{Status: account.StatusSent, StatusCode: 200, Answer: []byte("ok"), AnswerHead: http.Header{"A": {"b"}}, Retries: 1, Duration: time.Second},
		{Status: account.StatusFailed, Answer: bytes.Repeat([]byte("x"), 3<<20), Next: day0},
		{Status: account.StatusStalled},
	} {
		if err := s.Update(t.Context(), l.ID, u); err != nil {
			t.Fatal(err)
		}
		l.Status, l.StatusCode, l.Answer, l.AnswerHead = u.Status, u.StatusCode, u.Answer, u.AnswerHead
		l.Retries, l.Duration, l.Next, l.Updated = u.Retries, u.Duration, u.Next, now
		got, err := s.Log(t.Context(), l.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantLog(t, got, l)
	}
	if err := s.Update(t.Context(), "another", account.Update{}); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Update of what is not there: error %v, want %v", err, account.ErrNotFound)
	}
	if _, err := s.Log(t.Context(), "another"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Log of what is not there: error %v, want %v", err, account.ErrNotFound)
	}
}

func TestAFullDiskTakesNoWebhookButAnUpdate(t *testing.T) {
	o := options(t)
	var free atomic.Uint64
	free.Store(100 << 30)
	o.hooks.Space = func(string) (database.Space, error) {
		return database.Space{Free: free.Load(), Total: 200 << 30}, nil
	}
	s := serve(t, o)
	l := newLog(bucketA)
	accept(t, s.Store, l)
	free.Store(1 << 20)
	err := s.Accept(t.Context(), []*account.Log{newLog(bucketA)}, nil)
	if !errors.Is(err, database.ErrUnavailable) || !strings.Contains(err.Error(), "not accepting webhooks") {
		t.Errorf("Accept: error %v, want %v", err, database.ErrUnavailable)
	}
	if err := s.Health(); !errors.Is(err, database.ErrUnavailable) {
		t.Errorf("Health: error %v, want %v", err, database.ErrUnavailable)
	}
	if err := s.Update(t.Context(), l.ID, account.Update{Status: account.StatusSent}); err != nil {
		t.Errorf("Update: %v", err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Accept(t.Context(), []*account.Log{newLog(bucketA)}, nil); !errors.Is(err, database.ErrUnavailable) {
		t.Errorf("Accept after Serve: error %v, want %v", err, database.ErrUnavailable)
	}
}

func TestOpenTellsWhatIsWrongWithTheFolder(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in use by another hookrun") {
		t.Errorf("Open of a folder that is in use: error %v", err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, "relay.db")
	if err := os.WriteFile(path, []byte("this is no database, whatever its name says it is"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, database.ErrCorrupt) {
		t.Errorf("Open of a damaged file: error %v, want %v", err, database.ErrCorrupt)
	}
	o.FreshOnCorrupt = true
	accept(t, serve(t, o).Store, newLog(bucketA))
}

func TestHeaderCodec(t *testing.T) {
	for _, h := range []http.Header{
		nil,
		{"A": {"1"}},
		{"": {""}, "B": {}, "C": {"1", "2", strings.Repeat("x", 70_000)}},
	} {
		got, err := decodeHeader(encodeHeader(h))
		if err != nil || len(got) != len(h) {
			t.Errorf("decode(encode(%v)) = %v, %v", h, got, err)
		}
		for name, values := range h {
			if !slices.Equal(got[name], values) {
				t.Errorf("header %q = %q, want %q", name, got[name], values)
			}
		}
	}
	whole := encodeHeader(http.Header{"Name": {"value"}})
	for n := 1; n < len(whole); n++ {
		if h, err := decodeHeader(whole[:n]); err == nil {
			t.Errorf("decode of %d of %d bytes = %v, want an error", n, len(whole), h)
		}
	}
	if _, err := decodeHeader([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1, 'a'}); err == nil {
		t.Error("decode of a huge count: no error")
	}
}
