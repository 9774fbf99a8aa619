package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hookrun/engine/database"
	"hookrun/engine/rules"
	"hookrun/relay/account"
	"hookrun/relay/api"
	"hookrun/relay/filter"
	"hookrun/relay/forward"
	"hookrun/relay/hub"
	"hookrun/relay/metrics"
	"hookrun/relay/server"
	relaystore "hookrun/relay/store"
)

const relayManual = `hookrun relay [-config relay.yaml] [flags]
hookrun relay buckets|inputs|outputs|tokens|logs|clients …

Is a relay of your own: it takes webhooks at public URLs, keeps each on disk, and
brings it to those who subscribed over a WebSocket, now or when they are back.
It speaks the protocol of Webhook Relay, so its clients work with it too.

Without -config it starts with an empty account, and prints a key and a secret
once. With it the file says what there is; it is read again when it changes, or
on SIGHUP. What is made with the management API, or with the commands below,
stays beside it.

  hookrun relay buckets -h     and inputs, outputs, tokens, logs, clients: set up and look
  hookrun check -config FILE   reads the file and prints every problem

SIGINT or SIGTERM: clients are told to come back. A second one does not wait.

Examples:
  hookrun relay
  hookrun relay -acme hooks.example.org
  hookrun relay -config relay.yaml -listen :8080 -data /var/lib/hookrun-relay

Exit codes: 0 ended by a signal, 1 it could not start, 2 wrong usage, 75 the
disk failed, and the next start goes on; or the store is damaged, see
-on-corrupt.`

// Bounds of a relay that are wider than those of a runner's intake.
const (
	relayMaxConns     = 20_000 // subscribers keep theirs open
	relayConnsPerAddr = 1024   // many may stand behind one router
	relayMaxHeld      = 256 << 20
	relayMaxAwait     = 1024
	challengeTimeout  = 10 * time.Second
	relayListen       = ":8080"
	relayTLSListen    = ":443"
)

// relayOptions are the flags of relay.
type relayOptions struct {
	config, listen, data string
	acme, acmeListen     string
	logFormat            string
	verbose              bool
	onCorruptFresh       bool
}

func relayCommand() command {
	return command{name: "relay", summary: "be a relay of your own: public URLs for machines without", manual: relayManual, run: runRelay}
}

func runRelay(ctx context.Context, p Process, c command, args []string) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return manageRelay(ctx, p, args)
	}
	var o relayOptions
	fs := flags(c)
	fs.StringVar(&o.config, "config", "", "relay `FILE`; see the README")
	fs.StringVar(&o.listen, "listen", "", "take webhooks and clients on this `ADDRESS`; by default "+relayListen+", or "+relayTLSListen+" with TLS")
	fs.StringVar(&o.acme, "acme", "", "have a certificate for this `DOMAIN` from Let's Encrypt, whose terms of service you accept by this, and listen on :443; tls: in the file can say more")
	fs.StringVar(&o.acmeListen, "acme-listen", ":80", "answer the certificate authority's questions over HTTP on this `ADDRESS`; \"\": nowhere")
	fs.StringVar(&o.logFormat, "log", "text", "log `FORMAT`: text or json")
	fs.BoolVar(&o.verbose, "v", false, "log more")
	fs.StringVar(&o.data, "data", defaultRelayData(), "`FOLDER` for what is kept: one relay at a time")
	var onCorrupt string
	fs.StringVar(&onCorrupt, "on-corrupt", "stop", "the `WAY` with a damaged store: stop, or fresh: put it aside and begin a new one")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if onCorrupt != "stop" && onCorrupt != "fresh" {
		return &usageError{fmt.Sprintf("-on-corrupt=%s: there is no such way", onCorrupt), "-on-corrupt=stop or -on-corrupt=fresh"}
	}
	o.onCorruptFresh = onCorrupt == "fresh"
	log, err := newLogger(p.Stderr, o.logFormat, o.verbose)
	if err != nil {
		return err
	}
	return relayDaemon(ctx, p, o, log)
}

// defaultRelayData is not the runner's folder: both may be on one machine.
func defaultRelayData() string {
	if os.Getenv("STATE_DIRECTORY") != "" {
		return defaultData()
	}
	return defaultData() + "-relay"
}

// relaying is a relay put together.
type relaying struct {
	log     *slog.Logger
	options relayOptions
	file    atomic.Pointer[rules.RelayFile] // in force; an empty one without -config
	told    string                          // the Hash of the file that was read first
	hurry   <-chan struct{}

	store   *relaystore.Store
	book    *account.Book
	hub     *hub.Hub
	forward *forward.Forwarder
	api     *api.Server
	intake  *server.Server
	socket  net.Listener
	secure  *secure // nil: plain HTTP
	metrics http.Handler
}

