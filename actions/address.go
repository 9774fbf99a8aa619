package actions

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Allowed is a host or a network that an HTTP action may reach although it is
// not on the public internet and the rule does not name it in its URL.
type Allowed struct {
	name string // lower case, without the dot at its end; "*.example" stands for all below. "": net counts
	port string // "": all
	net  netip.Prefix
}

// ParseAllowed reads a host, *.host, host:port, an address or a network in CIDR
// form. An IPv6 address with a port stands in brackets.
func ParseAllowed(text string) (Allowed, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return Allowed{}, fmt.Errorf("%q is no network such as 10.1.0.0/16", text)
		}
		return Allowed{net: p.Masked()}, nil
	}
	host, port := text, ""
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return Allowed{}, fmt.Errorf("%q has no port from 1 to 65535", text)
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return Allowed{net: netip.PrefixFrom(addr, addr.BitLen()), port: port}, nil
	}
	if name := strings.TrimPrefix(host, "*."); name == "" || strings.Trim(name, hostChars) != "" || !strings.ContainsAny(name, letters) {
		return Allowed{}, fmt.Errorf("%q is no host, *.host, host:port or network", text)
	}
	return Allowed{name: plainHost(host), port: port}, nil
}

// What a host's name may be made of. One of digits and dots alone is meant as an
// address, of which there are several spellings.
const (
	letters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	hostChars = letters + "0123456789.-_"
)

// plainHost is a name in the form in which two names are compared.
func plainHost(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// hasName reports whether the name of a host is allowed, whatever addresses it
// has.
func (a Allowed) hasName(host, port string) bool {
	if a.name == "" || a.port != "" && a.port != port {
		return false
	}
	if below, ok := strings.CutPrefix(a.name, "*"); ok {
		return strings.HasSuffix(host, below)
	}
	return host == a.name
}

func (a Allowed) hasAddress(addr netip.AddrPort) bool {
	return a.net.IsValid() && a.net.Contains(addr.Addr()) && (a.port == "" || a.port == strconv.Itoa(int(addr.Port())))
}

// private are the IPv4 networks that are not the public internet (the special
// purpose registry of IANA, RFC 6890), and the address at which Azure answers
// the machines of its customers.
var private = networks(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
)

// Of IPv6 only 2000::/3 is given to anybody. Parts of it stand for other
// addresses (Teredo, ORCHID and 6to4) or are for examples.
var (
	global        = networks("2000::/3")
	globalPrivate = networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)

func networks(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// public reports whether an address is on the public internet.
func public(a netip.Addr) bool {
	in := func(all []netip.Prefix) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if a = a.Unmap(); a.Is4() {
		return !in(private)
	}
	return a.Zone() == "" && in(global) && !in(globalPrivate)
}

// privateError is about an address that was not connected to.
type privateError struct{ address string }

func (e *privateError) Error() string {
	return fmt.Sprintf("it leads to %s, which is not on the public internet; list it in http_allow if it may be reached", e.address)
}

// guard decides at the last moment, when the name is resolved and the socket is
// about to connect: what a name was resolved to before may have changed since.
type guard struct{ allow []Allowed }

func (g guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return &privateError{strconv.Quote(address)}
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if public(addr.Addr()) || slices.ContainsFunc(g.allow, func(a Allowed) bool { return a.hasAddress(addr) }) {
		return nil
	}
	return &privateError{addr.Addr().String()}
}

// dialTimeout is that of http.DefaultTransport.
const dialTimeout = 30 * time.Second

// guardedTransport is like base but for where it connects to. It asks no proxy,
// which would connect in our place, and keeps no connection: the next call may
// be allowed less.
func (h HTTP) guardedTransport() *http.Transport {
	t := &http.Transport{}
	switch base := h.Client.Transport.(type) {
	case *http.Transport:
		t = base.Clone()
	case nil:
		if base, ok := http.DefaultTransport.(*http.Transport); ok {
			t = base.Clone()
		}
	}
	d := net.Dialer{Timeout: dialTimeout, ControlContext: guard{h.Allow}.control, Resolver: h.resolver}
	t.Proxy, t.DialContext, t.DialTLSContext = nil, d.DialContext, nil
	t.DisableKeepAlives = true
	return t
}

// route sends the requests of one call: those to the host that the rule names
// as the client would, and those to a host that somebody else chose guarded.
type route struct {
	own     *url.URL // nil: the event chose the host
	allow   []Allowed
	plain   http.RoundTripper
	guarded func() *http.Transport
}

func (h HTTP) route(c call) route {
	r := route{allow: h.Allow, plain: h.Client.Transport, guarded: h.guardedTransport}
	if r.plain == nil {
		r.plain = http.DefaultTransport
	}
	if c.own {
		r.own = c.url
	}
	return r
}

// RoundTrip implements http.RoundTripper.
func (r route) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.trusts(req.URL) {
		return r.plain.RoundTrip(req)
	}
	return r.guarded().RoundTrip(req)
}

func (r route) trusts(u *url.URL) bool {
	host, port := plainHost(u.Hostname()), portOf(u)
	if r.own != nil && host == plainHost(r.own.Hostname()) && (port == portOf(r.own) || port == "443" && portOf(r.own) == "80") {
		return true
	}
	return slices.ContainsFunc(r.allow, func(a Allowed) bool { return a.hasName(host, port) })
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}
