package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// order asks the authority for a certificate with a key of its own. Where a kind
// of challenge fails the next one is tried, with a new order.
func (r *Renewer) order(ctx context.Context, domain string) (*tls.Certificate, error) {
	if err := r.register(ctx); err != nil {
		return nil, fmt.Errorf("account at %s: %w", r.o.Directory, err)
	}
	var errs []error
	for _, kind := range r.kinds() {
		o, err := r.authorized(ctx, domain, kind)
		if err == nil {
			return r.fetch(ctx, domain, o)
		}
		if e, ok := errors.AsType[*acme.Error](err); ok && strings.HasSuffix(e.ProblemType, ":accountDoesNotExist") {
			r.client = nil // the authority forgot it: the next try makes it anew
		}
		errs = append(errs, fmt.Errorf("%s: %w", kind, err))
		if ctx.Err() != nil || !refused(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// refused reports whether the authority looked and did not find what it wanted, so
// that another kind of challenge may do.
func refused(err error) bool {
	_, invalid := errors.AsType[*acme.AuthorizationError](err)
	_, order := errors.AsType[*acme.OrderError](err)
	return invalid || order || errors.Is(err, errNotOffered)
}

var errNotOffered = errors.New("the authority does not offer it")

// kinds are the challenges that can be answered here.
func (r *Renewer) kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := []string{"tls-alpn-01"}
	if r.http01 {
		kinds = append(kinds, "http-01")
	}
	return kinds
}

// register makes the account, or finds it again by its key.
func (r *Renewer) register(ctx context.Context) error {
	if r.client != nil {
		return nil
	}
	key, err := r.cache.accountKey()
	if err != nil {
		return err
	}
	client := &acme.Client{Key: key, DirectoryURL: r.o.Directory, HTTPClient: r.o.HTTPClient, UserAgent: "hookrun", RetryBackoff: backoff}
	a := &acme.Account{}
	if r.o.Email != "" {
		a.Contact = []string{"mailto:" + r.o.Email}
	}
	agree := func(terms string) bool {
		r.log.Info("terms of service accepted, as the operator said", "terms", terms)
		return r.o.AcceptTerms
	}
	if _, err := client.Register(ctx, a, agree); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return err
	}
	r.client = client
	return nil
}

// backoff says when to send a request again. One that came too often is not: how
// long the authority wants to be left alone is for Run to keep.
func backoff(n int, _ *http.Request, resp *http.Response) time.Duration {
	if n > maxRetries || resp.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	return time.Second << (n - 1)
}

// authorized returns an order for which the domain is proved to be ours by a kind
// of challenge.
func (r *Renewer) authorized(ctx context.Context, domain, kind string) (*acme.Order, error) {
	o, err := r.client.AuthorizeOrder(ctx, acme.DomainIDs(domain))
	if err != nil {
		return nil, err
	}
	for _, url := range o.AuthzURLs {
		z, err := r.client.GetAuthorization(ctx, url)
		if err != nil {
			return nil, err
		}
		if z.Status == acme.StatusValid {
			continue // proved not long ago
		}
		if err := r.prove(ctx, z, domain, kind); err != nil {
			return nil, err
		}
	}
	return r.client.WaitOrder(ctx, o.URI)
}

// prove answers one challenge, and waits for what the authority says of it.
func (r *Renewer) prove(ctx context.Context, z *acme.Authorization, domain, kind string) error {
	for _, c := range z.Challenges {
		if c.Type != kind {
			continue
		}
		withdraw, err := r.present(domain, c)
		if err != nil {
			return err
		}
		defer withdraw()
		if _, err := r.client.Accept(ctx, c); err != nil {
			return err
		}
		_, err = r.client.WaitAuthorization(ctx, z.URI)
		return err
	}
	return errNotOffered
}

// fetch gets the certificate of an order that is authorized.
func (r *Renewer) fetch(ctx context.Context, domain string, o *acme.Order) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{domain}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := r.client.CreateCertFromOrder(ctx, o, csr, true)
	if err != nil {
		return nil, fmt.Errorf("certificate of the order: %w", err)
	}
	data, err := encode(&tls.Certificate{Certificate: chain, PrivateKey: key})
	if err != nil {
		return nil, err
	}
	return decode(data, domain)
}
