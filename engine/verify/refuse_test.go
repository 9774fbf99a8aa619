package verify

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRefusedHeaders are headers that look nearly right.
func TestRefusedHeaders(t *testing.T) {
	const good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	bad := "sha256=" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		name   string
		values []string
		want   string // "" passes
	}{
		{"as it is", []string{good}, ""},
		{"upper case", []string{"sha256=" + strings.ToUpper(good[7:])}, ""},
		{"missing", nil, "the header X-Hub-Signature-256 is missing"},
		{"empty", []string{""}, "the header X-Hub-Signature-256 is empty"},
		{"twice", []string{good, good}, "the header X-Hub-Signature-256 comes 2 times"},
		{"bad, then good", []string{bad, good}, "the header X-Hub-Signature-256 comes 2 times"},
		{"bad, good in one", []string{bad + ", " + good}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"bad,good in one", []string{bad + "," + good}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"good, good in one", []string{good + ", " + good}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"prefix only", []string{"sha256="}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"prefix in upper case", []string{"SHA256=" + good[7:]}, "the header X-Hub-Signature-256 does not begin with sha256="},
		{"no prefix", []string{good[7:]}, "the header X-Hub-Signature-256 does not begin with sha256="},
		{"space before", []string{" " + good}, "the header X-Hub-Signature-256 does not begin with sha256="},
		{"space behind", []string{good + " "}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"one byte short", []string{good[:len(good)-2]}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"one byte long", []string{good + "00"}, "the header X-Hub-Signature-256 holds no signature of 32 bytes in hex"},
		{"other", []string{bad}, "the signature differs"},
		{"huge", []string{strings.Repeat("a", maxHeader+1)}, "the header X-Hub-Signature-256 has 16385 bytes, more than 16384"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "github", Secrets: []string{"It's a Secret to Everybody"}})
			r := Request{Method: http.MethodPost, Header: http.Header{"X-Hub-Signature-256": tt.values}, Body: []byte("Hello, World!")}
			if tt.want == "" {
				wantPass(t, v, r, time.Time{})
				return
			}
			wantReason(t, v, r, time.Time{}, tt.want)
		})
	}
}

// TestHeaderSpeltTwoWays is what a relay could hand on.
func TestHeaderSpeltTwoWays(t *testing.T) {
	s := sampleOf(t, "github-doc")
	v := made(t, Config{Scheme: "github", Secrets: s.config.Secrets})
	sig := s.request.Header.Get("X-Hub-Signature-256")
	lower := s.request
	lower.Header = http.Header{"x-hub-signature-256": {sig}}
	wantPass(t, v, lower, s.now)
	lower.Header["X-Hub-Signature-256"] = []string{sig}
	wantReason(t, v, lower, s.now, "the header X-Hub-Signature-256 comes 2 times")
}

// TestSHA1IsNotTaken is the old header of GitHub, right as it may be.
func TestSHA1IsNotTaken(t *testing.T) {
	v := made(t, Config{Scheme: "github", Secrets: []string{"secret"}})
	r := Request{Header: http.Header{"X-Hub-Signature": {"sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e"}}, Body: []byte(`{"a": "z"}`)}
	wantReason(t, v, r, time.Time{}, "the header X-Hub-Signature-256 is missing")
}

