package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answering is an inbox that gives every webhook the same answer.
func answering(a Answer) *fakeInbox {
	if a.Receipt.Event == "" {
		a.Receipt.Event = "ev1"
	}
	return &fakeInbox{answer: func(context.Context, Webhook) (Answer, error) { return a, nil }}
}

const receipt = `{"event":"ev1","runs":[]}` + "\n"

func TestCustomAnswers(t *testing.T) {
	tests := []struct {
		name, method string
		custom       Custom
		status       int
		body         string
		header       http.Header // beside X-Content-Type-Options; Date is left out
	}{
		{"text", "POST", Custom{Status: 200, Body: []byte("done")}, 200, "done",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"4"}}},
		{"nothing", "POST", Custom{Status: 200}, 200, "",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"0"}}},
		{"header in any case", "POST", Custom{Status: 500, Header: http.Header{"content-type": {"text/html"}, "X-A": {"1", "2\t3"}, "Cache-Control": {"max-age=1"}}}, 500, "",
			http.Header{"Content-Type": {"text/html"}, "Cache-Control": {"max-age=1"}, "X-A": {"1", "2\t3"}, "Content-Length": {"0"}}},
		{"of the connection", "POST", Custom{Status: 200, Body: []byte("hi"), Header: http.Header{
			"Connection": {"x-Hop, keep-alive"}, "X-Hop": {"1"}, "Keep-Alive": {"timeout=5"}, "Transfer-Encoding": {"gzip"}, "Upgrade": {"h2c"},
			"Trailer": {"X"}, "TE": {"gzip"}, "Proxy-Authenticate": {"x"}, "Content-Length": {"99"}, "content-length": {"98"}, "Date": {"never"}, "X-B": {"1"},
		}}, 200, "hi",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "X-B": {"1"}, "Content-Length": {"2"}}},
		{"more than a line", "POST", Custom{Status: 200, Header: http.Header{
			"X-A": {"1\r\nSet-Cookie: x"}, "X-B": {"1", "2\n"}, "X-C": {"\x00"}, "X D": {"1"}, "X:E": {"1"}, "Trailer:X": {"1"}, "": {"1"}, "X-F": {"ü"},
		}}, 200, "",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "X-F": {"ü"}, "Content-Length": {"0"}}},
		{"nosniff stays", "POST", Custom{Status: 200, Header: http.Header{"X-Content-Type-Options": {"sniff"}}}, 200, "",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"0"}}},
		{"no content", "POST", Custom{Status: 204, Body: []byte("hi")}, 204, "", http.Header{"Cache-Control": {"no-store"}}},
		{"not modified", "GET", Custom{Status: 304, Body: []byte("hi")}, 304, "", http.Header{"Cache-Control": {"no-store"}}},
		{"head", "HEAD", Custom{Status: 200, Body: []byte("hi")}, 200, "",
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"2"}}},
		{"large", "POST", Custom{Status: 200, Body: []byte(strings.Repeat("x", 1<<20))}, 200, strings.Repeat("x", 1<<20),
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}, "Content-Length": {"1048576"}}},
		{"status that is none", "POST", Custom{Status: 0, Body: []byte("hi"), Header: http.Header{"X-A": {"1"}}}, 202, receipt,
			http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Content-Length": {"26"}}},
		{"status that is not the last", "POST", Custom{Status: 101}, 202, receipt,
			http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Content-Length": {"26"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := serve(t, Options{Inbox: answering(Answer{Custom: &tt.custom})})
			c := srv.dial(t)
			for range 2 { // the connection can be used again
				c.write(tt.method + " /hooks/x HTTP/1.1\nHost: h\nContent-Length: 0\n\n")
				got := c.read(tt.method)
				wantAnswer(t, got, tt.status, tt.body)
				if v := got.header.Get("X-Content-Type-Options"); v != "nosniff" {
					t.Errorf("X-Content-Type-Options = %q, want nosniff", v)
				}
				got.header.Del("X-Content-Type-Options")
				if !validDate(got.header.Get("Date")) {
					t.Errorf("Date = %q, want the server's", got.header.Get("Date"))
				}
				got.header.Del("Date")
				if !reflect.DeepEqual(got.header, tt.header) {
					t.Errorf("header = %v, want %v", got.header, tt.header)
				}
			}
		})
	}
}

