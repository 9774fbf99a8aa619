package verify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const hsKey = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// issuer has keys of all kinds.
type issuer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	e, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, d, err3 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return &issuer{r, e, d}
}

// claims are those of a token that is good at seconds(1700000000).
func claims() map[string]any {
	return map[string]any{"iss": "ci", "aud": "hooks", "exp": 1700000060, "iat": 1699999990, "nbf": 1699999990}
}

func tokenOf(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, c map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pemOf(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func bearer(text string) Request {
	return Request{Header: http.Header{"Authorization": {"Bearer " + text}}}
}

func TestJWTAlgorithms(t *testing.T) {
	i := newIssuer(t)
	for _, tt := range []struct {
		name   string
		key    string
		signed any
		alg    jose.SignatureAlgorithm
	}{
		{"RS256", pemOf(t, i.rsa.Public()), i.rsa, jose.RS256},
		{"PS512", pemOf(t, i.rsa.Public()), i.rsa, jose.PS512},
		{"ES256", pemOf(t, i.ec.Public()), i.ec, jose.ES256},
		{"EdDSA", pemOf(t, i.ed.Public()), i.ed, jose.EdDSA},
		{"HS256", hsKey, []byte(hsKey), jose.HS256},
		{"HS512", hsKey, []byte(hsKey), jose.HS512},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: tt.key, Audience: "hooks", Issuer: "ci"}})
			wantPass(t, v, bearer(tokenOf(t, tt.alg, tt.signed, "", claims())), seconds(1700000000))
		})
	}
}

// unsigned is a token with alg none.
func unsigned(t *testing.T, alg string) string {
	t.Helper()
	body, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + e.EncodeToString(body) + "."
}

// TestJWTConfusion are tokens that choose their own way to be checked.
func TestJWTConfusion(t *testing.T) {
	i := newIssuer(t)
	public := pemOf(t, i.rsa.Public())
	const rsaOnly = "the header Authorization holds no token signed with RS256, RS384, RS512, PS256, PS384, PS512"
	for _, tt := range []struct{ name, token, want string }{
		{"none", unsigned(t, "none"), rsaOnly},
		{"None", unsigned(t, "None"), rsaOnly},
		{"empty algorithm", unsigned(t, ""), rsaOnly},
		{"HS256 with the public key", tokenOf(t, jose.HS256, []byte(public), "", claims()), rsaOnly},
		{"another kind of key", tokenOf(t, jose.ES256, i.ec, "", claims()), rsaOnly},
		{"no token", "abc", rsaOnly},
		{"RS256 without signature", strings.TrimRight(unsigned(t, "RS256"), "."), rsaOnly},
		{"RS256 with an empty signature", unsigned(t, "RS256"), "the signature of the token differs"},
		{"another key", tokenOf(t, jose.RS256, newIssuer(t).rsa, "", claims()), "the signature of the token differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: public}})
			wantReason(t, v, bearer(tt.token), seconds(1700000000), tt.want)
		})
	}
}

func TestJWTClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		want   string
	}{
		{"good", func(map[string]any) {}, ""},
		{"audience among others", func(c map[string]any) { c["aud"] = []string{"x", "hooks"} }, ""},
		{"other audience", func(c map[string]any) { c["aud"] = "x" }, "the token is for another audience"},
		{"no audience", func(c map[string]any) { delete(c, "aud") }, "the token is for another audience"},
		{"other issuer", func(c map[string]any) { c["iss"] = "x" }, "the token is of another issuer"},
		{"no issuer", func(c map[string]any) { delete(c, "iss") }, "the token is of another issuer"},
		{"no end", func(c map[string]any) { delete(c, "exp") }, "the token has no exp: it would never end"},
		{"ended a tolerance ago", func(c map[string]any) { c["exp"] = 1700000000 - 60 }, ""},
		{"ended before", func(c map[string]any) { c["exp"] = 1700000000 - 61 }, "the token ended 1m1s ago, more than 1m0s"},
		{"begins in a tolerance", func(c map[string]any) { c["nbf"] = 1700000000 + 60 }, ""},
		{"begins later", func(c map[string]any) { c["nbf"] = 1700000000 + 61 }, "the token begins in 1m1s, more than 1m0s"},
		{"made later", func(c map[string]any) { c["iat"] = 1700000000 + 61 }, "the token was made 1m1s ahead, more than 1m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: hsKey, Audience: "hooks", Issuer: "ci"}})
			c := claims()
			tt.change(c)
			r := bearer(tokenOf(t, jose.HS256, []byte(hsKey), "", c))
			if tt.want == "" {
				wantPass(t, v, r, seconds(1700000000))
				return
			}
			wantReason(t, v, r, seconds(1700000000), tt.want)
		})
	}
}

