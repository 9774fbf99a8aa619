package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// from is a connection that seems to come from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// dialFrom is dial, from another address.
func (p *pipes) dialFrom(t *testing.T, addr string) *client {
	t.Helper()
	c, ok := p.tryDialFrom(addr)
	if !ok {
		t.Fatal("dial: the listener is closed")
	}
	return newClient(t, c)
}

func (p *pipes) tryDialFrom(addr string) (c net.Conn, ok bool) {
	here, there := net.Pipe()
	select {
	case p.conns <- from{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 1234))}:
		return here, true
	case <-p.done:
		return nil, false
	}
}

// herd is many senders that begin fast and go on byte by byte. They read every
// answer.
func herd(t *testing.T, ln *pipes, n int, addr func(int) string, begin, rest string) {
	var senders sync.WaitGroup
	t.Cleanup(senders.Wait)
	for i := range n {
		senders.Go(func() {
			c, ok := ln.tryDialFrom(addr(i))
			if !ok {
				return
			}
			defer c.Close()
			senders.Go(func() { _, _ = io.Copy(io.Discard, c) })
			if _, err := io.WriteString(c, begin); err == nil {
				drip(c, rest)
			}
		})
	}
	synctest.Wait()
}

// drip sends text byte by byte until the server hangs up.
func drip(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(900 * time.Millisecond)
	}
}

func TestSlowHerdKeepsNobodyOut(t *testing.T) {
	const header = "POST /hooks/x HTTP/1.1\r\nHost: h\r\nX-A: "
	const body = "POST /hooks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"
	one := func(int) string { return "203.0.113.7" }
	network := func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }
	each := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }
	tests := []struct {
		name    string
		addr    func(int) string
		begin   string
		within  time.Duration // the normal sender is answered
		limited int64         // connections that were closed
	}{
		{"one address, headers", one, header, 0, 136},
		{"one address, bodies", one, body, 0, 136},
		{"one IPv6 network", network, header, 0, 136},
		// All connections are taken, twice, until the first of them are cut.
		{"an address each, headers", each, header, 11 * time.Second, 0},
		{"an address each, bodies", each, body, 11 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				srv := serveOn(t, New(Options{Inbox: &fakeInbox{}, MaxConns: 100}), ln)
				herd(t, ln, 200, tt.addr, tt.begin, strings.Repeat("x", 1000))
				begin := time.Now()
				c := ln.dialFrom(t, "192.0.2.1")
				c.write(emptyPost)
				wantAnswer(t, c.read("POST"), 202, receipt)
				if got := time.Since(begin); got > tt.within {
					t.Errorf("answered after %v, want %v at most", got, tt.within)
				}
				if got := srv.tally().limited; got != tt.limited {
					t.Errorf("%d connections closed, want %d", got, tt.limited)
				}
			})
		})
	}
}

func TestConnectionsOfAnAddress(t *testing.T) {
	tests := []struct {
		name, addr string
		bound      bool
	}{
		{"stranger", "203.0.113.7", true},
		{"this machine", "127.0.0.1", false},
		{"this machine, IPv6", "::1", false},
		{"trusted proxy", "10.0.0.1", false},
		{"trusted proxy, IPv6", "fd00::1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logged
				ln := newPipes()
				serveOn(t, New(Options{Inbox: &fakeInbox{}, Proxies: ours, Log: log.logger()}), ln)
				var open []*client
				for range 64 {
					open = append(open, ln.dialFrom(t, tt.addr))
				}
				c := ln.dialFrom(t, tt.addr)
				if !tt.bound {
					c.write(emptyPost)
					wantAnswer(t, c.read("POST"), 202, receipt)
					return
				}
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("65th connection: %v, want EOF", err)
				}
				if !strings.Contains(log.String(), `msg="too many connections from one address" address=203.0.113.7/32`) {
					t.Errorf("logged %s, want whose connections are too many", log.String())
				}
				open[0].Close()
				synctest.Wait()
				c = ln.dialFrom(t, tt.addr)
				c.write(emptyPost)
				wantAnswer(t, c.read("POST"), 202, receipt)
			})
		})
	}
}