// relayDaemon runs a relay: file, store, account, ports; and ends it in the
// reverse order.
func relayDaemon(ctx context.Context, p Process, o relayOptions, log *slog.Logger) error {
	if err := harden(); err != nil {
		log.Warn("other programs can read the relay's environment", "err", err)
	}
	r := &relaying{log: log, options: o, hurry: p.Hurry}
	f, err := r.firstFile(p)
	if err != nil {
		return err
	}
	r.file.Store(f)
	r.store, err = relaystore.Open(ctx, relaystore.Options{
		Dir: o.data, Log: log, FreshOnCorrupt: o.onCorruptFresh, KeepAge: f.Age, KeepSize: f.Size,
		Dropped: func(bucketID string, n int64) { r.hub.CountDropped(bucketID, n) },
	})
	if err == nil {
		err = r.withStore(ctx, p)
	} else if !errors.Is(err, database.ErrCorrupt) {
		err = withHint(err, "-data FOLDER takes another one")
	}
	switch {
	case errors.Is(err, database.ErrIO), errors.Is(err, database.ErrCorrupt):
		log.Error("the store can't be used any more; what it has acknowledged is in its folder", "err", err)
		return exitError(exitStorage)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil // told to end while it was starting
	}
	return err
}

// firstFile reads the file to start with.
func (r *relaying) firstFile(p Process) (*rules.RelayFile, error) {
	if r.options.config == "" {
		return r.withFlags(&rules.RelayFile{Age: rules.DefaultRelayAge, Size: rules.DefaultRelaySize})
	}
	r.told = rules.Fingerprint([]string{r.options.config})
	f, problems := rules.LoadRelayFile(r.options.config, rules.Options{})
	printProblems(p, problems)
	if f == nil {
		return nil, exitError(exitFailed)
	}
	return r.withFlags(f)
}

// withFlags puts into a file what was said on the command line.
func (r *relaying) withFlags(f *rules.RelayFile) (*rules.RelayFile, error) {
	domain := strings.ToLower(r.options.acme)
	if domain == "" {
		return f, nil
	}
	if f.TLS != nil {
		return nil, withHint(fmt.Errorf("-acme %s: %s has tls: already", domain, r.options.config), "leave one of them out")
	}
	if !isDomain(domain) {
		return nil, &usageError{fmt.Sprintf("-acme %s: no certificate can be had for that", r.options.acme), "-acme hooks.example.org: a name in the DNS that leads to this machine"}
	}
	f.TLS = &rules.RelayTLS{ACME: &rules.RelayACME{Domains: []string{domain}}}
	f.PublicURL = cmp.Or(f.PublicURL, "https://"+domain)
	return f, nil
}

// isDomain reports whether a name is one that an authority may know: labels of
// letters, digits and inner hyphens, two at least, the last no number (RFC 1123).
func isDomain(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return len(labels) > 1 && len(name) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// withStore runs the store for as long as anything may write to it.
func (r *relaying) withStore(ctx context.Context, p Process) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	storing, closeStore := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var storeErr error
	err := r.open(ctx)
	wg.Go(func() {
		if storeErr = r.store.Serve(storing); storeErr != nil {
			fail()
		}
	})
	if err == nil {
		err = r.serve(ctx, p)
	}
	closeStore()
	wg.Wait()
	if storeErr != nil {
		return storeErr
	}
	return err
}

// open puts the parts together that only read the store.
func (r *relaying) open(ctx context.Context) error {
	var err error
	if r.book, err = account.Open(ctx, r.store); err != nil {
		return err
	}
	guard := api.NewGuard()
	from := func(q *http.Request) netip.Addr { return r.intake.Address(q) }
	r.hub, err = hub.New(ctx, hub.Options{
		Store: r.store, Book: r.book, Guard: guard, Address: from, Match: new(outputRules).match,
		Wake: func() { r.forward.Wake() }, Strict: func() bool { return r.file.Load().Strict }, Own: r.own, Senders: api.NewGuard(), Log: r.log,
	})
	if err != nil {
		return err
	}
	r.forward = forward.New(forward.Options{
		Store: r.store, Output: r.output, Done: r.hub.Forwarded, Hurry: r.hurry, Log: r.log, UserAgent: userAgent(),
		Allow: func() []netip.Prefix { return r.file.Load().ForwardAllow }, Bucket: r.bucketName,
	})
	r.api = api.New(api.Options{
		Book: r.book, Logs: r.store, Hub: r.hub, Guard: guard, Address: from, Log: r.log,
		CheckRule: func(rule *account.Rule) error {
			_, err := filter.Compile(rule)
			return err
		},
		URL: func(q *http.Request, in *account.Input) string { return inputURL(r.publicURL(q), in) },
	})
	r.metrics = r.scrape()
	r.intake = server.New(server.Options{
		Inbox: r.hub, Log: r.log, Health: r.health, Hurry: r.hurry, Route: r.route,
		Nothing:  "webhooks go to /v1/webhooks/INPUT, clients connect to /v1/socket",
		MaxConns: relayMaxConns, MaxConnsPerAddress: relayConnsPerAddr, MaxHeld: relayMaxHeld, MaxAwait: relayMaxAwait,
		Proxies: func() []netip.Prefix { return r.file.Load().Proxies },
	})
	return nil
}

