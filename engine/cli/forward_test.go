package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hookrun/relay"
	"hookrun/relay/relaytest"
)

// forwarder is a hookrun forward at work.
type forwarder struct {
	relay       *relaytest.Server
	out, stderr *lockedBuffer
	stop        func() // ends it and waits for it
}

// startForward runs the command with a relay of its own; args come before the URL.
func startForward(t *testing.T, to string, args ...string) *forwarder {
	t.Helper()
	f := &forwarder{relay: relaytest.New(t, relaytest.Options{Key: "k", Secret: "s"}), out: &lockedBuffer{}, stderr: &lockedBuffer{}}
	args = append([]string{"forward", "-relay", f.relay.HTTPURL, "-key", "k", "-secret-file", secretFile(t, "s"), "-bucket", "b"}, append(args, to)...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, args, Process{Stdout: f.out, Stderr: f.stderr}) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d, want 0; stderr:\n%s", code, f.stderr)
		}
	})
	t.Cleanup(f.stop)
	if err := f.relay.WaitSubscribed(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return f
}

// send delivers a webhook and returns what its sender gets.
func (f *forwarder) send(t *testing.T, w relaytest.Webhook) relaytest.Log {
	t.Helper()
	id, err := f.relay.Send("b", w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log, err := f.relay.WaitLog(ctx, id)
	if err != nil {
		t.Fatalf("%v; stdout:\n%s\nstderr:\n%s", err, f.out, f.stderr)
	}
	return log
}

func TestForwardPassesAllOn(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header()["X-Many"] = []string{"1", "2"}
		w.WriteHeader(201)
		w.Write([]byte{0xff, 0, '\n'})
	}))
	defer srv.Close()
	f := startForward(t, srv.URL+"/app?key=k")
	sent := []byte("\x00\x89PNG\r\n\xff")
	log := f.send(t, relaytest.Webhook{
		Method: "PATCH", Path: "/x%2Fy/z", Query: "a=1&b=%20", Body: sent,
		Header: http.Header{"X-Multi": {"one", "two"}, "Connection": {"X-Hop"}, "X-Hop": {"h"}, "Content-Length": {"7"}, "User-Agent": {"GitHub-Hookshot"}},
	})
	f.stop()
	if log.StatusCode != 201 || log.Status != "sent" || string(log.Body) != "\xff\x00\n" || !slices.Equal(log.Header["X-Many"], []string{"1", "2"}) {
		t.Errorf("the sender gets %+v, want what the server answered", log)
	}
	if got.Method != "PATCH" || got.RequestURI != "/app/x%2Fy/z?key=k&a=1&b=%20" || !bytes.Equal(body, sent) {
		t.Errorf("the server got %s %s with %q", got.Method, got.RequestURI, body)
	}
	if !slices.Equal(got.Header["X-Multi"], []string{"one", "two"}) || got.Header["X-Hop"] != nil || got.UserAgent() != "GitHub-Hookshot" {
		t.Errorf("the server got the header %v", got.Header)
	}
	if text := f.out.String(); !strings.Contains(text, "PATCH  /x%2Fy/z ") || !strings.Contains(text, " 201 ") || !strings.Contains(text, " 3 B") {
		t.Errorf("it printed\n%s", text)
	}
}

func TestForwardTellsThatNobodyListens(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	f := startForward(t, srv.URL, "-retries", "1")
	log := f.send(t, relaytest.Webhook{Body: []byte("{}")})
	f.stop()
	if log.StatusCode != 502 || log.Status != "failed" || !strings.Contains(log.Raw, `"retries":1`) {
		t.Errorf("the sender gets %s, want a 502, that it failed and 1 retry", log.Raw)
	}
	want := "connection refused: is your server running on " + srv.Listener.Addr().String() + "?"
	if text := f.out.String(); !strings.Contains(text, want) || !strings.Contains(text, "2 tries") {
		t.Errorf("it printed\n%s\nwant %q after 2 tries", text, want)
	}
}