func TestRefusedLists(t *testing.T) {
	stripe, standard, pager := sampleOf(t, "stripe-computed"), sampleOf(t, "standard-webhooks"), sampleOf(t, "pagerduty-two-secrets")
	good := strings.TrimPrefix(stripe.request.Header.Get("Stripe-Signature"), "t=1492774577,")
	v1 := standard.request.Header.Get("Webhook-Signature")
	for _, tt := range []struct {
		name   string
		sample sample
		header string
		value  string
		want   string
	}{
		{"stripe, order changed", stripe, "Stripe-Signature", good + ",t=1492774577", ""},
		{"stripe, bad then good", stripe, "Stripe-Signature", "t=1492774577,v1=" + strings.Repeat("0", 64) + "," + good, ""},
		{"stripe, time only", stripe, "Stripe-Signature", "t=1492774577", "the header Stripe-Signature holds no signature that begins with v1="},
		{"stripe, v0 only", stripe, "Stripe-Signature", "t=1492774577,v0" + good[2:], "the header Stripe-Signature holds no signature that begins with v1="},
		{"stripe, no time", stripe, "Stripe-Signature", good, "the header Stripe-Signature holds 0 parts t= instead of one"},
		{"stripe, two times", stripe, "Stripe-Signature", "t=1492774577,t=9492774577," + good, "the header Stripe-Signature holds 2 parts t= instead of one"},
		{"stripe, signed time", stripe, "Stripe-Signature", "t=+1492774577," + good, "the timestamp in the header Stripe-Signature is not a time in seconds"},
		{"stripe, empty v1", stripe, "Stripe-Signature", "t=1492774577,v1=", "the header Stripe-Signature holds no signature of 32 bytes in hex"},
		{"standard, v1 alone", standard, "Webhook-Signature", "v1,", "the header Webhook-Signature holds no signature of 32 bytes in base64"},
		{"standard, v2", standard, "Webhook-Signature", "v2" + v1[2:], "the header Webhook-Signature holds no signature that begins with v1,"},
		{"standard, v1a with the bytes of v1", standard, "Webhook-Signature", "v1a" + v1[2:], "the header Webhook-Signature holds no signature that begins with v1,"},
		{"standard, two with comma", standard, "Webhook-Signature", v1 + "," + v1, "the header Webhook-Signature holds no signature of 32 bytes in base64"},
		{"standard, bad then good", standard, "Webhook-Signature", "v1,AAAA v1a,AAAA " + v1, ""},
		{"standard, without padding", standard, "Webhook-Signature", strings.TrimRight(v1, "="), "the header Webhook-Signature holds no signature of 32 bytes in base64"},
		{"standard, line break in base64", standard, "Webhook-Signature", v1[:10] + "\n" + v1[10:], "the header Webhook-Signature holds no signature of 32 bytes in base64"},
		{"standard, id with a dot", standard, "Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek.1", `the header Webhook-Id holds ".", which ends an id`},
		{"standard, long id", standard, "Webhook-Id", strings.Repeat("a", 257), "the header Webhook-Id has 257 bytes, more than 256"},
		{"standard, time with fraction", standard, "Webhook-Timestamp", "1614265330.0", "the timestamp in the header Webhook-Timestamp is not a time in seconds"},
		{"standard, time with a zero before", standard, "Webhook-Timestamp", "01614265330", "the signature differs"},
		{"pagerduty, 100", pager, "X-PagerDuty-Signature", strings.Repeat("v1=00,", 99) + pager.request.Header.Get("X-PagerDuty-Signature")[68:], ""},
		{"pagerduty, 101", pager, "X-PagerDuty-Signature", strings.Repeat("v1=00,", 100) + pager.request.Header.Get("X-PagerDuty-Signature")[68:], "the header X-PagerDuty-Signature holds 101 parts, more than 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.sample.request
			r.Header = maps.Clone(r.Header)
			r.Header.Set(tt.header, tt.value)
			v := made(t, tt.sample.config)
			if tt.want == "" {
				wantPass(t, v, r, tt.sample.now)
				return
			}
			wantReason(t, v, r, tt.sample.now, tt.want)
		})
	}
}

// TestFirstSpellingDecides keeps a right old header from helping a wrong new
// one.
func TestFirstSpellingDecides(t *testing.T) {
	gitea, svix := sampleOf(t, "forgejo"), sampleOf(t, "svix-names")
	for _, tt := range []struct {
		name   string
		sample sample
		from   string
		to     string
		want   string
	}{
		{"forgejo", gitea, "X-Forgejo-Signature", "X-Gitea-Signature", "the signature differs"},
		{"svix", svix, "", "Webhook-Signature", "the header Webhook-Timestamp is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.sample.request
			r.Header = maps.Clone(r.Header)
			if tt.from != "" {
				r.Header.Set(tt.to, r.Header.Get(tt.from))
				r.Header.Set(tt.from, strings.Repeat("0", 64))
			} else {
				r.Header.Set(tt.to, "v1,AAAA")
			}
			wantReason(t, made(t, tt.sample.config), r, tt.sample.now, tt.want)
		})
	}
}

