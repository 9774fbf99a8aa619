package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"hookrun/engine/control"
)

// policy is the Content-Security-Policy of every answer: scripts and styles are
// files of ours, or there are none.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// guard keeps other sites out that a browser has open: one whose name was made to
// lead here (DNS rebinding), and one that has the browser ask us in its stead.
type guard struct {
	hosts  []string // lower case, without a port
	token  bool     // a token is asked for: an address can be any of ours
	unsafe *http.CrossOriginProtection
}

func newGuard(hosts []string, token bool) *guard {
	g := &guard{token: token, unsafe: http.NewCrossOriginProtection()}
	for _, h := range hosts {
		g.hosts = append(g.hosts, hostName(h))
	}
	g.unsafe.SetDenyHandler(http.HandlerFunc(refuseForeign))
	return g
}

// protect lets through what may come in, with the header that every answer has.
func (g *guard) protect(next http.Handler) http.Handler {
	next = g.unsafe.Handler(next) // what is not GET, HEAD or OPTIONS
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		switch {
		case !g.knows(r.Host):
			http.Error(w, "this hookrun is not reached by that name\nhint: admin: {hosts: [NAME]} in the rules file lets it be", http.StatusMisdirectedRequest)
		case isRead(r) && foreign(r) && !(isNavigation(r) && isPage(r.URL.Path)):
			refuseForeign(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuseForeign(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "another site asked for this: it is refused", http.StatusForbidden)
}

// opened lets nobody in while the dashboard is closed.
func (s *Server) opened(next http.Handler) http.Handler {
	if s.o.Closed == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		why := s.o.Closed()
		switch {
		case why == "" || strings.HasPrefix(r.URL.Path, "/assets/"):
			next.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			tellProgram(w, &control.Error{Status: http.StatusForbidden, Msg: "the dashboard is closed: " + why, Hint: closedHint})
		default:
			http.Error(w, "the dashboard is closed: "+why+"\nhint: "+closedHint, http.StatusForbidden)
		}
	})
}

const closedHint = `say admin: {token: "${env:ADMIN_TOKEN}"} in the rules file and start hookrun again; the command line works all the same`

// secure sets what every answer says to the browser.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Nothing is told to other sites. With no-referrer a browser would also say
	// "Origin: null" of our own forms, and over plain HTTP that is all there is to
	// tell them from those of others.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// knows reports whether a Host header names us. One that is an address can't have
// been made to lead here; beyond loopback we have more of them than can be told.
func (g *guard) knows(host string) bool {
	name := hostName(host)
	if name == "localhost" || slices.Contains(g.hosts, name) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && (addr.Unmap().IsLoopback() || g.token)
}

// hostName is a Host header without its port, its brackets and its last dot.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isRead(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// foreign reports whether the browser says that another site asks. What is no
// browser says nothing.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none": // none: a person typed it
		return false
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return false
		}
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	return true
}

// isNavigation reports whether a person follows a link, in a window of its own.
func isNavigation(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// isPage reports whether something is for people to look at.
func isPage(path string) bool {
	if strings.HasSuffix(path, "/body") {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains([]string{"", "login", "events", "rejected", "runs", "rules", "status"}, first)
}
