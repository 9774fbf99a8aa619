package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hookrun/engine"
)

// Bounds of the server. A person and some scripts talk to it.
const (
	maxConns       = 64       // connections at one time; further ones are closed
	maxHeaderBytes = 16 << 10 //
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // of a whole request
	answerTimeout  = 60 * time.Second // from the end of its header, but for logs
	idleTimeout    = 30 * time.Second

	// stallTimeout is how long one who follows a log may not read: a person looks
	// at it in a pager.
	stallTimeout = 30 * time.Minute

	// stopTimeout is how long requests in flight may take once Serve is told to
	// stop.
	stopTimeout = 5 * time.Second
)

// Server answers for a Desk over HTTP. Make one with NewServer.
type Server struct {
	desk    Desk
	log     *slog.Logger
	open    atomic.Int64 // connections
	refused atomic.Int64 // connections beyond maxConns
}

// NewServer returns a server that does nothing yet. log nil: nothing is logged.
func NewServer(desk Desk, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{desk: desk, log: log}
}

// Serve answers what comes in from ln until ctx ends, and closes ln. Logs that
// are followed end then; other requests may finish for 5 s. It leaves no
// goroutine behind. It returns nil after ctx ended, else why it could not go on.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	srv := s.httpServer(ctx, &conns)
	defer conns.Wait()
	defer srv.Close()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("take commands on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.log.Warn("commands in flight cut off", "after", stopTimeout, "err", err)
	}
	<-served
	if n := s.refused.Load(); n > 0 {
		s.log.Warn("too many commands came at once", "refused", n, "most", maxConns)
	}
	return nil
}

func (s *Server) httpServer(ctx context.Context, conns *sync.WaitGroup) *http.Server {
	return &http.Server{
		Handler:           s.Handler(ctx),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnState: func(c net.Conn, state http.ConnState) {
			// net/http itself does not wait for the goroutines that Close cut off.
			switch state {
			case http.StateNew:
				conns.Add(1)
				if s.open.Add(1) > maxConns {
					s.refused.Add(1)
					c.Close() // its goroutine finds out
				}
			case http.StateClosed, http.StateHijacked:
				s.open.Add(-1)
				conns.Done()
			}
		},
	}
}

// Handler is the API, below /v1. Logs are followed, and what happens is watched,
// until stopping ends.
func (s *Server) Handler(stopping context.Context) http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range s.answers() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := answer(r)
			if err == nil {
				err = send(w, http.StatusOK, body)
			}
			if err != nil {
				s.refuse(w, r, err)
			}
		})
	}
	for pattern, stream := range s.streams() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(stopping, cancel)()
			stream(ctx, w, r)
		})
	}
	for pattern, file := range s.files() {
		mux.HandleFunc(pattern, file)
	}
	return mux
}

// answers are the requests that are answered with JSON.
func (s *Server) answers() map[string]answerer {
	return map[string]answerer{
		"GET /v1/runs":               s.list,
		"GET /v1/runs/{id}":          s.show,
		"POST /v1/runs/{id}/retry":   s.retry,
		"POST /v1/runs/{id}/cancel":  s.cancel,
		"POST /v1/runs/{id}/release": s.release,
		"GET /v1/paused":             s.paused,
		"POST /v1/pause":             s.pause,
		"POST /v1/resume":            s.resume,
		"GET /v1/counts":             s.counts,

		"GET /v1/events":              s.events,
		"GET /v1/events/{id}":         s.event,
		"GET /v1/events/{id}/explain": s.explainKept,
		"POST /v1/explain":            s.explain,
		"GET /v1/rejected":            s.rejections,
		"GET /v1/rates":               s.rates,
		"GET /v1/status":              s.status,

		"POST /v1/replay":       s.replay,
		"GET /v1/armed":         s.armed,
		"POST /v1/armed":        s.arm,
		"DELETE /v1/armed":      s.disarm,
		"GET /v1/rules":         s.rules,
		"GET /v1/generations":   s.generations,
		"POST /v1/rules/accept": s.acceptRules,

		"/": s.nothing,
	}
}

