//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Who the clients of these tests are.
const (
	fieldKey    = "field-key"
	fieldSecret = "sk-field-0123456789abcdef"

	boundedKey    = "bounded-key" // may see one bucket
	boundedSecret = "sk-bounded-0123456789abcdef"
	earsKey       = "ears-key" // may not manage anything
	earsSecret    = "no-prefix-0123456789abcdef"
)

// Where webhooks are sent to.
const (
	plainInput  = "11111111-1111-4111-8111-111111111111" // of my-bucket, which has no outputs
	pairInput   = "22222222-2222-4222-8222-222222222222" // of other, which has two
	answerInput = "33333333-3333-4333-8333-333333333333" // whose senders get what a client answers
	staticInput = "44444444-4444-4444-8444-444444444444"
	basicInput  = "55555555-5555-4555-8555-555555555555"
	tokenInput  = "66666666-6666-4666-8666-666666666666"
	publicInput = "77777777-7777-4777-8777-777777777777"
)

// fieldRelay is what the relay of these tests has. PUBLIC is where it sends to
// itself.
const fieldRelay = `
forward_allow: [127.0.0.1/32]
tokens:
  - {key: field-key, secret: sk-field-0123456789abcdef}
  - {key: bounded-key, secret: sk-bounded-0123456789abcdef, buckets: [my-bucket]}
  - {key: ears-key, secret: no-prefix-0123456789abcdef, api: false}
buckets:
  - name: my-bucket
    inputs: [{name: Default public endpoint, id: 11111111-1111-4111-8111-111111111111}]
  - name: other
    inputs: [{name: Default public endpoint, id: 22222222-2222-4222-8222-222222222222}]
    outputs:
      - {name: open, destination: "http://localhost:8080/hook"}
      - {name: locked, destination: "http://localhost:8081/only", lock_path: true}
  - name: answers
    inputs: [{name: Default public endpoint, id: 33333333-3333-4333-8333-333333333333, response_from_output: anyOutput}]
  - name: static
    inputs: [{name: public, id: 44444444-4444-4444-8444-444444444444, status_code: 202, body: queued, headers: {X-Static: [one, two]}}]
  - name: basic
    auth: {type: basic, username: hooks, password: s3cret-password}
    inputs: [{name: public, id: 55555555-5555-4555-8555-555555555555}]
  - name: token
    auth: {type: token, token: s3cret-token}
    inputs: [{name: public, id: 66666666-6666-4666-8666-666666666666}]
  - name: public
    inputs: [{name: public, id: 77777777-7777-4777-8777-777777777777}]
    outputs: [{name: outside, destination: "PUBLIC", internal: false}]
`

// Texts that clients compare.
const (
	saidAuthenticated = `{"type":"status","status":"authenticated","message":"connected successfully, subscribe to buckets"}`
	saidPing          = `{"type":"status","status":"ping","message":""}`
	fieldAuth         = `{"action":"auth","key":"` + fieldKey + `","secret":"` + fieldSecret + `"}`
)

func saidSubscribed(to string) string {
	return `{"type":"status","status":"subscribed","message":"subscribed to buckets: ` + to + `"}`
}

// field is a relay as it is run, to which the clients of the field come.
type field struct {
	dir, address string
	client       *http.Client
	log          *lockedBuffer
	cmd          *exec.Cmd
}

// startField starts a relay that sends to public itself.
func startField(t *testing.T, public string) *field {
	t.Helper()
	f := &field{dir: t.TempDir(), address: freeAddress(), log: &lockedBuffer{}, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(f.client.CloseIdleConnections)
	text := strings.ReplaceAll(fieldRelay, "PUBLIC", cmp.Or(public, "http://127.0.0.1:9/"))
	if err := os.WriteFile(filepath.Join(f.dir, "relay.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	t.Cleanup(func() {
		if f.cmd != nil {
			f.stop(t)
		}
	})
	return f
}

// start returns when the relay takes webhooks.
func (f *field) start(t *testing.T) {
	t.Helper()
	f.cmd = exec.Command(builtBinary, "relay", "-config", "relay.yaml", "-data", "data", "-listen", f.address, "-log", "json")
	f.cmd.Dir = f.dir
	f.cmd.Stderr = f.log
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * patience); time.Now().Before(end); wait(t, 20*time.Millisecond) {
		resp, err := f.client.Get(f.url("/readyz"))
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("waited in vain for the relay; its log is\n%s", f.log)
}

// stop ends the relay as a supervisor does.
func (f *field) stop(t *testing.T) {
	t.Helper()
	f.tellToStop()
	f.awaitStop(t)
}

func (f *field) tellToStop() { f.cmd.Process.Signal(syscall.SIGTERM) }

func (f *field) awaitStop(t *testing.T) {
	t.Helper()
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("the relay ended with %v after SIGTERM, want exit code 0; its log is\n%s", err, f.log)
	}
	f.cmd = nil
	f.client.CloseIdleConnections()
}

