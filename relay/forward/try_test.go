package forward

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"hookrun/relay/account"
)

// sendOne sends one delivery and returns what its sender would be told.
func sendOne(t *testing.T, l *account.Log, out account.Output, allow func() []netip.Prefix) account.Update {
	t.Helper()
	out.ID = "o"
	l.OutputID = "o"
	told := make(chan account.Update, 1)
	f := start(t, Options{Store: newMemory(l), Output: outputs(out), Allow: allow,
		Done: func(_ *account.Log, u account.Update) { told <- u }}, nil)
	defer f.stop()
	select {
	case u := <-told:
		return u
	case <-t.Context().Done():
		t.Fatal("nothing was told")
		return account.Update{}
	}
}

// got is a request as a destination sees it.
type got struct {
	*http.Request
	body []byte
}

// destination is a server that keeps what it gets.
func destination(t *testing.T, handle http.HandlerFunc) (*httptest.Server, <-chan got) {
	t.Helper()
	reqs := make(chan got, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reqs <- got{r, body}
		if handle != nil {
			handle(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv, reqs
}

func TestTheWholeRequestArrives(t *testing.T) {
	srv, reqs := destination(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "of the connection")
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(202)
		io.WriteString(w, "taken")
	})
	body := []byte("\x00\xff\r\nnot UTF-8 \x89PNG")
	l := &account.Log{
		ID: "6b1", Method: "PUT", Path: "/a%2Fb/c", Query: "x=1&y=%20;", Body: body, IP: "192.0.2.7", Status: account.StatusPreparing, Next: due("", "").Next,
		Header: http.Header{
			"X-Multi": {"one", "two"}, "Connection": {"close, X-Hop"}, "X-Hop": {"h"}, "Keep-Alive": {"5"}, "Te": {"trailers"}, "Upgrade": {"h2c"},
			"Content-Length": {"9999"}, "Transfer-Encoding": {"chunked"}, "X-Forwarded-For": {"198.51.100.1"}, "Authorization": {"Bearer sender"},
			"X-Override": {"old", "older"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"GitHub-Hookshot"}, "Expect": {"100-continue"},
		},
	}
	u := sendOne(t, l, account.Output{
		Destination: srv.URL + "/base/?key=k#frag", Headers: account.Header{"x-override": {"new"}, "Host": {"inner.example"}},
	}, loopback)
	if u.Status != account.StatusSent || u.StatusCode != 202 || string(u.Answer) != "taken" || u.AnswerHead.Get("X-Answer") != "yes" {
		t.Errorf("told of %+v, want it sent with its answer", u)
	}
	for _, name := range []string{"Connection", "X-Secret", "Content-Length"} {
		if v := u.AnswerHead.Get(name); v != "" {
			t.Errorf("the answer's %s is kept: %q", name, v)
		}
	}
	r := <-reqs
	if r.Method != "PUT" || r.RequestURI != "/base/a%2Fb/c?key=k&x=1&y=%20;" || r.Host != "inner.example" || !bytes.Equal(r.body, body) {
		t.Errorf("%s %s of %s with %q", r.Method, r.RequestURI, r.Host, r.body)
	}
	for name, want := range map[string][]string{
		"X-Multi": {"one", "two"}, "X-Override": {"new"}, "X-Forwarded-For": {"198.51.100.1, 192.0.2.7"}, "Authorization": {"Bearer sender"},
		"Accept-Encoding": {"gzip"}, "User-Agent": {"GitHub-Hookshot"}, "X-Hookrun-Delivery": {"6b1"}, "Idempotency-Key": {"6b1"}, "X-Hookrun-Hops": {"1"},
		"X-Hop": nil, "Keep-Alive": nil, "Te": nil, "Upgrade": nil, "Expect": nil,
	} {
		if v := r.Header[name]; !slices.Equal(v, want) {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if r.ContentLength != int64(len(body)) {
		t.Errorf("the length is %d, want %d", r.ContentLength, len(body))
	}
}

func TestTarget(t *testing.T) {
	tests := []struct {
		name, destination, path, query string
		lock                           bool
		want                           string // "": none
	}{
		{"no path", "https://a.example/hook", "/", "", false, "https://a.example/hook"},
		{"no path at all", "https://a.example", "/", "a=b", false, "https://a.example?a=b"},
		{"a path", "https://a.example", "/x/y", "", false, "https://a.example/x/y"},
		{"behind another", "https://a.example/h%20k/", "/x%2Fy/", "", false, "https://a.example/h%20k/x%2Fy/"},
		{"locked", "https://a.example/hook", "/x", "a=b", true, "https://a.example/hook?a=b"},
		{"two queries", "https://a.example/?k=1", "/", "a=b", false, "https://a.example/?k=1&a=b"},
		{"another host", "https://a.example", "//evil.example/x", "", false, "https://a.example//evil.example/x"},
		{"a user", "https://a.example", "/@evil.example", "", false, "https://a.example/@evil.example"},
		{"upwards", "https://a.example/hook", "/../admin", "", false, ""},
		{"upwards, hidden", "https://a.example/hook", "/x/%2e%2E/admin", "", false, ""},
		{"upwards, with another slash", "https://a.example/hook", `/x%5c..%5cadmin`, "", false, ""},
		{"upwards, locked", "https://a.example/hook", "/../admin", "", true, "https://a.example/hook"},
		{"two dots in a name", "https://a.example/hook", "/a..b", "", false, "https://a.example/hook/a..b"},
		{"broken", "https://a.example/hook", "/%zz", "", false, ""},
		{"no web address", "file:///etc/passwd", "/", "", false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := target(&account.Log{Path: tt.path, Query: tt.query}, &account.Output{Destination: tt.destination, LockPath: tt.lock})
			if tt.want == "" {
				if err == nil {
					t.Errorf("it leads to %s, want an error", u)
				}
				return
			}
			if err != nil || u.String() != tt.want {
				t.Errorf("it leads to %s, %v; want %s", u, err, tt.want)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	srv, reqs := destination(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	u := sendOne(t, due("d1", "o"), account.Output{Destination: srv.URL}, loopback)
	if u.Status != account.StatusFailed || u.StatusCode != 302 || len(reqs) != 1 {
		t.Errorf("told of %+v after %d requests, want a failure with 302 after one", u, len(reqs))
	}
}

func TestCertificates(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of handshakes
	srv.StartTLS()
	defer srv.Close()
	lax := sendOne(t, due("d1", "o"), account.Output{Destination: srv.URL}, loopback)
	if lax.Status != account.StatusSent {
		t.Errorf("without verification it is %s: %s, want it sent", lax.Status, lax.Answer)
	}
	strict := sendOne(t, due("d2", "o"), account.Output{Destination: srv.URL, TLSVerification: true, Retries: -1}, loopback)
	if strict.Status != account.StatusFailed || !strings.Contains(string(strict.Answer), "certificate is not trusted") {
		t.Errorf("with verification it is %s: %s, want it failed for the certificate", strict.Status, strict.Answer)
	}
}

func TestLongAnswers(t *testing.T) {
	for name, size := range map[string]int{"just fits": maxAnswer, "too long": maxAnswer + 1} {
		t.Run(name, func(t *testing.T) {
			srv, _ := destination(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, size)) })
			want := size
			if size > maxAnswer {
				want = 0
			}
			u := sendOne(t, due("d1", "o"), account.Output{Destination: srv.URL}, loopback)
			if u.Status != account.StatusSent || u.StatusCode != 200 || len(u.Answer) != want {
				t.Errorf("%s with %d and %d bytes, want it sent with 200 and %d", u.Status, u.StatusCode, len(u.Answer), want)
			}
		})
	}
}

func TestAnswerThatIsCutOff(t *testing.T) {
	srv, _ := destination(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	u := sendOne(t, due("d1", "o"), account.Output{Destination: srv.URL}, loopback)
	if u.Status != account.StatusSent || u.Retries != 0 || len(u.Answer) != 0 {
		t.Errorf("told of %+v, want it sent at the first try, without a body", u)
	}
}

func TestUserOfTheDestination(t *testing.T) {
	srv, reqs := destination(t, nil)
	u := sendOne(t, due("d1", "o"), account.Output{Destination: strings.Replace(srv.URL, "http://", "http://me:pw@", 1)}, loopback)
	user, password, _ := (<-reqs).BasicAuth()
	if u.Status != account.StatusSent || user != "me" || password != "pw" {
		t.Errorf("%s as %s:%s, want it sent as me:pw", u.Status, user, password)
	}
}

func TestLoopsEnd(t *testing.T) {
	l := due("d1", "o")
	l.Header.Set(hopsHeader, "10")
	u := sendOne(t, l, account.Output{Destination: "http://127.0.0.1:1"}, loopback)
	if u.Status != account.StatusFailed || !strings.Contains(string(u.Answer), "lead back") {
		t.Errorf("told of %s: %s, want it failed as it goes round", u.Status, u.Answer)
	}
}

// TestPrivateAddressesAreNotReached: by address, by name, and in other spellings.
func TestPrivateAddressesAreNotReached(t *testing.T) {
	srv, reqs := destination(t, nil)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "0.0.0.0"} {
		told := sendOne(t, due("d1", "o"), account.Output{Destination: "http://" + net.JoinHostPort(strings.Trim(host, "[]"), u.Port()), Retries: -1}, nil)
		if told.Status != account.StatusFailed || !strings.Contains(string(told.Answer), "forward_allow") {
			t.Errorf("%s: %s: %s, want it refused", host, told.Status, told.Answer)
		}
	}
	if len(reqs) > 0 {
		t.Errorf("%d requests arrived, want none", len(reqs))
	}
}

// TestProxiesAreNotAsked: one would connect in the relay's place.
func TestProxiesAreNotAsked(t *testing.T) {
	if transport(nil, true).Proxy != nil {
		t.Error("a proxy may be asked, want none")
	}
}

func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "192.0.1.1": true, "100.128.0.1": true, "2606:4700::1": true,
		"10.1.2.3": false, "172.31.0.1": false, "192.168.0.1": false, "127.0.0.2": false, "169.254.169.254": false, "0.1.2.3": false,
		"100.64.0.1": false, "100.100.100.200": false, "168.63.129.16": false, "198.18.0.1": false, "203.0.113.9": false, "224.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fd00:ec2::254": false, "64:ff9b::a00:1": false, "ff02::1": false,
		"2002:a00:1::": false, "2001::1": false, "2001:db8::1": false, "2606:4700::1%eth0": false,
	} {
		if got := isPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("isPublic(%s) = %v, want %v", text, got, want)
		}
	}
}
