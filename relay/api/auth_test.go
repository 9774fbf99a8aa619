package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
)

func TestWhoMayAsk(t *testing.T) {
	for _, tt := range []struct {
		name, auth string
		status     int
	}{
		{"key and secret", basic("key", "secret"), 200},
		{"API key as a Bearer", "Bearer sk-api", 200},
		{"API key with the socket's key", basic("whr", "sk-api"), 200},
		{"API key with its own key", basic(apiToken, "sk-api"), 200},
		{"nothing", "", 401},
		{"wrong secret", basic("key", "secre"), 401},
		{"unknown key", basic("nobody", "secret"), 401},
		{"a Bearer that is no API key", "Bearer secret", 401},
		{"an empty Bearer", "Bearer ", 401},
		{"another scheme", "Digest username=key", 401},
		{"no base64", "Basic !", 401},
		{"inactive", basic("off", "secret"), 401},
		{"without API access", basic("noapi", "secret"), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.auth = tt.auth
			got := w.do("GET", "/v1/buckets", "")
			wantAnswer(t, got, tt.status, "")
			if challenge := got.header.Get("Www-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("%d with WWW-Authenticate %q", got.status, challenge)
			}
		})
	}
}

func TestAnyTokenMayAnswerWebhooks(t *testing.T) {
	w := newWorld(t)
	w.auth = basic("noapi", "secret")
	wantAnswer(t, w.do("PUT", "/v1/logs/"+sentLog, `{}`), 200, "")
	wantAnswer(t, w.do("GET", "/v1/logs/"+sentLog, ""), 403, `{"message":"this token has no API access"}`)
}

