package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestBodyLimit(t *testing.T) {
	const limit = 8 << 20
	chunked := func(n int) string {
		return fmt.Sprintf("Transfer-Encoding: chunked\n\n%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("x", n))
	}
	plain := func(n int) string {
		return fmt.Sprintf("Content-Length: %d\n\n%s", n, strings.Repeat("x", n))
	}
	tests := []struct {
		name, rest string
		status     int
	}{
		{"at the limit", plain(limit), 202},
		{"one over, nothing sent yet", fmt.Sprintf("Content-Length: %d\nExpect: 100-continue\n\n", limit+1), 413},
		{"one over, sent", plain(limit + 1), 413},
		{"chunked at the limit", chunked(limit), 202},
		{"chunked, one over", chunked(limit + 1), 413},
		{"chunked with a small Content-Length", "Content-Length: 5\n" + chunked(limit+1), 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			srv := serve(t, Options{Inbox: inbox})
			c := srv.dial(t)
			// Beside reading: the server answers before it has read all.
			var sending sync.WaitGroup
			sending.Go(func() {
				_, _ = io.WriteString(c, strings.Replace("POST /hooks/x HTTP/1.1\nHost: h\n"+tt.rest, "\n", "\r\n", 4))
			})
			got := c.read("POST")
			c.Close()
			sending.Wait()
			if tt.status == 202 {
				wantAnswer(t, got, 202, `{"event":"ev1","runs":[]}`+"\n")
				if n := len(inbox.webhooks()[0].Body); n != limit {
					t.Errorf("body of %d bytes, want %d", n, limit)
				}
				return
			}
			wantAnswer(t, got, 413, `{"error":"the body is larger than 8388608 bytes"}`+"\n")
			if n := len(inbox.webhooks()); n != 0 {
				t.Errorf("%d webhooks delivered, want none", n)
			}
			if got, want := srv.tally(), (tally{tooLarge: 1}); got != want {
				t.Errorf("counts = %+v, want %+v", got, want)
			}
		})
	}
}

func TestBodyThatDoesNotComeWhole(t *testing.T) {
	tests := []struct{ name, request string }{
		{"shorter than it says", "POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 10\n\nfive!"},
		{"chunks without an end", "POST /hooks/x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n5\r\nfive!\r\n"},
		{"broken chunk", "POST /hooks/x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\nfive!\r\n0\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			srv := serve(t, Options{Inbox: inbox})
			c := srv.dial(t)
			c.write(tt.request)
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got := c.read("POST")
			wantAnswer(t, got, 400, `{"error":"the body did not come whole"}`+"\n")
			if !got.close {
				t.Error("the connection stays open, want it closed: where the next request begins is not known")
			}
			if n := len(inbox.webhooks()); n != 0 {
				t.Errorf("%d webhooks delivered, want none", n)
			}
		})
	}
}

func TestSenderThatHangsUpInTheMiddleDeliversNothing(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	c := srv.dial(t)
	c.write("POST /hooks/x HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 10\n\n")
	if _, err := c.r.ReadString('\n'); err != nil { // "100 Continue": the body is being read
		t.Fatal(err)
	}
	c.Close()
	if err := srv.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(inbox.webhooks()); n != 0 {
		t.Errorf("%d webhooks delivered, want none", n)
	}
	if got, want := srv.tally(), (tally{incomplete: 1}); got != want {
		t.Errorf("counts = %+v, want %+v", got, want)
	}
}

// What follows a body that is longer than its Content-Length is another
// request, and not a good one.
func TestContentLengthThatIsTooSmall(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	c := srv.dial(t)
	c.write("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 4\n\nfive!\r\n\r\n")
	wantAnswer(t, c.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
	if got := c.read("POST"); got.status != 400 {
		t.Errorf("status = %d, want 400", got.status)
	}
	if got := inbox.webhooks(); len(got) != 1 || string(got[0].Body) != "five" {
		t.Errorf("delivered %+v, want one body of 4 bytes", got)
	}
}

func TestContradictingContentLengths(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	got := srv.send(t, "POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 4\nContent-Length: 5\n\nfive!")
	if got.status != 400 || len(inbox.webhooks()) != 0 {
		t.Errorf("status = %d, delivered %d, want 400 and none", got.status, len(inbox.webhooks()))
	}
}

func TestSenderThatWaitsForContinue(t *testing.T) {
	inbox := &fakeInbox{}
	srv := serve(t, Options{Inbox: inbox})
	c := srv.dial(t)
	c.write("POST /hooks/x HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 5\n\n")
	if got, err := c.r.ReadString('\n'); err != nil || got != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("read %q, %v, want 100 Continue", got, err)
	}
	if _, err := c.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "five!"); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, c.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
}

func TestPipelinedRequests(t *testing.T) {
	inbox := &fakeInbox{deliver: func(_ context.Context, w Webhook) (Receipt, error) {
		return Receipt{Event: string(w.Body)}, nil
	}}
	srv := serve(t, Options{Inbox: inbox})
	c := srv.dial(t)
	var all strings.Builder
	for i := range 3 {
		fmt.Fprintf(&all, "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%d", i)
	}
	if _, err := io.WriteString(c, all.String()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		wantAnswer(t, c.read("POST"), 202, fmt.Sprintf(`{"event":"%d","runs":[]}`+"\n", i))
	}
}

func TestBodiesInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		go1 := make(chan struct{})
		inbox := &fakeInbox{deliver: func(_ context.Context, w Webhook) (Receipt, error) {
			if w.Bucket == "slow" {
				<-go1
			}
			return Receipt{Event: "ev1"}, nil
		}}
		s := New(Options{Inbox: inbox})
		s.held.max = 1000
		ln := newPipes()
		srv := serveOn(t, s, ln)
		post := func(bucket string) *client {
			c := ln.dial(t)
			c.write("POST /hooks/" + bucket + " HTTP/1.1\nHost: h\nContent-Length: 600\n\n" + strings.Repeat("x", 600))
			return c
		}

		first := post("slow")
		synctest.Wait() // its body is read, it is being delivered
		got := post("fast").read("POST")
		wantAnswer(t, got, 503, `{"error":"too many webhooks are waiting","hint":"send it again later"}`+"\n")
		if got := got.header.Get("Retry-After"); got != "5" {
			t.Errorf("Retry-After = %q, want 5", got)
		}
		close(go1)
		wantAnswer(t, first.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
		wantAnswer(t, post("fast").read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
		if got, want := srv.tally(), (tally{accepted: 2, turnedAway: 1}); got != want {
			t.Errorf("counts = %+v, want %+v", got, want)
		}
		synctest.Wait()
		if got := s.held.used.Load(); got != 0 {
			t.Errorf("%d bytes held after all, want 0", got)
		}
	})
}