func (f *field) url(path string) string { return "http://" + f.address + path }

// said is an answer over HTTP.
type said struct {
	status int
	header http.Header
	body   string
}

// do sends a request. Each of headers is a name, a colon and a value; the request
// has no Content-Type but one of them.
func (f *field) do(t *testing.T, method, path, body string, headers ...string) said {
	t.Helper()
	s, err := f.request(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v; the relay's log is\n%s", method, path, err, f.log)
	}
	return s
}

func (f *field) request(ctx context.Context, method, path, body string, headers ...string) (said, error) {
	req, err := http.NewRequestWithContext(ctx, method, f.url(path), strings.NewReader(body))
	if err != nil {
		return said{}, err
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return said{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return said{resp.StatusCode, resp.Header, string(data)}, err
}

// send sends a webhook that has to be taken.
func (f *field) send(t *testing.T, input, body string) {
	t.Helper()
	if got := f.do(t, http.MethodPost, "/v1/webhooks/"+input, body); got.status != http.StatusOK || got.body != "" {
		t.Fatalf("the sender of a webhook got %d %q, want 200 and nothing", got.status, got.body)
	}
}

// basic and bearer are lines of a header.
func basic(key, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"+secret))
}

func bearer(secret string) string { return "Authorization: Bearer " + secret }

// get asks for what the relay has, as JSON into v.
func (f *field) get(t *testing.T, path string, v any) {
	t.Helper()
	got := f.do(t, http.MethodGet, path, "", bearer(fieldSecret))
	if got.status != http.StatusOK {
		t.Fatalf("GET %s: %d %s, want 200", path, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, got.body)
	}
}

// bucketID is the id of a bucket by its name.
func (f *field) bucketID(t *testing.T, name string) string {
	t.Helper()
	var b struct{ ID string }
	f.get(t, "/v1/buckets/"+name, &b)
	return b.ID
}

// line is a client's connection, spoken on byte for byte.
type line struct {
	ws *websocket.Conn
	f  *field
}

// dial connects as clients do: without a subprotocol, header or query.
func (f *field) dial(t *testing.T) *line {
	t.Helper()
	l, _ := f.dialWith(t, websocket.Dialer{})
	return l
}

func (f *field) dialWith(t *testing.T, d websocket.Dialer) (*line, *http.Response) {
	t.Helper()
	ws, resp, err := d.DialContext(t.Context(), "ws://"+f.address+"/v1/socket", nil)
	if err != nil {
		t.Fatalf("dial: %v; the relay's log is\n%s", err, f.log)
	}
	t.Cleanup(func() { ws.Close() })
	return &line{ws, f}, resp
}

// subscribed connects with an auth frame, and a subscribe frame that says to.
func (f *field) subscribed(t *testing.T, buckets string) *line {
	t.Helper()
	l := f.dial(t)
	l.login(t, fieldAuth, `{"action":"subscribe","buckets":["`+buckets+`"]}`, buckets)
	return l
}

// login says the two frames. Nothing but their answers may come between: some
// clients would give up.
func (l *line) login(t *testing.T, auth, subscribe, told string) {
	t.Helper()
	l.say(t, auth)
	if got := l.hearAll(t); got != saidAuthenticated {
		t.Fatalf("to auth the relay said %s, want %s", got, saidAuthenticated)
	}
	l.say(t, subscribe)
	if got, want := l.hearAll(t), saidSubscribed(told); got != want {
		t.Fatalf("to subscribe the relay said %s, want %s", got, want)
	}
}

func (l *line) say(t *testing.T, frame string) {
	t.Helper()
	if err := l.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// hearAll returns the next frame, whichever it is.
func (l *line) hearAll(t *testing.T) string {
	t.Helper()
	l.ws.SetReadDeadline(time.Now().Add(2 * patience))
	kind, data, err := l.ws.ReadMessage()
	if err != nil {
		t.Fatalf("read a frame: %v; the relay's log is\n%s", err, l.f.log)
	}
	if kind != websocket.TextMessage {
		t.Errorf("a frame is of kind %d, want text", kind)
	}
	return string(data)
}

// hear is hearAll without pings, which may come at any time.
func (l *line) hear(t *testing.T) string {
	t.Helper()
	for {
		if frame := l.hearAll(t); frame != saidPing {
			return frame
		}
	}
}

// heard is a webhook as clients read it.
type heard struct {
	Type string
	Meta struct {
		ID, Path, Sum     string
		BuckedID          string `json:"bucked_id"`
		BucketID          string `json:"bucket_id"`
		BucketName        string `json:"bucket_name"`
		InputID           string `json:"input_id"`
		InputName         string `json:"input_name"`
		OutputName        string `json:"output_name"`
		OutputDestination string `json:"output_destination"`
		ReceivedAt        int64  `json:"received_at"`
	}
	Headers             http.Header
	Query, Body, Method string
	BodyBase64          []byte `json:"body_base64"`
}

// webhook hears the next webhook.
func (l *line) webhook(t *testing.T) heard {
	t.Helper()
	var e heard
	frame := l.hear(t)
	if err := json.Unmarshal([]byte(frame), &e); err != nil || e.Type != "webhook" {
		t.Fatalf("the relay said %s (%v), want a webhook", frame, err)
	}
	return e
}

// ended waits for the end of the connection and returns what was said with it.
func (l *line) ended(t *testing.T) *websocket.CloseError {
	t.Helper()
	l.ws.SetReadDeadline(time.Now().Add(2 * patience))
	for {
		_, _, err := l.ws.ReadMessage()
		if err == nil {
			continue
		}
		said, ok := errors.AsType[*websocket.CloseError](err)
		if !ok {
			t.Fatalf("the connection ended with %v, want a close frame", err)
		}
		if strings.Contains(said.Error(), "closed") {
			t.Errorf("the reason is %q: relayd never comes back after one with the word closed", said)
		}
		return said
	}
}

// TestFieldClientsSubscribe says what each kind of client says, byte for byte.
func TestFieldClientsSubscribe(t *testing.T) {
	const all = "my-bucket, other, answers, static, basic, token, public"
	f := startField(t, "")
	id := f.bucketID(t, "my-bucket")
	auth := func(key, secret string) string {
		return `{"action":"auth","key":"` + key + `","secret":"` + secret + `"}`
	}
	relayd := `{"action":"auth","key":"` + fieldKey + `","secret":"` + fieldSecret + `","buckets":null}`
	tests := []struct {
		name, auth, subscribe, told string
		both                        bool // gets what comes to other too
	}{
		{"the page's own frames", "{\n\"action\":\"auth\",\n\"key\":\"" + fieldKey + "\",\n\"secret\":\"" + fieldSecret + "\"\n}", "{\n\"action\":\"subscribe\",\n\"buckets\": [ \"my-bucket\", \"other\" ]\n}", "my-bucket, other", true},
		{"relayd with buckets", relayd, `{"action":"subscribe","key":"","secret":"","buckets":["my-bucket","other"]}`, "my-bucket, other", true},
		{"relayd without buckets", relayd, `{"action":"subscribe","key":"","secret":"","buckets":[""]}`, all, true},
		{"SDK with key and secret", fieldAuth, `{"action":"subscribe","buckets":["my-bucket"]}`, "my-bucket", false},
		{"SDK with an API key", auth("whr", fieldSecret), `{"action":"subscribe","buckets":["my-bucket"]}`, "my-bucket", false},
		{"ws-client without buckets", fieldAuth, `{"action":"subscribe"}`, all, true},
		{"Node-RED with an empty field", fieldAuth, `{"action":"subscribe","buckets":[]}`, all, true},
		{"null for no buckets", fieldAuth, `{"action":"subscribe","buckets":null}`, all, true},
		{"a bucket by its id", fieldAuth, `{"action":"subscribe","buckets":["` + id + `"]}`, id, false},
		{"a bucket that is not there", fieldAuth, `{"action":"subscribe","buckets":["nowhere","my-bucket"]}`, "nowhere, my-bucket", false},
		{"fields of newer clients", `{"action":"auth","key":"` + fieldKey + `","secret":"` + fieldSecret + `","version":{"n":[1]}}`, `{"action":"subscribe","buckets":["my-bucket"],"replay":true}`, "my-bucket", false},
		{"a token bound to a bucket", auth(boundedKey, boundedSecret), `{"action":"subscribe"}`, "my-bucket", false},
		{"and another bucket", auth("whr", boundedSecret), `{"action":"subscribe","buckets":["my-bucket","other"]}`, "my-bucket, other", false},
		{"a token without the API", auth(earsKey, earsSecret), `{"action":"subscribe","buckets":["my-bucket"]}`, "my-bucket", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := f.dial(t)
			l.login(t, tt.auth, tt.subscribe, tt.told)
			l.say(t, `{"action":"pong"}`)
			f.send(t, pairInput, "for other")
			f.send(t, plainInput, "for my-bucket")
			want := []string{"my-bucket"}
			if tt.both {
				want = []string{"other", "other", "my-bucket"} // one for each output
			}
			for _, bucket := range want {
				if got := l.webhook(t); got.Meta.BucketName != bucket || got.Body != "for "+bucket {
					t.Fatalf("a webhook of %s came with %q, want one of %s", got.Meta.BucketName, got.Body, bucket)
				}
			}
		})
	}
}

// TestFieldClientsSubscribeAgain: the last word counts.
func TestFieldClientsSubscribeAgain(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "other")
	l.say(t, `{"action":"subscribe","buckets":["my-bucket"]}`)
	if got, want := l.hear(t), saidSubscribed("my-bucket"); got != want {
		t.Fatalf("to subscribe the relay said %s, want %s", got, want)
	}
	f.send(t, pairInput, "for other")
	f.send(t, plainInput, "for my-bucket")
	if got := l.webhook(t).Body; got != "for my-bucket" {
		t.Errorf("the first webhook is %q, want that for my-bucket", got)
	}
}

// TestFieldWebhookFrame compares a webhook with what clients read, byte for byte.
func TestFieldWebhookFrame(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "my-bucket")
	f.do(t, http.MethodPut, "/v1/webhooks/"+plainInput+"?foo=bar", `{"hi": "there"}`, "Content-Type: application/json",
		"User-Agent: insomnia/6.0.2", "Cookie: a=b", "Cookie: c=<d>", "Accept-Encoding: identity", "x-a: é")
	frame := l.hear(t)
	var e heard
	if err := json.Unmarshal([]byte(frame), &e); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"type":"webhook","meta":{"id":%q,"bucked_id":%q,"bucket_id":%[2]q,"bucket_name":"my-bucket",`+
		`"input_id":%[3]q,"input_name":"Default public endpoint","output_name":"","output_destination":"","path":"/","received_at":%d,"sum":%q},`+
		`"headers":{"Accept-Encoding":["identity"],"Content-Length":["15"],"Content-Type":["application/json"],"Cookie":["a=b","c=<d>"],"User-Agent":["insomnia/6.0.2"],"X-A":["é"]},`+
		`"query":"foo=bar","body":"{\"hi\": \"there\"}","method":"PUT"}`,
		e.Meta.ID, f.bucketID(t, "my-bucket"), plainInput, e.Meta.ReceivedAt, e.Meta.Sum)
	if frame != want {
		t.Errorf("the webhook is\n%s, want\n%s", frame, want)
	}
}

// TestFieldDeliveries: each output is a delivery of its own, and says where the
// client is to send it.
func TestFieldDeliveries(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "other")
	f.do(t, http.MethodPatch, "/v1/webhooks/"+pairInput+"/extra/p%20ath?foo=bar&x=1", "")
	first, second := l.webhook(t), l.webhook(t)
	if first.Meta.ID == second.Meta.ID {
		t.Errorf("both deliveries have the id %s", first.Meta.ID)
	}
	for _, tt := range []struct {
		got               heard
		name, destination string
	}{
		{first, "open", "http://localhost:8080/hook/extra/p%20ath"},
		{second, "locked", "http://localhost:8081/only"},
	} {
		if tt.got.Meta.OutputName != tt.name || tt.got.Meta.OutputDestination != tt.destination {
			t.Errorf("a delivery is for %s to %s, want %s to %s", tt.got.Meta.OutputName, tt.got.Meta.OutputDestination, tt.name, tt.destination)
		}
		if tt.got.Query != "foo=bar&x=1" || tt.got.Method != http.MethodPatch || tt.got.Body != "" || tt.got.Meta.Path != "/extra/p%20ath" {
			t.Errorf("a delivery is %s %s?%s %q", tt.got.Method, tt.got.Meta.Path, tt.got.Query, tt.got.Body)
		}
	}
}

// TestFieldDeliveryWithoutOutput: output_destination is the path then, and bytes
// that are no text come whole beside the body.
func TestFieldDeliveryWithoutOutput(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "my-bucket")
	const body = "\x89PNG\r\n\x1a\n\x00\xff"
	f.do(t, http.MethodPost, "/v1/webhooks/"+plainInput+"/extra/path", body)
	got := l.webhook(t)
	if got.Meta.OutputDestination != "/extra/path" || got.Meta.OutputName != "" {
		t.Errorf("the delivery is for %q to %q, want no output, and the path", got.Meta.OutputName, got.Meta.OutputDestination)
	}
	if want := strings.ToValidUTF8("\x89", "\ufffd") + "PNG\r\n\x1a\n\x00\ufffd"; got.Body != want {
		t.Errorf("body is %q, want %q", got.Body, want)
	}
	if !bytes.Equal(got.BodyBase64, []byte(body)) {
		t.Errorf("body_base64 is %q, want %q", got.BodyBase64, body)
	}
}

// TestFieldLargestBody: 3 MiB of what takes most room in JSON get there, and a
// byte more is refused.
func TestFieldLargestBody(t *testing.T) {
	const most = 3 << 20
	f := startField(t, "")
	l := f.subscribed(t, "my-bucket")
	f.send(t, plainInput, strings.Repeat("\x01", most))
	if got := l.webhook(t); got.Body != strings.Repeat("\x01", most) {
		t.Errorf("%d bytes came, want the %d that were sent", len(got.Body), most)
	}
	if got := f.do(t, http.MethodPost, "/v1/webhooks/"+plainInput, strings.Repeat("x", most+1)); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a larger one is answered %d %s, want 413", got.status, got.body)
	}
}

// TestFieldRefusesClients: what is said is what clients look for, and a close
// frame follows.
func TestFieldRefusesClients(t *testing.T) {
	f := startField(t, "")
	for _, tt := range []struct{ name, frame string }{
		{"a wrong secret", `{"action":"auth","key":"` + fieldKey + `","secret":"sk-wrong"}`},
		{"relayd with a wrong key", `{"action":"auth","key":"k","secret":"s","buckets":null}`},
		{"no key", `{"action":"auth"}`},
		{"an API key under another's name", `{"action":"auth","key":"` + boundedKey + `","secret":"` + fieldSecret + `"}`},
		{"a plain secret as an API key", `{"action":"auth","key":"whr","secret":"` + earsSecret + `"}`},
		{"subscribe before auth", `{"action":"subscribe"}`},
		{"pong before auth", `{"action":"pong"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := f.dial(t)
			l.say(t, tt.frame)
			var s struct {
				Type, Status string
				Message      *string
			}
			frame := l.hearAll(t)
			if err := json.Unmarshal([]byte(frame), &s); err != nil {
				t.Fatal(err)
			}
			if s.Type != "status" || s.Status != "unauthorized" || s.Message == nil || !strings.Contains(*s.Message, "key or secret") {
				t.Errorf("the relay said %s, want unauthorized", frame)
			}
			if got := l.ended(t).Code; got != websocket.ClosePolicyViolation {
				t.Errorf("the close code is %d, want %d", got, websocket.ClosePolicyViolation)
			}
		})
	}
}

