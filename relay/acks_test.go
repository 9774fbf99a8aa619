package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/relaytest"
	"hookrun/relay/wire"
)

// keeping is a relay that keeps webhooks until they are acked.
func keeping(window int) relaytest.Options {
	return relaytest.Options{Features: []string{wire.FeatureAck, wire.FeatureResume}, Unacked: window, PingEvery: -1}
}

// said are the frames that clients sent, without the first two of a connection.
func said(srv *relaytest.Server) []string {
	var all []string
	for _, f := range srv.Frames() {
		if f.Action == wire.ActionAck || f.Action == wire.ActionPong {
			all = append(all, f.Raw)
		}
	}
	return all
}

func sendAs(t *testing.T, srv *relaytest.Server, id string) {
	t.Helper()
	if _, err := srv.Send("deploys", relaytest.Webhook{ID: id, Body: []byte(id)}); err != nil {
		t.Fatal(err)
	}
}

func ping(t *testing.T, srv *relaytest.Server) {
	t.Helper()
	if err := srv.Ping(); err != nil {
		t.Fatal(err)
	}
}

func allAcked(t *testing.T, srv *relaytest.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := srv.WaitAcks(ctx, n); err != nil {
		t.Fatalf("%v; acked = %d of %d", err, len(srv.Acked()), n)
	}
}

func TestAcksOnTheWire(t *testing.T) {
	tests := []struct {
		name     string
		features []string // of the relay
		o        Options
		acks     bool
		want     []string
	}{
		{"confirmed", []string{"ack", "resume"}, Options{ClientID: "c1", Group: "blue"}, true, []string{
			`{"action":"auth","key":"key","secret":"secret","client":"c1","group":"blue","features":["ack","resume"]}`,
			`{"action":"subscribe"}`, `{"action":"ack","ids":["a"]}`, `{"action":"pong","held":0}`,
		}},
		{"not confirmed", nil, Options{ClientID: "c1"}, false, []string{
			`{"action":"auth","key":"key","secret":"secret","client":"c1","features":["ack","resume"]}`,
			`{"action":"subscribe"}`, `{"action":"pong"}`,
		}},
		{"something else confirmed", []string{"resume"}, Options{ClientID: "c1"}, false, []string{
			`{"action":"auth","key":"key","secret":"secret","client":"c1","features":["ack","resume"]}`,
			`{"action":"subscribe"}`, `{"action":"pong"}`,
		}},
		{"not asked for", []string{"ack"}, Options{}, false, []string{
			`{"action":"auth","key":"key","secret":"secret"}`, `{"action":"subscribe"}`, `{"action":"pong"}`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{Features: tt.features, PingEvery: -1}, tt.o, nil)
				subscribed(t, srv)
				sendAs(t, srv, "a")
				r.next(t)
				synctest.Wait()
				ping(t, srv)
				synctest.Wait()
				var got []string
				for _, f := range srv.Frames() {
					got = append(got, f.Raw)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("frames = %q, want %q", got, tt.want)
				}
				if s := r.Status(); s.Acks != tt.acks {
					t.Errorf("status = %+v, want acks = %t", s, tt.acks)
				}
			})
		})
	}
}

// TestAcksWaitForHandle: and pongs say what is held meanwhile.
func TestAcksWaitForHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := make(chan error)
		srv, _ := bubble(t, keeping(0), Options{ClientID: "c1", Handle: func(context.Context, Message) error { return <-takes }}, nil)
		subscribed(t, srv)
		for _, id := range []string{"a", "b", "c"} {
			sendAs(t, srv, id)
		}
		synctest.Wait()
		ping(t, srv)
		synctest.Wait()
		takes <- errors.New("disk full")
		time.Sleep(time.Minute)
		takes <- nil
		synctest.Wait()
		ping(t, srv)
		synctest.Wait()
		takes <- nil
		synctest.Wait()
		takes <- nil
		synctest.Wait()
		ping(t, srv)
		synctest.Wait()
		want := []string{
			`{"action":"pong","held":3}`, `{"action":"ack","ids":["a"]}`, `{"action":"pong","held":2}`,
			`{"action":"ack","ids":["b"]}`, `{"action":"ack","ids":["c"]}`, `{"action":"pong","held":0}`,
		}
		if got := said(srv); !slices.Equal(got, want) {
			t.Errorf("frames = %q, want %q", got, want)
		}
		if srv.Cuts() != 0 {
			t.Errorf("connections cut = %d, want none", srv.Cuts())
		}
	})
}