func TestRequestsOfAnAddress(t *testing.T) {
	tests := []struct {
		name, peer, forwarded string // forwarded with a %d is another client each time
		bound                 bool
	}{
		{"stranger", "203.0.113.7:1", "", true},
		{"IPv6 network", "[2001:db8::%d]:1", "", true},
		{"this machine", "127.0.0.1:1", "", false},
		{"this machine, IPv6", "[::1]:1", "", false},
		{"behind a proxy", "10.0.0.1:1", "203.0.113.7", true},
		{"behind a proxy, clients of their own", "10.0.0.1:1", "203.0.113.%d", false},
		{"proxy that says nothing", "10.0.0.1:1", "", false},
		{"forged clients", "203.0.113.7:1", "198.51.100.%d", true},
		{"forged behind a proxy", "10.0.0.1:1", "198.51.100.%d, 203.0.113.7", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logged
				s := New(Options{Inbox: &fakeInbox{}, Proxies: ours, Log: log.logger()})
				h := s.Handler()
				n := 0
				post := func() *httptest.ResponseRecorder {
					n++
					number := func(text string) string { return strings.ReplaceAll(text, "%d", fmt.Sprint(n%200)) }
					req := httptest.NewRequest("POST", "/hooks/x", nil)
					req.RemoteAddr = number(tt.peer)
					if tt.forwarded != "" {
						req.Header.Set("X-Forwarded-For", number(tt.forwarded))
					}
					rec := httptest.NewRecorder()
					h.ServeHTTP(rec, req)
					return rec
				}
				for range 200 {
					if got := post().Code; got != 202 {
						t.Fatalf("status of request %d = %d, want 202", n, got)
					}
				}
				rec := post()
				if !tt.bound {
					if rec.Code != 202 || log.String() != "" {
						t.Errorf("status of request %d = %d, logged %s, want 202", n, rec.Code, log.String())
					}
					return
				}
				if got := rec.Body.String(); rec.Code != 429 || rec.Header().Get("Retry-After") != "1" ||
					got != `{"error":"too many requests from one address","hint":"send it again later"}`+"\n" {
					t.Errorf("answer = %d %v %s, want 429, to be tried after 1 s", rec.Code, rec.Header(), got)
				}
				if s.counts.limited.Load() != 1 || !strings.Contains(log.String(), "too many requests from one address") {
					t.Errorf("%d limited, logged %s, want one", s.counts.limited.Load(), log.String())
				}
				time.Sleep(time.Second)
				taken := 0
				for range 100 {
					if post().Code == 202 {
						taken++
					}
				}
				if taken != 50 {
					t.Errorf("a second later %d of 100 are taken, want 50", taken)
				}
			})
		})
	}
}

func TestAddressesThatAreRememberedAreBounded(t *testing.T) {
	r := newRates()
	r.max = 10
	addr := func(i int) netip.Prefix { return network(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})) }
	for range rateBurst {
		r.allow(addr(0))
	}
	for i := 1; i < 10; i++ {
		r.allow(addr(i))
	}
	if r.allow(addr(0)) {
		t.Error("an address with an empty bucket may ask, want it remembered")
	}
	r.allow(addr(10))
	if r.allow(addr(0)) {
		t.Error("an address that asked just now was forgotten, want the one before it")
	}
	if len(r.of) != 10 || r.recent.Len() != 10 || r.of[addr(1)] != nil {
		t.Errorf("%d addresses remembered in a list of %d, the oldest among them: %v, want 10 without it",
			len(r.of), r.recent.Len(), r.of[addr(1)] != nil)
	}
}

func TestHealthIsNotLimited(t *testing.T) {
	h := New(Options{Inbox: &fakeInbox{}}).Handler()
	for range 300 {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
		if rec.Code != http.StatusOK {
			t.Fatalf("status = %d, want 200", rec.Code)
		}
	}
}