func TestRotation(t *testing.T) {
	for _, scheme := range []string{"github", "stripe", "slack", "token"} {
		t.Run(scheme, func(t *testing.T) {
			c := Config{Scheme: scheme, Secrets: []string{"new", "old", "older"}}
			if scheme == "token" {
				c.Header = "X-Token"
			}
			v := made(t, c)
			for _, secret := range c.Secrets {
				one := c
				one.Secrets = []string{secret}
				wantPass(t, v, signedBy(t, made(t, one), Request{Body: []byte("{}")}, seconds(1)), seconds(1))
			}
			one := c
			one.Secrets = []string{"oldest"}
			if v.Check(t.Context(), signedBy(t, made(t, one), Request{Body: []byte("{}")}, seconds(1)), seconds(1)) == nil {
				t.Error("a secret that is not in the list passes")
			}
		})
	}
}

// TestOddSecrets sends secrets with what shells and files trip over.
func TestOddSecrets(t *testing.T) {
	for _, secret := range []string{`a"b'c`, "$HOME ${x} `id`", "line\nbreak", "tail\n", "ünïcödé 🔑", " space ", "\x00\xff", strings.Repeat("x", 300)} {
		for _, scheme := range []string{"github", "slack", "shopify", "basic"} {
			v := made(t, Config{Scheme: scheme, Secrets: []string{"u:" + secret}})
			wantPass(t, v, signedBy(t, v, Request{Body: []byte("{}")}, seconds(1)), seconds(1))
			other := made(t, Config{Scheme: scheme, Secrets: []string{"u:" + secret + "\n"}})
			if other.Check(t.Context(), signedBy(t, v, Request{Body: []byte("{}")}, seconds(1)), seconds(1)) == nil {
				t.Errorf("%s: secret %q passes with a line break behind it", scheme, secret)
			}
		}
	}
}

// TestFormMustHoldThePayloadOnly keeps unsigned fields out of rules.
func TestFormMustHoldThePayloadOnly(t *testing.T) {
	s := sampleOf(t, "gitea-form")
	v := made(t, s.config)
	for _, tt := range []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"as it is", func(*Request) {}, ""},
		{"another field behind", func(r *Request) { r.Body = append(r.Body, "&ref=evil"...) }, "the signature differs"},
		{"payload twice", func(r *Request) { r.Body = append(r.Body, "&payload=evil"...) }, "the signature differs"},
		{"as a GET", func(r *Request) { r.Method, r.Query, r.Body = "GET", string(r.Body), nil }, ""},
		{"as a GET with a body", func(r *Request) { r.Method, r.Query, r.Body = "GET", string(r.Body), []byte("evil") }, "the signature differs"},
		{"a POST with the payload in the query", func(r *Request) { r.Query, r.Body = string(r.Body), []byte("evil") }, "the signature differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := s.request
			r.Body = append([]byte{}, r.Body...)
			tt.change(&r)
			if tt.want == "" {
				wantPass(t, v, r, s.now)
				return
			}
			wantReason(t, v, r, s.now, tt.want)
		})
	}
}