// TestNoWindowIsTooSmall: a client needs no further webhook to ack what it has.
func TestNoWindowIsTooSmall(t *testing.T) {
	for _, window := range []int{1, 2, 1000} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 500
				srv, r := bubble(t, keeping(window), Options{ClientID: "c1"}, nil)
				subscribed(t, srv)
				for i := range n {
					sendAs(t, srv, fmt.Sprint(i))
				}
				for i := range n {
					if m := r.next(t); m.ID != fmt.Sprint(i) {
						t.Fatalf("message %d = %s, want %d", i, m.ID, i)
					}
				}
				allAcked(t, srv, n)
			})
		})
	}
}

// TestNothingIsLost holds a client against a relay that cuts it at any time, also
// within a frame, loses and damages frames, and against a Handle that fails.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingIsLost(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func nothingIsLost(t *testing.T, chance *rand.Rand) {
	const n = 300
	handling := rand.New(rand.NewPCG(chance.Uint64(), 0)) // Handle's own
	seen := map[string]int{}
	var order []string
	srv, r := bubble(t, keeping(1+chance.IntN(40)), Options{ClientID: "c1", Handle: func(ctx context.Context, m Message) error {
		sleep(ctx, time.Duration(handling.Int64N(int64(20*time.Millisecond))))
		if handling.IntN(50) == 0 {
			return errors.New("busy")
		}
		if seen[m.ID]++; seen[m.ID] == 1 {
			order = append(order, m.ID)
		}
		return nil
	}}, nil)
	subscribed(t, srv)
	for i := range n {
		sendAs(t, srv, fmt.Sprint(i))
		switch chance.IntN(20) {
		case 0:
			srv.CutConnections()
		case 1:
			srv.CutMidFrame()
		case 2:
			srv.Damage()
		case 3:
			srv.Lose()
		case 4:
			_ = srv.Ping() // nobody may be there
		}
		time.Sleep(time.Duration(chance.Int64N(int64(50 * time.Millisecond))))
	}
	for len(srv.Acked()) < n && t.Context().Err() == nil {
		_ = srv.Ping()
		time.Sleep(10 * time.Second)
	}
	r.stop()
	if len(order) != n {
		t.Errorf("messages = %d, want all %d", len(order), n)
	}
	s := r.Status()
	for id, times := range seen {
		if times > int(s.Reconnects)+1 {
			t.Errorf("message %s was handed over %d times in %d connections", id, times, s.Reconnects+1)
		}
	}
	if left := s.Received - s.Accepted - s.Dropped; left != 0 {
		t.Errorf("status = %+v, want every message accepted or dropped", s)
	}
}

func TestWhatWaitsOfAnEarlierConnectionComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := make(chan error)
		var handed []string
		srv, r := bubble(t, keeping(0), Options{ClientID: "c1", Handle: func(_ context.Context, m Message) error {
			handed = append(handed, m.ID)
			return <-takes
		}}, nil)
		subscribed(t, srv)
		for _, id := range []string{"a", "b", "c"} {
			sendAs(t, srv, id)
		}
		synctest.Wait() // a is being handed over
		srv.CutConnections()
		synctest.Wait()
		subscribed(t, srv)
		synctest.Wait()
		if s := r.Status(); s.Dropped != 2 || s.Received != 6 {
			t.Errorf("status = %+v, want 6 received, of which b and c are dropped", s)
		}
		takes <- nil
		synctest.Wait()
		if got := srv.Acked(); len(got) != 0 {
			t.Errorf("acked = %q, want nothing: a was read on another connection", got)
		}
		for range 3 {
			takes <- nil
		}
		allAcked(t, srv, 3)
		if got := strings.Join(handed, ""); got != "aabc" {
			t.Errorf("handed over = %s, want a, and all once more", got)
		}
		if got := strings.Join(srv.Acked(), ""); got != "abc" {
			t.Errorf("acked = %s, want abc", got)
		}
	})
}

// TestGroupMemberLeavesTheRestToOthers: when its line is cut, another of the group
// gets what it had not begun with, long before it is back.
func TestGroupMemberLeavesTheRestToOthers(t *testing.T) {
	for group, dropped := range map[string]int64{"g": 2, "": 0} {
		synctest.Test(t, func(t *testing.T) {
			takes := make(chan error)
			srv, r := bubble(t, keeping(0), Options{ClientID: "c1", Group: group, Handle: func(context.Context, Message) error { return <-takes }}, nil)
			subscribed(t, srv)
			for _, id := range []string{"a", "b", "c"} {
				sendAs(t, srv, id)
			}
			synctest.Wait() // a is being handed over
			srv.Stop()
			synctest.Wait()
			if s := r.Status(); s.Dropped != dropped {
				t.Errorf("in group %q: status = %+v, want %d dropped", group, s, dropped)
			}
			close(takes)
		})
	}
}

