package engine_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// TestReplayRunsAnEventAgain: it is an event of its own, which says whose replay
// it is.
func TestReplayRunsAnEventAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		note := doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			seen = append(seen, in.Rule+" "+string(in.Event.Body))
			return engine.Output{}, nil
		})
		first, second := rule("first", note), rule("second", note)
		first.Buckets, second.Buckets = []string{"b"}, []string{"b"}
		second.When = condition("body.n == 2", engine.World{})
		h := start(t, &shakyStore{}, engine.Options{}, first, second)
		defer h.stop()
		ev := &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceRelay, Delivery: "d1", Body: []byte(`{"n":1}`),
			Header: http.Header{"Content-Length": {"7"}, "Content-Encoding": {"identity"}}}
		if _, err := h.Submit(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if _, err := h.Replay(t.Context(), engine.Replay{Event: ev.ID, Rule: "first"}); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		r, err := h.Replay(t.Context(), engine.Replay{Event: ev.ID, Rule: "second", Body: []byte(`{"n":2,"more":1}`), Edited: true})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got, want := strings.Join(seen, ", "), `first {"n":1}, first {"n":1}, second {"n":2,"more":1}`; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		again, err := h.store.Event(t.Context(), r.Event)
		if err != nil {
			t.Fatal(err)
		}
		if again.ReplayOf != ev.ID || !again.Edited || again.Source != engine.SourceRelay || again.Delivery != "" || !again.Received.After(ev.Received) {
			t.Errorf("the replay is kept as %+v", again)
		}
		if got := again.Header.Get("Content-Length") + again.Header.Get("Content-Encoding"); got != "16" {
			t.Errorf("its header speaks of the old body: %q", got)
		}
		if origin, err := h.store.Event(t.Context(), ev.ID); err != nil || string(origin.Body) != `{"n":1}` || origin.Header.Get("Content-Length") != "7" {
			t.Errorf("the event itself is now %+v, %v", origin, err)
		}
	})
}

// TestReplayIsNotHeldUp by what is there against events that come twice by
// themselves; the breaker and the lanes hold.
func TestReplayIsNotHeldUp(t *testing.T) {
	tests := []struct {
		name  string
		alter func(*engine.Rule)
		want  engine.State
	}{
		{"dedupe", func(r *engine.Rule) { r.Dedupe = &engine.Dedupe{Key: key("body.n"), Within: time.Hour} }, engine.Done},
		{"throttle first", func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: time.Hour} }, engine.Done},
		{"throttle last", func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: time.Minute, Last: true} }, engine.Done},
		{"at_most", func(r *engine.Rule) { r.AtMost = &engine.AtMost{Runs: 1, Per: time.Hour} }, engine.Tripped},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rule("b", doing(fine))
				tt.alter(r)
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				event := h.submitBody("b", `{"n":1}`).Event
				pass(2 * time.Minute)
				again, err := h.Replay(t.Context(), engine.Replay{Event: event})
				if err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				if got := h.run(again.Runs[0].ID).State; got != tt.want {
					t.Errorf("the replay's run is %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestReplayOfWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", doing(fine)))
		defer h.stop()
		if _, err := h.Replay(t.Context(), engine.Replay{Event: "none"}); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("replay of no event: %v, want %v", err, engine.ErrNotFound)
		}
		event := h.submit("b").Event
		if _, err := h.Replay(t.Context(), engine.Replay{Event: event, Rule: "c"}); !errors.Is(err, engine.ErrNoRule) {
			t.Errorf("replay for no rule: %v, want %v", err, engine.ErrNoRule)
		}
	})
}

// TestReplayForgetsNoRefusal: who sent it can't be asked again.
func TestReplayForgetsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open, closed := rule("open", doing(fine)), rule("closed", doing(fine))
		open.Buckets, closed.Buckets = []string{"b"}, []string{"b"}
		closed.Verify = &wants{key: "k"}
		h := start(t, &shakyStore{}, engine.Options{}, open, closed)
		defer h.stop()
		first := h.submit("b")
		again, err := h.Replay(t.Context(), engine.Replay{Event: first.Event})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if len(first.Runs) != 1 || len(again.Runs) != 1 || h.run(again.Runs[0].ID).Rule != "open" {
			t.Errorf("runs %v, of the replay %v: want one of rule open each", first.Runs, again.Runs)
		}
	})
}
