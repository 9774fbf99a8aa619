package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/certs/certstest"
)

const domain = "hooks.example.org"

// authority is a local one, with the listeners where it looks for answers.
type authority struct {
	*certstest.Authority
	http, tls net.Listener
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{http: listen(t), tls: listen(t)}
	t.Cleanup(func() {
		a.http.Close()
		a.tls.Close()
	})
	a.Authority = certstest.New(t, certstest.Ports{HTTP: port(a.http), TLS: port(a.tls)})
	return a
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func (a *authority) options(t *testing.T, cache string) Options {
	return Options{Domains: []string{domain}, Cache: cache, AcceptTerms: true, Email: "ops@example.org", Directory: a.Directory, HTTPClient: a.Client}
}

// run runs r until the test ends or stop is called, and waits for it.
func run(t *testing.T, r *Renewer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// onIssue returns a channel with what r is given by its authority.
func onIssue(r *Renewer) <-chan error {
	given := make(chan error, 10)
	issue := r.issue
	r.issue = func(ctx context.Context, domain string) (*tls.Certificate, error) {
		c, err := issue(ctx, domain)
		given <- err
		return c, err
	}
	return given
}

func newRenewer(t *testing.T, o Options) *Renewer {
	t.Helper()
	r, err := ACME(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// trusted reports what a client that trusts the authority thinks of what is shown.
func (a *authority) trusted(t *testing.T, addr string) error {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: domain, RootCAs: a.Roots})
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestCertificateByTLSALPN01(t *testing.T) {
	a := newAuthority(t)
	cache := t.TempDir()
	r := newRenewer(t, a.options(t, cache))
	serve(t, a.tls, r.Config())
	if got := r.Missing(); !slices.Equal(got, []string{domain}) {
		t.Errorf("before: missing %q, want the domain", got)
	}
	if _, err := shown(t, a.tls.Addr().String(), domain); err == nil {
		t.Error("a certificate is shown before there is one")
	}
	given := onIssue(r)
	stop := run(t, r)
	if err := <-given; err != nil {
		t.Fatal(err)
	}
	stop()
	if err := a.trusted(t, a.tls.Addr().String()); err != nil {
		t.Errorf("a client that trusts the authority says %v", err)
	}
	if got := r.Missing(); got != nil {
		t.Errorf("after: missing %q, want none", got)
	}
	if len(r.challenges) != 0 {
		t.Errorf("%d challenges are left", len(r.challenges))
	}
	a.testRestart(t, cache)
	a.testRenewal(t, cache)
}

// testRestart: what the cache holds is shown, and nobody is asked.
func (a *authority) testRestart(t *testing.T, cache string) {
	t.Helper()
	orders := a.Orders.Load()
	r := newRenewer(t, a.options(t, cache))
	if got := r.Missing(); got != nil {
		t.Errorf("after a restart: missing %q, want none", got)
	}
	plans := r.plans()
	left := time.Until(plans[0].at)
	if left < 55*day || left > 61*day {
		t.Errorf("after a restart the certificate of 90 days is renewed in %s, want about 60 days", left)
	}
	stop := run(t, r)
	stop()
	if got := a.Orders.Load(); got != orders {
		t.Errorf("a restart made %d orders, want none", got-orders)
	}
	ln := listen(t)
	serve(t, ln, r.Config())
	if err := a.trusted(t, ln.Addr().String()); err != nil {
		t.Errorf("after a restart a client says %v", err)
	}
	other := a.options(t, cache)
	other.Directory = strings.Replace(a.Directory, "127.0.0.1", "localhost", 1)
	if got := newRenewer(t, other).Missing(); len(got) != 1 {
		t.Errorf("what one authority gave is taken for another's")
	}
}

// testRenewal: a certificate that is two thirds through its life is replaced, with
// a new key, by the account that is there.
func (a *authority) testRenewal(t *testing.T, cache string) {
	t.Helper()
	r := newRenewer(t, a.options(t, cache))
	r.now = func() time.Time { return time.Now().Add(61 * day) }
	before := r.shown[domain]
	srv := &http.Server{Handler: r.Handler(nil)} // at the other port the first renewer answers
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(a.http) })
	defer wg.Wait()
	defer srv.Close()

	given := onIssue(r)
	stop := run(t, r)
	if err := <-given; err != nil {
		t.Fatal(err)
	}
	stop()
	after := r.shown[domain]
	if before.Leaf.SerialNumber.Cmp(after.Leaf.SerialNumber) == 0 {
		t.Error("the certificate was not renewed")
	}
	if before.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(after.Leaf.PublicKey) {
		t.Error("the renewed certificate has the key of the one before")
	}
	if kept, err := r.cache.certificate(domain); err != nil || kept.Leaf.SerialNumber.Cmp(after.Leaf.SerialNumber) != 0 {
		t.Errorf("the cache does not hold the renewed certificate: %v", err)
	}
}

func TestCertificateByHTTP01(t *testing.T) {
	a := newAuthority(t)
	a.tls.Close() // nobody answers there
	r := newRenewer(t, a.options(t, t.TempDir()))
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "next") })
	srv := &http.Server{Handler: r.Handler(next)}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(a.http) })
	t.Cleanup(func() {
		srv.Close()
		wg.Wait()
	})
	given := onIssue(r)
	stop := run(t, r)
	if err := <-given; err != nil {
		t.Fatal(err)
	}
	stop()
	ln := listen(t)
	serve(t, ln, r.Config())
	if err := a.trusted(t, ln.Addr().String()); err != nil {
		t.Errorf("a client that trusts the authority says %v", err)
	}
	if a.Orders.Load() != 2 || len(r.answers) != 0 {
		t.Errorf("%d orders, %d answers left, want one order for each kind, and none", a.Orders.Load(), len(r.answers))
	}
}

