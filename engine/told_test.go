package engine_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// TestWhoWatchesIsToldInOrder: of an event, then of its runs, each time that one
// changes.
func TestWhoWatchesIsToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		tell := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, args...))
		}
		r := rule("b", doing(fine))
		r.Dedupe = &engine.Dedupe{Key: key("body.n"), Within: time.Hour}
		shadow := rule("s", doing(fine))
		shadow.Buckets, shadow.Shadow = []string{"b"}, true
		h := start(t, &shakyStore{}, engine.Options{
			OnEvent:  func(a *engine.Acceptance) { tell("event %s", a.Outcome()) },
			OnChange: func(r engine.Run) { tell("%s %s", r.Rule, r.State) },
		}, r, shadow)
		defer h.stop()
		for range 2 {
			h.submitBody("b", `{"n": 1}`)
			pass(time.Second)
		}
		h.Arm(t.Context(), "b")
		h.submitBody("b", `{"n": 2}`)
		pass(time.Second)
		want := []string{
			"event started", "s shadow", "b queued", "b running", "b done",
			"event suppressed", "b duplicate", "s shadow",
			"event started", "s shadow", "b queued",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told\n%q, want\n%q", told, want)
		}
	})
}

func TestOutcomeOfAnEvent(t *testing.T) {
	matched, no, failed := engine.Verdict{Outcome: engine.Matched}, engine.Verdict{Outcome: engine.NoMatch}, engine.Verdict{Outcome: engine.Errored}
	tests := []struct {
		name     string
		verdicts []engine.Verdict
		runs     []engine.State
		alter    func(*engine.Acceptance)
		want     engine.EventOutcome
	}{
		{"nothing matched", []engine.Verdict{no, no}, nil, nil, engine.EventUnmatched},
		{"no rule at all", nil, nil, nil, engine.EventUnmatched},
		{"a run is queued", []engine.Verdict{matched}, []engine.State{engine.Queued}, nil, engine.EventStarted},
		{"one of several is queued", []engine.Verdict{matched, failed}, []engine.State{engine.Duplicate, engine.Shadow, engine.Queued}, nil, engine.EventStarted},
		{"all end at once", []engine.Verdict{matched}, []engine.State{engine.Duplicate, engine.Throttled}, nil, engine.EventSuppressed},
		{"an empty list", []engine.Verdict{matched}, nil, nil, engine.EventSuppressed},
		{"all in shadow", []engine.Verdict{matched, no}, []engine.State{engine.Shadow, engine.Shadow}, nil, engine.EventShadowed},
		{"a duplicate beside a shadow", []engine.Verdict{matched, matched}, []engine.State{engine.Shadow, engine.Duplicate}, nil, engine.EventSuppressed},
		{"a condition failed", []engine.Verdict{no, failed}, nil, nil, engine.EventErrored},
		{"a key failed", []engine.Verdict{matched}, []engine.State{engine.Failed}, nil, engine.EventErrored},
		{"no rule could be asked", nil, nil, func(a *engine.Acceptance) { a.MatchErr = "panic" }, engine.EventErrored},
		{"a question was answered", nil, nil, func(a *engine.Acceptance) { a.Answered = true }, engine.EventAnswered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &engine.Acceptance{Verdicts: tt.verdicts}
			for _, s := range tt.runs {
				a.Runs = append(a.Runs, &engine.Run{State: s})
			}
			if tt.alter != nil {
				tt.alter(a)
			}
			if got := a.Outcome(); got != tt.want {
				t.Errorf("outcome = %s, want %s", got, tt.want)
			}
		})
	}
}
