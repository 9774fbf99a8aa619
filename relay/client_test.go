package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/relaytest"
)

func TestRunRefusesOptions(t *testing.T) {
	good := Options{URL: "wss://relay.example/v1/socket", Key: "k", Secret: "s3cret",
		Handle: func(context.Context, Message) error { return nil }}
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no url", func(o *Options) { o.URL = "" }, "relay url: want wss://host/v1/socket"},
		{"https", func(o *Options) { o.URL = "https://relay.example/" }, "relay url: want wss://host/v1/socket"},
		{"no host", func(o *Options) { o.URL = "wss:///v1/socket" }, "relay url: want wss://host/v1/socket"},
		{"broken, with a password", func(o *Options) { o.URL = "wss://u:pass word@h:x/%zz" }, "relay url: want wss://host/v1/socket"},
		{"userinfo", func(o *Options) { o.URL = "wss://user:password@relay.example/" },
			"relay url of relay.example has a user name in it; set key and secret instead"},
		{"plain to the network", func(o *Options) { o.URL = "ws://relay.example:8080/?token=x" },
			"relay url ws://relay.example:8080 sends key and secret readable over the network; use wss://"},
		{"no key", func(o *Options) { o.Key = "" }, "relay relay.example needs a key and a secret"},
		{"no secret", func(o *Options) { o.Secret = "" }, "relay relay.example needs a key and a secret"},
		{"no handler", func(o *Options) { o.Handle = nil }, "relay client has no Handle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			err := NewClient(o).Run(t.Context())
			if err == nil || err.Error() != tt.want {
				t.Errorf("Run = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPlainURLsThatAreTaken(t *testing.T) {
	tests := []struct {
		url      string
		insecure bool
	}{
		{"ws://localhost:8080/v1/socket", false},
		{"WS://LocalHost:8080/v1/socket", false},
		{"ws://127.0.0.1/v1/socket", false},
		{"ws://127.8.9.10/v1/socket", false},
		{"ws://[::1]:8080/v1/socket", false},
		{"ws://relay:8080/v1/socket", true},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			o := Options{URL: tt.url, Insecure: tt.insecure, Key: "k", Secret: "s",
				Handle: func(context.Context, Message) error { return nil }}
			if _, err := o.check(); err != nil {
				t.Errorf("check = %v, want nil", err)
			}
		})
	}
}

func TestSaysWhatTheProtocolWants(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		want []string
	}{
		{"some buckets", Options{Key: "key", Secret: "secret", Buckets: []string{"deploys", "b2"}}, []string{
			`{"action":"auth","key":"key","secret":"secret"}`,
			`{"action":"subscribe","buckets":["deploys","b2"]}`,
			`{"action":"pong"}`,
		}},
		{"all buckets, with an API key", Options{Key: "whr", Secret: "sk-0123"}, []string{
			`{"action":"auth","key":"whr","secret":"sk-0123"}`,
			`{"action":"subscribe"}`,
			`{"action":"pong"}`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{Key: tt.o.Key, Secret: tt.o.Secret}, tt.o, nil)
				subscribed(t, srv)
				if err := srv.Ping(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				r.stop()
				var got []string
				for _, f := range srv.Frames() {
					got = append(got, f.Raw)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("frames = %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestMessagesAreHandledInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		srv, r := bubble(t, relaytest.Options{}, Options{Buckets: []string{"deploys"}}, nil)
		subscribed(t, srv)
		for i := range n {
			send(t, srv, fmt.Sprint(i))
		}
		for i := range n {
			if m := r.next(t); string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("message %d = %s, want %d", i, m.Body, i)
			}
		}
		synctest.Wait()
		if s := r.Status(); !s.Connected || s.Received != n || s.Accepted != n || s.Skipped != 0 {
			t.Errorf("status = %+v, want connected, %d received and accepted", s, n)
		}
	})
}

func TestHandleIsCalledForOneMessageAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, overlaps, handled atomic.Int32
		srv, _ := bubble(t, relaytest.Options{}, Options{Handle: func(ctx context.Context, _ Message) error {
			if running.Add(1) > 1 {
				overlaps.Add(1)
			}
			sleep(ctx, time.Second)
			running.Add(-1)
			handled.Add(1)
			return nil
		}}, nil)
		subscribed(t, srv)
		for range 10 {
			send(t, srv, "x")
		}
		time.Sleep(time.Minute)
		if overlaps.Load() != 0 || handled.Load() != 10 {
			t.Errorf("overlaps, handled = %d, %d, want 0, 10", overlaps.Load(), handled.Load())
		}
	})
}

