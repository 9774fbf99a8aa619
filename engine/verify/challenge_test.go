package verify

import (
	"net/http"
	"strings"
	"testing"
)

func TestChallenges(t *testing.T) {
	now := seconds(1700000000)
	post := func(body string) Request { return Request{Method: http.MethodPost, Body: []byte(body)} }
	get := func(query string) Request { return Request{Method: http.MethodGet, Query: query} }
	text := func(s string, signed bool) Challenge {
		return Challenge{Status: 200, ContentType: textPlain, Body: s, Signed: signed}
	}
	for _, tt := range []struct {
		name    string
		config  Config
		request Request
		sign    bool
		want    Challenge
		ok      bool
		err     string
	}{
		{name: "slack", config: Config{Scheme: "slack"}, request: post(`{"type":"url_verification","challenge":"3eZb","token":"x"}`), sign: true, want: text("3eZb", true), ok: true},
		{name: "slack, not signed", config: Config{Scheme: "slack"}, request: post(`{"type":"url_verification","challenge":"3eZb"}`), ok: true, err: "the header X-Slack-Signature is missing"},
		{name: "slack, an event that speaks of it", config: Config{Scheme: "slack"}, request: post(`{"type":"event_callback","event":{"text":"url_verification"}}`), sign: true},
		{name: "slack, an event", config: Config{Scheme: "slack"}, request: post(`{"type":"event_callback"}`)},
		{name: "zoom", config: Config{Scheme: "zoom"}, request: post(`{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}`), sign: true, ok: true, want: Challenge{
			Status: 200, ContentType: "application/json", Signed: true,
			Body: `{"encryptedToken":"f54f2d5fee8f181aab8371bada7fed9bb675eae464f18ed4fb91715244b58ef4","plainToken":"qgg8vlvZRS6UYooatFL8Aw"}`}},
		{name: "zoom, not signed", config: Config{Scheme: "zoom"}, request: post(`{"event":"endpoint.url_validation","payload":{"plainToken":"v0:1700000000:{}"}}`), ok: true, err: "the header X-Zm-Signature is missing"},
		{name: "discord, events", config: Config{Scheme: "discord", Secrets: []string{seedMark + testSeed}}, request: post(`{"version":1,"type":0}`), sign: true, want: Challenge{Status: 204, Signed: true}, ok: true},
		{name: "discord, interactions", config: Config{Scheme: "discord", Secrets: []string{seedMark + testSeed}}, request: post(`{"type":1}`), sign: true, want: Challenge{Status: 200, ContentType: "application/json", Body: `{"type":1}`, Signed: true}, ok: true},
		{name: "discord, an event", config: Config{Scheme: "discord", Secrets: []string{seedMark + testSeed}}, request: post(`{"type":1,"event":{"type":"X"}}`), sign: true},
		{name: "discord, not signed", config: Config{Scheme: "discord", Secrets: []string{testKey}}, request: post(`{"type":1}`), ok: true, err: "the header X-Signature-Ed25519 is missing"},
		{name: "meta", config: Config{Scheme: "meta"}, request: get("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=s3cret"), want: text("1158201444", true), ok: true},
		{name: "meta, own token", config: Config{Scheme: "meta", VerifyToken: "own"}, request: get("hub.mode=subscribe&hub.challenge=1&hub.verify_token=own"), want: text("1", true), ok: true},
		{name: "meta, the secret in place of the own token", config: Config{Scheme: "meta", VerifyToken: "own"}, request: get("hub.mode=subscribe&hub.challenge=1&hub.verify_token=s3cret"), ok: true, err: "the query parameter hub.verify_token differs"},
		{name: "meta, without token", config: Config{Scheme: "meta"}, request: get("hub.mode=subscribe&hub.challenge=1"), ok: true, err: "the query parameter hub.verify_token is missing"},
		{name: "meta, a POST", config: Config{Scheme: "meta"}, request: Request{Method: "POST", Query: "hub.mode=subscribe&hub.challenge=1&hub.verify_token=s3cret"}},
		{name: "dropbox", config: Config{Scheme: "dropbox"}, request: get("challenge=a%20b%3Cc"), want: text("a b<c", false), ok: true},
		{name: "dropbox, long", config: Config{Scheme: "dropbox"}, request: get("challenge=" + strings.Repeat("a", maxChallenge+1))},
		{name: "dropbox, twice", config: Config{Scheme: "dropbox"}, request: get("challenge=a&challenge=b")},
		{name: "microsoft-graph", config: Config{Scheme: "microsoft-graph"}, request: Request{Method: "POST", Query: "validationToken=Validation%3A+Testing"}, want: text("Validation: Testing", false), ok: true},
		{name: "microsoft-graph, a notification", config: Config{Scheme: "microsoft-graph"}, request: Request{Method: "POST", Query: "validationToken=x", Body: []byte(`{"value":[]}`)}},
		{name: "twitter", config: Config{Scheme: "twitter"}, request: get("crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553"), ok: true, want: Challenge{
			Status: 200, ContentType: "application/json", Body: `{"response_token":"sha256=sUiql2ImzpZiS81esbntH8T8m2wuVrPa0jyMticDMm8="}`}},
		{name: "twitter, base64", config: Config{Scheme: "twitter"}, request: get("crc_token=YQ%3D%3D"), ok: true, want: Challenge{
			Status: 200, ContentType: "application/json", Body: `{"response_token":"sha256=So9n+zPorczx99MwotV3LB0C8oxIXvWSa//ACU1tBZM="}`}},
		{name: "twitter, a form to be signed", config: Config{Scheme: "twitter"}, request: get("crc_token=ref%3Devil")},
		{name: "twitter, more = than base64 has", config: Config{Scheme: "twitter"}, request: get("crc_token=YQ%3D%3D%3D")},
		{name: "twitter, nothing but =", config: Config{Scheme: "twitter"}, request: get("crc_token=%3D")},
		{name: "twitter, an event to be signed", config: Config{Scheme: "twitter"}, request: get("crc_token=%7B%7D")},
		{name: "github has none", config: Config{Scheme: "github"}, request: get("challenge=a&crc_token=b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.config.Secrets == nil {
				tt.config.Secrets = []string{"s3cret"}
			}
			v, r := made(t, tt.config), tt.request
			if tt.sign {
				r = signedBy(t, v, r, now)
			}
			c, ok, err := v.Challenge(t.Context(), r, now)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if c != tt.want || ok != tt.ok || got != tt.err {
				t.Errorf("Challenge = %+v, %v, %q, want %+v, %v, %q", c, ok, got, tt.want, tt.ok, tt.err)
			}
		})
	}
}

