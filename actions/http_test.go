package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// serve starts a server and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// client returns a client that leaves no connection open behind the test.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func allowed(t *testing.T, texts ...string) []Allowed {
	t.Helper()
	var all []Allowed
	for _, s := range texts {
		a, err := ParseAllowed(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

// transport answers calls without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header http.Header) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: "999 not to be shown", Header: header, Body: io.NopCloser(strings.NewReader("answer")), Request: r}, nil
	})}
}

func TestRequest(t *testing.T) {
	tests := []struct {
		name   string
		http   HTTP
		method string
		body   string
		header map[string]string
	}{
		{"nothing but a URL", HTTP{}, "GET", "", map[string]string{"User-Agent": "hookrun", "Idempotency-Key": "run1-build", "Content-Type": "", engine.ViaHeader: ""}},
		{"body", HTTP{Body: text(t, "sha {{ body.after }}")}, "POST", "sha 0a1b", map[string]string{"Content-Type": ""}},
		{"empty body", HTTP{Body: text(t, "")}, "POST", "", nil},
		{"json", HTTP{JSON: map[string]any{
			"text": text(t, "deployed {{ body.after }} <b>"), "n": 3, "big": 9007199254740993, "f": 1.5, "yes": true, "none": nil,
			"list": []any{text(t, "{{ body.evil }}"), "plain", map[string]any{}},
		}}, "POST", `{"big":9007199254740993,"f":1.5,"list":["\",\"admin\":true","plain",{}],"n":3,"none":null,"text":"deployed 0a1b <b>","yes":true}`,
			map[string]string{"Content-Type": "application/json"}},
		{"method", HTTP{Method: "PUT", Body: text(t, "x")}, "PUT", "x", nil},
		{"header", HTTP{JSON: []any{}, Header: []Var{
			{"authorization", text(t, "Bearer ${env:TOKEN}")}, {"Content-Type", text(t, "application/x+json")}, {"idempotency-key", text(t, "{{ body.after }}")},
			{"User-Agent", text(t, "mine")}, {"Host", text(t, "virtual.example")}, {"X-Evil", text(t, "{{ body.evil }}\tx")},
		}}, "POST", "[]", map[string]string{
			"Authorization": "Bearer secret-TOKEN", "Content-Type": "application/x+json", "Idempotency-Key": "0a1b", "User-Agent": "mine", "Host": "virtual.example", "X-Evil": "\",\"admin\":true\tx",
		}},
		{"repeated header", HTTP{Header: []Var{{"X-A", text(t, "1")}, {"x-a", text(t, "2")}}}, "GET", "", map[string]string{"X-A": "1|2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != tt.method || string(body) != tt.body || r.URL.RequestURI() != "/hook/0a1b?k=v" {
					t.Errorf("got %s %s %s, want %s /hook/0a1b?k=v %s", r.Method, r.URL.RequestURI(), body, tt.method, tt.body)
				}
				r.Header.Set("Host", r.Host)
				for name, want := range tt.header {
					if got := strings.Join(r.Header.Values(name), "|"); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				w.Header().Set("X-Answer", "yes")
				w.WriteHeader(201)
				io.WriteString(w, "made")
			})
			tt.http.URL, tt.http.Client = text(t, url+"/hook/{{ body.after }}?k=v"), client(t)
			out, err := tt.http.Do(t.Context(), newRun(`{"after": "0a1b", "evil": "\",\"admin\":true"}`).in)
			if err != nil || out.Status != 201 || out.Body != "made" || out.Header["X-Answer"][0] != "yes" {
				t.Errorf("got %+v, %v, want status 201 and the body", out, err)
			}
		})
	}
}

