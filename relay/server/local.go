package server

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// isForeign reports whether a request to an intake that is for this machine
// alone comes from a website in its browser: such a page can send what it likes
// to 127.0.0.1, also under a name of its own that it makes point there. No
// sender of webhooks sets these headers.
func isForeign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site") // https://www.w3.org/TR/fetch-metadata/
	if site == "cross-site" || site == "same-site" || !isLoopback(r.Host) {
		return true
	}
	origin := r.Header.Get("Origin") // RFC 6454
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !isLoopback(u.Host)
}

// isLoopback reports whether a host, with or without a port, is this machine's
// loopback by its name.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
