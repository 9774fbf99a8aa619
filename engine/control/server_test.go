package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// fakeDesk answers with its fields and notes what it was asked.
type fakeDesk struct {
	list    List
	detail  Detail
	run     Run
	paused  Paused
	summary Summary
	pieces  []Piece
	err     error
	block   bool // Log and Watch wait for their context at the end

	past // what History and Control answer

	mu    sync.Mutex // guards asked
	asked []string
}

var _ Desk = (*fakeDesk)(nil)

func (f *fakeDesk) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeDesk) List(_ context.Context, q Query) (List, error) {
	return f.list, f.note("list %+v", q)
}

func (f *fakeDesk) Show(_ context.Context, id string) (Detail, error) {
	return f.detail, f.note("show %s", id)
}

func (f *fakeDesk) Retry(_ context.Context, id string, all bool) (Run, error) {
	return f.run, f.note("retry %s %v", id, all)
}

func (f *fakeDesk) Cancel(_ context.Context, id string) (Run, error) {
	return f.run, f.note("cancel %s", id)
}

func (f *fakeDesk) Paused(context.Context) (Paused, error) { return f.paused, f.note("paused") }

func (f *fakeDesk) Pause(_ context.Context, rule string) (Paused, error) {
	return f.paused, f.note("pause %q", rule)
}

func (f *fakeDesk) Resume(_ context.Context, rule string) (Paused, error) {
	return f.paused, f.note("resume %q", rule)
}

func (f *fakeDesk) Summary(context.Context) (Summary, error) { return f.summary, f.note("summary") }

func (f *fakeDesk) Log(ctx context.Context, id string, follow bool, emit func(Piece) error) error {
	for _, p := range f.pieces {
		if err := emit(p); err != nil {
			return err
		}
	}
	if f.block {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return f.note("log %s %v", id, follow)
}

// serve serves the desk at a data folder, until stop is called or the test ends.
func serve(t *testing.T, desk Desk, dir string) (stop func()) {
	t.Helper()
	ln, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, desk, ln)
}

