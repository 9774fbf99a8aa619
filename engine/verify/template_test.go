package verify

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// generic is an hmac configuration with a payload and the headers that it names.
func generic(payload string) Config {
	c := Config{Scheme: "hmac", Secrets: []string{"s3cret"}, Header: "X-Sig", Payload: payload}
	if strings.Contains(payload, "{{timestamp}}") {
		c.TimestampHeader = "X-Time"
	}
	if strings.Contains(payload, "{{id}}") {
		c.IDHeader = "X-Id"
	}
	return c
}

func TestAmbiguousPayloads(t *testing.T) {
	const next = ": bytes could be moved from one to the other"
	const own = ": bytes of the body could be sent as its own"
	const digit = "the text beside {{timestamp}} has a digit there: nobody knows where the timestamp ends"
	for _, tt := range []struct{ name, payload, want string }{
		{"id before the timestamp", "{{id}}{{timestamp}}{{raw}}", "nothing stands between {{id}} and what follows" + next},
		{"id before the body", "{{id}}{{raw}}", "nothing stands between {{id}} and what follows" + next},
		{"URL before the body", "{{url}}{{raw}}", "nothing stands between {{url}} and what follows" + next},
		{"URL before the id", "{{url}}{{id}}.{{raw}}", "nothing stands between {{url}} and what follows" + next},
		{"id behind the body", "{{raw}}.{{id}}", "{{id}} stands behind {{raw}}" + own},
		{"id behind the body, with an end", "{{raw}}.{{id}}.", "{{id}} stands behind {{raw}}" + own},
		{"URL behind the body", "{{raw}}|{{url}}|", "{{url}} stands behind {{raw}}" + own},
		{"body twice", "{{raw}}.{{raw}}", "{{raw}} stands there twice"},
		{"timestamp twice", "{{timestamp}}.{{raw}}.{{timestamp}}", "{{timestamp}} stands there twice"},
		{"id twice", "{{id}}.{{id}}.{{raw}}", "{{id}} stands there twice"},
		{"digit behind the timestamp", "{{timestamp}}1.{{raw}}", digit},
		{"digit before the timestamp", "{{raw}}.1{{timestamp}}", digit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(generic(tt.payload))
			c, ok := errors.AsType[*ConfigError](err)
			if !ok || c.Key != "payload" || c.Msg != tt.want || c.Hint == "" {
				t.Errorf("New = %#v, want key payload, %q and a hint", err, tt.want)
			}
		})
	}
}

func TestUsualPayloads(t *testing.T) {
	for _, payload := range []string{
		"{{raw}}", "{{timestamp}}{{raw}}", "{{raw}}{{timestamp}}", "{{timestamp}}.{{raw}}", "{{raw}}.{{timestamp}}", "v0:{{timestamp}}:{{raw}}",
		"v1{{timestamp}}.{{raw}}", "{{id}}.{{timestamp}}{{raw}}", "{{id}}.{{timestamp}}.{{raw}}", "{{timestamp}}{{id}}.{{raw}}", "{{url}}|{{raw}}",
	} {
		t.Run(payload, func(t *testing.T) {
			v, r := made(t, generic(payload)), Request{URL: "https://example.com/a", Body: []byte(`{"a":1}`)}
			wantPass(t, v, signedBy(t, v, r, seconds(1700000000)), seconds(1700000000))
		})
	}
}

// TestPublicURLHoldsItsEnd is a payload under which no request could pass.
func TestPublicURLHoldsItsEnd(t *testing.T) {
	c := generic("{{url}}.{{raw}}")
	c.PublicURL = "https://example.com/hooks"
	_, err := New(c)
	problem, ok := errors.AsType[*ConfigError](err)
	if want := `public_url holds ".", which ends {{url}}: nobody knows where the URL ends`; !ok || problem.Msg != want {
		t.Errorf("New = %v, want %q", err, want)
	}
}

// A replay is a request that was signed, and what an attacker makes of it: what is
// signed stays the same, byte for byte.
type replay struct {
	name, payload, signed   string
	stamp, id, url, body    string // of the replay
	stamp0, id0, url0, raw0 string // of the sender
	want                    string
}

func (p replay) request(v *Verifier, stamp, id, url, body string) Request {
	sum := v.checker.(*signature).keys[0].mac([]byte(p.signed))
	h := http.Header{"X-Sig": {encode("hex", sum)}}
	for name, value := range map[string]string{"X-Time": stamp, "X-Id": id} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return Request{Method: http.MethodPost, URL: url, Header: h, Body: []byte(body)}
}

