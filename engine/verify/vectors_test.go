package verify

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A vector is a row of testdata/vectors.json: a signature that somebody
// published, or that another program computed. Each names its source.
type vector struct {
	Name, Scheme, Source, Alg, Secret, Header, Body, Sig, ID, Timestamp, URL string

	Body64          string `json:"body_base64"`
	TimestampHeader string `json:"timestamp_header"`
	Params, Headers map[string]string
	Now             int64
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// A sample is a request that passes.
type sample struct {
	name    string
	config  Config
	request Request
	now     time.Time
}

// sample makes the request of a vector.
func (v vector) sample(t testing.TB) sample {
	t.Helper()
	s := sample{name: v.Name, config: Config{Scheme: v.Scheme, Secrets: []string{v.Secret}, TimestampHeader: v.TimestampHeader}}
	h, body := http.Header{}, []byte(v.Body)
	if v.Body64 != "" {
		body, _ = base64.StdEncoding.DecodeString(v.Body64)
	}
	n, _ := strconv.ParseInt(v.Timestamp, 10, 64)
	switch v.Scheme {
	case "hmac-hex", "hmac-hex-prefixed":
		prefix, _, found := strings.Cut(v.Sig, "=")
		if found {
			prefix += "="
		} else {
			prefix = ""
		}
		s.config.Scheme, s.config.Algorithm, s.config.Prefix = "hmac", v.Alg, prefix
		s.config.Header = cmp.Or(v.Header, "X-Signature")
		h.Set(s.config.Header, v.Sig)
	case "slack-v0":
		s.config.Scheme = "slack"
		h.Set("X-Slack-Signature", v.Sig)
		h.Set("X-Slack-Request-Timestamp", v.Timestamp)
	case "standard-webhooks-v1":
		s.config.Scheme = "standard-webhooks"
		h.Set("Webhook-Signature", v.Sig)
		h.Set("Webhook-Timestamp", v.Timestamp)
		h.Set("Webhook-Id", v.ID)
	case "twilio-sha1(url+sorted params)":
		s.config.Scheme = "twilio"
		form := url.Values{}
		for name, value := range v.Params {
			form.Set(name, value)
		}
		body = []byte(form.Encode())
		h.Set("X-Twilio-Signature", v.Sig)
		h.Set("Content-Type", "application/x-www-form-urlencoded")
	case "stripe-v1":
		s.config.Scheme = "stripe"
		h.Set("Stripe-Signature", v.Sig)
	default:
		n = v.Now
		for name, value := range v.Headers {
			h.Set(name, value)
		}
	}
	s.now = time.Unix(n, 0)
	s.request = Request{Method: http.MethodPost, URL: v.URL, Header: h, Body: body}
	return s
}

func samples(t testing.TB) []sample {
	t.Helper()
	var all []sample
	for _, v := range vectors(t) {
		all = append(all, v.sample(t))
	}
	return all
}

func sampleOf(t testing.TB, name string) sample {
	t.Helper()
	for _, s := range samples(t) {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no vector %s", name)
	return sample{}
}

func TestVectorsPass(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			wantPass(t, made(t, s.config), s.request, s.now)
		})
	}
}

// TestVectorsUnderTheirName runs the vectors of plain HMAC under the schemes
// that are made of it.
func TestVectorsUnderTheirName(t *testing.T) {
	tests := []struct{ name, vector, scheme string }{
		{"github", "github-doc", "github"},
		{"meta signs as github does", "github-doc", "meta"},
		{"gitea", "gitea-computed", "gitea"},
		{"forgejo takes the header of gitea", "gitea-computed", "forgejo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sampleOf(t, tt.vector)
			wantPass(t, made(t, Config{Scheme: tt.scheme, Secrets: s.config.Secrets}), s.request, s.now)
		})
	}
}

// TestEverySigningSchemeHasAVector keeps a new row from going untested.
func TestEverySigningSchemeHasAVector(t *testing.T) {
	has := map[string]bool{"github": true} // see TestVectorsUnderTheirName
	for _, s := range samples(t) {
		has[s.config.Scheme] = true
	}
	for _, r := range rows() {
		if !has[r.scheme] {
			t.Errorf("scheme %s has no vector in testdata/vectors.json", r.scheme)
		}
	}
}
