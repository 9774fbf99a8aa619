//go:build unix

package cli

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// sender is somebody who sent a webhook and waits for its answer.
type sender struct{ said chan said }

// sendAndWait sends a webhook whose sender is answered later.
func (f *field) sendAndWait(t *testing.T, path string) *sender {
	s := &sender{make(chan said, 1)}
	go func() {
		got, err := f.request(t.Context(), http.MethodPost, path, "apple")
		if err != nil {
			got = said{body: err.Error()}
		}
		s.said <- got
	}()
	return s
}

func (s *sender) answer(t *testing.T) said {
	t.Helper()
	select {
	case got := <-s.said:
		return got
	case <-time.After(2 * patience):
		t.Fatal("the sender of a webhook got no answer")
		return said{}
	}
}

// TestFieldClientsAnswer has a webhook answered by the request that each kind of
// client makes.
func TestFieldClientsAnswer(t *testing.T) {
	f := startField(t, "")
	l := f.subscribed(t, "answers")
	tests := []struct {
		name, body string
		headers    []string
		status     int
		answer     string
		want       http.Header // nil values: the header must not be there
	}{
		{
			"relayd",
			`{"id":"ID","status_code":201,"response_body":"ZGVzdC1zYXlzLWhpIC9ob29rL2V4dHJhL3BhdGg/Zm9vPWJhciZ4PTE=","response_headers":{"Date":["Mon, 02 Jan 2006 15:04:05 GMT"],"X-Webhookrelay-Retries":["0"],"X-Dest":["yes"],"Content-Type":["text/plain"]},"status":"sent","retries":0}`,
			[]string{basic(fieldKey, fieldSecret)},
			201, "dest-says-hi /hook/extra/path?foo=bar&x=1",
			http.Header{"X-Dest": {"yes"}, "Content-Type": {"text/plain"}, "X-Webhookrelay-Retries": {"0"}},
		},
		{
			"relayd's destination failed",
			`{"id":"ID","status_code":503,"response_body":"","response_headers":{},"status":"failed","retries":3}`,
			[]string{basic(fieldKey, fieldSecret)},
			503, "", nil,
		},
		{
			"ws-client and Node-RED",
			`{"id":"ID","response_body":"YmFuYW5h","status_code":201,"response_headers":{"xkey":["xvalue"]}}`,
			[]string{basic(fieldKey, fieldSecret), "user-agent: webhookrelay-ws-client", "X-TFS-FedAuthRedirect: Suppress"},
			201, "banana", http.Header{"Xkey": {"xvalue"}},
		},
		{
			"SDK",
			`{"status_code":202,"response_body":"aGVsbG8=","response_headers":{"X-A":["1"]}}`,
			[]string{bearer(fieldSecret), "Content-Type: application/json"},
			202, "hello", http.Header{"X-A": {"1"}},
		},
		{
			"Jenkins",
			`{"id":"ID","bucket_id":"BUCKET","status":"sent","status_code":200,"response_body":"b2s=","response_headers":{"X-A":"1, 2","Content-Type":"application/json"}}`,
			[]string{basic(fieldKey, fieldSecret), "Content-Type: application/json; charset=utf-8"},
			200, "ok", http.Header{"X-A": {"1, 2"}, "Content-Type": {"application/json"}},
		},
		{
			"a client whose key is whr",
			`{"id":"ID","status_code":200,"response_body":"b2s="}`,
			[]string{basic("whr", fieldSecret)},
			200, "ok", nil,
		},
		{
			"a client without the API",
			`{"id":"ID","status_code":200,"response_body":"b2s="}`,
			[]string{basic(earsKey, earsSecret)},
			200, "ok", nil,
		},
		{
			"raw headers of a destination",
			`{"id":"ID","status_code":200,"response_body":"b2s=","response_headers":{"Connection":["keep-alive, X-Hop"],"X-Hop":["1"],"Keep-Alive":["timeout=5"],"Transfer-Encoding":["chunked"],"Content-Length":["9000"],"X-Kept":["a","b"]}}`,
			[]string{basic(fieldKey, fieldSecret)},
			200, "ok", http.Header{"X-Kept": {"a", "b"}, "X-Hop": nil, "Keep-Alive": nil, "Content-Length": {"2"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := f.sendAndWait(t, "/v1/webhooks/"+answerInput)
			e := l.webhook(t)
			body := strings.NewReplacer("ID", e.Meta.ID, "BUCKET", e.Meta.BuckedID).Replace(tt.body)
			if got := f.do(t, http.MethodPut, "/v1/logs/"+e.Meta.ID, body, tt.headers...); got.status != http.StatusOK {
				t.Errorf("the client got %d %s, want exactly 200", got.status, got.body)
			}
			got := s.answer(t)
			if got.status != tt.status || got.body != tt.answer {
				t.Errorf("the sender got %d %q, want %d %q", got.status, got.body, tt.status, tt.answer)
			}
			for name, values := range tt.want {
				if g, w := strings.Join(got.header[name], "|"), strings.Join(values, "|"); g != w {
					t.Errorf("the sender got %s: %q, want %q", name, g, w)
				}
			}
		})
	}
}

// TestFieldAnswerNeedsAccess: nobody else answers a webhook.
func TestFieldAnswerNeedsAccess(t *testing.T) {
	const answer = `{"status_code":200}`
	f := startField(t, "")
	l := f.subscribed(t, "answers")
	s := f.sendAndWait(t, "/v1/webhooks/"+answerInput)
	path := "/v1/logs/" + l.webhook(t).Meta.ID
	for _, tt := range []struct {
		name, header string
		status       int
	}{
		{"nobody", "X-A: b", http.StatusUnauthorized},
		{"a wrong secret", basic(fieldKey, "sk-wrong"), http.StatusUnauthorized},
		{"a token bound to another bucket", basic(boundedKey, boundedSecret), http.StatusNotFound},
	} {
		if got := f.do(t, http.MethodPut, path, answer, tt.header); got.status != tt.status {
			t.Errorf("%s got %d %s, want %d", tt.name, got.status, got.body, tt.status)
		}
	}
	if got := f.do(t, http.MethodPut, "/v1/logs/00000000-0000-4000-8000-000000000000", answer, basic(fieldKey, fieldSecret)); got.status != http.StatusNotFound {
		t.Errorf("an answer to no webhook is answered %d %s, want 404", got.status, got.body)
	}
	f.do(t, http.MethodPut, path, answer, basic(fieldKey, fieldSecret))
	if got := s.answer(t).status; got != http.StatusOK {
		t.Errorf("the sender got %d, want 200", got)
	}
}

// TestFieldFirstAnswerCounts: of two clients the sender hears the first, and the
// other is not told that it failed.
func TestFieldFirstAnswerCounts(t *testing.T) {
	f := startField(t, "")
	a, b := f.subscribed(t, "answers"), f.subscribed(t, "answers")
	s := f.sendAndWait(t, "/v1/webhooks/"+answerInput)
	ids := []string{a.webhook(t).Meta.ID, b.webhook(t).Meta.ID}
	for i, body := range []string{`{"status_code":201,"response_body":"Zmlyc3Q="}`, `{"status_code":202,"response_body":"c2Vjb25k"}`} {
		if got := f.do(t, http.MethodPut, "/v1/logs/"+ids[i], body, bearer(fieldSecret)); got.status != http.StatusOK {
			t.Errorf("client %d got %d %s, want 200", i, got.status, got.body)
		}
	}
	if got := s.answer(t); got.status != http.StatusCreated || got.body != "first" {
		t.Errorf("the sender got %d %q, want the first answer", got.status, got.body)
	}
}

// TestFieldHoldsWebhooks: a webhook whose sender waits goes to the client that
// comes after it.
func TestFieldHoldsWebhooks(t *testing.T) {
	f := startField(t, "")
	s := f.sendAndWait(t, "/v1/webhooks/"+answerInput)
	f.awaitLog(t, "answers")
	l := f.subscribed(t, "answers")
	e := l.webhook(t)
	if e.Body != "apple" {
		t.Errorf("the body is %q, want that of the webhook that waited", e.Body)
	}
	f.do(t, http.MethodPut, "/v1/logs/"+e.Meta.ID, `{"id":"`+e.Meta.ID+`","response_body":"YmFuYW5h","status_code":201,"response_headers":{"xkey":["xvalue"]}}`, basic(fieldKey, fieldSecret))
	if got := s.answer(t); got.status != http.StatusCreated || got.body != "banana" || got.header.Get("Xkey") != "xvalue" {
		t.Errorf("the sender got %d %q, want 201 banana", got.status, got.body)
	}
}

// awaitLog waits until the relay has a webhook to a bucket.
func (f *field) awaitLog(t *testing.T, bucket string) {
	t.Helper()
	for end := time.Now().Add(2 * patience); time.Now().Before(end); wait(t, 20*time.Millisecond) {
		var page struct{ Total int }
		f.get(t, "/v1/logs?bucket="+bucket, &page)
		if page.Total > 0 {
			return
		}
	}
	t.Fatal("waited in vain for the relay to take a webhook")
}

// TestFieldSenders is what those see who send webhooks.
func TestFieldSenders(t *testing.T) {
	f := startField(t, "")
	tests := []struct {
		name, method, path string
		headers            []string
		status             int
		body               string
		want               http.Header
	}{
		{"an input", http.MethodPost, plainInput, nil, 200, "", nil},
		{"GET", http.MethodGet, plainInput, nil, 200, "", nil},
		{"a method of its own", "REPORT", plainInput + "/a//b/../c?x=%2F", nil, 200, "", nil},
		{"no input", http.MethodPost, "00000000-0000-4000-8000-000000000000", nil, 200, "", nil},
		{"no id", http.MethodPost, "nonsense/and/more", nil, 200, "", nil},
		{"a static answer", http.MethodPost, staticInput, nil, 202, "queued", http.Header{"X-Static": {"one", "two"}}},
		{"basic, nothing shown", http.MethodPost, basicInput, nil, 401, "Unauthorized", nil},
		{"basic, wrong", http.MethodPost, basicInput, []string{basic("hooks", "wrong")}, 401, "Unauthorized", nil},
		{"basic, a token", http.MethodPost, basicInput, []string{bearer("s3cret-password")}, 401, "Unauthorized", nil},
		{"basic, right", http.MethodPost, basicInput, []string{basic("hooks", "s3cret-password")}, 200, "", nil},
		{"token, nothing shown", http.MethodPost, tokenInput, nil, 401, "Unauthorized", nil},
		{"token, wrong", http.MethodPost, tokenInput, []string{bearer("wrong")}, 401, "Unauthorized", nil},
		{"token, right", http.MethodPost, tokenInput, []string{bearer("s3cret-token")}, 200, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.do(t, tt.method, "/v1/webhooks/"+tt.path, "{}", tt.headers...)
			if got.status != tt.status || got.body != tt.body {
				t.Errorf("the sender got %d %q, want %d %q", got.status, got.body, tt.status, tt.body)
			}
			for name, values := range tt.want {
				if g, w := strings.Join(got.header[name], "|"), strings.Join(values, "|"); g != w {
					t.Errorf("the sender got %s: %q, want %q", name, g, w)
				}
			}
		})
	}
}

