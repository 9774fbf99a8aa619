package relaytest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
)

const (
	inputName = "Default public endpoint"
	maxBody   = 64 << 20 // of a webhook, in bytes
)

func inputID(bucket string) string { return BucketID("input of " + bucket) }

// apiBucket is a bucket as the relay's API lists it.
type apiBucket struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Auth   map[string]string `json:"auth"`
	Inputs []apiInput        `json:"inputs"`
}

type apiInput struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// serveBuckets lists the buckets that anybody subscribed to by name.
func (s *Server) serveBuckets(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		http.Error(w, "invalid credentials", http.StatusUnauthorized)
		return
	}
	buckets := []apiBucket{}
	for _, name := range s.buckets() {
		buckets = append(buckets, apiBucket{
			ID: BucketID(name), Name: name, Auth: map[string]string{"type": "none"}, Inputs: []apiInput{{inputID(name), inputName}},
		})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(buckets) // the client tells
}

func (s *Server) buckets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, f := range s.frames {
		names = append(names, f.Buckets...)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// serveWebhook takes a webhook. As at the hosted service, whoever sends one
// learns neither whether there is such an input, nor whether anybody listens.
func (s *Server) serveWebhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	refused, swallowed := s.deaf, s.swallow
	s.mu.Unlock()
	if refused != 0 {
		w.WriteHeader(refused)
		return
	}
	for _, bucket := range s.buckets() {
		if inputID(bucket) == r.PathValue("id") && !swallowed {
			_, _ = s.Send(bucket, Webhook{Method: r.Method, Query: r.URL.RawQuery, Header: r.Header, Body: body})
		}
	}
}

// RefuseWebhooks has webhooks that are sent over HTTP refused with this status;
// 0: they are taken again.
func (s *Server) RefuseWebhooks(status int) { s.change(func() { s.deaf = status }) }

// SwallowWebhooks has webhooks that are sent over HTTP taken, and sent to nobody.
func (s *Server) SwallowWebhooks(swallow bool) { s.change(func() { s.swallow = swallow }) }
