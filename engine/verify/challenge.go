package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxChallenge     = 4 << 10  // bytes that are sent back
	maxChallengeBody = 64 << 10 // of a request that may be one
	textPlain        = "text/plain; charset=utf-8"
)

// Challenge is the answer to what a service asks when a URL is registered. Its
// body may be text that anybody chose: it is sent with X-Content-Type-Options:
// nosniff.
type Challenge struct {
	Status      int
	ContentType string // "" without a body
	Body        string
	Signed      bool   // the request was verified
	Confirm     string // sns: the URL that has to be got, at Amazon SNS for certain
}

// Challenge returns the answer to a request that asks whether the URL is hookrun's;
// ok is false where it is none, and is to be handled as an event. Where the
// sender signs such requests and this one is not verified, err is the *Failure.
//
// It never signs what anybody may choose: with the answer in hand they could
// send it back as an event.
func (v *Verifier) Challenge(ctx context.Context, r Request, now time.Time) (c Challenge, ok bool, err error) {
	switch v.config.Scheme {
	case "slack":
		return v.signedChallenge(ctx, r, now, "url_verification", slackAnswer)
	case "zoom":
		return v.signedChallenge(ctx, r, now, "endpoint.url_validation", v.zoomAnswer)
	case "discord":
		return v.signedChallenge(ctx, r, now, `"type"`, discordAnswer)
	case "sns":
		return v.signedChallenge(ctx, r, now, "SubscriptionConfirmation", v.snsAnswer)
	case "meta":
		return v.metaAnswer(r)
	case "twitter":
		c, ok = v.twitterAnswer(r)
	case "dropbox":
		c, ok = echo(r, http.MethodGet, "challenge")
	case "microsoft-graph":
		c, ok = echo(r, http.MethodPost, "validationToken")
	}
	return c, ok, nil
}

// signedChallenge answers a POST that has a mark in its body, and only then
// costs a second check.
func (v *Verifier) signedChallenge(ctx context.Context, r Request, now time.Time, mark string, answer func(Request) (Challenge, bool)) (Challenge, bool, error) {
	if len(r.Body) > maxChallengeBody || !bytes.Contains(r.Body, []byte(mark)) {
		return Challenge{}, false, nil
	}
	if err := v.Check(ctx, r, now); err != nil {
		return Challenge{}, true, err
	}
	c, ok := answer(r)
	c.Signed = ok
	return c, ok, nil
}

// slackAnswer: https://docs.slack.dev/reference/events/url_verification
func slackAnswer(r Request) (Challenge, bool) {
	var body struct{ Type, Challenge string }
	if json.Unmarshal(r.Body, &body) != nil || body.Type != "url_verification" {
		return Challenge{}, false
	}
	return Challenge{Status: http.StatusOK, ContentType: textPlain, Body: body.Challenge}, true
}

