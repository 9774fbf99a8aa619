package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/server"
)

func TestStaticResponse(t *testing.T) {
	r := startRelay(t, newMemStore(), func(a *account.Account) {
		in := &a.Buckets[0].Inputs[0]
		in.StatusCode, in.Body, in.Headers = 418, "teapot", account.Header{"X-A": {"1", "2"}, "Content-Length": {"3"}, "Connection": {"close"}}
	})
	got := r.post("", "x")
	if got.status != 418 || got.body != "teapot" || strings.Join(got.header["X-A"], ",") != "1,2" {
		t.Errorf("answer %+v, want the static one", got)
	}
}

func TestInputAuth(t *testing.T) {
	tests := []struct {
		name   string
		auth   account.Auth
		header string
		want   int
	}{
		{"none", account.Auth{Type: account.AuthNone}, "", 200},
		{"basic", account.Auth{Type: account.AuthBasic, Username: "u", Password: "p"}, "Basic dTpw", 200},
		{"basic, wrong", account.Auth{Type: account.AuthBasic, Username: "u", Password: "p"}, "Basic dTpx", 401},
		{"basic, none", account.Auth{Type: account.AuthBasic, Username: "u", Password: "p"}, "", 401},
		{"token", account.Auth{Type: account.AuthToken, Token: "tt"}, "Bearer tt", 200},
		{"token, lower case", account.Auth{Type: account.AuthToken, Token: "tt"}, "bearer tt", 200},
		{"token, wrong", account.Auth{Type: account.AuthToken, Token: "tt"}, "Bearer t", 401},
		{"token, alone", account.Auth{Type: account.AuthToken, Token: "tt"}, "tt", 401},
		{"token, none", account.Auth{Type: account.AuthToken, Token: "tt"}, "", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := startRelay(t, newMemStore(), func(a *account.Account) { a.Buckets[0].Auth = tt.auth })
			q := r.request("POST", "/v1/webhooks/"+inputID, "x")
			if tt.header != "" {
				q.Header.Set("Authorization", tt.header)
			}
			got := r.send(q)
			if got.status != tt.want {
				t.Errorf("status %d, want %d", got.status, tt.want)
			}
			if got.status == 401 && (got.body != "Unauthorized" || got.header.Get("WWW-Authenticate") == "") {
				t.Errorf("answer %+v, want Unauthorized and how to be", got)
			}
			if kept := len(r.store.logs); (kept == 1) != (tt.want == 200) {
				t.Errorf("%d deliveries are kept", kept)
			}
			for _, l := range r.store.logs {
				if l.Header.Get("Authorization") != "" {
					t.Errorf("the delivery shows the bucket's secret: %s", l.Header)
				}
			}
		})
	}
}

func TestPathGoesBeforeTheQueryOfADestination(t *testing.T) {
	for _, tt := range []struct{ to, path, want string }{
		{"http://a/hook", "/", "http://a/hook"},
		{"http://a/hook/", "/x/y", "http://a/hook/x/y"},
		{"http://a/hook?b=c", "/x", "http://a/hook/x?b=c"},
		{"http://a/?b=c/d", "/x", "http://a/x?b=c/d"},
	} {
		if got := destination(&account.Output{Destination: tt.to}, tt.path); got != tt.want {
			t.Errorf("destination(%s, %s) = %s, want %s", tt.to, tt.path, got, tt.want)
		}
	}
}

func TestUnknownInput(t *testing.T) {
	strict := false
	r := setup{store: newMemStore(), options: func(o *Options) { o.Strict = func() bool { return strict } }}.start(t)
	for _, path := range []string{"/v1/webhooks/" + otherID, "/v1/webhooks/", "/v1/webhooks/x/y"} {
		if got := r.send(r.request("POST", path, "x")); got.status != 200 || got.body != "" {
			t.Errorf("%s: answer %+v, want 200 and nothing", path, got)
		}
	}
	strict = true
	if got := r.send(r.request("POST", "/v1/webhooks/"+otherID, "x")); got.status != 404 {
		t.Errorf("status %d, want 404", got.status)
	}
	if got := r.post("", "x"); got.status != 200 {
		t.Errorf("status %d, want 200", got.status)
	}
}