func TestJWTPlaces(t *testing.T) {
	text := tokenOf(t, jose.HS256, []byte(hsKey), "", claims())
	for _, tt := range []struct {
		name, header string
		request      Request
		want         string
	}{
		{"own header", "X-Jwt", Request{Header: http.Header{"X-Jwt": {text}}}, ""},
		{"own header with the word", "X-Jwt", Request{Header: http.Header{"X-Jwt": {"Bearer " + text}}}, ""},
		{"no word", "", Request{Header: http.Header{"Authorization": {text}}}, "the header Authorization does not begin with Bearer"},
		{"missing", "", Request{}, "the header Authorization is missing"},
		{"twice", "", Request{Header: http.Header{"Authorization": {"Bearer " + text, "Bearer " + text}}}, "the header Authorization comes 2 times"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "jwt", Header: tt.header, JWT: JWT{Key: hsKey}})
			if tt.want == "" {
				wantPass(t, v, tt.request, seconds(1700000000))
				return
			}
			wantReason(t, v, tt.request, seconds(1700000000), tt.want)
		})
	}
}

// TestJWTEveryBit changes a token in each place.
func TestJWTEveryBit(t *testing.T) {
	v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: hsKey}})
	text := tokenOf(t, jose.HS256, []byte(hsKey), "", claims())
	for i := range len(text) * 8 {
		if v.Check(t.Context(), bearer(string(flip([]byte(text), i))), seconds(1700000000)) == nil {
			t.Fatalf("the token passes with bit %d changed", i)
		}
	}
}

// jwksServer serves a set that tests change.
type jwksServer struct {
	mu      sync.Mutex // guards all below
	keys    []any
	err     error
	fetched int
}

func (s *jwksServer) fetch(context.Context, string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched++
	if s.err != nil {
		return nil, s.err
	}
	return json.Marshal(map[string]any{"keys": s.keys})
}

func (s *jwksServer) wantFetched(t *testing.T, want int) {
	t.Helper()
	if s.fetched != want {
		t.Errorf("jwks_url was fetched %d times, want %d", s.fetched, want)
	}
}

func TestJWKS(t *testing.T) {
	i := newIssuer(t)
	now := seconds(1700000000)
	first := jose.JSONWebKey{Key: i.rsa.Public(), KeyID: "1", Use: "sig"}
	second := jose.JSONWebKey{Key: i.ec.Public(), KeyID: "2", Algorithm: "ES256"}
	odd := map[string]string{"kty": "new", "kid": "3"}
	shared := jose.JSONWebKey{Key: []byte(hsKey), KeyID: "hs"}
	s := &jwksServer{keys: []any{odd, shared, first}}
	v := made(t, Config{Scheme: "jwt", JWT: JWT{JWKSURL: "https://issuer/jwks", Audience: "hooks"}, Fetch: s.fetch})
	s.wantFetched(t, 0)

	wantPass(t, v, bearer(tokenOf(t, jose.RS256, i.rsa, "1", claims())), now)
	wantPass(t, v, bearer(tokenOf(t, jose.RS256, i.rsa, "", claims())), now)
	s.wantFetched(t, 1)

	// A shared secret in a public set is nobody's secret.
	wantReason(t, v, bearer(tokenOf(t, jose.HS256, []byte(hsKey), "hs", claims())), now,
		"the header Authorization holds no token signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA")

	// An unknown kid makes it look again, once a minute.
	newer := bearer(tokenOf(t, jose.ES256, i.ec, "2", claims()))
	s.keys = append(s.keys, second)
	for range 5 {
		wantReason(t, v, newer, now.Add(59*time.Second), "jwks_url has no key for the token")
	}
	s.wantFetched(t, 1)
	wantPass(t, v, newer, now.Add(time.Minute))
	s.wantFetched(t, 2)

	// The alg of a key binds it.
	wantReason(t, v, bearer(tokenOf(t, jose.RS256, i.rsa, "2", claims())), now.Add(time.Minute), "jwks_url has no key for the token")
}

