package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// TestArmedRuleHoldsTheNextEventThatRuns: whatever the rule says of events that
// come too often, and until a person releases it or cancels it.
func TestArmedRuleHoldsTheNextEventThatRuns(t *testing.T) {
	tests := []struct {
		name  string
		armed string
		alter func(*engine.Rule)
		held  string // of five events, those that wait
		fates string // once the held one was released
		order string
	}{
		{"by name", "b", func(*engine.Rule) {}, "1", "done, done, done, done, done", "2 3 4 5 1"},
		{"any rule", "", func(*engine.Rule) {}, "1", "done, done, done, done, done", "2 3 4 5 1"},
		{"another rule", "other", func(*engine.Rule) {}, "", "done, done, done, done, done", "1 2 3 4 5"},
		{"it takes no place in its lane", "b", func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusySkip }, "1",
			"done, done, skipped by 2, skipped by 2, skipped by 2", "2 1"},
		{"what a burst ends it does not", "b", func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: 5 * time.Second, Last: true} }, "1",
			"done, superseded by 3, superseded by 4, superseded by 5, done", "5 1"},
		{"dedupe knows it", "b", func(r *engine.Rule) { r.Dedupe = &engine.Dedupe{Key: key("body.pair"), Within: time.Hour} }, "1",
			"done, duplicate by 1, done, duplicate by 3, done", "3 5 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{}
				r := rule("b", g)
				tt.alter(r)
				h := start(t, &shakyStore{}, engine.Options{MaxRuns: 100}, r)
				defer h.stop()
				h.Arm(t.Context(), tt.armed)
				var ids []string
				for n := range 5 {
					ids = append(ids, h.send("b", fmt.Sprintf(`{"pair": %d}`, n/2))...)
					pass(100 * time.Millisecond)
				}
				pass(time.Minute)
				held := ""
				for i, id := range ids {
					if h.run(id).Armed {
						held += fmt.Sprint(i + 1)
						if why := h.Why(h.run(id)); why != "its rule was armed: a person is to release or cancel it" {
							t.Errorf("it waits as %q", why)
						}
						if _, err := h.Release(t.Context(), id); err != nil {
							t.Error(err)
						}
					}
				}
				pass(time.Minute)
				if held != tt.held {
					t.Errorf("held %q, want %q", held, tt.held)
				}
				if got := h.fates(ids); got != tt.fates {
					t.Errorf("the runs came to\n%s, want\n%s", got, tt.fates)
				}
				if got := g.order(ids); got != tt.order {
					t.Errorf("order %s, want %s", got, tt.order)
				}
				if got := h.Armed(); len(got) != 0 && tt.held != "" {
					t.Errorf("armed = %q after an event was held", got)
				}
			})
		})
	}
}

// TestArmedRuleStaysArmedOverWhatDoesNotRun: an event that starts nothing is not
// the one that somebody waits for.
func TestArmedRuleStaysArmedOverWhatDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(fine))
		r.Dedupe = &engine.Dedupe{Key: key("body.n"), Within: time.Hour}
		store := &shakyStore{}
		h := start(t, store, engine.Options{}, r)
		defer h.stop()
		h.send("b", `{"n": 1}`)
		pass(time.Second)
		h.Arm(t.Context(), "b")
		h.send("b", `{"n": 1}`)
		if got := h.Armed(); !slices.Equal(got, []string{"b"}) {
			t.Fatalf("armed after a duplicate = %q, want b", got)
		}
		store.Fail(engine.ErrUnavailable)
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Body: []byte(`{"n": 2}`)}); !errors.Is(err, engine.ErrUnavailable) {
			t.Fatalf("submit to a store that is down: %v", err)
		}
		store.Fail(nil)
		if got := h.Armed(); !slices.Equal(got, []string{"b"}) {
			t.Fatalf("armed after an event that was not taken = %q, want b", got)
		}
		h.Disarm(t.Context(), "")
		id := h.send("b", `{"n": 3}`)[0]
		pass(time.Second)
		if got := h.run(id).State; got != engine.Done {
			t.Errorf("the run is %s, want done: the rule was disarmed", got)
		}
	})
}

