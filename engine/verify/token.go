package verify

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// token is the checker of a secret that is sent as it is.
type token struct {
	header, query string // one of them
	word          string // "Bearer" or "Basic" before the token
	bare          bool   // the word may be missing
	secrets       []string
}

var _ checker = (*token)(nil)

func newToken(c Config) (checker, error) {
	if (c.Header == "") == (c.Query == "") {
		return nil, &ConfigError{"header", "scheme token needs to know where the token stands: header or query, one of them", "header: X-Token"}
	}
	return &token{header: c.Header, query: c.Query, secrets: c.Secrets}, nil
}

// newRegistry is for the headers that a registry is configured to send:
// https://distribution.github.io/distribution/about/notifications/ and Harbor.
func newRegistry(c Config) (checker, error) {
	header := c.Header
	if header == "" {
		header = "Authorization"
	}
	return &token{header: header, word: "Bearer", bare: true, secrets: c.Secrets}, nil
}

// newBearer is RFC 6750, the header only.
func newBearer(c Config) (checker, error) {
	return &token{header: "Authorization", word: "Bearer", secrets: c.Secrets}, nil
}

// newBasic is RFC 7617.
func newBasic(c Config) (checker, error) {
	for i, s := range c.Secrets {
		if !strings.Contains(s, ":") {
			return nil, &ConfigError{"secret", fmt.Sprintf("secret %d of %d has no colon between user and password", i+1, len(c.Secrets)),
				`secret: "hook:${env:HOOK_PASSWORD}"`}
		}
	}
	return &token{header: "Authorization", word: "Basic", secrets: c.Secrets}, nil
}

func (t *token) check(_ context.Context, r Request, _ time.Time) error {
	got, f := t.read(r)
	if f != nil {
		return f
	}
	if !t.fits(got) {
		return fail("%s differs", t.name())
	}
	return nil
}

func (t *token) fits(got string) bool {
	if sameSecret(got, t.secrets) {
		return true
	}
	rest, ok := cutWord(got, t.word)
	return t.bare && ok && sameSecret(rest, t.secrets)
}

// read is the token as the request has it.
func (t *token) read(r Request) (string, *Failure) {
	if t.query != "" {
		return singleQuery(r.Query, t.query)
	}
	value, f := single(r.Header, t.header)
	if f != nil || t.word == "" || t.bare {
		return value, f
	}
	rest, ok := cutWord(value, t.word)
	if !ok {
		return "", fail("the header %s does not begin with %s", t.header, t.word)
	}
	if t.word != "Basic" {
		return rest, nil
	}
	pair, ok := decode("base64", rest)
	if !ok {
		return "", fail("the header %s is not user:password in base64", t.header)
	}
	return string(pair), nil
}

// cutWord takes the word before a credential off, in either case.
func cutWord(value, word string) (string, bool) {
	first, rest, found := strings.Cut(value, " ")
	word = strings.ToLower(word)
	return strings.TrimLeft(rest, " "), found && strings.ToLower(first) == word
}

// singleQuery is the value of a parameter that must be there once.
func singleQuery(query, name string) (string, *Failure) {
	fields, err := url.ParseQuery(query)
	switch all := fields[name]; {
	case err != nil:
		return "", fail("the query can't be read")
	case len(all) == 0:
		return "", fail("the query parameter %s is missing", name)
	case len(all) > 1:
		return "", fail("the query parameter %s comes %d times", name, len(all))
	case all[0] == "":
		return "", fail("the query parameter %s is empty", name)
	default:
		return all[0], nil
	}
}

func (t *token) name() string {
	switch {
	case t.query != "":
		return "the token in the query parameter " + t.query
	case t.word == "Basic":
		return "user or password"
	}
	return "the token in the header " + t.header
}

// sameSecret reports whether got is one of the secrets. It compares hashes, so
// that time tells neither how long a secret is nor where got leaves it.
func sameSecret(got string, secrets []string) bool {
	sum, same := sha256.Sum256([]byte(got)), 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		same |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return same == 1
}

func (t *token) sign(_ Request, _ time.Time, _ string) (Signed, error) {
	secret := t.secrets[0]
	switch {
	case t.query != "":
		return Signed{Query: url.Values{t.query: {secret}}}, nil
	case t.word == "Basic":
		secret = "Basic " + base64.StdEncoding.EncodeToString([]byte(secret))
	case t.word != "" && !t.bare:
		secret = t.word + " " + secret
	}
	if len(strings.TrimSpace(secret)) < len(secret) || strings.ContainsAny(secret, "\r\n\x00") || len(secret) > maxHeader {
		return Signed{}, fmt.Errorf("%w: no header can hold the secret: it is too long, or has a line break or spaces around it", ErrCantSign)
	}
	return Signed{Header: http.Header{http.CanonicalHeaderKey(t.header): {secret}}}, nil
}