// zoomAnswer: https://developers.zoom.us/docs/api/webhooks/#validate-your-webhook-endpoint
func (v *Verifier) zoomAnswer(r Request) (Challenge, bool) {
	var body struct {
		Event   string
		Payload struct{ PlainToken string }
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Event != "endpoint.url_validation" {
		return Challenge{}, false
	}
	k, ok := v.fitting(r)
	if !ok {
		return Challenge{}, false
	}
	plain := body.Payload.PlainToken
	return jsonAnswer(map[string]string{"plainToken": plain, "encryptedToken": hex.EncodeToString(k.mac([]byte(plain)))})
}

// fitting is the key that a verified request was signed with.
func (v *Verifier) fitting(r Request) (key, bool) {
	s, ok := v.checker.(*signature)
	if !ok {
		return key{}, false
	}
	c, f := s.read(r)
	if f != nil {
		return key{}, false
	}
	payloads, f := s.payloads(r, c)
	if f != nil {
		return key{}, false
	}
	k, f := s.fits(c, payloads)
	return k, f == nil
}

func jsonAnswer(fields any) (Challenge, bool) {
	b, err := json.Marshal(fields)
	return Challenge{Status: http.StatusOK, ContentType: "application/json", Body: string(b)}, err == nil
}

// discordAnswer: a ping is type 0 for events, and type 1 for interactions,
// where an event has type 1 too.
// https://docs.discord.com/developers/events/webhook-events#preparing-for-events
func discordAnswer(r Request) (Challenge, bool) {
	var body struct {
		Type  *int
		Event json.RawMessage
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Type == nil || body.Event != nil {
		return Challenge{}, false
	}
	switch *body.Type {
	case 0:
		return Challenge{Status: http.StatusNoContent}, true
	case 1:
		return jsonAnswer(map[string]int{"type": 1})
	}
	return Challenge{}, false
}

// snsAnswer hands on the URL to confirm with, where the file allows it; else
// the request is an event like others.
func (v *Verifier) snsAnswer(r Request) (Challenge, bool) {
	s, ok := v.checker.(*sns)
	m, isMessage := parseSNS(r.Body)
	if !ok || !isMessage || m["Type"] != "SubscriptionConfirmation" || !s.confirm {
		return Challenge{}, false
	}
	confirm, ok := s.confirmURL(m)
	return Challenge{Status: http.StatusOK, Confirm: confirm}, ok
}

// metaAnswer: https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests
func (v *Verifier) metaAnswer(r Request) (Challenge, bool, error) {
	q, err := url.ParseQuery(r.Query)
	if err != nil || r.Method != http.MethodGet || q.Get("hub.mode") != "subscribe" {
		return Challenge{}, false, nil
	}
	c, ok := echo(r, http.MethodGet, "hub.challenge")
	if !ok {
		return Challenge{}, false, nil
	}
	got, f := singleQuery(r.Query, "hub.verify_token")
	if f != nil {
		return Challenge{}, true, f
	}
	want := v.config.Secrets
	if v.config.VerifyToken != "" {
		want = []string{v.config.VerifyToken}
	}
	if !sameSecret(got, want) {
		return Challenge{}, true, fail("the query parameter hub.verify_token differs")
	}
	c.Signed = true
	return c, true, nil
}

// twitterAnswer: https://docs.x.com/x-api/webhooks/quickstart#challenge-response-check-crc.
// What it signs is unsigned text, so it takes only what no event can be: the
// scheme takes nothing but JSON objects, and no token holds a brace.
func (v *Verifier) twitterAnswer(r Request) (Challenge, bool) {
	if r.Method != http.MethodGet {
		return Challenge{}, false
	}
	got, f := singleQuery(r.Query, "crc_token")
	if f != nil || !isCRC(got) {
		return Challenge{}, false
	}
	s, ok := v.checker.(*signature)
	if !ok {
		return Challenge{}, false
	}
	sum := base64.StdEncoding.EncodeToString(s.keys[0].mac([]byte(got)))
	return jsonAnswer(map[string]string{"response_token": "sha256=" + sum})
}

const tokenLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-."

// isCRC reports whether a text can be a token of twitter. It may end as base64
// does; "=" elsewhere would make it a form.
func isCRC(text string) bool {
	bare := strings.TrimRight(text, "=")
	return bare != "" && len(text) <= maxField && len(text)-len(bare) <= 2 && strings.Trim(bare, tokenLetters) == ""
}

// echo answers with a parameter of the query.
// https://www.dropbox.com/developers/reference/webhooks#documentation and
// https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks#notificationurl-validation
func echo(r Request, method, name string) (Challenge, bool) {
	if r.Method != method || len(r.Body) > 0 {
		return Challenge{}, false
	}
	text, f := singleQuery(r.Query, name)
	if f != nil || len(text) > maxChallenge {
		return Challenge{}, false
	}
	return Challenge{Status: http.StatusOK, ContentType: textPlain, Body: text}, true
}
