package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressesOfWebhooks(t *testing.T) {
	tests := []struct {
		name, target        string
		bucket, path, query string
	}{
		{"bucket alone", "/hooks/x", "x", "/", ""},
		{"trailing slash", "/hooks/x/", "x", "/", ""},
		{"query", "/hooks/x?a=1&a=%20;b", "x", "/", "a=1&a=%20;b"},
		{"more path", "/hooks/x/more/path?q", "x", "/more/path", "q"},
		{"address of the hosted relay", "/v1/webhooks/x/more", "x", "/more", ""},
		{"encoded slash in the bucket", "/hooks/a%2Fb/c%2Fd", "a/b", "/c%2Fd", ""},
		{"space and beyond ASCII", "/hooks/caf%C3%A9%20a+b", "café a+b", "/", ""},
		{"dots lead nowhere", "/hooks/x/../../healthz", "x", "/../../healthz", ""},
		{"slashes stay", "/hooks/x//y//", "x", "//y//", ""},
		{"dots as a bucket", "/hooks/..", "..", "/", ""},
		{"absolute form", "http://proxy.example/hooks/x/y", "x", "/y", ""},
	}
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := srv.send(t, "POST "+tt.target+" HTTP/1.1\nHost: h\nContent-Length: 0\n\n")
			wantAnswer(t, got, 202, `{"event":"ev1","runs":[]}`+"\n")
			w := inbox.webhooks()[i]
			if w.Bucket != tt.bucket || w.Path != tt.path || w.Query != tt.query {
				t.Errorf("bucket, path, query = %q, %q, %q, want %q, %q, %q",
					w.Bucket, w.Path, w.Query, tt.bucket, tt.path, tt.query)
			}
		})
	}
}

func TestOtherAddressesAreNotFound(t *testing.T) {
	const body = `{"error":"there is nothing at this address","hint":"webhooks go to /hooks/BUCKET"}` + "\n"
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	for _, target := range []string{
		"/", "//hooks/x", "/hooks", "/hooks/", "/hooks//x", "/v1/webhooks", "/v1/webhooks/", "/v1", "/Hooks/x",
		"/../hooks/x", "/./hooks/x", "/x/../hooks/x", "/%68ooks/x", "/healthz/", "/hooksx", "*", "//evil.example/hooks/x",
	} {
		t.Run(target, func(t *testing.T) {
			got := srv.send(t, "OPTIONS "+target+" HTTP/1.1\nHost: h\n\n")
			wantAnswer(t, got, 404, body)
			if l := got.header.Get("Location"); l != "" {
				t.Errorf("redirected to %q", l)
			}
		})
	}
	if n := len(inbox.webhooks()); n != 0 {
		t.Errorf("%d webhooks delivered, want none", n)
	}
}

func TestAnyMethodIsAWebhook(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	for i, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH", "post"} {
		t.Run(method, func(t *testing.T) {
			got := srv.send(t, method+" /hooks/x HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi")
			if got.status != 202 {
				t.Errorf("status = %d, want 202", got.status)
			}
			w := inbox.webhooks()[i]
			if want := strings.ToUpper(method); w.Method != want || string(w.Body) != "hi" {
				t.Errorf("webhook = %s %q, want %s %q", w.Method, w.Body, want, "hi")
			}
		})
	}
}

