package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookrun/relay/certs/certstest"
)

func TestMain(m *testing.M) {
	// The local authority has no way to stop its queue.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(certstest.QueueFunction))
}

// made is a certificate for tests, and its key, as files hold them.
type made struct{ cert, key []byte }

// makeCert makes a certificate that is its own authority.
func makeCert(t *testing.T, name string, from, to time.Time) made {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: to, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return made{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// put writes a certificate into files of a folder.
func (m made) put(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "hooks.pem"), filepath.Join(dir, "hooks.key")
	for path, data := range map[string][]byte{cert: m.cert, key: m.key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// memory is a log that can be read.
type memory struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

// take returns the levels and messages since the last call.
func (m *memory) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for line := range bytes.Lines(m.text.Bytes()) {
		lines = append(lines, string(bytes.TrimSpace(line)))
	}
	m.text.Reset()
	return lines
}

// logTo writes levels and messages alone.
func logTo(m *memory) *slog.Logger {
	return slog.New(slog.NewTextHandler(m, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey {
			return a
		}
		return slog.Attr{}
	}}))
}

// serve takes connections with a configuration, and returns where.
func serve(t *testing.T, ln net.Listener, c *tls.Config) {
	t.Helper()
	srv := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Proto)) }),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(tls.NewListener(ln, c)) })
	t.Cleanup(func() {
		srv.Close()
		wg.Wait()
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// shown connects and returns what is shown for a name.
func shown(t *testing.T, addr, name string) (tls.ConnectionState, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

func TestNoHTTP2AndNothingOld(t *testing.T) {
	now := time.Now()
	cert, key := makeCert(t, "hooks.example.org", now.Add(-time.Hour), now.Add(90*24*time.Hour)).put(t, t.TempDir())
	files, err := Files(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := ACME(Options{Domains: []string{"hooks.example.org"}, Cache: t.TempDir(), AcceptTerms: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		c         *tls.Config
		protocols []string
	}{
		{"files", files.Config(), []string{"http/1.1"}},
		{"ACME", asked.Config(), []string{"http/1.1", "acme-tls/1"}},
	} {
		if tt.c.MinVersion != tls.VersionTLS12 || !slices.Equal(tt.c.NextProtos, tt.protocols) {
			t.Errorf("%s: version %x, protocols %q, want TLS 1.2 and %q", tt.name, tt.c.MinVersion, tt.c.NextProtos, tt.protocols)
		}
	}

	ln := listen(t)
	serve(t, ln, files.Config())
	state, err := shown(t, ln.Addr().String(), "hooks.example.org")
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("a client that would like HTTP/2 gets %q, %v, want http/1.1", state.NegotiatedProtocol, err)
	}
	_, err = tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 is taken, want it refused")
	}
}