// bucketName is the name of a bucket, "" where it is gone.
func (r *relaying) bucketName(id string) string {
	if b := r.book.Now().Bucket(id); b != nil {
		return b.Name
	}
	return ""
}

// output finds an output for the forwarder.
func (r *relaying) output(bucketID, outputID string) *account.Output {
	b := r.book.Now().Bucket(bucketID)
	if b == nil {
		return nil
	}
	return b.Output(outputID)
}

// route says which part answers a request.
func (r *relaying) route(q *http.Request) server.Target {
	if t, ok := r.hub.Route(q); ok {
		return t
	}
	switch path := q.URL.Path; {
	case path == "/v1/socket":
		return server.Target{Handler: http.HandlerFunc(r.hub.ServeSocket)}
	case path == "/readyz":
		return server.Target{Handler: http.HandlerFunc(r.ready)}
	case path == "/metrics":
		return server.Target{Handler: r.metrics}
	case strings.HasPrefix(path, "/v1/"):
		return server.Target{Handler: r.api}
	}
	return server.Target{}
}

// scrape answers Prometheus, and nobody who may not see all buckets.
func (r *relaying) scrape() http.Handler {
	return r.api.Protect(metrics.Handler(metrics.Options{
		Book: r.book.Now, Stats: r.hub.Stats, Log: r.log, TurnedAway: r.turnedAway,
		Kept: func(ctx context.Context) (metrics.Kept, error) {
			n, err := r.store.Sizes(ctx)
			return metrics.Kept{Deliveries: n.Deliveries, Bytes: n.Bytes}, err
		},
	}))
}

// turnedAway counts the requests that were not taken as webhooks.
func (r *relaying) turnedAway() map[string]int64 {
	all := r.intake.TurnedAway()
	all["unknown"] += r.hub.UnknownInputs()
	return all
}

// health is for everybody who reaches the relay: the log says more.
func (r *relaying) health() server.Health {
	if r.store.Health() != nil {
		return server.Health{Reason: "the store takes no webhooks now; the relay's log says why"}
	}
	return server.Health{OK: true}
}

// ready answers whether webhooks get in and out.
func (r *relaying) ready(w http.ResponseWriter, _ *http.Request) {
	h := r.health()
	if h.OK && r.secure != nil && r.secure.missing() {
		h = server.Health{Reason: "there is no certificate yet; the relay's log says why"}
	}
	w.Header().Set("Content-Type", "application/json")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "{\"ok\":%t,\"reason\":%q}\n", h.OK, h.Reason)
}

// own reports whether a host name is the relay's own, as far as it can know.
func (r *relaying) own(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	u, err := url.Parse(r.file.Load().PublicURL)
	return err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), host)
}

// publicURL is what URLs begin with: what the file says, else what the request
// was sent to.
func (r *relaying) publicURL(q *http.Request) string {
	if public := r.file.Load().PublicURL; public != "" {
		return public
	}
	scheme := "http"
	if r.secure != nil || q != nil && r.intake.Secure(q) {
		scheme = "https"
	}
	if q != nil && q.Host != "" {
		return scheme + "://" + q.Host
	}
	return scheme + "://" + reachable(r.socket.Addr())
}

// reachable is an address of this machine that programs on it can connect to.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// serve brings the account in line with the file, opens the port and serves
// until ctx ends.
func (r *relaying) serve(ctx context.Context, p Process) error {
	if err := r.ensure(ctx, r.file.Load()); err != nil {
		return err
	}
	var err error
	if r.secure, err = newSecure(r.file.Load().TLS, r.options, r.log); err != nil {
		return err
	}
	address := r.options.listen
	switch {
	case address == "" && r.secure != nil:
		address = relayTLSListen
	case address == "":
		address = relayListen
	}
	if r.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return withHint(err, "%s", listenHint(address, err))
	}
	if err := r.firstKey(ctx, p); err != nil {
		r.socket.Close()
		return err
	}
	r.greet()

	ctx, end := context.WithCancel(ctx)
	defer end()
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx)) // until nobody waits for an answer any more
	defer stopWork()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = r.hub.Run(working) })
	wg.Go(func() {
		if err := r.forward.Run(ctx); err != nil {
			r.log.Error("the relay sends nothing to public outputs", "err", err)
		}
	})
	wg.Go(func() { r.reload(ctx, p) })
	wg.Go(func() { r.secure.run(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		r.log.Info("stopping: no more webhooks are taken, clients are told to come back")
	})
	ln := r.socket
	if r.secure != nil {
		ln = r.secure.listener(ln)
	}
	err = r.intake.Serve(ctx, ln)
	end()
	stopWork()
	wg.Wait()
	r.log.Info("stopped")
	return err
}