// pingedClients is how many clients are connected so that one of them is due for
// a ping soon: the relay spreads its pings over them.
const pingedClients = 100

// TestFieldPing: the relay's ping is a frame of its own, and who never answers it
// stays.
func TestFieldPing(t *testing.T) {
	f := startField(t, "")
	pinged := make(chan int, pingedClients)
	lines := make([]*line, pingedClients)
	for i := range lines {
		lines[i] = f.subscribed(t, "my-bucket")
	}
	for i, l := range lines {
		go func() { // ends with the ping, or with the connection
			l.ws.SetReadDeadline(time.Now().Add(2 * patience))
			if _, data, err := l.ws.ReadMessage(); err == nil && string(data) == saidPing {
				pinged <- i
			}
		}()
	}
	select {
	case i := <-pinged:
		f.send(t, plainInput, "later")
		if got := lines[i].webhook(t).Body; got != "later" {
			t.Errorf("a client that was pinged got %q, want the webhook", got)
		}
	case <-time.After(2 * patience):
		t.Fatal("no client got a ping")
	}
}

// TestFieldStop: clients are told to come back, and are welcome when they do.
func TestFieldStop(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "my-bucket")
	f.tellToStop()
	if got := l.ended(t); got.Code != websocket.CloseServiceRestart || got.Text != "restarting" {
		t.Errorf("a stop is told as %d %q, want 1012 restarting", got.Code, got.Text)
	}
	f.awaitStop(t)
	f.start(t)
	l = f.subscribed(t, "my-bucket")
	f.send(t, plainInput, "again")
	if got := l.webhook(t).Body; got != "again" {
		t.Errorf("after a restart %q came, want the webhook", got)
	}
}