// TestReconnectsDontFillTheMemory: whatever is sent anew, only what one
// connection brings waits.
func TestReconnectsDontFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, keeping(50), Options{ClientID: "c1", Handle: func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil)
		subscribed(t, srv)
		for i := range 50 {
			sendAs(t, srv, fmt.Sprint(i))
		}
		for range 20 {
			synctest.Wait()
			if n := len(r.queue.msgs); n > 51 {
				t.Fatalf("messages that wait = %d, want 51 at most", n)
			}
			srv.CutConnections()
			synctest.Wait()
			subscribed(t, srv)
		}
		synctest.Wait()
		if s := r.Status(); s.Reconnects != 20 || s.LastError == errBlocked.Error() {
			t.Errorf("status = %+v, want 20 reconnects, none of them for want of room", s)
		}
	})
}

// TestWithoutResumeNothingIsDropped: nobody would send it again.
func TestWithoutResumeNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		o := keeping(0)
		o.Features = []string{wire.FeatureAck}
		got := make(chan string, 10)
		srv, r := bubble(t, o, Options{ClientID: "c1", Handle: func(_ context.Context, m Message) error {
			<-open
			got <- m.ID
			return nil
		}}, nil)
		subscribed(t, srv)
		sendAs(t, srv, "a")
		sendAs(t, srv, "b")
		synctest.Wait()
		srv.CutConnections()
		synctest.Wait()
		subscribed(t, srv)
		close(open)
		if a, b := <-got, <-got; a+b != "ab" || r.Status().Dropped != 0 {
			t.Errorf("messages = %s, %s, want a, b; status = %+v", a, b, r.Status())
		}
		synctest.Wait()
		if n := len(srv.Acked()); n != 0 {
			t.Errorf("acked = %d, want none on a connection that did not bring them", n)
		}
	})
}

func TestBrokenFramesComeAgain(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*testing.T, *relaytest.Server)
		error string
	}{
		{"damaged", func(_ *testing.T, s *relaytest.Server) { s.Damage() }, "a frame was damaged on the way"},
		{"lost", func(_ *testing.T, s *relaytest.Server) { s.Lose() }, "read from relay: "},
		{"no JSON", func(t *testing.T, s *relaytest.Server) { raw(t, s, 1, "hello") }, "a frame could not be understood: not JSON"},
		{"binary", func(t *testing.T, s *relaytest.Server) { raw(t, s, 2, "{}") }, "a frame could not be understood: not text"},
		{"unknown type", func(t *testing.T, s *relaytest.Server) { raw(t, s, 1, `{"type":"webhoof"}`) }, "a frame could not be understood: an unknown type"},
		{"no id", func(t *testing.T, s *relaytest.Server) { raw(t, s, 1, webhookFrame) }, "a frame could not be understood: webhook without an id to ack"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, keeping(0), Options{ClientID: "c1"}, nil)
				subscribed(t, srv)
				tt.spoil(t, srv)
				sendAs(t, srv, "a")
				synctest.Wait()
				_ = srv.Ping() // the relay notices what was lost
				allAcked(t, srv, 1)
				s := r.Status()
				if s.Reconnects != 1 || !strings.HasPrefix(s.LastError, tt.error) {
					t.Errorf("status = %+v, want a new connection, because %s", s, tt.error)
				}
				if m := r.next(t); m.ID != "a" {
					t.Errorf("message = %s, want a", m.ID)
				}
			})
		})
	}
}

func TestDamageWithoutAcksIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		subscribed(t, srv)
		raw(t, srv, 1, `{"type":"webhook","meta":{"bucket_name":"b","sum":"00000000"},"body":"x"}`)
		send(t, srv, "good")
		if m := r.next(t); string(m.Body) != "good" || r.Status().Skipped != 1 || r.Status().Reconnects != 0 {
			t.Errorf("message = %s, status = %+v, want good, 1 skipped on the same connection", m.Body, r.Status())
		}
		if !strings.Contains(r.logs.String(), `reason="a frame was damaged on the way"`) {
			t.Errorf("log = %s, want the reason", r.logs)
		}
	})
}

// confirming talks to a client until it is subscribed with acks.
func confirming(conn *websocket.Conn) {
	action(conn)
	say(conn, `{"type":"status","status":"authenticated","message":"","features":["ack","resume"]}`)
	action(conn)
	say(conn, subscribedFrame)
}

