package hub

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"hookrun/relay/account"
	"hookrun/relay/wire"
)

const (
	otherID      = "0d2c1f5e-0000-4000-8000-000000000001"
	outputA      = "0d2c1f5e-0000-4000-8000-00000000000a"
	outputB      = "0d2c1f5e-0000-4000-8000-00000000000b"
	outputPublic = "0d2c1f5e-0000-4000-8000-00000000000c"

	unauthorized   = `{"type":"status","status":"unauthorized","message":"unauthorized: bad key or secret"}`
	subscribedBoth = `{"type":"status","status":"subscribed","message":"subscribed to buckets: deploys, other"}`
)

// other adds a bucket "other" whose input has the bucket's id.
func other(a *account.Account) {
	a.Buckets = append(a.Buckets, account.Bucket{
		ID: otherID, Name: "other", Stream: true, Inputs: []account.Input{{ID: strings.Replace(otherID, "0d2c", "1111", 1), BucketID: otherID}},
	})
}

func (r *relay) postOther(body string) {
	r.t.Helper()
	r.send(r.request("POST", "/v1/webhooks/"+strings.Replace(otherID, "0d2c", "1111", 1), body))
}

func TestLogin(t *testing.T) {
	r := startRelay(t, newMemStore())
	tests := []struct {
		name, frame, want string
	}{
		{"documented", `{"action":"auth","key":"key","secret":"` + secret + `"}`, authenticated},
		{"relay-go", `{"action":"auth","key":"key","secret":"` + secret + `","buckets":null}`, authenticated},
		{"extra fields", `{"action":"auth","key":"key","secret":"` + secret + `","version":{"a":[1]},"x":null}`, authenticated},
		{"secret alone", `{"action":"auth","key":"whr","secret":"` + secret + `"}`, authenticated},
		{"nulls", `{"action":"auth","key":"key","secret":"` + secret + `","client":null,"group":null,"features":null}`, authenticated},
		{"name without acks", `{"action":"auth","key":"key","secret":"` + secret + `","client":"box","features":["resume"]}`, authenticated},
		{"acks without name", `{"action":"auth","key":"key","secret":"` + secret + `","features":["ack"]}`, authenticated},
		{"acks", `{"action":"auth","key":"key","secret":"` + secret + `","client":"box","features":["ack","resume","new"]}`, acknowledges},
		{"wrong secret", `{"action":"auth","key":"key","secret":"sk-0"}`, unauthorized},
		{"no secret", `{"action":"auth","key":"key"}`, unauthorized},
		{"unknown key", `{"action":"auth","key":"nobody","secret":"` + secret + `"}`, unauthorized},
		{"subscribes first", `{"action":"subscribe"}`, unauthorized},
		{"pongs first", `{"action":"pong"}`, unauthorized},
		{"not JSON", `hello`, unauthorized},
		{"list", `[]`, unauthorized},
		{"empty", ``, unauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial()
			c.t = t
			c.say("%s", tt.frame)
			c.want(tt.want)
			if tt.want != unauthorized {
				c.ws.Close()
				return
			}
			if code, reason := c.closed(); code != websocket.ClosePolicyViolation || reason != reasonLogin {
				t.Errorf("closed with %d %q, want %d %q", code, reason, websocket.ClosePolicyViolation, reasonLogin)
			}
		})
	}
}

