package cli

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"hookrun/actions"
	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/metrics"
	"hookrun/engine/rules"
	"hookrun/engine/store"
	"hookrun/relay/server"
)

// defaultListen is where webhooks are taken when no relay is configured, so
// that a first try needs no account.
const defaultListen = "127.0.0.1:8080"

const runManual = `hookrun -rules FILE [flags]
hookrun run -rules FILE [flags]

Receives webhooks and runs what the rules say, until it is told to end.

Webhooks come from the relay that the rules file configures, or that RELAY_KEY
and RELAY_SECRET give access to; with -listen also over HTTP on this machine.
With no relay and no -listen they are taken on ` + defaultListen + `.

The dashboard is at http://` + defaultAdmin + `/, for whoever is on this machine,
unless the rules give it a token. -admin takes another address, or none.

The rules are read again when they change, or on SIGHUP. Rules with a problem
are refused and the rules before them go on.

SIGINT or SIGTERM: no more webhooks are taken, running commands get -grace to
end, what is left goes on at the next start. A second one does not wait.

Examples:
  hookrun -rules rules.yaml
  hookrun -rules /etc/hookrun/rules -data /var/lib/hookrun -log json
  RELAY_KEY=… RELAY_SECRET=… hookrun -rules rules.yaml -listen :8080

Exit codes: 0 ended by a signal, 1 it could not start, 2 wrong usage, 75 the
disk failed, and the next start goes on; or the store is damaged, see
-on-corrupt.`

// runOptions are the flags of run.
type runOptions struct {
	rules          list
	listen, data   string
	metrics        string
	admin          adminFlag
	logFormat      string
	verbose        bool
	grace          span
	keepAge        span
	keepSize       byteSize
	onCorruptFresh bool
}

func runCommand() command {
	return command{name: "run", summary: "receive webhooks and run what the rules say (the default)", manual: runManual, run: runRun}
}

func runRun(ctx context.Context, p Process, c command, args []string) error {
	o := runOptions{grace: span(engine.DefaultGrace), keepAge: span(store.DefaultKeepAge), keepSize: store.DefaultKeepSize, admin: adminFlag{address: defaultAdmin}}
	fs := flags(c)
	fs.Var(&o.rules, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	fs.StringVar(&o.listen, "listen", "", "also take webhooks over HTTP on this `ADDRESS`")
	fs.StringVar(&o.metrics, "metrics", "", "serve /metrics for Prometheus, and /healthz, on this `ADDRESS`: one that strangers don't reach")
	fs.Var(&o.admin, "admin", "the dashboard's `ADDRESS`, \"\" for none; beyond this machine it needs a token, see admin: of the rules")
	fs.StringVar(&o.logFormat, "log", "text", "log `FORMAT`: text or json")
	fs.BoolVar(&o.verbose, "v", false, "log more: rules that did not match and why, steps")
	fs.Var(&o.grace, "grace", "how long running commands may go on at the end: a `TIME` such as 30s")
	fs.Var(&o.keepAge, "keep-age", "how long finished events are kept: a `TIME` such as 12h or 30d")
	fs.Var(&o.keepSize, "keep-size", "`SIZE` of the store beyond which the oldest finished events go")
	var onCorrupt string
	corruptFlag(fs, &onCorrupt)
	dataFlag(fs, &o.data)
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if err := needRules(fs, o.rules); err != nil {
		return err
	}
	var err error
	if o.onCorruptFresh, err = isFresh(onCorrupt); err != nil {
		return err
	}
	log, err := newLogger(p.Stderr, o.logFormat, o.verbose)
	if err != nil {
		return err
	}
	return daemon(ctx, p, o, log)
}

func corruptFlag(fs *flag.FlagSet, way *string) {
	fs.StringVar(way, "on-corrupt", "stop", "the `WAY` with a damaged store: stop, or fresh: put it aside and begin a new one")
}

// isFresh reports whether the way with a damaged store is to put it aside.
func isFresh(way string) (bool, error) {
	if way != "stop" && way != "fresh" {
		return false, &usageError{fmt.Sprintf("-on-corrupt=%s: there is no such way", way), "-on-corrupt=stop or -on-corrupt=fresh"}
	}
	return way == "fresh", nil
}

func dataFlag(fs *flag.FlagSet, data *string) {
	fs.StringVar(data, "data", defaultData(), "`FOLDER` for the store: one hookrun at a time")
}

func needRules(fs *flag.FlagSet, paths list) error {
	if len(paths) > 0 {
		return nil
	}
	hint := "hookrun " + fs.Name() + " -rules rules.yaml"
	return &usageError{fs.Name() + ": -rules is missing", strings.Replace(hint, " run ", " ", 1)}
}

// defaultData is the folder that systemd gives the service, else the one of
// the XDG base directories for state.
func defaultData() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" { // systemd may name several
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hookrun")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".hookrun"
	}
	return filepath.Join(home, ".local", "state", "hookrun")
}

