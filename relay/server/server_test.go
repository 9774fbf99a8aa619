package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const emptyPost = "POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 0\n\n"

func TestHeaderLimits(t *testing.T) {
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: a\n", i)
		}
		return b.String()
	}
	tests := []struct {
		name, header string
		status       int
	}{
		{"100 fields", fields(99), 202}, // and Content-Length
		{"101 fields", fields(100), 431},
		{"one name 101 times", strings.Repeat("X-A: a\n", 100), 431},
		{"60 KiB", "X-A: " + strings.Repeat("a", 60<<10) + "\n", 202},
		{"70 KiB", "X-A: " + strings.Repeat("a", 70<<10) + "\n", 431},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			srv := serve(t, Options{Inbox: inbox})
			got := srv.send(t, "POST /hooks/x HTTP/1.1\nHost: h\n"+tt.header+"Content-Length: 0\n\n")
			if got.status != tt.status {
				t.Errorf("status = %d, want %d", got.status, tt.status)
			}
			if delivered := len(inbox.webhooks()) == 1; delivered != (tt.status == 202) {
				t.Errorf("delivered = %v with status %d", delivered, got.status)
			}
			if tt.status == 431 && !got.close {
				t.Error("the connection stays open, want it closed")
			}
		})
	}
}

func TestSlowSenders(t *testing.T) {
	tests := []struct {
		name, text string
		after      time.Duration // until the server ends the connection
		status     int           // answered before; 0: none
	}{
		{"says nothing", "", 5 * time.Second, 0},
		{"header without an end", "POST /hooks/x HTTP/1.1\r\nHost: h\r\nX-", 5 * time.Second, 0},
		{"body without an end", "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", 5 * time.Second, 408},
		{"body that stops after 10 KiB", "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 20480\r\n\r\n" + strings.Repeat("x", 10<<10), 5 * time.Second, 408},
		{"no second request", "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 60 * time.Second, 202},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				serveOn(t, New(Options{Inbox: &fakeInbox{}}), ln)
				start := time.Now()
				c := ln.dial(t)
				if _, err := io.WriteString(c, tt.text); err != nil {
					t.Fatal(err)
				}
				if tt.status != 0 {
					if got := c.read("POST"); got.status != tt.status {
						t.Errorf("status = %d, want %d", got.status, tt.status)
					}
				}
				if _, err := io.Copy(io.Discard, c.r); err != nil {
					t.Fatal(err)
				}
				// net/http lingers half a second after it cut a body.
				if got := time.Since(start).Truncate(time.Second); got != tt.after {
					t.Errorf("ended after %v, want %v", got, tt.after)
				}
			})
		})
	}
}

func TestBodyThatStallsIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := &fakeInbox{}
		ln := newPipes()
		serveOn(t, New(Options{Inbox: inbox}), ln)
		c := ln.dial(t)
		c.write("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 10\n\nhalf")
		wantAnswer(t, c.read("POST"), 408, `{"error":"the body came too slowly: less than 5120 bytes in 5s"}`+"\n")
		if n := len(inbox.webhooks()); n != 0 {
			t.Errorf("%d webhooks delivered, want none", n)
		}
	})
}

// A body goes on for as long as enough of it keeps coming: what came before is no
// credit.
func TestLeastRateOfABody(t *testing.T) {
	tests := []struct {
		name   string
		burst  int // bytes at once,
		step   int // then so many each second
		after  time.Duration
		status int
	}{
		{"fast enough", 0, 1280, 24 * time.Second, 202},
		{"fast enough after a burst", 1 << 20, 1280, 24 * time.Second, 202},
		{"too slow", 0, 1000, 5 * time.Second, 408},
		{"too slow after a burst", 1 << 20, 1000, 5 * time.Second, 408},
		{"last bytes", 5 << 10, 1, 4 * time.Second, 202},
		{"fast enough, too large", 0, 2 << 10, 30 * time.Second, 408},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				serveOn(t, New(Options{Inbox: &fakeInbox{}}), ln)
				steps := 40
				if tt.status == 202 {
					steps = int(tt.after / time.Second)
				}
				c := ln.dial(t)
				c.write(fmt.Sprintf("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: %d\n\n%s",
					tt.burst+steps*tt.step, strings.Repeat("x", tt.burst)))
				begin := time.Now()
				var sending sync.WaitGroup
				defer sending.Wait()
				sending.Go(func() {
					for range steps {
						time.Sleep(time.Second)
						if _, err := io.WriteString(c, strings.Repeat("x", tt.step)); err != nil {
							return
						}
					}
				})
				got := c.read("POST")
				if after := time.Since(begin); got.status != tt.status || after != tt.after {
					t.Errorf("status = %d after %v, want %d after %v", got.status, after, tt.status, tt.after)
				}
				c.Close()
			})
		})
	}
}

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		serveOn(t, New(Options{Inbox: &fakeInbox{}, MaxConns: 2}), ln)
		first, second := ln.dial(t), ln.dial(t)
		third := make(chan *client)
		go func() { third <- ln.dial(t) }()
		synctest.Wait()
		select {
		case <-third:
			t.Fatal("a third connection was accepted, want it to wait")
		default:
		}
		second.write(emptyPost)
		wantAnswer(t, second.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
		first.Close()
		c := <-third
		c.write(emptyPost)
		wantAnswer(t, c.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
	})
}

