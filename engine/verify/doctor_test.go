package verify

import (
	"bytes"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A patient is a request that was refused, made from a good one.
type patient struct {
	name   string
	here   Config               // what hookrun has
	sender Config               // what the sender has
	signed string               // the body that was signed
	change func(*Request)       // on the way
	now    func() time.Duration // after it was signed
	known  []Known
	want   string
}

func body(text string) func(*Request) { return func(r *Request) { r.Body = []byte(text) } }

func github(secret string) Config { return Config{Scheme: "github", Secrets: []string{secret}} }

// rewrite changes the value of a header.
func rewrite(name string, change func(string) string) func(*Request) {
	return func(r *Request) { r.Header.Set(name, change(r.Header.Get(name))) }
}

func toBase64(text string) string {
	b, _ := decode("hex", strings.TrimPrefix(text, "sha256="))
	return "sha256=" + base64.StdEncoding.EncodeToString(b)
}

const json1 = `{"ref":"refs/heads/main","n":1.50,"a":["é <b>",{}]}`

func patients() []patient {
	const fits = "the body was changed on its way: the signature fits it "
	const hub = "X-Hub-Signature-256"
	s := github("s3cret")
	bodies := []struct{ name, signed, arrived, want string }{
		{"compact", json1, "{\n  \"ref\": \"refs/heads/main\",\n  \"n\": 1.50,\n  \"a\": [\"é <b>\", {}]\n}", fits + "without spaces between"},
		{"indented", "{\n  \"b\": 1,\n  \"a\": {\n    \"c\": []\n  }\n}", `{"b":1,"a":{"c":[]}}`, fits + "indented by two spaces"},
		{"indented by four, with line break", "{\n    \"b\": 1\n}\n", `{"b":1}`, fits + "indented by four spaces, and a line break at its end"},
		{"indented by tabs", "{\n\t\"b\": 1\n}", `{"b":1}`, fits + "indented by tabs"},
		{"spaced", `{"b": 1, "a": "x,y:z\"", "c": ["\\", 2]}`, `{"b":1,"a":"x,y:z\"","c":["\\",2]}`, fits + "with a space behind colons and commas"},
		{"sorted", `{"a":1,"b":{"c":2.50,"d":"<"}}`, `{"b":{"d":"<","c":2.50},"a":1}`, fits + "without spaces between and its keys in order"},
		{"escaped", `{"a":"\u00e9\ud83d\udd11"}`, `{"a":"é🔑"}`, fits + "with letters beyond ASCII as \\u"},
		{"escaped slash", `{"a":"http:\/\/x"}`, `{"a":"http://x"}`, fits + "with / as \\/"},
		{"escaped HTML", `{"a":"\u003cb\u003e"}`, `{"a":"<b>"}`, fits + "with <, > and & as \\u"},
		{"line break added", "hello", "hello\n", fits + "without the line break at its end"},
		{"line break removed", "hello\n", "hello", fits + "with a line break at its end"},
		{"CR LF added", "a\nb\nc", "a\r\nb\r\nc", fits + "with LF in place of CR LF"},
		{"CR LF removed", "a\r\nb\r\nc", "a\nb\nc", fits + "with CR LF in place of LF"},
		{"byte order mark added", "a", "\xef\xbb\xbfa", fits + "without the byte order mark"},
		{"byte order mark removed", "\xef\xbb\xbfa", "a", fits + "with a byte order mark"},
		{"spaces added", "a", "  a ", fits + "without the spaces around it"},
		{"form made JSON", "payload=" + url.QueryEscape(json1), json1, "the sender signed a form with payload=, and JSON arrived"},
	}
	all := []patient{
		{name: "wrong prefix", here: s, sender: s, change: rewrite(hub, func(v string) string { return "SHA-256=" + v[7:] }), want: "the signature is right, but the prefix is SHA-256= instead of sha256="},
		{name: "no prefix", here: s, sender: s, change: rewrite(hub, func(v string) string { return v[7:] }), want: "the signature is right, but comes without the prefix sha256="},
		{name: "prefix where none is", here: Config{Scheme: "hmac", Header: "X", Secrets: []string{"s"}}, sender: Config{Scheme: "hmac", Header: "X", Prefix: "hmac=", Secrets: []string{"s"}}, want: "the signature is right, but comes with a prefix, hmac="},
		{name: "base64 for hex", here: s, sender: s, change: rewrite(hub, toBase64), want: "the signature is right, but in base64 instead of hex"},
		{name: "hex for base64", here: Config{Scheme: "hmac", Header: "X", Encoding: "base64", Secrets: []string{"s"}}, sender: Config{Scheme: "hmac", Header: "X", Secrets: []string{"s"}}, want: "the signature is right, but in hex instead of base64"},
		{name: "line break behind the secret here", here: github("s3cret\n"), sender: s, want: "the secret here ends in a line break, the sender's does not"},
		{name: "spaces around the secret here", here: github(" s3cret "), sender: s, want: "the secret here has spaces around it, the sender's has none"},
		{name: "line break behind the sender's secret", here: s, sender: github("s3cret\n"), want: "the sender's secret ends in a line break, the one here does not"},
		{name: "space behind the sender's secret", here: s, sender: github("s3cret "), want: "the sender's secret ends in a space, the one here does not"},
		{name: "quotes here", here: github(`"s3cret"`), sender: s, want: "the secret here has quotes around it, the sender's has none"},
		{name: "quotes there", here: s, sender: github(`"s3cret"`), want: "the sender's secret has quotes around it, the one here has none"},
		{name: "secret in base64 here", here: github(base64.StdEncoding.EncodeToString([]byte("s3cret-s3cret"))), sender: github("s3cret-s3cret"), want: "the sender uses the secret decoded from base64"},
		{name: "whsec_ decoded by the sender of stripe", here: Config{Scheme: "stripe", Secrets: []string{whs("whsec", testSeed)}}, sender: Config{Scheme: "stripe", Secrets: []string{string(unhex(testSeed))}}, want: "the sender uses the secret decoded from base64"},
		{name: "whsec_ as it is", here: Config{Scheme: "standard-webhooks", Secrets: []string{whs("whsec", testSeed)}}, sender: Config{Scheme: "standard-webhooks", Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte(whs("whsec", testSeed)))}}, want: "the sender uses the secret as it is, not decoded from base64"},
		{name: "hex secret", here: github(testSeed), sender: github(string(unhex(testSeed))), want: "the sender uses the secret decoded from hex"},
		{name: "old secret", here: s, sender: github("0ld"), known: []Known{{"the secret of bucket x", "x"}, {"the secret before the last edit", "0ld"}}, want: "the request is signed with the secret before the last edit"},
		{name: "old key of ed25519", here: Config{Scheme: "discord", Secrets: []string{strings.Repeat("01", 32)}}, sender: Config{Scheme: "discord", Secrets: []string{seedMark + testSeed}}, known: []Known{{"the secret before the last edit", testKey}}, want: "the request is signed with the secret before the last edit"},
		{name: "other algorithm", here: Config{Scheme: "hmac", Header: "X", Secrets: []string{"s"}}, sender: Config{Scheme: "hmac", Header: "X", Algorithm: "sha512", Secrets: []string{"s"}}, want: "the signature is made with sha512"},
		{name: "SHA-1 only", here: s, sender: Config{Scheme: "hmac", Header: "X-Hub-Signature", Algorithm: "sha1", Prefix: "sha1=", Secrets: []string{"s3cret"}}, want: "the signature is right in X-Hub-Signature, which is made with SHA-1 and not taken: the sender has to send X-Hub-Signature-256"},
		{name: "another scheme", here: s, sender: Config{Scheme: "gitea", Secrets: []string{"s3cret"}}, want: "the request is signed as scheme gitea signs, in the header X-Gitea-Signature"},
		{name: "another scheme, long ago", here: s, sender: Config{Scheme: "stripe", Secrets: []string{"s3cret"}}, now: func() time.Duration { return time.Hour }, want: "the request is signed as scheme stripe signs, in the header Stripe-Signature"},
		{name: "secret sent as it is", here: s, sender: Config{Scheme: "gitlab", Secrets: []string{"s3cret"}}, want: `the request is not signed: the secret itself came in the header "X-Gitlab-Token"`},
		{name: "clock ahead", here: Config{Scheme: "slack", Secrets: []string{"s"}}, sender: Config{Scheme: "slack", Secrets: []string{"s"}}, now: func() time.Duration { return time.Hour }, want: "the signature is right: the request is 1h0m0s old, or the clock here is 3600 s ahead of the sender's"},
		{name: "clock behind", here: Config{Scheme: "slack", Secrets: []string{"s"}}, sender: Config{Scheme: "slack", Secrets: []string{"s"}}, now: func() time.Duration { return -301 * time.Second }, want: "the signature is right: the clock here is 301 s behind the sender's"},
		{name: "clock of linear", here: Config{Scheme: "linear", Secrets: []string{"s"}}, sender: Config{Scheme: "linear", Secrets: []string{"s"}}, signed: `{"webhookTimestamp":1700000000000}`, now: func() time.Duration { return 61 * time.Second }, want: "the signature is right: the request is 1m1s old, or the clock here is 61 s ahead of the sender's"},
		{name: "form whose payload is signed", here: s, sender: s, signed: json1, change: func(r *Request) {
			r.Body = []byte("payload=" + url.QueryEscape(json1))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, want: "the sender signs the payload field of its form, decoded, as scheme gitea does"},
		{name: "forged", here: s, sender: github("evil"), want: ""},
		{name: "nothing", here: s, sender: s, change: func(r *Request) { clear(r.Header) }, want: ""},
		{name: "body too large", here: s, sender: s, signed: strings.Repeat("a", maxDoctorBody+1), change: body(strings.Repeat("a", maxDoctorBody+1) + "\n"), want: ""},

		{name: "token in another header", here: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "bearer", Secrets: []string{"t0ken"}}, want: `the token is right, but came in the header "Authorization"`},
		{name: "token in the query", here: Config{Scheme: "bearer", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Query: "k", Secrets: []string{"t0ken"}}, want: `the token is right, but came in the query parameter "k"`},
		{name: "token with a line break here", here: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken\n"}}, sender: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, want: "the secret here ends in a line break, the sender's does not"},
		{name: "old token", here: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"0ld"}}, known: []Known{{"the secret of bucket x", "0ld"}}, want: "the token in the header X-Token is the secret of bucket x"},
		{name: "token with Bearer", here: Config{Scheme: "token", Header: "Authorization", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "bearer", Secrets: []string{"t0ken"}}, want: "the word Bearer stands before the token"},
		{name: "gitlab, old token", here: Config{Scheme: "gitlab", Secrets: []string{"new"}}, sender: Config{Scheme: "gitlab", Secrets: []string{"0ld"}}, known: []Known{{"the secret before the last edit", "0ld"}}, want: "the token in the header X-Gitlab-Token is the secret before the last edit"},
		{name: "token twice in the query", here: Config{Scheme: "token", Query: "token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Query: "token", Secrets: []string{"t0ken"}}, change: func(r *Request) { r.Query += "&" + r.Query }, want: "the query parameter token comes twice"},
		{name: "token three times in its header", here: Config{Scheme: "token", Header: "x-token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, change: func(r *Request) { r.Header["X-Token"] = []string{"t0ken", "t0ken", "t0ken"} }, want: "the header X-Token comes 3 times"},
		{name: "bearer without the word", here: Config{Scheme: "bearer", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Header: "Authorization", Secrets: []string{"t0ken"}}, want: `the token is right, but the header "Authorization" does not begin with Bearer`},
		{name: "token behind another word", here: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"Token t0ken"}}, want: `the token is right, but another word stands before it in the header "X-Token"`},
		{name: "basic as it is", here: Config{Scheme: "basic", Secrets: []string{"u:pass"}}, sender: Config{Scheme: "token", Header: "Authorization", Secrets: []string{"Basic u:pass"}}, want: `user and password are right, but the header "Authorization" holds them as they are, not in base64 behind Basic`},
		{name: "query that can't be read", here: Config{Scheme: "token", Query: "k", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Query: "k", Secrets: []string{"t0ken"}}, change: func(r *Request) { r.Query += "&a;b" }, want: ""},
		{name: "forged token", here: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"t0ken"}}, sender: Config{Scheme: "token", Header: "X-Token", Secrets: []string{"evil"}}, want: ""},
	}
	for _, b := range bodies {
		all = append(all, patient{name: b.name, here: s, sender: s, signed: b.signed, change: body(b.arrived), want: b.want})
	}
	return all
}

