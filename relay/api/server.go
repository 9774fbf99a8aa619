package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"hookrun/relay/account"

	"github.com/google/uuid"
)

// Logs keeps the deliveries. Errors wrap account.ErrNotFound where there is no
// such delivery, account.ErrInvalid where what is asked for can't be, and
// account.ErrUnavailable where it may be later. What one call gives has some 16 MiB of bodies and answers at most, or a single longer
// one: a page may be shorter than was asked for.
type Logs interface {
	List(ctx context.Context, q account.Query) (account.Page, error)
	Log(ctx context.Context, id string) (*account.Log, error)

	// Pull hands each delivery out once; more says that there are others.
	Pull(ctx context.Context, p account.Pull) (logs []*account.Log, more bool, err error)

	// ForgetBucket forgets the deliveries of a bucket that is gone.
	ForgetBucket(ctx context.Context, id string) error
}

// Hub delivers. Errors wrap account.ErrUnavailable where it may be tried again
// later.
type Hub interface {
	// Answer notes what became of a delivery, and answers its sender where that
	// waits. The error wraps account.ErrNotFound, or account.ErrLate.
	Answer(ctx context.Context, l *account.Log, u account.Update) error

	// Resend makes a new delivery of an old one: to an output, or where outputID is
	// "" to the same one. One that was sent is only sent again by force; else it is
	// returned as it is.
	Resend(ctx context.Context, id, outputID string, force bool) (*account.Log, error)

	// Clients are those that are connected and subscribed, and those that
	// acknowledge and are away.
	Clients(ctx context.Context) ([]account.Client, error)

	// Forget forgets a client that is away, as Clients tells it, with what waits for
	// it. The error wraps account.ErrNotFound, or account.ErrConnected.
	Forget(ctx context.Context, c account.Client) error
}

// Options of a Server. Book, Logs and Hub are required.
type Options struct {
	Book *account.Book
	Logs Logs
	Hub  Hub

	// CheckRule says why an output can't have a rule; its error is shown to who
	// asked. Only sound trees come to it: see account.Rule. nil: they are not
	// checked further.
	CheckRule func(*account.Rule) error

	// URL is the public URL of an input; r is the request that is answered. nil:
	// none is shown.
	URL func(r *http.Request, in *account.Input) string

	// Address is who sent a request, for Guard. nil: the other end of the
	// connection.
	Address func(r *http.Request) netip.Addr

	Guard *Guard       // nil: one of its own
	Log   *slog.Logger // nil: nothing is logged
}

// Server serves the management API. Make one with New.
type Server struct {
	book      *account.Book
	logs      Logs
	hub       Hub
	checkRule func(*account.Rule) error
	url       func(*http.Request, *account.Input) string
	address   func(*http.Request) netip.Addr
	guard     *Guard
	log       *slog.Logger

	routes []route
	usage  *usage
	large  chan struct{} // holds one value for every large body in memory
}

// New returns a server. It starts nothing.
func New(o Options) *Server {
	s := &Server{
		book:      o.Book,
		logs:      o.Logs,
		hub:       o.Hub,
		checkRule: o.CheckRule,
		url:       o.URL,
		address:   o.Address,
		guard:     o.Guard,
		log:       o.Log,
		usage:     newUsage(),
		large:     make(chan struct{}, maxLarge),
	}
	if s.checkRule == nil {
		s.checkRule = func(*account.Rule) error { return nil }
	}
	if s.url == nil {
		s.url = func(*http.Request, *account.Input) string { return "" }
	}
	if s.address == nil {
		s.address = remote
	}
	if s.guard == nil {
		s.guard = NewGuard()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes = s.table()
	return s
}

// remote is the other end of a request's connection.
func remote(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // zero where it is no address, such as a Unix socket's
	return ap.Addr()
}

// request is what a handler answers.
type request struct {
	*http.Request
	w     http.ResponseWriter
	id    string
	route *route
	args  []string // what stands for each {} of the route's path, decoded
	token *account.Token
}

// ServeHTTP answers what is below /v1/. It has to see each request as it came:
// http.ServeMux would redirect some.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, w: w, id: uuid.NewString()}
	h := w.Header()
	h.Set("Request-Id", q.id)
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	defer s.survive(q)
	body, err := s.answer(q)
	if err != nil {
		s.refuse(q, err)
		return
	}
	send(w, q.route.status, body)
}

// answer returns what is sent with the status of q's route.
func (s *Server) answer(q *request) (any, error) {
	if err := s.find(q); err != nil {
		return nil, err
	}
	if err := s.authorize(q); err != nil {
		return nil, err
	}
	return q.route.do(q)
}

func send(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	// Who hung up can't be told anything: the error has no reader.
	_ = e.Encode(body)
}

// message is the body of an answer that is not 2xx.
type message struct {
	Message string `json:"message"`
}

// refusal is an error whose text is for whoever asked.
type refusal struct {
	status int
	header http.Header // besides what every answer has
	text   string
}

// Error implements error.
func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

func (e *refusal) with(name, value string) *refusal {
	e.header = http.Header{name: {value}}
	return e
}

func notFound(what, name string) *refusal {
	return refuse(http.StatusNotFound, "%s '%s' not found", what, name)
}

// lateText is what clients know for an answer that came too late.
const lateText = "log can only be updated within 10 seconds"

// refuse answers for what was not done.
func (s *Server) refuse(q *request, err error) {
	var known *refusal
	switch {
	case errors.As(err, &known):
	case errors.Is(err, account.ErrInvalid):
		known = refuse(http.StatusBadRequest, "%s", strings.TrimPrefix(err.Error(), account.ErrInvalid.Error()+": "))
	case errors.Is(err, account.ErrLate):
		known = refuse(http.StatusBadRequest, lateText)
	case errors.Is(err, account.ErrNotFound):
		known = refuse(http.StatusNotFound, "not found")
	case errors.Is(err, account.ErrUnavailable):
		known = s.unavailable(q, err)
	default:
		known = s.fail(q, err)
	}
	for name, values := range known.header {
		q.w.Header()[name] = values
	}
	send(q.w, known.status, message{known.text})
}

// fail logs what went wrong here. The error may name files of this machine, so
// it goes to the log alone.
func (s *Server) fail(q *request, err error) *refusal {
	if q.Context().Err() != nil {
		s.log.Debug("who asked did not wait", "request", q.id, "method", q.Method, "path", q.path(), "err", err)
	} else {
		s.log.Error("request failed", "request", q.id, "method", q.Method, "path", q.path(),
			"status", http.StatusInternalServerError, "err", err)
	}
	return refuse(http.StatusInternalServerError, "that could not be done: the relay's log says why, under request %s", q.id)
}

// unavailable is for what can be done later. The store logs why it can't be now,
// once and not for each request.
func (s *Server) unavailable(q *request, err error) *refusal {
	s.log.Debug("request can't be done now", "request", q.id, "method", q.Method, "path", q.path(),
		"status", http.StatusServiceUnavailable, "err", err)
	return refuse(http.StatusServiceUnavailable, "the relay can't save anything now, send it again later").
		with("Retry-After", retrySave)
}

// path is the request's without what it names: for the log.
func (q *request) path() string {
	if q.route == nil {
		return ""
	}
	return q.route.path
}

// survive answers for a handler that panicked. Nothing was sent by then.
func (s *Server) survive(q *request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.refuse(q, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
}
