package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// ours are the proxies that these tests trust.
func ours() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("::ffff:172.16.0.0/108"),
		netip.MustParsePrefix("fd00::/8"),
	}
}

func TestWhoSentIt(t *testing.T) {
	tests := []struct {
		name, peer string
		forwarded  []string // X-Forwarded-For, a line each
		remote     string
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1:1234"},
		{"forged by a stranger", "192.0.2.1:1234", []string{"10.1.1.1"}, "192.0.2.1:1234"},
		{"forged by a program of this machine", "127.0.0.1:1234", []string{"10.1.1.1"}, "127.0.0.1:1234"},
		{"behind a proxy", "10.0.0.1:1234", []string{"192.0.2.1"}, "192.0.2.1"},
		{"forged, then through a proxy", "10.0.0.1:1234", []string{"198.51.100.7, 192.0.2.1"}, "192.0.2.1"},
		{"forged as one of ours", "10.0.0.1:1234", []string{"10.9.9.9, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:1234", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"a line each", "10.0.0.1:1234", []string{"198.51.100.7", "192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"no spaces, tabs", "10.0.0.1:1234", []string{"198.51.100.7,\t192.0.2.1\t,10.0.0.2 "}, "192.0.2.1"},
		{"sent from a proxy", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"proxy that says nothing", "10.0.0.1:1234", nil, "10.0.0.1:1234"},
		{"empty", "10.0.0.1:1234", []string{""}, "10.0.0.1:1234"},
		{"garbage", "10.0.0.1:1234", []string{"192.0.2.1, unknown"}, "10.0.0.1:1234"},
		{"garbage before a proxy", "10.0.0.1:1234", []string{"192.0.2.1, _hidden, 10.0.0.2"}, "10.0.0.2"},
		{"empty before a proxy", "10.0.0.1:1234", []string{"192.0.2.1,, 10.0.0.2"}, "10.0.0.2"},
		{"name", "10.0.0.1:1234", []string{"localhost"}, "10.0.0.1:1234"},
		{"leading zeros", "10.0.0.1:1234", []string{"192.0.02.1"}, "10.0.0.1:1234"},
		{"number", "10.0.0.1:1234", []string{"3221225985"}, "10.0.0.1:1234"},
		{"with a port", "10.0.0.1:1234", []string{"192.0.2.1:80"}, "192.0.2.1:80"},
		{"IPv6", "[fd00::1]:1234", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:1234", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", "[fd00::1]:1234", []string{"[2001:db8::1]:80"}, "[2001:db8::1]:80"},
		{"IPv4 in IPv6 with a port", "10.0.0.1:1234", []string{"[::ffff:192.0.2.1]:80"}, "192.0.2.1:80"},
		{"zone in brackets", "[fd00::1]:1234", []string{"[fe80::1%evil]"}, "fe80::1"},
		{"half a bracket", "[fd00::1]:1234", []string{"[2001:db8::1"}, "[fd00::1]:1234"},
		{"IPv4 in brackets", "[fd00::1]:1234", []string{"[192.0.2.1]"}, "[fd00::1]:1234"},
		{"IPv4 in IPv6", "10.0.0.1:1234", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"proxy as IPv4 in IPv6", "[::ffff:10.0.0.1]:1234", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1"},
		{"network as IPv4 in IPv6", "172.17.0.1:1234", []string{"192.0.2.1"}, "192.0.2.1"},
		{"zone", "[fd00::1%eth0]:1234", []string{"fe80::1%evil"}, "fe80::1"},
		{"50 hops", "10.0.0.1:1234", []string{"192.0.2.1" + strings.Repeat(", 10.0.0.2", 49)}, "192.0.2.1"},
		{"51 hops", "10.0.0.1:1234", []string{"192.0.2.1" + strings.Repeat(", 10.0.0.2", 50)}, "10.0.0.2"},
		{"no address at all", "@", []string{"192.0.2.1"}, "@"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			req := httptest.NewRequest("POST", "/hooks/x", nil)
			req.RemoteAddr = tt.peer
			req.Header["X-Forwarded-For"] = tt.forwarded
			New(Options{Inbox: inbox, Proxies: ours}).Handler().ServeHTTP(httptest.NewRecorder(), req)
			if got := inbox.webhooks()[0].Remote; got != tt.remote {
				t.Errorf("remote = %s, want %s", got, tt.remote)
			}
		})
	}
}

// TestProxiesAreAskedForEachRequest: the rules that name them are loaded again
// while the intake runs.
func TestProxiesAreAskedForEachRequest(t *testing.T) {
	inbox := &fakeInbox{}
	var proxies []netip.Prefix
	h := New(Options{Inbox: inbox, Proxies: func() []netip.Prefix { return proxies }}).Handler()
	for range 2 {
		req := httptest.NewRequest("POST", "/hooks/x", nil)
		req.RemoteAddr = "10.0.0.1:1234"
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		h.ServeHTTP(httptest.NewRecorder(), req)
		proxies = ours()
	}
	if got := inbox.webhooks(); got[0].Remote != "10.0.0.1:1234" || got[1].Remote != "192.0.2.1" {
		t.Errorf("remotes = %s, %s, want the proxy first, the client once it is trusted", got[0].Remote, got[1].Remote)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("10.0.0.1:1", "192.0.2.1, 10.0.0.2", "10.0.0.3")
	f.Add("10.0.0.1:1", "[2001:db8::1]:80", "[fd00::1%eth0]")
	f.Add("192.0.2.1:1", "10.0.0.1", "")
	f.Add("[::ffff:10.0.0.1]:1", ",,", "::ffff:10.0.0.2")
	s := New(Options{Inbox: &fakeInbox{}, Proxies: ours})
	f.Fuzz(func(t *testing.T, peer, line1, line2 string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {line1, line2}}}
		got := s.sender(r)
		addr, _ := hop(peer)
		if !within(ours(), addr) && got.remote != peer {
			t.Errorf("remote = %q for %q, who is not trusted", got.remote, peer)
		}
		if got.remote != peer && !isPlain(got.remote) {
			t.Errorf("remote = %q, want an address without a zone and not IPv4 in IPv6, with or without a port", got.remote)
		}
		if a := got.network.Addr(); a.Zone() != "" || a.Is4In6() {
			t.Errorf("network = %s, want no zone and no IPv4 in IPv6", got.network)
		}
		// A stranger can only add on the left.
		r.Header["X-Forwarded-For"][0] = "203.0.113.9, 10.7.7.7, " + line1
		if more := s.sender(r); got.network.IsValid() && more != got {
			t.Errorf("sender = %+v, and %+v with more hops on the left", got, more)
		}
	})
}

// isPlain reports whether text is an address, with or without a port, that is
// written in one way only.
func isPlain(text string) bool {
	a, err := netip.ParseAddr(text)
	if ap, e := netip.ParseAddrPort(text); e == nil {
		a, err = ap.Addr(), nil
	}
	return err == nil && a.Zone() == "" && !a.Is4In6()
}
