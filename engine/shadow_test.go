package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// saying would run make with one argument, and counts what it did.
type saying struct {
	text *engine.Template

	mu   sync.Mutex // guards done
	done []string
}

func (*saying) Kind() string { return "exec" }

func (a *saying) Plan(in engine.Input) (engine.Plan, error) {
	text, err := a.text.Render(in.Scope)
	if err != nil {
		return engine.Plan{}, engine.Permanent(err)
	}
	return engine.Plan{Argv: []string{"make", text}}, nil
}

func (a *saying) Do(_ context.Context, in engine.Input) (engine.Output, error) {
	p, err := a.Plan(in)
	if err != nil {
		return engine.Output{ExitCode: -1}, err
	}
	in.Planned(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, p.Argv[1])
	fmt.Fprint(in.Stdout, p.Argv[1])
	return engine.Output{}, nil
}

// says makes the action, of texts that see the steps with these ids.
func says(t *testing.T, src string, seen ...string) *saying {
	t.Helper()
	var w engine.World
	for _, id := range seen {
		w.Steps = append(w.Steps, engine.StepShape{ID: id, Kind: "exec"})
	}
	tmpl, findings := engine.NewCompiler(w).Template(src, func(string) (engine.Secret, error) { return engine.NewSecret("s3cret"), nil })
	if tmpl == nil {
		t.Fatalf("Template(%s) = %+v, want it to compile", src, findings)
	}
	return &saying{text: tmpl}
}

func literal(t *testing.T, text string) *engine.Template { t.Helper(); return says(t, text).text }

func keyed(t *testing.T, src string) *engine.Key {
	t.Helper()
	k, findings := engine.NewCompiler(engine.World{}).Key(src)
	if k == nil {
		t.Fatalf("Key(%s) = %+v, want it to compile", src, findings)
	}
	return k
}

// plansOf are the step results of a run as "id state argv error".
func (h *house) plansOf(id string) string {
	h.t.Helper()
	results, err := h.store.Steps(context.Background(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, r := range results {
		said := fmt.Sprint(r.Step, " ", r.State)
		if r.Plan != nil {
			said += fmt.Sprint(" ", r.Plan.Argv)
		}
		if r.Err != "" {
			said += ": " + r.Err
		}
		all = append(all, said)
	}
	return strings.Join(all, "\n")
}

func TestStepKeepsWhatItDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := says(t, "{{ raw }}"), says(t, "{{ steps.a.stdout }} ${env:X}", "a")
		fails := says(t, "{{ body.none }}")
		h := start(t, &shakyStore{}, engine.Options{}, &engine.Rule{Name: "a", Steps: []engine.Step{
			{ID: "a", Action: first}, {ID: "b", Action: second}, {ID: "c", Action: fails},
		}})
		defer h.stop()
		r := h.submit("x")
		synctest.Wait()
		want := "a done [make {}]\nb done [make {} ***]\nc failed: body.none: at column 1: the event has no body.none (write ?? \"\" where it may be empty)"
		if got := h.plansOf(r.Runs[0].ID); got != want {
			t.Errorf("steps\n%s\nwant\n%s", got, want)
		}
	})
}

// TestShadowRunsNothing has a rule in shadow beside one that is live: of the first
// all is told, and of the second nothing is changed by it.
func TestShadowRunsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		do, cond := says(t, "{{ raw }} ${env:X}"), says(t, "x")
		never, _ := engine.NewCompiler(engine.World{}).Condition("raw == 'no'")
		shadow := &engine.Rule{
			Name: "shadow", Shadow: true, Stop: true,
			Steps: []engine.Step{
				{ID: "a", Action: do}, {ID: "b", Action: says(t, "{{ steps.a.stdout }}!", "a")}, {ID: "c", Action: cond, If: never}, {ID: "d", Action: says(t, "{{ body.none }}")},
			},
			Concurrency: engine.Concurrency{Key: keyed(t, "raw"), OnBusy: engine.BusySkip},
			Dedupe:      &engine.Dedupe{Key: keyed(t, "raw"), Within: time.Hour},
			AtMost:      &engine.AtMost{Runs: 1, Per: time.Hour},
			Cancels:     []engine.Cancel{{Rule: "live"}},
			Respond:     &engine.Respond{Body: literal(t, "from the shadow")},
			OnSuccess:   []engine.Step{{ID: "e", Action: do}}, Always: []engine.Step{{ID: "f", Action: do}}, OnTrip: []engine.Step{{ID: "g", Action: do}},
		}
		block := make(chan struct{})
		live := &enginetest.Action{Results: []enginetest.Result{{Block: block}}}
		h := start(t, &shakyStore{}, engine.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, shadow,
			&engine.Rule{Name: "live", Steps: []engine.Step{{ID: "1", Action: live}}, Concurrency: engine.Concurrency{None: true}})
		defer h.stop()
		var receipts []engine.Receipt
		for range 3 {
			receipts = append(receipts, h.submit("x"))
		}
		close(block)
		synctest.Wait()
		for i, r := range receipts {
			if len(r.Runs) != 2 || r.Duplicate {
				t.Fatalf("receipt %d: %+v, want two runs and no duplicate", i, r)
			}
			if a := h.Answer(t.Context(), r); a != nil {
				t.Errorf("the sender of event %d is answered %q, want the receipt", i, a.Body)
			}
			run := h.run(r.Runs[0].ID)
			if run.State != engine.Shadow || run.Finished != run.Created || run.Lane+run.Dedupe+run.Throttle+run.Breaker != "" || run.Err != "" || run.Key != "{}" {
				t.Errorf("run of the rule in shadow: %+v, want it to have ended at once, and in nobody's way", run)
			}
			want := "a shadow [make {} ***]\nb shadow [make {{ steps.a.stdout }}!]\nc skipped\nd shadow: body.none: at column 1: the event has no body.none (write ?? \"\" where it may be empty)"
			if got := h.plansOf(run.ID); got != want {
				t.Errorf("event %d: steps\n%s\nwant\n%s", i, got, want)
			}
			if run := h.run(r.Runs[1].ID); run.State != engine.Done {
				t.Errorf("event %d: the live rule's run is %s (%s), want it done", i, run.State, run.Err)
			}
		}
		if len(do.done)+len(cond.done) > 0 {
			t.Errorf("the rule in shadow did %q and %q", do.done, cond.done)
		}
		if said := strings.Count(log.String(), `msg="rule matched, in shadow: nothing runs" rule=shadow`); said != 3 {
			t.Errorf("the log tells %d times of the shadow, want 3:\n%s", said, &log)
		}
	})
}

func TestShadowIsNeitherRetriedNorCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		do := says(t, "x")
		h := start(t, &shakyStore{}, engine.Options{}, &engine.Rule{Name: "a", Shadow: true, Steps: []engine.Step{{ID: "1", Action: do}}})
		defer h.stop()
		r := h.submit("x")
		if _, err := h.Retry(t.Context(), r.Runs[0].ID, true); !errors.Is(err, engine.ErrShadow) {
			t.Errorf("Retry: %v, want %v", err, engine.ErrShadow)
		}
		if _, err := h.Cancel(t.Context(), r.Runs[0].ID); !errors.Is(err, engine.ErrFinished) {
			t.Errorf("Cancel: %v, want %v", err, engine.ErrFinished)
		}
		synctest.Wait()
		if len(do.done) > 0 || h.run(r.Runs[0].ID).State != engine.Shadow {
			t.Errorf("the rule in shadow did %q", do.done)
		}
	})
}

// TestDuplicateBesideAShadow: that a rule in shadow matched is no news for the
// sender of a duplicate.
func TestDuplicateBesideAShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{},
			&engine.Rule{Name: "shadow", Shadow: true, Steps: []engine.Step{{ID: "1", Action: says(t, "x")}}},
			&engine.Rule{Name: "live", Steps: []engine.Step{{ID: "1", Action: says(t, "x")}}, Dedupe: &engine.Dedupe{Key: keyed(t, "raw"), Within: time.Hour}})
		defer h.stop()
		first, second := h.submit("x"), h.submit("x")
		if !second.Duplicate || second.Event != first.Event || first.Duplicate {
			t.Errorf("the second receipt is %+v, want that of a duplicate of %s", second, first.Event)
		}
	})
}

// TestManyElementsInShadow: a list makes a run of each element, and not more plans
// than a sender may wait for.
func TestManyElementsInShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, _ := engine.NewCompiler(engine.World{}).Value(`concat(1..900, [nil])`)
		do := says(t, "x")
		h := start(t, &shakyStore{}, engine.Options{}, &engine.Rule{
			Name: "a", Shadow: true, ForEach: &engine.ForEach{List: list, As: "item", Key: keyed(t, "raw")}, Steps: []engine.Step{{ID: "1", Action: do}},
		})
		defer h.stop()
		r := h.submit("x")
		planned := 0
		for _, ref := range r.Runs {
			if h.plansOf(ref.ID) != "" {
				planned++
			}
		}
		if len(r.Runs) != 901 || planned != 200 || len(do.done) > 0 {
			t.Errorf("%d runs, %d of them planned, %d done; want 901, 200 and none", len(r.Runs), planned, len(do.done))
		}
	})
}

// TestRuleThatIsPutInShadowRunsNothingMore: not what waits, not what is retried.
func TestRuleThatIsPutInShadowRunsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		act := doing(func(context.Context, engine.Input) (engine.Output, error) { ran++; return engine.Output{}, nil })
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", act))
		defer h.stop()
		old := h.submit("b").Runs[0].ID
		pass(time.Second)
		if err := h.Pause(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		waiting := h.submit("b").Runs[0].ID
		shadow := rule("b", act)
		shadow.Shadow = true
		h.SetRules(engine.NewRuleSet([]*engine.Rule{shadow}, "h2"))
		if err := h.Resume(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Retry(t.Context(), old, true); err != nil {
			t.Fatal(err)
		}
		pass(24 * time.Hour)
		if got := h.fates([]string{old, waiting}); got != "queued, queued" || ran != 1 {
			t.Errorf("they came to %s, and %d ran; want both queued, and one before", got, ran)
		}
		if got, want := h.Why(h.run(waiting)), "its rule is in mode shadow"; got != want {
			t.Errorf("it waits as %q, want %q", got, want)
		}
		h.SetRules(engine.NewRuleSet([]*engine.Rule{rule("b", act)}, "h3"))
		pass(time.Second)
		if got := h.fates([]string{old, waiting}); got != "done, done" || ran != 3 {
			t.Errorf("with the rule live again they came to %s, and %d ran", got, ran)
		}
	})
}