func TestSubscribe(t *testing.T) {
	r := startRelay(t, newMemStore(), other)
	const filtered = `{"type":"status","status":"subscribed","message":"subscribed to buckets: `
	tests := []struct {
		name, frame, want string
		gets              []string
	}{
		{"relayd with buckets", `{"action":"subscribe","key":"","secret":"","buckets":["deploys","other"]}`, subscribedBoth, []string{"one", "two"}},
		{"relayd without", `{"action":"subscribe","key":"","secret":"","buckets":[""]}`, subscribedBoth, []string{"one", "two"}},
		{"a name", `{"action":"subscribe","buckets":["deploys"]}`, subscribed, []string{"one"}},
		{"absent", `{"action":"subscribe"}`, subscribedBoth, []string{"one", "two"}},
		{"empty list", `{"action":"subscribe","buckets":[]}`, subscribedBoth, []string{"one", "two"}},
		{"null", `{"action":"subscribe","buckets":null}`, subscribedBoth, []string{"one", "two"}},
		{"an id", `{"action":"subscribe","buckets":["` + otherID + `"]}`, filtered + otherID + `"}`, []string{"two"}},
		{"unknown", `{"action":"subscribe","buckets":["nothing"]}`, filtered + `nothing"}`, nil},
		{"unknown beside known", `{"action":"subscribe","buckets":["nothing","other",""]}`, filtered + `nothing, other"}`, []string{"two"}},
		{"twice the same", `{"action":"subscribe","buckets":["other","` + otherID + `"]}`, filtered + `other, ` + otherID + `"}`, []string{"two"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial()
			c.t = t
			defer c.ws.Close()
			c.say(`{"action":"auth","key":"key","secret":%q}`, secret)
			c.want(authenticated)
			c.say("%s", tt.frame)
			c.want(tt.want)
			r.post("", "one")
			r.postOther("two")
			for _, want := range tt.gets {
				if got := string(c.webhook().Body); got != want {
					t.Errorf("body %q, want %q", got, want)
				}
			}
			// What comes next is the answer to this, so there was nothing else.
			c.say(`{"action":"subscribe","buckets":["deploys"]}`)
			c.want(subscribed)
		})
	}
}

func TestSubscribeAgainReplaces(t *testing.T) {
	r := startRelay(t, newMemStore(), other)
	c := r.plain2()
	c.say(`{"action":"subscribe","buckets":["other"]}`)
	c.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: other"}`)
	r.post("", "one")
	r.postOther("two")
	if got := string(c.webhook().Body); got != "two" {
		t.Errorf("body %q, want two", got)
	}
}

// plain2 is plain where there are two buckets.
func (r *relay) plain2() *client {
	r.t.Helper()
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q}`, secret)
	c.want(authenticated)
	c.say(`{"action":"subscribe"}`)
	c.want(subscribedBoth)
	return c
}

func TestScopesBoundWhatATokenGets(t *testing.T) {
	r := startRelay(t, newMemStore(), other, func(a *account.Account) { a.Tokens[0].Scopes.Buckets = []string{"other"} })
	c := r.dial()
	c.say(`{"action":"auth","key":"key","secret":%q}`, secret)
	c.want(authenticated)
	c.say(`{"action":"subscribe"}`)
	c.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: other"}`)
	r.post("", "one")
	r.postOther("two")
	if got := string(c.webhook().Body); got != "two" {
		t.Errorf("body %q, want two", got)
	}
	c.say(`{"action":"subscribe","buckets":["deploys"]}`) // says nothing of what there is
	c.want(subscribed)
	r.post("", "one")
	c.say(`{"action":"subscribe","buckets":["other"]}`)
	c.want(`{"type":"status","status":"subscribed","message":"subscribed to buckets: other"}`)
}

func TestOddWordsAreNoReasonToPart(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.plain()
	for _, frame := range []string{
		`{"action":"pong"}`,
		`{"action":"pong","key":"","secret":"","buckets":null}`,
		`{"action":"pong","held":0}`,
		`{"action":"ack","ids":["nothing"]}`,
		`{"action":"webhook_response","meta":{},"status":200}`,
		`{"action":"auth","key":"other","secret":"other"}`,
		`pong`, `"pong"`, `[1]`, ``,
	} {
		c.say("%s", frame)
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	pong := make(chan string, 1)
	c.ws.SetPongHandler(func(data string) error {
		pong <- data
		return nil
	})
	if err := c.ws.WriteControl(websocket.PingMessage, []byte("jenkins"), soon()); err != nil {
		t.Fatal(err)
	}
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed) // the pong is read with it
	if got := <-pong; got != "jenkins" {
		t.Errorf("pong %q, want jenkins", got)
	}
}

func TestRequestThatIsNotUnderstood(t *testing.T) {
	r := startRelay(t, newMemStore())
	for _, frame := range []string{`{"action":7}`, `{"action":"subscribe","buckets":"deploys"}`, `{}`, `{"action":"pong","held":-1}`} {
		c := r.plain()
		c.say("%s", frame)
		if code, reason := c.closed(); code != websocket.ClosePolicyViolation || reason != reasonRequest {
			t.Errorf("%s: closed with %d %q, want %q", frame, code, reason, reasonRequest)
		}
	}
	c := r.plain()
	c.say(`{"action":"pong","x":%q}`, strings.Repeat("x", wire.MaxRequest))
	if code, _ := c.closed(); code != websocket.CloseMessageTooBig {
		t.Errorf("closed with %d, want %d", code, websocket.CloseMessageTooBig)
	}
}