func TestWebhookIsKeptAsItCame(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	c := srv.dial(t)
	c.write("POST /hooks/x HTTP/1.1\nHost: h\nx-a: 1\nX-A: 2\nContent-Length: 5\n\n\x00\xff\r\n ")
	if got := c.read("POST"); got.status != 202 {
		t.Fatalf("status = %d, want 202", got.status)
	}
	w := inbox.webhooks()[0]
	if got, want := string(w.Body), "\x00\xff\r\n "; got != want {
		t.Errorf("body = %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(w.Header.Values("X-A")), "[1 2]"; got != want {
		t.Errorf("X-A = %s, want %s", got, want)
	}
	if got, want := w.Remote, c.LocalAddr().String(); got != want {
		t.Errorf("remote = %s, want %s", got, want)
	}
	if w.Received.IsZero() || w.Received.Location().String() != "UTC" {
		t.Errorf("received = %v, want a time in UTC", w.Received)
	}
}

func TestAnswerTellsWhatBecameOfIt(t *testing.T) {
	tests := []struct {
		name    string
		receipt Receipt
		err     error
		status  int
		body    string
		retry   string
		logged  string // "": nothing
	}{
		{name: "no rule matched", receipt: Receipt{Event: "e1"}, status: 202, body: `{"event":"e1","runs":[]}`},
		{
			name:    "two runs",
			receipt: Receipt{Event: "e1", Runs: []Started{{ID: "r1", Rule: "deploy", State: "queued"}, {ID: "r2", Rule: "tell", State: "skipped", By: "r0"}}},
			status:  202,
			body:    `{"event":"e1","runs":[{"id":"r1","rule":"deploy","state":"queued"},{"id":"r2","rule":"tell","state":"skipped","by":"r0"}]}`,
		},
		{
			name:    "duplicate",
			receipt: Receipt{Event: "e1", Duplicate: true, KeptAs: "e2", Runs: []Started{{ID: "r1", Rule: "deploy", State: "done"}}},
			status:  200,
			body:    `{"event":"e1","duplicate":true,"kept_as":"e2","runs":[{"id":"r1","rule":"deploy","state":"done"}]}`,
		},
		{
			name:   "queue full",
			err:    fmt.Errorf("accept: %w", ErrBusy),
			status: 503,
			body:   `{"error":"too many webhooks are waiting","hint":"send it again later"}`,
			retry:  "5",
			logged: `level=WARN msg="webhooks are refused" reason="too many webhooks are waiting"`,
		},
		{
			name:   "disk full",
			err:    fmt.Errorf("%w: %w", ErrUnavailable, errDisk),
			status: 503,
			body:   `{"error":"webhooks can't be stored now","hint":"send it again later"}`,
			retry:  "30",
			logged: `level=WARN msg="webhooks are refused" reason="webhooks can't be stored now"`,
		},
		{
			name:   "took too long",
			err:    fmt.Errorf("commit: %w", context.DeadlineExceeded),
			status: 503,
			body:   `{"error":"webhooks can't be stored now","hint":"send it again later"}`,
			retry:  "30",
			logged: `level=ERROR msg="webhook not taken" bucket=x remote=192.0.2.1:1234 size=6 err="commit: context deadline exceeded"`,
		},
		{
			name:   "other error",
			err:    errDisk,
			status: 500,
			body:   `{"error":"the webhook could not be taken","hint":"the log of hookrun says why"}`,
			logged: `level=ERROR msg="webhook not taken" bucket=x remote=192.0.2.1:1234 size=6 err="disk is on fire at /srv/secret"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log logged
			inbox := &fakeInbox{deliver: func(context.Context, Webhook) (Receipt, error) { return tt.receipt, tt.err }}
			h := New(Options{Inbox: inbox, Log: log.logger()}).Handler()
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("POST", "/hooks/x", strings.NewReader("secret")))

			if rec.Code != tt.status || rec.Body.String() != tt.body+"\n" {
				t.Errorf("answer = %d %q, want %d %q", rec.Code, rec.Body, tt.status, tt.body+"\n")
			}
			if got := rec.Header().Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After = %q, want %q", got, tt.retry)
			}
			wantLogged(t, &log, tt.logged)
		})
	}
}

// wantLogged wants one line that ends with text, or none.
func wantLogged(t *testing.T, log *logged, text string) {
	t.Helper()
	got := log.String()
	if text == "" && got != "" {
		t.Errorf("logged %q, want nothing", got)
	}
	if text != "" && (!strings.HasSuffix(got, text+"\n") || strings.Count(got, "\n") != 1) {
		t.Errorf("logged %q, want one line with %q", got, text)
	}
}

func TestEveryAnswerIsSafeJSON(t *testing.T) {
	srv := serve(t, Options{Inbox: &fakeInbox{}})
	for _, target := range []string{"/", "/healthz", "/hooks/x", "/hooks/stranger"} {
		got := srv.send(t, "GET "+target+" HTTP/1.1\nHost: h\n\n")
		for name, want := range map[string]string{
			"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		} {
			if got := got.header.Get(name); got != want {
				t.Errorf("GET %s: %s = %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestNothingIsTakenForStrangers(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	// No byte of the body is sent: the answer must not wait for it.
	got := srv.send(t, "POST /hooks/stranger/x HTTP/1.1\nHost: h\nContent-Length: 100\nExpect: 100-continue\n\n")
	wantAnswer(t, got, 404, `{"error":"nothing here takes webhooks for bucket \"stranger\"",`+
		`"hint":"compare the name in the URL with the buckets that the rules name"}`+"\n")
	if n := len(inbox.webhooks()); n != 0 {
		t.Errorf("%d webhooks delivered, want none", n)
	}
}

func TestCodedBodiesAreKeptAsTheyCame(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	for i, coding := range []string{"gzip", "identity, br", "no-such-coding"} {
		t.Run(coding, func(t *testing.T) {
			got := srv.send(t, "POST /hooks/x HTTP/1.1\nHost: h\nContent-Encoding: "+coding+"\nContent-Length: 4\n\n\x1f\x8b\x00\xff")
			wantAnswer(t, got, 202, `{"event":"ev1","runs":[]}`+"\n")
			w := inbox.webhooks()[i]
			if string(w.Body) != "\x1f\x8b\x00\xff" || w.Header.Get("Content-Encoding") != coding {
				t.Errorf("webhook = %q coded %q, want the bytes and coding as sent", w.Body, w.Header.Get("Content-Encoding"))
			}
		})
	}
}

func TestHealth(t *testing.T) {
	tests := []struct {
		name, method string
		health       func() Health
		status       int
		body         string
	}{
		{"no check", "GET", nil, 200, `{"ok":true}` + "\n"},
		{"healthy", "GET", func() Health { return Health{OK: true} }, 200, `{"ok":true}` + "\n"},
		{"ill", "GET", func() Health { return Health{Reason: "disk full"} }, 503, `{"ok":false,"reason":"disk full"}` + "\n"},
		{"head", "HEAD", nil, 200, ""},
		{"other method", "POST", nil, 405, `{"error":"/healthz answers GET only","hint":"webhooks go to /hooks/BUCKET"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			srv := serve(t, Options{Inbox: inbox, Health: tt.health})
			wantAnswer(t, srv.send(t, tt.method+" /healthz?x HTTP/1.1\nHost: h\n\n"), tt.status, tt.body)
			if n := len(inbox.webhooks()); n != 0 {
				t.Errorf("%d webhooks delivered, want none", n)
			}
			if got := srv.tally(); got != (tally{}) {
				t.Errorf("counts = %+v, want zeros", got)
			}
		})
	}
}

func TestServerSurvivesAPanic(t *testing.T) {
	var log logged
	inbox := &fakeInbox{deliver: func(_ context.Context, w Webhook) (Receipt, error) {
		if w.Bucket == "bad" {
			panic("no such luck")
		}
		return Receipt{Event: "ev1"}, nil
	}}
	srv := serve(t, Options{Inbox: inbox, Log: log.logger()})
	c := srv.dial(t)
	c.write("POST /hooks/bad HTTP/1.1\nHost: h\nContent-Length: 0\n\n")
	wantAnswer(t, c.read("POST"), 500,
		`{"error":"the webhook could not be taken","hint":"the log of hookrun says why"}`+"\n")
	c.write("POST /hooks/good HTTP/1.1\nHost: h\nContent-Length: 0\n\n")
	wantAnswer(t, c.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `err="no such luck"`) {
		t.Errorf("logged %q, want one line with the panic", got)
	}
	if got, want := srv.tally(), (tally{accepted: 1, failed: 1}); got != want {
		t.Errorf("counts = %+v, want %+v", got, want)
	}
}

// Recorded requests of real senders come through whole.
func TestRealSenders(t *testing.T) {
	files, err := filepath.Glob("../../testdata/events/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded requests: %v", err)
	}
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(want.Body)
			if err != nil {
				t.Fatal(err)
			}
			wantAnswer(t, srv.send(t, string(raw)), 202, `{"event":"ev1","runs":[]}`+"\n")
			got := inbox.webhooks()[i]
			if !bytes.Equal(got.Body, body) || len(body) == 0 && want.Method != http.MethodGet {
				t.Errorf("body of %d bytes, want %d as in the file", len(got.Body), len(body))
			}
			if g, w := fmt.Sprint(got.Header), fmt.Sprint(want.Header); g != w {
				t.Errorf("header = %s, want %s", g, w)
			}
		})
	}
}