// TestFieldPublicOutput: the relay itself sends what has only public outputs, and
// clients get none of it.
func TestFieldPublicOutput(t *testing.T) {
	got := make(chan string, 1)
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.RequestURI() + " " + string(body)
	}))
	t.Cleanup(public.Close)
	f := startField(t, public.URL+"/in")
	l := f.dial(t)
	l.login(t, fieldAuth, `{"action":"subscribe","buckets":["public","my-bucket"]}`, "public, my-bucket")
	f.do(t, http.MethodPut, "/v1/webhooks/"+publicInput+"/more?a=b", "for public")
	select {
	case request := <-got:
		if want := "PUT /in/more?a=b for public"; request != want {
			t.Errorf("the public output got %q, want %q", request, want)
		}
	case <-time.After(2 * patience):
		t.Fatalf("the public output got nothing; the relay's log is\n%s", f.log)
	}
	f.send(t, plainInput, "for my-bucket")
	if got := l.webhook(t).Body; got != "for my-bucket" {
		t.Errorf("a client got %q, want nothing but what is for subscribers", got)
	}
}

// TestFieldCompression: who offers permessage-deflate gets it, and who does not
// gets frames as they are.
func TestFieldCompression(t *testing.T) {
	const size = 256 << 10
	f := startField(t, "")
	for _, offered := range []bool{true, false} {
		var read atomic.Int64
		l, resp := f.dialWith(t, websocket.Dialer{EnableCompression: offered, NetDial: func(network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(t.Context(), network, address)
			return countedConn{c, &read}, err
		}})
		if got := strings.HasPrefix(resp.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate"); got != offered {
			t.Errorf("offered %v, the relay takes permessage-deflate: %v", offered, got)
		}
		l.login(t, fieldAuth, `{"action":"subscribe","buckets":["my-bucket"]}`, "my-bucket")
		f.send(t, plainInput, strings.Repeat("a", size))
		if got := l.webhook(t).Body; got != strings.Repeat("a", size) {
			t.Errorf("offered %v, %d bytes came, want %d", offered, len(got), size)
		}
		if packed := read.Load() < size/2; packed != offered {
			t.Errorf("offered %v, %d bytes went over the wire for a body of %d", offered, read.Load(), size)
		}
	}
}

// countedConn counts what is read from a connection.
type countedConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}
