package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"hookrun/engine/rules"
	"hookrun/relay/account"
)

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
