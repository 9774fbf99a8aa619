package verify

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"
)

const (
	maxCerts      = 16 // kept
	maxCertsFetch = 10 // fetched in a minute, whatever messages ask for
)

// certificates are those that Amazon SNS signs with, by URL.
type certificates struct {
	fetch fetch
	turn  chan struct{} // holds one: who takes it owns the fields below; never closed

	known   map[string]*x509.Certificate
	minute  time.Time // in which
	fetched int       // were asked for
}

func newCertificates(f fetch) *certificates {
	c := &certificates{fetch: f, turn: make(chan struct{}, 1), known: map[string]*x509.Certificate{}}
	c.turn <- struct{}{}
	return c
}

// key is the public key of the certificate at a URL of Amazon SNS.
func (c *certificates) key(ctx context.Context, text string, now time.Time) (*rsa.PublicKey, *Failure) {
	u, ok := snsURL(text)
	if !ok || !strings.HasSuffix(u.Path, ".pem") || u.RawQuery != "" {
		return nil, fail("the field SigningCertURL does not lead to a certificate of Amazon SNS")
	}
	select {
	case <-c.turn:
	case <-ctx.Done():
		return nil, fail("the certificate of Amazon SNS was not waited for")
	}
	defer func() { c.turn <- struct{}{} }()
	cert, ok := c.known[text]
	if !ok {
		var f *Failure
		if cert, f = c.get(ctx, text, now); f != nil {
			return nil, f
		}
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, fail("the certificate of Amazon SNS is not valid now")
	}
	return cert.PublicKey.(*rsa.PublicKey), nil
}

func (c *certificates) get(ctx context.Context, text string, now time.Time) (*x509.Certificate, *Failure) {
	if m := now.Truncate(time.Minute); !m.Equal(c.minute) {
		c.minute, c.fetched = m, 0
	}
	if c.fetched++; c.fetched > maxCertsFetch {
		return nil, fail("more than %d certificates of Amazon SNS were asked for in a minute", maxCertsFetch)
	}
	b, err := c.fetch(ctx, text)
	if err != nil {
		return nil, fail("fetch the certificate of Amazon SNS: %v", err)
	}
	cert, ok := parseCert(b)
	if !ok {
		return nil, fail("what SigningCertURL leads to is not a certificate of Amazon SNS")
	}
	if len(c.known) >= maxCerts {
		clear(c.known)
	}
	c.known[text] = cert
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
