package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"hookrun/relay/metrics"
	"hookrun/relay/server"
)

// route says which part answers a request.
func (r *relaying) route(q *http.Request) server.Target {
	if t, ok := r.hub.Route(q); ok {
		return t
	}
	switch path := q.URL.Path; {
	case path == "/v1/socket":
		return server.Target{Handler: http.HandlerFunc(r.hub.ServeSocket)}
	case path == "/readyz":
		return server.Target{Handler: http.HandlerFunc(r.ready)}
	case path == "/metrics":
		return server.Target{Handler: r.metrics}
	case strings.HasPrefix(path, "/v1/"):
		return server.Target{Handler: r.api}
	}
	return server.Target{}
}

// scrape answers Prometheus, and nobody who may not see all buckets.
func (r *relaying) scrape() http.Handler {
	return r.api.Protect(metrics.Handler(metrics.Options{
		Book: r.book.Now, Stats: r.hub.Stats, Log: r.log, TurnedAway: r.turnedAway,
		Kept: func(ctx context.Context) (metrics.Kept, error) {
			n, err := r.store.Sizes(ctx)
			return metrics.Kept{Deliveries: n.Deliveries, Bytes: n.Bytes}, err
		},
	}))
}

// turnedAway counts the requests that were not taken as webhooks.
func (r *relaying) turnedAway() map[string]int64 {
	all := r.intake.TurnedAway()
	all["unknown"] += r.hub.UnknownInputs()
	return all
}

// health is for everybody who reaches the relay: the log says more.
func (r *relaying) health() server.Health {
	if r.store.Health() != nil {
		return server.Health{Reason: "the store takes no webhooks now; the relay's log says why"}
	}
	return server.Health{OK: true}
}

// ready answers whether webhooks get in and out.
func (r *relaying) ready(w http.ResponseWriter, _ *http.Request) {
	h := r.health()
	if h.OK && r.secure != nil && r.secure.missing() {
		h = server.Health{Reason: "there is no certificate yet; the relay's log says why"}
	}
	w.Header().Set("Content-Type", "application/json")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "{\"ok\":%t,\"reason\":%q}\n", h.OK, h.Reason)
}

// own reports whether a host name is the relay's own, as far as it can know.
func (r *relaying) own(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	u, err := url.Parse(r.file.Load().PublicURL)
	return err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), host)
}

// publicURL is what URLs begin with: what the file says, else what the request
// was sent to.
func (r *relaying) publicURL(q *http.Request) string {
	if public := r.file.Load().PublicURL; public != "" {
		return public
	}
	scheme := "http"
	if r.secure != nil || q != nil && r.intake.Secure(q) {
		scheme = "https"
	}
	if q != nil && q.Host != "" {
		return scheme + "://" + q.Host
	}
	return scheme + "://" + reachable(r.socket.Addr())
}

// reachable is an address of this machine that programs on it can connect to.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
