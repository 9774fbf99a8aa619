package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hookrun/relay/relaytest"
	"hookrun/relay/wire"
)

// The tests here use real sockets; in the others a pipe stands for them.

func TestRelayRestarts(t *testing.T) {
	srv := relaytest.New(t, relaytest.Options{})
	r := start(t, Options{URL: srv.URL}, nil)
	for _, body := range []string{"one", "two", "three"} {
		subscribed(t, srv)
		send(t, srv, body)
		if m := r.next(t); string(m.Body) != body {
			t.Errorf("message = %s, want %s", m.Body, body)
		}
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLargeFrames(t *testing.T) {
	srv := relaytest.New(t, relaytest.Options{})
	r := start(t, Options{URL: srv.URL}, nil)
	subscribed(t, srv)
	large := bytes.Repeat([]byte("webhook "), 20<<20/8)
	send(t, srv, string(large))
	if m := r.next(t); !bytes.Equal(m.Body, large) {
		t.Errorf("message of %d bytes differs from the %d sent", len(m.Body), len(large))
	}

	// The client closes in the middle of it, so that sending may fail or not.
	_ = srv.SendRaw(1, bytes.Repeat([]byte(" "), wire.MaxFrame+1))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := srv.WaitFrames(ctx, "subscribe", 2); err != nil {
		t.Fatal(err)
	}
	subscribed(t, srv)
	send(t, srv, "small")
	if m := r.next(t); string(m.Body) != "small" {
		t.Errorf("message after one that is too large = %s, want small", m.Body)
	}
	const want = "the relay sent a frame of more than 104857600 bytes: websocket: read limit exceeded"
	if s := r.Status(); s.LastError != want || s.Skipped != 1 {
		t.Errorf("status = %+v, want 1 skipped, %s", s, want)
	}
}

func TestLargestFrameIsTaken(t *testing.T) {
	srv := relaytest.New(t, relaytest.Options{})
	r := start(t, Options{URL: srv.URL}, nil)
	subscribed(t, srv)
	const head, tail = `{"type":"webhook","meta":{"bucket_name":"b"},"body":"`, `"}`
	n := wire.MaxFrame - len(head) - len(tail)
	raw(t, srv, 1, head+strings.Repeat("x", n)+tail)
	if m := r.next(t); len(m.Body) != n {
		t.Errorf("body of %d bytes, want %d", len(m.Body), n)
	}
}

func TestTLS(t *testing.T) {
	srv := relaytest.New(t, relaytest.Options{})
	front := httptest.NewUnstartedServer(srv)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is to fail
	front.StartTLS()
	defer front.Close()
	url := "wss" + strings.TrimPrefix(front.URL, "https") + "/v1/socket"

	stranger := start(t, Options{URL: url}, nil)
	eventually(t, func() bool { return strings.Contains(stranger.Status().LastError, "certificate") })
	stranger.stop()

	roots := x509.NewCertPool()
	roots.AddCert(front.Certificate())
	r := start(t, Options{URL: url}, func(c *Client) { c.tls = &tls.Config{RootCAs: roots} })
	subscribed(t, srv)
	send(t, srv, "over TLS")
	if m := r.next(t); string(m.Body) != "over TLS" {
		t.Errorf("message = %s, want over TLS", m.Body)
	}
	r.stop()
}

// proxyTarget makes a run of the test binary a client that is to use a proxy.
const proxyTarget = "RELAY_TEST_PROXY_TARGET"

// TestProxyClient is no test of its own: TestProxyFromEnvironment runs it in
// another process, because a process reads the proxy's address only once.
func TestProxyClient(t *testing.T) {
	url := os.Getenv(proxyTarget)
	if url == "" {
		t.Skip("run by TestProxyFromEnvironment")
	}
	r := start(t, Options{URL: url}, nil)
	eventually(t, func() bool { return r.Status().LastError != "" })
	r.stop()
	t.Logf("last error: %s", r.Status().LastError)
}

func TestProxyFromEnvironment(t *testing.T) {
	tests := []struct {
		name, answer, want string
	}{
		{"refused", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "connect to relay: Proxy Authentication Required"},
		{"refused without a reason", "HTTP/1.1 503\r\n\r\n", "connect to relay: a proxy answered in an unexpected way: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address, asked := startProxy(t, tt.answer)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestProxyClient$", "-test.v")
			cmd.Env = append(os.Environ(), proxyTarget+"=wss://relay.invalid/v1/socket",
				"HTTPS_PROXY="+address, "https_proxy="+address, "NO_PROXY=", "no_proxy=")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "last error: "+tt.want) {
				t.Errorf("client: %v, want last error: %s; output:\n%s", err, tt.want, out)
			}
			if got := <-asked; got != "CONNECT relay.invalid:443" {
				t.Errorf("proxy was asked for %s, want CONNECT relay.invalid:443", got)
			}
		})
	}
}

// startProxy starts an HTTP proxy that gives every request the same answer and
// tells of the first.
func startProxy(t *testing.T, answer string) (url string, asked <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serveProxy(conn, answer, requests)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return "http://" + ln.Addr().String(), requests
}

func serveProxy(conn net.Conn, answer string, requests chan<- string) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	select {
	case requests <- req.Method + " " + req.Host:
	default:
	}
	_, _ = io.WriteString(conn, answer) // the client tells
}

// eventually waits until ok, which nothing announces.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("what was waited for did not come")
		}
	}
}