func TestBodySize(t *testing.T) {
	r := startRelay(t, newMemStore())
	for _, tt := range []struct {
		size, want int
		large      bool
	}{
		{maxBody, 200, false},
		{maxBody + 1, 413, false},
		{maxBody + 1, 200, true},
		{maxLargeBody + 1, 413, true},
	} {
		r.edit(func(a *account.Account) { a.Buckets[0].LargeWebhooks = tt.large })
		if got := r.post("", strings.Repeat("x", tt.size)); got.status != tt.want {
			t.Errorf("%d bytes, large: %v: status %d, want %d", tt.size, tt.large, got.status, tt.want)
		}
	}
}

func TestCustomDomain(t *testing.T) {
	r := startRelay(t, newMemStore(), other, func(a *account.Account) {
		in := &a.Buckets[0].Inputs[0]
		in.CustomDomain, in.PathPrefix, in.StripPathPrefix = "Hooks.example.com", "/in/", true
		on := &a.Buckets[1].Inputs[0]
		on.CustomDomain = "hooks.example.com"
	})
	c := r.plain2()
	for _, tt := range []struct{ host, path, bucket, want string }{
		{"hooks.example.com", "/in/a%2Fb", "deploys", "/a%2Fb"},
		{"HOOKS.example.com:8443", "/in", "deploys", "/"},
		{"hooks.example.com", "/inside", "other", "/inside"},
		{"hooks.example.com", "/", "other", "/"},
	} {
		q := r.request("POST", tt.path, "x")
		q.Host = tt.host
		r.send(q)
		if w := c.webhook(); w.BucketName != tt.bucket || w.Path != tt.want {
			t.Errorf("%s%s: bucket %s, path %s, want %s and %s", tt.host, tt.path, w.BucketName, w.Path, tt.bucket, tt.want)
		}
	}
}

func TestInputRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true, change: func(a *account.Account) { a.Buckets[0].Inputs[0].Rate = 3 }}.start(t)
		var got []int
		for range 4 {
			got = append(got, r.post("", "x").status)
		}
		time.Sleep(time.Second)
		got = append(got, r.post("", "x").status)
		r.edit(func(a *account.Account) { a.Buckets[0].Inputs[0].Rate = 1 })
		got = append(got, r.post("", "x").status, r.post("", "x").status)
		if want := "[200 200 200 429 200 200 429]"; fmt.Sprint(got) != want {
			t.Errorf("statuses %v, want %s", got, want)
		}
	})
}

// dynamic has the input's senders get the answer of an output.
func dynamic(from string) func(*account.Account) {
	return func(a *account.Account) {
		in := &a.Buckets[0].Inputs[0]
		in.ResponseFromOutput, in.StatusCode, in.Body = from, 202, "static"
		a.Buckets[0].Outputs = []account.Output{
			{ID: outputA, Name: "a", Internal: true, Destination: "http://a"},
			{ID: outputB, Name: "b", Internal: true, Destination: "http://b"},
		}
	}
}

func sentUpdate(body string) account.Update {
	return account.Update{Status: account.StatusSent, StatusCode: 201, Answer: []byte(body), AnswerHead: http.Header{
		"X-A": {"1"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"99"}, "Keep-Alive": {"1"},
	}}
}

// posting sends a webhook, and returns where its answer comes.
func (r *relay) posting(body string) <-chan answer {
	got := make(chan answer, 1)
	go func() { got <- r.post("", body) }()
	return got
}

func TestAnswerOfAnOutput(t *testing.T) {
	for _, tt := range []struct{ from, answers string }{{account.AnyOutput, "b"}, {outputA, "a"}} {
		r := startRelay(t, newMemStore(), dynamic(tt.from))
		c := r.plain()
		got := r.posting("x")
		ids := map[string]string{}
		for range 2 {
			w := c.webhook()
			ids[w.OutputName] = w.ID
		}
		if tt.from == outputA {
			if err := r.answer(ids["b"], sentUpdate("b")); err != nil {
				t.Error(err)
			}
		}
		large := tt.answers + strings.Repeat("y", maxBody-1)
		if err := r.answer(ids[tt.answers], sentUpdate(large)); err != nil {
			t.Error(err)
		}
		a := <-got
		if a.status != 201 || a.body != large || a.header.Get("X-A") != "1" {
			t.Errorf("%s: status %d, body of %d bytes, header %v, want the output's", tt.from, a.status, len(a.body), a.header)
		}
		for _, name := range []string{"X-Hop", "Keep-Alive", "Connection"} {
			if a.header.Get(name) != "" {
				t.Errorf("%s: header %s is passed on", tt.from, name)
			}
		}
		if n := len(r.hub.waiting); n != 0 || r.hub.waiters.n != 0 || r.hub.waiters.bytes != 0 {
			t.Errorf("%d wait, %+v, want none", n, r.hub.waiters)
		}
		if l, err := r.store.Log(t.Context(), ids[tt.answers]); err != nil || l.Status != account.StatusSent || string(l.Answer) != large {
			t.Errorf("the answer is not kept: %v", err)
		}
	}
}