func TestFrameThatIsNeverUnderstoodDoesNotLoopHot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns atomic.Int32
		r := behind(t, Options{ClientID: "c1"}, socket(t, func(conn *websocket.Conn) {
			conns.Add(1)
			confirming(conn)
			say(conn, `{"type":"webhook","meta":{"id":"1"}}`)
			untilGone(conn)
		}))
		time.Sleep(time.Hour)
		// As for any relay that is lost at once: half a second to a minute, soon.
		if n := conns.Load(); n < 90 || n > 250 {
			t.Errorf("connections in an hour = %d, want about 120", n)
		}
		if s := r.Status(); int32(s.Skipped) != conns.Load() && int32(s.Skipped) != conns.Load()-1 {
			t.Errorf("status = %+v, want a frame skipped for each of %d connections", s, conns.Load())
		}
	})
}

func TestAcksAreBatched(t *testing.T) {
	tests := []struct {
		name string
		ids  int
		long int // bytes of each
		want []int
	}{
		{"one", 1, 36, []int{1}},
		{"as many as fit", wire.MaxAcks, 36, []int{wire.MaxAcks}},
		{"more", 2*wire.MaxAcks + 1, 36, []int{wire.MaxAcks, wire.MaxAcks, 1}},
		{"long ones", 20, 1000, []int{8, 8, 4}},
		{"too long ones", 2, 2 * maxAckBytes, []int{1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger()
			for i := range tt.ids {
				l.took(fmt.Sprintf("%0*d", tt.long, i))
			}
			var got []int
			for len(l.more) > 0 {
				<-l.more
				got = append(got, len(l.next()))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("ids per frame = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRelayThatTakesNoAcksIsLeft: the memory for them is bounded.
func TestRelayThatTakesNoAcksIsLeft(t *testing.T) {
	var why error
	l := newLedger()
	l.end = func(err error) { why = err }
	for range maxReady {
		l.took("x")
	}
	if why != nil {
		t.Fatalf("ended with %v before the bound", why)
	}
	if l.took("x"); why != errAcksStuck || len(l.ready) != maxReady {
		t.Errorf("ended with %v, %d ready, want %v, %d", why, len(l.ready), errAcksStuck, maxReady)
	}
}

func TestReceivedIsTheRelaysTime(t *testing.T) {
	tests := []struct {
		name     string
		features []string
		ago      time.Duration // when the relay says that it took it
		believed bool
	}{
		{"now", []string{"ack"}, 0, true},
		{"an hour ago", []string{"ack"}, time.Hour, true},
		{"a month ago", []string{"ack"}, maxPast, true},
		{"more than a month ago", []string{"ack"}, maxPast + time.Millisecond, false},
		{"soon", []string{"ack"}, -maxFuture, true},
		{"tomorrow", []string{"ack"}, -24 * time.Hour, false},
		{"without acks", nil, time.Hour, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, r := bubble(t, relaytest.Options{Features: tt.features}, Options{ClientID: "c1"}, nil)
				subscribed(t, srv)
				now := time.Now().UTC()
				want := now
				if tt.believed {
					want = now.Add(-tt.ago)
				}
				for range 3 {
					if _, err := srv.Send("deploys", relaytest.Webhook{Received: now.Add(-tt.ago)}); err != nil {
						t.Fatal(err)
					}
					if m := r.next(t); !m.Received.Equal(want) || !m.Read.Equal(now) || m.Received.Location() != time.UTC {
						t.Errorf("received %s, read %s, want %s, %s", m.Received, m.Read, want, now)
					}
				}
				told := 0
				if !tt.believed && tt.features != nil {
					told = 1
				}
				if n := r.logs.count("the relay's time of a webhook is not believed"); n != told {
					t.Errorf("log lines of the clock = %d, want %d", n, told)
				}
			})
		})
	}
}

func TestGapsAreTold(t *testing.T) {
	gaps := []wire.Gap{
		{BucketID: "1", BucketName: "deploys", Count: 3, From: 1_700_000_000, To: 1_700_000_060, Reason: "too old"},
		{BucketID: "2", BucketName: "alerts", Count: 1, From: 1_700_000_000, To: 1_700_000_000, Reason: "no room"},
	}
	synctest.Test(t, func(t *testing.T) {
		var got []Gap
		srv, r := bubble(t, keeping(0), Options{ClientID: "c1", OnGap: func(g Gap) { got = append(got, g) }}, nil)
		subscribed(t, srv)
		if err := srv.SendGaps(gaps...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(got) != 2 || got[0] != gap(gaps[0]) || got[1] != gap(gaps[1]) {
			t.Errorf("gaps = %+v, want %+v", got, gaps)
		}
		const line = `level=WARN msg="webhooks were lost at the relay before they could be sent" relay=127.0.0.1:1 bucket=deploys bucket_id=1 ` +
			`count=3 from=2023-11-14T22:13:20.000Z to=2023-11-14T22:14:20.000Z reason="too old"`
		if !strings.Contains(r.logs.String(), line) {
			t.Errorf("log = %s, want a line with %s", r.logs, line)
		}
		if s := r.Status(); s.Gaps != 2 || s.Lost != 4 || s.Reconnects != 0 {
			t.Errorf("status = %+v, want 2 gaps of 4 webhooks", s)
		}
	})
}

func TestBucketsThatTheRelayHasNotAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{Unknown: []string{"deploy"}}, Options{Buckets: []string{"deploy", "alerts"}}, nil)
		subscribed(t, srv)
		synctest.Wait()
		if !strings.Contains(r.logs.String(), "nothing comes of them") || !strings.Contains(r.logs.String(), "buckets=[deploy]") {
			t.Errorf("log = %s, want it to name the bucket", r.logs)
		}
	})
}