// running is a daemon put together but not yet started.
type running struct {
	log       *slog.Logger
	options   runOptions
	loader    *loader
	first     *rules.Generation
	gate      *gate
	store     *store.Store
	engine    *engine.Engine
	intake    *server.Server
	socket    net.Listener // nil: no intake
	watched   net.Listener // of -metrics; nil: none
	dashboard *dashboard   // nil: none
	metrics   *metrics.Metrics
	feed      *control.Feed
	desk      *control.Local // made once the engine is open
	relay     *relayLink
	client    *http.Client
	hurry     chan struct{} // closed by skipWaits
	skipWaits func()
}

// daemon runs hookrun: rules, store, what is left of the last time, ports,
// relay, in this order; and ends it in the reverse one.
func daemon(ctx context.Context, p Process, o runOptions, log *slog.Logger) error {
	if err := harden(); err != nil {
		log.Warn("commands can read hookrun's environment", "err", err)
	}
	hurry := make(chan struct{})
	r := &running{log: log, options: o, hurry: hurry, skipWaits: sync.OnceFunc(func() { close(hurry) }), client: &http.Client{Transport: newTransport()}}
	defer r.client.CloseIdleConnections()
	r.feed = &control.Feed{}
	r.metrics = metrics.New(metrics.Build{Version: version(), Go: runtime.Version()})
	var err error
	r.loader = newLoader(p, o, r.client, log)
	if r.first, err = r.loader.first(); err != nil {
		return err
	}
	r.store, err = store.Open(ctx, store.Options{
		Dir: o.data, Log: log, KeepAge: time.Duration(o.keepAge), KeepSize: int64(o.keepSize), FreshOnCorrupt: o.onCorruptFresh,
		OnCommit: r.metrics.Commit,
	})
	if err == nil {
		err = r.withStore(ctx, p)
	} else if !errors.Is(err, store.ErrCorrupt) { // which says itself what to do
		err = withHint(err, "-data FOLDER takes another one")
	}
	switch {
	case errors.Is(err, store.ErrIO), errors.Is(err, store.ErrCorrupt):
		log.Error("the store can't be used any more; what it has acknowledged is in its folder", "err", err)
		return exitError(exitStorage)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil // told to end while it was starting
	}
	return err
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 4
	return t
}

// withStore runs the store for as long as anything may write to it.
func (r *running) withStore(ctx context.Context, p Process) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	storing, closeStore := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var storeErr error
	wg.Go(func() {
		if storeErr = r.store.Serve(storing); storeErr != nil {
			fail()
			r.skipWaits() // nothing can be saved any more
		}
	})
	wg.Go(func() { r.passHurry(storing, p.Hurry) })
	err := r.withEngine(ctx, p)
	closeStore()
	wg.Wait()
	return cmp.Or(storeErr, err)
}

// passHurry passes the second signal on.
func (r *running) passHurry(ctx context.Context, hurry <-chan struct{}) {
	select {
	case <-hurry:
		r.log.Warn("not waiting any more")
		r.skipWaits()
	case <-ctx.Done():
	}
}