func TestAnswerOfAFailedTry(t *testing.T) {
	r := startRelay(t, newMemStore(), dynamic(account.AnyOutput), func(a *account.Account) {
		a.Buckets[0].Outputs = []account.Output{{ID: outputPublic, Name: "p", Destination: "https://example.com"}}
	})
	accepted := make(chan struct{})
	r.store.beforeCommit = func() { close(accepted) }
	got := r.posting("x")
	<-accepted
	r.store.mu.Lock() // accepted is not yet committed
	l := r.store.logs[0]
	r.store.mu.Unlock()
	r.hub.Forwarded(l, account.Update{Status: account.StatusPreparing, StatusCode: 500})
	r.hub.Forwarded(l, account.Update{Status: account.StatusFailed})
	if a := <-got; a.status != 502 || a.body != "" {
		t.Errorf("answer %+v, want 502", a)
	}
}

func TestAnswerThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true, change: dynamic(outputA)}.start(t)
		c := r.plain()
		begin := time.Now()
		a := r.post("", "x")
		if a.status != 202 || a.body != "static" {
			t.Errorf("answer %+v, want the static one", a)
		}
		if took := time.Since(begin); took != answerWindow {
			t.Errorf("the sender waited for %s, want %s", took, answerWindow)
		}
		one, two := c.webhook(), c.webhook()
		if l, err := r.store.Log(t.Context(), one.ID); err != nil || l.Status != account.StatusStalled {
			t.Errorf("status %q %v, want %q", l.Status, err, account.StatusStalled)
		}
		time.Sleep(time.Second)
		for _, id := range []string{one.ID, two.ID} {
			if err := r.answer(id, sentUpdate("late")); !errors.Is(err, account.ErrLate) {
				t.Errorf("error %v, want ErrLate", err)
			}
		}
		if err := r.answer(otherID, sentUpdate("")); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("error %v, want ErrNotFound", err)
		}
	})
}

func TestAnswerWithoutAWaitingSender(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.plain()
	r.post("", "x")
	id := c.webhook().ID
	if err := r.answer(id, sentUpdate("kept")); err != nil {
		t.Error(err)
	}
	if l, err := r.store.Log(t.Context(), id); err != nil || string(l.Answer) != "kept" {
		t.Errorf("answer %q %v, want kept", l.Answer, err)
	}
}

// A consumer that comes after a while may still answer what it gets only then.
func TestAnswerOfWhatIsHandedOutLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box", "")
		c.ws.Close()
		synctest.Wait()
		r.post("", "x")
		time.Sleep(time.Hour)
		c = r.acking("box", "")
		w := c.webhook()
		if err := r.answer(w.ID, sentUpdate("late")); err != nil {
			t.Errorf("error %v, want none", err)
		}
		time.Sleep(answerWindow + time.Second)
		if err := r.answer(w.ID, sentUpdate("later")); !errors.Is(err, account.ErrLate) {
			t.Errorf("error %v, want ErrLate", err)
		}
	})
}

func TestHoldAndDeliver(t *testing.T) {
	for _, kind := range []string{"plain", "acking"} {
		synctest.Test(t, func(t *testing.T) {
			r := setup{store: newMemStore(), pipe: true, change: dynamic(account.AnyOutput)}.start(t)
			got := r.posting("x")
			time.Sleep(answerWindow / 2)
			var c *client
			if kind == "plain" {
				c = r.plain()
			} else {
				c = r.acking("box", "")
			}
			w := c.webhook()
			second := r.plain() // gets nothing: the first was there in time
			if err := r.answer(w.ID, sentUpdate("banana")); err != nil {
				t.Error(err)
			}
			if a := <-got; a.status != 201 || a.body != "banana" {
				t.Errorf("%s: answer %+v, want the client's", kind, a)
			}
			if kind == "acking" {
				c.ack(w.ID)
			}
			second.say(`{"action":"subscribe"}`)
			if second.want(subscribed); kind == "plain" && r.hub.counts[bucketID].Delivered != 2 {
				t.Errorf("counts %+v, want 2 delivered", r.hub.counts[bucketID])
			}
		})
	}
}

