package verify

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	testSeed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60" // RFC 8032, test 1
	testKey  = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)

// whs is a key of Standard Webhooks of a hex text.
func whs(kind, text string) string {
	b, _ := hex.DecodeString(text)
	return kind + "_" + base64.StdEncoding.EncodeToString(b)
}

// signers are configurations that can sign, at least one of each scheme but
// those that nobody else can sign for.
func signers() []Config {
	all := []Config{
		{Scheme: "hmac", Header: "X-Sig"},
		{Scheme: "hmac", Header: "X-Sig", Algorithm: "sha1", Encoding: "base64", Prefix: "s="},
		{Scheme: "hmac", Header: "X-Sig", Algorithm: "sha384", Encoding: "base64url", TimestampHeader: "X-Time", Payload: "{{timestamp}}.{{ raw }}"},
		{Scheme: "hmac", Header: "X-Sig", Algorithm: "sha512", TimestampHeader: "X-Time", IDHeader: "X-Id", Payload: "{{id}}|{{timestamp}}|{{url}}|{{raw}}|end"},
		{Scheme: "gitlab"},
		{Scheme: "gitlab", Secrets: []string{whs("whsec", testSeed)}},
		{Scheme: "token", Header: "X-Token"},
		{Scheme: "token", Query: "key"},
		{Scheme: "basic", Secrets: []string{"user:pass:word"}},
		{Scheme: "bearer"},
		{Scheme: "docker-registry"},
		{Scheme: "grafana", Header: "X-Own", TimestampHeader: "X-Own-Time"},
		{Scheme: "standard-webhooks", Secrets: []string{whs("whsk", testSeed)}},
		{Scheme: "standard-webhooks", Secrets: []string{whs("whsk", testSeed+testKey)}},
		{Scheme: "standard-webhooks", Secrets: []string{whs("whpk", testKey), whs("whsec", testSeed)}},
		{Scheme: "jwt", JWT: JWT{Key: strings.Repeat("k", 32), Audience: "hooks", Issuer: "ci"}},
	}
	for _, r := range rows() {
		c := Config{Scheme: r.scheme}
		switch r.key {
		case keyStandard:
			c.Secrets = []string{whs("whsec", testSeed)}
		case keyHex:
			c.Secrets = []string{seedMark + testSeed}
		}
		all = append(all, c)
	}
	for i := range all {
		if all[i].Secrets == nil && all[i].Scheme != "jwt" {
			all[i].Secrets = []string{"s3cret of " + all[i].Scheme}
		}
	}
	return all
}

