package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// How certificates are asked for.
const (
	attemptTime = 5 * time.Minute  // for one certificate, all kinds of challenges
	requestTime = 30 * time.Second // for one request
	firstPause  = 5 * time.Minute  // after a failure; each further one is four times as long,
	maxPause    = 6 * time.Hour    // at most that: an authority allows only some failures an hour
	maxAsked    = 24 * time.Hour   // of a pause that the authority asks for
	maxRetries  = 5                // of one request
	maxSleep    = time.Hour        // between looks at the clock, which may have been set meanwhile
	renewPart   = 3                // a certificate is renewed when this part of its life is left
	jitterPart  = 10               // of that time, at random, it is renewed earlier
)

// Options of ACME. Domains, Cache and AcceptTerms are required.
type Options struct {
	// Domains are the names to have certificates for, one for each. The first one's
	// is shown to who names none.
	Domains []string

	// Cache is the folder in which keys and certificates are kept, of each directory
	// apart. It is made where it is not there.
	Cache string

	// AcceptTerms says that the operator has agreed to the authority's terms of
	// service.
	AcceptTerms bool

	Email      string       // for the authority to write to; it counts when the account is made. "": none
	Directory  string       // URL of the authority's directory; "": that of Let's Encrypt
	HTTPClient *http.Client // for requests to the authority; nil: a plain one with a timeout
	Log        *slog.Logger // nil: nothing is logged
}

// Renewer has certificates of an ACME authority. Make one with ACME.
type Renewer struct {
	o     Options
	log   *slog.Logger
	cache cache
	now   func() time.Time // the wall clock

	// issue asks for a certificate. It is called by Run.
	issue func(ctx context.Context, domain string) (*tls.Certificate, error)

	client *acme.Client // owned by Run; nil before the first request

	mu         sync.Mutex                  // guards what follows
	shown      map[string]*tls.Certificate // by domain
	challenges map[string]*tls.Certificate // of tls-alpn-01, by domain
	answers    map[string]string           // of http-01, by token
	http01     bool                        // Handler was called
}

// ACME returns what has certificates of an ACME authority, with those that the
// cache holds. It asks for none before Run.
func ACME(o Options) (*Renewer, error) {
	switch {
	case len(o.Domains) == 0:
		return nil, errors.New("ACME: no domain is named: name those that the relay is reached by")
	case !o.AcceptTerms:
		return nil, errors.New("ACME: the authority's terms of service are not accepted: read them, then set accept_terms: true")
	case o.Cache == "":
		return nil, errors.New("ACME: no folder is named to keep keys and certificates in")
	}
	o.Directory = cmp.Or(o.Directory, acme.LetsEncryptURL)
	r := &Renewer{
		o: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), now: time.Now,
		shown: map[string]*tls.Certificate{}, challenges: map[string]*tls.Certificate{}, answers: map[string]string{},
	}
	r.issue = r.order
	var err error
	if r.cache, err = openCache(o.Cache, o.Directory); err != nil {
		return nil, err
	}
	for _, domain := range o.Domains {
		c, err := r.cache.certificate(domain)
		if err != nil {
			r.log.Warn("cached certificate is no good, it is asked for anew", "domain", domain, "err", err)
		}
		if c != nil {
			r.shown[domain] = c
		}
	}
	return r, nil
}

// Config returns what to take connections with, those of the authority that
// check tls-alpn-01 included: these come to port 443.
func (r *Renewer) Config() *tls.Config { return config(r.certificate, acme.ALPNProto) }

// certificate finds what to show. Without an error and a certificate the client
// is told that its name is not known here.
func (r *Renewer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto {
		return r.challenges[name], nil
	}
	name = cmp.Or(name, r.o.Domains[0])
	c := r.shown[name]
	if c == nil && slices.Contains(r.o.Domains, name) {
		return nil, errors.New("the certificate is not there yet")
	}
	return c, nil
}

// Missing returns the domains without a certificate that is valid now.
func (r *Renewer) Missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for _, domain := range r.o.Domains {
		if c := r.shown[domain]; c == nil || r.now().After(c.Leaf.NotAfter) {
			missing = append(missing, domain)
		}
	}
	return missing
}

// plan says when to ask for the certificate of a domain.
type plan struct {
	domain string
	at     time.Time
	fails  int // in a row
}

// Run has a certificate for each domain, and renews them, until ctx ends, and
// returns nil then. One domain after the other is asked for; a failure of one
// leaves the others alone.
func (r *Renewer) Run(ctx context.Context) error {
	if r.o.HTTPClient == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		r.o.HTTPClient = &http.Client{Timeout: requestTime, Transport: transport}
	}
	plans := r.plans()
	for {
		wait := maxSleep
		for i := range plans {
			p := &plans[i]
			if !r.now().Before(p.at) {
				r.renew(ctx, p)
			}
			wait = min(wait, max(p.at.Sub(r.now()), 0))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// plans are those of a start.
func (r *Renewer) plans() []plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	var plans []plan
	for _, domain := range r.o.Domains {
		p := plan{domain: domain, at: r.now()}
		if c := r.shown[domain]; c != nil {
			p.at = renewal(c)
		}
		plans = append(plans, p)
	}
	return plans
}

// renewal is when to renew a certificate. Many relays that began at one time do
// not all come at one time again.
func renewal(c *tls.Certificate) time.Time {
	part := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) / renewPart
	return c.Leaf.NotAfter.Add(-part - rand.N(part/jitterPart+1))
}

// renew asks for a certificate and plans when to do so again.
func (r *Renewer) renew(ctx context.Context, p *plan) {
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	c, err := r.issue(attempt, p.domain)
	switch {
	case err != nil && ctx.Err() != nil:
		return // we are to stop
	case err != nil:
		r.failed(p, err)
		return
	}
	r.mu.Lock()
	r.shown[p.domain] = c
	r.mu.Unlock()
	p.fails, p.at = 0, renewal(c)
	if least := r.now().Add(firstPause); p.at.Before(least) { // it is over already by our clock
		p.at = least
	}
	r.log.Info("certificate obtained", "domain", p.domain, "expires", c.Leaf.NotAfter)
	if err := r.cache.keep(p.domain, c); err != nil {
		r.log.Error("certificate is not kept: it will be asked for again after a restart", "domain", p.domain, "err", err)
	}
}

// failed puts the next try off.
func (r *Renewer) failed(p *plan, err error) {
	pause := maxPause
	if p.fails < 4 {
		pause = min(firstPause<<(2*p.fails), maxPause)
	}
	if e, ok := errors.AsType[*acme.Error](err); ok {
		asked, _ := acme.RateLimit(e)
		pause = max(pause, min(asked, maxAsked))
	}
	p.fails++
	p.at = r.now().Add(pause)

	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.shown[p.domain]; c != nil {
		r.log.Warn("certificate is not renewed, will try again", "domain", p.domain, "expires", c.Leaf.NotAfter, "in", pause, "err", err)
		return
	}
	r.log.Error("no certificate, will try again", "domain", p.domain, "in", pause, "err", err)
}