// What is not on disk is not held out to anybody.
func TestHeldIsOnDisk(t *testing.T) {
	r := startRelay(t, newMemStore(), dynamic(account.AnyOutput))
	inserted, goOn := make(chan struct{}), make(chan struct{})
	r.store.beforeCommit = func() {
		close(inserted)
		<-goOn
	}
	got := r.posting("x")
	<-inserted
	c := r.plain()
	c.say(`{"action":"subscribe","buckets":["nothing"]}`)
	c.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: nothing"}`)
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed)
	close(goOn)
	w := c.webhook()
	if err := r.answer(w.ID, sentUpdate("")); err != nil {
		t.Error(err)
	}
	<-got
}

func TestSenderThatHangsUp(t *testing.T) {
	r := startRelay(t, newMemStore(), dynamic(account.AnyOutput))
	c := r.plain()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		resp, err := r.http.Do(r.request("POST", "/v1/webhooks/"+inputID, "x").WithContext(ctx))
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	w := c.webhook()
	cancel()
	if err := <-gone; err == nil {
		t.Error("there was an answer")
	}
	if err := r.answer(w.ID, sentUpdate("kept")); err != nil {
		t.Error(err)
	}
	if l, err := r.store.Log(t.Context(), w.ID); err != nil || string(l.Answer) != "kept" {
		t.Errorf("answer %q %v, want kept", l.Answer, err)
	}
}

func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true, change: dynamic(outputA)}.start(t)
		later, body := 0, []byte(strings.Repeat("x", maxBody))
		for range maxWaitingBytes/(2*maxBody) + 2 {
			a, err := r.hub.Deliver(t.Context(), webhook(body))
			if err != nil {
				t.Fatal(err)
			}
			if a.Later != nil {
				later++
			}
		}
		if want := maxWaitingBytes / (2 * maxBody); later == 0 || later > want {
			t.Errorf("%d senders wait, want some, at most %d", later, want)
		}
		time.Sleep(answerWindow)
		synctest.Wait()
		if n := len(r.hub.waiting); n != 0 || r.hub.waiters.n != 0 || r.hub.waiters.bytes != 0 {
			t.Errorf("%d wait, %+v, want none", n, r.hub.waiters)
		}
	})
}

func webhook(body []byte) server.Webhook {
	return server.Webhook{Bucket: inputID, Method: "POST", Path: "/", Header: http.Header{}, Body: body, Received: time.Now().UTC(), Remote: "192.0.2.1:80"}
}

