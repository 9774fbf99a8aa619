package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// post sends a webhook of 6 bytes to a bucket, named as in a URL.
func post(h http.Handler, bucket string) int {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("POST", "/hooks/"+bucket, strings.NewReader("secret")))
	return rec.Code
}

// everybody makes everybody a trusted proxy.
func everybody() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }

// choosy knows no bucket.
type choosy struct{ fakeInbox }

func (*choosy) Known(string) bool { return false }

func TestUnknownBucketsAreLogged(t *testing.T) {
	tests := []struct {
		name, bucket string // as in the URL
		want         string // in the log
	}{
		{"plain", "deploy", "deploy"},
		{"tries to write a line", "a%0Alevel=ERROR%1b", `"a\nlevel=ERROR\x1b"`},
		{"100 bytes", strings.Repeat("x", 100), strings.Repeat("x", 100)},
		{"long, cut within a letter", strings.Repeat("%C3%BC", 49) + "x%C3%BC%C3%BC", strings.Repeat("ü", 49) + "x…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log logged
			post(New(Options{Inbox: &choosy{}, Log: log.logger()}).Handler(), tt.bucket)
			wantLogged(t, &log, `level=WARN msg="no rule is for this bucket" bucket=`+tt.want+` remote=192.0.2.1:1234`)
		})
	}
}

func TestStrangersDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := New(Options{Inbox: &choosy{}, Log: log.logger(), Proxies: everybody}) // so that nobody is too fast
		h := s.Handler()
		for i := range 1000 {
			post(h, fmt.Sprint("bucket-", i))
			post(h, "bucket-0")
		}
		if got := strings.Count(log.String(), "\n"); got != 20 {
			t.Errorf("lines in the first minute = %d, want 20", got)
		}
		time.Sleep(time.Minute)
		post(h, "bucket-0")
		// Of 2000 all but 20 were left out, and 19 are in the lines before.
		if got, want := log.String(), "bucket=bucket-0 remote=192.0.2.1:1234 left_out=1961\n"; !strings.HasSuffix(got, want) {
			t.Errorf("logged %s, want at its end %s", got, want)
		}
		post(h, "bucket-0")
		post(h, "bucket-1")
		if got, want := log.String(), "bucket=bucket-1 remote=192.0.2.1:1234 left_out=1\n"; !strings.HasSuffix(got, want) {
			t.Errorf("logged %s, want at its end %s", got, want)
		}
	})
}

func TestRefusalsAreLoggedWhenTheyBeginAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		var refuse error
		inbox := &fakeInbox{deliver: func(context.Context, Webhook) (Receipt, error) { return Receipt{Event: "e"}, refuse }}
		h := New(Options{Inbox: inbox, Log: log.logger()}).Handler()

		refuse = fmt.Errorf("accept: %w", ErrBusy)
		for range 100 {
			post(h, "x")
		}
		refuse = errors.Join(ErrUnavailable, errDisk)
		post(h, "x")
		// Where some are refused and some are taken, it is not over.
		for range 100 {
			refuse = nil
			post(h, "x")
			refuse = ErrUnavailable
			post(h, "x")
			time.Sleep(time.Second)
		}
		refuse = nil
		time.Sleep(time.Minute)
		post(h, "x")
		post(h, "x")
		wantLines(t, &log,
			`level=WARN msg="webhooks are refused" reason="too many webhooks are waiting"`,
			`level=WARN msg="webhooks are refused" reason="webhooks can't be stored now"`,
			`level=INFO msg="webhooks are taken again" reason="too many webhooks are waiting" refused=100`,
			`level=INFO msg="webhooks are taken again" reason="webhooks can't be stored now" refused=101`,
		)
	})
}

func TestRefusalForMemoryIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := New(Options{Inbox: &fakeInbox{}, Log: log.logger()})
		h := s.Handler()
		s.held.max = 5
		post(h, "x")
		post(h, "x")
		s.held.max = 6
		time.Sleep(time.Minute)
		post(h, "x")
		wantLines(t, &log,
			`level=WARN msg="webhooks are refused" reason="the bodies in memory reached their bound"`,
			`level=INFO msg="webhooks are taken again" reason="the bodies in memory reached their bound" refused=2`,
		)
	})
}

func wantLines(t *testing.T, log *logged, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("logged\n%s\nwant\n%s", log, strings.Join(want, "\n"))
	}
	for i, line := range want {
		if !strings.HasSuffix(got[i], line) {
			t.Errorf("line %d = %s, want %s", i+1, got[i], line)
		}
	}
}

func TestStopLogsWhatWasAnswered(t *testing.T) {
	var log logged
	srv := serve(t, Options{Inbox: &fakeInbox{}, Log: log.logger()})
	srv.send(t, emptyPost)
	srv.send(t, "GET / HTTP/1.1\nHost: h\n\n")
	if err := srv.stop(); err != nil {
		t.Fatal(err)
	}
	wantLogged(t, &log, `level=INFO msg="intake closed" accepted=1 too_large=0 unknown=1 refused=0 limited=0 not_awaited=0 incomplete=0 turned_away=0 failed=0`)
}
