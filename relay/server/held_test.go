package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestOneAddressCannotTakeAllTheMemory: it sends bodies of the greatest size,
// each without its last byte.
func TestOneAddressCannotTakeAllTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := New(Options{Inbox: &fakeInbox{}, Log: log.logger()})
		ln := newPipes()
		srv := serveOn(t, s, ln)
		var senders sync.WaitGroup
		t.Cleanup(senders.Wait)
		body := strings.Repeat("x", defaultMaxBody-1)
		for range 8 {
			c := ln.dialFrom(t, "203.0.113.7")
			senders.Go(func() { _, _ = io.Copy(io.Discard, c) })
			senders.Go(func() {
				_, _ = fmt.Fprintf(c, "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", defaultMaxBody, body)
			})
			synctest.Wait() // what it sent is held, or refused
		}
		if got, want := s.held.used.Load(), int64(2*len(body)); got != want {
			t.Errorf("%d bytes held, want %d: a quarter of all", got, want)
		}
		if got, want := srv.tally(), (tally{turnedAway: 6}); got != want {
			t.Errorf("counts = %+v, want %+v", got, want)
		}
		if !strings.Contains(log.String(), `msg="too many bytes of bodies from one address" address=203.0.113.7/32`) {
			t.Errorf("logged %s, want whose bodies are too many", log.String())
		}
		c := ln.dialFrom(t, "192.0.2.1")
		c.write(fmt.Sprintf("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: %d\n\n%sx", defaultMaxBody, body))
		wantAnswer(t, c.read("POST"), 202, receipt)
	})
}

func TestBodyOfTheGreatestSizeHasRoom(t *testing.T) {
	const size = 17 << 20 // more than a quarter of all
	rec := httptest.NewRecorder()
	New(Options{Inbox: &fakeInbox{}, MaxBody: size}).Handler().
		ServeHTTP(rec, httptest.NewRequest("POST", "/hooks/x", strings.NewReader(strings.Repeat("x", size))))
	if rec.Code != 202 {
		t.Errorf("status = %d, want 202", rec.Code)
	}
}

func TestBodiesOfAnAddress(t *testing.T) {
	tests := []struct {
		name                  string
		peer, forwarded       string
		nextPeer, nextForward string
		bound                 bool // what the first holds counts for the next
	}{
		{"same address", "203.0.113.7:1", "", "203.0.113.7:2", "", true},
		{"same IPv6 network", "[2001:db8::1]:1", "", "[2001:db8::2]:1", "", true},
		{"other address", "203.0.113.7:1", "", "203.0.113.8:1", "", false},
		{"this machine", "127.0.0.1:1", "", "127.0.0.1:1", "", false},
		{"no address at all", "@", "", "@", "", false},
		{"proxy that says nothing", "10.0.0.1:1", "", "10.0.0.1:1", "", false},
		{"same client of a proxy", "10.0.0.1:1", "203.0.113.7", "10.0.0.2:1", "203.0.113.7", true},
		{"other client of a proxy", "10.0.0.1:1", "203.0.113.7", "10.0.0.1:1", "203.0.113.8", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				goOn := make(chan struct{})
				inbox := &fakeInbox{deliver: func(_ context.Context, w Webhook) (Receipt, error) {
					if w.Bucket == "slow" {
						<-goOn
					}
					return Receipt{Event: "ev1"}, nil
				}}
				s := New(Options{Inbox: inbox, Proxies: ours})
				s.shares.max = 1000
				h := s.Handler()
				post := func(bucket, peer, forwarded string) *httptest.ResponseRecorder {
					req := httptest.NewRequest("POST", "/hooks/"+bucket, strings.NewReader(strings.Repeat("x", 600)))
					req.RemoteAddr = peer
					if forwarded != "" {
						req.Header.Set("X-Forwarded-For", forwarded)
					}
					rec := httptest.NewRecorder()
					h.ServeHTTP(rec, req)
					return rec
				}
				go post("slow", tt.peer, tt.forwarded)
				synctest.Wait() // its body is read, it is being delivered
				wantRoom(t, post("x", tt.nextPeer, tt.nextForward), !tt.bound)
				close(goOn)
				synctest.Wait()
				wantRoom(t, post("x", tt.nextPeer, tt.nextForward), true)
				if len(s.shares.of) != 0 || s.held.used.Load() != 0 {
					t.Errorf("%d addresses hold %d bytes after all, want none", len(s.shares.of), s.held.used.Load())
				}
			})
		})
	}
}

// wantRoom reports an answer that is not what a sender gets whose body has room,
// or has none.
func wantRoom(t *testing.T, got *httptest.ResponseRecorder, room bool) {
	t.Helper()
	if room {
		if got.Code != http.StatusAccepted {
			t.Errorf("answer = %d %s, want 202", got.Code, got.Body)
		}
		return
	}
	const body = `{"error":"too many bytes of bodies from one address","hint":"send it again later"}` + "\n"
	if got.Code != 503 || got.Header().Get("Retry-After") != "5" || got.Body.String() != body {
		t.Errorf("answer = %d %v %s, want 503, to be tried after 5 s", got.Code, got.Header(), got.Body)
	}
}
