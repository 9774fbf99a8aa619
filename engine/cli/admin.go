package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"reflect"
	"sync"

	"hookrun/engine/control"
	"hookrun/engine/rules"
	"hookrun/engine/web"
	"hookrun/relay/certs"
)

// defaultAdmin is where the dashboard is where nobody says another place.
const defaultAdmin = "127.0.0.1:8081"

// adminFlag is the address of -admin.
type adminFlag struct {
	address string
	given   bool
}

func (f *adminFlag) String() string { return f.address }

// Set implements flag.Value.
func (f *adminFlag) Set(v string) error {
	*f = adminFlag{v, true}
	return nil
}

// dashboard is the port of -admin.
type dashboard struct {
	ln    net.Listener
	certs *certs.Reloader // nil: plain HTTP
}

// listenAdmin opens the port of the dashboard. Where nobody asked for one and
// another program has it, hookrun goes on without.
func (r *running) listenAdmin(ctx context.Context) error {
	address, asked := adminAddress(r.options.admin, r.first.Admin)
	if address == "" {
		return nil
	}
	if err := r.mayShow(address); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err != nil && !asked:
		r.log.Warn(`there is no dashboard; -admin ADDRESS takes another address, -admin "" is for none`, "err", err)
		return nil
	case err != nil:
		return withHint(fmt.Errorf("-admin: %w", err), "%s", adminHint(address, err))
	}
	d := &dashboard{ln: ln}
	if a := r.first.Admin; a.Cert != "" {
		if d.certs, err = certs.Files(a.Cert, a.Key, r.log); err != nil {
			ln.Close()
			return fmt.Errorf("admin: tls: %w", err)
		}
		d.ln = tls.NewListener(ln, d.certs.Config())
	}
	r.dashboard = d
	return nil
}

// adminAddress is where the dashboard is to be, "" for nowhere. asked: somebody said
// so.
func adminAddress(f adminFlag, a rules.Admin) (address string, asked bool) {
	if f.given {
		return f.address, true
	}
	return cmp.Or(a.Listen, defaultAdmin), a.Listen != ""
}

// mayShow is an error where the dashboard would be for everybody.
func (r *running) mayShow(address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return withHint(fmt.Errorf("-admin: %w", err), "%s", adminHint(address, err))
	}
	if !exposed(address) {
		return nil
	}
	if r.first.Admin.Token.Reveal() == "" {
		return withHint(fmt.Errorf("-admin %s: whoever reaches the dashboard from another machine could do all that it can", address), `say in the rules file admin: {token: "${env:ADMIN_TOKEN}"}, or take -admin %s`, defaultAdmin)
	}
	if r.first.Admin.Cert == "" {
		r.log.Warn("the dashboard has no certificate: its token goes over the network in the clear, unless a proxy is before it; admin: {tls: {cert: …, key: …}} gives it one", "address", address)
	}
	return nil
}

func adminHint(address string, err error) string {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return `an address has a port, as in -admin 127.0.0.1:8081; -admin "" is for no dashboard`
	}
	if errors.Is(err, fs.ErrPermission) {
		return "ports below 1024 are for root: take a higher one, such as -admin " + defaultAdmin
	}
	return `-admin ADDRESS takes another one, -admin "" is for no dashboard; is another hookrun, or another program, there already?`
}

// openDashboard serves it until stop is called.
func (r *running) openDashboard(ctx context.Context) (stop func(), err error) {
	if r.dashboard == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	site, err := web.New(r.siteOptions(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := site.Serve(ctx, r.dashboard.ln); err != nil {
			r.log.Error("the dashboard has failed", "err", err)
		}
	})
	if r.dashboard.certs != nil {
		wg.Go(func() { _ = r.dashboard.certs.Run(ctx) }) // ends with ctx alone
	}
	r.log.Info("dashboard", "address", r.dashboard.url())
	r.tellClosed(r.gate.current())
	return func() {
		cancel()
		wg.Wait()
	}, nil
}

func (r *running) siteOptions(ctx context.Context) web.Options {
	a := r.first.Admin
	hosts := a.Hosts
	if host, _, err := net.SplitHostPort(a.Listen); err == nil && net.ParseIP(host) == nil && host != "" {
		hosts = append([]string{host}, hosts...)
	}
	return web.Options{
		Desk: r.desk, API: control.NewServer(r.desk, r.log).Handler(ctx), Metrics: r.scrapes(),
		Token: a.Token, Hosts: hosts, TLS: a.Cert != "", Log: r.log,
		Closed: func() string { return closed(a, r.gate.current()) },
	}
}

// closed says why nobody may use the dashboard with these rules in force, "" where
// people may. a is what they said of it when hookrun started.
func closed(a rules.Admin, inForce *rules.Generation) string {
	if a.Token.Reveal() != "" || !inForce.RunsAs {
		return ""
	}
	// What runs as another user is trusted less than hookrun, and reaches its port.
	return "a rule has run_as, and without a token its command could use the dashboard to act as hookrun"
}

// tellClosed warns of a dashboard that is closed.
func (r *running) tellClosed(inForce *rules.Generation) {
	if why := closed(r.first.Admin, inForce); why != "" && r.dashboard != nil {
		r.log.Warn("the dashboard is closed until hookrun starts with a token for it, as in admin: {token: \"${env:ADMIN_TOKEN}\"}", "why", why)
	}
}

// tellAdmin warns of an edit that does nothing yet, and of one that closes the
// dashboard.
func (r *running) tellAdmin(old, now *rules.Generation) {
	if !reflect.DeepEqual(old.Admin, now.Admin) {
		r.log.Warn("what the rules say of admin has changed: hookrun takes it at its next start")
	}
	if !old.RunsAs {
		r.tellClosed(now)
	}
}

// url is what a person opens.
func (d *dashboard) url() string {
	scheme := "http"
	if d.certs != nil {
		scheme = "https"
	}
	return scheme + "://" + d.ln.Addr().String() + "/"
}

// close closes the port of one that is not served.
func (d *dashboard) close() {
	if d != nil {
		d.ln.Close()
	}
}
