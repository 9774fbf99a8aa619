package verify

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// jwtTolerance is for clocks that differ; the token says itself how long it is
// good.
const jwtTolerance = time.Minute

// jwtChecker is the checker of RFC 7519 tokens. What algorithm a token may have
// follows from the key, never from the token.
type jwtChecker struct {
	header     string
	algorithms []jose.SignatureAlgorithm
	key        any     // of the file, or
	set        *keySet // fetched
	want       jwt.Expected
	tolerance  time.Duration
}

var _ checker = (*jwtChecker)(nil)

func newJWT(c Config) (checker, error) {
	j := &jwtChecker{header: c.Header, tolerance: cmp.Or(c.Tolerance, jwtTolerance), want: jwt.Expected{Issuer: c.JWT.Issuer}}
	if j.header == "" {
		j.header = "Authorization"
	}
	if c.JWT.Audience != "" {
		j.want.AnyAudience = jwt.Audience{c.JWT.Audience}
	}
	if err := j.takeKey(c); err != nil {
		return nil, err
	}
	if err := j.narrow(c.JWT.Algorithms); err != nil {
		return nil, err
	}
	return j, nil
}

func (j *jwtChecker) takeKey(c Config) (err error) {
	switch {
	case (c.JWT.Key == "") == (c.JWT.JWKSURL == ""):
		return &ConfigError{"key", "scheme jwt needs key or jwks_url, one of them", "jwks_url: https://issuer/.well-known/jwks.json"}
	case c.JWT.Key != "":
		j.key, j.algorithms, err = parseKeyText(c.JWT.Key)
		return err
	case c.JWT.Audience == "" && c.JWT.Issuer == "":
		return &ConfigError{"audience", "without audience or issuer, a token that was made for somebody else is good here too", "audience: what the sender puts in aud"}
	}
	j.set, j.algorithms = newKeySet(c.JWT.JWKSURL, c.Fetch), asymmetric()
	return nil
}

// narrow leaves the algorithms that the file names.
func (j *jwtChecker) narrow(names []string) error {
	if len(names) == 0 {
		return nil
	}
	var some []jose.SignatureAlgorithm
	for _, name := range names {
		if !slices.Contains(j.algorithms, jose.SignatureAlgorithm(name)) {
			return &ConfigError{"algorithms", fmt.Sprintf("%q does not fit the key", name), "one of " + join(j.algorithms)}
		}
		some = append(some, jose.SignatureAlgorithm(name))
	}
	j.algorithms = some
	return nil
}

