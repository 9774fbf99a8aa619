package cli

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"hookrun/engine/metrics"
	"hookrun/engine/rules"
	"hookrun/engine/verify"
)

// loader reads the rules and keeps the good generations.
type loader struct {
	paths   []string
	options rules.Options
	archive *rules.Archive
	log     *slog.Logger
	tell    func([]rules.Problem) // says what is wrong with the rules

	// told is the fingerprint of the files that the start read.
	told string

	// refused is what is wrong with what the files hold where the start did not take
	// it.
	refused []rules.Problem
}

func newLoader(p Process, o runOptions, client *http.Client, log *slog.Logger) *loader {
	l := &loader{
		paths: o.rules, options: rules.Options{Client: client, Guard: guard(o), Exposed: exposed(o.listen)}, archive: openArchive(o.data), log: log,
		tell: func(problems []rules.Problem) { printProblems(p, problems) },
	}
	if o.logFormat == "json" {
		l.tell = l.logProblems
	}
	return l
}

// exposed reports whether an intake on the address takes webhooks from other
// machines.
func exposed(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false // "", or what can't be listened on
	}
	addr, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !addr.Unmap().IsLoopback())
}

// guard are the files and folders of hookrun's own: a payload that could write
// there could write rules.
func guard(o runOptions) []string {
	var paths []string
	for _, path := range append([]string{o.data}, o.rules...) {
		if abs, err := filepath.Abs(path); err == nil { // it fails where there is no working directory
			paths = append(paths, abs)
		}
	}
	return paths
}

// logProblems is printProblems where all that is said has to be a log.
func (l *loader) logProblems(problems []rules.Problem) {
	for _, p := range problems {
		level := slog.LevelError
		if p.Warning {
			level = slog.LevelWarn
		}
		l.log.Log(context.Background(), level, "problem in the rules", "file", p.File, "line", p.Line, "column", p.Col, "rule", p.Rule, "err", p.Msg, "hint", p.Hint)
	}
}

func openArchive(data string) *rules.Archive {
	return rules.OpenArchive(filepath.Join(data, "generations"))
}

// load reads the files. It is called by one goroutine at a time.
func (l *loader) load() (*rules.Generation, []rules.Problem) {
	g, problems := rules.Load(l.paths, l.options)
	if g != nil {
		l.options.Former = former(g.Verified)
	}
	return g, problems
}

// former are secrets that senders may still use once the rules have others.
func former(secrets []verify.Known) []verify.Known {
	var all []verify.Known
	for _, k := range secrets {
		all = append(all, verify.Known{Name: k.Name + " before the rules were edited last", Secret: k.Secret})
	}
	return all
}

// first returns the rules to start with: those of the files, or, where these
// have problems, the last good ones, if these files ever had some.
func (l *loader) first() (*rules.Generation, error) {
	l.told = rules.Fingerprint(l.paths)
	g, problems := l.load()
	l.tell(problems)
	if g != nil {
		return g, nil
	}
	entry, files, err := l.archive.Newest(l.paths)
	if err != nil || files == nil {
		l.log.Error("hookrun does not start: the rules have problems, and no good ones from before are kept")
		return nil, exitError(exitFailed)
	}
	if g, _ = rules.Parse(files, l.options); g == nil { // a secret or a folder of theirs is gone, say: the file's own problems are the news
		return nil, exitError(exitFailed)
	}
	l.refused = problems
	l.log.Error("the rules have problems; going on with the last good ones", "generation", entry.N, "of", entry.At.Local().Format(time.DateTime))
	return g, nil
}

// keep archives a generation that is in force now.
func (l *loader) keep(g *rules.Generation) {
	n, err := l.archive.Add(g, time.Now())
	if err != nil {
		l.log.Warn("rules are not kept: there will be no going back to them", "err", err)
		return
	}
	l.log.Info("rules are in force", "generation", n, "rules", len(g.Rules.Rules))
}

// printProblems prints each problem on a line, and its hint on the next.
func printProblems(p Process, problems []rules.Problem) {
	for _, problem := range problems {
		printError(p, problem.String(), problem.Hint)
	}
}

// reload reads the rules again when they change, until ctx ends.
func (r *running) reload(ctx context.Context, p Process) {
	r.loader.keep(r.first)
	r.metrics.InForce(r.first.Rules, time.Now())
	if r.loader.refused != nil {
		r.metrics.Reload(metrics.ReloadRefused)
	}
	w := rules.NewWatcher(rules.WatchOptions{
		Paths: r.options.rules, Load: r.loader.load, Loaded: r.loader.told, Log: r.log,
		Also: func() []string { return r.gate.current().SecretFiles },
		Changed: func(g *rules.Generation, problems []rules.Problem) {
			r.loader.tell(problems)
			if g == nil {
				r.metrics.Reload(metrics.ReloadRefused)
				r.gate.refuse(problems) // before it is logged: then they can be asked for
				r.log.Error("rules are refused, those before go on", "problems", countErrors(problems))
				return
			}
			r.gate.offer(ctx, g)
		},
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { kickOn(ctx, p, w) })
	w.Run(ctx)
}

func countErrors(problems []rules.Problem) int {
	n := 0
	for _, p := range problems {
		if !p.Warning {
			n++
		}
	}
	return n
}

// kickOn has the rules read at each signal.
func kickOn(ctx context.Context, p Process, w *rules.Watcher) {
	for {
		select {
		case <-p.Reload:
			w.Kick()
		case <-ctx.Done():
			return
		}
	}
}

// swap puts new rules in force, for the next event on.
func (r *running) swap(old, g *rules.Generation) {
	r.engine.SetRules(g.Rules)
	r.relay.set(g.Relay)
	r.metrics.InForce(g.Rules, time.Now())
	r.metrics.Reload(metrics.ReloadOK)
	added, changed, removed := rules.Diff(old.Rules, g.Rules)
	for _, name := range added {
		r.log.Info("rule added", "rule", name)
	}
	for _, name := range changed {
		r.log.Info("rule changed", "rule", name)
	}
	for _, name := range removed {
		r.log.Info("rule removed", "rule", name)
	}
	for _, name := range rules.DiffBuckets(old, g) {
		r.log.Info("bucket changed", "bucket", name)
	}
	r.tellAdmin(old, g)
	r.loader.keep(g)
	if r.socket == nil && !g.Relay.Configured() {
		r.log.Warn("no webhooks come in: the rules name no relay any more, and hookrun was started without -listen; start it again to listen")
	}
}
