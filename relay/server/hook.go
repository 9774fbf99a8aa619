package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// How long a sender is asked to wait before it tries again, in seconds.
const (
	retryLimited     = "1"  // an address waits for its turn
	retryBusy        = "5"  // a queue drains
	retryUnavailable = "30" // a disk has to be freed
)

// reply is the answer to one request.
type reply struct {
	status int
	header http.Header // besides what every answer has
	body   any         // sent as JSON
	custom *Custom     // not nil: sent in place of all that, if it can be
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
	p.header = http.Header{name: {value}}
	return p
}

// handle answers a request. Deliveries end with l, not with the request: a
// webhook that came whole is kept although its sender hung up.
func (s *Server) handle(l life, w http.ResponseWriter, r *http.Request) {
	defer s.survive(w, r)
	path := r.URL.EscapedPath()
	if path == "/healthz" {
		s.send(w, s.healthz(r.Method))
		return
	}
	t := s.route(r)
	if t.Handler != nil {
		t.Handler.ServeHTTP(w, r)
		return
	}
	p := s.admit(l, w, r, t)
	s.counts.add(p.status)
	if p.custom != nil && s.sendCustom(l.wait, w, r, p.custom) {
		return
	}
	s.send(w, p)
}

// survive answers for a handler that panicked. Nothing was sent by then: to send
// is the last thing that a handler does, and a stream is cut.
func (s *Server) survive(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.log.Error("panic while taking a webhook", "method", r.Method, "remote", r.RemoteAddr,
		"err", fmt.Sprint(v), "stack", string(debug.Stack()))
	s.counts.add(http.StatusInternalServerError)
	s.send(w, refuse(http.StatusInternalServerError, "the webhook could not be taken", "the log of hookrun says why"))
}

func (s *Server) send(w http.ResponseWriter, p reply) {
	h := w.Header()
	for name, values := range p.header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	// A sender that hung up can't be told anything: the error has no reader.
	_ = json.NewEncoder(w).Encode(p.body)
}

// hookTarget works on the path as it was sent, not on a cleaned one: the sender's
// slashes and dots are data for a rule, and none of them leads out of a bucket.
func hookTarget(r *http.Request) Target {
	bucket, rest, ok := hookPath(r.URL.EscapedPath())
	if !ok {
		return Target{}
	}
	return Target{Bucket: bucket, Path: rest}
}

// admit takes a webhook from whoever may send one now.
func (s *Server) admit(l life, w http.ResponseWriter, r *http.Request, t Target) reply {
	if fields(r.Header) > maxHeaderFields {
		return refuse(http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("more than %d header fields", maxHeaderFields), "").with("Connection", "close")
	}
	if s.local && isForeign(r) {
		s.log.Debug("refused what is not from this machine", "host", r.Host, "remote", r.RemoteAddr)
		return refuse(http.StatusForbidden, "this intake answers to localhost alone, and to no website",
			"for a tunnel or a proxy start hookrun with -listen 127.0.0.1:8080")
	}
	from := s.sender(r)
	if from.network.IsValid() && !s.rates.allow(from.network) {
		s.crowds.note(s.log, "too many requests from one address", from.network.String(), "address", from.network)
		return refuse(http.StatusTooManyRequests, "too many requests from one address", "send it again later").
			with("Retry-After", retryLimited)
	}
	if t.Reply != nil {
		return reply{status: t.Reply.Status, custom: t.Reply}
	}
	if t.Bucket == "" {
		return refuse(http.StatusNotFound, "there is nothing at this address", s.nothing)
	}
	return s.take(l, request{w, r, from.network, cmp.Or(t.MaxBody, s.maxBody), Webhook{
		Bucket: t.Bucket,
		Method: strings.ToUpper(r.Method),
		Path:   t.Path,
		Query:  r.URL.RawQuery,
		Remote: from.remote,
		Header: r.Header,
	}})
}

func (s *Server) healthz(method string) reply {
	if method != http.MethodGet && method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, "/healthz answers GET only", s.nothing).
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

// request is a webhook whose body is still to be read.
type request struct {
	w    http.ResponseWriter
	r    *http.Request
	from netip.Prefix // whose share of the memory the body takes; zero: nobody's
	most int64        // bytes of its body
	hook Webhook
}

// take reads the body of a webhook and delivers it. What is waited for then, is
// waited for without the body in memory.
func (s *Server) take(l life, q request) reply {
	if bucket := q.hook.Bucket; !s.inbox.Known(bucket) {
		s.strangers.note(s.log, "no rule is for this bucket", cut(bucket), "bucket", cut(bucket), "remote", q.hook.Remote)
		return refuse(http.StatusNotFound, fmt.Sprintf("nothing here takes webhooks for bucket %q", bucket),
			"compare the name in the URL with the buckets that the rules name")
	}
	answer, refused := s.deliver(l.deliver, q)
	if refused != nil {
		return *refused
	}
	s.refusals.taken(s.log)
	return s.await(l.wait, q.w, answer)
}

// deliver returns the inbox's answer, or the reply that says why there is none.
func (s *Server) deliver(life context.Context, q request) (Answer, *reply) {
	body, release, err := s.read(q)
	defer release()
	if err != nil {
		p := s.unread(q, err)
		return Answer{}, &p
	}
	hook := q.hook
	hook.Body, hook.Received = body, time.Now().UTC()
	ctx, cancel := context.WithTimeout(life, deliverTimeout)
	defer cancel()
	answer, err := s.inbox.Deliver(ctx, hook)
	if err != nil {
		p := s.undelivered(hook, err)
		return Answer{}, &p
	}
	return answer, nil
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
	var refused *Refused
	switch {
	case errors.As(err, &refused) && refused.Status >= 400 && refused.Status <= 599:
		s.log.Debug("webhook refused", "bucket", cut(hook.Bucket), "remote", hook.Remote, "status", refused.Status, "err", err)
		return reply{status: refused.Status, header: refused.Header, body: refusal{Error: refused.Text}}
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
