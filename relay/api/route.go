package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxPath bounds the parts of a path that are looked at.
const maxPath = 16

// anyName stands for a name or id in the path of a route.
const anyName = "{}"

// route is one thing that can be asked for.
type route struct {
	method string
	path   string   // behind /v1/; anyName stands for a name or id
	parts  []string // of path
	status int      // of the answer where it works
	do     func(*request) (any, error)
	open   bool // also for tokens without API access
}

func (s *Server) table() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	const ok, created = http.StatusOK, http.StatusCreated
	routes := []route{
		{method: get, path: "buckets", status: ok, do: s.listBuckets},
		{method: post, path: "buckets", status: created, do: s.createBucket},
		{method: get, path: "buckets/{}", status: ok, do: s.showBucket},
		{method: put, path: "buckets/{}", status: ok, do: s.updateBucket},
		{method: del, path: "buckets/{}", status: ok, do: s.deleteBucket},

		{method: post, path: "buckets/{}/inputs", status: created, do: s.createInput},
		{method: put, path: "buckets/{}/inputs/{}", status: ok, do: s.updateInput},
		{method: del, path: "buckets/{}/inputs/{}", status: ok, do: s.deleteInput},

		{method: post, path: "buckets/{}/outputs", status: created, do: s.createOutput},
		{method: put, path: "buckets/{}/outputs/{}", status: ok, do: s.updateOutput},
		{method: del, path: "buckets/{}/outputs/{}", status: ok, do: s.deleteOutput},
		{method: put, path: "buckets/{}/outputs/{}/rules", status: ok, do: s.setRules},
		{method: del, path: "buckets/{}/outputs/{}/rules", status: ok, do: s.clearRules},

		{method: get, path: "logs", status: ok, do: s.listLogs},
		{method: get, path: "logs/{}", status: ok, do: s.showLog},
		{method: put, path: "logs/{}", status: ok, do: s.answerWebhook, open: true}, // clients take exactly 200 for success
		{method: post, path: "logs/{}/action", status: ok, do: s.actOnLog},
		{method: get, path: "events", status: ok, do: s.pullEvents},

		{method: get, path: "tokens", status: ok, do: s.listTokens},
		{method: post, path: "tokens", status: created, do: s.createToken},
		{method: put, path: "tokens/{}", status: ok, do: s.updateToken},
		{method: del, path: "tokens/{}", status: ok, do: s.deleteToken},

		{method: get, path: "connected-clients", status: ok, do: s.listClients},
		{method: del, path: "connected-clients/{}", status: ok, do: s.forgetClient},
		{method: get, path: "usage", status: ok, do: s.showUsage},
		{method: get, path: "config", status: ok, do: s.showConfig},
		{method: get, path: "user/info", status: ok, do: s.showUser},
	}
	routes = append(absent(), routes...) // logs/histogram before logs/{}
	for i := range routes {
		routes[i].parts = strings.Split(routes[i].path, "/")
	}
	return routes
}

// find sets the route of a request, and its args. It works on the path as it
// was sent: a name may contain a slash that is escaped.
func (s *Server) find(q *request) error {
	parts, ok := split(q.URL.EscapedPath())
	if !ok {
		return nowhere()
	}
	var allowed []string
	for i := range s.routes {
		r := &s.routes[i]
		args, ok := r.match(parts)
		if !ok {
			continue
		}
		if r.method == q.Method {
			q.route, q.args = r, args
			return nil
		}
		allowed = append(allowed, r.method)
	}
	if allowed == nil {
		return nowhere()
	}
	slices.Sort(allowed)
	list := strings.Join(slices.Compact(allowed), ", ")
	return refuse(http.StatusMethodNotAllowed, "this address answers %s", list).with("Allow", list)
}

func nowhere() error { return refuse(http.StatusNotFound, "there is nothing at this address") }

// split returns the decoded parts of an escaped path behind /v1/.
func split(escaped string) (parts []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/v1/")
	if !ok {
		return nil, false
	}
	parts = strings.SplitN(strings.TrimSuffix(rest, "/"), "/", maxPath)
	for i, part := range parts {
		name, err := url.PathUnescape(part)
		if err != nil || name == "" {
			return nil, false
		}
		parts[i] = name
	}
	return parts, true
}

// match reports whether a path is one of the route's, and what its {} are.
func (r *route) match(parts []string) (args []string, ok bool) {
	if len(parts) != len(r.parts) {
		return nil, false
	}
	for i, part := range parts {
		switch r.parts[i] {
		case anyName:
			args = append(args, part)
		case part:
		default:
			return nil, false
		}
	}
	return args, true
}