// A widespread client ends itself where the frame behind its subscription is
// another one than the answer.
func TestNothingComesBeforeTheAnswerToASubscription(t *testing.T) {
	r := startRelay(t, newMemStore())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.post("", "fire")
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for i := range 25 {
		c := r.plain()
		c.webhook()
		c.ws.Close()
		a := r.acking(fmt.Sprint(i), "")
		a.webhook()
		a.ws.Close()
	}
}

func TestEventFrame(t *testing.T) {
	r := startRelay(t, newMemStore(), func(a *account.Account) {
		a.Buckets[0].Outputs = []account.Output{
			{ID: outputA, Name: "here", Internal: true, Destination: "http://localhost:8080/hook/"},
			{ID: outputB, Name: "locked", Internal: true, LockPath: true, Destination: "http://localhost:8080/hook", Headers: account.Header{"X-A": {"set"}}},
			{ID: outputPublic, Name: "public", Destination: "https://example.com"},
			{ID: otherID, Name: "off", Internal: true, Disabled: true, Destination: "http://localhost"},
		}
	})
	c := r.plain()
	q := r.request("PUT", "/v1/webhooks/"+inputID+"/extra%2Fpath/x?foo=bar&x=1", `{"a":"<é>"}`)
	q.Header = http.Header{"X-A": {"1", "2"}, "User-Agent": {"test"}, "Accept-Encoding": {"identity"}}
	r.send(q)
	for _, want := range []struct{ id, name, destination, header string }{
		{outputA, "here", "http://localhost:8080/hook/extra%2Fpath/x", `["1","2"]`},
		{outputB, "locked", "http://localhost:8080/hook", `["set"]`},
	} {
		frame := c.hear()
		f, err := wire.DecodeFrame([]byte(frame))
		if err != nil {
			t.Fatal(err)
		}
		w := f.Webhook
		wanted := fmt.Sprintf(`{"type":"webhook","meta":{"id":"%s","bucked_id":"%s","bucket_id":"%s","bucket_name":"deploys","input_id":"%s",`+
			`"input_name":"Default public endpoint","output_name":"%s","output_destination":"%s","path":"/extra%%2Fpath/x","received_at":%d,"sum":"%s"},`+
			`"headers":{"Accept-Encoding":["identity"],"Content-Length":["12"],"User-Agent":["test"],"X-A":%s},"query":"foo=bar&x=1","body":"{\"a\":\"<é>\"}","method":"PUT"}`,
			w.ID, bucketID, bucketID, inputID, want.name, want.destination, w.ReceivedAt, w.Sum, want.header)
		if frame != wanted {
			t.Errorf("frame\n%s, want\n%s", frame, wanted)
		}
		l, err := r.store.Log(t.Context(), w.ID)
		if err != nil || l.OutputID != want.id {
			t.Errorf("delivery %+v %v, want one for output %s", l, err, want.id)
		}
	}
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed) // there is no third event
	if n := len(r.store.logs); n != 3 {
		t.Errorf("%d deliveries are kept, want 3", n)
	}
}

func TestEventWithoutOutputs(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.plain()
	r.post("/a/b", "x")
	r.post("", "x")
	for _, path := range []string{"/a/b", ""} {
		var f struct{ Meta map[string]any }
		if err := json.Unmarshal([]byte(c.hear()), &f); err != nil {
			t.Fatal(err)
		}
		if got, ok := f.Meta["output_destination"]; got != path || !ok {
			t.Errorf("output_destination %v, want %q", got, path)
		}
		if got, ok := f.Meta["output_name"]; got != "" || !ok {
			t.Errorf("output_name %v, want an empty text", got)
		}
	}
}

