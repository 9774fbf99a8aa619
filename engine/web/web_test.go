package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"hookrun/engine/control"
)

// serveOn serves until stop is called, which gives what Serve returned.
func serveOn(t *testing.T, s *Server) (address string, stop func() error) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	return ln.Addr().String(), func() error {
		cancel()
		return <-served
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	watching, stopWatching := context.WithCancel(t.Context())
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "begun")
		_ = http.NewResponseController(w).Flush() // net/http can
		<-watching.Done()                         // as one who watches
	})
	address, stop := serveOn(t, newServer(t, Options{Desk: &fakeDesk{text: "x"}, API: api}))
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + address + "/api/v1/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || line != "begun\n" {
		t.Fatalf("who watches reads %q, %v", line, err)
	}
	stopWatching()
	if err := stop(); err != nil {
		t.Errorf("Serve: %v, want nil", err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("after Serve the port is open")
	}
}

func TestServeSaysWhyItCannotGoOn(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	err = newServer(t, Options{Desk: &fakeDesk{}}).Serve(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), "serve the dashboard on 127.0.0.1:") {
		t.Errorf("Serve on a closed port: %v, want why", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "x"}})
	address, stop := serveOn(t, s)
	var conns []net.Conn
	for range maxConns {
		conns = append(conns, connected(t, address))
	}
	last, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if n, err := io.Copy(io.Discard, last); n > 0 {
		t.Errorf("one connection too many is told %d bytes, %v; want it closed", n, err)
	}
	for _, c := range conns {
		c.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := s.conns.refused; got != 1 {
		t.Errorf("%d connections were refused, want 1", got)
	}
}

// connected is a connection that the server has answered on.
func connected(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /assets/icon.svg HTTP/1.1\r\nHost: %s\r\n\r\n", address)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return c
}

func TestAssetsMayBeKept(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{}})
	links, err := assetLinks()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 3 {
		t.Fatalf("the assets are %v, want three", links)
	}
	for name, link := range links {
		resp := ask(s, http.MethodGet, link, "", nil)
		if got := resp.Header.Get("Cache-Control"); resp.StatusCode != http.StatusOK || !strings.Contains(got, "immutable") {
			t.Errorf("%s is answered %d with Cache-Control %q, want 200 and immutable", name, resp.StatusCode, got)
		}
		if got := resp.Header.Get("Content-Type"); got == "application/octet-stream" {
			t.Errorf("%s has no media type of its own", name)
		}
	}
	for _, path := range []string{"/assets/none.js", "/assets/..%2fdoc.go", "/assets/"} {
		if got := ask(s, http.MethodGet, path, "", nil).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s is answered %d, want 404", path, got)
		}
	}
}

func TestPagesLeaveRoomForOthersToWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-end })
		h := newServer(t, Options{Desk: &fakeDesk{}, API: api}).Handler()
		watch := func() int {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/watch", nil)
			r.Host = "localhost"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		var wg sync.WaitGroup
		for range maxWatching {
			wg.Go(func() {
				if got := watch(); got != http.StatusOK {
					t.Errorf("one who watches is answered %d, want 200", got)
				}
			})
		}
		synctest.Wait()
		if got := watch(); got != http.StatusServiceUnavailable || maxWatching >= control.MaxWatchers {
			t.Errorf("with %d of %d watching over the port one more is answered %d, want 503 and room for others", maxWatching, control.MaxWatchers, got)
		}
		close(end)
		wg.Wait()
		if got := watch(); got != http.StatusOK {
			t.Errorf("once they have ended one is answered %d, want 200", got)
		}
	})
}

// TestEveryPageIsOne: else nobody is led to it from elsewhere, or to the login
// before it.
func TestEveryPageIsOne(t *testing.T) {
	for pattern := range newServer(t, Options{Desk: &fakeDesk{}}).shows() {
		_, path, ok := strings.Cut(pattern, " ")
		if path = strings.TrimSuffix(path, "{$}"); ok && isPage(path) == strings.HasSuffix(path, "/body") {
			t.Errorf("isPage(%s) = %v", path, isPage(path))
		}
	}
}