func TestForwardTriesAgain(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(503)
		}
	}))
	defer srv.Close()
	f := startForward(t, srv.URL, "-retries", "5")
	if log := f.send(t, relaytest.Webhook{}); log.StatusCode != 200 || log.Status != "sent" || calls.Load() != 3 {
		t.Errorf("the sender gets %+v after %d calls, want a 200 after 3", log, calls.Load())
	}
}

func TestForwardGivesAnswersThatAreNoSuccessToTheSender(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }))
	defer srv.Close()
	f := startForward(t, srv.URL, "-retries", "5")
	if log := f.send(t, relaytest.Webhook{}); log.StatusCode != 302 || log.Status != "failed" || log.Header.Get("Location") != "/login" {
		t.Errorf("the sender gets %+v, want the redirect", log)
	}
}

func TestForwardTimeout(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	f := startForward(t, srv.URL, "-timeout", "50ms")
	if log := f.send(t, relaytest.Webhook{}); log.StatusCode != 504 || log.Status != "failed" {
		t.Errorf("the sender gets %+v, want a 504", log)
	}
	f.stop()
	if text := f.out.String(); !strings.Contains(text, "no answer in 50ms; -timeout gives it longer") {
		t.Errorf("it printed\n%s", text)
	}
}

// TestForwardSendsSeveralAtOnce: one that hangs holds up no other.
func TestForwardSendsSeveralAtOnce(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-release
		}
	}))
	defer srv.Close()
	f := startForward(t, srv.URL)
	for range maxForwards - 1 {
		if _, err := f.relay.Send("b", relaytest.Webhook{Path: "/hang"}); err != nil {
			t.Fatal(err)
		}
	}
	if log := f.send(t, relaytest.Webhook{Path: "/fast"}); log.StatusCode != 200 {
		t.Errorf("the sender gets %+v, want a 200 while others hang", log)
	}
	close(release)
}

// TestForwardSurvivesHostileWebhooks: nothing of one reaches the terminal, ends a
// line of a request, or leads out of the URL's path.
func TestForwardSurvivesHostileWebhooks(t *testing.T) {
	paths := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Injected") != "" {
			t.Error("a header was injected")
		}
		paths <- r.URL.Path
	}))
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "saved")
	f := startForward(t, srv.URL+"/app", "-save", dir)
	log := f.send(t, relaytest.Webhook{
		ID: "../../escape\x1b]0;x", Path: "/\x1b[2J\r\nX-Injected: 1", Query: "q= \r\nX-Injected: 1", Method: "POST /\r\nX-INJECTED: 1\r\n",
		Header: http.Header{"X-A\r\nX-Injected": {"1"}, "X-B": {"1\r\nX-Injected: 1"}, "X-C": {"fine"}}, Body: []byte("body"),
	})
	if up := f.send(t, relaytest.Webhook{Path: "/%2e%2e/admin"}); up.StatusCode != 502 || up.Status != "failed" {
		t.Errorf("a path that leads upwards gets %+v, want a 502", up)
	}
	f.stop()
	if text := f.out.String() + f.stderr.String(); strings.ContainsAny(text, "\x1b\r") || strings.Contains(text, "\nX-Injected") {
		t.Errorf("it printed %q", text)
	}
	if log.StatusCode == 200 {
		if path := <-paths; !strings.HasPrefix(path, "/app/") {
			t.Errorf("it went to %q, want below /app/", path)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 2 {
		t.Fatalf("saved are %q, %v; want both in %s", names, err, dir)
	}
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "Z-escape0x.http") })
	if i < 0 {
		t.Fatalf("saved are %q, want one named by the id's harmless part", names)
	}
	req, body := readSaved(t, names[i])
	if req.Header.Get("X-Injected") != "" || req.Header.Get("X-C") != "fine" || req.Method != "POST" || body != "body" {
		t.Errorf("saved is %s %v with %q", req.Method, req.Header, body)
	}
}