// TestChallengeIsNoOracle sends back as an event what a challenge signed.
func TestChallengeIsNoOracle(t *testing.T) {
	v := made(t, Config{Scheme: "twitter", Secrets: []string{"s3cret"}})
	c, ok, err := v.Challenge(t.Context(), Request{Method: http.MethodGet, Query: "crc_token=deploy"}, seconds(1))
	if !ok || err != nil {
		t.Fatalf("Challenge = %v, %v", ok, err)
	}
	signature := strings.TrimSuffix(strings.TrimPrefix(c.Body, `{"response_token":"`), `"}`)
	r := Request{Method: http.MethodPost, Header: http.Header{"X-Twitter-Webhooks-Signature": {signature}}, Body: []byte("deploy")}
	wantReason(t, v, r, seconds(1), "the body is not a JSON object")
}

// TestZoomAnswersWithTheKeyOfTheRequest is a rotation.
func TestZoomAnswersWithTheKeyOfTheRequest(t *testing.T) {
	old := made(t, Config{Scheme: "zoom", Secrets: []string{"old"}})
	both := made(t, Config{Scheme: "zoom", Secrets: []string{"new", "old"}})
	r := signedBy(t, old, Request{Method: "POST", Body: []byte(`{"event":"endpoint.url_validation","payload":{"plainToken":"x"}}`)}, seconds(1))
	want, _, _ := old.Challenge(t.Context(), r, seconds(1))
	got, _, err := both.Challenge(t.Context(), r, seconds(1))
	if err != nil || got != want {
		t.Errorf("Challenge = %+v, %v, want %+v", got, err, want)
	}
}
