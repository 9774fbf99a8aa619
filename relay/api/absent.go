package api

import "net/http"

// absent are the routes to what clients of Webhook Relay may ask for and this
// relay does not have. Lists are empty, so that whoever looks for something finds
// nothing, and to make something is refused with the reason.
func absent() []route {
	var routes []route
	for _, path := range []string{
		"functions", "functions/{}/config", "functions/{}/logs", "service-connections",
		"buckets/{}/service-connection-inputs", "buckets/{}/service-connection-outputs",
		"tunnels", "regions", "domains", "managed-certs", "crons",
	} {
		routes = append(routes, route{method: http.MethodGet, path: path, status: http.StatusOK, do: emptyList})
	}
	for _, path := range []string{"logs-stats", "logs/histogram"} {
		routes = append(routes, route{method: http.MethodGet, path: path, status: http.StatusOK, do: emptyData})
	}
	for _, path := range []string{
		"functions", "functions/{}/invoke", "functions-generate", "service-connections",
		"buckets/{}/service-connection-inputs", "buckets/{}/service-connection-outputs",
		"tunnels", "domains", "managed-certs", "crons",
	} {
		routes = append(routes, route{method: http.MethodPost, path: path, do: notHere})
	}
	routes = append(routes, route{method: http.MethodPut, path: "functions/{}/config", do: notHere})
	for _, path := range []string{
		"functions/{}", "service-connections/{}", "tunnels/{}", "domains/{}", "managed-certs/{}", "crons/{}",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			routes = append(routes, route{method: method, path: path, do: noSuch})
		}
	}
	return routes
}

func emptyList(*request) (any, error) { return []struct{}{}, nil }

func emptyData(*request) (any, error) {
	return struct {
		Data []struct{} `json:"data"`
	}{[]struct{}{}}, nil
}

func notHere(*request) (any, error) {
	return nil, refuse(http.StatusNotImplemented, "functions, tunnels, domains, crons and service connections are not available in this relay")
}

func noSuch(*request) (any, error) { return nil, refuse(http.StatusNotFound, "not found") }

// showUsage counts what is set up.
func (s *Server) showUsage(q *request) (any, error) {
	v := struct {
		Buckets int `json:"buckets"`
		Inputs  int `json:"inputs"`
		Outputs int `json:"outputs"`
	}{}
	a := s.book.Now()
	for i := range a.Buckets {
		if b := &a.Buckets[i]; q.token.Sees(b) {
			v.Buckets++
			v.Inputs += len(b.Inputs)
			v.Outputs += len(b.Outputs)
		}
	}
	return v, nil
}

func (s *Server) showConfig(*request) (any, error) {
	return struct {
		SelfHosted bool `json:"self_hosted"`
	}{true}, nil
}

// userView is who asks. There are no people here, only tokens.
type userView struct {
	Status string `json:"status"`
	Data   struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		Email    string `json:"email"`
		AuthType string `json:"auth_type"`
		PlanID   string `json:"plan_id"`
		Role     string `json:"role"`
	} `json:"data"`
}

func (s *Server) showUser(q *request) (any, error) {
	v := userView{Status: "success"}
	v.Data.ID = s.book.Now().ID
	v.Data.Username = q.token.ID
	v.Data.AuthType = "token"
	v.Data.PlanID = "self-hosted"
	v.Data.Role = "owner"
	if isScoped(q.token) {
		v.Data.Role = "member"
	}
	return v, nil
}
