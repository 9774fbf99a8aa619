//go:build unix

package cli

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/engine/verify"
	"hookrun/relay/relaytest"
	"hookrun/relay/server"
)

// vector is a row of engine/verify/testdata/vectors.json.
type vector struct {
	Name, Scheme, Alg, Secret, Header, Body, Sig, ID, Timestamp, URL string

	Body64          string `json:"body_base64"`
	TimestampHeader string `json:"timestamp_header"`
	Params, Headers map[string]string
	Now             int64

	bucket string
	hook   relaytest.Webhook
	signed time.Time
}

// vectors reads all of them, each for a bucket of its own.
func vectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "engine", "verify", "testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].bucket = "v" + strconv.Itoa(i)
		all[i].prepare(t)
		t.Setenv("VECTOR_"+strconv.Itoa(i), all[i].Secret)
	}
	return all
}

// prepare makes the webhook, and brings the older rows to the form of the newer
// ones, whose scheme is that of the rules and whose headers are all there.
func (v *vector) prepare(t *testing.T) {
	t.Helper()
	h, body := map[string]string{}, []byte(v.Body)
	switch v.Scheme {
	case "hmac-hex", "hmac-hex-prefixed":
		v.Scheme, v.Header = "hmac", cmp.Or(v.Header, "X-Signature")
		h[v.Header] = v.Sig
	case "slack-v0":
		v.Scheme = "slack"
		h["X-Slack-Signature"], h["X-Slack-Request-Timestamp"] = v.Sig, v.Timestamp
	case "standard-webhooks-v1":
		v.Scheme = "standard-webhooks"
		h["Webhook-Signature"], h["Webhook-Timestamp"], h["Webhook-Id"] = v.Sig, v.Timestamp, v.ID
	case "twilio-sha1(url+sorted params)":
		v.Scheme = "twilio"
		form := url.Values{}
		for name, value := range v.Params {
			form.Set(name, value)
		}
		body = []byte(form.Encode())
		h["X-Twilio-Signature"], h["Content-Type"] = v.Sig, "application/x-www-form-urlencoded"
	case "stripe-v1":
		v.Scheme = "stripe"
		h["Stripe-Signature"] = v.Sig
	default:
		h = v.Headers
	}
	if v.Body64 != "" {
		var err error
		if body, err = base64.StdEncoding.DecodeString(v.Body64); err != nil {
			t.Fatal(err)
		}
	}
	seconds, _ := strconv.ParseInt(v.Timestamp, 10, 64) // "" is none
	v.signed = time.Unix(cmp.Or(seconds, v.Now), 0)
	_, query, _ := strings.Cut(v.URL, "?")
	v.hook = relaytest.Webhook{Query: query, Header: http.Header{}, Body: body}
	for name, value := range h {
		v.hook.Header.Set(name, value)
	}
}

// verify is the vector's in the rules.
func (v *vector) verify(tolerance string) string {
	var keys strings.Builder
	add := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&keys, ", %s: %q", key, value)
		}
	}
	if v.Scheme == "hmac" {
		add("header", v.Header)
		add("algorithm", v.Alg)
		if prefix, _, found := strings.Cut(v.Sig, "="); found {
			add("prefix", prefix+"=")
		}
	}
	add("timestamp_header", v.TimestampHeader)
	address, _, _ := strings.Cut(v.URL, "?")
	add("public_url", address)
	if v.timed() {
		add("tolerance", tolerance)
	}
	return fmt.Sprintf(`  %s: {verify: {scheme: %s%s, secret: "${env:VECTOR_%s}"}}`+"\n", v.bucket, v.Scheme, keys.String(), v.bucket[1:])
}

// timed reports whether the signature covers a time.
func (v *vector) timed() bool {
	return slices.Contains(verify.Keys(v.Scheme), "tolerance") && (v.Scheme != "grafana" || v.TimestampHeader != "") && v.Scheme != "hmac"
}