func TestConnectsAgainAfter(t *testing.T) {
	tests := []struct {
		name  string
		end   func(*testing.T, *relaytest.Server)
		error string // in the status
	}{
		{"cut", func(_ *testing.T, s *relaytest.Server) { s.CutConnections() }, "read from relay: "},
		{"cut in a frame", func(_ *testing.T, s *relaytest.Server) { s.CutMidFrame() }, "read from relay: websocket: close 1006 (abnormal closure): unexpected EOF"},
		{"service restart", func(t *testing.T, s *relaytest.Server) {
			if err := s.CloseConnections(1012, "restarting"); err != nil {
				t.Error(err)
			}
		}, "read from relay: websocket: close 1012: restarting"},
		{"declared length of an exabyte", func(t *testing.T, s *relaytest.Server) {
			s.WriteBytes([]byte("\x81\x7f\x0f\xff\xff\xff\xff\xff\xff\xff"))
		},
			"the relay sent a frame of more than 104857600 bytes: websocket: read limit exceeded"},
		{"masked frame", func(t *testing.T, s *relaytest.Server) { s.WriteBytes([]byte("\x81\x81abcdx")) }, "read from relay: websocket: bad MASK"},
		{"compressed frame", func(t *testing.T, s *relaytest.Server) { s.WriteBytes([]byte("\xc1\x01x")) }, "read from relay: websocket: RSV1 set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
				subscribed(t, srv)
				send(t, srv, "before")
				tt.end(t, srv)
				time.Sleep(10 * time.Second)
				subscribed(t, srv)
				send(t, srv, "after")
				if a, b := r.next(t), r.next(t); string(a.Body) != "before" || string(b.Body) != "after" {
					t.Errorf("messages = %s, %s, want before, after", a.Body, b.Body)
				}
				s := r.Status()
				if !s.Connected || s.Reconnects != 1 || !strings.Contains(s.LastError, tt.error) {
					t.Errorf("status = %+v, want connected, 1 reconnect, last error with %q", s, tt.error)
				}
			})
		})
	}
}

func TestFlapsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flaps = 150
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		var before int
		for i := range flaps {
			subscribed(t, srv)
			send(t, srv, fmt.Sprint(i))
			r.next(t)
			time.Sleep(usefulAfter) // so that the backoff stays low
			synctest.Wait()
			if i == 5 {
				before = runtime.NumGoroutine()
			}
			if i == flaps-1 {
				break
			}
			srv.CutConnections()
			synctest.Wait()
		}
		// The runtime counts a goroutine for a moment after it ended; what a flap
		// left behind would be here 144 times.
		if after := runtime.NumGoroutine(); after > before+flaps/10 {
			t.Errorf("goroutines after %d flaps = %d, want about the %d after 5", flaps, after, before)
		}
		if s := r.Status(); s.Reconnects != flaps-1 || s.Accepted != flaps {
			t.Errorf("status = %+v, want %d reconnects, %d accepted", s, flaps-1, flaps)
		}
	})
}

func TestWaitsGrowWhileTheRelayIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		r := start(t, Options{URL: "ws://127.0.0.1:1/"}, func(c *Client) {
			c.dialNet = func(context.Context, string, string) (net.Conn, error) {
				dials++
				return nil, errors.New("connection refused")
			}
		})
		// Waits of half a second to a minute, soon: in 6 hours fit about 710.
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if dials < 500 || dials > 1000 {
			t.Errorf("dials in 6 hours = %d, want about 710", dials)
		}
		wantRoundWaits(t, r, dials)
	})
}

func TestConnectionsThatEndAtOnceDontResetTheWait(t *testing.T) {
	tests := []struct {
		name     string
		up       time.Duration // how long each connection lives
		low, top int64         // reconnects in the hour
	}{
		{"at once", 0, 90, 250},
		{"after a useful while", usefulAfter, 300, 360},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				for srv.WaitSubscribed(ctx, 1) == nil {
					time.Sleep(tt.up)
					synctest.Wait()
					srv.CutConnections()
					synctest.Wait()
				}
				if got := r.Status().Reconnects; got < tt.low || got > tt.top {
					t.Errorf("reconnects in an hour = %d, want %d to %d", got, tt.low, tt.top)
				}
			})
		})
	}
}

func TestRefusedKeyIsRetriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{Key: "other", Secret: "other"}, Options{Key: "the-key", Secret: "the-s3cret"}, nil)
		time.Sleep(10 * time.Minute)
		tries := len(srv.Frames())
		if tries < 10*60/90 || tries > 11 {
			t.Errorf("tries in 10 minutes = %d, want one in 60 to 90 seconds", tries)
		}
		const want = `the key was refused: relay 127.0.0.1:1 does not take key "the-key" (unauthorized: bad key or secret)`
		if got := r.Status(); got.LastError != want || got.Connected {
			t.Errorf("status = %+v, want last error %s", got, want)
		}
		if got := r.logs.count("relay refused the key, will try again"); got != tries {
			t.Errorf("log lines of a refusal = %d, want %d", got, tries)
		}
		wantRoundWaits(t, r, tries)
		if strings.Contains(r.logs.String(), "the-s3cret") {
			t.Errorf("the log holds the secret:\n%s", r.logs)
		}
		srv.SetKey("the-key", "the-s3cret")
		time.Sleep(2 * time.Minute)
		if !r.Status().Connected {
			t.Errorf("status = %+v, want connected once the key is taken", r.Status())
		}
	})
}

func TestBufferedMessagesSurviveTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		got := make(chan string, 100)
		srv, _ := bubble(t, relaytest.Options{}, Options{Handle: func(_ context.Context, m Message) error {
			<-open
			got <- string(m.Body)
			return nil
		}}, nil)
		for i := range 5 {
			subscribed(t, srv)
			send(t, srv, fmt.Sprint(2*i))
			send(t, srv, fmt.Sprint(2*i+1))
			synctest.Wait()
			srv.CutConnections()
			synctest.Wait()
		}
		close(open)
		for i := range 10 {
			if m := <-got; m != fmt.Sprint(i) {
				t.Fatalf("message %d = %s, want %d", i, m, i)
			}
		}
	})
}

func TestHandleErrorRepeatsTheSameMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		var down atomic.Bool
		down.Store(true)
		begin := time.Now()
		srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(_ context.Context, m Message) error {
			calls = append(calls, string(m.Body))
			if age := m.Received.Sub(begin); age > time.Second { // a signature's time is held against it
				t.Errorf("a message that is offered again was received %s later, want the time at which it was read", age)
			}
			if down.Load() {
				return errors.New("disk full")
			}
			return nil
		}}, nil)
		subscribed(t, srv)
		send(t, srv, "a")
		send(t, srv, "b")
		time.Sleep(10 * time.Minute)
		if r.Status().Accepted != 0 {
			t.Errorf("accepted = %d while Handle fails, want 0", r.Status().Accepted)
		}
		down.Store(false)
		time.Sleep(maxHandWait)
		synctest.Wait()
		tries := len(calls) - 1
		if calls[tries] != "b" || slices.Index(calls, "b") != tries {
			t.Errorf("calls = %q, want only a until it was taken, then b", calls)
		}
		// Waits of half a second to half a minute, soon: about 45 in 10 minutes.
		if tries < 25 || tries > 80 {
			t.Errorf("tries in 10 minutes = %d, want about 45", tries)
		}
		if n := r.logs.count("relay message not accepted"); n != 1 {
			t.Errorf("log lines of the outage = %d, want 1:\n%s", n, r.logs)
		}
		if n := r.logs.count("relay messages are accepted again"); n != 1 {
			t.Errorf("log lines of its end = %d, want 1:\n%s", n, r.logs)
		}
	})
}

func TestFullQueuePushesBackAndLosesNothingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		got := make(chan string, 2*maxWaiting)
		srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(_ context.Context, m Message) error {
			<-open
			got <- string(m.Body)
			return nil
		}}, nil)
		subscribed(t, srv)
		for i := range maxWaiting + 1 {
			send(t, srv, fmt.Sprint(i))
		}
		synctest.Wait()
		more := make(chan error, 1)
		go func() {
			_, err := srv.Send("deploys", relaytest.Webhook{Body: []byte("pushed back")})
			more <- err
		}()
		time.Sleep(blockedMax - time.Second)
		if len(more) != 0 || !r.Status().Connected {
			t.Errorf("with a full queue send returned (%d), connected = %t; want it to wait", len(more), r.Status().Connected)
		}
		time.Sleep(5 * time.Second)
		if err := <-more; err == nil {
			t.Error("send = nil, want an error: the client is gone")
		}
		if got := srv.Closes(); !slices.Equal(got, []int{1013}) {
			t.Errorf("close codes = %v, want 1013", got)
		}
		if s := r.Status(); s.Connected || s.LastError != "messages could not be handed over for 30s" {
			t.Errorf("status = %+v, want not connected, because messages could not be handed over", s)
		}
		time.Sleep(time.Hour)
		if n := len(srv.Frames()); n != 2 {
			t.Errorf("frames from the client = %d, want 2: no second connection before there is room", n)
		}
		close(open)
		subscribed(t, srv)
		send(t, srv, fmt.Sprint(maxWaiting+1))
		for i := range maxWaiting + 2 {
			if m := <-got; m != fmt.Sprint(i) {
				t.Fatalf("message %d = %s, want %d", i, m, i)
			}
		}
		if n := r.logs.count("no room for relay messages"); n != 1 {
			t.Errorf("log lines of the full queue = %d, want 1", n)
		}
	})
}

func TestStopSaysGoodbyeAndCountsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil)
		subscribed(t, srv)
		for range 3 {
			send(t, srv, "x")
		}
		synctest.Wait()
		begin := time.Now()
		r.cancel()
		synctest.Wait()
		if got := srv.Closes(); !slices.Equal(got, []int{1001}) || r.Status().Connected {
			t.Errorf("close codes = %v, want 1001 at once", got)
		}
		r.stop()
		if took := time.Since(begin); took != handTimeout {
			t.Errorf("stop took %s, want %s", took, handTimeout)
		}
		if !strings.Contains(r.logs.String(), `msg="stopped with relay messages not accepted" relay=127.0.0.1:1 messages=3`) {
			t.Errorf("the log does not count the 3 messages that waited:\n%s", r.logs)
		}
		if s := r.Status(); s.Connected || s.LastError != "" || s.Received != 3 || s.Accepted != 0 {
			t.Errorf("status = %+v, want not connected, 3 received, no error", s)
		}
		const line = `msg="relay client stopped" relay=127.0.0.1:1 received=3 accepted=0 dropped=0 skipped=0 ignored=0 gaps=0 reconnects=0 last_error=""`
		if !strings.Contains(r.logs.String(), line) {
			t.Errorf("log = %s, want a line with %s", r.logs, line)
		}
	})
}

func TestStopHandsOverWhatWasRead(t *testing.T) {
	tests := []struct {
		name     string
		messages int
		takes    time.Duration // a call of Handle
	}{
		{"100 messages", 100, 50 * time.Millisecond},
		{"more than the queue holds", maxWaiting + 2, 30 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(ctx context.Context, m Message) error {
					sleep(ctx, tt.takes)
					got = append(got, string(m.Body))
					return ctx.Err()
				}}, nil)
				subscribed(t, srv)
				for i := range tt.messages {
					send(t, srv, fmt.Sprint(i))
				}
				synctest.Wait()
				if n := int(r.Status().Received); n != tt.messages {
					t.Fatalf("read before stop = %d, want %d", n, tt.messages)
				}
				begin := time.Now()
				r.stop()
				if took, want := time.Since(begin), time.Duration(tt.messages)*tt.takes; took > want {
					t.Errorf("stop took %s, want %s at most", took, want)
				}
				if len(got) != tt.messages || got[len(got)-1] != fmt.Sprint(tt.messages-1) {
					t.Errorf("handed over = %q, want all %d", got, tt.messages)
				}
				if n := r.logs.count("stopped with relay messages not accepted"); n != 0 {
					t.Errorf("the log counts messages as lost:\n%s", r.logs)
				}
			})
		})
	}
}

func TestStopTriesAgainWhatWasNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(context.Context, Message) error {
			if down.Load() {
				return errors.New("disk full")
			}
			return nil
		}}, nil)
		subscribed(t, srv)
		send(t, srv, "a")
		send(t, srv, "b")
		time.Sleep(time.Hour) // its waits are long by now
		begin := time.Now()
		r.cancel()
		time.Sleep(handTimeout / 2)
		down.Store(false)
		r.stop()
		if took := time.Since(begin); took > handTimeout/2+minWait {
			t.Errorf("stop took %s, want it %s after Handle takes messages again", took, minWait)
		}
		if s := r.Status(); s.Accepted != 2 {
			t.Errorf("status = %+v, want 2 accepted", s)
		}
	})
}

func TestHurryEndsHandingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		srv, r := bubble(t, relaytest.Options{}, Options{Hurry: hurry, Handle: func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil)
		subscribed(t, srv)
		for range maxWaiting + 1 { // the last waits for room
			send(t, srv, "x")
		}
		synctest.Wait()
		r.cancel()
		time.Sleep(goodbyeWait / 2)
		close(hurry)
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("stop took %s after the hurry, want none", took)
		}
		line := fmt.Sprintf(`msg="stopped with relay messages not accepted" relay=127.0.0.1:1 messages=%d`, maxWaiting+1)
		if !strings.Contains(r.logs.String(), line) {
			t.Errorf("log = %s, want a line with %s", r.logs, line)
		}
	})
}

func TestStopWithAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{Handle: func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil)
		subscribed(t, srv)
		for range maxWaiting + 1 {
			send(t, srv, "x")
		}
		synctest.Wait()
		r.stop()
		if !strings.Contains(r.logs.String(), fmt.Sprintf("messages=%d", maxWaiting+1)) {
			t.Errorf("the log does not count %d messages:\n%s", maxWaiting+1, r.logs)
		}
	})
}

func TestSilentRelayIsLeft(t *testing.T) {
	tests := []struct {
		name string
		ping func(*relaytest.Server) error // every minute
		want int64                         // reconnects in an hour
	}{
		{"status pings", (*relaytest.Server).Ping, 0},
		{"control pings", (*relaytest.Server).ControlPing, 0},
		{"nothing", func(*relaytest.Server) error { return nil }, 37}, // 90 to 95 s and a wait of 0.5 s at most
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{PingEvery: -1}, Options{}, nil)
				subscribed(t, srv)
				for range 60 {
					time.Sleep(time.Minute)
					if err := tt.ping(srv); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				s := r.Status()
				if s.Reconnects < tt.want || s.Reconnects > tt.want+3 {
					t.Errorf("reconnects in an hour = %d, want %d", s.Reconnects, tt.want)
				}
				if tt.want > 0 && s.LastError != "nothing came for 1m30s" {
					t.Errorf("last error = %s, want nothing came for 1m30s", s.LastError)
				}
			})
		})
	}
}

func TestConnectsAgainAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		srv, r := bubble(t, relaytest.Options{}, Options{}, func(c *Client) {
			c.wall = func() time.Time { return wallClock().Add(time.Duration(slept.Load())) }
		})
		subscribed(t, srv)
		time.Sleep(time.Hour)
		if r.Status().Reconnects != 0 {
			t.Fatalf("reconnects = %d before the clock jumped, want 0", r.Status().Reconnects)
		}
		slept.Store(int64(8 * time.Hour))
		time.Sleep(watchEvery + goodbyeWait + firstWait)
		synctest.Wait()
		s := r.Status()
		if s.Reconnects != 1 || !s.Connected || s.LastError != "the clock jumped, this machine may have slept" {
			t.Errorf("status = %+v, want a new connection, because the clock jumped", s)
		}
	})
}

// wantRoundWaits wants n waits in the log, each with one decimal at most.
func wantRoundWaits(t *testing.T, r *rig, n int) {
	t.Helper()
	waits := regexp.MustCompile(` in=(\S+)`).FindAllStringSubmatch(r.logs.String(), -1)
	if len(waits) != n {
		t.Errorf("waits in the log = %d, want %d", len(waits), n)
	}
	for _, w := range waits {
		if d, err := time.ParseDuration(w[1]); err != nil || d%(100*time.Millisecond) != 0 {
			t.Errorf("wait in the log = %s, want it in tenths of a second", w[1])
		}
	}
}

func TestGarbageIsSkippedAndTheConnectionKept(t *testing.T) {
	for name, data := range garbage() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
				subscribed(t, srv)
				raw(t, srv, 1, data)
				send(t, srv, "good")
				if m := r.next(t); string(m.Body) != "good" {
					t.Errorf("message = %s, want good", m.Body)
				}
				if s := r.Status(); s.Skipped != 1 || s.Reconnects != 0 {
					t.Errorf("status = %+v, want 1 skipped on the same connection", s)
				}
				line := fmt.Sprintf(`msg="relay frame not understood, skipped" relay=127.0.0.1:1 bytes=%d reason=`, len(data))
				if !strings.Contains(r.logs.String(), line) {
					t.Errorf("log = %s, want a line with %s", r.logs, line)
				}
			})
		})
	}
}