// signable is a request that every scheme can sign.
func signable() Request {
	return Request{
		Method: http.MethodPost, URL: "https://example.com/hooks/a?x=1&bodySHA256=f51f2581812fe7ab26c057a3f7242286e50e95bc427190069d4d8349755dde8c",
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"webhookTimestamp":1700000000000}`),
	}
}

func TestWhatIsSignedPasses(t *testing.T) {
	now := seconds(1700000000)
	done := map[string]bool{"sns": true, "microsoft-graph": true}
	for _, c := range signers() {
		done[c.Scheme] = true
		t.Run(c.Scheme, func(t *testing.T) {
			v, r := made(t, c), signable()
			if c.Scheme == "twilio" {
				r.URL, r.Header, r.Body = "https://example.com/a", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte("b=2&a=1&a=0")
			}
			signed := signedBy(t, v, r, now)
			wantPass(t, v, signed, now)
			other := c
			other.Secrets, other.JWT.Key = otherSecrets(c), strings.Repeat("o", len(c.JWT.Key))
			if made(t, other).Check(t.Context(), signed, now) == nil {
				t.Error("it passes with another secret too")
			}
		})
	}
	for _, scheme := range Schemes() {
		if !done[scheme] {
			t.Errorf("no configuration of scheme %s was signed with", scheme)
		}
	}
}

// otherSecrets are good for the scheme, and not the configuration's.
func otherSecrets(c Config) []string {
	switch {
	case c.Scheme == "discord":
		return []string{strings.Repeat("01", 32)}
	case strings.HasPrefix(strings.Join(c.Secrets, ""), "wh"):
		return []string{whs("whsec", strings.Repeat("01", 32)), whs("whsk", strings.Repeat("01", 32))}
	case c.Scheme == "jwt":
		return nil
	}
	return []string{"another: secret"}
}

func TestCantSign(t *testing.T) {
	fetch := noFetch
	for _, tt := range []struct {
		name    string
		config  Config
		request Request
		id      string
		want    string
	}{
		{"discord with the public key", Config{Scheme: "discord", Secrets: []string{testKey}}, signable(), "a", "can't sign: the secret of scheme discord is the public key, only the sender has the private one"},
		{"v1a with the public key", Config{Scheme: "standard-webhooks", Secrets: []string{whs("whpk", testKey)}}, signable(), "a", "can't sign: the secret of scheme standard-webhooks is the public key, only the sender has the private one"},
		{"without id", Config{Scheme: "standard-webhooks", Secrets: []string{whs("whsec", testSeed)}}, signable(), "", "can't sign: scheme standard-webhooks signs an id, and it is not given"},
		{"with a bad id", Config{Scheme: "standard-webhooks", Secrets: []string{whs("whsec", testSeed)}}, signable(), "a.b", `can't sign: the header Webhook-Id holds ".", which ends an id`},
		{"with a long id", Config{Scheme: "standard-webhooks", Secrets: []string{whs("whsec", testSeed)}}, signable(), strings.Repeat("a", maxField+1), "can't sign: the header Webhook-Id has 257 bytes, more than 256"},
		{"with a URL that holds its end", generic("{{url}}|{{raw}}"), Request{URL: "https://a/b|c"}, "a", `can't sign: the URL that the sender called holds "|", which ends a URL`},
		{"with digits behind the timestamp", generic("{{timestamp}}{{raw}}"), Request{Body: []byte("123")}, "a", "can't sign: digits follow the timestamp: nobody knows where it ends"},
		{"a token with a line break", Config{Scheme: "token", Header: "X", Secrets: []string{"t0ken\n"}}, signable(), "a", "can't sign: no header can hold the secret: it is too long, or has a line break or spaces around it"},
		{"without URL", Config{Scheme: "twilio", Secrets: []string{"s"}}, Request{}, "a", "can't sign: scheme twilio signs the URL, and it is not given"},
		{"twilio with JSON", Config{Scheme: "twilio", Secrets: []string{"s"}}, Request{URL: "https://a/b", Body: []byte("{}")}, "a", "can't sign: nothing signs the body: it is no form, and the URL has no bodySHA256"},
		{"twitter without JSON", Config{Scheme: "twitter", Secrets: []string{"s"}}, Request{Body: []byte("abc")}, "a", "can't sign: the body is not a JSON object"},
		{"sns", Config{Scheme: "sns", JWT: JWT{Issuer: "arn:aws:sns:a:1:b"}, Fetch: fetch}, signable(), "a", "can't sign: only Amazon has the private key of SNS"},
		{"microsoft-graph", Config{Scheme: "microsoft-graph", Secrets: []string{"s"}}, signable(), "a", "can't sign: microsoft-graph has no signature, its secret is clientState in the body"},
		{"jwt with jwks_url", Config{Scheme: "jwt", JWT: JWT{JWKSURL: "https://a/b", Audience: "x"}, Fetch: fetch}, signable(), "a", "can't sign: only the issuer has the private key of its tokens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := made(t, tt.config).Sign(tt.request, seconds(1700000000), tt.id)
			if !errors.Is(err, ErrCantSign) || err.Error() != tt.want {
				t.Errorf("Sign = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSecretParams(t *testing.T) {
	for _, tt := range []struct {
		name           string
		config         Config
		headers, query []string
	}{
		{"token in a header", Config{Scheme: "token", Header: "X-Token", Secrets: []string{"s"}}, []string{"X-Token"}, nil},
		{"token in the query", Config{Scheme: "token", Query: "key", Secrets: []string{"s"}}, nil, []string{"key"}},
		{"gitlab", Config{Scheme: "gitlab", Secrets: []string{"s"}}, []string{"X-Gitlab-Token"}, nil},
		{"basic", Config{Scheme: "basic", Secrets: []string{"u:s"}}, []string{"Authorization"}, nil},
		{"bearer", Config{Scheme: "bearer", Secrets: []string{"s"}}, []string{"Authorization"}, nil},
		{"docker-registry", Config{Scheme: "docker-registry", Header: "X-Reg", Secrets: []string{"s"}}, []string{"X-Reg"}, nil},
		{"jwt", Config{Scheme: "jwt", JWT: JWT{Key: strings.Repeat("k", 32)}}, []string{"Authorization"}, nil},
		{"meta", Config{Scheme: "meta", Secrets: []string{"s"}}, nil, []string{"hub.verify_token"}},
		{"github", Config{Scheme: "github", Secrets: []string{"s"}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			headers, query := made(t, tt.config).SecretParams()
			if !slices.Equal(headers, tt.headers) || !slices.Equal(query, tt.query) {
				t.Errorf("SecretParams = %v, %v, want %v, %v", headers, query, tt.headers, tt.query)
			}
		})
	}
}
