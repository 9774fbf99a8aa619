package verify

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	maxCerts      = 16 // kept
	maxCertsFetch = 10 // fetched in a minute, whatever messages ask for
)

// certificates are those that Amazon SNS signs with, by URL. One that is known is
// found at once, whatever is being fetched.
type certificates struct {
	fetch fetch
	queue queue

	mu    sync.Mutex // guards known, and is never held over a fetch
	known map[string]*x509.Certificate

	// These belong to who has the turn.
	minute  time.Time             // in which
	fetched int                   // were asked for
	failed  map[string]failedCert // of the last keysAgainOn
}

// A failedCert is not asked for again for a while: those that waited for it need
// not find out one by one.
type failedCert struct {
	failure *Failure
	next    time.Time
}

func newCertificates(f fetch) *certificates {
	return &certificates{fetch: f, queue: newQueue(), known: map[string]*x509.Certificate{}, failed: map[string]failedCert{}}
}

// key is the public key of the certificate at a URL of Amazon SNS.
func (c *certificates) key(ctx context.Context, text string, now time.Time) (*rsa.PublicKey, *Failure) {
	u, ok := snsURL(text)
	if !ok || !strings.HasSuffix(u.Path, ".pem") || u.RawQuery != "" {
		return nil, fail("the field SigningCertURL does not lead to a certificate of Amazon SNS")
	}
	cert := c.look(text)
	if cert == nil {
		var f *Failure
		if cert, f = c.wait(ctx, text, now); f != nil {
			return nil, f
		}
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, fail("the certificate of Amazon SNS is not valid now")
	}
	return cert.PublicKey.(*rsa.PublicKey), nil
}

// look returns a certificate that is known, or nil.
func (c *certificates) look(text string) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[text]
}

// wait gets a certificate once it is its turn.
func (c *certificates) wait(ctx context.Context, text string, now time.Time) (*x509.Certificate, *Failure) {
	if f := c.queue.enter(ctx); f != nil {
		return nil, f
	}
	defer c.queue.leave()
	// Somebody may have fetched it while this one waited.
	if cert := c.look(text); cert != nil {
		return cert, nil
	}
	if f := c.refuse(text, now); f != nil {
		return nil, f
	}
	cert, f := c.get(ctx, text)
	if f != nil {
		c.failed[text] = failedCert{f, now.Add(keysAgainOn)}
		return nil, f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxCerts {
		clear(c.known)
	}
	c.known[text] = cert
	return cert, nil
}

// refuse says why a certificate is not fetched now, or nil.
func (c *certificates) refuse(text string, now time.Time) *Failure {
	maps.DeleteFunc(c.failed, func(_ string, old failedCert) bool { return !now.Before(old.next) })
	if old, ok := c.failed[text]; ok {
		return old.failure
	}
	if m := now.Truncate(time.Minute); !m.Equal(c.minute) {
		c.minute, c.fetched = m, 0
	}
	if c.fetched++; c.fetched > maxCertsFetch {
		return fail("more than %d certificates of Amazon SNS were asked for in a minute", maxCertsFetch)
	}
	return nil
}

// get is not ended by the request that it is for: else who sends and hangs up
// keeps the certificate from everybody.
func (c *certificates) get(ctx context.Context, text string) (*x509.Certificate, *Failure) {
	b, err := c.fetch(context.WithoutCancel(ctx), text)
	if err != nil {
		return nil, fail("fetch the certificate of Amazon SNS: %v", err)
	}
	cert, ok := parseCert(b)
	if !ok {
		return nil, fail("what SigningCertURL leads to is not a certificate of Amazon SNS")
	}
	return cert, nil
}

// parseCert reads a certificate that is for Amazon SNS. Its chain is not
// checked: it comes over TLS from the host that it is for.
func parseCert(b []byte) (*x509.Certificate, bool) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, false
	}
	_, isRSA := cert.PublicKey.(*rsa.PublicKey)
	name := cert.Subject.CommonName
	return cert, isRSA && (name == "sns.amazonaws.com" || isSNSHost(name))
}