// withEngine recovers, opens the ports and runs the engine for as long as anything
// may come in.
func (r *running) withEngine(ctx context.Context, p Process) error {
	if err := r.openEngine(ctx); err != nil {
		return err
	}
	if err := r.openPorts(ctx); err != nil {
		r.closePorts()
		return err
	}
	r.desk = r.newDesk()
	stopDesk, err := r.openDesk(ctx)
	if err != nil {
		r.closePorts()
		return err
	}
	err = r.work(ctx, p)
	stopDesk()
	r.log.Info("stopped", "waiting", r.engine.Waiting())
	return err
}

// openEngine recovers.
func (r *running) openEngine(ctx context.Context) error {
	temp, err := tempDir(r.options.data)
	if err != nil {
		return err
	}
	detached, err := r.detachDir(ctx)
	if err != nil {
		return err
	}
	instance, err := r.store.Instance(ctx)
	if err != nil {
		return err
	}
	r.gate = r.openGate(ctx)
	r.engine, err = engine.Open(ctx, engine.Options{
		Store: r.store, Rules: r.first.Rules, Log: r.log, Grace: time.Duration(r.options.grace),
		TempDir: temp, DetachDir: detached, Instance: instance, Hurry: r.hurry, Reap: actions.KillLeftover,
		OnEvent: each(r.metrics.Event, r.feed.Event), OnReject: each(r.metrics.Rejected, r.feed.Rejected), OnChange: each(r.metrics.Run, r.feed.Run),
	})
	if err != nil {
		return err
	}
	r.relay = newRelayLink(linkOptions{answers: r.answers(), client: r.client, log: r.log, hurry: r.hurry, instance: instance})
	r.relay.set(r.first.Relay)
	return nil
}

// openPorts opens those of -metrics, of the intake and of the dashboard.
func (r *running) openPorts(ctx context.Context) (err error) {
	if r.watched, err = watched(ctx, r.options.metrics); err != nil {
		return err
	}
	if err := r.listen(ctx); err != nil {
		return err
	}
	return r.listenAdmin(ctx)
}

// openDesk answers people until stop is called: at the dashboard and the control
// socket, with or without either.
func (r *running) openDesk(ctx context.Context) (stop func(), err error) {
	stopDashboard, err := r.openDashboard(ctx)
	if err != nil {
		return nil, err
	}
	stopControl := r.openControl(ctx)
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { r.tellHealth(telling) })
	return func() {
		stopDashboard()
		stopControl()
		stopTelling()
		wg.Wait()
	}, nil
}

// work runs the engine until ctx ends or the intake fails, and what runs then has
// ended and is told of.
func (r *running) work(ctx context.Context, p Process) error {
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	answering, stopAnswers := context.WithCancel(context.WithoutCancel(ctx)) // what still runs is told of too
	defer stopAnswers()
	var work, answers sync.WaitGroup
	answers.Go(func() { r.relay.answer(answering) })
	work.Go(func() { r.engine.Run(working) }) // starts nothing new once ctx ends
	r.greet()
	err := r.takeIn(ctx, p)
	stopWork() // where the intake failed ctx goes on
	work.Wait()
	stopAnswers()
	answers.Wait()
	return err
}

// closePorts closes what was opened before a start that fails.
func (r *running) closePorts() {
	for _, ln := range []net.Listener{r.watched, r.socket} {
		if ln != nil {
			ln.Close()
		}
	}
	r.dashboard.close()
}

// tempDir makes the folder for what steps need while they run, empty: what a
// crash left there is of no use. The data folder is ours alone by now.
func tempDir(data string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(data, "tmp"))
	if err != nil {
		return "", fmt.Errorf("folder for temporary files: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("empty the folder for temporary files: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder for temporary files: %w", err)
	}
	return dir, nil
}