func TestTwilio(t *testing.T) {
	form, body := sampleOf(t, "twilio-doc"), sampleOf(t, "twilio-json")
	for _, tt := range []struct {
		name   string
		sample sample
		change func(*Request)
		want   string
	}{
		{"port added on the way", form, func(r *Request) { r.URL = "https://mycompany.com:443/myapp.php?foo=1&bar=2" }, ""},
		{"another host", form, func(r *Request) { r.URL = "https://evil.com/myapp.php?foo=1&bar=2" }, "the signature differs"},
		{"query in another order", form, func(r *Request) { r.URL = "https://mycompany.com/myapp.php?bar=2&foo=1" }, "the signature differs"},
		{"fields in another order", form, func(r *Request) {
			a, b, _ := strings.Cut(string(r.Body), "&")
			r.Body = []byte(b + "&" + a)
		}, ""},
		{"no URL", form, func(r *Request) { r.URL = "" }, "the URL that the sender called is not known: public_url is not set"},
		{"form called text", form, func(r *Request) { r.Header = maps.Clone(r.Header); r.Header.Set("Content-Type", "text/plain") },
			"nothing signs the body: it is no form, and the URL has no bodySHA256"},
		{"JSON changed", body, func(r *Request) { r.Body = []byte(`{"status":"no"}`) }, "the body is not the one that bodySHA256 in the URL names"},
		{"JSON changed and called a form", body, func(r *Request) {
			r.Body = []byte(`&&`)
			r.Header = maps.Clone(r.Header)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, "the body is not the one that bodySHA256 in the URL names"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.sample.request
			tt.change(&r)
			v := made(t, tt.sample.config)
			if tt.want == "" {
				wantPass(t, v, r, tt.sample.now)
				return
			}
			wantReason(t, v, r, tt.sample.now, tt.want)
		})
	}
}

func TestLinearNeedsItsTime(t *testing.T) {
	v := made(t, Config{Scheme: "linear", Secrets: []string{"s"}})
	for _, tt := range []struct{ name, body string }{
		{"none", `{"a":1}`},
		{"text", `{"webhookTimestamp":"1676056940508"}`},
		{"null", `{"webhookTimestamp":null}`},
		{"deeper", `{"data":{"webhookTimestamp":1676056940508}}`},
		{"no JSON", `webhookTimestamp`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.UnixMilli(1676056940508)
			sum := v.checker.(*signature).keys[0].mac([]byte(tt.body))
			r := Request{Header: http.Header{"Linear-Signature": {encode("hex", sum)}}, Body: []byte(tt.body)}
			wantReason(t, v, r, now, "the body has no webhookTimestamp in milliseconds")
			_, err := v.Sign(Request{Body: []byte(tt.body)}, now, "")
			if want := "can't sign: the body needs webhookTimestamp in milliseconds, the time that scheme linear signs"; !errors.Is(err, ErrCantSign) || err.Error() != want {
				t.Errorf("Sign = %v, want %q", err, want)
			}
		})
	}
}

func TestGitlabWays(t *testing.T) {
	signed := sampleOf(t, "gitlab-signing")
	whsec := signed.config.Secrets[0]
	with := func(change func(http.Header)) Request {
		r := signed.request
		r.Header = maps.Clone(r.Header)
		change(r.Header)
		return r
	}
	token := func(h http.Header) { h.Set("X-Gitlab-Token", "old") }
	for _, tt := range []struct {
		name    string
		secrets []string
		request Request
		want    string
	}{
		{"token alone", []string{"old"}, Request{Header: http.Header{"X-Gitlab-Token": {"old"}}}, ""},
		{"wrong token", []string{"old"}, Request{Header: http.Header{"X-Gitlab-Token": {"olD"}}}, "the token in the header X-Gitlab-Token differs"},
		{"no token", []string{"old"}, Request{}, "the header X-Gitlab-Token is missing"},
		{"both configured, both sent", []string{whsec, "old"}, with(token), ""},
		{"a right token does not help a wrong signature", []string{whsec, "old"},
			with(func(h http.Header) { token(h); h.Set("Webhook-Signature", "v1,"+strings.Repeat("A", 43)+"=") }), "the signature differs"},
		{"both configured, the token sent", []string{whsec, "old"}, Request{Header: http.Header{"X-Gitlab-Token": {"old"}}}, ""},
		{"signing token only, the token sent", []string{whsec}, Request{Header: http.Header{"X-Gitlab-Token": {whsec}}}, "the header Webhook-Signature is missing"},
		{"token only, both sent", []string{"old"}, with(token), ""},
		{"token only, signature sent", []string{"old"}, signed.request, "the request is signed, and no secret begins with whsec_"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "gitlab", Secrets: tt.secrets})
			if tt.want == "" {
				wantPass(t, v, tt.request, signed.now)
				return
			}
			wantReason(t, v, tt.request, signed.now, tt.want)
		})
	}
}