// TestDamagedSubscriptionIsMadeAgain: a name that the client did not say was
// damaged on the way there.
func TestDamagedSubscriptionIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{Unknown: []string{"depl0ys"}}, Options{Buckets: []string{"deploys"}}, nil)
		if err := srv.WaitFrames(t.Context(), "subscribe", 3); err != nil {
			t.Fatal(err)
		}
		if s := r.Status(); s.Connected || s.LastError != errDamaged.Error() {
			t.Errorf("status = %+v, want it to try again for %v", s, errDamaged)
		}
	})
}

func TestGapsWithoutAcksAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{ClientID: "c1"}, nil)
		subscribed(t, srv)
		raw(t, srv, 1, `{"type":"status","status":"gap","message":"","gaps":[{"bucket_name":"b","count":1}]}`)
		synctest.Wait()
		if s := r.Status(); s.Gaps != 0 || s.Ignored != 1 {
			t.Errorf("status = %+v, want 1 ignored", s)
		}
	})
}

func TestStatusTellsWhatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		since := func(at time.Time) string {
			if at.IsZero() {
				return "never"
			}
			return at.Sub(begin).String()
		}
		srv, r := bubble(t, keeping(0), Options{ClientID: "c1"}, nil)
		subscribed(t, srv)
		synctest.Wait()
		if s := r.Status(); !s.Connected || since(s.LastFrame) != "0s" || since(s.LastWebhook) != "never" || since(s.Since) != "0s" {
			t.Errorf("status = %+v, want connected, a frame and no webhook", s)
		}
		time.Sleep(10 * time.Second)
		send(t, srv, "x")
		time.Sleep(10 * time.Second)
		ping(t, srv)
		synctest.Wait()
		if s := r.Status(); since(s.LastFrame) != "20s" || since(s.LastWebhook) != "10s" {
			t.Errorf("status = %+v, want a webhook after 10s, a frame after 20s", s)
		}
	})
}

func TestAwaitConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, r := bubble(t, relaytest.Options{}, Options{}, nil)
		for range 3 {
			if err := r.AwaitConnected(t.Context()); err != nil || !r.Status().Connected {
				t.Fatalf("AwaitConnected = %v, connected = %t, want it connected", err, r.Status().Connected)
			}
			synctest.Wait()
			srv.CutConnections()
			synctest.Wait()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := r.AwaitConnected(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("AwaitConnected = %v while nothing is connected, want that of ctx", err)
			}
		}
	})
}

func TestQueueForgets(t *testing.T) {
	earlier, now := newLedger(), newLedger()
	q := newQueue()
	for i, from := range []*ledger{earlier, nil, earlier, now, earlier} {
		m := body(i)
		m.from = from
		q.offer(m)
	}
	if n := q.forget(now); n != 2 {
		t.Errorf("forget = %d, want 2: all of the earlier connection but the first", n)
	}
	var left []int
	for len(q.msgs) > 0 {
		left = append(left, len(q.msgs[0].Body))
		q.pop()
	}
	if !slices.Equal(left, []int{0, 1, 3}) || q.bytes != 0 {
		t.Errorf("left = %v with %d bytes more, want the 0th, 1st and 3rd", left, q.bytes)
	}
	if n := q.forget(now); n != 0 {
		t.Errorf("forget of an empty queue = %d, want 0", n)
	}
}