// TestBytesDoNotMove sends old signatures again with bytes moved from one place of
// the payload to another.
func TestBytesDoNotMove(t *testing.T) {
	const s, ms = "1700000000", "1700000000123"
	for _, tt := range []replay{
		{name: "from the body to the id", payload: "{{id}}.{{timestamp}}.{{raw}}", signed: "a." + s + "." + s + ".{}",
			stamp0: s, id0: "a", raw0: s + ".{}", stamp: s, id: "a." + s, body: "{}", want: `the header X-Id holds ".", which ends an id`},
		{name: "an end that overlaps itself", payload: "{{id}}--{{raw}}", signed: "a---{}",
			id0: "a", raw0: "-{}", id: "a-", body: "{}", want: `the header X-Id holds "--", which ends an id`},
		{name: "from the body to the URL", payload: "{{url}}|{{raw}}", signed: "https://h/a?x=1|b|{}",
			url0: "https://h/a?x=1", raw0: "b|{}", url: "https://h/a?x=1|b", body: "{}", want: `the URL that the sender called holds "|", which ends a URL`},
		{name: "from the timestamp to the body", payload: "{{timestamp}}{{raw}}", signed: ms + "{}",
			stamp0: ms, raw0: "{}", stamp: s, body: "123{}", want: "digits follow the timestamp: nobody knows where it ends"},
		{name: "from the timestamp to the body before it", payload: "{{raw}}{{timestamp}}", signed: "{}" + "1701701701701",
			stamp0: "1701701701701", raw0: "{}", stamp: "1701701701", body: "{}170", want: "digits stand before the timestamp: nobody knows where it begins"},
		{name: "from the timestamp to the id", payload: "{{timestamp}}{{id}}.{{raw}}", signed: ms + "a.{}",
			stamp0: ms, id0: "a", raw0: "{}", stamp: s, id: "123a", body: "{}", want: "digits follow the timestamp: nobody knows where it ends"},
		{name: "one digit to the timestamp", payload: "{{timestamp}}{{raw}}", signed: s + "1{}",
			stamp0: s, raw0: "1{}", stamp: s + "1", body: "{}", want: "the timestamp in the header X-Time is not a time in seconds (10 digits) or in milliseconds (13)"},
		{name: "the time zone", payload: "{{timestamp}}{{raw}}", signed: s + "Z{}",
			stamp0: s, raw0: "Z{}", stamp: "2023-11-14T22:13:20Z", body: "{}", want: "the timestamp in the header X-Time is not a time in seconds (10 digits) or in milliseconds (13)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, now := made(t, generic(tt.payload)), seconds(1700000000)
			if strings.HasPrefix(tt.stamp, "1701") {
				now = seconds(1701701701)
			}
			wantPass(t, v, tt.request(v, tt.stamp0, tt.id0, tt.url0, tt.raw0), now)
			wantReason(t, v, tt.request(v, tt.stamp, tt.id, tt.url, tt.body), now, tt.want)
		})
	}
}

func TestGenericTimes(t *testing.T) {
	const loose = "the timestamp in the header X-Time is not a time in seconds (10 digits), in milliseconds (13) or of RFC 3339"
	const fixed = "the timestamp in the header X-Time is not a time in seconds (10 digits) or in milliseconds (13)"
	for _, tt := range []struct{ name, payload, text, want string }{
		{"seconds", "{{timestamp}}.{{raw}}", "1700000000", ""},
		{"milliseconds", "{{timestamp}}.{{raw}}", "1700000000000", ""},
		{"RFC 3339", "{{timestamp}}.{{raw}}", "2023-11-14T22:13:20Z", ""},
		{"words", "{{timestamp}}.{{raw}}", "now", loose},
		{"fraction", "{{timestamp}}.{{raw}}", "1700000000.5", loose},
		{"negative", "{{timestamp}}.{{raw}}", "-1700000000", loose},
		{"eleven digits", "{{timestamp}}.{{raw}}", "01700000000", loose},
		{"very long", "{{timestamp}}.{{raw}}", strings.Repeat("9", 16), loose},
		{"seconds beside the body", "{{timestamp}}{{raw}}", "1700000000", ""},
		{"milliseconds beside the body", "{{timestamp}}{{raw}}", "1700000000000", ""},
		{"seconds behind the body", "{{raw}}{{timestamp}}", "1700000000", ""},
		{"milliseconds behind the body", "{{raw}}{{timestamp}}", "1700000000000", ""},
		{"RFC 3339 beside the body", "{{timestamp}}{{raw}}", "2023-11-14T22:13:20Z", fixed},
		{"eleven digits beside the body", "{{timestamp}}{{raw}}", "17000000000", fixed},
		{"words beside the body", "{{raw}}{{timestamp}}", "now", fixed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, generic(tt.payload))
			signed := strings.NewReplacer("{{timestamp}}", tt.text, "{{raw}}", "body").Replace(tt.payload)
			r := replay{signed: signed}.request(v, tt.text, "", "", "body")
			if tt.want == "" {
				wantPass(t, v, r, seconds(1700000000))
				return
			}
			wantReason(t, v, r, seconds(1700000000), tt.want)
		})
	}
}