func validDate(s string) bool {
	_, err := http.ParseTime(s)
	return err == nil
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		body   string
		header http.Header
		tally  tally
	}{
		{"not verified", fmt.Errorf("signature differs: %w", ErrNotVerified), 401, `{"error":"not verified"}`, nil, tally{refused: 1}},
		{"forbidden", ErrForbidden, 403, `{"error":"not allowed from this address"}`, nil, tally{refused: 1}},
		{"with a header", fmt.Errorf("wrong password: %w", &Refused{Status: 401, Text: "not verified", Header: http.Header{"WWW-Authenticate": {`Basic realm="x"`}}}),
			401, `{"error":"not verified"}`, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, tally{refused: 1}},
		{"another status", &Refused{Status: 413, Text: "too deep"}, 413, `{"error":"too deep"}`, nil, tally{tooLarge: 1}},
		{"a status that refuses nothing", &Refused{Status: 200, Text: "fine"}, 500, `{"error":"the webhook could not be taken","hint":"the log of hookrun says why"}`, nil, tally{failed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{answer: func(context.Context, Webhook) (Answer, error) { return Answer{}, tt.err }}
			srv := serve(t, Options{Inbox: inbox})
			got := srv.send(t, emptyPost)
			wantAnswer(t, got, tt.status, tt.body+"\n")
			for name, want := range tt.header {
				if v := got.header[name]; !reflect.DeepEqual(v, want) {
					t.Errorf("%s = %q, want %q", name, v, want)
				}
			}
			if got := srv.tally(); got != tt.tally {
				t.Errorf("counts = %+v, want %+v", got, tt.tally)
			}
		})
	}
}