func unhex(text string) []byte {
	b, _ := decode("hex", text)
	return b
}

func TestDoctor(t *testing.T) {
	for _, p := range patients() {
		t.Run(p.name, func(t *testing.T) {
			now := seconds(1700000000)
			if p.signed == "" {
				p.signed = json1
			}
			r := signedBy(t, made(t, p.sender), Request{Method: http.MethodPost, Header: http.Header{}, Body: []byte(p.signed)}, now)
			if p.change != nil {
				p.change(&r)
			}
			if p.now != nil {
				now = now.Add(p.now())
			}
			v := made(t, p.here)
			if v.Check(t.Context(), r, now) == nil {
				t.Fatal("the request passes")
			}
			if got := v.Diagnose(t.Context(), r, now, p.known); got != p.want {
				t.Errorf("Diagnose = %q, want %q", got, p.want)
			}
		})
	}
}

func TestDoctorOfGraph(t *testing.T) {
	v := made(t, Config{Scheme: "microsoft-graph", Secrets: []string{"state\n"}})
	r := Request{Body: []byte(`{"value":[{"clientState":"state"}]}`)}
	if got, want := v.Diagnose(t.Context(), r, seconds(1), nil), "the secret here ends in a line break, the sender's does not"; got != want {
		t.Errorf("Diagnose = %q, want %q", got, want)
	}
}

