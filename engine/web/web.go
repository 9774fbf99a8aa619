package web

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Bounds of the server. Some people and their scripts talk to it.
const (
	maxHeaderBytes = 32 << 10 //
	headerTimeout  = 5 * time.Second
	readTimeout    = 30 * time.Second // of a whole request
	answerTimeout  = 60 * time.Second // but for what is followed
	idleTimeout    = 60 * time.Second

	// stopTimeout is how long requests in flight may take once Serve is told to
	// stop.
	stopTimeout = 5 * time.Second
)

// Options are what a Server needs. What is left zero is left out.
type Options struct {
	Desk    control.Desk  // what the pages show and change
	API     http.Handler  // answers /v1/…; it is put at /api/v1/…
	Metrics http.Handler  // answers /metrics
	Token   engine.Secret // asked for before anything is shown; zero: nothing is asked for
	Hosts   []string      // names that it is reached by, beside loopback ones
	TLS     bool          // what comes in came over TLS: cookies say so
	Closed  func() string // why nobody may come in now; nil, or "": who may does
	Log     *slog.Logger  // nil: nothing is logged
}

// Server is the dashboard. Make one with New.
type Server struct {
	o     Options
	desk  control.Desk
	log   *slog.Logger
	pages *pages
	guard *guard
	login *login
	said  *notices
	turns control.Turns // of making pages
	conns *conns
}

//go:embed assets
var assets embed.FS

//go:embed pages
var templates embed.FS

// New returns a server that does nothing yet.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p, err := newPages()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, desk: o.Desk, log: o.Log, pages: p, said: newNotices()}
	s.login = newLogin(o.Token, o.TLS)
	s.guard = newGuard(o.Hosts, s.login.needed())
	s.conns = newConns(s.login.needed(), s.log)
	return s, nil
}

// Serve answers what comes in from ln until ctx ends, and closes ln. Requests in
// flight may finish for 5 s. It leaves no goroutine behind. It returns nil after
// ctx ended, else why it could not go on.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := s.httpServer()
	defer s.conns.wait()
	defer srv.Close()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the dashboard on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.log.Debug("requests to the dashboard cut off", "after", stopTimeout, "err", err)
	}
	<-served
	return nil
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState:         s.conns.change,
	}
}

// Handler is all that the server answers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /assets/{name}", http.HandlerFunc(s.asset))
	mux.Handle("GET /login", s.page(s.showLogin))
	mux.Handle("POST /login", s.page(s.doLogin))
	mux.Handle("POST /logout", s.page(s.logout))

	inside := http.NewServeMux()
	for pattern, show := range s.shows() {
		inside.Handle(pattern, s.page(s.inTurn(show)))
	}
	for pattern, change := range s.changes() {
		inside.Handle("POST /ui/"+pattern, s.page(change))
	}
	if s.o.API != nil {
		api := http.StripPrefix("/api", s.o.API)
		inside.Handle("/api/", api)
		inside.Handle("GET /api/v1/watch", someWatch(api))
	}
	if s.o.Metrics != nil {
		inside.Handle("GET /metrics", s.o.Metrics)
	}
	mux.Handle("/", s.login.only(inside))
	return s.guard.protect(s.opened(s.login.brief(mux)))
}

// maxWatching is how many watch over this port at one time. The others are left to
// the command line: it would be refused while pages are open, or somebody sees to
// that.
const maxWatching = control.MaxWatchers - 8

// someWatch lets some watch, the next when one of them has ended.
func someWatch(next http.Handler) http.Handler {
	var watching atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer watching.Add(-1)
		if watching.Add(1) > maxWatching {
			w.Header().Set("Retry-After", control.RetryAfter)
			tellProgram(w, &control.Error{Status: http.StatusServiceUnavailable, Msg: fmt.Sprintf("%d watch already", maxWatching), Hint: "close a page of the dashboard; hookrun tail has room of its own"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// shows are the pages, by pattern.
func (s *Server) shows() map[string]answer {
	return map[string]answer{
		"GET /{$}":              s.overview,
		"GET /events":           s.events,
		"GET /events/{id}":      s.event,
		"GET /events/{id}/body": s.body,
		"GET /rejected":         s.rejected,
		"GET /runs":             s.runs,
		"GET /runs/{id}":        s.run,
		"GET /rules":            s.rules,
		"GET /status":           s.status,
		"/":                     s.nothing,
	}
}

// nothing is at all other addresses.
func (s *Server) nothing(_ http.ResponseWriter, r *http.Request) error {
	return &control.Error{Status: http.StatusNotFound, Msg: "there is no page " + shortened(r.URL.Path), Hint: "the pages are those that the top of this one leads to"}
}

// asset answers with a file that comes with the pages. Its address holds a part
// of its hash, so that a browser may keep it for good.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, err := assets.ReadFile("assets/" + name)
	if err != nil || strings.Contains(name, "/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetType(name))
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	_, _ = w.Write(data) // who hung up can't be told anything
}

// assetType is the media type of an embedded file. The system's own table may say
// anything of an ending.
func assetType(name string) string {
	switch {
	case strings.HasSuffix(name, ".css"):
		return "text/css; charset=utf-8"
	case strings.HasSuffix(name, ".js"):
		return "text/javascript; charset=utf-8"
	case strings.HasSuffix(name, ".svg"):
		return "image/svg+xml"
	}
	return "application/octet-stream"
}
