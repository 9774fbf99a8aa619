package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"hookrun/engine/database"
	"hookrun/relay/account"
	"hookrun/relay/hub"
)

var _ hub.Store = (*Store)(nil)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		os.Exit(acceptUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}

const (
	bucketA = "aaaaaaaa-0000-4000-8000-000000000000"
	bucketB = "bbbbbbbb-0000-4000-8000-000000000000"
	output1 = "11111111-0000-4000-8000-000000000000"
	output2 = "22222222-0000-4000-8000-000000000000"
)

var day0 = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// clock is one to set.
type clock struct{ atomic.Pointer[time.Time] }

func (c *clock) set(now time.Time) { c.Store(&now) }

// roomyDisk stands in for this machine's disk: local, with room, and a ballast
// that costs nothing.
func roomyDisk() database.Hooks {
	return database.Hooks{
		BallastSize: 4 << 10,
		Space:       func(string) (database.Space, error) { return database.Space{Free: 100 << 30, Total: 200 << 30}, nil },
		Kind:        func(string) (database.Kind, error) { return database.Kind{}, nil },
	}
}

// options returns those of a store in a folder of its own.
func options(t testing.TB) Options {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), hooks: roomyDisk()}
}

// served is a store at work.
type served struct {
	*Store
	stop func() error // ends Serve and returns its error; may be called twice
}

// serve opens a store and serves it until the test ends.
func serve(t testing.TB, o Options) served {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	var serr error
	go func() {
		defer close(ended)
		serr = s.Serve(ctx)
	}()
	stop := func() error {
		cancel()
		<-ended
		return serr
	}
	t.Cleanup(func() { stop() })
	return served{s, stop}
}

// retained is a store with a clock to set.
func retained(t *testing.T, o Options) (*Store, *clock) {
	var c clock
	c.set(day0)
	o.hooks.Now = func() time.Time { return *c.Load() }
	return serve(t, o).Store, &c
}

// newLog is a small delivery for the subscribers of a bucket.
func newLog(bucket string) *account.Log {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // no randomness
	}
	return &account.Log{
		ID: id.String(), WebhookID: uuid.NewString(), BucketID: bucket, InputID: output2,
		Internal: true, Received: day0, Updated: day0,
		Method: "POST", Path: "/", IP: "192.0.2.1", Status: account.StatusReceived,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"a":1}`),
	}
}

// newPublic is one that the relay itself is to send, first at next.
func newPublic(bucket, output string, next time.Time) *account.Log {
	l := newLog(bucket)
	l.Internal, l.OutputID, l.Status, l.Next = false, output, account.StatusPreparing, next
	return l
}

func accept(t testing.TB, s *Store, ds ...*account.Log) {
	t.Helper()
	if err := s.Accept(t.Context(), ds, nil); err != nil {
		t.Fatal(err)
	}
}

// acceptMany accepts so many webhooks for a bucket's subscribers, a second apart
// from day0 on, and returns them.
func acceptMany(t testing.TB, s *Store, bucket string, n int) []*account.Log {
	t.Helper()
	all := make([]*account.Log, n)
	for i := range all {
		all[i] = newLog(bucket)
		all[i].Received = day0.Add(time.Duration(i) * time.Second)
		accept(t, s, all[i])
	}
	return all
}

func seqs(logs []*account.Log) []int64 {
	out := []int64{}
	for _, l := range logs {
		out = append(out, l.Seq)
	}
	return out
}

func wantSeqs(t *testing.T, what string, got []*account.Log, want ...int64) {
	t.Helper()
	if g := seqs(got); fmt.Sprint(g) != fmt.Sprint(want) {
		t.Errorf("%s = deliveries %v, want %v", what, g, want)
	}
}

func wantLog(t *testing.T, got, want *account.Log) {
	t.Helper()
	w := *want
	w.Size = len(w.Body)
	if !reflect.DeepEqual(got, &w) {
		t.Errorf("delivery = %.1000s,\nwant %.1000s", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", &w))
	}
}