// vectorRules is a rule for all of them, that keeps what comes on stdin.
func vectorRules(all []vector, tolerance string) string {
	var buckets, names strings.Builder
	for i := range all {
		buckets.WriteString(all[i].verify(tolerance))
		names.WriteString(all[i].bucket + ", ")
	}
	return "buckets:\n" + buckets.String() + "rules:\n  - name: keep\n    bucket: [" + names.String() + `]
    concurrency: {limit: 4}
    actions:
      - shell: cat >"$OUT/$HOOKRUN_EVENT_ID"
        env: {OUT: DIR}
        stdin: "{{ raw }}"
`
}

// changedHook is a webhook that differs in one bit from one that is signed.
type changedHook struct {
	vector *vector
	what   string
	hook   relaytest.Webhook
	right  []string // signatures that would be right for it
}

// changes are those of one bit in all that is signed.
func (v *vector) changes(t *testing.T, g *rules.Generation) []changedHook {
	var all []changedHook
	add := func(what string, change func(*relaytest.Webhook)) {
		hook := v.hook
		hook.Header = v.hook.Header.Clone()
		change(&hook)
		all = append(all, changedHook{vector: v, what: what, hook: hook, right: v.right(t, g, hook)})
	}
	add("body", func(h *relaytest.Webhook) { h.Body = flipLast(h.Body) })
	for name := range v.hook.Header {
		value := v.hook.Header.Get(name)
		set := func(text string) func(*relaytest.Webhook) {
			return func(h *relaytest.Webhook) { h.Header.Set(name, text) }
		}
		switch {
		case name == "Content-Type", name == "Sentry-Hook-Timestamp": // which are not signed
		case strings.HasSuffix(name, "-Id"):
			add("id", set(string(flipLast([]byte(value)))))
		case strings.HasSuffix(name, "-Timestamp"), name == http.CanonicalHeaderKey(v.TimestampHeader):
			add("timestamp", set(string(flipLast([]byte(value)))))
		default:
			add("signature", set(otherSignature(value)))
			if stamp, rest, ok := strings.Cut(value, ",v1="); ok && strings.HasPrefix(stamp, "t=") {
				add("timestamp", set(string(flipLast([]byte(stamp)))+",v1="+rest))
			}
		}
	}
	return all
}

// flipLast changes the lowest bit of the last byte: a digit stays one. A body
// without bytes gets one.
func flipLast(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0x01}
	}
	changed := slices.Clone(b)
	changed[len(b)-1] ^= 1
	return changed
}

// otherSignature changes a bit near the end of a signature so that it is well
// formed still.
func otherSignature(value string) string {
	changed := []byte(value)
	at := len(changed) - 6
	for _, bit := range []byte{1, 2, 4} {
		if c := changed[at] ^ bit; strings.IndexByte("0123456789abcdef", changed[at]) >= 0 == (strings.IndexByte("0123456789abcdef", c) >= 0) {
			changed[at] = c
			return string(changed)
		}
	}
	changed[at] ^= 1
	return string(changed)
}

// signatures finds what may be one in a text.
func signatures(text string) []string {
	return regexp.MustCompile(`[0-9a-f]{40,}|[A-Za-z0-9+/]{27,}=*`).FindAllString(text, -1)
}

// right are the signatures that would be right for a webhook, where the secret
// here can make them.
func (v *vector) right(t *testing.T, g *rules.Generation, hook relaytest.Webhook) []string {
	t.Helper()
	verifier, _ := g.VerifierOf(v.bucket)
	r := verify.Request{Method: http.MethodPost, URL: v.URL, Query: hook.Query, Header: hook.Header, Body: hook.Body}
	id := cmp.Or(hook.Header.Get("Webhook-Id"), hook.Header.Get("Svix-Id"))
	s, err := verifier.Sign(r, v.signed, id)
	if err != nil && !errors.Is(err, verify.ErrCantSign) {
		t.Fatalf("%s: %v", v.Name, err)
	}
	var all []string
	for _, values := range s.Header {
		all = append(all, signatures(values[0])...)
	}
	return all
}