func TestDoctorOfJWT(t *testing.T) {
	v := made(t, Config{Scheme: "jwt", JWT: JWT{Key: hsKey}})
	r := Request{Header: http.Header{"X-Empty": nil, "X-Jwt": {tokenOf(t, jose.HS256, []byte(hsKey), "", claims())}}}
	if got, want := v.Diagnose(t.Context(), r, seconds(1700000000), nil), `a good token came in the header "X-Jwt"`; got != want {
		t.Errorf("Diagnose = %q, want %q", got, want)
	}
}

// TestDoctorIsBounded gives the doctor what would cost most.
func TestDoctorIsBounded(t *testing.T) {
	deep := append(bytes.Repeat([]byte("["), 9000), bytes.Repeat([]byte("]"), 9000)...)
	wide := []byte("[" + strings.Repeat("0,", maxDoctorBody/2-2) + "0]")
	for _, tt := range []struct {
		name string
		body []byte
	}{{"deep", deep}, {"wide", wide}} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "github", Secrets: []string{"a", "b", "c"}})
			r := Request{Header: http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("0", 64)}}, Body: tt.body}
			got := testing.AllocsPerRun(1, func() {
				if cause := v.Diagnose(t.Context(), r, seconds(1), nil); cause != "" {
					t.Errorf("Diagnose = %q, want nothing", cause)
				}
			})
			if got > 1e6 {
				t.Errorf("the doctor allocates %.0f times", got)
			}
		})
	}
	var b budget
	for range maxTries {
		if !b.take(1) {
			t.Fatal("the budget ends early")
		}
	}
	if b.take(1) {
		t.Error("the budget never ends")
	}
	if b = (budget{}); b.take(maxTriesBytes + 1) {
		t.Error("bytes are not counted")
	}
}

