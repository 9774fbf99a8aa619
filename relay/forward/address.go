package forward

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Bounds of connections.
const (
	dialTimeout  = 15 * time.Second
	tlsTimeout   = 15 * time.Second
	idleTimeout  = 30 * time.Second
	maxIdleConns = 128
	maxHeadBytes = 256 << 10 // of an answer
)

// notPublic is of an address that was not connected to.
type notPublic struct{ address string }

func (e *notPublic) Error() string {
	return fmt.Sprintf("the destination leads to %s, which is not on the public internet; list its network in forward_allow if it may be reached", e.address)
}

// transport makes requests to public addresses and to those that are allowed.
// It asks no proxy, which would connect in its place.
func transport(allow func() []netip.Prefix, verify bool) *http.Transport {
	d := net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return check(address, allow)
	}}
	return &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: !verify}, // an output's tls_verification
		TLSHandshakeTimeout:    tlsTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the answer is passed on as it is
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxLine,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeadBytes,
	}
}

// check decides on the address that a socket is about to connect to: what a name
// was resolved to before may have changed since.
func check(address string, allow func() []netip.Prefix) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &notPublic{strconv.Quote(address)}
	}
	addr := to.Addr().Unmap()
	if isPublic(addr) {
		return nil
	}
	if allow != nil && slices.ContainsFunc(allow(), func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) }) {
		return nil
	}
	return &notPublic{addr.String()}
}

// isPublic reports whether an address is one of the public internet. Of IPv6 that
// is 2000::/3 alone, without what stands for IPv4 addresses in it.
func isPublic(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	in := func(networks ...string) bool {
		return slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(a) })
	}
	if a.Is4() {
		return !in(
			"0.0.0.0/8", "240.0.0.0/4", // this network; reserved, and broadcast
			"100.64.0.0/10",                  // behind a provider's NAT; some clouds' metadata
			"192.0.0.0/24", "192.88.99.0/24", // protocols of the IETF; the old 6to4
			"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // examples
			"198.18.0.0/15",    // measuring
			"168.63.129.16/32", // where Azure answers the machines of its customers
		)
	}
	return in("2000::/3") && !in("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
}
