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
		client     string // "": unknown
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1:1234", "192.0.2.1"},
		{"forged by a stranger", "192.0.2.1:1234", []string{"10.1.1.1"}, "192.0.2.1:1234", "192.0.2.1"},
		{"forged by a program of this machine", "127.0.0.1:1234", []string{"10.1.1.1"}, "127.0.0.1:1234", "127.0.0.1"},
		{"behind a proxy", "10.0.0.1:1234", []string{"192.0.2.1"}, "192.0.2.1", "192.0.2.1"},
		{"forged, then through a proxy", "10.0.0.1:1234", []string{"198.51.100.7, 192.0.2.1"}, "192.0.2.1", "192.0.2.1"},
		{"forged as one of ours", "10.0.0.1:1234", []string{"10.9.9.9, 192.0.2.1"}, "192.0.2.1", "192.0.2.1"},
		{"two proxies", "10.0.0.1:1234", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1", "192.0.2.1"},
		{"a line each", "10.0.0.1:1234", []string{"198.51.100.7", "192.0.2.1", "10.0.0.2"}, "192.0.2.1", "192.0.2.1"},
		{"no spaces, tabs", "10.0.0.1:1234", []string{"198.51.100.7,\t192.0.2.1\t,10.0.0.2 "}, "192.0.2.1", "192.0.2.1"},
		{"sent from a proxy", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3", "10.0.0.3"},
		{"proxy that says nothing", "10.0.0.1:1234", nil, "10.0.0.1:1234", "10.0.0.1"},
		{"empty", "10.0.0.1:1234", []string{""}, "10.0.0.1:1234", "10.0.0.1"},
		{"garbage", "10.0.0.1:1234", []string{"192.0.2.1, unknown"}, "10.0.0.1:1234", "10.0.0.1"},
		{"garbage before a proxy", "10.0.0.1:1234", []string{"192.0.2.1, _hidden, 10.0.0.2"}, "10.0.0.2", "10.0.0.2"},
		{"empty before a proxy", "10.0.0.1:1234", []string{"192.0.2.1,, 10.0.0.2"}, "10.0.0.2", "10.0.0.2"},
		{"name", "10.0.0.1:1234", []string{"localhost"}, "10.0.0.1:1234", "10.0.0.1"},
		{"leading zeros", "10.0.0.1:1234", []string{"192.0.02.1"}, "10.0.0.1:1234", "10.0.0.1"},
		{"number", "10.0.0.1:1234", []string{"3221225985"}, "10.0.0.1:1234", "10.0.0.1"},
		{"with a port", "10.0.0.1:1234", []string{"192.0.2.1:80"}, "192.0.2.1:80", "192.0.2.1"},
		{"IPv6", "[fd00::1]:1234", []string{"2001:db8::1"}, "2001:db8::1", "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:1234", []string{"[2001:db8::1]"}, "[2001:db8::1]", "2001:db8::1"},
		{"IPv6 with a port", "[fd00::1]:1234", []string{"[2001:db8::1]:80"}, "[2001:db8::1]:80", "2001:db8::1"},
		{"half a bracket", "[fd00::1]:1234", []string{"[2001:db8::1"}, "[fd00::1]:1234", "fd00::1"},
		{"IPv4 in brackets", "[fd00::1]:1234", []string{"[192.0.2.1]"}, "[fd00::1]:1234", "fd00::1"},
		{"IPv4 in IPv6", "10.0.0.1:1234", []string{"::ffff:192.0.2.1"}, "::ffff:192.0.2.1", "192.0.2.1"},
		{"proxy as IPv4 in IPv6", "[::ffff:10.0.0.1]:1234", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1", "192.0.2.1"},
		{"network as IPv4 in IPv6", "172.17.0.1:1234", []string{"192.0.2.1"}, "192.0.2.1", "192.0.2.1"},
		{"zone", "[fd00::1%eth0]:1234", []string{"fe80::1%evil"}, "fe80::1%evil", "fe80::1"},
		{"50 hops", "10.0.0.1:1234", []string{"192.0.2.1" + strings.Repeat(", 10.0.0.2", 49)}, "192.0.2.1", "192.0.2.1"},
		{"51 hops", "10.0.0.1:1234", []string{"192.0.2.1" + strings.Repeat(", 10.0.0.2", 50)}, "10.0.0.2", "10.0.0.2"},
		{"no address at all", "@", []string{"192.0.2.1"}, "@", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			req := httptest.NewRequest("POST", "/hooks/x", nil)
			req.RemoteAddr = tt.peer
			req.Header["X-Forwarded-For"] = tt.forwarded
			New(Options{Inbox: inbox, Proxies: ours}).Handler().ServeHTTP(httptest.NewRecorder(), req)
			var client netip.Addr
			if tt.client != "" {
				client = netip.MustParseAddr(tt.client)
			}
			w := inbox.webhooks()[0]
			if w.Remote != tt.remote || w.Client != client || w.Peer != tt.peer {
				t.Errorf("remote, client, peer = %s, %s, %s, want %s, %s, %s", w.Remote, w.Client, w.Peer, tt.remote, client, tt.peer)
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

func TestURLThatTheSenderCalled(t *testing.T) {
	tests := []struct {
		name, target, peer string
		header             http.Header
		want               string
	}{
		{"plain", "/hooks/x/a%2Fb?q=%20&r", "192.0.2.1:1", nil, "http://example.com/hooks/x/a%2Fb?q=%20&r"},
		{"TLS", "https://h.example:8443/hooks/x", "192.0.2.1:1", nil, "https://h.example:8443/hooks/x"},
		{"TLS before a proxy", "/hooks/x", "10.0.0.1:1", http.Header{"X-Forwarded-Proto": {"https"}}, "https://example.com/hooks/x"},
		{"other host before a proxy", "/hooks/x", "10.0.0.1:1",
			http.Header{"X-Forwarded-Proto": {"HTTPS, http"}, "X-Forwarded-Host": {"h.example:8443, inner"}}, "https://h.example:8443/hooks/x"},
		{"strange scheme", "/hooks/x", "10.0.0.1:1", http.Header{"X-Forwarded-Proto": {"gopher"}}, "http://example.com/hooks/x"},
		{"forged", "/hooks/x", "192.0.2.1:1",
			http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"h.example"}}, "http://example.com/hooks/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inbox := &fakeInbox{}
			req := httptest.NewRequest("POST", tt.target, nil)
			req.RemoteAddr = tt.peer
			req.Header = tt.header
			New(Options{Inbox: inbox, Proxies: ours}).Handler().ServeHTTP(httptest.NewRecorder(), req)
			if got := inbox.webhooks()[0].URL; got != tt.want {
				t.Errorf("URL = %s, want %s", got, tt.want)
			}
		})
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
		if got.addr.Zone() != "" || got.addr.Is4In6() {
			t.Errorf("address = %s, want no zone and no IPv4 in IPv6", got.addr)
		}
		if !got.proxied && got.remote != peer {
			t.Errorf("remote = %q for %q, who is not trusted", got.remote, peer)
		}
		// A stranger can only add on the left.
		r.Header["X-Forwarded-For"][0] = "203.0.113.9, 10.7.7.7, " + line1
		if more := s.sender(r); got.addr.IsValid() && !within(ours(), got.addr) && more != got {
			t.Errorf("sender = %+v, and %+v with more hops on the left", got, more)
		}
	})
}
