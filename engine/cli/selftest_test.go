package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
	"hookrun/engine/rules"
	"hookrun/relay"
	"hookrun/relay/relaytest"
)

// testedRelay is a relay as a self test sees it: its HTTP interface, and the
// connection to it.
type testedRelay struct {
	mu      sync.Mutex // guards all below
	buckets string     // the answer to the list of buckets
	listed  int        // its status
	status  int        // of the answer to a webhook
	passes  bool       // a webhook comes back
	lost    bool       // the connection is lost while a webhook is on its way
	down    chan struct{}
	since   time.Time
	sent    []*http.Request

	test *selfTest
}

const oneBucket = `[{"id":"1","name":"deploys","auth":{"type":"none"},"inputs":[{"id":"in-1"}]}]`

// selfTesting runs a self test of every minute, inside a synctest bubble.
func selfTesting(t *testing.T, r *testedRelay) (*relayLink, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	link := newRelayLink(linkOptions{client: &http.Client{Transport: r}, log: slog.New(slog.NewTextHandler(log, nil))})
	want := rules.Relay{URL: "wss://relay.example/sub/v1/socket", Key: engine.NewSecret("k3y"), Secret: engine.NewSecret("s3cret"),
		Buckets: []string{"deploys"}, SelfTest: time.Minute}
	var err error
	if r.test, err = newSelfTest(link, want, r); err != nil {
		t.Fatal(err)
	}
	link.setNow(nil, r.test)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.test.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return link, log
}

func goodRelay() *testedRelay {
	return &testedRelay{buckets: oneBucket, listed: http.StatusOK, status: http.StatusOK, passes: true, since: time.Now()}
}

// AwaitConnected implements selfTested.
func (r *testedRelay) AwaitConnected(ctx context.Context) error {
	r.mu.Lock()
	down := r.down
	r.mu.Unlock()
	if down == nil {
		return ctx.Err()
	}
	select {
	case <-down:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status implements selfTested.
func (r *testedRelay) Status() relay.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return relay.Status{Connected: r.down == nil, Since: r.since, LastFrame: time.Now().Add(-10 * time.Second)}
}

// RoundTrip is the HTTP interface.
func (r *testedRelay) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, req)
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: req}, nil
	}
	if req.Method == http.MethodGet {
		return answer(r.listed, r.buckets)
	}
	if r.lost {
		r.since = time.Now()
	}
	if r.passes && r.status == http.StatusOK {
		r.test.takes(relay.Message{Header: req.Header})
	}
	return answer(r.status, "s3cret")
}

func (r *testedRelay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// tests is the number of webhooks that were sent.
func (r *testedRelay) tests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, req := range r.sent {
		if req.Method == http.MethodPost {
			n++
		}
	}
	return n
}

func TestSelfTestFailsAndGoesWellAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := goodRelay()
		link, log := selfTesting(t, r)
		time.Sleep(10*time.Minute + 2*selfTestSettle)
		if n := r.tests(); n != 11 || link.Health() != "" || log.String() != "" {
			t.Errorf("tests in 10 minutes = %d, health = %q, log = %s; want 11, one soon, and no word", n, link.Health(), log)
		}
		r.set(func() { r.passes = false })
		time.Sleep(time.Minute) // the next one is sent
		if link.Health() != "" {
			t.Errorf("health = %q before the time is over, want none", link.Health())
		}
		time.Sleep(selfTestTimeout)
		if link.Health() != linkDown {
			t.Errorf("health = %q, want %q", link.Health(), linkDown)
		}
		time.Sleep(time.Hour)
		const line = `level=ERROR msg="the relay is connected but a test webhook did not come back" relay=relay.example ` +
			`err="it was sent, and did not come back within 30s" since=2000-01-01T00:11:31.000Z last_frame="10s ago" last_webhook=never`
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, line) || !strings.Contains(got, `hint="is the bucket \"deploys\" streamed`) {
			t.Errorf("log = %s, want one line with %s and a hint", got, line)
		}
		r.set(func() { r.passes = true })
		time.Sleep(2 * time.Minute)
		if link.Health() != "" || strings.Count(log.String(), `msg="a test webhook came back from the relay again"`) != 1 {
			t.Errorf("health = %q, log = %s, want it well, and told once", link.Health(), log)
		}
		if strings.Contains(log.String(), "s3cret") || strings.Contains(log.String(), "in-1") {
			t.Errorf("log = %s, which holds a secret", log)
		}
	})
}

func TestSelfTestErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testedRelay)
		err    string
		hint   string
	}{
		{"refused", func(r *testedRelay) { r.status = 503 }, `send it to the relay: the input of bucket \"deploys\" answered 503 Service Unavailable`, "senders get the same answer"},
		{"redirected", func(r *testedRelay) { r.status = 302 }, `send it to the relay: the input of bucket \"deploys\" answered 302 Found`, "senders get the same answer"},
		{"no access", func(r *testedRelay) { r.listed = 401 }, "list the relay's buckets: the relay answered 401 Unauthorized", "the key needs access to the relay's API"},
		{"no list", func(r *testedRelay) { r.buckets = `{"s3cret":1}` }, "list the relay's buckets: the answer is no list of buckets", ""},
		{"no bucket", func(r *testedRelay) { r.buckets = `[{"id":"9","name":"other"}]` }, "the relay has none of the buckets that are subscribed to", "are they there"},
		{"no input", func(r *testedRelay) { r.buckets = `[{"id":"9","name":"deploys","inputs":null}]` }, `bucket \"deploys\" has no input at the relay`, "give it one there"},
		{"no domain", func(r *testedRelay) {
			r.buckets = `[{"id":"9","name":"deploys","inputs":[{"id":"1","custom_domain":"u:s3cret@h/x"}]}]`
		}, `first input of bucket \"deploys\": its custom domain and path make no URL`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := goodRelay()
				tt.change(r)
				link, log := selfTesting(t, r)
				time.Sleep(2 * selfTestSettle)
				synctest.Wait()
				if got := log.String(); !strings.Contains(got, `err="`+tt.err+`"`) || !strings.Contains(got, `hint="`+tt.hint) || strings.Contains(got, "s3cret") {
					t.Errorf("log = %s, want %s, hint %s", got, tt.err, tt.hint)
				}
				if link.Health() != linkDown {
					t.Errorf("health = %q, want %q", link.Health(), linkDown)
				}
			})
		})
	}
}

func TestSelfTestFindsAnInput(t *testing.T) {
	const other = `{"id":"9","name":"other","inputs":[{"id":"other"}]},`
	tests := []struct {
		name, buckets, url, auth string
	}{
		{"the first of the bucket", `[` + other + `{"id":"1","name":"deploys","inputs":[{"id":"a b"},{"id":"2"}]}]`, "https://relay.example/sub/v1/webhooks/a%20b", ""},
		{"by the bucket's id", `[` + other + `{"id":"deploys","name":"x","auth":null,"inputs":[{"id":"1"}]}]`, "https://relay.example/sub/v1/webhooks/1", ""},
		{"a domain of its own", `[{"name":"deploys","inputs":[{"id":"1","custom_domain":"a.example","path_prefix":"/p"}]}]`, "https://a.example/p", ""},
		{"basic", `[{"name":"deploys","auth":{"type":"basic","username":"u","password":"p"},"inputs":[{"id":"1"}]}]`,
			"https://relay.example/sub/v1/webhooks/1", "Basic dTpw"},
		{"token", `[{"name":"deploys","auth":{"type":"token","token":"t"},"inputs":[{"id":"1"}]}]`, "https://relay.example/sub/v1/webhooks/1", "Bearer t"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := goodRelay()
				r.buckets = tt.buckets
				link, log := selfTesting(t, r)
				time.Sleep(2 * selfTestSettle)
				synctest.Wait()
				if link.Health() != "" || len(r.sent) != 2 {
					t.Fatalf("health = %q, requests = %d, want it well after two; log:\n%s", link.Health(), len(r.sent), log)
				}
				list, post := r.sent[0], r.sent[1]
				if key, secret, _ := list.BasicAuth(); list.URL.String() != "https://relay.example/sub/v1/buckets" || key != "k3y" || secret != "s3cret" {
					t.Errorf("list = %s with %s, %s", list.URL, key, secret)
				}
				if post.URL.String() != tt.url || post.Header.Get("Authorization") != tt.auth || len(post.Header.Get(selfTestHeader)) != 32 {
					t.Errorf("webhook = %s with %v, want %s, %s", post.URL, post.Header, tt.url, tt.auth)
				}
			})
		})
	}
}

func TestNothingIsTestedWhileDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := goodRelay()
		r.down = make(chan struct{})
		link, log := selfTesting(t, r)
		time.Sleep(time.Hour)
		if n := r.tests(); n != 0 {
			t.Errorf("tests while disconnected = %d, want none", n)
		}
		r.set(func() {
			r.passes, r.lost = false, true
			close(r.down)
			r.down = nil
		})
		time.Sleep(time.Hour)
		if n := r.tests(); n < 30 || link.Health() != "" || log.String() != "" {
			t.Errorf("tests = %d, health = %q, log = %s; want no word of those whose connection was lost meanwhile", n, link.Health(), log)
		}
	})
}

func TestLinkLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.Local)
		frame := time.Now()
		time.Sleep(90 * time.Second)
		tests := []struct {
			name string
			s    relay.Status
			want string
		}{
			{"at first", relay.Status{}, "not connected yet"},
			{"never", relay.Status{LastError: "no route"}, "never connected: no route"},
			{"connected", relay.Status{Connected: true, Since: at, LastFrame: frame, Received: 7},
				"connected since " + clock(at) + ", last frame 1m30s ago, 7 webhooks"},
			{"with losses", relay.Status{Connected: true, Since: at, LastFrame: frame, Lost: 3},
				"connected since " + clock(at) + ", last frame 1m30s ago, 0 webhooks, 3 lost at the relay"},
			{"lost", relay.Status{Since: at, LastFrame: frame, LastError: "cut"}, "not connected since " + clock(at) + ": cut"},
		}
		for _, tt := range tests {
			if got := linkLine(tt.s); got != tt.want {
				t.Errorf("%s: line = %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := newRelayLink(linkOptions{}).Line(); got != "" {
			t.Errorf("line without a relay = %s, want none", got)
		}
	})
}

