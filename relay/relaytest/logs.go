package relaytest

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

const maxLog = 16 << 20 // bytes of a PUT body

// Log is the answer to a webhook: PUT /v1/logs/{id}.
type Log struct {
	ID         string
	StatusCode int
	Header     http.Header
	Body       []byte
	Status     string // "sent", "failed", …; "" if the client named none
	Raw        string // the request's body as it came
}

// serveLog records an answer. Clients take exactly 200 for success.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		http.Error(w, "invalid credentials", http.StatusUnauthorized)
		return
	}
	if status := s.refusal(r.PathValue("id")); status != 0 {
		http.Error(w, "not taken", status)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLog))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var l struct {
		ID      string                `json:"id"`
		Code    int                   `json:"status_code"`
		Body    []byte                `json:"response_body"`
		Headers map[string]headerText `json:"response_headers"`
		Status  string                `json:"status"`
	}
	if err := json.Unmarshal(data, &l); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.PathValue("id")
	if l.ID != "" && l.ID != id {
		http.Error(w, "id of body and path differ", http.StatusBadRequest)
		return
	}
	log := Log{ID: id, StatusCode: l.Code, Header: http.Header{}, Body: l.Body, Status: l.Status, Raw: string(data)}
	for name, values := range l.Headers {
		log.Header[http.CanonicalHeaderKey(name)] = values
	}
	s.change(func() { s.logs = append(s.logs, log) })
	w.WriteHeader(http.StatusOK)
}

// refusal is the status with which an answer to a webhook is refused, or 0.
func (s *Server) refusal(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refusals) > 0 {
		status := s.refusals[0]
		s.refusals = s.refusals[1:]
		return status
	}
	if s.opts.Window == 0 {
		return 0
	}
	sent, known := s.sentAt[id]
	switch {
	case !known:
		return http.StatusNotFound
	case time.Since(sent) > s.opts.Window:
		return http.StatusBadRequest
	}
	return 0
}

// authorized takes Basic with key and secret, or Bearer with the secret.
func (s *Server) authorized(r *http.Request) bool {
	s.mu.Lock()
	wantKey, wantSecret := s.key, s.secret
	s.mu.Unlock()
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(token, wantSecret)
	}
	key, secret, ok := r.BasicAuth()
	return ok && same(key, wantKey) && same(secret, wantSecret)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// headerText is a header's value: a list of strings, or one string.
type headerText []string

// UnmarshalJSON reads either form.
func (h *headerText) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*h = make(headerText, 1)
		return json.Unmarshal(data, &(*h)[0])
	}
	return json.Unmarshal(data, (*[]string)(h))
}
