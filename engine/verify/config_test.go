package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBadConfigurations(t *testing.T) {
	s := []string{"s3cret"}
	for _, tt := range []struct {
		name      string
		config    Config
		key, want string
	}{
		{"unknown scheme", Config{Scheme: "githob", Secrets: s}, "scheme", `unknown scheme "githob"`},
		{"no secret", Config{Scheme: "github"}, "secret", "scheme github needs a secret"},
		{"empty secret", Config{Scheme: "github", Secrets: []string{"a", ""}}, "secret", "secret 2 of 2 is empty: anybody could sign with it"},
		{"secret of spaces", Config{Scheme: "github", Secrets: []string{" \n"}}, "secret", "secret 1 of 1 is empty: anybody could sign with it"},
		{"key of another scheme", Config{Scheme: "github", Secrets: s, Header: "X"}, "header", "scheme github does not take header"},
		{"tolerance without a time", Config{Scheme: "github", Secrets: s, Tolerance: time.Minute}, "tolerance", "scheme github does not take tolerance"},
		{"tolerance of grafana without a time", Config{Scheme: "grafana", Secrets: s, Tolerance: time.Minute}, "tolerance", "nothing says when the request was signed"},
		{"negative tolerance", Config{Scheme: "slack", Secrets: s, Tolerance: -1}, "tolerance", "a negative tolerance lets nothing in"},
		{"hmac without header", Config{Scheme: "hmac", Secrets: s}, "header", "scheme hmac needs the header that the signature stands in"},
		{"algorithm", Config{Scheme: "hmac", Secrets: s, Header: "X", Algorithm: "md5"}, "algorithm", `unknown algorithm "md5"`},
		{"encoding", Config{Scheme: "hmac", Secrets: s, Header: "X", Encoding: "base32"}, "encoding", `unknown encoding "base32"`},
		{"payload with another name", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "{{body}}"}, "payload", "{{body}} is not known"},
		{"payload not closed", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "{{raw"}, "payload", "{{ without }}"},
		{"payload not opened", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "{{raw}}}}"}, "payload", "}} without {{"},
		{"payload without body", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "x"}, "payload", "without {{raw}} the body is not signed: anybody could change it"},
		{"timestamp from nowhere", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "{{timestamp}}{{raw}}"}, "timestamp_header", "payload holds {{timestamp}}, and nothing says where it stands"},
		{"timestamp not signed", Config{Scheme: "hmac", Secrets: s, Header: "X", TimestampHeader: "T"}, "timestamp_header", "payload holds no {{timestamp}}: what is not signed anybody can change"},
		{"id from nowhere", Config{Scheme: "hmac", Secrets: s, Header: "X", Payload: "{{id}}.{{raw}}"}, "id_header", "payload holds {{id}}, and nothing says where it stands"},
		{"id not signed", Config{Scheme: "hmac", Secrets: s, Header: "X", IDHeader: "I"}, "id_header", "payload holds no {{id}}: what is not signed anybody can change"},
		{"tolerance of hmac without a time", Config{Scheme: "hmac", Secrets: s, Header: "X", Tolerance: 1}, "tolerance", "nothing says when the request was signed"},
		{"public_url", Config{Scheme: "twilio", Secrets: s, PublicURL: "example.com/x"}, "public_url", "not a URL of the form https://host/path"},
		{"header with a space", Config{Scheme: "token", Secrets: s, Header: "X Y"}, "header", `"X Y" is no name of a header`},
		{"timestamp header with a colon", Config{Scheme: "hmac", Secrets: s, Header: "X", TimestampHeader: "T:"}, "timestamp_header", `"T:" is no name of a header`},
		{"standard secret", Config{Scheme: "standard-webhooks", Secrets: []string{"whsec_!"}}, "secret", "secret 1 of 1 is not whsec_ and base64, or whpk_ and base64 of an ed25519 key"},
		{"standard key of another size", Config{Scheme: "standard-webhooks", Secrets: []string{"whpk_AAAA"}}, "secret", "secret 1 of 1 is not whsec_ and base64, or whpk_ and base64 of an ed25519 key"},
		{"discord secret", Config{Scheme: "discord", Secrets: s}, "secret", "secret 1 of 1 is not the public key in hex, 64 digits"},
		{"token nowhere", Config{Scheme: "token", Secrets: s}, "header", "scheme token needs to know where the token stands: header or query, one of them"},
		{"token in two places", Config{Scheme: "token", Secrets: s, Header: "X", Query: "x"}, "header", "scheme token needs to know where the token stands: header or query, one of them"},
		{"basic without user", Config{Scheme: "basic", Secrets: s}, "secret", "secret 1 of 1 has no colon between user and password"},
		{"jwt without key", Config{Scheme: "jwt"}, "key", "scheme jwt needs key or jwks_url, one of them"},
		{"jwt with a short secret", Config{Scheme: "jwt", JWT: JWT{Key: "short"}}, "key", "5 bytes are too short for a shared secret of JWT, which needs 32"},
		{"jwt with broken PEM", Config{Scheme: "jwt", JWT: JWT{Key: "-----BEGIN PUBLIC KEY----- abc"}}, "key", "begins like PEM and is none"},
		{"jwt for anybody", Config{Scheme: "jwt", JWT: JWT{JWKSURL: "https://a/b"}, Fetch: noFetch}, "audience", "without audience or issuer, a token that was made for somebody else is good here too"},
		{"jwks_url", Config{Scheme: "jwt", JWT: JWT{JWKSURL: "file:///etc/passwd", Audience: "x"}, Fetch: noFetch}, "jwks_url", "not a URL of the form https://host/path"},
		{"jwks_url over plain HTTP", Config{Scheme: "jwt", JWT: JWT{JWKSURL: "http://issuer.example.com/jwks", Audience: "x"}, Fetch: noFetch}, "jwks_url", "not a URL of the form https://host/path"},
		{"jwt algorithm of another key", Config{Scheme: "jwt", JWT: JWT{Key: strings.Repeat("k", 32), Algorithms: []string{"RS256"}}}, "algorithms", `"RS256" does not fit the key`},
		{"jwt without algorithm", Config{Scheme: "jwt", JWT: JWT{Key: strings.Repeat("k", 32), Algorithms: []string{"none"}}}, "algorithms", `"none" does not fit the key`},
		{"sns without topic", Config{Scheme: "sns", Fetch: noFetch}, "issuer", "scheme sns needs the ARN of the topic: Amazon signs the messages of everybody's topics"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.config)
			c, ok := errors.AsType[*ConfigError](err)
			if !ok || c.Key != tt.key || c.Msg != tt.want {
				t.Errorf("New = %v, want key %s: %s", err, tt.key, tt.want)
			}
		})
	}
}