func readSaved(t *testing.T, name string) (*http.Request, string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatalf("%s: %v:\n%s", name, err, data)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	return req, string(body)
}

func TestSaveWebhook(t *testing.T) {
	dir := t.TempDir()
	m := relay.Message{
		ID: "6b1f", Read: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Method: "PUT", Path: "/a/b", Query: "x=1", Body: []byte("a\r\n\xff"),
		Header: http.Header{"X-B": {"2"}, "X-A": {"1", "1b"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"99"}},
	}
	for range 2 {
		if err := saveWebhook(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	const name = "20260102T030405.678Z-6b1f"
	for _, file := range []string{name + ".http", name + "-2.http"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		want := "PUT /a/b?x=1 HTTP/1.1\nX-A: 1\nX-A: 1b\nX-B: 2\nContent-Length: 4\n\na\r\n\xff"
		if err != nil || string(data) != want {
			t.Errorf("%s is %q, %v; want %q", file, data, err, want)
		}
	}
	req, body, err := asSent(rawRequest(m)) // as hookrun send reads it
	if err != nil || req.URL.RawQuery != "x=1" || string(body) != string(m.Body) {
		t.Errorf("read back it is %v with %q, %v", req, body, err)
	}
}

func TestPathBelow(t *testing.T) {
	tests := []struct{ name, destination, path, want string }{
		{"no output", "", "/x", "/x"},
		{"no output, the path in its place", "/x", "/x", "/x"},
		{"an output, and the path", "http://localhost:8080/hook/x", "/x", "/x"},
		{"an output of a relay that says no path", "http://localhost:8080/hook", "/hook", "/"},
		{"no path", "http://localhost:8080", "/", "/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := pathBelow(relay.Message{OutputDestination: tt.destination, Path: tt.path}); got != tt.want {
				t.Errorf("pathBelow = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForwardOptions(t *testing.T) {
	env := func(vars ...string) func(string) string {
		return func(name string) string {
			i := slices.Index(vars, name)
			if i < 0 {
				return ""
			}
			return vars[i+1]
		}
	}
	keys := env("RELAY_KEY", "k", "RELAY_SECRET", "s", "RELAY_URL", "http://127.0.0.1:9/r/")
	tests := []struct {
		name    string
		o       forwardOptions
		words   []string
		getenv  func(string) string
		problem string // "": none
		want    forwardOptions
	}{
		{"from the environment", forwardOptions{}, []string{"localhost:3000/x"}, keys, "", forwardOptions{relay: "ws://127.0.0.1:9/r/v1/socket", key: "k", secret: "s", to: "http://localhost:3000/x"}},
		{"a port", forwardOptions{}, []string{"3000"}, keys, "", forwardOptions{relay: "ws://127.0.0.1:9/r/v1/socket", key: "k", secret: "s", to: "http://localhost:3000/"}},
		{"a port and a colon", forwardOptions{}, []string{":3000"}, keys, "", forwardOptions{relay: "ws://127.0.0.1:9/r/v1/socket", key: "k", secret: "s", to: "http://localhost:3000/"}},
		{"a port and a path", forwardOptions{}, []string{":3000/a?b"}, keys, "", forwardOptions{relay: "ws://127.0.0.1:9/r/v1/socket", key: "k", secret: "s", to: "http://localhost:3000/a?b"}},
		{"no host", forwardOptions{}, []string{":http"}, keys, `":http" is no http or https URL`, forwardOptions{}},
		{"flags count", forwardOptions{relay: "https://r.example", key: "f"}, []string{"https://x"}, keys, "", forwardOptions{relay: "wss://r.example/v1/socket", key: "f", secret: "s", to: "https://x"}},
		{"the hosted relay", forwardOptions{key: "k"}, []string{"http://x"}, env("RELAY_SECRET", "s"), "", forwardOptions{relay: hostedRelay, key: "k", secret: "s", to: "http://x"}},
		{"no URL", forwardOptions{}, nil, keys, "the URL of your server is missing", forwardOptions{}},
		{"no web address", forwardOptions{}, []string{"ftp://x"}, keys, `"ftp://x" is no http or https URL`, forwardOptions{}},
		{"too many retries", forwardOptions{retries: 101}, []string{"http://x"}, keys, "want 0 to 100", forwardOptions{}},
		{"no secret", forwardOptions{}, []string{"http://x"}, env("RELAY_KEY", "k"), "needs a key and a secret", forwardOptions{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.buckets, o.timeout = list{"b"}, span(time.Second)
			err := o.complete(tt.words, tt.getenv)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("complete = %v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil || o.relay != tt.want.relay || o.key != tt.want.key || o.secret != tt.want.secret || o.to != tt.want.to {
				t.Errorf("complete = %v and %+v, want %+v", err, o, tt.want)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	for n, want := range map[int]string{0: "0 B", 999: "999 B", 1234: "1.2 kB", 3 << 20: "3.1 MB"} {
		if got := weight(n); got != want {
			t.Errorf("weight(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestForwardSaysWhereWebhooksComeFrom: ready to be pasted.
func TestForwardSaysWhereWebhooksComeFrom(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	f := startForward(t, srv.URL)
	awaitText(t, f.out, fmt.Sprintf("webhooks of b go to %s\n  %s/v1/webhooks/", srv.URL, f.relay.HTTPURL))
}

// awaitText waits until a text is printed.
func awaitText(t *testing.T, out *lockedBuffer, want string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !strings.Contains(out.String(), want) {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("it printed\n%s\nwant\n%s", out, want)
		}
	}
}

func TestForwardSaysWhyThereIsNoRelay(t *testing.T) {
	secure, plain := quietServer(), quietServer()
	secure.StartTLS()
	defer secure.Close()
	plain.Start()
	defer plain.Close()
	for _, tt := range []struct{ name, relay, want string }{
		{"plain to TLS", "http://" + secure.Listener.Addr().String(), "with https://"},
		{"TLS to plain", "https://" + plain.Listener.Addr().String(), "is it http://?"},
		{"certificate of a stranger", secure.URL, "SSL_CERT_FILE="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var out, errs lockedBuffer
			ended := make(chan int, 1)
			go func() {
				ended <- Main(ctx, []string{"forward", "-relay", tt.relay, "-key", "buildbox", "-secret-file", secretFile(t, "relay-s3cret"), "-bucket", "b", "3000"}, Process{Stdout: &out, Stderr: &errs})
			}()
			defer func() {
				cancel()
				<-ended
			}()
			awaitText(t, &out, tt.want)
		})
	}
}

func TestRelayOfAnotherNameOrTime(t *testing.T) {
	for failure, want := range map[string]string{
		"connect to relay: tls: failed to verify certificate: x509: certificate is valid for a, not b":           "for another name",
		"connect to relay: tls: failed to verify certificate: x509: certificate has expired or is not yet valid": "is not valid now",
		"connect to relay: answered 400 Bad Request":                                                             "",
		"": "",
	} {
		if got := mendRelay("wss://b/v1/socket", failure); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("mendRelay of %q = %q, want %q", failure, got, want)
		}
	}
}

// quietServer is one that answers 404 and logs nothing.
func quietServer() *httptest.Server {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	return srv
}

func TestForwardTellsOfTheServersCertificate(t *testing.T) {
	secure, plain := quietServer(), quietServer()
	secure.StartTLS()
	defer secure.Close()
	plain.Start()
	defer plain.Close()
	for _, tt := range []struct{ name, to, want string }{
		{"certificate of a stranger", secure.URL, "does not trust the certificate of your server on "},
		{"TLS to plain", "https://" + plain.Listener.Addr().String(), "speaks no TLS: is it http://?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startForward(t, tt.to)
			if log := f.send(t, relaytest.Webhook{}); log.StatusCode != 502 {
				t.Errorf("the sender gets %+v, want a 502", log)
			}
			awaitText(t, f.out, tt.want)
		})
	}
}

// secretFile is a file that holds a secret.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