func TestOnlyTheRuleChoosesTheHost(t *testing.T) {
	const notHTTP = "http: not an http or https URL"
	const noSecret = "http: the event chooses the host, so that no secret can go there"
	tests := []struct {
		name  string
		url   string
		value string
		want  string // host, or the error
	}{
		{"all literal", "https://api.example", "", "api.example"},
		{"path", "https://api.example/{{ raw }}", "x", "api.example"},
		{"query", "https://api.example?x={{ raw }}", "x", "api.example"},
		{"fragment", "https://api.example#{{ raw }}", "x", "api.example"},
		{"port", "https://api.example:8443/{{ raw }}", "x", "api.example:8443"},
		{"secret in the path", "https://api.example/${env:PATH}/{{ raw }}", "x", "api.example"},
		{"another URL in the path", "https://api.example/{{ raw }}", "//evil.example/", "api.example"},
		{"userinfo trick in the path", "https://api.example/{{ raw }}", "@evil.example/", "api.example"},
		{"backslash trick in the path", "https://api.example/{{ raw }}", `\@evil.example/`, "api.example"},
		{"host is a secret", "https://${env:HOST}/", "", noSecret},
		{"no scheme", "api.example", "x", notHTTP},
		{"other scheme", "file:///etc/passwd", "", notHTTP},
		{"other scheme with an expression", "gopher://api.example/{{ raw }}", "x", notHTTP},
		{"no host", "https:///x", "", notHTTP},
		{"bad escape", "https://api.example/{{ raw }}", "%zz", "api.example"},
		{"control character", "https://api.example/{{ raw }}", "a\r\nHost: evil.example", "api.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := HTTP{URL: text(t, tt.url)}.render(newRun(tt.value).in)
			if strings.HasPrefix(tt.want, "http: ") {
				wantPermanent(t, err, tt.want)
			} else if err != nil || c.url.Host != tt.want || c.url.Scheme != "https" || !c.own {
				t.Errorf("got %v, %v, want host %s", c.url, err, tt.want)
			}
		})
	}
}

func TestHeaderErrors(t *testing.T) {
	tests := []struct {
		name  string
		value string
		want  string
	}{
		{"X-A", "a\r\nX-B: c", "header X-A holds a control character"},
		{"X-A", "a\x00", "header X-A holds a control character"},
		{"X A", "a", `headers: "X A" is not the name of one`},
		{"", "a", `headers: "" is not the name of one`},
	}
	for _, tt := range tests {
		_, err := HTTP{URL: text(t, "http://api.example/"), Header: []Var{{tt.name, text(t, "{{ raw }}")}}}.Do(t.Context(), newRun(tt.value).in)
		wantPermanent(t, err, tt.want)
	}
}

func TestAnswers(t *testing.T) {
	teapots := []StatusRange{{404, 404}, {410, 420}, {500, 503}}
	tests := []struct {
		status int
		expect []StatusRange
		want   string // after the host; "": success
		retry  bool
	}{
		{200, nil, "", false}, {204, nil, "", false}, {299, nil, "", false},
		{300, nil, "300 Multiple Choices", false}, {304, nil, "304 Not Modified", false},
		{400, nil, "400 Bad Request", false}, {401, nil, "401 Unauthorized", false}, {404, nil, "404 Not Found", false}, {410, nil, "410 Gone", false}, {422, nil, "422 Unprocessable Entity", false},
		{408, nil, "408 Request Timeout", true}, {425, nil, "425 Too Early", true}, {429, nil, "429 Too Many Requests", true},
		{500, nil, "500 Internal Server Error", true}, {502, nil, "502 Bad Gateway", true}, {503, nil, "503 Service Unavailable", true}, {599, nil, "599", true},
		{404, teapots, "", false}, {418, teapots, "", false}, {503, teapots, "", false}, {504, teapots, "504 Gateway Timeout", true}, {200, teapots, "200 OK", false}, {409, teapots, "409 Conflict", false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.expect), func(t *testing.T) {
			out, err := HTTP{
				URL: text(t, "https://user:pass@chat.example/path?token=${env:TOKEN}"), Method: "POST", Expect: tt.expect, Client: answer(tt.status, nil),
			}.Do(t.Context(), newRun("").in)
			want := "POST https://chat.example answered " + tt.want
			switch {
			case tt.want == "":
				if err != nil {
					t.Error(err)
				}
			case tt.retry:
				wantRetryable(t, err, want)
			default:
				wantPermanent(t, err, want)
			}
			if out.Status != tt.status || out.Body != "answer" {
				t.Errorf("got status %d, body %q, want %d and the answer", out.Status, out.Body, tt.status)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where the clock stands still
		in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		tests := []struct {
			status int
			value  string
			want   time.Duration
		}{
			{429, "7", 7 * time.Second}, {503, "120", 2 * time.Minute}, {500, "3600", time.Hour}, {503, "3601", time.Hour},
			{503, "18446744073709551615", time.Hour}, {503, "18446744073709551616", 0}, {503, "0", 0}, {503, "-5", 0}, {503, "1.5", 0}, {503, "soon", 0}, {503, "", 0},
			{503, in(90 * time.Second), 90 * time.Second}, {503, in(-time.Minute), 0}, {503, in(48 * time.Hour), time.Hour},
			{404, "7", 0},
		}
		for _, tt := range tests {
			_, err := HTTP{URL: text(t, "https://chat.example/"), Client: answer(tt.status, http.Header{"Retry-After": {tt.value}})}.Do(t.Context(), newRun("").in)
			if err == nil || engine.AskedWait(err) != tt.want {
				t.Errorf("%d, Retry-After %q: wait %v, %v, want %v", tt.status, tt.value, engine.AskedWait(err), err, tt.want)
			}
		}
	})
}

func TestTimeoutOfACall(t *testing.T) {
	tests := []struct {
		name    string
		timeout time.Duration
		step    time.Duration // of the step; 0: none
		want    string
		took    time.Duration
	}{
		{"default", 0, 0, "GET https://chat.example: timed out after 30s", 30 * time.Second},
		{"of the action", 2 * time.Minute, 0, "GET https://chat.example: timed out after 2m0s", 2 * time.Minute},
		{"of the step", 0, 1500 * time.Millisecond, "GET https://chat.example: timed out after 1.5s", 1500 * time.Millisecond},
		{"of a longer step", 0, time.Hour, "GET https://chat.example: timed out after 30s", 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.step != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeoutCause(ctx, tt.step, fmt.Errorf("%w after %s", engine.ErrTimeout, tt.step))
					defer cancel()
				}
				began := time.Now()
				_, err := HTTP{URL: text(t, "https://chat.example/"), Timeout: tt.timeout, Client: &http.Client{
					Transport: transport(func(r *http.Request) (*http.Response, error) {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}),
				}}.Do(ctx, newRun("").in)
				wantRetryable(t, err, tt.want)
				if !errors.Is(err, engine.ErrTimeout) || time.Since(began) != tt.took {
					t.Errorf("%v after %v, want ErrTimeout after %v", err, time.Since(began), tt.took)
				}
			})
		})
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	reading := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		close(reading)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-reading
		cancel(engine.ErrStopping)
	}()
	_, err := HTTP{URL: text(t, url), Client: client(t)}.Do(ctx, newRun("").in)
	wantRetryable(t, err, "GET "+url+": cut off: hookrun is stopping")
	if !errors.Is(err, engine.ErrStopping) {
		t.Error("the error does not wrap its cause")
	}
}

