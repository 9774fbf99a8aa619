package server

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Bounds on what one sender, and all of them together, can cost.
const (
	defaultMaxBody  = 8 << 20  // bytes of one body
	defaultMaxConns = 1024     // connections open at once; further ones wait to be accepted
	maxHeaderBytes  = 64 << 10 // request line and header; net/http allows 4 KiB beyond
	maxHeaderFields = 100      // a name that comes twice counts twice

	defaultConnsPerAddress = 64 // one address can't take all of them

	// maxHeld bounds the bytes of all bodies in memory at once, unless
	// Options.MaxHeld does. Without it every connection could hold a body of the greatest size.
	maxHeld = 64 << 20

	// heldParts is how many addresses it takes to fill maxHeld: each can hold that
	// part of it, or one body of the greatest size. Who is not bound in the number
	// of connections is not bound by this.
	heldParts = 4

	headerTimeout  = 5 * time.Second  // for request line and header
	readTimeout    = 30 * time.Second // for the body
	paceTime       = 5 * time.Second  // in which, again and again until the body's end,
	paceBytes      = 5 << 10          // that many bytes more of it have to come
	deliverTimeout = 30 * time.Second // for Inbox.Deliver
	idleTimeout    = 60 * time.Second // between two requests of a connection

	// answerTimeout runs from the end of the header, so it has room for a slow
	// body and a slow delivery: a webhook that is on disk shall be answered so.
	answerTimeout = readTimeout + deliverTimeout + sendTimeout

	// stopTimeout is how long requests in flight may take once Serve is told to
	// stop. After it their connections are cut. Senders that wait for more than
	// the receipt get the receipt before.
	stopTimeout = 10 * time.Second
	waitTimeout = 5 * time.Second
)

// Options of a Server. Only Inbox is required.
type Options struct {
	Inbox Inbox
	Log   *slog.Logger // nil: nothing is logged

	// Health is asked for the answer to GET /healthz. nil: always healthy.
	Health func() Health

	// Hurry is closed when nobody wants to wait for requests in flight any more.
	// It matters once Serve is told to stop. nil: never.
	Hurry <-chan struct{}

	MaxBody  int64 // bytes of one body; 0: 8 MiB
	MaxHeld  int64 // bytes of all bodies in memory at once; 0: 64 MiB. One body always fits
	MaxConns int   // connections open at once; 0: 1024
	MaxAwait int   // senders that wait for more than the receipt at once; 0: 256

	// MaxConnsPerAddress are connections of one address at once; 0: 64. Trusted
	// proxies and this machine itself are not bound by it.
	MaxConnsPerAddress int

	// Route says where a request goes. nil: webhooks go to /hooks/BUCKET and
	// /v1/webhooks/BUCKET, and all else but GET /healthz gets 404.
	Route func(r *http.Request) Target

	// Nothing tells whoever asks for what is not there where things are. "":
	// webhooks go to /hooks/BUCKET.
	Nothing string

	// Proxies are the networks of proxies whose X-Forwarded-For is believed. It is
	// asked for every request. nil: none are.
	Proxies func() []netip.Prefix

	// LocalOnly refuses what a website in a browser on this machine sends: for an
	// intake that is for this machine alone.
	LocalOnly bool
}

// Target is where a request goes. The first of its fields that is set decides;
// where none is, there is nothing at that address.
type Target struct {
	Handler http.Handler // answers it, within the server's own timeouts; the request is no webhook
	Reply   *Custom      // is sent at once, without reading the body
	Bucket  string       // the webhook is for it

	Path    string // of the webhook, "/" at least
	MaxBody int64  // bytes of its body; 0: Options.MaxBody
}

// Health is the answer to GET /healthz. Anybody who reaches the intake can read
// it.
type Health struct {
	OK bool `json:"ok"` // 200, else 503

	// Reason is for people, where not OK. Strangers can read it, so it is a
	// fixed text: no error, no name of a file, nothing of a webhook.
	Reason string `json:"reason,omitempty"`
}