func serveOn(t *testing.T, desk Desk, ln net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := NewServer(desk, nil).Serve(ctx, ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func dialDir(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClientAndServerAreTheDesk: what the one is asked the other hears, and its
// answer comes back whole.
func TestClientAndServerAreTheDesk(t *testing.T) {
	code := 2
	now := time.Now().UTC()
	f := &fakeDesk{
		list: List{Runs: []Run{{ID: "r1", Seq: 7, Rule: "a <b>", State: engine.Done, Created: now, Started: now, Note: "n"}}, Next: 7, Hint: "h"},
		detail: Detail{
			Run: Run{ID: "r1", Created: now, Stop: engine.Replaced, Due: now}, Element: json.RawMessage(`{"n":12345678901234567890}`),
			Event: &Event{ID: "e", Received: now, Size: 3}, Verdict: &engine.Verdict{Rule: "a", Outcome: engine.Matched, Missing: []string{"x"}},
			Planned: &engine.PlannedRun{Index: 2, Steps: []engine.PlannedStep{{Step: "1", Kind: "exec", Plan: engine.Plan{Argv: []string{"a <b>"}}}}}, PlannedErr: "p",
			Steps: []Step{{Attempt: 1, State: engine.StepFailed, ExitCode: &code, Started: now, Body: Bytes("\xff"), Stdout: Text{Head: Bytes("a\xffb"), Cut: 3, Tail: Bytes("ü")}}},
		},
		run:     Run{ID: "r1", State: engine.Queued, Created: now, Why: "its turn"},
		paused:  Paused{All: true, Rules: []string{"a b"}},
		summary: Summary{Since: now, Ended: map[engine.State]int64{engine.Done: 1 << 40}, Waiting: 2, Held: 3, Paused: Paused{Rules: []string{}}},
		pieces:  []Piece{{Attempt: 1, Step: "1", Stream: engine.Stdout, Cut: 1, Data: Bytes("\x00\xff\n")}, {State: engine.Done, Why: "w"}},
		past:    somePast(now),
	}
	dir := t.TempDir()
	serve(t, f, dir)
	c := dialDir(t, dir)
	for _, tt := range []struct {
		asked string
		do    func(Desk) (any, error)
		want  any
	}{
		{"list {Event: Bucket: Rule: States:[] Since:0001-01-01 00:00:00 +0000 UTC Until:0001-01-01 00:00:00 +0000 UTC Before:0 Limit:0}",
			func(d Desk) (any, error) { return d.List(t.Context(), Query{}) }, f.list},
		{fmt.Sprintf("list {Event:e1 Bucket:b Rule:a&b=c States:[done failed] Since:%s Until:%s Before:9 Limit:10}", now, now.Add(1)),
			func(d Desk) (any, error) {
				return d.List(t.Context(), Query{Event: "e1", Bucket: "b", Rule: "a&b=c", States: []engine.State{engine.Done, engine.Failed}, Since: now, Until: now.Add(1), Before: 9, Limit: 10})
			}, f.list},
		{"show a/../b?c", func(d Desk) (any, error) { return d.Show(t.Context(), "a/../b?c") }, f.detail},
		{"retry r1 false", func(d Desk) (any, error) { return d.Retry(t.Context(), "r1", false) }, f.run},
		{"retry r1 true", func(d Desk) (any, error) { return d.Retry(t.Context(), "r1", true) }, f.run},
		{"cancel r1", func(d Desk) (any, error) { return d.Cancel(t.Context(), "r1") }, f.run},
		{"paused", func(d Desk) (any, error) { return d.Paused(t.Context()) }, f.paused},
		{`pause ""`, func(d Desk) (any, error) { return d.Pause(t.Context(), "") }, f.paused},
		{`pause "a b"`, func(d Desk) (any, error) { return d.Pause(t.Context(), "a b") }, f.paused},
		{`resume "a b"`, func(d Desk) (any, error) { return d.Resume(t.Context(), "a b") }, f.paused},
		{"summary", func(d Desk) (any, error) { return d.Summary(t.Context()) }, f.summary},
		{"log r1 true", func(d Desk) (any, error) { return collect(t, d, true) }, f.pieces},
		{"log r1 false", func(d Desk) (any, error) { return collect(t, d, false) }, f.pieces},
	} {
		t.Run(tt.asked, func(t *testing.T) {
			f.err, f.asked = nil, nil
			got, err := tt.do(c)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			wantEqual(t, "asked", f.asked, []string{tt.asked})

			if strings.HasPrefix(tt.asked, "log") {
				return
			}
			f.err = &Error{http.StatusConflict, "it is <gone>", "look there"}
			_, err = tt.do(c)
			wantError(t, err, Error{http.StatusConflict, "it is <gone>", "look there"})
			f.err = errors.New("disk is full")
			_, err = tt.do(c)
			wantError(t, err, Error{http.StatusInternalServerError, "disk is full", ""})
		})
	}
}

func collect(t *testing.T, d Desk, follow bool) (all []Piece, err error) {
	err = d.Log(t.Context(), "r1", follow, func(p Piece) error {
		all = append(all, p)
		return nil
	})
	return all, err
}

func TestRequestsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /v1/runs?sate=done", 400, `{"error":"unknown parameter \"sate\"","hint":"did you mean \"state\"?"}`},
		{"GET /v1/runs?limit=many", 400, `{"error":"parameter \"limit\" is not a number from 1"}`},
		{"GET /v1/runs?before=0", 400, `{"error":"parameter \"before\" is not a number from 1"}`},
		{"GET /v1/runs?since=yesterday", 400, `{"error":"parameter \"since\" is not a time such as 2006-01-02T15:04:05Z07:00"}`},
		{"GET /v1/runs?rule=a&rule=b", 400, `{"error":"parameter \"rule\" is given twice"}`},
		{"GET /v1/runs?rule=%zz", 400, `{"error":"the parameters can't be read"}`},
		{"POST /v1/pause?rul=deploy", 400, `{"error":"unknown parameter \"rul\"","hint":"did you mean \"rule\"?"}`},
		{"POST /v1/runs/r1/retry?all=yes", 400, `{"error":"parameter \"all\" is not 0 or 1"}`},
		{"GET /v1/runs/r1/log?follow=yes", 400, `{"error":"parameter \"follow\" is not 0 or 1"}`},
		{"GET /v1/events?before=x", 400, `{"error":"parameter \"before\" is not a number from 1"}`},
		{"GET /v1/events?outcom=error", 400, `{"error":"unknown parameter \"outcom\"","hint":"did you mean \"outcome\"?"}`},
		{"GET /v1/events?until=tomorrow", 400, `{"error":"parameter \"until\" is not a time such as 2006-01-02T15:04:05Z07:00"}`},
		{"GET /v1/rates?step=often", 400, `{"error":"parameter \"step\" is not a length of time such as 30m"}`},
		{"GET /v1/rates?step=-1s", 400, `{"error":"parameter \"step\" is not a length of time such as 30m"}`},
		{"GET /v1/watch?rules=a", 400, `{"error":"unknown parameter \"rules\"","hint":"did you mean \"rule\"?"}`},
		{"GET /v1/events/e1/body?raw=1", 400, `{"error":"unknown parameter \"raw\""}`},
		{"DELETE /v1/armed?rul=a", 400, `{"error":"unknown parameter \"rul\"","hint":"did you mean \"rule\"?"}`},
		{"POST /v1/rules/accept?hsah=h", 400, `{"error":"unknown parameter \"hsah\"","hint":"did you mean \"hash\"?"}`},
		{"GET /v1/replay", 404, `{"error":"there is nothing at GET /v1/replay","hint":"this hookrun may be older or newer than who asks"}`},
		{"GET /v1/runs/r1/retry", 404, `{"error":"there is nothing at GET /v1/runs/r1/retry","hint":"this hookrun may be older or newer than who asks"}`},
		{"GET /v2/runs", 404, `{"error":"there is nothing at GET /v2/runs","hint":"this hookrun may be older or newer than who asks"}`},
	} {
		t.Run(tt.request, func(t *testing.T) {
			f := &fakeDesk{}
			dir := t.TempDir()
			serve(t, f, dir)
			method, path, _ := strings.Cut(tt.request, " ")
			conn, err := dial(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: hookrun\r\nConnection: close\r\n\r\n", method, path)
			answer, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) || strings.TrimSpace(body) != tt.body {
				t.Errorf("answer = %s\n\n%s\nwant %d %s", head, body, tt.status, tt.body)
			}
			wantEqual(t, "asked", len(f.asked), 0)
		})
	}
}

// TestStopEndsLogs: one who follows a log learns that it ended early.
func TestStopEndsLogs(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, &fakeDesk{pieces: []Piece{{State: engine.Running}}, block: true}, dir)
	c := dialDir(t, dir)
	err := c.Log(t.Context(), "r1", true, func(Piece) error {
		go stop()
		return nil
	})
	if !errors.Is(err, errCut) {
		t.Errorf("error = %v, want %v", err, errCut)
	}
	stop()
	if _, err := c.Summary(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after the stop: %v, want %v", err, ErrNoDaemon)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Dial: %v, want %v", err, ErrNoDaemon)
	}
}

func TestLogEndsWithWhoFollows(t *testing.T) {
	dir := t.TempDir()
	f := &fakeDesk{pieces: []Piece{{State: engine.Running}}, block: true}
	serve(t, f, dir) // its end, when the test ends, waits for the log
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	err := dialDir(t, dir).Log(ctx, "r1", true, func(Piece) error {
		cancel(enough)
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("error = %v, want %v", err, enough)
	}
}

func TestErrorOfALogBeforeItsFirstPiece(t *testing.T) {
	dir := t.TempDir()
	serve(t, &fakeDesk{err: &Error{http.StatusNotFound, "no run", "look there"}}, dir)
	_, err := collect(t, dialDir(t, dir), false)
	wantError(t, err, Error{http.StatusNotFound, "no run", "look there"})
}

// pipes is a listener in memory, so that a test's clock can be a fake one.
type pipes struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	return here, nil
}

// TestLogOutlastsTheTimeouts: a command may print nothing for hours.
func TestLogOutlastsTheTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := &slowLog{}
		stop := serveOn(t, s, p)
		c := &Client{&http.Client{Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}}}
		got, err := collect(t, c, true)
		if err != nil || len(got) != 2 {
			t.Errorf("log = %v, %v", got, err)
		}
		stop()
	})
}

type slowLog struct{ fakeDesk }

func (s *slowLog) Log(ctx context.Context, _ string, _ bool, emit func(Piece) error) error {
	if err := emit(Piece{State: engine.Running}); err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Hour); err != nil {
		return err
	}
	return emit(Piece{State: engine.Done})
}

// TestConnectionsAreBounded: those beyond the bound are closed, and counted.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		var log strings.Builder
		s := NewServer(&fakeDesk{}, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Serve(ctx, p) })
		closed := 0
		for range maxConns + 3 {
			conn, err := p.dial(ctx, "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			err = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) { // the latter where it was closed before the deadline was set
				closed++
			}
		}
		cancel()
		wg.Wait()
		wantEqual(t, "closed", closed, 3)
		if want := fmt.Sprintf(`msg="too many commands came at once" refused=3 most=%d`, maxConns); !strings.Contains(log.String(), want) {
			t.Errorf("log = %s, want %s", log.String(), want)
		}
	})
}