func TestConnectionErrors(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	breaks := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	short := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	})
	for _, url := range []string{gone.URL, breaks, short} {
		out, err := HTTP{URL: text(t, url+"/path?token=${env:TOKEN}"), Header: []Var{{"Authorization", text(t, "${env:TOKEN}")}}, Client: client(t)}.Do(t.Context(), newRun("").in)
		if err == nil || engine.IsPermanent(err) || !strings.HasPrefix(err.Error(), "GET "+url+": ") {
			t.Errorf("got %v, want an error worth another try that begins with GET %s:", err, url)
		}
		if strings.Contains(fmt.Sprint(err), "secret") || strings.Contains(fmt.Sprint(err), "path") {
			t.Errorf("error %q tells a secret or the path", err)
		}
		if out.Status == 200 && out.Body != "short" {
			t.Errorf("body %q, want what came", out.Body)
		}
	}
}

func TestBrokenAnswerIsNotQuoted(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "you-sent-"+r.Header.Get("X-A")+"\r\n\r\n")
		conn.Close()
	})
	_, err := HTTP{URL: text(t, url), Header: []Var{{"X-A", text(t, "{{ raw }}")}}, Client: client(t)}.Do(t.Context(), newRun("canary").in)
	wantRetryable(t, err, "GET "+url+": net/http: HTTP/1.x transport connection broken: malformed HTTP response")
}

func TestBodyIsBounded(t *testing.T) {
	for _, size := range []int{engine.MaxOutput - 1, engine.MaxOutput, engine.MaxOutput + 1, 64 << 20} {
		sent := 0
		done := make(chan struct{})
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			defer close(done)
			w.Header()["X-Long"] = []string{strings.Repeat("h", 40<<10)}
			w.Header()["A-Short"] = []string{"h"}
			for sent < size {
				n, err := w.Write(make([]byte, min(32<<10, size-sent)))
				if err != nil {
					return // the other side reads no further
				}
				sent += n
			}
		})
		out, err := HTTP{URL: text(t, url), Client: client(t)}.Do(t.Context(), newRun("").in)
		<-done
		if err != nil || len(out.Body) != min(size, engine.MaxOutput) {
			t.Errorf("kept %d bytes of %d, %v, want %d", len(out.Body), size, err, min(size, engine.MaxOutput))
		}
		if size == 64<<20 && sent == size {
			t.Errorf("all of a huge body was read")
		}
		if out.Header["X-Long"] != nil || out.Header["A-Short"] == nil {
			t.Errorf("kept %d fields of the header, want those within the bound", len(out.Header))
		}
	}
}

