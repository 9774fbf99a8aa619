package web

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

func secretOf(text string) engine.Secret { return engine.NewSecret(text) }

const token = "correct horse battery staple"

func TestWhoMayAsk(t *testing.T) {
	const page, api, form = "GET /events", "GET /api/v1/runs", "POST /ui/arm"
	type header map[string]string
	none := header{}
	same := header{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
	typed := header{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	link := header{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	frame := header{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
	image := header{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
	fetch := header{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Origin": "http://evil.example"}
	port := header{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Origin": "http://127.0.0.1:9999"}
	post := header{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": "http://evil.example"}
	oldOwn := header{"Origin": "http://127.0.0.1:8081"}
	oldOther := header{"Origin": "http://evil.example"}
	oldPort := header{"Origin": "http://127.0.0.1:9999"}
	noOrigin := header{"Origin": "null"}
	tests := []struct {
		name, host, what string
		header           header
		want             int
	}{
		{"curl, page", "", page, none, 200},
		{"curl, API", "", api, none, 200},
		{"curl, form", "", form, none, 303},
		{"our page, page", "", page, same, 200},
		{"our page, API", "", api, same, 200},
		{"our page, form", "", form, same, 303},
		{"typed, page", "", page, typed, 200},
		{"typed, API", "", api, typed, 200},
		{"link elsewhere, page", "", page, link, 200},
		{"link elsewhere, first page", "", "GET /", link, 200},
		{"link elsewhere, API", "", api, link, 403},
		{"link elsewhere, body", "", "GET /events/" + eventID + "/body", link, 403},
		{"link elsewhere, metrics", "", "GET /metrics", link, 403},
		{"frame elsewhere, page", "", page, frame, 403},
		{"image elsewhere, page", "", page, image, 403},
		{"image elsewhere, asset", "", "GET /assets/icon.svg", image, 403},
		{"fetch elsewhere, page", "", page, fetch, 403},
		{"fetch elsewhere, API", "", api, fetch, 403},
		{"fetch elsewhere, form", "", form, fetch, 403},
		{"fetch elsewhere, HEAD", "", "HEAD /events", fetch, 403},
		{"fetch elsewhere, preflight", "", "OPTIONS /api/v1/pause", fetch, 403},
		{"fetch elsewhere, DELETE", "", "DELETE /api/v1/armed", fetch, 403},
		{"fetch of another port, API", "", api, port, 403},
		{"fetch of another port, form", "", form, port, 403},
		{"form elsewhere", "", form, post, 403},
		{"form elsewhere, API", "", "POST /api/v1/pause", post, 403},
		{"form elsewhere, login", "", "POST /login", post, 403},
		{"form elsewhere, logout", "", "POST /logout", post, 403},
		{"old browser, our form", "", form, oldOwn, 303},
		{"old browser, our page", "", api, oldOwn, 200},
		{"old browser, form elsewhere", "", form, oldOther, 403},
		{"old browser, fetch elsewhere", "", api, oldOther, 403},
		{"old browser, form of another port", "", form, oldPort, 403},
		{"old browser, fetch of another port", "", api, oldPort, 403},
		{"sandboxed frame", "", form, noOrigin, 403},
		{"sandboxed frame, fetch", "", api, noOrigin, 403},
		{"localhost", "localhost:8081", page, none, 200},
		{"localhost without a port", "localhost", page, none, 200},
		{"LOCALHOST.", "LOCALHOST.:8081", page, none, 200},
		{"IPv6 loopback", "[::1]:8081", page, none, 200},
		{"IPv6 loopback without a port", "[::1]", page, none, 200},
		{"another loopback address", "127.8.9.1:8081", page, none, 200},
		{"a name of ours", "Ops.example.org:8081", page, none, 200},
		{"rebound name, page", "evil.example:8081", page, none, 421},
		{"rebound name, API", "evil.example:8081", api, none, 421},
		{"rebound name, form", "evil.example:8081", form, header{"Origin": "http://evil.example:8081", "Sec-Fetch-Site": "same-origin"}, 421},
		{"rebound name, asset", "evil.example:8081", "GET /assets/app.js", none, 421},
		{"rebound name, metrics", "evil.example:8081", "GET /metrics", none, 421},
		{"rebound name that begins as ours", "localhost.evil.example", page, none, 421},
		{"rebound name that ends as ours", "evil-localhost", page, none, 421},
		{"name that is nearly an address", "127.0.0.1.evil.example", page, none, 421},
		{"address of another machine", "192.0.2.7:8081", page, none, 421},
		{"no name", " ", page, none, 421},
	}
	api200 := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desk := &fakeDesk{text: "x"}
			s := newServer(t, Options{Desk: desk, API: api200, Metrics: api200, Hosts: []string{"ops.example.org"}})
			method, target, _ := strings.Cut(tt.what, " ")
			resp := ask(s, method, target, "", func(r *http.Request) {
				if tt.host != "" {
					r.Host = strings.TrimSpace(tt.host)
				}
				for k, v := range tt.header {
					r.Header.Set(k, v)
				}
			})
			if resp.StatusCode != tt.want {
				t.Errorf("%s is answered %d, want %d", tt.what, resp.StatusCode, tt.want)
			}
			if did := desk.changes(); tt.want >= 400 && did != nil {
				t.Errorf("%s was refused and did %q all the same", tt.what, did)
			}
		})
	}
}

func TestClosedDashboardLetsNobodyIn(t *testing.T) {
	why := "a rule has run_as"
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
	desk := &fakeDesk{text: "x"}
	s := newServer(t, Options{Desk: desk, API: api, Metrics: api, Closed: func() string { return why }})
	for _, what := range []string{"GET /", "GET /login", "GET /events", "GET /metrics", "GET /api/v1/runs", "POST /api/v1/replay", "POST /ui/accept", "POST /ui/events/" + eventID + "/replay", "POST //ui/accept", "POST /assets/../ui/accept"} {
		method, target, _ := strings.Cut(what, " ")
		resp := ask(s, method, target, "hash=abc", nil)
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		redirected := resp.StatusCode == http.StatusTemporaryRedirect && strings.HasPrefix(target, "/assets/") // to where it is refused
		if !redirected && (resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), why) || !strings.Contains(string(text), "ADMIN_TOKEN")) {
			t.Errorf("%s is answered %d %q, want 403, why, and a hint", what, resp.StatusCode, text)
		}
	}
	if did := desk.changes(); did != nil {
		t.Errorf("the closed dashboard did %q", did)
	}
	if got := ask(s, http.MethodGet, "/assets/app.css", "", nil).StatusCode; got != http.StatusOK {
		t.Errorf("an asset is answered %d, want 200", got)
	}
	why = ""
	if got := ask(s, http.MethodGet, "/events", "", nil).StatusCode; got != http.StatusOK {
		t.Errorf("once it is open a page is answered %d, want 200", got)
	}
}

func TestAddressesOfOursNeedNoNameWhereATokenIsAskedFor(t *testing.T) {
	g := newGuard(nil, true)
	for host, want := range map[string]bool{"192.0.2.7:8081": true, "[2001:db8::1]:8081": true, "evil.example:8081": false} {
		if got := g.knows(host); got != want {
			t.Errorf("knows(%s) = %v, want %v", host, got, want)
		}
	}
}

func TestTokenIsAskedFor(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
	bearer := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", text) }
	}
	cookie := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "hookrun", Value: value}) }
	}
	tests := []struct {
		name, what string
		change     func(*http.Request)
		want       int
		to         string
	}{
		{"page", "GET /events?bucket=x", nil, 303, "/login?back=%2Fevents%3Fbucket%3Dx"},
		{"form", "POST /ui/arm", nil, 303, "/login"},
		{"API", "GET /api/v1/runs", nil, 401, ""},
		{"API, change", "POST /api/v1/pause", nil, 401, ""},
		{"metrics", "GET /metrics", nil, 401, ""},
		{"body", "GET /events/" + eventID + "/body", nil, 401, ""},
		{"login page", "GET /login", nil, 200, ""},
		{"asset", "GET /assets/app.css", nil, 200, ""},
		{"API, right token", "GET /api/v1/runs", bearer("Bearer " + token), 200, ""},
		{"metrics, right token", "GET /metrics", bearer("Bearer " + token), 200, ""},
		{"page, right token", "GET /events", bearer("Bearer " + token), 200, ""},
		{"API, wrong token", "GET /api/v1/runs", bearer("Bearer " + token + "r"), 401, ""},
		{"API, begin of the token", "GET /api/v1/runs", bearer("Bearer " + token[:9]), 401, ""},
		{"API, no token", "GET /api/v1/runs", bearer("Bearer "), 401, ""},
		{"API, other scheme", "GET /api/v1/runs", bearer("Basic " + token), 401, ""},
		{"page, made-up session", "GET /events", cookie("made up"), 303, "/login?back=%2Fevents"},
		{"page, token as session", "GET /events", cookie(token), 303, "/login?back=%2Fevents"},
		{"page, empty session", "GET /events", cookie(""), 303, "/login?back=%2Fevents"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desk := &fakeDesk{text: "x"}
			s := newServer(t, Options{Desk: desk, API: api, Metrics: api, Token: secretOf(token)})
			method, target, _ := strings.Cut(tt.what, " ")
			resp := ask(s, method, target, "", tt.change)
			if got := resp.Header.Get("Location"); resp.StatusCode != tt.want || got != tt.to {
				t.Errorf("%s is answered %d %s, want %d %s", tt.what, resp.StatusCode, got, tt.want, tt.to)
			}
			if did := desk.changes(); did != nil {
				t.Errorf("%s did %q", tt.what, did)
			}
		})
	}
}

