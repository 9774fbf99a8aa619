package relay

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

// behind runs a client, in a bubble, against an HTTP server that need not be a
// good relay.
func behind(t *testing.T, o Options, h http.HandlerFunc) *rig {
	t.Helper()
	ln := newPipeListener()
	srv := &http.Server{Handler: h}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
		}
	})
	o.URL = "ws://" + ln.Addr().String() + "/v1/socket"
	return start(t, o, func(c *Client) { c.dialNet = ln.dial })
}

// socket is a handler that upgrades and leaves the rest to talk.
func socket(t *testing.T, talk func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer conn.Close()
		talk(conn)
	}
}

// action reads a frame of the client and returns its action, "" when the
// client is gone.
func action(conn *websocket.Conn) string {
	var f wire.Request
	if err := conn.ReadJSON(&f); err != nil {
		return ""
	}
	return f.Action
}

func say(conn *websocket.Conn, frames ...string) {
	for _, f := range frames {
		_ = conn.WriteMessage(websocket.TextMessage, []byte(f)) // a client that left shows when reading
	}
}

// untilGone reads until the client left.
func untilGone(conn *websocket.Conn) {
	for action(conn) != "" {
	}
}

const (
	authenticatedFrame = `{"type":"status","status":"authenticated","message":""}`
	subscribedFrame    = `{"type":"status","status":"subscribed","message":""}`
	webhookFrame       = `{"type":"webhook","meta":{"bucket_name":"b"},"body":"x"}`
)

func TestSubscribesOnlyAfterAuthIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var early, next string
		behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
			action(conn)
			said := make(chan string, 1)
			go func() { said <- action(conn) }()
			time.Sleep(answerTimeout / 2)
			select {
			case early = <-said:
			default:
			}
			say(conn, authenticatedFrame)
			next = <-said
			untilGone(conn)
		}))
		time.Sleep(answerTimeout - time.Second)
		synctest.Wait()
		if early != "" || next != "subscribe" {
			t.Errorf("before the answer the client said %q, after it %q, want nothing and subscribe", early, next)
		}
	})
}

func TestUnansweredRelayIsLeft(t *testing.T) {
	tests := []struct {
		name string
		talk func(*websocket.Conn)
	}{
		{"auth", func(conn *websocket.Conn) {
			for action(conn) != "" {
				time.Sleep(time.Second)
				say(conn, `{"type":"status","status":"ping","message":""}`)
			}
		}},
		{"subscribe", func(conn *websocket.Conn) {
			action(conn)
			say(conn, authenticatedFrame)
			untilGone(conn)
		}},
		{"auth, with subscribed in its place", func(conn *websocket.Conn) {
			action(conn)
			say(conn, subscribedFrame)
			untilGone(conn)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var conns atomic.Int32
				r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
					conns.Add(1)
					tt.talk(conn)
				}))
				time.Sleep(answerTimeout - time.Second)
				if n := conns.Load(); n != 1 {
					t.Errorf("connections before the time is over = %d, want 1", n)
				}
				time.Sleep(5 * time.Second)
				if n := conns.Load(); n != 2 {
					t.Errorf("connections after the time is over = %d, want 2", n)
				}
				const want = "the relay did not confirm auth and subscribe within 20s"
				if s := r.Status(); s.LastError != want || s.Connected {
					t.Errorf("status = %+v, want not connected, %s", s, want)
				}
			})
		})
	}
}

