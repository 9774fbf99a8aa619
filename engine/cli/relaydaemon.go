package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"hookrun/engine/database"
	"hookrun/engine/rules"
	"hookrun/relay/account"
	"hookrun/relay/api"
	"hookrun/relay/filter"
	"hookrun/relay/forward"
	"hookrun/relay/hub"
	"hookrun/relay/server"
	relaystore "hookrun/relay/store"
)

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
