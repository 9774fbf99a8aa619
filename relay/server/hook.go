package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// How long a sender is asked to wait before it tries again, in seconds.
const (
	retryBusy        = "5"  // a queue drains
	retryUnavailable = "30" // a disk has to be freed
)

// reply is the answer to one request.
type reply struct {
	status int
	header map[string]string // besides those that every answer has
	body   any               // sent as JSON
}

// refusal is the body of a reply that is not a 2xx. It tells a stranger
// nothing that the request did not say.
type refusal struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func refuse(status int, what, hint string) reply {
	return reply{status: status, body: refusal{what, hint}}
}

func (p reply) with(name, value string) reply {
	p.header = map[string]string{name: value}
	return p
}

// handle answers a request. Deliveries end with life, not with the request: a
// webhook that came whole is kept although its sender hung up.
func (s *Server) handle(life context.Context, w http.ResponseWriter, r *http.Request) {
	defer s.survive(w, r)
	path := r.URL.EscapedPath()
	if path == "/healthz" {
		s.send(w, s.healthz(r.Method))
		return
	}
	p := s.route(life, w, r, path)
	s.counts.add(p.status)
	s.send(w, p)
}

// survive answers for a handler that panicked. Nothing was sent by then: send
// is the last thing that a handler does.
func (s *Server) survive(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	s.log.Error("panic while taking a webhook", "method", r.Method, "remote", r.RemoteAddr,
		"err", fmt.Sprint(v), "stack", string(debug.Stack()))
	s.counts.add(http.StatusInternalServerError)
	s.send(w, refuse(http.StatusInternalServerError, "the webhook could not be taken", "the log of hookrun says why"))
}

func (s *Server) send(w http.ResponseWriter, p reply) {
	h := w.Header()
	for name, value := range p.header {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	// A sender that hung up can't be told anything: the error has no reader.
	_ = json.NewEncoder(w).Encode(p.body)
}

// route works on the path as it was sent, not on a cleaned one: the sender's
// slashes and dots are data for a rule, and none of them leads out of a bucket.
func (s *Server) route(life context.Context, w http.ResponseWriter, r *http.Request, path string) reply {
	if fields(r.Header) > maxHeaderFields {
		return refuse(http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("more than %d header fields", maxHeaderFields), "").with("Connection", "close")
	}
	if s.local && isForeign(r) {
		s.log.Debug("refused what is not from this machine", "host", r.Host, "remote", r.RemoteAddr)
		return refuse(http.StatusForbidden, "this intake answers to localhost alone, and to no website",
			"for a tunnel or a proxy start hookrun with -listen 127.0.0.1:8080")
	}
	bucket, rest, ok := hookPath(path)
	if !ok {
		return refuse(http.StatusNotFound, "there is nothing at this address", "webhooks go to /hooks/BUCKET")
	}
	return s.take(life, w, r, bucket, rest)
}

func (s *Server) healthz(method string) reply {
	if method != http.MethodGet && method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, "/healthz answers GET only", "webhooks go to /hooks/BUCKET").
			with("Allow", "GET, HEAD")
	}
	h := s.health()
	if !h.OK {
		return reply{status: http.StatusServiceUnavailable, body: h}
	}
	return reply{status: http.StatusOK, body: h}
}

// hookPath splits the escaped path of a webhook into the bucket, decoded, and
// what follows it, as it came.
func hookPath(escaped string) (bucket, rest string, ok bool) {
	after, ok := strings.CutPrefix(escaped, "/hooks/")
	if !ok {
		after, ok = strings.CutPrefix(escaped, "/v1/webhooks/")
	}
	name, rest, _ := strings.Cut(after, "/")
	bucket, err := url.PathUnescape(name)
	return bucket, "/" + rest, ok && err == nil && bucket != ""
}

// take reads a webhook and delivers it.
func (s *Server) take(life context.Context, w http.ResponseWriter, r *http.Request, bucket, path string) reply {
	if !s.inbox.Known(bucket) {
		s.strangers.note(s.log, bucket, r.RemoteAddr)
		return refuse(http.StatusNotFound, fmt.Sprintf("nothing here takes webhooks for bucket %q", bucket),
			"compare the name in the URL with the buckets that the rules name")
	}
	if compressed(r.Header) {
		return refuse(http.StatusUnsupportedMediaType, "compressed bodies are not taken",
			"send the body without Content-Encoding").with("Accept-Encoding", "identity")
	}
	body, release, err := s.read(w, r)
	defer release()
	if err != nil {
		return s.unread(err)
	}
	hook := Webhook{
		Bucket:   bucket,
		Method:   strings.ToUpper(r.Method),
		Path:     path,
		Query:    r.URL.RawQuery,
		Remote:   r.RemoteAddr,
		Header:   r.Header,
		Body:     body,
		Received: time.Now().UTC(),
	}
	ctx, cancel := context.WithTimeout(life, deliverTimeout)
	defer cancel()
	receipt, err := s.inbox.Deliver(ctx, hook)
	if err != nil {
		return s.undelivered(hook, err)
	}
	s.refusals.taken(s.log)
	return delivered(receipt)
}

func delivered(receipt Receipt) reply {
	if receipt.Runs == nil {
		receipt.Runs = []Started{} // a list in JSON, also where it is empty
	}
	if receipt.Duplicate {
		return reply{status: http.StatusOK, body: receipt}
	}
	return reply{status: http.StatusAccepted, body: receipt}
}

// undelivered answers for a webhook that the inbox did not take. The error may
// name files and folders of this machine, so it goes to the log alone. Of
// turning away the log has the begin and the end: why, the inbox says once.
func (s *Server) undelivered(hook Webhook, err error) reply {
	switch {
	case errors.Is(err, ErrBusy):
		s.refusals.note(s.log, ErrBusy)
		return refuse(http.StatusServiceUnavailable, ErrBusy.Error(), "send it again later").
			with("Retry-After", retryBusy)
	case errors.Is(err, ErrUnavailable):
		s.refusals.note(s.log, ErrUnavailable)
		return refuse(http.StatusServiceUnavailable, ErrUnavailable.Error(), "send it again later").
			with("Retry-After", retryUnavailable)
	}
	s.log.Error("webhook not taken", "bucket", hook.Bucket, "remote", hook.Remote, "size", len(hook.Body), "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return refuse(http.StatusServiceUnavailable, ErrUnavailable.Error(), "send it again later").
			with("Retry-After", retryUnavailable)
	}
	return refuse(http.StatusInternalServerError, "the webhook could not be taken", "the log of hookrun says why")
}

func fields(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// compressed reports whether the body is coded in a way that would have to be
// undone before a rule could read it.
func compressed(h http.Header) bool {
	for _, value := range h.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			coding = strings.TrimSpace(coding)
			if coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}
