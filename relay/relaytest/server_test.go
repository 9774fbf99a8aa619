package relaytest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"hookrun/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	auth          = `{"action":"auth","key":"key","secret":"secret","buckets":null,"more":[1]}`
	authenticated = `{"message":"connected successfully, subscribe to buckets","status":"authenticated","type":"status"}`
	subscribedAll = `{"message":"subscribed to buckets: ","status":"subscribed","type":"status"}`
	unauthorized  = `{"message":"bad key or secret","status":"unauthorized","type":"status"}`
)

// run starts a server without a test, so that violations can be looked at.
func run(t *testing.T, o relaytest.Options) *relaytest.Server {
	t.Helper()
	srv, err := relaytest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv
}

func dial(t *testing.T, srv *relaytest.Server) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// talk sends frames and returns as many answers, or fewer where the server
// ended the connection.
func talk(t *testing.T, conn *websocket.Conn, frames ...string) []string {
	t.Helper()
	var answers []string
	for _, f := range frames {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(f)); err != nil {
			return answers
		}
		data, err := read(conn)
		if err != nil {
			return answers
		}
		answers = append(answers, strings.TrimSpace(data))
	}
	return answers
}

func read(conn *websocket.Conn) (string, error) {
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, data, err := conn.ReadMessage()
	return string(data), err
}

