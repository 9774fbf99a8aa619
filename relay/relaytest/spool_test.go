package relaytest_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"hookrun/relay/relaytest"
	"hookrun/relay/wire"
)

const asking = `{"action":"auth","key":"key","secret":"secret","client":"c1","features":["ack","resume"]}`

func keeping() relaytest.Options {
	return relaytest.Options{Features: []string{wire.FeatureAck, wire.FeatureResume}, Unacked: 2, PingEvery: -1}
}

// attach connects a client that acks and returns when it is subscribed.
func attach(t *testing.T, srv *relaytest.Server) *websocket.Conn {
	t.Helper()
	conn := dial(t, srv)
	got := talk(t, conn, asking, `{"action":"subscribe"}`)
	if len(got) != 2 || !strings.Contains(got[0], `"features":["ack","resume"]`) {
		t.Fatalf("answers = %q, want one that confirms", got)
	}
	if err := srv.WaitSubscribed(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return conn
}

func say(t *testing.T, conn *websocket.Conn, frame string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

func sendAll(t *testing.T, srv *relaytest.Server, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := srv.Send("b", relaytest.Webhook{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
}

// wantIDs reads one webhook for each id.
func wantIDs(t *testing.T, conn *websocket.Conn, ids ...string) {
	t.Helper()
	for _, id := range ids {
		data, err := read(conn)
		f, decodeErr := wire.DecodeFrame([]byte(data))
		if err != nil || decodeErr != nil || f.Webhook.ID != id || f.Webhook.Damaged() || f.Webhook.ReceivedAt == 0 {
			t.Fatalf("frame = %s, %v, want webhook %s, whole and with its time", data, err, id)
		}
	}
}

func TestUnackedWebhooksComeAgain(t *testing.T) {
	srv := run(t, keeping())
	conn := attach(t, srv)
	sendAll(t, srv, "1", "2", "3", "4")
	wantIDs(t, conn, "1", "2") // no more at once
	say(t, conn, `{"action":"ack","ids":["1"]}`)
	wantIDs(t, conn, "3")
	conn.Close()

	again := attach(t, srv)
	wantIDs(t, again, "2", "3")
	say(t, again, `{"action":"ack","ids":["2","3"]}`)
	wantIDs(t, again, "4")
	say(t, again, `{"action":"ack","ids":["4"]}`)
	if err := srv.WaitAcks(t.Context(), 4); err != nil || !slices.Equal(srv.Acked(), []string{"1", "2", "3", "4"}) {
		t.Errorf("acked = %q, %v, want 1 to 4", srv.Acked(), err)
	}
	if v := srv.Violations(); len(v) != 0 {
		t.Errorf("violations = %q, want none", v)
	}
}

func TestAcksAndPongsThatAreWrong(t *testing.T) {
	tests := []struct {
		name, frame string
		violation   string
		cuts        int
	}{
		{"ack of what was not sent", `{"action":"ack","ids":["9"]}`, `ack of "9", which is not to be acked on this connection`, 0},
		{"ack of nothing", `{"action":"ack"}`, `ack of "", which is not to be acked on this connection`, 0},
		{"pong without a count", `{"action":"pong"}`, `a pong of another kind than was asked for: {"action":"pong"}`, 0},
		{"pong that holds more than there is", `{"action":"pong","held":2}`, "a pong that says 2 are held, where 1 were sent", 0},
		{"pong that holds less", `{"action":"pong","held":0}`, "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := run(t, keeping())
			conn := attach(t, srv)
			sendAll(t, srv, "1")
			wantIDs(t, conn, "1")
			if err := srv.Ping(); err != nil {
				t.Fatal(err)
			}
			say(t, conn, tt.frame)
			for { // until the server ends it
				if _, err := read(conn); err != nil {
					break
				}
			}
			srv.Close()
			if got := strings.Join(srv.Violations(), "\n"); got != tt.violation || srv.Cuts() != tt.cuts {
				t.Errorf("violations = %s, cuts = %d, want %s, %d", got, srv.Cuts(), tt.violation, tt.cuts)
			}
		})
	}
}

func TestPublicSide(t *testing.T) {
	srv := run(t, relaytest.Options{})
	conn := dial(t, srv)
	talk(t, conn, auth, `{"action":"subscribe","buckets":["deploys"]}`)
	if err := srv.WaitSubscribed(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	input := relaytest.BucketID("input of deploys")
	want := fmt.Sprintf(`[{"id":%q,"name":"deploys","auth":{"type":"none"},"inputs":[{"id":%q,"name":"Default public endpoint"}]}]`, relaytest.BucketID("deploys"), input)
	if status, body := ask(t, http.MethodGet, srv.HTTPURL+"/v1/buckets", "secret"); status != 200 || body != want {
		t.Errorf("buckets = %d %s, want %s", status, body, want)
	}
	if status, _ := ask(t, http.MethodGet, srv.HTTPURL+"/v1/buckets", "x"); status != 401 {
		t.Errorf("buckets with a wrong secret = %d, want 401", status)
	}
	srv.RefuseWebhooks(503)
	refused, _ := ask(t, http.MethodPost, srv.HTTPURL+"/v1/webhooks/"+input, "")
	srv.RefuseWebhooks(0)
	srv.SwallowWebhooks(true)
	swallowed, _ := ask(t, http.MethodPost, srv.HTTPURL+"/v1/webhooks/"+input, "")
	srv.SwallowWebhooks(false)
	unknown, _ := ask(t, http.MethodPost, srv.HTTPURL+"/v1/webhooks/unknown", "")
	taken, _ := ask(t, http.MethodPost, srv.HTTPURL+"/v1/webhooks/"+input+"?taken", "")
	if refused != 503 || swallowed != 200 || unknown != 200 || taken != 200 {
		t.Errorf("answers = %d, %d, %d, %d, want 503 and 200", refused, swallowed, unknown, taken)
	}
	if data, err := read(conn); err != nil || !strings.Contains(data, `"query":"taken"`) {
		t.Errorf("frame = %s, %v, want the webhook that was taken, and no other", data, err)
	}
}

func ask(t *testing.T, method, url, secret string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("key", secret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}
