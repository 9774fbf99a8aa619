package verify

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// unguessable are configurations of all schemes with secrets that no input can
// hold.
func unguessable(f *testing.F) []*Verifier {
	text := func() string { return rand.Text() + rand.Text() }
	var all []*Verifier
	for _, c := range signers() {
		switch {
		case c.Scheme == "jwt":
			c.JWT.Key = text()
		case c.Scheme == "discord":
			c.Secrets = []string{seedMark + encode("hex", []byte(text())[:32])}
		case c.Scheme == "basic":
			c.Secrets = []string{"user:" + text()}
		case strings.HasPrefix(c.Secrets[0], "whs"):
			kind, _, _ := strings.Cut(c.Secrets[0], "_")
			c.Secrets = []string{kind + "_" + base64.StdEncoding.EncodeToString([]byte(text())[:32])}
		case strings.HasPrefix(c.Secrets[0], "whpk_"):
			continue
		default:
			c.Secrets = []string{text()}
		}
		all = append(all, made(f, c))
	}
	graph := made(f, Config{Scheme: "microsoft-graph", Secrets: []string{text()}})
	amazon := made(f, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: newAmazon(f, "sns.amazonaws.com").fetch, ConfirmSubscription: true})
	return append(all, graph, amazon)
}

// FuzzCheck sends anything to every scheme: nothing passes, nothing panics, and
// nothing that is said holds a secret.
func FuzzCheck(f *testing.F) {
	for _, s := range samples(f) {
		first := ""
		for name, value := range s.request.Header {
			if strings.Contains(name, "Sig") || strings.Contains(name, "Hmac") {
				first = value[0]
			}
		}
		f.Add(first, "1700000000", "a=1&key=x", s.request.Body, s.request.URL, false)
	}
	f.Add("Bearer a.b.c", "1700000000", "key=a&key=b", []byte(`{"value":[{"clientState":"x"}]}`), "https://a/b?bodySHA256=00", true)
	f.Add("v1,AAAA v1a,AAAA", "99999999999", "%zz", []byte("payload=%7B%7D"), "::", true)
	f.Add("t=1,v1=00,v1=", "", "crc_token=a&challenge=b&validationToken=c", []byte(`{"type":1}`), "", false)
	b, _ := parseSNS(newAmazon(f, "sns.amazonaws.com").sign(f, notification()).Body)
	f.Add("", "", "", encodeMessage(f, b), "", false)
	all := unguessable(f)
	now := seconds(1700000000)
	f.Fuzz(func(t *testing.T, signature, stamp, query string, body []byte, url string, form bool) {
		for _, v := range all {
			r := Request{Method: http.MethodPost, URL: url, Query: query, Body: body, Header: headersOf(v, signature, stamp)}
			if form {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			err := v.Check(t.Context(), r, now)
			if err == nil {
				t.Fatalf("%s takes %+v", v.Scheme(), r)
			}
			said := err.Error() + v.Diagnose(t.Context(), r, now, []Known{{"another secret", "x"}})
			for _, secret := range v.config.Secrets {
				if strings.Contains(said, secret) {
					t.Fatalf("%s says its secret", v.Scheme())
				}
			}
			r.Method = http.MethodGet
			if c, _, _ := v.Challenge(t.Context(), r, now); c.Signed || c.Confirm != "" {
				t.Fatalf("%s answers %+v", v.Scheme(), c)
			}
		}
	})
}

// headersOf are those that a scheme reads, all with the same text.
func headersOf(v *Verifier, signature, stamp string) http.Header {
	h := http.Header{"Authorization": {signature}, "X-Token": {signature}, "X-Gitlab-Token": {signature}}
	for _, r := range rows() {
		if r.scheme == v.Scheme() {
			addNames(h, r.names[0], signature, stamp)
		}
	}
	addNames(h, names{"X-Sig", "X-Time", "X-Id"}, signature, stamp)
	addNames(h, names{"X-Own", "X-Own-Time", ""}, signature, stamp)
	return h
}

func addNames(h http.Header, n names, signature, stamp string) {
	h.Set(n.signature, signature)
	if n.timestamp != "" {
		h.Set(n.timestamp, stamp)
	}
	if n.id != "" {
		h.Set(n.id, "msg-1")
	}
}

// FuzzParseSignatureHeaders reads any header: within bounds, and each signature
// that comes out has the size of its key.
func FuzzParseSignatureHeaders(f *testing.F) {
	f.Add("t=1492774577,v1=88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a,v0=00")
	f.Add("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,AAAA")
	f.Add("sha256=bad, sha256=good")
	f.Add(strings.Repeat(",", 200))
	f.Add(strings.Repeat("v1=00 ", 5000))
	all := rows()
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range all {
			s, err := build(r, Config{Secrets: []string{whs("whsec", testSeed)}})
			if err != nil {
				s, err = build(r, Config{Secrets: []string{testKey}})
			}
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			addNames(h, r.names[0], text, "1")
			c, failure := s.read(Request{Header: h, URL: "https://a/b"})
			if len(c.items) > maxSignatures || failure == nil && len(text) > maxHeader {
				t.Fatalf("%s: %d parts of a header of %d bytes", r.scheme, len(c.items), len(text))
			}
			signatures, _ := s.signatures(c, s.keys[0])
			for _, b := range signatures {
				if len(b) != s.keys[0].size() {
					t.Fatalf("%s: a signature of %d bytes", r.scheme, len(b))
				}
			}
		}
	})
}