// TestLateWebhookIsNotAnswered: the relay has told its sender something else by
// then. How its run ended is still told.
func TestLateWebhookIsNotAnswered(t *testing.T) {
	tests := []struct {
		name string
		ago  time.Duration // when the relay took it
		want string
	}{
		{"at once", 0, "202 sent at 1h0m0s"},
		{"in time", 5 * time.Second, "202 sent at 1h0m0s"},
		{"a clock that is ahead", -30 * time.Second, "202 sent at 1h0m0s"},
		{"late", 20 * time.Minute, "202 sent at 1h0m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := answerRelay(t, rules.Relay{All: true}, ruleTaking(0, 0))
				time.Sleep(time.Hour)
				now := time.Now()
				r.deliver(t, relay.Message{ID: "d", BucketName: "b", Received: now.Add(-tt.ago), Read: now})
				time.Sleep(time.Minute)
				if got := r.relayWas("d"); got != tt.want {
					t.Errorf("the relay was told %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestAsked(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name           string
		received, read time.Time
		want           time.Time
	}{
		{"of a relay that keeps", now.Add(-time.Hour), now, now.Add(-time.Hour)},
		{"its clock is ahead", now.Add(time.Minute), now, now},
		{"not said", now, time.Time{}, now},
	}
	for _, tt := range tests {
		if got := asked(relay.Message{Received: tt.received, Read: tt.read}); !got.Equal(tt.want) {
			t.Errorf("%s: asked = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestTestWebhookIsNoEvent: and only that one, and only once.
func TestTestWebhookIsNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := answerRelay(t, rules.Relay{Buckets: []string{"b"}}, ruleTaking(0, 0))
		r.test = &selfTest{wanted: r.wanted}
		nonce, back := r.test.begin()
		take := func(id, nonce string) {
			m := relay.Message{ID: id, BucketName: "b", Method: http.MethodPost, Header: http.Header{selfTestHeader: {nonce}}, Received: time.Now()}
			if err := r.handle(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		take("other", strings.Repeat("0", 32))
		take("mine", nonce)
		select {
		case <-back:
		default:
			t.Error("the test is not told that its webhook came back")
		}
		take("again", nonce)
		r.test.end()
		take("empty", "")
		time.Sleep(time.Second)
		r.stop()
		for id, want := range map[string]string{"other": "202 sent at 0s", "mine": "200 sent at 0s", "again": "200 sent at 0s", "empty": "202 sent at 0s"} {
			if got := r.relayWas(id); got != want {
				t.Errorf("the relay was told of %s: %s, want %s", id, got, want)
			}
		}
	})
}

// TestLateTestWebhookIsNoEvent: it comes when its test has been given up, to this
// hookrun or to another one with the same key; one with another key can't tell.
func TestLateTestWebhookIsNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := answerRelay(t, rules.Relay{Buckets: []string{"b"}}, ruleTaking(0, 0))
		for id, nonce := range map[string]string{
			"late":   testNonce(r.wanted.Secret, []byte("12345678")),
			"other":  testNonce(engine.NewSecret("another"), []byte("12345678")),
			"forged": strings.Repeat("0", 32),
		} {
			m := relay.Message{ID: id, BucketName: "b", Method: http.MethodPost, Body: []byte(selfTestBody), Header: http.Header{selfTestHeader: {nonce}}, Received: time.Now()}
			if err := r.handle(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		r.stop()
		for id, want := range map[string]string{"late": "200 sent at 0s", "other": "202 sent at 0s", "forged": "202 sent at 0s"} {
			if got := r.relayWas(id); got != want {
				t.Errorf("the relay was told of %s: %s, want %s", id, got, want)
			}
		}
	})
}

// TestSelfTestThroughARelay: as hookrun does it, with acks and without.
func TestSelfTestThroughARelay(t *testing.T) {
	for _, features := range [][]string{nil, {"ack", "resume"}} {
		t.Run(fmt.Sprint(features), func(t *testing.T) {
			e, err := engine.Open(t.Context(), engine.Options{Store: &enginetest.MemStore{}, Rules: ruleTaking(0, 0)})
			if err != nil {
				t.Fatal(err)
			}
			srv := relaytest.New(t, relaytest.Options{Features: features})
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			l := newRelayLink(linkOptions{answers: answers{engine: e}, client: httpClient(transport), log: slog.New(slog.DiscardHandler), instance: "c1"})
			l.set(rules.Relay{URL: srv.URL, Key: engine.NewSecret("key"), Secret: engine.NewSecret("secret"), Buckets: []string{"b"}, SelfTest: time.Hour})
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { l.answer(ctx) })
			wg.Go(func() { l.take(ctx) })
			defer wg.Wait()
			defer stop()

			waiting, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err = srv.WaitFrames(waiting, "subscribe", 1)
			if features != nil {
				err = errors.Join(err, srv.WaitAcks(waiting, 1))
			}
			if err := errors.Join(err, srv.WaitAnswers(waiting, 1)); err != nil {
				t.Fatal(err)
			}
			if log := srv.Logs()[0]; log.StatusCode != 200 || log.Status != relay.OutcomeSent || l.Health() != "" {
				t.Errorf("answer = %+v, health = %q, want 200, sent, and it well", log, l.Health())
			}
			if counts := e.Counts(); len(counts) != 0 {
				t.Errorf("runs = %v, want none", counts)
			}
		})
	}
}