// TestVectors sends every signature that somebody published through the intake
// and through a relay: a hookrun takes it, and runs the rule once over exactly
// the bytes. With one bit of body, signature, time or id changed it takes none,
// and what would have been right is written nowhere.
func TestVectors(t *testing.T) {
	all := vectors(t)
	text := vectorRules(all, "200000h")
	w := startWhole(t, relaytest.Options{}, strings.ReplaceAll(text, "OUT: DIR", "OUT: DIR/got"))
	if err := os.Mkdir(w.path("got"), 0o700); err != nil {
		t.Fatal(err)
	}
	g, problems := rules.Load([]string{w.path("rules.yaml")}, rules.Options{})
	if g == nil {
		t.Fatal(problems)
	}
	var secrets, right []string
	for i := range all {
		if len(all[i].Secret) >= 10 { // a shorter one stands in other words
			secrets = append(secrets, all[i].Secret)
		}
		for _, values := range all[i].hook.Header {
			right = append(right, signatures(values[0])...)
		}
	}

	changed := changesOf(t, all, g)
	for _, c := range changed {
		right = append(right, c.right...)
	}
	if len(right) < 3*len(all) {
		t.Errorf("%d signatures are looked for, of %d vectors", len(right), len(all))
	}
	answers := w.refuseAll(t, changed)
	w.wantRejections(t, changed)
	kept := w.kept(t)
	kept["the answers"] = []byte(strings.Join(answers, "\n"))
	wantNowhere(t, kept, append(right, secrets...)...)

	w.takeAll(t, all)
	w.stop()
	wantNowhere(t, w.kept(t), secrets...)
}

// changesOf are the changes of all vectors, as many as there have to be.
func changesOf(t *testing.T, all []vector, g *rules.Generation) []changedHook {
	t.Helper()
	var changed []changedHook
	for i := range all {
		changed = append(changed, all[i].changes(t, g)...)
	}
	count := map[string]int{}
	for _, c := range changed {
		count[c.what]++
	}
	if count["body"] != len(all) || count["signature"] != len(all) || count["timestamp"] < 9 || count["id"] < 4 {
		t.Errorf("the changes of %d vectors are %v", len(all), count)
	}
	return changed
}

// refuseAll sends webhooks both ways, none of which is to be taken, and returns
// the answers.
func (w *whole) refuseAll(t *testing.T, changed []changedHook) []string {
	t.Helper()
	var answers, ids []string
	for _, c := range changed {
		status, body := w.post(t, c.vector.bucket, c.hook)
		if status != http.StatusUnauthorized || body != `{"error":"not verified"}`+"\n" {
			t.Errorf("%s: with another %s the intake answers %d %s, want 401", c.vector.Name, c.what, status, body)
		}
		answers = append(answers, body)
		ids = append(ids, w.deliver(t, c.vector.bucket, c.hook))
	}
	for i, id := range ids {
		log := w.answer(t, id)
		if log.StatusCode != http.StatusUnauthorized || log.Status != "failed" {
			t.Errorf("%s: with another %s the relay is told %d %s, want 401 failed", changed[i].vector.Name, changed[i].what, log.StatusCode, log.Status)
		}
		answers = append(answers, log.Raw, string(log.Body))
	}
	return answers
}

// wantRejections wants one rejection for each way of each webhook, and no run.
func (w *whole) wantRejections(t *testing.T, changed []changedHook) {
	t.Helper()
	r := w.reader(t)
	want := map[string]int{}
	for _, c := range changed {
		want[c.vector.bucket] += 2
	}
	for bucket, n := range want {
		found, err := r.Rejections(t.Context(), engine.RejectionFilter{Bucket: bucket})
		if err != nil || len(found) != n {
			t.Errorf("bucket %s has %d rejections, %v, want %d", bucket, len(found), err, n)
		}
	}
	if runs := allRuns(t, r, engine.RunFilter{}); len(runs) != 0 {
		t.Errorf("%d runs were made for webhooks that nobody signed", len(runs))
	}
}