func TestJWKSKeepsOldKeys(t *testing.T) {
	i := newIssuer(t)
	s := &jwksServer{err: errors.New("issuer is down")}
	v := made(t, Config{Scheme: "jwt", Tolerance: 48 * time.Hour, JWT: JWT{JWKSURL: "https://issuer/jwks", Issuer: "ci"}, Fetch: s.fetch})
	r := bearer(tokenOf(t, jose.EdDSA, i.ed, "1", claims()))
	now := seconds(1700000000)
	wantReason(t, v, r, now, "the keys of jwks_url are not known: fetch: issuer is down")
	wantReason(t, v, r, now.Add(9*time.Second), "the keys of jwks_url are not known: fetch: issuer is down")
	s.wantFetched(t, 1)
	s.err, s.keys = nil, []any{jose.JSONWebKey{Key: i.ed.Public(), KeyID: "1"}}
	wantPass(t, v, r, now.Add(10*time.Second))
	s.err = errors.New("issuer is down")
	wantPass(t, v, r, now.Add(2*time.Hour))
	s.wantFetched(t, 3)
	// The issuer drops the key.
	s.err, s.keys = nil, []any{jose.JSONWebKey{Key: i.ed.Public(), KeyID: "2"}}
	wantReason(t, v, r, now.Add(3*time.Hour), "jwks_url has no key for the token")
}

func TestJWKSThatIsNone(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no JSON", "<html>", "the keys of jwks_url are not known: the answer is not a set of keys"},
		{"no keys", `{"keys":[]}`, "the keys of jwks_url are not known: the answer holds no public key that signs"},
		{"only secrets", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "the keys of jwks_url are not known: the answer holds no public key that signs"},
		{"for encryption", `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, "the keys of jwks_url are not known: the answer holds no public key that signs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fetch := func(context.Context, string) ([]byte, error) { return []byte(tt.text), nil }
			v := made(t, Config{Scheme: "jwt", JWT: JWT{JWKSURL: "https://issuer/jwks", Issuer: "ci"}, Fetch: fetch})
			wantReason(t, v, bearer(tokenOf(t, jose.EdDSA, newIssuer(t).ed, "1", claims())), seconds(1700000000), tt.want)
		})
	}
}

func TestJWTKeysOfTheFile(t *testing.T) {
	i := newIssuer(t)
	der, err := x509.MarshalPKCS8PrivateKey(i.ed)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	_, err = New(Config{Scheme: "jwt", JWT: JWT{Key: private}})
	c, ok := errors.AsType[*ConfigError](err)
	if want := "a private key, which is the sender's alone"; !ok || c.Msg != want {
		t.Errorf("New with a private key = %v, want %q", err, want)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&i.rsa.PublicKey)}))
	v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: pkcs1, Algorithms: []string{"RS256"}}})
	wantPass(t, v, bearer(tokenOf(t, jose.RS256, i.rsa, "", claims())), seconds(1700000000))
	wantReason(t, v, bearer(tokenOf(t, jose.RS512, i.rsa, "", claims())), seconds(1700000000), "the header Authorization holds no token signed with RS256")
}
