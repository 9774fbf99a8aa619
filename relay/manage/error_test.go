package manage

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// quiet is a server that does not log.
func quiet() *httptest.Server {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	return srv
}

func TestAddressWithTheWrongScheme(t *testing.T) {
	secure, plain := quiet(), quiet()
	secure.StartTLS()
	defer secure.Close()
	plain.Start()
	defer plain.Close()
	for _, tt := range []struct{ name, url, hint string }{
		{"plain to TLS", "http://" + secure.Listener.Addr().String(), "begin the relay's address with https://"},
		{"TLS to plain", "https://" + plain.Listener.Addr().String(), "is it http://?"},
		{"plain to what hangs up", "http://" + serveRaw(t, ""), "begin the relay's address with https://"},
		{"plain to an alert", "http://" + serveRaw(t, "\x15\x03\x01\x00\x02\x02\x46"), "begin the relay's address with https://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantHint(t, tt.url, &http.Transport{}, tt.hint)
		})
	}
}

// serveRaw answers one request with these bytes, and hangs up.
func serveRaw(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 4<<10)) // else the kernel resets the connection
		_, _ = io.WriteString(c, text)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-over
	})
	return ln.Addr().String()
}

func TestCertificateThatDoesNotCount(t *testing.T) {
	srv := quiet()
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	for _, tt := range []struct {
		name string
		tls  *tls.Config
		hint string
	}{
		{"of a stranger", &tls.Config{RootCAs: x509.NewCertPool()}, "SSL_CERT_FILE="},
		{"of another name", &tls.Config{RootCAs: roots, ServerName: "other.test"}, "for another name"},
		{"too old", &tls.Config{RootCAs: roots, Time: func() time.Time { return srv.Certificate().NotAfter.Add(time.Hour) }}, "is not valid now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantHint(t, srv.URL, &http.Transport{TLSClientConfig: tt.tls}, tt.hint)
		})
	}
}

func wantHint(t *testing.T, url string, transport *http.Transport, hint string) {
	t.Helper()
	defer transport.CloseIdleConnections()
	c, err := New(Options{URL: url, Secret: "s", Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Buckets(t.Context())
	e, ok := err.(*Error)
	if !ok || !strings.Contains(e.Hint, hint) {
		t.Errorf("error %#v, want the hint %q", err, hint)
	}
}