func TestIdempotencyKeyIsTheSameForEveryAttempt(t *testing.T) {
	var keys []string
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { keys = append(keys, r.Header.Get("Idempotency-Key")) })
	for attempt, step := range []string{"build", "build", "tell"} {
		r := newRun("")
		r.in.Attempt, r.in.Step = attempt+1, step
		if _, err := (HTTP{URL: text(t, url), Client: client(t)}).Do(t.Context(), r.in); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"run1-build", "run1-build", "run1-tell"}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}

func TestRedirects(t *testing.T) {
	tests := []struct {
		name   string
		status int
		method string // of the second request
		body   string
	}{
		{"moved", 301, "GET", ""}, {"found", 302, "GET", ""}, {"see other", 303, "GET", ""},
		{"temporary", 307, "POST", "data"}, {"permanent", 308, "POST", "data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.URL.Path == "/from" {
					http.Redirect(w, r, "/to", tt.status)
					return
				}
				if r.Method != tt.method || string(body) != tt.body || r.Header.Get("Authorization") != "secret-TOKEN" || r.Header.Get("Idempotency-Key") != "run1-build" {
					t.Errorf("got %s %q %v, want %s %q and the header", r.Method, body, r.Header, tt.method, tt.body)
				}
				if r.Referer() != "" {
					t.Errorf("referer %q tells the query", r.Referer())
				}
			})
			out, err := HTTP{
				URL: text(t, url+"/from?token=x"), Body: text(t, "data"), Header: []Var{{"Authorization", text(t, "${env:TOKEN}")}}, Client: client(t),
			}.Do(t.Context(), newRun("").in)
			if err != nil || out.Status != 200 {
				t.Errorf("got status %d, %v, want 200", out.Status, err)
			}
		})
	}
}

func TestRedirectErrors(t *testing.T) {
	tests := []struct {
		name     string
		location string // {here} is the server
		expect   []StatusRange
		want     string // after the host; "": none
		calls    int
	}{
		{"loop", "{here}/again", nil, ": redirected more than 5 times", 6},
		{"other scheme", "file:///etc/passwd", nil, ": redirected to what is neither http nor https", 1},
		{"not a URL", "http://evil.example:bad/{token}", nil, ": redirected to what is not a URL", 1},
		{"nowhere", "", nil, " answered 302 Found", 1},
		{"expected", "{here}/again", []StatusRange{{302, 302}}, "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls++
				if tt.location != "" {
					w.Header().Set("Location", strings.NewReplacer("{here}", "http://"+r.Host, "{token}", r.URL.RawQuery).Replace(tt.location))
				}
				w.WriteHeader(302)
			})
			_, err := HTTP{URL: text(t, url+"/?token=${env:TOKEN}"), Expect: tt.expect, Client: client(t)}.Do(t.Context(), newRun("").in)
			if tt.want != "" {
				wantPermanent(t, err, "GET "+url+tt.want)
			} else if err != nil {
				t.Error(err)
			}
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
		})
	}
}

func TestNeverFromHTTPSToHTTP(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("was called in the clear") })
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusTemporaryRedirect))
	defer secure.Close()
	_, err := HTTP{URL: text(t, secure.URL), Body: text(t, "x"), Client: secure.Client()}.Do(t.Context(), newRun("").in)
	wantPermanent(t, err, "POST "+secure.URL+": redirected from https to http")
}

// TestAnotherHostDoesNotGetTheBody: it may hold secrets. One that asks for a GET
// instead may be followed.
func TestAnotherHostDoesNotGetTheBody(t *testing.T) {
	calls := 0
	away := serve(t, func(http.ResponseWriter, *http.Request) { calls++ })
	for status, want := range map[int]string{307: "redirected to another host, which is not to see the body", 308: "redirected to another host, which is not to see the body", 303: ""} {
		calls = 0
		home := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, away, status) })
		_, err := HTTP{URL: text(t, home), Body: text(t, "${env:A}"), Client: client(t), Allow: allowed(t, "127.0.0.1")}.Do(t.Context(), newRun("").in)
		if want != "" {
			wantPermanent(t, err, "POST "+home+": "+want)
		} else if err != nil {
			t.Error(err)
		}
		if (calls == 0) != (want != "") {
			t.Errorf("%d: the other host was called %d times", status, calls)
		}
	}
}