func TestWebhooksBeforeSubscribed(t *testing.T) {
	tests := []struct {
		name            string
		frames          []string // after auth
		accepted, skips int64
	}{
		{"before authenticated they are nobody's", []string{webhookFrame, authenticatedFrame, subscribedFrame}, 0, 1},
		{"before subscribed they are taken", []string{authenticatedFrame, webhookFrame, subscribedFrame}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
					action(conn)
					say(conn, tt.frames...)
					untilGone(conn)
				}))
				synctest.Wait()
				why := r.logs.count(`relay frame not understood, skipped" relay=127.0.0.1:1 bytes=56 reason="webhook before authenticated`)
				if int64(why) != tt.skips {
					t.Errorf("log = %s, want %d lines that say why", r.logs, tt.skips)
				}
				if s := r.Status(); s.Accepted != tt.accepted || s.Skipped != tt.skips || !s.Connected {
					t.Errorf("status = %+v, want connected, %d accepted, %d skipped", s, tt.accepted, tt.skips)
				}
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, status, message string
		late                  bool // said to subscribe, not to auth
		want                  bool
	}{
		{name: "unauthorized", status: "unauthorized", want: true},
		{name: "forbidden", status: "forbidden", message: "no socket for this token", want: true},
		{name: "in the message", status: "error", message: "Unauthorized client", want: true},
		{name: "invalid key", status: "error", message: "Invalid key", want: true},
		{name: "key or secret", status: "failed", message: "wrong key or secret", want: true},
		{name: "in the status", status: "auth_unauthorized", want: true},
		{name: "something else", status: "busy", message: "try later"},
		{name: "said to subscribe", status: "forbidden", late: true, want: true},
		{name: "a bucket of that name", status: "notice", message: "bucket unauthorized is new", late: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				frame, err := json.Marshal(map[string]string{"type": "status", "status": tt.status, "message": tt.message})
				if err != nil {
					t.Fatal(err)
				}
				r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
					action(conn)
					if tt.late {
						say(conn, authenticatedFrame)
						action(conn)
					}
					say(conn, string(frame))
					untilGone(conn)
				}))
				synctest.Wait()
				got := r.logs.count("relay refused the key") == 1
				if got != tt.want {
					t.Errorf("refused = %t, want %t; log:\n%s", got, tt.want, r.logs)
				}
			})
		})
	}
}

func TestRelayThatRepeatsTheSecretDoesNotGetItIntoTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behind(t, Options{Key: "k", Secret: "s3cret"}, socket(t, func(conn *websocket.Conn) {
			action(conn)
			say(conn, `{"type":"status","status":"unauthorized","message":"no k with s3cret `+strings.Repeat("ü", 1000)+`"}`)
			untilGone(conn)
		}))
		synctest.Wait()
		got := r.Status().LastError
		if !strings.Contains(got, "no k with *** üü") || len(got) > maxErrorText+len("…") || !strings.HasSuffix(got, "ü…") {
			t.Errorf("last error = %s, want the secret hidden and %d bytes at most", got, maxErrorText)
		}
		if strings.Contains(r.logs.String(), "s3cret") {
			t.Errorf("the log holds the secret:\n%s", r.logs)
		}
	})
}

func TestUpgradeAnswers(t *testing.T) {
	const refused = "the key was refused: relay 127.0.0.1:1 does not take key \"key\" "
	tests := []struct {
		name   string
		answer func(http.ResponseWriter)
		want   string
		slow   bool
	}{
		{"401", func(w http.ResponseWriter) { w.WriteHeader(401) }, refused + "(answered 401 Unauthorized)", true},
		{"403", func(w http.ResponseWriter) { w.WriteHeader(403) }, refused + "(answered 403 Forbidden)", true},
		{"301", func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(301) },
			"connect to relay: answered 301 Moved Permanently", false},
		{"503", func(w http.ResponseWriter) { w.WriteHeader(503) }, "connect to relay: answered 503 Service Unavailable", false},
		{"200", func(http.ResponseWriter) {}, "connect to relay: answered 200 OK", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tries atomic.Int32
				r := behind(t, Options{UserAgent: "hookrun/1.2"}, func(w http.ResponseWriter, r *http.Request) {
					tries.Add(1)
					if got := r.UserAgent(); got != "hookrun/1.2" {
						t.Errorf("user agent = %s, want hookrun/1.2", got)
					}
					if got := r.Header.Get("Sec-Websocket-Extensions"); got != "" {
						t.Errorf("extensions offered = %s, want none", got)
					}
					tt.answer(w)
				})
				time.Sleep(refusedWait - time.Second)
				if got := r.Status().LastError; got != tt.want {
					t.Errorf("last error = %s, want %s", got, tt.want)
				}
				if slow := tries.Load() == 1; slow != tt.slow {
					t.Errorf("tries in the first minute = %d, want one only = %t", tries.Load(), tt.slow)
				}
			})
		})
	}
}

func TestCompressionThatWasNotOfferedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behind(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			// The upgrader compresses only for clients that offer it.
			r.Header.Set("Sec-Websocket-Extensions", "permessage-deflate; server_no_context_takeover; client_no_context_takeover")
			up := websocket.Upgrader{EnableCompression: true}
			if conn, err := up.Upgrade(w, r, nil); err == nil {
				defer conn.Close()
				untilGone(conn)
			}
		})
		synctest.Wait()
		const want = "connect to relay: it chose an extension that was not offered"
		if got := r.Status().LastError; got != want {
			t.Errorf("last error = %s, want %s", got, want)
		}
	})
}

func TestUpgradeThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behind(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		time.Sleep(dialTimeout - time.Second)
		if got := r.Status().LastError; got != "" {
			t.Errorf("last error before the time is over = %s, want none", got)
		}
		time.Sleep(time.Second + firstWait)
		if got := r.Status().LastError; !strings.HasPrefix(got, "connect to relay: ") {
			t.Errorf("last error = %s, want one of connecting", got)
		}
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("stop took %s, want none", took)
		}
	})
}

func TestRelayThatReadsNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
			action(conn)
			say(conn, authenticatedFrame)
			action(conn)
			say(conn, subscribedFrame)
			for range 100 {
				conn.SetWriteDeadline(time.Now().Add(time.Minute))
				if conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"status","status":"ping"}`)) != nil {
					break
				}
			}
			gone.Store(true)
		}))
		time.Sleep(writeTimeout + goodbyeWait)
		synctest.Wait()
		if got := r.Status().LastError; !gone.Load() || !strings.HasPrefix(got, "write to relay: ") {
			t.Errorf("connection ended = %t, last error = %s; want it ended for writing", gone.Load(), got)
		}
	})
}

func TestRelayThatDoesNotSayGoodbyeIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
			action(conn)
			say(conn, authenticatedFrame)
			action(conn)
			say(conn, subscribedFrame)
			<-release
		}))
		synctest.Wait()
		begin := time.Now()
		r.stop()
		close(release)
		if took := time.Since(begin); took > 2*goodbyeWait {
			t.Errorf("stop took %s, want %s at most", took, 2*goodbyeWait)
		}
	})
}

func TestWebhooksAfterGoodbyeAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
			conn.SetCloseHandler(func(code int, _ string) error {
				say(conn, webhookFrame)
				return conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
			})
			action(conn)
			say(conn, authenticatedFrame)
			action(conn)
			say(conn, subscribedFrame, webhookFrame)
			untilGone(conn)
		}))
		synctest.Wait()
		r.stop()
		if s := r.Status(); s.Received != 1 || s.Accepted != 1 {
			t.Errorf("status = %+v, want the one before goodbye received and accepted", s)
		}
	})
}

func TestSlowFrameIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behind(t, Options{}, socket(t, func(conn *websocket.Conn) {
			action(conn)
			say(conn, authenticatedFrame)
			action(conn)
			say(conn, subscribedFrame)
			trickle(t, conn.NetConn(), append([]byte{0x81, byte(len(webhookFrame))}, webhookFrame...), 10*time.Second)
			untilGone(conn)
		}))
		time.Sleep(time.Duration(len(webhookFrame)+3) * 10 * time.Second)
		synctest.Wait()
		if s := r.Status(); s.Accepted != 1 || s.Reconnects != 0 {
			t.Errorf("status = %+v, want 1 accepted on the first connection", s)
		}
	})
}

// trickle writes one byte after the other.
func trickle(t *testing.T, conn net.Conn, data []byte, every time.Duration) {
	for i := range data {
		time.Sleep(every)
		if _, err := conn.Write(data[i : i+1]); err != nil {
			t.Errorf("write byte %d: %v", i, err)
			return
		}
	}
}
