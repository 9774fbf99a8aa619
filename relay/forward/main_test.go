package forward

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookrun/relay/account"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store.
type memory struct {
	mu         sync.Mutex // guards all below
	logs       map[string]*account.Log
	updates    int
	fail       func(id string, u account.Update) error // not nil: what Update returns in place of noting
	dueFail    error
	unreadable int // reads of a delivery that fail
}

func newMemory(ls ...*account.Log) *memory {
	s := &memory{logs: map[string]*account.Log{}}
	s.add(ls...)
	return s
}

func (s *memory) add(ls ...*account.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range ls {
		l.Seq = int64(len(s.logs) + 1)
		s.logs[l.ID] = l
	}
}

func (s *memory) waiting() []*account.Log {
	var all []*account.Log
	for _, l := range s.logs {
		if !l.Internal && l.Status == account.StatusPreparing && !l.Next.IsZero() {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *account.Log) int { return cmp.Or(a.Next.Compare(b.Next), cmp.Compare(a.Seq, b.Seq)) })
	return all
}

func (s *memory) Due(_ context.Context, at time.Time, limit int) ([]*account.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dueFail != nil {
		return nil, s.dueFail
	}
	due := slices.DeleteFunc(s.waiting(), func(l *account.Log) bool { return l.Next.After(at) })
	due = due[:min(limit, len(due))]
	for i, l := range due {
		without := *l
		without.Size, without.Body = len(l.Body), nil
		due[i] = &without
	}
	return due, nil
}

func (s *memory) Log(_ context.Context, id string) (*account.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logs[id]
	if !ok {
		return nil, account.ErrNotFound
	}
	if s.unreadable > 0 {
		s.unreadable--
		return nil, errors.New("disk")
	}
	return l, nil
}

func (s *memory) NextDue(context.Context) (time.Time, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.waiting()
	if len(all) == 0 {
		return time.Time{}, false, nil
	}
	return all[0].Next, true, nil
}

func (s *memory) Update(_ context.Context, id string, u account.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates++
	if s.fail != nil {
		if err := s.fail(id, u); err != nil {
			return err
		}
	}
	l, ok := s.logs[id]
	if !ok {
		return fmt.Errorf("delivery %s: %w", id, account.ErrNotFound)
	}
	after := *l
	after.Status, after.StatusCode, after.Answer, after.AnswerHead = u.Status, u.StatusCode, u.Answer, u.AnswerHead
	after.Retries, after.Duration, after.Next = u.Retries, u.Duration, u.Next
	s.logs[id] = &after
	return nil
}

func (s *memory) kept(id string) account.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.logs[id]
}

// count is how many deliveries of an output have a status; "" is any output.
func (s *memory) count(output, status string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.logs {
		if l.Status == status && (output == "" || l.OutputID == output) {
			n++
		}
	}
	return n
}

// due is a delivery that is due.
func due(id, output string) *account.Log {
	return &account.Log{
		ID: id, BucketID: "b", OutputID: output, Method: "POST", Path: "/", Body: []byte("hello"), IP: "192.0.2.7",
		Header: http.Header{"Content-Type": {"text/plain"}}, Status: account.StatusPreparing, Next: time.Now(),
	}
}

// outputs finds outputs by their id.
func outputs(all ...account.Output) func(bucketID, outputID string) *account.Output {
	return func(_, id string) *account.Output {
		i := slices.IndexFunc(all, func(o account.Output) bool { return o.ID == id })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
}

func anyOutput(_, id string) *account.Output {
	return &account.Output{ID: id, Destination: "https://" + id + ".example/hook", TLSVerification: true}
}

// loopback are the networks that tests may reach.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// answer is one of a fake destination.
func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// started is a forwarder at work.
type started struct {
	*Forwarder
	logs *lockedBuffer
	stop func() // ends Run and waits for it
}

// start runs a forwarder. send, where it is not nil, stands for the network.
func start(t *testing.T, o Options, send func(*http.Request) (*http.Response, error)) *started {
	t.Helper()
	s := &started{logs: &lockedBuffer{}}
	o.Log = slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Forwarder = New(o)
	if send != nil {
		s.send = func(r *http.Request, _ bool) (*http.Response, error) { return send(r) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