// takeAll sends the vectors as they are, both ways, and wants a run of each.
func (w *whole) takeAll(t *testing.T, all []vector) {
	t.Helper()
	events := map[string]*vector{}
	add := func(v *vector, status int, body string) {
		var receipt server.Receipt
		if err := json.Unmarshal([]byte(body), &receipt); status != http.StatusAccepted || err != nil || len(receipt.Runs) != 1 {
			t.Errorf("%s: the answer is %d %s, want 202 with one run", v.Name, status, body)
			return
		}
		events[receipt.Event] = v
	}
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = w.deliver(t, all[i].bucket, all[i].hook)
		status, body := w.post(t, all[i].bucket, all[i].hook)
		add(&all[i], status, body)
	}
	for i, id := range ids {
		log := w.answer(t, id)
		if log.Status != "sent" {
			t.Errorf("%s: the relay is told %q, want sent", all[i].Name, log.Status)
		}
		add(&all[i], log.StatusCode, string(log.Body))
	}
	w.stop() // when all runs have ended
	for _, run := range allRuns(t, w.reader(t), engine.RunFilter{}) {
		v := events[run.Event]
		if v == nil || run.State != engine.Done {
			t.Errorf("a run is %s: %s", run.State, run.Err)
			continue
		}
		delete(events, run.Event)
		if got, err := os.ReadFile(w.path("got/" + run.Event)); err != nil || string(got) != string(v.hook.Body) {
			t.Errorf("%s: the command got %q, %v, want %q", v.Name, got, err, v.hook.Body)
		}
	}
	if len(events) != 0 {
		t.Errorf("%d webhooks have no run", len(events))
	}
}

// TestOldVectorsAreRefused leaves the tolerance at what it is by default.
func TestOldVectorsAreRefused(t *testing.T) {
	all := slices.DeleteFunc(vectors(t), func(v vector) bool { return !v.timed() })
	if len(all) < 10 {
		t.Errorf("%d vectors are signed with a time, want at least 10", len(all))
	}
	w := startWhole(t, relaytest.Options{}, vectorRules(all, ""))
	var changed []changedHook
	for i := range all {
		changed = append(changed, changedHook{vector: &all[i], what: "clock", hook: all[i].hook})
	}
	w.refuseAll(t, changed)
	w.wantRejections(t, changed)
	found, err := w.reader(t).Rejections(t.Context(), engine.RejectionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		if !regexp.MustCompile(`^the timestamp is \S+ old, more than [15]m0s$`).MatchString(r.Reason) {
			t.Errorf("bucket %s: the reason is %q, want that it is too old", r.Bucket, r.Reason)
		}
	}
}

// TestPlainRelayLosesBytes: a relay that can carry text alone breaks a signature
// over other bytes, and the operator is told so. What is text it carries.
func TestPlainRelayLosesBytes(t *testing.T) {
	all := vectors(t)
	w := startWhole(t, relaytest.Options{Plain: true}, vectorRules(all, "200000h"))
	lost := all[slices.IndexFunc(all, func(v vector) bool { return v.Body64 != "" })]
	w.refuseRelayed(t, &lost)
	const want = "a signature over such a body can't be checked here"
	found, err := w.reader(t).Rejections(t.Context(), engine.RejectionFilter{Bucket: lost.bucket})
	if err != nil || len(found) != 1 || !strings.HasPrefix(found[0].Likely, "the body holds U+FFFD") || !strings.HasSuffix(found[0].Likely, want) {
		t.Errorf("rejections = %+v, %v, want one that says %q", found, err, want)
	}
	if !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	text := all[0]
	if log := w.answer(t, w.deliver(t, text.bucket, text.hook)); log.StatusCode != http.StatusAccepted {
		t.Errorf("%s: the relay is told %d, want 202", text.Name, log.StatusCode)
	}
}

func (w *whole) refuseRelayed(t *testing.T, v *vector) {
	t.Helper()
	log := w.answer(t, w.deliver(t, v.bucket, v.hook))
	if log.StatusCode != http.StatusUnauthorized || log.Status != "failed" {
		t.Errorf("%s: the relay is told %d %s, want 401 failed", v.Name, log.StatusCode, log.Status)
	}
}