// TestNothingLeaks looks for secrets and right signatures in all that is said.
func TestNothingLeaks(t *testing.T) {
	now := seconds(1700000000)
	for _, p := range patients() {
		if p.signed == "" {
			p.signed = json1
		}
		if len(p.signed) > 1<<10 {
			continue
		}
		v := made(t, p.here)
		r := signedBy(t, made(t, p.sender), Request{Method: http.MethodPost, Header: http.Header{}, Body: []byte(p.signed)}, now)
		right := http.Header{}
		if s, err := v.Sign(Request{Method: http.MethodPost, Body: []byte(p.signed)}, now, "msg-1"); err == nil {
			right = s.Header
		}
		if p.change != nil {
			p.change(&r)
		}
		if p.now != nil {
			now = now.Add(p.now())
		}
		said := v.Diagnose(t.Context(), r, now, p.known)
		if err := v.Check(t.Context(), r, now); err != nil {
			said += err.Error()
		}
		for _, secret := range append(secretsOf(p), slicesOf(maps.Values(right))...) {
			if len(secret) > 3 && strings.Contains(said, secret) {
				t.Errorf("%s: %q holds %q", p.name, said, secret)
			}
		}
	}
}

func secretsOf(p patient) []string {
	all := append([]string{}, p.here.Secrets...)
	all = append(all, p.sender.Secrets...)
	for _, k := range p.known {
		all = append(all, k.Secret)
	}
	return all
}

// slicesOf are the values of headers, and each of them without its prefix.
func slicesOf(values func(func([]string) bool)) []string {
	var all []string
	for some := range values {
		for _, value := range some {
			_, rest, _ := strings.Cut(value, "=")
			all = append(all, value, rest)
		}
	}
	return all
}