// logIn gives a token and returns the answer.
func logIn(s *Server, given, remote string) *http.Response {
	form := url.Values{"token": {given}, "back": {"/runs"}}
	return ask(s, http.MethodPost, "/login", form.Encode(), func(r *http.Request) { r.RemoteAddr = remote })
}

func TestLoginMakesASession(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		s := newServer(t, Options{Desk: &fakeDesk{text: "x"}, Token: secretOf(token), TLS: overTLS})
		resp := logIn(s, token, "192.0.2.1:1")
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/runs" {
			t.Fatalf("login is answered %d %s, want 303 /runs", resp.StatusCode, resp.Header.Get("Location"))
		}
		c := resp.Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != overTLS || c.Path != "/" || strings.HasPrefix(c.Name, "__Host-") != overTLS {
			t.Errorf("TLS %v: the cookie is %v, want it HttpOnly, SameSite=Strict, for / and Secure with TLS alone", overTLS, c)
		}
		with := func(r *http.Request) { r.AddCookie(c) }
		if got := ask(s, http.MethodGet, "/events", "", with).StatusCode; got != http.StatusOK {
			t.Errorf("with the session a page is answered %d, want 200", got)
		}
		if strings.Contains(resp.Header.Get("Set-Cookie"), token) {
			t.Error("the cookie holds the token")
		}
		ask(s, http.MethodPost, "/logout", "", with)
		if got := ask(s, http.MethodGet, "/events", "", with).StatusCode; got != http.StatusSeeOther {
			t.Errorf("after the logout a page is answered %d, want 303", got)
		}
	}
}

func TestSessionsEndAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Desk: &fakeDesk{text: "x"}, Token: secretOf(token)})
		first := logIn(s, token, "192.0.2.1:1").Cookies()[0]
		status := func(c *http.Cookie) int {
			return ask(s, http.MethodGet, "/events", "", func(r *http.Request) { r.AddCookie(c) }).StatusCode
		}
		time.Sleep(sessionTime - time.Second)
		if got := status(first); got != http.StatusOK {
			t.Errorf("shortly before its end a session is answered %d, want 200", got)
		}
		time.Sleep(time.Second)
		if got := status(first); got != http.StatusSeeOther {
			t.Errorf("at its end a session is answered %d, want 303", got)
		}
		var last *http.Cookie
		for range maxSessions + 20 {
			time.Sleep(time.Second)
			last = logIn(s, token, "192.0.2.1:1").Cookies()[0]
		}
		if n := len(s.login.sessions); n != maxSessions {
			t.Errorf("there are %d sessions, want %d", n, maxSessions)
		}
		if got := status(last); got != http.StatusOK {
			t.Errorf("the newest session is answered %d, want 200", got)
		}
	})
}

func TestGuessingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Desk: &fakeDesk{text: "x"}, API: http.NotFoundHandler(), Token: secretOf(token)})
		for i := range guessesAhead {
			if got := logIn(s, "wrong", "192.0.2.1:1").StatusCode; got != http.StatusForbidden {
				t.Fatalf("wrong token %d is answered %d, want 403", i+1, got)
			}
		}
		if got := logIn(s, "wrong", "192.0.2.1:2").StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("one more wrong token is answered %d, want 429", got)
		}
		bearer := func(given, remote string) int {
			return ask(s, http.MethodGet, "/api/v1/runs", "", func(r *http.Request) {
				r.RemoteAddr = remote
				r.Header.Set("Authorization", "Bearer "+given)
			}).StatusCode
		}
		if got := bearer("wrong", "192.0.2.1:3"); got != http.StatusTooManyRequests {
			t.Errorf("one more wrong token of a program is answered %d, want 429", got)
		}
		if got := bearer("wrong", "192.0.2.2:3"); got != http.StatusUnauthorized {
			t.Errorf("a wrong token from elsewhere is answered %d, want 401", got)
		}
		time.Sleep(guessEvery)
		if got := logIn(s, "wrong", "192.0.2.1:4").StatusCode; got != http.StatusForbidden {
			t.Errorf("some time later a wrong token is answered %d, want 403", got)
		}
	})
}

// TestWrongTokensDoNotKeepTheRightOneOut: they may be of somebody else, at the same
// address.
func TestWrongTokensDoNotKeepTheRightOneOut(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "x"}, API: http.NotFoundHandler(), Token: secretOf(token)})
	for range 2 * guessesAhead {
		logIn(s, "wrong", "192.0.2.1:1")
	}
	if got := logIn(s, token, "192.0.2.1:2").StatusCode; got != http.StatusSeeOther {
		t.Errorf("after wrong tokens the right one is answered %d, want 303", got)
	}
	resp := ask(s, http.MethodGet, "/api/v1/runs", "", func(r *http.Request) {
		r.RemoteAddr = "192.0.2.1:3"
		r.Header.Set("Authorization", "Bearer "+token)
	})
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("after wrong tokens a program's right one is answered %d, want what the API answers, 404", resp.StatusCode)
	}
}

func TestGuessersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(secretOf(token), false)
		for i := range 3 * maxGuessers {
			l.mayGuess(fmt.Sprintf("guesser %d", i))
		}
		if n := len(l.guessers); n > maxGuessers+1 {
			t.Errorf("%d addresses are told apart, want at most %d and one for the others", n, maxGuessers)
		}
		if l.mayGuess("one more") {
			t.Error("one more address may guess while too many do")
		}
		time.Sleep(time.Hour)
		l.mayGuess("one more")
		if n := len(l.guessers); n > 2 {
			t.Errorf("an hour later %d addresses are told apart, want those that are wrong now", n)
		}
	})
}
