// Package certstest is a certificate authority for tests: Let's Encrypt's own test
// server, pebble, on this machine. It checks challenges as the real one does, and
// finds every name at 127.0.0.1.
package certstest

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// QueueFunction is a goroutine of pebble that nothing can end: leak checks are to
// leave it out.
const QueueFunction = "github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"

// Ports are where the authority looks for answers to challenges.
type Ports struct {
	HTTP int // http-01
	TLS  int // tls-alpn-01
}

// Authority is a running one.
type Authority struct {
	Directory string            // its URL
	Server    *x509.Certificate // that its own server shows
	Client    *http.Client      // trusts that
	Roots     *x509.CertPool    // of what it issues
	Orders    atomic.Int64      // made at it
}

// New starts an authority that ends with the test.
func New(t *testing.T, look Ports) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	a := &Authority{Roots: x509.NewCertPool()}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "90 days"}})
	checker := va.New(quiet, look.HTTP, look.TLS, true, names(t), store)
	handler := wfe.New(quiet, store, checker, issuer, []string{"authority.test"}, true, false, 1, 1)
	mux := handler.Handler()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/order-plz" {
			a.Orders.Add(1)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	a.Directory, a.Server, a.Client = srv.URL+wfe.DirectoryPath, srv.Certificate(), srv.Client()
	t.Cleanup(a.Client.CloseIdleConnections)
	if root := issuer.GetRootCert(0); root != nil {
		a.Roots.AddCert(root.Cert)
	}
	return a
}

// names serves the DNS, and returns where.
func names(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(m)
	})}
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	var wg sync.WaitGroup
	wg.Go(func() { srv.ActivateAndServe() })
	<-started
	t.Cleanup(func() {
		srv.Shutdown()
		wg.Wait()
	})
	return ln.Addr().String()
}