// streams are the requests whose answers go on.
func (s *Server) streams() map[string]func(context.Context, http.ResponseWriter, *http.Request) {
	return map[string]func(context.Context, http.ResponseWriter, *http.Request){
		"GET /v1/runs/{id}/log": s.follow,
		"GET /v1/watch":         s.watch,
	}
}

// files are the requests that are answered with what stands ready.
func (s *Server) files() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /v1/events/{id}/body": s.body,
		"GET /v1/openapi.json":     s.describe,
	}
}

// answerer returns what is sent as JSON.
type answerer func(r *http.Request) (any, error)

func (s *Server) list(r *http.Request) (any, error) {
	p, err := params(r, "event", "bucket", "rule", "state", "since", "until", "before", "limit")
	if err != nil {
		return nil, err
	}
	q := Query{
		Event: p.text("event"), Bucket: p.text("bucket"), Rule: p.text("rule"), States: words[engine.State](p, "state"), Since: p.time("since"), Until: p.time("until"),
		Before: p.number("before"), Limit: p.limit(),
	}
	if p.err != nil {
		return nil, p.err
	}
	return s.desk.List(r.Context(), q)
}

func (s *Server) show(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Show(r.Context(), r.PathValue("id"))
}

func (s *Server) retry(r *http.Request) (any, error) {
	p, err := params(r, "all")
	if err != nil {
		return nil, err
	}
	all := p.flag("all")
	if p.err != nil {
		return nil, p.err
	}
	return s.desk.Retry(r.Context(), r.PathValue("id"), all)
}

func (s *Server) cancel(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Cancel(r.Context(), r.PathValue("id"))
}

func (s *Server) paused(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Paused(r.Context())
}

func (s *Server) pause(r *http.Request) (any, error) {
	p, err := params(r, "rule")
	if err != nil {
		return nil, err
	}
	return s.desk.Pause(r.Context(), p.text("rule"))
}

func (s *Server) resume(r *http.Request) (any, error) {
	p, err := params(r, "rule")
	if err != nil {
		return nil, err
	}
	return s.desk.Resume(r.Context(), p.text("rule"))
}

func (s *Server) counts(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Summary(r.Context())
}

func (s *Server) nothing(r *http.Request) (any, error) {
	return nil, &Error{http.StatusNotFound, fmt.Sprintf("there is nothing at %s %s", r.Method, r.URL.Path), "this hookrun may be older or newer than who asks"}
}

// follow sends a log, a piece a line. What is wrong before the first piece is an
// answer of its own; afterwards the log ends without a state.
func (s *Server) follow(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	p, err := params(r, "follow")
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	conn := http.NewResponseController(w)
	// These are for requests that end: readTimeout would end this one.
	_ = conn.SetReadDeadline(time.Time{}) // a connection of net/http has deadlines
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	begun := false
	emit := func(piece Piece) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", typeLines)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(stallTimeout))
		if err := out.Encode(piece); err != nil {
			return err
		}
		return conn.Flush()
	}
	follow := p.flag("follow")
	if err = p.err; err == nil {
		err = s.desk.Log(ctx, r.PathValue("id"), follow, emit)
	}
	switch {
	case err == nil || ctx.Err() != nil: // it is told, or nobody listens any more
	case !begun:
		s.refuse(w, r, err)
	default:
		s.log.Warn("log of a run ended early", "run", r.PathValue("id"), "err", err)
	}
}

// refuse answers with an error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	said, ok := errors.AsType[*Error](err)
	if !ok {
		if r.Context().Err() == nil {
			s.log.Warn("command failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		said = &Error{http.StatusInternalServerError, err.Error(), ""}
	}
	if said.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", RetryAfter)
	}
	_ = send(w, said.Status, said) // it is made of texts alone
}

// send answers with a value. An error means that it has no JSON, and that nothing
// was sent yet.
func send(w http.ResponseWriter, status int, body any) error {
	text, err := marshal(body)
	if err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // one that hung up can't be told anything
	return nil
}