// Server takes webhooks over HTTP. Make one with New.
type Server struct {
	inbox    Inbox
	log      *slog.Logger
	health   func() Health
	hurry    <-chan struct{}
	maxBody  int64
	maxConns int
	perAddr  int
	route    func(*http.Request) Target
	nothing  string // the hint with 404
	local    bool
	proxies  func() []netip.Prefix

	held      budget // bytes of bodies in memory
	shares    shares // of them, those of each address
	awaited   budget // senders that wait for more than the receipt, or read a stream
	rates     *rates
	counts    counts
	strangers notices // webhooks to unknown buckets
	crowds    notices // too much of something at once
	refusals  refusals
}

// New returns a server that does nothing yet: see Serve and Handler.
func New(o Options) *Server {
	s := &Server{
		inbox:    o.Inbox,
		log:      o.Log,
		health:   o.Health,
		hurry:    o.Hurry,
		maxBody:  o.MaxBody,
		maxConns: o.MaxConns,
		perAddr:  cmp.Or(o.MaxConnsPerAddress, defaultConnsPerAddress),
		route:    o.Route,
		nothing:  cmp.Or(o.Nothing, "webhooks go to /hooks/BUCKET"),
		local:    o.LocalOnly,
		proxies:  o.Proxies,
		rates:    newRates(),
		shares:   shares{of: make(map[netip.Prefix]int64)},
		refusals: refusals{of: make(map[error]*spell)},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.health == nil {
		s.health = func() Health { return Health{OK: true} }
	}
	if s.maxBody == 0 {
		s.maxBody = defaultMaxBody
	}
	if s.maxConns == 0 {
		s.maxConns = defaultMaxConns
	}
	if s.route == nil {
		s.route = hookTarget
	}
	if s.proxies == nil {
		s.proxies = func() []netip.Prefix { return nil }
	}
	s.awaited.max = int64(cmp.Or(o.MaxAwait, maxAwaited))
	s.held.max = max(cmp.Or(o.MaxHeld, maxHeld), s.maxBody)
	s.shares.max = max(s.held.max/heldParts, s.maxBody)
	return s
}

// Handler returns the intake for a server of the caller's own, which has to
// bring its own timeouts. It must see every request as it came: http.ServeMux
// would redirect some of them.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forever := context.WithoutCancel(r.Context())
		s.handle(life{forever, forever}, w, r)
	})
}

// life says how long what a request started may go on. Neither ends when its
// sender hangs up.
type life struct {
	deliver context.Context // ends with Serve
	wait    context.Context // for more than the receipt; ends earlier, so that the receipt can be sent
}

// Serve takes webhooks from ln until ctx ends, and closes ln. Then requests in
// flight may finish for 10 s, or until Hurry; what is left is cut off,
// unanswered. Serve leaves no goroutine behind. It returns nil after ctx ended,
// and why it could not go on otherwise.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	// Deliveries outlive ctx, and the sender, but not Serve.
	deliver, end := context.WithCancel(context.WithoutCancel(ctx))
	wait, endWait := context.WithCancel(deliver)
	var conns sync.WaitGroup
	srv := s.httpServer(life{deliver, wait}, &conns)
	defer s.counts.log(s.log)
	defer conns.Wait()
	defer srv.Close()
	defer end()
	defer endWait()

	served := make(chan error, 1)
	go func() { served <- srv.Serve(s.limit(ln)) }()
	select {
	case err := <-served:
		return fmt.Errorf("take webhooks on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	defer time.AfterFunc(waitTimeout, endWait).Stop()
	s.finish(deliver, srv)
	<-served
	return nil
}

// finish waits for requests in flight.
func (s *Server) finish(deliver context.Context, srv *http.Server) {
	grace, giveUp := context.WithTimeout(deliver, stopTimeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer giveUp()
	wg.Go(func() {
		select {
		case <-s.hurry:
			giveUp()
		case <-grace.Done():
		}
	})
	begin := time.Now()
	if err := srv.Shutdown(grace); err != nil {
		s.log.Warn("requests in flight cut off", "after", time.Since(begin).Round(time.Second/10), "err", err)
	}
}

func (s *Server) httpServer(l life, conns *sync.WaitGroup) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.handle(l, w, r)
		}),
		DisableGeneralOptionsHandler: true, // OPTIONS is a method like any other

		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,

		ErrorLog: log.New(logWriter{s.log}, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			// net/http itself does not wait for the goroutines that Close cut off.
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
}

// logWriter logs what net/http has to tell.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Warn("http server", "err", strings.TrimSpace(string(p)))
	return len(p), nil
}