// detachDir returns the folder for what detached commands need, without what
// runs that have finished left there.
func (r *running) detachDir(ctx context.Context) (string, error) {
	dir, err := filepath.Abs(filepath.Join(r.options.data, "detached"))
	if err != nil {
		return "", fmt.Errorf("folder for detached commands: %w", err)
	}
	err = actions.CleanDetached(dir, func(folder string) bool {
		const idLength = 36 // of a UUID, with which the name begins
		name := filepath.Base(folder)
		run, err := r.store.Run(ctx, name[:min(len(name), idLength)])
		if err != nil {
			return !errors.Is(err, engine.ErrNotFound) // who can't be asked may still need it
		}
		return !run.State.Finished()
	})
	if err != nil {
		r.log.Warn("what detached commands left is not removed", "dir", dir, "err", err)
	}
	return dir, nil
}

// listen opens the intake's port, where there is to be one.
func (r *running) listen(ctx context.Context) error {
	address, local := r.options.listen, false
	if address == "" {
		if r.first.Relay.Configured() {
			return nil
		}
		address, local = defaultListen, true
	}
	var err error
	if r.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return withHint(err, "%s", listenHint(address, err))
	}
	r.intake = server.New(server.Options{
		Inbox: inbox{r.engine, r.answers()}, Log: r.log, Health: r.health, Hurry: r.hurry, LocalOnly: local,
		Proxies: func() []netip.Prefix { return r.engine.Rules().Proxies },
	})
	return nil
}

func (r *running) answers() answers {
	return answers{engine: r.engine, desk: &control.Local{Store: r.store, Live: r.engine}}
}

func listenHint(address string, err error) string {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "an address has a port, as in -listen :8080 or -listen 127.0.0.1:8080"
	}
	if errors.Is(err, fs.ErrPermission) {
		return "ports below 1024 are for root, or for a program with the right to them: setcap cap_net_bind_service=+ep " + os.Args[0] + ", or AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit"
	}
	return "-listen ADDRESS takes another one; is another hookrun, or another program, there already?"
}

// health is for everybody who reaches the intake: the log says more.
func (r *running) health() server.Health {
	if r.store.Health() != nil {
		return server.Health{Reason: "the store takes no events now; hookrun's log says why"}
	}
	if reason := r.relay.Health(); reason != "" {
		return server.Health{Reason: reason}
	}
	return server.Health{OK: true}
}

// greet says where webhooks come from, and how to try it.
func (r *running) greet() {
	r.log.Info("hookrun is running", "version", version(), "rules", len(r.first.Rules.Rules), "waiting", r.engine.Waiting())
	if r.socket == nil {
		return
	}
	address := r.socket.Addr().String()
	r.log.Info("listening", "address", address)
	if r.first.Relay.Configured() || r.options.listen != "" {
		return
	}
	r.log.Info("no relay is configured; to try it: " + fmt.Sprintf(`curl -d '{"ref":"refs/heads/main"}' http://%s/hooks/%s`, address, firstBucket(r.first)))
}

func firstBucket(g *rules.Generation) string {
	for _, r := range g.Rules.Rules {
		if len(r.Buckets) > 0 {
			return r.Buckets[0]
		}
	}
	return "test"
}

// takeIn takes webhooks, and new rules, until ctx ends. It returns when
// everything that was taken is on disk.
func (r *running) takeIn(ctx context.Context, p Process) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	wg.Go(func() { r.relay.take(ctx) })
	wg.Go(func() { r.reload(ctx, p) })
	if r.watched != nil {
		w := &watching{health: r.health, metrics: r.scrapes(), log: r.log}
		wg.Go(func() { w.serve(ctx, r.watched) })
	}
	wg.Go(func() {
		<-ctx.Done()
		r.log.Info("stopping: no more webhooks are taken; running commands may go on for the grace time, a second signal ends them now", "grace", time.Duration(r.options.grace))
	})
	var served error
	if r.socket != nil {
		wg.Go(func() {
			if served = r.intake.Serve(ctx, r.socket); served != nil {
				fail(served)
			}
		})
	}
	wg.Wait()
	return served
}