func TestAnswerThatIsWaitedFor(t *testing.T) {
	tests := []struct {
		name   string
		later  func(context.Context) *Custom
		after  time.Duration
		status int
		body   string
	}{
		{"a minute", func(context.Context) *Custom {
			time.Sleep(60 * time.Second)
			return &Custom{Status: 200, Body: []byte("done")}
		}, 60 * time.Second, 200, "done"},
		{"never there", func(ctx context.Context) *Custom {
			<-ctx.Done()
			return nil
		}, 65 * time.Second, 202, receipt},
		{"the receipt after all", func(context.Context) *Custom { return nil }, 0, 202, receipt},
		{"panics", func(context.Context) *Custom { panic("no such luck") }, 0, 500,
			`{"error":"the webhook could not be taken","hint":"the log of hookrun says why"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				inbox := &fakeInbox{answer: func(context.Context, Webhook) (Answer, error) {
					time.Sleep(29 * time.Second) // a slow disk before it
					return Answer{Receipt: Receipt{Event: "ev1"}, Later: tt.later}, nil
				}}
				srv := serveOn(t, New(Options{Inbox: inbox}), ln)
				c := ln.dial(t)
				begin := time.Now()
				c.write(emptyPost)
				wantAnswer(t, c.read("POST"), tt.status, tt.body)
				if got, want := time.Since(begin), 29*time.Second+tt.after; got != want {
					t.Errorf("answered after %v, want %v", got, want)
				}
				synctest.Wait()
				if got := srv.awaited.used.Load(); got != 0 {
					t.Errorf("%d senders wait after all, want none", got)
				}
			})
		})
	}
}

func TestWaitingHoldsNoBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: answering(Answer{Later: func(context.Context) *Custom {
			<-leave
			return nil
		}})}), ln)
		c := ln.dial(t)
		c.write("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 5\n\nfive!")
		synctest.Wait()
		if got := srv.held.used.Load(); got != 0 || srv.awaited.used.Load() != 1 {
			t.Errorf("%d bytes held while %d wait, want 0 and 1", got, srv.awaited.used.Load())
		}
		close(leave)
		wantAnswer(t, c.read("POST"), 202, receipt)
	})
}

func TestWaitGoesOnWhenTheSenderHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end error
		done := make(chan struct{})
		ln := newPipes()
		serveOn(t, New(Options{Inbox: answering(Answer{Later: func(ctx context.Context) *Custom {
			time.Sleep(time.Minute)
			end = ctx.Err()
			close(done)
			return nil
		}})}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		synctest.Wait()
		c.Close()
		<-done
		if end != nil {
			t.Errorf("the wait ended with its sender: %v", end)
		}
	})
}

func TestSendersThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: answering(Answer{Later: func(context.Context) *Custom {
			time.Sleep(time.Minute)
			return &Custom{Status: 200, Body: []byte("done")}
		}})}), ln)
		var waiting []*client
		for range 256 {
			c := ln.dial(t)
			c.write(emptyPost)
			waiting = append(waiting, c)
		}
		synctest.Wait()
		begin := time.Now()
		c := ln.dial(t)
		c.write(emptyPost)
		wantAnswer(t, c.read("POST"), 202, receipt)
		if got := time.Since(begin); got != 0 {
			t.Errorf("the receipt came after %v, want at once", got)
		}
		for _, c := range waiting {
			wantAnswer(t, c.read("POST"), 200, "done")
		}
		if got, want := srv.tally(), (tally{accepted: 257, notAwaited: 1}); got != want {
			t.Errorf("counts = %+v, want %+v", got, want)
		}
	})
}

func TestStopGivesThoseWhoWaitTheReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		ln := newPipes()
		srv := serveOn(t, New(Options{Log: log.logger(), Inbox: answering(Answer{Later: func(ctx context.Context) *Custom {
			<-ctx.Done()
			return nil
		}})}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		synctest.Wait()
		begin := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- srv.stop() }()
		wantAnswer(t, c.read("POST"), 202, receipt)
		if got := time.Since(begin); got != 5*time.Second {
			t.Errorf("the receipt came after %v, want 5s", got)
		}
		if err := <-stopped; err != nil || strings.Contains(log.String(), "cut off") {
			t.Errorf("Serve = %v, logged %s, want nothing cut off", err, log.String())
		}
	})
}

// reading reads the header of an answer whose body is streamed.
func (c *client) reading() (*http.Response, error) {
	return http.ReadResponse(c.r, &http.Request{Method: "POST"})
}

func TestStreamIsSentAsItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		custom := &Custom{Status: 201, Header: http.Header{"Content-Type": {"text/event-stream"}}, Stream: func(_ context.Context, w io.Writer) error {
			for i := range 3 {
				time.Sleep(2 * time.Minute)
				if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
					return err
				}
			}
			time.Sleep(2 * time.Minute)
			return nil
		}}
		srv := serveOn(t, New(Options{Inbox: answering(Answer{Custom: custom})}), ln)
		c := ln.dial(t)
		begin := time.Now()
		c.write("POST /hooks/x HTTP/1.1\nHost: h\nContent-Length: 5\n\nfive!")
		resp, err := c.reading()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 201 || got != "text/event-stream" || time.Since(begin) != 0 {
			t.Errorf("answer = %d %s after %v, want 201 text/event-stream at once", resp.StatusCode, got, time.Since(begin))
		}
		for i := range 3 {
			buf := make([]byte, 100)
			n, err := resp.Body.Read(buf)
			if got, want := string(buf[:n]), fmt.Sprintf("data: %d\n\n", i); err != nil || got != want || time.Since(begin) != time.Duration(i+1)*2*time.Minute {
				t.Errorf("read %q, %v after %v, want %q after %v", got, err, time.Since(begin), want, time.Duration(i+1)*2*time.Minute)
			}
		}
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("then %q, %v, want the end", rest, err)
		}
		c.write(emptyPost) // the connection can be used again
		if resp, err := c.reading(); err != nil || resp.StatusCode != 201 {
			t.Errorf("second answer = %+v, %v, want 201", resp, err)
		}
		c.Close()
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		if got := srv.awaited.used.Load(); got != 0 {
			t.Errorf("%d streams are open, want none", got)
		}
	})
}

func TestStreamEndsWhenTheSenderHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Time, 1)
		ln := newPipes()
		serveOn(t, New(Options{Inbox: answering(Answer{Custom: &Custom{Status: 200, Stream: func(ctx context.Context, _ io.Writer) error {
			<-ctx.Done()
			ended <- time.Now()
			return ctx.Err()
		}}})}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		if _, err := c.reading(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // it is silent for long, but there
		hungUp := time.Now()
		c.Close()
		if got := <-ended; !got.Equal(hungUp) {
			t.Errorf("the stream ended %v after its sender hung up, want at once", got.Sub(hungUp))
		}
	})
}

func TestSlowReaderOfAStreamIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type end struct {
			first, then error
			after       time.Duration
		}
		ended := make(chan end, 1)
		ln := newPipes()
		serveOn(t, New(Options{Inbox: answering(Answer{Custom: &Custom{Status: 200, Stream: func(_ context.Context, w io.Writer) error {
			begin := time.Now()
			_, first := io.WriteString(w, "never read")
			_, then := io.WriteString(w, "never read")
			ended <- end{first, then, time.Since(begin)}
			return first
		}}})}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		if _, err := c.reading(); err != nil {
			t.Fatal(err)
		}
		got := <-ended
		if got.first == nil || got.then == nil || got.after != 10*time.Second {
			t.Errorf("writes = %v, %v after %v, want errors after 10s", got.first, got.then, got.after)
		}
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStreamThatFailsIsCut(t *testing.T) {
	tests := []struct {
		name   string
		fail   func() error
		logged string
	}{
		{"error", func() error { return errors.New("no such luck") }, `err="no such luck"`},
		{"panic", func() error { panic("no such luck") }, `err="panic: no such luck`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log logged
			srv := serve(t, Options{Log: log.logger(), Inbox: answering(Answer{Custom: &Custom{Status: 200, Stream: func(_ context.Context, w io.Writer) error {
				if _, err := io.WriteString(w, "half"); err != nil {
					return err
				}
				return tt.fail()
			}}})})
			c := srv.dial(t)
			c.write(emptyPost)
			resp, err := c.reading()
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); string(got) != "half" || err != io.ErrUnexpectedEOF {
				t.Errorf("read %q, %v, want half of it and that the end is missing", got, err)
			}
			if got := log.String(); !strings.Contains(got, "an answer was not streamed to its end") || !strings.Contains(got, tt.logged) {
				t.Errorf("logged %s, want %s", got, tt.logged)
			}
		})
	}
}

