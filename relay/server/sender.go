package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how far back a request is followed through proxies.
const maxHops = 50

// sender is who sent a request, as far as can be told.
type sender struct {
	remote string // host:port of the connection, or what a trusted proxy says, with or without a port

	// network is whom the bounds on one address hold for. It is zero where all who
	// come through a proxy, or all programs of this machine, look the same.
	network netip.Prefix
}

// sender finds out who sent r.
func (s *Server) sender(r *http.Request) sender {
	proxies := s.proxies()
	remote := r.RemoteAddr
	addr, _ := hop(remote)
	if within(proxies, addr) {
		if text, client, ok := forwarded(r.Header.Values("X-Forwarded-For"), proxies); ok {
			remote, addr = text, client
		}
	}
	if !bound(proxies, addr) {
		return sender{remote: remote}
	}
	return sender{remote, network(addr)}
}

// bound reports whether the bounds on one address hold for a.
func bound(proxies []netip.Prefix, a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !within(proxies, a)
}

// forwarded returns the rightmost hop of X-Forwarded-For that is no proxy of
// ours, as plain text: what stands left of it was written by a stranger. Where a
// hop is no address, the one before it on the way here is returned, and ok is
// false where there is none.
func forwarded(lines []string, proxies []netip.Prefix) (text string, addr netip.Addr, ok bool) {
	rest := strings.Join(lines, ",")
	for range maxHops {
		i := strings.LastIndexByte(rest, ',')
		last := strings.TrimSpace(rest[i+1:])
		a, valid := hop(last)
		if !valid {
			return text, addr, ok
		}
		text, addr, ok = plain(last, a), a, true
		if i < 0 || !within(proxies, a) {
			return text, addr, ok
		}
		rest = rest[:i]
	}
	return text, addr, ok
}

// hop reads an address that may have a port or brackets: 192.0.2.1,
// 192.0.2.1:80, 2001:db8::1, [2001:db8::1] and [2001:db8::1]:80. A zone is
// another machine's word for its network card, and left out.
func hop(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text += ":0"
	}
	ap, err := netip.ParseAddrPort(text)
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// plain writes a hop, whose address is a, so that every reader of addresses can
// read it: some proxies put brackets around one that has no port.
func plain(text string, a netip.Addr) string {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(a, ap.Port()).String()
	}
	return a.String()
}

// within reports whether an address without a zone is in one of the prefixes.
func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Contains(a)
	})
}

// network is whom a bound holds for: an IPv4 address, or the network of an IPv6
// address, which has more of them than could be counted.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails for more bits than there are
	return p
}

// Address is who sent a request: the other end of the connection, or whom a
// trusted proxy names. It is zero where that is no address.
func (s *Server) Address(r *http.Request) netip.Addr {
	a, _ := hop(s.sender(r).remote)
	return a
}

// Secure reports whether a trusted proxy says that it was asked over TLS.
func (s *Server) Secure(r *http.Request) bool {
	a, _ := hop(r.RemoteAddr)
	return within(s.proxies(), a) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