func TestWhoGetsNoEvent(t *testing.T) {
	internal := account.Output{ID: outputA, Name: "a", Internal: true, Destination: "http://localhost"}
	tests := []struct {
		name   string
		change func(*account.Bucket)
	}{
		{"public outputs only", func(b *account.Bucket) {
			b.Outputs = []account.Output{{ID: outputPublic, Name: "p", Destination: "https://example.com"}}
		}},
		{"stream off", func(b *account.Bucket) { b.Stream, b.Outputs = false, []account.Output{internal} }},
		{"stream off, no outputs", func(b *account.Bucket) { b.Stream = false }},
		{"suspended", func(b *account.Bucket) { b.Suspended = true }},
		{"rules say no", func(b *account.Bucket) {
			internal.Rules = &account.Rule{Match: &account.Match{Value: "no"}}
			b.Outputs = []account.Output{internal}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := setup{store: newMemStore(), change: func(a *account.Account) {
				other(a)
				tt.change(&a.Buckets[0])
			}, options: func(o *Options) { o.Match = matchValue }}.start(t)
			c := r.plain2()
			if got := r.post("", "one"); got.status != 200 || got.body != "" {
				t.Errorf("answer %+v, want 200 and nothing", got)
			}
			r.postOther("two")
			if got := string(c.webhook().Body); got != "two" {
				t.Errorf("body %q, want two", got)
			}
		})
	}
}

// matchValue takes a webhook whose body is the rule's value.
func matchValue(rule *account.Rule, l *account.Log) (bool, error) {
	if rule.Match.Value == "broken" {
		return false, fmt.Errorf("broken rule")
	}
	return rule.Match.Value == string(l.Body), nil
}

func TestRulesChooseOutputs(t *testing.T) {
	rule := func(value string) *account.Rule { return &account.Rule{Match: &account.Match{Value: value}} }
	r := setup{store: newMemStore(), options: func(o *Options) { o.Match = matchValue }, change: func(a *account.Account) {
		a.Buckets[0].Outputs = []account.Output{
			{ID: outputA, Name: "a", Internal: true, Destination: "http://a", Rules: rule("one")},
			{ID: outputB, Name: "b", Internal: true, Destination: "http://b", Rules: rule("two")},
			{ID: otherID, Name: "c", Internal: true, Destination: "http://c", Rules: rule("broken")},
		}
	}}.start(t)
	c := r.plain()
	r.post("", "one")
	r.post("", "two")
	var got []string
	for range 4 {
		w := c.webhook()
		got = append(got, w.OutputName+" "+string(w.Body))
	}
	if want := []string{"a one", "c one", "b two", "c two"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// Compressed or not, subscribers get the same frames, whatever the body is.
func TestBodies(t *testing.T) {
	r := startRelay(t, newMemStore())
	flat, packed := r.plain(), r.plainWith(websocket.Dialer{EnableCompression: true})
	control := strings.Repeat("\x00\x01\x1f\x7f", maxBody/4)
	for name, body := range map[string]string{
		"text":    `{"a":"b"}`,
		"empty":   "",
		"binary":  "\x89PNG\xff\xfe\x00",
		"control": control,
		"random":  strings.Repeat("\xff\x00", maxBody/16),
		"largest": strings.Repeat("x", maxBody),
	} {
		if got := r.post("", body); got.status != 200 {
			t.Fatalf("%s: status %d, want 200", name, got.status)
		}
		a, b := flat.hear(), packed.hear()
		if a != b {
			t.Errorf("%s: frames differ: %.300s, and %.300s", name, a, b)
		}
		f, err := wire.DecodeFrame([]byte(a))
		if err != nil || string(f.Webhook.Body) != body || f.Webhook.Damaged() {
			t.Errorf("%s: %v, body of %d bytes, want %d", name, err, len(f.Webhook.Body), len(body))
		}
		has := strings.Contains(a, `"body_base64":"`+base64.StdEncoding.EncodeToString([]byte(body))+`"`)
		if want := name == "binary" || name == "random"; has != want {
			t.Errorf("%s: body_base64 there: %v, want %v", name, has, want)
		}
	}
}

func TestNarrowWindowIsNotPromised(t *testing.T) {
	for offer, want := range map[string]bool{
		"permessage-deflate; client_max_window_bits":    true,
		"permessage-deflate":                            true,
		"permessage-deflate; server_max_window_bits=10": false,
		"": false,
	} {
		if got := deflates(http.Header{extensions: {offer}}); got != want {
			t.Errorf("deflates(%q) = %v, want %v", offer, got, want)
		}
	}
}
