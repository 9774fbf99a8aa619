package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// cache is a folder with the key of the account and, for each domain, a file with
// a key and its certificate: all of one authority.
type cache struct{ dir string }

// openCache makes the folder of an authority below dir. What a trial authority
// gave is not taken for another's.
func openCache(dir, directory string) (cache, error) {
	u, err := url.Parse(directory)
	if err != nil || u.Hostname() == "" {
		return cache{}, fmt.Errorf("ACME: directory %q is no URL", directory)
	}
	sum := sha256.Sum256([]byte(directory))
	c := cache{filepath.Join(dir, strings.ReplaceAll(u.Hostname(), ":", "_")+"-"+hex.EncodeToString(sum[:4]))}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return cache{}, fmt.Errorf("ACME: folder for certificates: %w: name another, or let hookrun write there", err)
	}
	return c, nil
}

// file is where the certificate of a domain is kept.
func (c cache) file(domain string) string { return filepath.Join(c.dir, domain+".pem") }

// certificate returns what is kept for a domain, nil where nothing is.
func (c cache) certificate(domain string) (*tls.Certificate, error) {
	data, err := os.ReadFile(c.file(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(data, domain)
}

func (c cache) keep(domain string, cert *tls.Certificate) error {
	data, err := encode(cert)
	if err != nil {
		return err
	}
	return c.write(c.file(domain), data)
}

// accountKey returns the key that the account is known by, a new one at first. It
// is kept before it is used, so that no account is lost.
func (c cache) accountKey() (crypto.Signer, error) {
	path := filepath.Join(c.dir, "account.key")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c.newAccountKey(path)
	}
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, fmt.Errorf("%s holds no key: remove it, and an account is made anew", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no key that is understood: remove it, and an account is made anew", path)
	}
	return signer, nil
}

func (c cache) newAccountKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, c.write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// write replaces a file whole or not at all. Nobody else can read it.
func (c cache) write(path string, data []byte) error {
	f, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// encode is a certificate with its key as PEM.
func encode(c *tls.Certificate) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: key}) // to memory: never fails
	for _, der := range c.Certificate {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return out.Bytes(), nil
}

// decode reads what encode made. The certificate has to be for the domain.
func decode(data []byte, domain string) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	if err := c.Leaf.VerifyHostname(domain); err != nil {
		return nil, err
	}
	return &c, nil
}