func TestTokens(t *testing.T) {
	header := func(name, value string) Request { return Request{Header: http.Header{name: {value}}} }
	for _, tt := range []struct {
		name    string
		config  Config
		request Request
		want    string
	}{
		{"header", Config{Scheme: "token", Header: "x-token"}, header("X-Token", "u:p"), ""},
		{"header differs", Config{Scheme: "token", Header: "X-Token"}, header("X-Token", "u:p "), "the token in the header X-Token differs"},
		{"query", Config{Scheme: "token", Query: "key"}, Request{Query: "a=1&key=u%3Ap"}, ""},
		{"query differs", Config{Scheme: "token", Query: "key"}, Request{Query: "key=x"}, "the token in the query parameter key differs"},
		{"query missing", Config{Scheme: "token", Query: "key"}, Request{Query: "a=1"}, "the query parameter key is missing"},
		{"query twice", Config{Scheme: "token", Query: "key"}, Request{Query: "key=u:p&key=u:p"}, "the query parameter key comes 2 times"},
		{"query empty", Config{Scheme: "token", Query: "key"}, Request{Query: "key="}, "the query parameter key is empty"},
		{"query broken", Config{Scheme: "token", Query: "key"}, Request{Query: "key=u:p;x"}, "the query can't be read"},
		{"bearer", Config{Scheme: "bearer"}, header("Authorization", "Bearer u:p"), ""},
		{"bearer in lower case", Config{Scheme: "bearer"}, header("Authorization", "bearer u:p"), ""},
		{"bearer without the word", Config{Scheme: "bearer"}, header("Authorization", "u:p"), "the header Authorization does not begin with Bearer"},
		{"basic", Config{Scheme: "basic"}, header("Authorization", "Basic dTpw"), ""},
		{"basic, other password", Config{Scheme: "basic"}, header("Authorization", "Basic dTpx"), "user or password differs"},
		{"basic, not base64", Config{Scheme: "basic"}, header("Authorization", "Basic u:p"), "the header Authorization is not user:password in base64"},
		{"registry, as configured", Config{Scheme: "docker-registry"}, header("Authorization", "u:p"), ""},
		{"registry, bearer", Config{Scheme: "docker-registry"}, header("Authorization", "Bearer u:p"), ""},
		{"registry, own header", Config{Scheme: "docker-registry", Header: "X-Reg"}, header("X-Reg", "u:p"), ""},
		{"registry, basic", Config{Scheme: "docker-registry"}, header("Authorization", "Basic u:p"), "the token in the header Authorization differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Secrets = []string{"u:p"}
			v := made(t, tt.config)
			if tt.want == "" {
				wantPass(t, v, tt.request, time.Time{})
				return
			}
			wantReason(t, v, tt.request, time.Time{}, tt.want)
		})
	}
}

func TestGraph(t *testing.T) {
	v := made(t, Config{Scheme: "microsoft-graph", Secrets: []string{"new", "old"}})
	for _, tt := range []struct{ name, body, want string }{
		{"all right", `{"value":[{"clientState":"new"},{"clientState":"old"}]}`, ""},
		{"one differs", `{"value":[{"clientState":"new"},{"clientState":"x"}]}`, "the clientState of notification 2 of 2 differs"},
		{"one without", `{"value":[{"clientState":"new"},{}]}`, "notification 2 of 2 has no clientState"},
		{"none", `{"value":[]}`, "the body is not a list of notifications"},
		{"no JSON", `new`, "the body is not a list of notifications"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Method: http.MethodPost, Body: []byte(tt.body)}
			if tt.want == "" {
				wantPass(t, v, r, time.Time{})
				return
			}
			wantReason(t, v, r, time.Time{}, tt.want)
		})
	}
}
