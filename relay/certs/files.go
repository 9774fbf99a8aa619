package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// How files are looked after.
const (
	lookEvery = time.Minute
	warnEvery = 24 * time.Hour
	soon      = 14 * 24 * time.Hour // before a certificate ends
	maxFile   = 1 << 20             // bytes of a certificate with its chain, or a key
)

// Reloader shows the certificate of two files. Make one with Files.
type Reloader struct {
	certFile, keyFile string
	log               *slog.Logger

	shown atomic.Pointer[tls.Certificate] // never nil

	// Owned by Run.
	stamp  [2]stamp  // of the files when they were read last
	broken string    // why they could not be used at the last look; "": they could
	warned time.Time // of the end of the certificate
}

// stamp tells two states of a file apart.
type stamp struct {
	size     int64
	modified time.Time
}

// Files reads a certificate, with the chain behind it, and its key, both in PEM
// form. It warns of what strangers will not accept. log may be nil.
func Files(cert, key string, log *slog.Logger) (*Reloader, error) {
	r := &Reloader{certFile: cert, keyFile: key, log: cmp.Or(log, slog.New(slog.DiscardHandler))}
	r.stamp = r.stamps()
	c, err := load(cert, key)
	if err != nil {
		return nil, err
	}
	r.show(c)
	return r, nil
}

// Config returns what to take connections with.
func (r *Reloader) Config() *tls.Config {
	return config(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.shown.Load(), nil })
}

// Run looks each minute whether the files hold another certificate, until ctx
// ends, and returns nil then. While they can't be used the one before is shown.
func (r *Reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.look()
		}
	}
}

// look reads the files where they changed, or were no good before: another key may
// have come in between, or a right to read it, which changes no stamp.
func (r *Reloader) look() {
	now := r.stamps()
	if now == r.stamp && r.broken == "" {
		r.warn(r.shown.Load().Leaf)
		return
	}
	r.stamp = now
	c, err := load(r.certFile, r.keyFile)
	if err != nil {
		if err.Error() != r.broken {
			r.log.Error("new TLS certificate is refused, the one before goes on", "err", err)
		}
		r.broken = err.Error()
		return
	}
	r.broken = ""
	r.show(c)
	r.log.Info("TLS certificate loaded", "file", r.certFile, "expires", c.Leaf.NotAfter)
}

// show has a certificate shown from now on.
func (r *Reloader) show(c *tls.Certificate) {
	r.shown.Store(c)
	r.warned = time.Time{}
	r.warn(c.Leaf)
	if len(c.Certificate) == 1 && string(c.Leaf.RawIssuer) != string(c.Leaf.RawSubject) {
		r.log.Warn("the file has no certificate of who issued this one: senders may not trust it; take the one with the chain, fullchain.pem say", "file", r.certFile)
	}
}

// warn tells once a day of a certificate that nobody will accept, now or soon.
func (r *Reloader) warn(leaf *x509.Certificate) {
	now := time.Now()
	if now.Sub(r.warned) < warnEvery {
		return
	}
	left := leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		r.log.Error("TLS certificate has expired: renew it", "file", r.certFile, "expired", leaf.NotAfter)
	case left < soon:
		r.log.Warn("TLS certificate expires soon: renew it", "file", r.certFile, "expires", leaf.NotAfter)
	case leaf.NotBefore.After(now):
		r.log.Warn("TLS certificate is not valid yet: is the clock right?", "file", r.certFile, "from", leaf.NotBefore)
	default:
		return
	}
	r.warned = now
}

func (r *Reloader) stamps() [2]stamp { return [2]stamp{stampOf(r.certFile), stampOf(r.keyFile)} }

// stampOf is the zero stamp where there is no file.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// load reads a certificate and its key. Its errors name the file and the mend.
func load(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readFile("certificate", certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile("key", keyFile)
	if err != nil {
		return nil, err
	}
	switch {
	case !hasBlock(cert, "CERTIFICATE") && hasBlock(key, "CERTIFICATE") && hasBlock(cert, "PRIVATE KEY"):
		return nil, fmt.Errorf("TLS certificate %s: it holds the key, and %s the certificate: exchange them", certFile, keyFile)
	case !hasBlock(cert, "CERTIFICATE"):
		return nil, fmt.Errorf("TLS certificate %s: there is none in PEM form in it (openssl x509 -inform der -in FILE makes PEM of DER)", certFile)
	case hasBlock(key, "ENCRYPTED") || strings.Contains(string(key), "Proc-Type: 4,ENCRYPTED"):
		return nil, fmt.Errorf("TLS key %s: it is encrypted: write it without a password (openssl pkey -in FILE -out OTHER)", keyFile)
	case !hasBlock(key, "PRIVATE KEY"):
		return nil, fmt.Errorf("TLS key %s: there is no private key in PEM form in it", keyFile)
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w: both have to be of one renewal", certFile, keyFile, err)
	}
	return &c, nil
}

// hasBlock reports whether data has a PEM block of whose type word is a part.
func hasBlock(data []byte, word string) bool {
	for {
		b, rest := pem.Decode(data)
		if b == nil {
			return false
		}
		if strings.Contains(b.Type, word) {
			return true
		}
		data = rest
	}
}

// readFile reads a file of a bounded size.
func readFile(what, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("TLS %s %s: %s", what, path, mend(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("TLS %s %s: %s", what, path, mend(err))
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("TLS %s %s: larger than %d KiB", what, path, maxFile>>10)
	}
	return data, nil
}

// mend is what went wrong with a file, and what helps.
func mend(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file: is the path right, and was a certificate issued?"
	case errors.Is(err, fs.ErrPermission):
		return "hookrun may not read it: give it to the user or a group that hookrun runs as"
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}