func TestDeliverThatTheStoreRefuses(t *testing.T) {
	r := startRelay(t, newMemStore(), dynamic(account.AnyOutput))
	r.store.broken = errors.New("disk full")
	if _, err := r.hub.Deliver(t.Context(), webhook(nil)); !errors.Is(err, server.ErrUnavailable) || !errors.Is(err, r.store.broken) {
		t.Errorf("error %v, want ErrUnavailable and why", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.hub.Deliver(ctx, webhook(nil)); err == nil || errors.Is(err, server.ErrUnavailable) {
		t.Errorf("error %v, want the store's alone", err)
	}
	if n := len(r.hub.waiting); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
	if got := r.post("", "x"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("answer %+v, want 503", got)
	}
	if _, err := r.hub.Deliver(t.Context(), server.Webhook{Bucket: otherID}); err != nil {
		t.Errorf("error %v, want none: the input is gone", err)
	}
}

// Stop waits for what senders were told is taken.
func TestHastyBucket(t *testing.T) {
	r := startRelay(t, newMemStore(), func(a *account.Account) { a.Buckets[0].Hasty = true })
	goOn := make(chan struct{})
	r.store.beforeCommit = func() { <-goOn }
	if got := r.post("", "x"); got.status != 200 {
		t.Errorf("status %d, want 200", got.status)
	}
	var wg sync.WaitGroup
	wg.Go(r.stop)
	for !r.hub.hasEnded() {
		runtime.Gosched()
	}
	close(goOn)
	wg.Wait()
	if n := len(r.store.logs); n != 1 {
		t.Errorf("%d deliveries are kept, want 1", n)
	}
	if _, err := r.hub.Deliver(t.Context(), webhook(nil)); err != nil || len(r.store.logs) != 2 {
		t.Errorf("error %v, %d deliveries, want none and 2: on disk at once", err, len(r.store.logs))
	}
}

// hasEnded reports whether a hub takes no connections any more.
func (h *Hub) hasEnded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

func TestHastyIsBounded(t *testing.T) {
	r := startRelay(t, newMemStore(), func(a *account.Account) { a.Buckets[0].Hasty = true })
	goOn := make(chan struct{})
	r.store.beforeCommit = func() { <-goOn }
	body := make([]byte, maxHastyBytes/4)
	for range maxHastyBytes / cost(&account.Log{Body: body}) {
		if _, err := r.hub.Deliver(t.Context(), webhook(body)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.hub.Deliver(t.Context(), webhook(body)) }) // waits for the disk
	close(goOn)
	wg.Wait()
	r.stop()
	if r.hub.hasty.n != 0 || r.hub.hasty.bytes != 0 {
		t.Errorf("%+v is taken, want nothing", r.hub.hasty)
	}
}

func TestPublicOutputWakesTheForwarder(t *testing.T) {
	woken := make(chan struct{}, 10)
	r := setup{store: newMemStore(), options: func(o *Options) { o.Wake = func() { woken <- struct{}{} } }, change: func(a *account.Account) {
		a.Buckets[0].Outputs = []account.Output{{ID: outputPublic, Name: "p", Destination: "https://example.com"}}
	}}.start(t)
	r.post("", "x")
	<-woken
	if l := r.store.logs[0]; l.Internal || l.Status != account.StatusPreparing || l.Next.IsZero() || l.IP != "127.0.0.1" {
		t.Errorf("delivery %+v, want one that is to be sent", l)
	}
}

func TestResend(t *testing.T) {
	r := startRelay(t, newMemStore(), dynamic(""))
	c := r.plain()
	r.post("/p?q=1", "x")
	one, two := c.webhook(), c.webhook()
	l, err := r.hub.Resend(t.Context(), one.ID, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.webhook(); w.ID != l.ID || w.OutputName != "a" || w.Path != "/p" || w.Query != "q=1" || l.Resent != one.ID {
		t.Errorf("webhook %+v of %+v, want %s once more", w, l, one.ID)
	}
	if _, err := r.hub.Resend(t.Context(), two.ID, outputA, false); err != nil {
		t.Fatal(err)
	}
	if w := c.webhook(); w.OutputName != "a" {
		t.Errorf("output %s, want a", w.OutputName)
	}
	if err := r.answer(two.ID, sentUpdate("")); err != nil {
		t.Fatal(err)
	}
	if l, err := r.hub.Resend(t.Context(), two.ID, "", false); err != nil || l.ID != two.ID {
		t.Errorf("delivery %v %v, want the one that was sent", l, err)
	}
	for _, tt := range []struct{ id, output string }{{otherID, ""}, {one.ID, "nothing"}} {
		if _, err := r.hub.Resend(t.Context(), tt.id, tt.output, true); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("error %v, want ErrNotFound", err)
		}
	}
	r.edit(func(a *account.Account) { a.Buckets = nil })
	if _, err := r.hub.Resend(t.Context(), one.ID, "", true); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
}

func TestMessageIsAlwaysThere(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.dial()
	for _, frame := range []string{fmt.Sprintf(`{"action":"auth","key":"key","secret":%q}`, secret), `{"action":"subscribe","buckets":["x"]}`} {
		c.say("%s", frame)
		var f map[string]any
		if err := json.Unmarshal([]byte(c.hear()), &f); err != nil {
			t.Fatal(err)
		}
		if _, ok := f["message"].(string); !ok {
			t.Errorf("frame %v has no message", f)
		}
	}
}

// TestNobodyIsWaitedFor: a sender gets its answer at once where no output has the
// webhook.
func TestNobodyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true, change: func(a *account.Account) {
			b := &a.Buckets[0]
			b.Outputs = []account.Output{{ID: outputA, Name: "off", BucketID: b.ID, Internal: true, Destination: "http://localhost", Disabled: true}}
			b.Inputs[0].ResponseFromOutput = account.AnyOutput
		}}.start(t)
		begin := time.Now()
		if got := r.post("", "x"); got.status != 200 || time.Since(begin) > 0 {
			t.Errorf("answer %d after %s, want 200 at once", got.status, time.Since(begin))
		}
	})
}