func join(algorithms []jose.SignatureAlgorithm) string {
	var names []string
	for _, a := range algorithms {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

func rsaAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
}

// asymmetric are the algorithms of keys that anybody may see. A shared secret
// is none of them: else who reads the public key could sign with it.
func asymmetric() []jose.SignatureAlgorithm {
	return append(rsaAlgorithms(), jose.ES256, jose.ES384, jose.ES512, jose.EdDSA)
}

// parseKeyText reads the key of the file and tells what it is good for.
func parseKeyText(text string) (any, []jose.SignatureAlgorithm, error) {
	if !strings.Contains(text, "-----BEGIN") {
		return sharedKey(text)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, nil, &ConfigError{"key", "begins like PEM and is none", "the lines must be kept: key: | and the text below"}
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return nil, nil, &ConfigError{"key", "a private key, which is the sender's alone", "give the public one: openssl pkey -pubout"}
	}
	public, err := parsePublic(block)
	if err != nil {
		return nil, nil, &ConfigError{"key", fmt.Sprintf("not a public key or certificate in PEM: %v", err), ""}
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k, rsaAlgorithms(), nil
	case ed25519.PublicKey:
		return k, []jose.SignatureAlgorithm{jose.EdDSA}, nil
	case *ecdsa.PublicKey:
		if a := curveAlgorithm(k); a != "" {
			return k, []jose.SignatureAlgorithm{a}, nil
		}
	}
	return nil, nil, &ConfigError{"key", "a kind of key that no algorithm of JWT takes", "RSA, P-256, P-384, P-521 or ed25519"}
}

func parsePublic(block *pem.Block) (any, error) {
	switch block.Type {
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

func curveAlgorithm(k *ecdsa.PublicKey) jose.SignatureAlgorithm {
	switch k.Curve.Params().BitSize {
	case 256:
		return jose.ES256
	case 384:
		return jose.ES384
	case 521:
		return jose.ES512
	}
	return ""
}

// sharedKey is the secret of HS256 and its kin. RFC 7518 §3.2 wants it as long
// as the hash: a token is all that one needs to guess a short one at home.
func sharedKey(text string) (any, []jose.SignatureAlgorithm, error) {
	k := []byte(text)
	var fit []jose.SignatureAlgorithm
	for _, a := range []struct {
		name jose.SignatureAlgorithm
		size int
	}{{jose.HS256, 32}, {jose.HS384, 48}, {jose.HS512, 64}} {
		if len(k) >= a.size {
			fit = append(fit, a.name)
		}
	}
	if len(fit) == 0 {
		return nil, nil, &ConfigError{"key", fmt.Sprintf("%d bytes are too short for a shared secret of JWT, which needs 32", len(k)), "or give the public key in PEM"}
	}
	return k, fit, nil
}

func (j *jwtChecker) check(ctx context.Context, r Request, now time.Time) error {
	value, f := single(r.Header, j.header)
	if f != nil {
		return f
	}
	text, ok := cutWord(value, "Bearer")
	if !ok && j.header == "Authorization" {
		return fail("the header %s does not begin with Bearer", j.header)
	}
	if !ok {
		text = value
	}
	return j.checkToken(ctx, text, now)
}

func (j *jwtChecker) checkToken(ctx context.Context, text string, now time.Time) error {
	t, err := jwt.ParseSigned(text, j.algorithms)
	if err != nil || len(t.Headers) != 1 || !strictParts(text) {
		return fail("the header %s holds no token signed with %s", j.header, join(j.algorithms))
	}
	keys, f := j.keysFor(ctx, t.Headers[0], now)
	if f != nil {
		return f
	}
	var claims jwt.Claims
	if !slices.ContainsFunc(keys, func(k any) bool { return t.Claims(k, &claims) == nil }) {
		return fail("the signature of the token differs")
	}
	if f := j.checkClaims(claims, now); f != nil {
		return f
	}
	return nil
}

// strictParts refuses a second spelling of a token, which go-jose reads as the
// first.
func strictParts(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		if _, ok := decode("base64url", part); !ok || strings.HasSuffix(part, "=") {
			return false
		}
	}
	return true
}

// keysFor are those that a token may be signed with.
func (j *jwtChecker) keysFor(ctx context.Context, h jose.Header, now time.Time) ([]any, *Failure) {
	if j.set == nil {
		return []any{j.key}, nil
	}
	return j.set.find(ctx, h.KeyID, h.Algorithm, now)
}

// checkClaims wants an end of every token: one without is good for ever, for
// whoever finds it in a log.
func (j *jwtChecker) checkClaims(c jwt.Claims, now time.Time) *Failure {
	if c.Expiry == nil {
		return fail("the token has no exp: it would never end")
	}
	now = now.Truncate(time.Second)
	err := c.ValidateWithLeeway(with(j.want, now), j.tolerance)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return fail("the token ended %s ago, more than %s", now.Sub(c.Expiry.Time()), j.tolerance)
	case errors.Is(err, jwt.ErrNotValidYet):
		return fail("the token begins in %s, more than %s", c.NotBefore.Time().Sub(now), j.tolerance)
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return fail("the token was made %s ahead, more than %s", c.IssuedAt.Time().Sub(now), j.tolerance)
	case errors.Is(err, jwt.ErrInvalidAudience):
		return fail("the token is for another audience")
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return fail("the token is of another issuer")
	}
	return fail("the claims of the token are not good")
}

func with(e jwt.Expected, now time.Time) jwt.Expected {
	e.Time = now
	return e
}

// sign makes a token as its issuer would, which needs the shared secret.
func (j *jwtChecker) sign(_ Request, now time.Time, id string) (Signed, error) {
	secret, ok := j.key.([]byte)
	if !ok {
		return Signed{}, fmt.Errorf("%w: only the issuer has the private key of its tokens", ErrCantSign)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: j.algorithms[0], Key: secret}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrCantSign, err)
	}
	text, err := jwt.Signed(signer).Claims(jwt.Claims{
		ID: id, Issuer: j.want.Issuer, Audience: j.want.AnyAudience,
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(DefaultTolerance)),
	}).Serialize()
	if err != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrCantSign, err)
	}
	return Signed{Header: http.Header{http.CanonicalHeaderKey(j.header): {"Bearer " + text}}}, nil
}
