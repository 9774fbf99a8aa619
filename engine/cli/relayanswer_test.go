package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"

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

// toldRelay is what a relay was told, and when: since the begin of the test.
type toldRelay struct {
	id, text string // the text is the status and the outcome
	at       time.Duration
}

// answerRig is an engine over a store in memory, and what answers a relay that
// takes every answer.
type answerRig struct {
	*relayTaker
	log  *lockedBuffer
	slow time.Duration // for the relay to take an answer
	stop func()        // ends it as hookrun ends it; may be called again

	mu   sync.Mutex // guards said
	said []toldRelay
}

// answerRelay starts it, inside a synctest bubble.
func answerRelay(t *testing.T, wanted rules.Relay, set *engine.RuleSet) *answerRig {
	t.Helper()
	r := &answerRig{log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	e, err := engine.Open(t.Context(), engine.Options{Store: &enginetest.MemStore{}, Rules: set, MaxRuns: 10_000, Grace: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	wanted.URL, wanted.Key, wanted.Secret = "ws://127.0.0.1:1/v1/socket", engine.NewSecret("key"), engine.NewSecret("secret")
	link := newRelayLink(linkOptions{answers: answers{engine: e}, client: &http.Client{Transport: r}, log: log})
	to := newRelayAnswers(link, wanted)
	r.relayTaker = &relayTaker{relayAnswers: to, wanted: wanted}

	working, stopWork := context.WithCancel(context.Background())
	answering, stopAnswers := context.WithCancel(context.Background())
	var work, answered sync.WaitGroup
	work.Go(func() { e.Run(working) })
	answered.Go(func() { link.answer(answering) })
	link.begun <- to
	r.stop = sync.OnceFunc(func() {
		stopWork()
		work.Wait()
		stopAnswers()
		answered.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// RoundTrip is the relay.
func (r *answerRig) RoundTrip(req *http.Request) (*http.Response, error) {
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble
	var body struct {
		Status  int    `json:"status_code"`
		Outcome string `json:"status"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.said = append(r.said, toldRelay{path.Base(req.URL.Path), strings.TrimSpace(fmt.Sprint(body.Status, " ", body.Outcome)), time.Since(begin)})
	r.mu.Unlock()
	time.Sleep(r.slow)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
}

// deliver hands a message over as a client does whose Run may have been told to
// end: its context ends with the call.
func (r *answerRig) deliver(t *testing.T, m relay.Message) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m.Method, m.Header = http.MethodPost, http.Header{}
	if err := r.handle(ctx, m); err != nil {
		t.Fatalf("handle = %v", err)
	}
}

// relayWas is all that the relay was told of a webhook, "" for of all, as
// "status outcome at time", joined by ", ".
func (r *answerRig) relayWas(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, s := range r.said {
		if id == "" || s.id == id {
			all = append(all, fmt.Sprint(s.text, " at ", s.at))
		}
	}
	return strings.Join(all, ", ")
}

// count is how often the relay was told this.
func (r *answerRig) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, s := range r.said {
		if s.text == text {
			n++
		}
	}
	return n
}

// taking is an action that takes its time.
type taking time.Duration

func (taking) Kind() string { return "exec" }

func (taking) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }

func (d taking) Do(ctx context.Context, _ engine.Input) (engine.Output, error) {
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
		return engine.Output{}, nil
	case <-ctx.Done():
		return engine.Output{}, context.Cause(ctx)
	}
}

// ruleTaking is a rule of bucket b whose action takes its time; wait says for
// how long the sender waits.
func ruleTaking(d, wait time.Duration) *engine.RuleSet {
	r := &engine.Rule{Name: "a", Hash: "a", Buckets: []string{"b"}, Steps: []engine.Step{{ID: "1", Action: taking(d)}}}
	if wait > 0 {
		r.Respond = &engine.Respond{Wait: wait}
	}
	r.Concurrency.None = true
	set := engine.NewRuleSet([]*engine.Rule{r}, "h")
	set.MaxRuns = 10_000
	return set
}

func TestWhatARelayIsToldAndWhen(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name       string
		run, wait  time.Duration
		age        time.Duration // of the message when it is handed over
		stop, over time.Duration // when hookrun is told to end, or the rules name another relay; 0: never
		want       string
	}{
		{name: "a run that is short", run: 50 * time.Millisecond, want: "202 sent at 50ms"},
		{name: "a run that is not", run: 5 * second, want: "202 at 100ms, 202 sent at 5s"},
		{name: "a run that is long", run: 50 * time.Minute, want: "202 at 100ms, 202 sent at 50m0s"},
		{name: "a sender that waits", run: 5 * second, wait: 30 * second, want: "200 sent at 5s"},
		{name: "a sender that waits in vain", run: 12 * second, wait: 30 * second, want: "202 at 8s, 202 sent at 12s"},
		{name: "a sender that has waited", run: 5 * second, wait: 30 * second, age: 6 * second, want: "202 at 2s, 202 sent at 5s"},
		{name: "a sender that is gone", run: 5 * second, wait: 30 * second, age: 11 * second, want: "202 sent at 5s"},
		{name: "told to end, the run ends", run: 5 * second, stop: 2 * second, want: "202 at 100ms, 202 sent at 5s"},
		{name: "told to end, the run ends, a sender waits", run: 5 * second, wait: 30 * second, stop: 2 * second, want: "200 sent at 5s"},
		{name: "told to end, the run does not", run: 50 * time.Minute, stop: 2 * second, want: "202 at 100ms"},
		{name: "another relay", run: 50 * time.Minute, over: 2 * second, want: "202 at 100ms"},
		{name: "another relay, a sender waits", run: 50 * time.Minute, wait: 30 * second, over: 2 * second, want: "202 at 2.1s"},
		{name: "another relay, at once", run: 50 * time.Minute, over: 1, want: "202 at 100ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := answerRelay(t, rules.Relay{All: true}, ruleTaking(tt.run, tt.wait))
				r.deliver(t, relay.Message{ID: "1", BucketName: "b", Received: time.Now().Add(-tt.age)})
				if tt.over > 0 {
					time.Sleep(tt.over)
					close(r.over)
				}
				if tt.stop > 0 {
					time.Sleep(tt.stop)
					r.stop()
				}
				time.Sleep(3 * time.Hour)
				if got := r.relayWas("1"); got != tt.want {
					t.Errorf("the relay was told %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestManyWebhooksAreAnswered: however many runs there are whose end is waited
// for, the sender of each webhook is answered.
func TestManyWebhooksAreAnswered(t *testing.T) {
	const n, most = 150, 100
	for _, tt := range []struct {
		name    string
		wait    time.Duration // of the sender
		every   time.Duration // a webhook comes
		run     time.Duration
		unheard int // outcomes that the relay is not told
		what    string
	}{
		{"their runs take long", 0, 10 * time.Millisecond, 30 * time.Minute, n - most, "outcomes"},
		{"their senders wait", time.Minute, 2 * time.Millisecond, 30 * time.Minute, n - most, "answers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := answerRelay(t, rules.Relay{All: true}, ruleTaking(tt.run, tt.wait))
				r.senders.most, r.outcomes.most = most, most
				for i := range n {
					r.deliver(t, relay.Message{ID: fmt.Sprint(i), BucketName: "b"})
					time.Sleep(tt.every)
				}
				time.Sleep(10 * time.Second)
				if got := r.count("202"); got != n {
					t.Errorf("%d senders are answered, want %d", got, n)
				}
				time.Sleep(2 * time.Hour)
				if got := n - r.count("202 sent"); got != tt.unheard {
					t.Errorf("the relay is not told the outcome of %d webhooks, want %d", got, tt.unheard)
				}
				if got := r.relayWas(fmt.Sprint(n - 1)); !strings.Contains(got, "202 sent") {
					t.Errorf("the relay was told %q of the last, want its outcome", got)
				}
				for _, line := range []string{"the oldest no longer are\" for=" + tt.what, "are waited for again\" for=" + tt.what} {
					if got := strings.Count(r.log.String(), line); got != 1 {
						t.Errorf("the log says %d times %q, want once:\n%s", got, line, r.log)
					}
				}
			})
		})
	}
}

// TestWaitsAreBoundedInBytes: what is held for those who wait has a bound too.
func TestWaitsAreBoundedInBytes(t *testing.T) {
	w := waits{log: slog.New(slog.DiscardHandler), what: "answers", most: maxWaits}
	var all []context.Context
	for range 10 {
		ctx, leave := w.enter(t.Context(), maxWaitBytes/4)
		defer leave()
		all = append(all, ctx)
	}
	for i, ctx := range all {
		if gone := ctx.Err() != nil; gone != (i < 6) {
			t.Errorf("number %d of 10 gave way: %v, want that of the first 6", i, gone)
		}
	}
}

// knowsNobody is a verifier that refuses all.
type knowsNobody struct{ engine.Verifier }

func (knowsNobody) Verify(context.Context, *engine.Event) error {
	return errors.New("the signature differs")
}
func (knowsNobody) Likely(context.Context, *engine.Event) string { return "" }
func (knowsNobody) Challenge(context.Context, *engine.Event) (*engine.Challenge, error) {
	return nil, nil
}
func (knowsNobody) Mask(*engine.Event) {}

// TestForgedWebhooksPushNoAnswerOut: anybody can send webhooks that are not
// verified.
func TestForgedWebhooksPushNoAnswerOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := ruleTaking(0, 0)
		set.Buckets = map[string]*engine.Bucket{"signed": {Verify: knowsNobody{}}}
		r := answerRelay(t, rules.Relay{All: true}, set)
		r.slow = time.Second
		const good, forged = 20, 1000
		for i := range good {
			r.deliver(t, relay.Message{ID: fmt.Sprint("good", i), BucketName: "b"})
		}
		for i := range forged {
			r.deliver(t, relay.Message{ID: fmt.Sprint("forged", i), BucketName: "signed"})
		}
		time.Sleep(time.Minute)
		if got := r.count("202 sent"); got != good {
			t.Errorf("%d good webhooks are answered, want %d", got, good)
		}
		if got := r.count("401 failed"); got == 0 || got > good+64 {
			t.Errorf("%d forged webhooks are answered, want some, and 84 at most", got)
		}
	})
}

// TestWebhooksThatTheRelayMayNotSend: what can't be taken does not come again, so
// that it stops none behind it.
func TestWebhooksThatTheRelayMayNotSend(t *testing.T) {
	set := func() *engine.RuleSet {
		s := ruleTaking(0, 0)
		s.Buckets = map[string]*engine.Bucket{
			"signed": {Verify: knowsNobody{}},
			"local":  {Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		}
		return s
	}
	some := rules.Relay{Buckets: []string{"b", "id-of-c", "local", "signed"}}
	for _, tt := range []struct {
		name   string
		wanted rules.Relay
		m      relay.Message
		want   string // that the relay is told
		warned bool
	}{
		{"a bucket that is asked for", some, relay.Message{BucketName: "b", BucketID: "id-of-b"}, "202 sent at 0s", false},
		{"one that is asked for by its id", some, relay.Message{BucketName: "c", BucketID: "id-of-c"}, "202 sent at 0s", false},
		{"any bucket", rules.Relay{All: true}, relay.Message{BucketName: "z"}, "202 sent at 0s", false},
		{"a bucket that is not asked for", some, relay.Message{BucketName: "z", BucketID: "id-of-z"}, "", true},
		{"one without a name", some, relay.Message{BucketID: "id-of-z"}, "", true},
		{"one that takes what is signed", some, relay.Message{BucketName: "signed"}, "401 failed at 0s", false},
		{"one that takes what is near", some, relay.Message{BucketName: "local"}, "403 failed at 0s", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := answerRelay(t, tt.wanted, set())
				tt.m.ID = "1"
				r.deliver(t, tt.m)
				synctest.Wait()
				if got := r.relayWas(""); got != tt.want {
					t.Errorf("the relay was told %q, want %q", got, tt.want)
				}
				for range 100 {
					tt.m.ID += "1"
					r.deliver(t, tt.m)
				}
				if got := strings.Count(r.log.String(), "a bucket that was not subscribed to"); (got == 1) != tt.warned || got > 1 {
					t.Errorf("the log warns %d times, want once: %v", got, tt.warned)
				}
			})
		})
	}
}

// hanging is a relay's HTTP side that takes an answer when the test says so.
type hanging struct {
	asked   chan struct{} // holds a token when there was an answer
	release chan struct{} // closed by the test
}

// RoundTrip implements http.RoundTripper.
func (h hanging) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	select {
	case h.asked <- struct{}{}:
	default:
	}
	<-h.release
	return nil, errors.New("no route")
}

// TestNextRelayIsHeardBeforeTheLastIsAnswered: a relay forgets what it sends to
// nobody.
func TestNextRelayIsHeardBeforeTheLastIsAnswered(t *testing.T) {
	e, err := engine.Open(t.Context(), engine.Options{Store: &enginetest.MemStore{}, Rules: ruleTaking(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	last, next := relaytest.New(t, relaytest.Options{}), relaytest.New(t, relaytest.Options{})
	http := hanging{make(chan struct{}, 1), make(chan struct{})}
	l := newRelayLink(linkOptions{answers: answers{engine: e}, client: httpClient(http), log: slog.New(slog.DiscardHandler)})
	want := rules.Relay{URL: last.URL, Key: engine.NewSecret("key"), Secret: engine.NewSecret("secret"), All: true}
	l.set(want)
	taking, stopTaking := context.WithCancel(t.Context())
	answering, stopAnswers := context.WithCancel(t.Context())
	var taken, answered sync.WaitGroup
	answered.Go(func() { l.answer(answering) })
	taken.Go(func() { l.take(taking) })
	defer func() {
		close(http.release)
		stopTaking()
		taken.Wait()
		stopAnswers()
		answered.Wait()
	}()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := last.WaitSubscribed(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Send("b", relaytest.Webhook{}); err != nil {
		t.Fatal(err)
	}
	<-http.asked
	want.URL = next.URL
	l.set(want)
	if err := next.WaitSubscribed(ctx, 1); err != nil {
		t.Errorf("the next relay: %v", err)
	}
}

func httpClient(t http.RoundTripper) *http.Client { return &http.Client{Transport: t} }