// TestHeldRunWaitsOverARestart, and can be dropped.
func TestHeldRunWaitsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		h := start(t, store, engine.Options{}, rule("b", doing(fine)))
		h.Arm(t.Context(), "b")
		kept, dropped := h.send("b", "{}")[0], ""
		h.Arm(t.Context(), "b")
		dropped = h.send("b", "{}")[0]
		h.stop()
		h = start(t, store, engine.Options{}, rule("b", doing(fine)))
		defer h.stop()
		pass(24 * time.Hour)
		if got := h.fates([]string{kept, dropped}); got != "queued, queued" {
			t.Fatalf("after a restart and a day: %s, want both held", got)
		}
		if _, err := h.Cancel(t.Context(), dropped); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Release(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got := h.fates([]string{kept, dropped}); got != "done, cancelled" {
			t.Errorf("they came to %s, want done, cancelled", got)
		}
		for id, want := range map[string]error{kept: engine.ErrFinished, "none": engine.ErrNotFound} {
			if _, err := h.Release(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("release %s: %v, want %v", id, err, want)
			}
		}
		h.Pause(t.Context(), "b")
		id := h.send("b", "{}")[0]
		if _, err := h.Release(t.Context(), id); !errors.Is(err, engine.ErrNotArmed) {
			t.Errorf("release of a run that is not held: %v, want %v", err, engine.ErrNotArmed)
		}
	})
}

// TestArmOutlastsARestart: until an event spends it.
func TestArmOutlastsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		restart := func(h *house) *house {
			if h != nil {
				h.stop()
			}
			return start(t, store, engine.Options{}, rule("a", doing(fine)), rule("b", doing(fine)))
		}
		h := restart(nil)
		for _, rule := range []string{"b", "a", "b"} {
			if err := h.Arm(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
		}
		h = restart(h)
		if got := h.Armed(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("armed after a restart = %q, want a and b", got)
		}
		first := h.send("b", "{}")[0]
		h = restart(h)
		second := h.send("b", "{}")[0]
		pass(time.Second)
		if got := h.fates([]string{first, second}); got != "queued, done" {
			t.Errorf("the runs are %s, want the first held and the second done", got)
		}
		if err := h.Disarm(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		h = restart(h)
		defer h.stop()
		if got := h.Armed(); len(got) > 0 {
			t.Errorf("armed in the end = %q, want none", got)
		}
	})
}

// TestArmThatCantBeNoted: nobody is told that a rule is armed that is not.
func TestArmThatCantBeNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		h := start(t, store, engine.Options{}, rule("b", doing(fine)))
		defer h.stop()
		store.Fail(engine.ErrUnavailable)
		err := h.Arm(t.Context(), "b")
		store.Fail(nil)
		if !errors.Is(err, engine.ErrUnavailable) || len(h.Armed()) > 0 {
			t.Errorf("error %v and armed %q, want that of the store and none", err, h.Armed())
		}
	})
}

// TestReleasedRunWaitsForNoBurst: what it waits for is its turn, as every run.
func TestReleasedRunWaitsForNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 1}, rule("a", &gate{take: time.Minute}), rule("b", doing(fine)))
		defer h.stop()
		h.send("a", "{}")
		h.Arm(t.Context(), "b")
		id := h.send("b", "{}")[0]
		pass(time.Second)
		if _, err := h.Release(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got, want := h.Why(h.run(id)), "all places of max_runs that its rule may have are taken"; got != want {
			t.Errorf("it waits as %q, want %q", got, want)
		}
		pass(time.Hour)
		if got := h.run(id).State; got != engine.Done {
			t.Errorf("it is %s, want done", got)
		}
	})
}