func TestSkippedFramesSayWhy(t *testing.T) {
	tests := []struct {
		name string
		kind int // of the frame: 1 is text, 2 is binary
		data string
		want string
	}{
		{"binary", 2, `{"type":"webhook","meta":{"bucket_name":"b"}}`, `"not text"`},
		{"words", 1, "s3cret", `"not JSON"`},
		{"half a webhook", 1, `{"type":"webhook","meta":{"bucket_name":"s3cret"`, `"not JSON"`},
		{"list", 1, `["s3cret"]`, `"a value of another form"`},
		{"body is an object", 1, `{"type":"webhook","meta":{"bucket_name":"b"},"body":{"s3cret":1}}`, `"a value of another form"`},
		{"broken base64", 1, `{"type":"webhook","meta":{"bucket_name":"b"},"body_base64":"s3cret%"}`, `"a value of another form"`},
		{"no type", 1, `{"body":"s3cret"}`, `"no type"`},
		{"no bucket", 1, `{"type":"webhook","body":"s3cret"}`, `"no bucket"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
				subscribed(t, srv)
				raw(t, srv, tt.kind, tt.data)
				synctest.Wait()
				want := fmt.Sprintf("skipped\" relay=127.0.0.1:1 bytes=%d reason=%s\n", len(tt.data), tt.want)
				if got := r.logs.String(); !strings.Contains(got, want) || strings.Contains(got, "s3cret") {
					t.Errorf("log = %s, want a line that ends in %s and nothing of the frame", got, want)
				}
			})
		})
	}
}

func TestBinaryFrameIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		subscribed(t, srv)
		raw(t, srv, 2, `{"type":"webhook","meta":{"bucket_name":"b"},"body":"binary"}`)
		send(t, srv, "good")
		if m := r.next(t); string(m.Body) != "good" || r.Status().Skipped != 1 {
			t.Errorf("message, skipped = %s, %d, want good, 1", m.Body, r.Status().Skipped)
		}
	})
}

func TestUnknownKindsAreIgnored(t *testing.T) {
	frames := []string{
		`{"type":"shutdown","status":7,"meta":[]}`,
		`{"type":"status","status":"draining","message":"unauthorized"}`,
		`{"type":"status","status":"authenticated","message":""}`,
		`{"type":"status","status":"subscribed","message":"subscribed to buckets: unauthorized"}`,
	}
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		subscribed(t, srv)
		for range 5 {
			for _, f := range frames {
				raw(t, srv, 1, f)
			}
		}
		send(t, srv, "good")
		r.next(t)
		s := r.Status()
		if s.Ignored != int64(5*len(frames)) || s.Skipped != 0 || s.Reconnects != 0 {
			t.Errorf("status = %+v, want %d ignored on the same connection", s, 5*len(frames))
		}
		if n := len(srv.Frames()); n != 2 {
			t.Errorf("frames sent = %d, want no second subscribe", n)
		}
	})
}

func TestTooMuchGarbageInARowEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		subscribed(t, srv)
		for range 3 {
			for range maxBad - 1 {
				raw(t, srv, 1, "garbage")
			}
			send(t, srv, "good")
			r.next(t)
		}
		if s := r.Status(); s.Reconnects != 0 || s.Skipped != 3*(maxBad-1) {
			t.Errorf("status = %+v, want one connection, %d skipped", s, 3*(maxBad-1))
		}
		for range maxBad {
			raw(t, srv, 1, "garbage")
		}
		time.Sleep(10 * time.Second)
		subscribed(t, srv)
		synctest.Wait()
		s := r.Status()
		if s.Reconnects != 1 || s.LastError != "10 frames in a row could not be understood" {
			t.Errorf("status = %+v, want a new connection, because of 10 frames in a row", s)
		}
		if got := srv.Closes(); !slices.Equal(got, []int{1008}) {
			t.Errorf("close codes = %v, want 1008", got)
		}
	})
}

func raw(t *testing.T, srv *relaytest.Server, kind int, data string) {
	t.Helper()
	if err := srv.SendRaw(kind, []byte(data)); err != nil {
		t.Fatal(err)
	}
}