func TestStreamWithoutABody(t *testing.T) {
	custom := &Custom{Status: 200, Stream: func(context.Context, io.Writer) error { return errors.New("called") }}
	srv := serve(t, Options{Inbox: answering(Answer{Custom: custom})})
	wantAnswer(t, srv.send(t, "HEAD /hooks/x HTTP/1.1\nHost: h\nContent-Length: 0\n\n"), 200, "")
}

func TestStreamsAreBounded(t *testing.T) {
	s := New(Options{Inbox: answering(Answer{Custom: &Custom{Status: 200, Stream: func(context.Context, io.Writer) error { return nil }}})})
	s.awaited.max = 1
	for _, want := range []int{200, 200, 202} {
		if want == 202 {
			s.awaited.max = 0
		}
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/hooks/x", nil))
		if rec.Code != want {
			t.Errorf("status = %d, want %d", rec.Code, want)
		}
	}
}

func TestStopEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		srv := serveOn(t, New(Options{Inbox: answering(Answer{Custom: &Custom{Status: 200, Stream: func(ctx context.Context, _ io.Writer) error {
			<-ctx.Done()
			return nil
		}}})}), ln)
		c := ln.dial(t)
		c.write(emptyPost)
		resp, err := c.reading()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var stopping sync.WaitGroup
		stopping.Go(func() { _ = srv.stop() })
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", rest, err)
		}
		stopping.Wait()
	})
}