func TestAnotherHostGetsNothingOfTheRulesHeader(t *testing.T) {
	var home string
	seen := map[string]http.Header{}
	see := func(w http.ResponseWriter, r *http.Request, to string) {
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		seen[r.URL.Path] = h
		if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	}
	away := serve(t, func(w http.ResponseWriter, r *http.Request) {
		see(w, r, map[string]string{"/away": "/relative", "/relative": home + "/back"}[r.URL.Path])
	})
	home = serve(t, func(w http.ResponseWriter, r *http.Request) {
		see(w, r, map[string]string{"/first": "/second", "/second": away + "/away"}[r.URL.Path])
	})
	r := newRun("")
	r.in.Via = "hook1"
	_, err := HTTP{
		URL: text(t, home+"/first?token=x"), Client: client(t), Allow: allowed(t, "127.0.0.1"),
		Header: []Var{{"Authorization", text(t, "${env:A}")}, {"X-Api-Key", text(t, "${env:B}")}, {"Cookie", text(t, "c=${env:C}")}, {"Host", text(t, "secret.example")}, {"hookrun-via", text(t, "mine")}},
	}.Do(t.Context(), r.in)
	if err != nil {
		t.Fatal(err)
	}
	for path, tells := range map[string]bool{"/first": true, "/second": true, "/away": false, "/relative": false, "/back": false} {
		h := seen[path]
		if h == nil {
			t.Fatalf("%s was not called", path)
		}
		for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Host"} {
			if got := strings.Contains(h.Get(name), "secret"); got != tells {
				t.Errorf("%s: %s is %q, want it told: %v", path, name, h.Get(name), tells)
			}
		}
		if got := h.Values(engine.ViaHeader); !slices.Equal(got, []string{"hook1"}) {
			t.Errorf("%s: %s is %q, want hook1 and nothing of the rule", path, engine.ViaHeader, got)
		}
		if h.Get("User-Agent") != "hookrun" || h.Get("Referer") != "" {
			t.Errorf("%s: User-Agent %q, Referer %q, want hookrun and none", path, h.Get("User-Agent"), h.Get("Referer"))
		}
	}
}

// TestValuesStayInTheirPartOfTheURL: a sender can't add parameters, nor climb
// to another path.
func TestValuesStayInTheirPartOfTheURL(t *testing.T) {
	tests := []struct{ name, url, body, want, err string }{
		{name: "slashes in the path", url: "https://api.example/repos/{{ body.v }}/x", body: `{"v":"acme/widget"}`, want: "https://api.example/repos/acme/widget/x"},
		{name: "query marks in the path", url: "https://api.example/{{ body.v }}", body: `{"v":"a?admin=1#f g"}`, want: "https://api.example/a%3Fadmin=1%23f%20g"},
		{name: "in the query", url: "https://api.example/?q={{ body.v }}&x=1", body: `{"v":"a&admin=1 /ü"}`, want: "https://api.example/?q=a%26admin%3D1+%2F%C3%BC&x=1"},
		{name: "empty", url: "https://api.example/items/{{ body.v }}", body: `{"v":""}`, err: "http: a value in the path of the URL is empty"},
		{name: "empty in the query", url: "https://api.example/?q={{ body.v }}", body: `{"v":""}`, want: "https://api.example/?q="},
		{name: "secret", url: "https://api.example/${env:a b}?k=${env:a&b}", body: `{}`, want: "https://api.example/secret-a%20b?k=secret-a%26b"},
		{name: "upwards", url: "https://api.example/items/{{ body.v }}", body: `{"v":"a/../../admin"}`, err: `http: a value in the path of the URL holds ".."`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := HTTP{URL: text(t, tt.url)}.render(newRun(tt.body).in)
			if tt.err != "" {
				wantPermanent(t, err, tt.err)
				return
			}
			if err != nil || c.url.String() != tt.want {
				t.Errorf("render(%s) = %v, %v, want %s", tt.url, c.url, err, tt.want)
			}
		})
	}
}