func TestScopedTokenSeesAndChangesItsBucketsAlone(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"lists its own", "GET", "/v1/buckets", "", 200, `[{"name":"deploys"}]`},
		{"its own", "GET", "/v1/buckets/deploys", "", 200, ""},
		{"another is as if absent", "GET", "/v1/buckets/other", "", 404, `{"message":"bucket 'other' not found"}`},
		{"another by id", "GET", "/v1/buckets/" + other, "", 404, ""},
		{"changes its own", "PUT", "/v1/buckets/deploys", `{}`, 200, ""},
		{"not another", "PUT", "/v1/buckets/other", `{}`, 404, ""},
		{"deletes not another", "DELETE", "/v1/buckets/other?force=true", "", 404, ""},
		{"renames within its scope", "PUT", "/v1/buckets/deploys", `{"name":"mine"}`, 200, `{"name":"mine"}`},
		{"not out of it", "PUT", "/v1/buckets/deploys", `{"name":"theirs"}`, 403, `{"message":"this token may not have a bucket named 'theirs'"}`},
		{"makes what its scope names", "POST", "/v1/buckets", `{"name":"mine"}`, 201, ""},
		{"and nothing else", "POST", "/v1/buckets", `{"name":"new"}`, 403, ""},
		{"adds inputs", "POST", "/v1/buckets/deploys/inputs", `{}`, 201, ""},
		{"not to another", "POST", "/v1/buckets/other/inputs", `{}`, 404, ""},
		{"deletes no input of another", "DELETE", "/v1/buckets/other/inputs/" + otherInput, "", 404, ""},
		{"sets no rules of another", "PUT", "/v1/buckets/other/outputs/x/rules", `null`, 404, ""},
		{"lists its logs", "GET", "/v1/logs", "", 200, `{"total":2}`},
		{"not another's", "GET", "/v1/logs?bucket=other", "", 404, ""},
		{"its log", "GET", "/v1/logs/" + sentLog, "", 200, ""},
		{"not another's log", "GET", "/v1/logs/" + otherLog, "", 404, `{"message":"not found"}`},
		{"answers its own", "PUT", "/v1/logs/" + sentLog, `{}`, 200, ""},
		{"not another's webhook", "PUT", "/v1/logs/" + otherLog, `{}`, 404, ""},
		{"resends its own", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend"}`, 200, ""},
		{"does not resend another's", "POST", "/v1/logs/" + otherLog + "/action", `{"action":"resend"}`, 404, ""},
		{"pulls its own", "GET", "/v1/events", "", 200, `{"logs":[{},{}]}`},
		{"not another's events", "GET", "/v1/events?bucket=other", "", 404, ""},
		{"lists no tokens", "GET", "/v1/tokens", "", 403, `{"message":"this token is bound to some buckets, and may not do that"}`},
		{"makes no token", "POST", "/v1/tokens", `{}`, 403, ""},
		{"does not widen itself", "PUT", "/v1/tokens/scoped", `{"scopes":{}}`, 403, ""},
		{"deletes no token", "DELETE", "/v1/tokens/key", "", 403, ""},
		{"sees its clients", "GET", "/v1/connected-clients", "", 200, `{"webhook_clients":[{"buckets":["deploys"]}]}`},
		{"its usage", "GET", "/v1/usage", "", 200, `{"buckets":1,"inputs":2,"outputs":2}`},
		{"is a member", "GET", "/v1/user/info", "", 200, `{"data":{"role":"member"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.auth = basic("scoped", "secret")
			before := string(w.shelf.data)
			wantAnswer(t, w.do(tt.method, tt.path, tt.body), tt.status, tt.want)
			after, err := account.Decode(w.shelf.data)
			if err != nil {
				t.Fatal(err)
			}
			after.Token("scoped").LastLogin = account.Time{}
			plain, err := after.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if tt.status >= 400 && string(plain) != before {
				t.Errorf("the account became %s", plain)
			}
		})
	}
}

func TestTokenOfBucketsThatAreGoneSeesNothing(t *testing.T) {
	w := newWorld(t)
	w.auth = basic("lost", "secret")
	wantAnswer(t, w.do("GET", "/v1/buckets", ""), 200, `[]`)
	wantAnswer(t, w.do("GET", "/v1/logs", ""), 200, `{"data":[],"total":0,"limit":20,"offset":0}`)
	wantAnswer(t, w.do("GET", "/v1/events", ""), 200, `{"logs":[],"has_more":false}`)
	wantAnswer(t, w.do("GET", "/v1/connected-clients", ""), 200, `{"webhook_clients":[],"tunnel_clients":[]}`)
	if w.pulls != 0 {
		t.Errorf("%d pulls, want none", w.pulls)
	}
}

func TestLastLoginIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.auth = "Bearer sk-api"
		for range 3 {
			w.do("GET", "/v1/usage", "")
		}
		if got := w.book.Now().Token(apiToken).LastLogin; !got.Equal(time.Now().Truncate(time.Second)) {
			t.Errorf("last login %v, want now", got)
		}
	})
}

func TestNotNotingALoginFailsNothing(t *testing.T) {
	w := newWorld(t)
	w.shelf.err = errors.New("disk full")
	wantAnswer(t, w.do("GET", "/v1/usage", ""), 200, "")
	if !strings.Contains(w.log.String(), "disk full") {
		t.Errorf("log: %s", w.log)
	}
}

func TestRequestsOfATokenAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range rateBurst { // as many answers come as webhooks: they use nothing up
			if got := w.do("PUT", "/v1/logs/"+sentLog, `{}`); got.status == 429 {
				t.Fatalf("answer = %d %s, want it not bound", got.status, got.body)
			}
		}
		for range rateBurst {
			if got := w.do("GET", "/v1/config", ""); got.status != 200 {
				t.Fatalf("answer = %d %s, want 200", got.status, got.body)
			}
		}
		got := w.do("GET", "/v1/config", "")
		wantAnswer(t, got, 429, `{"message":"too many requests with this token"}`)
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q, want 1", got.header.Get("Retry-After"))
		}
		wantAnswer(t, w.do("PUT", "/v1/logs/"+otherLog, `{}`), 200, "")
		w.auth = "Bearer sk-api"
		wantAnswer(t, w.do("GET", "/v1/config", ""), 200, "") // another token is not bound by it
		w.auth = basic("key", "secret")
		time.Sleep(time.Second)
		for range ratePerSecond {
			if got := w.do("GET", "/v1/config", ""); got.status != 200 {
				t.Fatalf("a second later: answer = %d %s, want 200", got.status, got.body)
			}
		}
	})
}

func TestProtectedIsForWhoSeesAll(t *testing.T) {
	for _, tt := range []struct {
		auth   string
		status int
	}{
		{basic("key", "secret"), 204},
		{"", 401},
		{basic("key", "wrong"), 401},
		{basic("noapi", "secret"), 403},
		{basic("scoped", "secret"), 403},
	} {
		w := newWorld(t)
		h := w.server.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
		r, rec := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
		r.Header.Set("Authorization", tt.auth)
		h.ServeHTTP(rec, r)
		if rec.Code != tt.status {
			t.Errorf("with %q status %d, want %d: %s", tt.auth, rec.Code, tt.status, rec.Body)
		}
	}
}

// TestOtherWebsitesMayNotAsk: a browser adds what it remembers also to what
// another website has it ask for.
func TestOtherWebsitesMayNotAsk(t *testing.T) {
	for _, tt := range []struct {
		from   string // "": not a browser, or an old one
		status int
	}{{"", 200}, {"none", 200}, {"same-origin", 200}, {"same-site", 403}, {"cross-site", 403}, {"odd", 403}} {
		w := newWorld(t)
		protected := w.server.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for name, h := range map[string]http.Handler{"GET /v1/events": w.server, "PUT /v1/logs/" + sentLog: w.server, "GET /metrics": protected} {
			method, path, _ := strings.Cut(name, " ")
			r, rec := httptest.NewRequest(method, path, strings.NewReader("{}")), httptest.NewRecorder()
			r.Header.Set("Authorization", w.auth)
			if tt.from != "" {
				r.Header.Set("Sec-Fetch-Site", tt.from)
			}
			h.ServeHTTP(rec, r)
			if rec.Code != tt.status {
				t.Errorf("%s from %q: status %d, want %d: %s", name, tt.from, rec.Code, tt.status, rec.Body)
			}
		}
		if tt.status == 403 && (w.pulls != 0 || len(w.answers) != 0) {
			t.Errorf("from %q something was done", tt.from)
		}
	}
}

// setUp changes the account.
func (w *world) setUp(fn func(*account.Account)) {
	w.t.Helper()
	if err := w.book.Edit(w.t.Context(), func(a *account.Account) error { fn(a); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func TestScopedTokenMayNotMoveInputs(t *testing.T) {
	for _, tt := range []struct {
		name, auth, method, path, body string
		status                         int
	}{
		{"a new one with a domain", "scoped", "POST", "", `{"custom_domain":"relay.example.org"}`, 403},
		{"a new one with a path", "scoped", "POST", "", `{"path_prefix":"/v1"}`, 403},
		{"a new one", "scoped", "POST", "", `{"name":"new"}`, 201},
		{"another domain", "scoped", "PUT", "/" + inputID, `{"custom_domain":"relay.example.org","path_prefix":"/ci"}`, 403},
		{"another path", "scoped", "PUT", "/" + inputID, `{"custom_domain":"hooks.example.org","path_prefix":"/"}`, 403},
		{"left out", "scoped", "PUT", "/" + inputID, `{"name":"x"}`, 403},
		{"as it is", "scoped", "PUT", "/" + inputID, `{"name":"x","custom_domain":"hooks.example.org","path_prefix":"/ci"}`, 200},
		{"one that has none", "scoped", "PUT", "/" + secondID, `{"name":"x"}`, 200},
		{"a domain for that", "scoped", "PUT", "/" + secondID, `{"custom_domain":"hooks.example.org"}`, 403},
		{"not bound", "key", "PUT", "/" + inputID, `{"custom_domain":"relay.example.org"}`, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.setUp(func(a *account.Account) {
				in := &a.Buckets[0].Inputs[0]
				in.CustomDomain, in.PathPrefix = "hooks.example.org", "/ci"
			})
			w.auth = basic(tt.auth, "secret")
			got := w.do(tt.method, "/v1/buckets/deploys/inputs"+tt.path, tt.body)
			wantAnswer(t, got, tt.status, "")
			if tt.status == 403 && !strings.Contains(got.field(t, "message"), "may not set or change custom_domain and path_prefix") {
				t.Errorf("answer = %s, want it to say what may not be changed", got.body)
			}
			_, in := w.book.Now().Input(inputID)
			if moved := in.CustomDomain != "hooks.example.org" || in.PathPrefix != "/ci"; moved && tt.auth == "scoped" {
				t.Errorf("the input is at %s%s", in.CustomDomain, in.PathPrefix)
			}
		})
	}
}

// TestScopedTokenLearnsNoNames: whether a bucket that it does not see is there
// makes no difference to what it is told.
func TestScopedTokenLearnsNoNames(t *testing.T) {
	w := newWorld(t)
	w.setUp(func(a *account.Account) {
		a.Tokens = append(a.Tokens, account.Token{ID: "byid", Active: true, SecretHash: account.HashSecret("secret"),
			Scopes: account.Scopes{Buckets: []string{deploys, "mine"}}})
	})
	for _, token := range []string{"scoped", "byid"} {
		for _, ask := range []struct{ method, path string }{{"POST", "/v1/buckets"}, {"PUT", "/v1/buckets/" + deploys}} {
			w.auth = basic(token, "secret")
			there := w.do(ask.method, ask.path, `{"name":"other"}`)
			absent := w.do(ask.method, ask.path, `{"name":"nowhere"}`)
			wantAnswer(t, there, 403, `{"message":"this token may not have a bucket named 'other'"}`)
			wantAnswer(t, absent, 403, `{"message":"this token may not have a bucket named 'nowhere'"}`)
		}
	}
	wantAnswer(t, w.do("PUT", "/v1/buckets/"+deploys, `{"name":"deploys","description":"x"}`), 200, "") // as it is
	wantAnswer(t, w.do("PUT", "/v1/buckets/"+deploys, `{"name":"mine"}`), 200, `{"name":"mine"}`)
	wantAnswer(t, w.do("PUT", "/v1/buckets/"+deploys, `{"name":"deploys"}`), 403, "")
}

// try logs in from an address.
func (w *world) try(from, auth string) answer {
	w.t.Helper()
	r := httptest.NewRequest("GET", "/v1/config", nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 4711).String()
	r.Header.Set("Authorization", auth)
	return w.send(r)
}

func TestGuessingIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		right, wrong := basic("key", "secret"), basic("key", "guess")
		for range failBurst {
			wantAnswer(t, w.try("192.0.2.1", wrong), 401, "")
		}
		got := w.try("192.0.2.1", right)
		wantAnswer(t, got, 429, `{"message":"too many failed logins from this address, wait some seconds"}`)
		if got.header.Get("Retry-After") != "5" {
			t.Errorf("Retry-After %q, want 5", got.header.Get("Retry-After"))
		}
		wantAnswer(t, w.try("192.0.2.2", right), 200, "") // another address
		time.Sleep(failEvery)
		wantAnswer(t, w.try("192.0.2.1", wrong), 401, "")
		wantAnswer(t, w.try("192.0.2.1", wrong), 429, "")
		time.Sleep(failEvery)
		wantAnswer(t, w.try("192.0.2.1", right), 200, "")
	})
}

func TestNeighboursOfAFailingClientAreNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		right, wrong := basic("key", "secret"), basic("key", "old")
		wantAnswer(t, w.try("192.0.2.1", right), 200, "")
		for range 1000 { // for fifty minutes
			wantAnswer(t, w.try("192.0.2.1", wrong), 401, "")
			wantAnswer(t, w.try("192.0.2.1", right), 200, "")
			time.Sleep(3 * time.Second)
		}
		// Who has a token can't guess without a bound.
		failed := 0
		for w.try("192.0.2.1", wrong).status == 401 {
			failed++
		}
		if failed != knownBurst {
			t.Errorf("%d guesses at once, want %d", failed, knownBurst)
		}
		time.Sleep(knownFor)
		for range failBurst {
			wantAnswer(t, w.try("192.0.2.1", wrong), 401, "")
		}
		wantAnswer(t, w.try("192.0.2.1", wrong), 429, "")
	})
}

func TestGuessesAtTheSameTimeAreAllCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, from := NewGuard(), netip.MustParseAddr("192.0.2.1")
		for range failBurst + 20 { // all allowed before the first had failed
			g.Failed(from)
		}
		time.Sleep(20 * failEvery)
		if g.Allowed(from) {
			t.Error("allowed while there is a debt")
		}
		time.Sleep(failEvery)
		if !g.Allowed(from) {
			t.Error("not allowed although the debt is paid")
		}
	})
}

func TestGuardKnowsNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard()
		fail := func(a string) {
			for range failBurst {
				g.Failed(netip.MustParseAddr(a))
			}
		}
		fail("2001:db8::1")
		fail("192.0.2.1")
		fail("127.0.0.1")
		fail("::1")
		g.Failed(netip.Addr{})
		for _, tt := range []struct {
			addr string
			want bool
		}{
			{"2001:db8::1", false}, {"2001:db8::ffff", false}, {"2001:db8::1%eth0", false}, {"2001:db8:0:1::1", true},
			{"192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"192.0.2.2", true},
			{"127.0.0.1", true}, {"::1", true},
		} {
			if got := g.Allowed(netip.MustParseAddr(tt.addr)); got != tt.want {
				t.Errorf("Allowed(%s) = %v, want %v", tt.addr, got, tt.want)
			}
		}
		if !g.Allowed(netip.Addr{}) {
			t.Error("the zero address is not allowed")
		}
	})
}

func TestGuardForgets(t *testing.T) {
	g := NewGuard()
	first := netip.MustParseAddr("10.0.0.0")
	for range failBurst {
		g.Failed(first)
	}
	a := first
	for range maxAddresses - 1 {
		a = a.Next()
		g.Failed(a)
	}
	if g.Allowed(first) {
		t.Error("the first address was forgotten too early")
	}
	a = a.Next()
	g.Failed(a)
	if n := len(g.addresses.of); n != maxAddresses || g.addresses.order.Len() != n {
		t.Errorf("%d addresses remembered, want %d", n, maxAddresses)
	}
	if g.Allowed(first) {
		t.Error("the address asked for last was forgotten, want the oldest")
	}
	if _, ok := g.addresses.of[netip.MustParsePrefix("10.0.0.1/32")]; ok {
		t.Error("the oldest address was not forgotten")
	}
}

func TestAnswersHaveRoomForLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range maxLarge {
			w.server.large <- struct{}{}
		}
		body := `{"response_body":"` + strings.Repeat("AAAA", smallBody) + `"}`
		got := w.do("PUT", "/v1/logs/"+sentLog, body)
		wantAnswer(t, got, 503, `{"message":"too many large requests at once, send it again later"}`)
		wantAnswer(t, w.do("PUT", "/v1/logs/"+otherLog, `{}`), 200, "") // a small one needs no room
		<-w.server.large
		wantAnswer(t, w.do("PUT", "/v1/logs/"+sentLog, body), 200, "")
		if n := len(w.server.large); n != maxLarge-1 {
			t.Errorf("%d places taken, want %d", n, maxLarge-1)
		}
	})
}

// TestOneTokenLeavesRoomForOthers: however many large bodies it sends, and however
// slowly.
func TestOneTokenLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var slow sync.WaitGroup
		var mu sync.Mutex // guards statuses
		statuses := map[int]int{}
		body, never := io.Pipe()
		for range maxLarge {
			slow.Go(func() {
				r := httptest.NewRequest("PUT", "/v1/logs/"+sentLog, body)
				r.Header.Set("Authorization", basic("key", "secret"))
				got := w.send(r)
				mu.Lock()
				defer mu.Unlock()
				statuses[got.status]++
			})
		}
		synctest.Wait()
		w.auth = "Bearer sk-api"
		large := `{"response_body":"` + strings.Repeat("AAAA", smallBody) + `"}`
		begin := time.Now()
		wantAnswer(t, w.do("PUT", "/v1/logs/"+sentLog, large), 200, "")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("another token's large body waited for %s, want no time", waited)
		}
		time.Sleep(largeWait)
		synctest.Wait()
		never.CloseWithError(errors.New("hung up"))
		slow.Wait()
		if statuses[503] != maxLarge-maxTokenLarge || statuses[400] != maxTokenLarge {
			t.Errorf("the slow ones got %v, want %d of them 503", statuses, maxLarge-maxTokenLarge)
		}
		if n, own := len(w.server.large), len(w.server.usage.large("key")); n != 0 || own != 0 {
			t.Errorf("%d places are still taken, %d of them by the token", n, own)
		}
	})
}