func TestProtocol(t *testing.T) {
	tests := []struct {
		name       string
		frames     []string
		answers    []string
		violations []string
	}{
		{"all buckets", []string{auth, `{"action":"subscribe"}`}, []string{authenticated, subscribedAll}, nil},
		{"all buckets, as relayd says it", []string{auth, `{"action":"subscribe","key":"","secret":"","buckets":[""]}`},
			[]string{authenticated, subscribedAll}, nil},
		{"some buckets", []string{auth, `{"action":"subscribe","buckets":["a","b"]}`},
			[]string{authenticated, `{"message":"subscribed to buckets: a, b","status":"subscribed","type":"status"}`}, nil},
		{"subscribed twice", []string{auth, `{"action":"subscribe"}`, `{"action":"subscribe"}`},
			[]string{authenticated, subscribedAll, subscribedAll}, nil},
		{"wrong key", []string{`{"action":"auth","key":"x","secret":"secret"}`, `{"action":"subscribe"}`}, []string{unauthorized}, nil},
		{"wrong secret", []string{`{"action":"auth","key":"key","secret":"x"}`, `{"action":"subscribe"}`}, []string{unauthorized}, nil},
		{"no auth", []string{`{"action":"subscribe"}`}, nil, []string{`"subscribe" before auth`}},
		{"pong before auth", []string{`{"action":"pong"}`}, nil, []string{`"pong" before auth`}},
		{"auth twice", []string{auth, auth}, []string{authenticated}, []string{`action "auth"`}},
		{"unknown action", []string{auth, `{"action":"unsubscribe"}`}, []string{authenticated}, []string{`action "unsubscribe"`}},
		{"no JSON", []string{`auth`}, nil, []string{`a frame that is not a request in text: "auth"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := run(t, relaytest.Options{})
			got := talk(t, dial(t, srv), tt.frames...)
			srv.Close()
			if !slices.Equal(got, tt.answers) {
				t.Errorf("answers = %q, want %q", got, tt.answers)
			}
			if v := srv.Violations(); !slices.Equal(v, tt.violations) {
				t.Errorf("violations = %q, want %q", v, tt.violations)
			}
		})
	}
}

func TestSendReachesTheSubscribersOfABucket(t *testing.T) {
	tests := []struct {
		name, subscribe string
		reached         bool
	}{
		{"by name", `{"action":"subscribe","buckets":["deploys"]}`, true},
		{"by id", `{"action":"subscribe","buckets":["` + relaytest.BucketID("deploys") + `"]}`, true},
		{"all", `{"action":"subscribe"}`, true},
		{"another", `{"action":"subscribe","buckets":["builds"]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := run(t, relaytest.Options{})
			conn := dial(t, srv)
			talk(t, conn, auth, tt.subscribe)
			if err := srv.WaitSubscribed(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			id, err := srv.Send("deploys", relaytest.Webhook{Body: []byte("x")})
			if !tt.reached {
				const want = "relaytest: send to bucket deploys: nobody is subscribed"
				if err == nil || err.Error() != want {
					t.Errorf("Send = %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, err := read(conn); err != nil || !strings.Contains(data, `"id":"`+id+`"`) {
				t.Errorf("frame = %s, %v, want one with id %s", data, err, id)
			}
		})
	}
}

func TestFramesOfWebhooks(t *testing.T) {
	hook := relaytest.Webhook{ID: "d1", Method: "PUT", Path: "/more", Query: "a=b",
		Header: http.Header{"X-A": {"1", "2"}}, Body: []byte("\xff\x00")}
	tests := []struct {
		name  string
		plain bool
		want  string
	}{
		{"as the hosted service", true, `{"type":"webhook","meta":{"id":"d1","bucked_id":"ID","bucket_name":"b","input_id":"IN",
			"input_name":"Default public endpoint","output_name":"","output_destination":"/more"},
			"headers":{"X-A":["1","2"]},"query":"a=b","body":"\ufffd\u0000","method":"PUT"}`},
		{"with what hookrun adds", false, `{"type":"webhook","meta":{"id":"d1","bucked_id":"ID","bucket_id":"ID","bucket_name":"b","input_id":"IN",
			"input_name":"Default public endpoint","output_name":"","output_destination":"/more","path":"/more"},
			"headers":{"X-A":["1","2"]},"query":"a=b","body":"\ufffd\u0000","body_base64":"/wA=","method":"PUT"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := run(t, relaytest.Options{Plain: tt.plain})
			conn := dial(t, srv)
			talk(t, conn, auth, `{"action":"subscribe"}`)
			if err := srv.WaitSubscribed(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if _, err := srv.Send("b", hook); err != nil {
				t.Fatal(err)
			}
			data, err := read(conn)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("ID", relaytest.BucketID("b"), "IN", relaytest.BucketID("input of b")).Replace(tt.want)
			if !reflect.DeepEqual(parse(t, data), parse(t, want)) {
				t.Errorf("frame = %s, want %s", data, want)
			}
		})
	}
}

func parse(t *testing.T, data string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestStopAndRestart(t *testing.T) {
	srv := run(t, relaytest.Options{})
	conn := dial(t, srv)
	talk(t, conn, auth, `{"action":"subscribe"}`)
	srv.Stop()
	if _, err := read(conn); err == nil {
		t.Error("read after Stop = nil, want an error")
	}
	if _, _, err := websocket.DefaultDialer.DialContext(t.Context(), srv.URL, nil); err == nil {
		t.Error("dial after Stop = nil, want an error")
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, dial(t, srv), auth); !slices.Equal(got, []string{authenticated}) {
		t.Errorf("answers after Restart = %q, want %q", got, authenticated)
	}
	if n := len(srv.Frames()); n != 3 {
		t.Errorf("frames recorded = %d, want those of both times, 3", n)
	}
}

func TestLogs(t *testing.T) {
	basic := func(r *http.Request) { r.SetBasicAuth("key", "secret") }
	tests := []struct {
		name, id, body string
		sign           func(*http.Request)
		status         int
		want           relaytest.Log
	}{
		{"relayd", "d1", `{"id":"d1","status_code":201,"response_body":"aGk=","response_headers":{"X-Dest":["yes","no"]},"status":"sent","retries":0}`,
			basic, 200, relaytest.Log{ID: "d1", StatusCode: 201, Status: "sent", Body: []byte("hi"), Header: http.Header{"X-Dest": {"yes", "no"}}}},
		{"bearer, headers as strings", "d2", `{"status_code":202,"response_body":"","response_headers":{"x-a":"1"}}`,
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") }, 200,
			relaytest.Log{ID: "d2", StatusCode: 202, Body: []byte{}, Header: http.Header{"X-A": {"1"}}}},
		{"no auth", "d3", `{}`, func(*http.Request) {}, 401, relaytest.Log{}},
		{"wrong secret", "d3", `{}`, func(r *http.Request) { r.SetBasicAuth("key", "x") }, 401, relaytest.Log{}},
		{"body in plain text", "d3", `{"response_body":"not base64!"}`, basic, 400, relaytest.Log{}},
		{"another id", "d3", `{"id":"d4"}`, basic, 400, relaytest.Log{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := run(t, relaytest.Options{})
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.HTTPURL+"/v1/logs/"+tt.id, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			tt.sign(r)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status {
				t.Fatalf("answer = %s %s, %v, want %d", resp.Status, bytes.TrimSpace(body), err, tt.status)
			}
			if tt.status != 200 {
				if n := len(srv.Logs()); n != 0 {
					t.Errorf("logs recorded = %d, want none", n)
				}
				return
			}
			tt.want.Raw = tt.body
			got, err := srv.WaitLog(t.Context(), tt.id)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("log = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	srv := run(t, relaytest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const want = "relaytest: wait for subscribers: context canceled"
	if err := srv.WaitSubscribed(ctx, 1); err == nil || err.Error() != want {
		t.Errorf("WaitSubscribed = %v, want %s", err, want)
	}
}