// TestRefusedEverywhere: what the authority says of each kind is in the error.
func TestRefusedEverywhere(t *testing.T) {
	a := newAuthority(t)
	a.tls.Close()
	a.http.Close()
	r := newRenewer(t, a.options(t, t.TempDir()))
	r.Handler(nil)
	given := onIssue(r)
	stop := run(t, r)
	err := <-given
	stop()
	if err == nil || !strings.Contains(err.Error(), "tls-alpn-01: ") || !strings.Contains(err.Error(), "http-01: ") {
		t.Errorf("error %v, want one that names both challenges", err)
	}
}

func TestHandlerLeavesOtherRequestsAlone(t *testing.T) {
	r := newRenewer(t, Options{Domains: []string{domain}, Cache: t.TempDir(), AcceptTerms: true})
	r.answers["token"] = "token.thumbprint"
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "next") })
	for _, tt := range []struct {
		name, path string
		next       http.Handler
		status     int
		body       string
	}{
		{"the challenge", challengePath + "token", next, 200, "token.thumbprint"},
		{"another challenge", challengePath + "other", next, 404, "no such challenge\n"},
		{"a webhook", "/hooks/deploys", next, 200, "next"},
		{"nothing behind it", "/hooks/deploys", nil, 404, "nothing is here: use https\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r.Handler(tt.next).ServeHTTP(w, httptest.NewRequest("POST", "http://"+domain+tt.path, nil))
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("answer %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}

func TestACMERefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no domain", Options{Cache: t.TempDir(), AcceptTerms: true}, "no domain is named"},
		{"no terms", Options{Domains: []string{domain}, Cache: t.TempDir()}, "terms of service are not accepted"},
		{"no cache", Options{Domains: []string{domain}, AcceptTerms: true}, "no folder is named"},
		{"a file as cache", Options{Domains: []string{domain}, Cache: file, AcceptTerms: true}, "name another, or let hookrun write there"},
		{"directory", Options{Domains: []string{domain}, Cache: t.TempDir(), AcceptTerms: true, Directory: "x"}, "is no URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ACME(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// issued is a certificate as an authority gives it.
func issued(t *testing.T, name string, from time.Time, life time.Duration) *tls.Certificate {
	t.Helper()
	m := makeCert(t, name, from, from.Add(life))
	c, err := tls.X509KeyPair(m.cert, m.key)
	must(t, err)
	return &c
}

// TestRunRenewsInTime: through a year with failures, a valid certificate is shown
// at every moment.
func TestRunRenewsInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewer(t, Options{Domains: []string{domain, "other.example.org"}, Cache: dir, AcceptTerms: true, HTTPClient: &http.Client{}})
		asked := map[string]int{}
		r.issue = func(_ context.Context, name string) (*tls.Certificate, error) {
			asked[name]++
			if asked[name]%4 != 1 { // three of four fail
				return nil, errors.New("not today")
			}
			return issued(t, name, time.Now(), 90*day), nil
		}
		stop := run(t, r)
		for range 365 {
			time.Sleep(day)
			synctest.Wait()
			if got := r.Missing(); got != nil {
				t.Fatalf("%q have no valid certificate", got)
			}
		}
		stop()
		for name, n := range asked {
			if n < 4*4 || n > 7*4 {
				t.Errorf("%s: asked %d times in a year, want some six times four", name, n)
			}
		}
	})
}

// TestFailuresAreNotRepeatedAtOnce: an authority locks out who fails too often.
func TestFailuresAreNotRepeatedAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log memory
		r := newRenewer(t, Options{Domains: []string{domain}, Cache: dir, AcceptTerms: true, HTTPClient: &http.Client{}, Log: logTo(&log)})
		var at []time.Duration
		begin := time.Now()
		r.issue = func(context.Context, string) (*tls.Certificate, error) {
			at = append(at, time.Since(begin))
			return nil, errors.New("refused")
		}
		stop := run(t, r)
		time.Sleep(day)
		synctest.Wait()
		stop()
		want := []time.Duration{0, 5 * time.Minute, 25 * time.Minute, 105 * time.Minute, 425 * time.Minute, 785 * time.Minute, 1145 * time.Minute}
		if !slices.Equal(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
		if got := log.take(); len(got) != len(want) || got[0] != `level=ERROR msg="no certificate, will try again"` {
			t.Errorf("the log has %q, want a line for each failure", got)
		}
	})
}