func TestHintsOfSecrets(t *testing.T) {
	_, err := New(Config{Scheme: "discord", Secrets: []string{testKey + "\n"}})
	c, ok := errors.AsType[*ConfigError](err)
	if want := "it has a line break or space at its end or beginning"; !ok || c.Hint != want {
		t.Errorf("New = %#v, want the hint %q", err, want)
	}
}

func TestFetchIsRequired(t *testing.T) {
	for _, c := range []Config{
		{Scheme: "sns", JWT: JWT{Issuer: "arn:aws:sns:a:1:b"}},
		{Scheme: "jwt", JWT: JWT{JWKSURL: "https://a/b", Audience: "x"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%s) without Fetch = nil, want an error", c.Scheme)
		}
	}
}

func TestSchemesAndKeys(t *testing.T) {
	for _, scheme := range strings.Fields(`github gitlab gitea forgejo bitbucket stripe slack shopify standard-webhooks twilio
		linear sentry grafana discord docker-registry pagerduty zoom circleci atlassian hmac token basic bearer jwt
		meta dropbox microsoft-graph twitter sns`) {
		if !slices.Contains(Schemes(), scheme) {
			t.Errorf("Schemes lacks %s", scheme)
		}
		if len(Keys(scheme)) == 0 {
			t.Errorf("Keys(%s) is empty", scheme)
		}
	}
	if got := Keys("nothing"); got != nil {
		t.Errorf("Keys(nothing) = %v, want nil", got)
	}
	if got, want := Keys("slack"), []string{"secret", "tolerance"}; !slices.Equal(got, want) {
		t.Errorf("Keys(slack) = %v, want %v", got, want)
	}
}

func TestKeysOverPlainHTTPFromThisMachine(t *testing.T) {
	for _, url := range []string{"http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks"} {
		made(t, Config{Scheme: "jwt", JWT: JWT{JWKSURL: url, Audience: "x"}, Fetch: noFetch})
	}
}

func TestNeedsURL(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config Config
		want   bool
	}{
		{"twilio", Config{Scheme: "twilio"}, true},
		{"payload with the URL", Config{Scheme: "hmac", Header: "X", Payload: "{{url}}|{{raw}}"}, true},
		{"spaces around the name", Config{Scheme: "hmac", Header: "X", Payload: "{{ url }}|{{raw}}"}, true},
		{"payload without", Config{Scheme: "hmac", Header: "X"}, false},
		{"github", Config{Scheme: "github"}, false},
		{"bearer", Config{Scheme: "bearer"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Secrets = []string{"s"}
			if got := made(t, tt.config).NeedsURL(); got != tt.want {
				t.Errorf("NeedsURL = %v, want %v", got, tt.want)
			}
		})
	}
}