func TestDeliveryGoesOnWhenTheSenderHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, leave := make(chan context.Context, 1), make(chan struct{})
		inbox := &fakeInbox{deliver: func(ctx context.Context, _ Webhook) (Receipt, error) {
			entered <- ctx
			<-leave
			return Receipt{Event: "ev1"}, ctx.Err()
		}}
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: inbox}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		ctx := <-entered
		c.Close()
		synctest.Wait() // the server saw it
		if err := ctx.Err(); err != nil {
			t.Errorf("delivery ended with its sender: %v", err)
		}
		close(leave)
		synctest.Wait()
		if got, want := srv.tally(), (tally{accepted: 1}); got != want {
			t.Errorf("counts = %+v, want %+v", got, want)
		}
	})
}

func TestDeliveryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := &fakeInbox{deliver: func(ctx context.Context, _ Webhook) (Receipt, error) {
			<-ctx.Done()
			return Receipt{}, ctx.Err()
		}}
		ln := newPipes()
		serveOn(t, New(Options{Inbox: inbox}), ln)
		start := time.Now()
		c := ln.dial(t)
		c.write(emptyPost)
		wantAnswer(t, c.read("POST"), 503, `{"error":"webhooks can't be stored now","hint":"send it again later"}`+"\n")
		if got, want := time.Since(start), 30*time.Second; got != want {
			t.Errorf("answered after %v, want %v", got, want)
		}
	})
}

func TestStopLetsRequestsInFlightFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, leave := make(chan struct{}), make(chan struct{})
		inbox := &fakeInbox{deliver: func(ctx context.Context, _ Webhook) (Receipt, error) {
			close(entered)
			<-leave
			return Receipt{Event: "ev1"}, ctx.Err()
		}}
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: inbox}), ln)
		c, silent := ln.dial(t), ln.dial(t)
		c.write(emptyPost)
		<-entered

		stopped := make(chan error, 1)
		go func() { stopped <- srv.stop() }()
		<-ln.done // nothing more is accepted
		synctest.Wait()
		select {
		case err := <-stopped:
			t.Fatalf("Serve ended before its request: %v", err)
		default:
		}
		close(leave)
		got := c.read("POST")
		wantAnswer(t, got, 202, `{"event":"ev1","runs":[]}`+"\n")
		if !got.close {
			t.Error("the connection stays open, want it closed")
		}
		if err := <-stopped; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if _, err := silent.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("silent connection: %v, want EOF", err)
		}
	})
}

func TestStopCutsWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		entered := make(chan struct{})
		ended := false
		inbox := &fakeInbox{deliver: func(ctx context.Context, _ Webhook) (Receipt, error) {
			close(entered)
			<-ctx.Done()
			ended = true
			return Receipt{}, ctx.Err()
		}}
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: inbox, Log: log.logger()}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		<-entered
		start := time.Now()
		if err := srv.stop(); err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if got, want := time.Since(start), 10*time.Second; got != want {
			t.Errorf("stopped after %v, want %v", got, want)
		}
		if !ended {
			t.Error("Serve left a delivery behind")
		}
		if !strings.Contains(log.String(), `msg="requests in flight cut off" after=10s`) {
			t.Errorf("logged %q, want that requests were cut off", log.String())
		}
	})
}

func TestHurryCutsRequestsInFlightAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		entered, hurry := make(chan struct{}), make(chan struct{})
		inbox := &fakeInbox{deliver: func(ctx context.Context, _ Webhook) (Receipt, error) {
			close(entered)
			<-ctx.Done()
			return Receipt{}, ctx.Err()
		}}
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: inbox, Log: log.logger(), Hurry: hurry}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		<-entered
		start := time.Now()
		time.AfterFunc(2*time.Second, func() { close(hurry) })
		if err := srv.stop(); err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if got, want := time.Since(start), 2*time.Second; got != want {
			t.Errorf("stopped after %v, want %v", got, want)
		}
		if !strings.Contains(log.String(), `msg="requests in flight cut off" after=2s`) {
			t.Errorf("logged %q, want that requests were cut off", log.String())
		}
	})
}

func TestHurryBeforeTheStopEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		close(hurry)
		ln := newPipes()
		serveOn(t, New(Options{Inbox: &fakeInbox{}, Hurry: hurry}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		wantAnswer(t, c.read("POST"), 202, `{"event":"ev1","runs":[]}`+"\n")
	})
}

// brokenListener can't accept.
type brokenListener struct{ *pipes }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("no more") }

func TestServeTellsWhyItCannotGoOn(t *testing.T) {
	err := New(Options{Inbox: &fakeInbox{}}).Serve(t.Context(), brokenListener{newPipes()})
	if got, want := fmt.Sprint(err), "take webhooks on memory: no more"; got != want {
		t.Errorf("Serve = %s, want %s", got, want)
	}
}

func TestServeAfterItsContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := New(Options{Inbox: &fakeInbox{}}).Serve(ctx, ln); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want a closed listener", err)
	}
}