// TestAuthorityThatWantsToBeLeftAlone: what it asks for is kept, within a bound.
func TestAuthorityThatWantsToBeLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name, asked string
		want        time.Duration
	}{
		{"less than we wait anyway", "10", firstPause},
		{"more", "7200", 2 * time.Hour},
		{"for ever", "99999999", maxAsked},
		{"nothing", "", firstPause},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.Header().Set("Replay-Nonce", "one")
					return
				}
				if r.Method == http.MethodGet {
					io.WriteString(w, `{"newAccount":"https://`+r.Host+`/account","newOrder":"https://`+r.Host+`/order","newNonce":"https://`+r.Host+`/nonce"}`)
					return
				}
				w.Header().Set("Retry-After", tt.asked)
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusTooManyRequests)
				io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}`)
			}))
			defer srv.Close()
			r := newRenewer(t, Options{Domains: []string{domain}, Cache: t.TempDir(), AcceptTerms: true, Directory: srv.URL, HTTPClient: srv.Client()})
			now := time.Now()
			r.now = func() time.Time { return now }
			p := plan{domain: domain, at: now}
			r.renew(t.Context(), &p)
			if got := p.at.Sub(now); got != tt.want {
				t.Errorf("it is asked again after %s, want %s", got, tt.want)
			}
			srv.Client().CloseIdleConnections()
		})
	}
}

// TestStopDoesNotWaitForTheAuthority: what is asked is given up.
func TestStopDoesNotWaitForTheAuthority(t *testing.T) {
	asked := make(chan struct{})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer srv.Close()
	r := newRenewer(t, Options{Domains: []string{domain}, Cache: t.TempDir(), AcceptTerms: true, Directory: srv.URL, HTTPClient: srv.Client()})
	stop := run(t, r)
	<-asked
	stop()
	srv.Client().CloseIdleConnections()
}

func TestCertificateForWhoNamesNone(t *testing.T) {
	r := newRenewer(t, Options{Domains: []string{domain, "other.example.org"}, Cache: t.TempDir(), AcceptTerms: true})
	r.shown[domain] = issued(t, domain, time.Now(), day)
	for _, tt := range []struct {
		name, asked string
		found, err  bool
	}{
		{"the domain", "Hooks.example.org.", true, false},
		{"none", "", true, false},
		{"one that is not there yet", "other.example.org", false, true},
		{"a stranger's", "example.org", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := r.certificate(&tls.ClientHelloInfo{ServerName: tt.asked})
			if (c != nil) != tt.found || (err != nil) != tt.err {
				t.Errorf("a certificate: %v, error %v, want %v and %v", c != nil, err, tt.found, tt.err)
			}
		})
	}
}

func TestCacheIsForHookrunAlone(t *testing.T) {
	dir := t.TempDir()
	c, err := openCache(dir, "https://acme.example.org/directory")
	must(t, err)
	key, err := c.accountKey()
	must(t, err)
	again, err := c.accountKey()
	must(t, err)
	if !key.Public().(*ecdsa.PublicKey).Equal(again.Public()) {
		t.Error("the account's key is another at the second look")
	}
	must(t, c.keep(domain, issued(t, domain, time.Now(), day)))
	kept, err := c.certificate(domain)
	if err != nil || kept == nil {
		t.Errorf("what is kept is %v, %v, want a certificate", kept, err)
	}
	if got, err := c.certificate("other.example.org"); got != nil || err != nil {
		t.Errorf("of another domain %v, %v, want nothing", got, err)
	}
	entries, err := os.ReadDir(c.dir)
	must(t, err)
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
		info, err := e.Info()
		must(t, err)
		if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", e.Name(), mode)
		}
	}
	if want := []string{"account.key", domain + ".pem"}; !slices.Equal(files, want) {
		t.Errorf("the cache holds %q, want %q", files, want)
	}
	must(t, os.WriteFile(c.file(domain), []byte("half of it"), 0o600))
	if _, err := c.certificate(domain); err == nil {
		t.Error("a broken file is taken")
	}
}
