package control

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

func TestBodiesThatAreRefused(t *testing.T) {
	const hint = `"hint":"/v1/openapi.json says what it may have"`
	for _, tt := range []struct {
		name, kind, body string
		status           int
		want             string
	}{
		{"no type", "", `{}`, 415, `{"error":"the body of the request is no JSON","hint":"send it with Content-Type: application/json"}`},
		{"a form, which a foreign page can send", "text/plain", `{"event":"e1"}`, 415, `{"error":"the body of the request is no JSON","hint":"send it with Content-Type: application/json"}`},
		{"mistyped field", typeJSON, `{"event":"e1","rul":"a"}`, 400, `{"error":"the body of the request can't be read: json: unknown field \"rul\"",` + hint + `}`},
		{"no JSON", typeJSON, `event`, 400, `{"error":"the body of the request can't be read: invalid character 'e' looking for beginning of value",` + hint + `}`},
		{"nothing", typeJSON, ``, 400, `{"error":"the body of the request can't be read: EOF",` + hint + `}`},
		{"two", typeJSON + "; charset=utf-8", `{"event":"e1"} {}`, 400, `{"error":"the body of the request has something behind its JSON"}`},
		{"too large", typeJSON, `{"event":"` + strings.Repeat("e", maxAsked) + `"}`, 413, fmt.Sprintf(`{"error":"the body of the request has more than %d bytes"}`, maxAsked)},
	} {
		for _, path := range []string{"/v1/explain", "/v1/replay"} {
			t.Run(tt.name+path, func(t *testing.T) {
				f := &fakeDesk{}
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(tt.body))
				if tt.kind != "" {
					r.Header.Set("Content-Type", tt.kind)
				}
				w := httptest.NewRecorder()
				NewServer(f, nil).Handler(t.Context()).ServeHTTP(w, r)
				if got := strings.TrimSpace(w.Body.String()); w.Code != tt.status || got != tt.want {
					t.Errorf("answer is %d %s, want %d %s", w.Code, got, tt.status, tt.want)
				}
				wantEqual(t, "asked", len(f.asked), 0)
			})
		}
	}
}

// TestBodyIsNoPage: a sender can't have a browser run what it sent.
func TestBodyIsNoPage(t *testing.T) {
	f := &fakeDesk{past: past{body: Body{Event: "0197f3c2", Type: "text/html", Data: []byte("<script>")}}}
	w := httptest.NewRecorder()
	NewServer(f, nil).Handler(t.Context()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/events/0197f3c2/body", nil))
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename="0197f3c2.body"`,
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox", "Content-Length": "8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	wantEqual(t, "body", w.Body.String(), "<script>")
}

// TestWatchIsServerSentEvents: each thing that happens is an event of its name.
func TestWatchIsServerSentEvents(t *testing.T) {
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeDesk{past: past{notices: []Notice{
		{}, {Event: &EventRow{Event: Event{ID: "e1", Received: at, Path: "/\n<a>"}, Outcome: engine.EventUnmatched}},
		{Run: &Run{ID: "r1", Created: at, State: engine.Done}}, {Rejected: &engine.Rejection{ID: "x", Received: at}},
		{Rules: &Generation{Hash: "h", At: at}}, {Refused: &Refusal{At: at, Problems: []RuleProblem{{Place: "r.yaml:1:2", Msg: "no"}}}}, {Health: &Health{OK: true}}, {Missed: 3},
	}}}
	w := httptest.NewRecorder()
	NewServer(f, nil).Handler(t.Context()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/watch", nil))
	wantEqual(t, "content type", w.Header().Get("Content-Type"), "text/event-stream")
	const want = `: watching

event: event
data: {"id":"e1","received":"2026-07-01T00:00:00Z","source":"","bucket":"","method":"","path":"/\n<a>","size":0,"seq":0,"outcome":"unmatched"}

event: run
data: {"id":"r1","seq":0,"event":"","rule":"","state":"done","attempts":0,"created":"2026-07-01T00:00:00Z"}

event: rejected
data: {"id":"x","received":"2026-07-01T00:00:00Z","source":"","bucket":"","method":"","path":"","headers":null,"size":0,"reason":""}

event: rules
data: {"hash":"h","at":"2026-07-01T00:00:00Z","files":null}

event: refused
data: {"at":"2026-07-01T00:00:00Z","problems":[{"place":"r.yaml:1:2","message":"no"}]}

event: health
data: {"ok":true}

event: missed
data: 3

`
	if got := w.Body.String(); got != want {
		t.Errorf("the stream is\n%s\nwant\n%s", got, want)
	}
}

// TestWatchPings: a proxy would cut what is silent for a minute.
func TestWatchPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeDesk{past: past{notices: []Notice{{}}}, block: true}
		ctx, cancel := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		var wg sync.WaitGroup
		wg.Go(func() {
			NewServer(f, nil).Handler(ctx).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/watch", nil))
		})
		if err := sleep(t.Context(), 40*time.Second); err != nil {
			t.Fatal(err)
		}
		cancel() // hookrun stops: the stream ends
		wg.Wait()
		wantEqual(t, "stream", w.Body.String(), ": watching\n\n: ping\n\n: ping\n\n")
	})
}

// TestWatchOutlastsTheTimeouts: nothing may happen for hours, and the client is
// told of what does then.
func TestWatchOutlastsTheTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := &Local{Feed: &Feed{}}
		stop := serveOn(t, l, p)
		c := &Client{&http.Client{Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}}}
		begun := make(chan bool)
		var got []string
		var err error
		var wg sync.WaitGroup
		wg.Go(func() {
			err = c.Watch(t.Context(), WatchQuery{}, func(n Notice) error {
				got = append(got, toldOf(n))
				if len(got) == 1 {
					close(begun)
				}
				return nil
			})
		})
		<-begun
		if err := sleep(t.Context(), 5*time.Hour); err != nil {
			t.Fatal(err)
		}
		l.Feed.Publish(Notice{Missed: 1})
		synctest.Wait()
		stop()
		wg.Wait()
		wantEqual(t, "told", got, []string{"", "missed 1"})
		wantEqual(t, "end", err, ErrWatchEnded)
	})
}