// ensure brings the account in line with a file.
func (r *relaying) ensure(ctx context.Context, f *rules.RelayFile) error {
	if r.options.config == "" {
		return nil
	}
	err := r.book.Edit(ctx, func(a *account.Account) error {
		if bad := badOutputRules(r.options.config, f); len(bad) > 0 {
			return &bad[0]
		}
		for _, name := range ensure(a, f, time.Now()) {
			r.log.Warn("a bucket is not in the relay's file any more; it stays, with what is kept for it",
				"bucket", name, "to delete it", "hookrun relay buckets delete -force "+name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s does not fit the relay: %w", r.options.config, err)
	}
	return nil
}

// firstKey makes a token where there is none, and shows it once.
func (r *relaying) firstKey(ctx context.Context, p Process) error {
	if len(r.book.Now().Tokens) > 0 {
		return nil
	}
	key, secret := "relay-"+strings.ToLower(rand.Text()[:8]), account.SecretPrefix+rand.Text()+rand.Text()
	err := r.book.Edit(ctx, func(a *account.Account) error {
		now := account.At(time.Now())
		a.Tokens = append(a.Tokens, account.Token{
			ID: key, Description: "made at the first start", Active: true, APIAccess: account.APIEnabled,
			CreatedAt: now, UpdatedAt: now, SecretHash: account.HashSecret(secret),
		})
		return nil
	})
	if err != nil {
		return err
	}
	base := r.publicURL(nil)
	fmt.Fprintf(p.Stdout, `This relay has no key yet. Here is one; the secret is shown only now:

  export RELAY_URL=%s
  export RELAY_KEY=%s
  export RELAY_SECRET=%s

To try it, in another terminal, with these three set:

  hookrun relay buckets create deploys                   prints the URL to send webhooks to
  hookrun forward -bucket deploys http://localhost:3000/ sends them to a server on your machine

A hookrun with rules connects with key and secret set, and in its rules

  relay: {url: "%s"}

`, base, key, secret, socketURL(base))
	return nil
}

// socketURL is the address of the socket of a relay.
func socketURL(base string) string {
	return strings.Replace(base, "http", "ws", 1) + "/v1/socket"
}

// greet says where the relay is, and where webhooks go.
func (r *relaying) greet() {
	a := r.book.Now()
	r.log.Info("the relay is running", "version", version(), "address", r.socket.Addr().String(), "buckets", len(a.Buckets), "tokens", len(a.Tokens))
	public := r.publicURL(nil)
	const most = 20
	for i, b := range a.Buckets {
		if i == most {
			r.log.Info("and others: hookrun relay inputs lists them all", "buckets", len(a.Buckets)-most)
			return
		}
		for _, in := range b.Inputs {
			r.log.Info("webhooks go to", "bucket", b.Name, "url", inputURL(public, &in))
		}
	}
}

// reload reads the file again when it changes, until ctx ends.
func (r *relaying) reload(ctx context.Context, p Process) {
	if r.options.config == "" {
		return
	}
	w := rules.NewRelayWatcher(rules.RelayWatchOptions{
		Path: r.options.config, Loaded: r.told, Log: r.log,
		Load: func() (*rules.RelayFile, []rules.Problem) {
			return rules.LoadRelayFile(r.options.config, rules.Options{})
		},
		Also: func() []string { return r.file.Load().SecretFiles },
		Changed: func(f *rules.RelayFile, problems []rules.Problem) {
			printProblems(p, problems)
			if f == nil {
				r.log.Error("the relay's file is refused, what it said before goes on", "problems", countErrors(problems))
				return
			}
			r.change(ctx, f)
		},
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { kickOn(ctx, p, w) })
	w.Run(ctx)
}

// change puts a new file in force.
func (r *relaying) change(ctx context.Context, f *rules.RelayFile) {
	f, err := r.withFlags(f)
	if err != nil {
		r.log.Error("the relay's file is refused, what it said before goes on", "err", err)
		return
	}
	if err := r.ensure(ctx, f); err != nil {
		r.log.Error("the relay's file is refused, what it said before goes on", "err", err)
		return
	}
	old := r.file.Swap(f)
	r.store.Keep(f.Age, f.Size)
	a := r.book.Now()
	r.log.Info("the relay's file is in force", "buckets", len(a.Buckets), "tokens", len(a.Tokens))
	if !sameTLS(old.TLS, f.TLS) {
		r.log.Warn("tls: has changed: start the relay again for it")
	}
}
