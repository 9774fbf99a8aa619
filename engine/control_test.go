package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func key(src string) *engine.Key {
	k, findings := engine.NewCompiler(engine.World{Element: "alert"}).Key(src)
	if k == nil {
		panic(findings)
	}
	return k
}

func list(src string) *engine.Value {
	v, findings := engine.NewCompiler(engine.World{}).Value(src)
	if v == nil {
		panic(findings)
	}
	return v
}

func condition(src string, w engine.World) *engine.Condition {
	c, findings := engine.NewCompiler(w).Condition(src)
	if c == nil {
		panic(findings)
	}
	return c
}

// send submits an event with a body and returns its runs' ids.
func (h *house) send(bucket, body string) []string {
	h.t.Helper()
	var ids []string
	for _, r := range h.submitBody(bucket, body).Runs {
		ids = append(ids, r.ID)
	}
	return ids
}

func (h *house) submitBody(bucket, body string) engine.Receipt {
	h.t.Helper()
	r, err := h.Submit(context.Background(), &engine.Event{Bucket: bucket, Method: "POST", Source: engine.SourceIntake, Body: []byte(body)})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// fates are the states of runs, each with the number of the run that decided it:
// "done, skipped by 1".
func (h *house) fates(ids []string) string {
	h.t.Helper()
	var all []string
	for _, id := range ids {
		r := h.run(id)
		fate := string(r.State)
		if r.By != "" {
			fate += fmt.Sprintf(" by %d", slices.Index(ids, r.By)+1)
		}
		all = append(all, fate)
	}
	return strings.Join(all, ", ")
}

// gate is an action that takes a second, unless its context ends, and notes the
// order in which runs start and how many go at once.
type gate struct {
	take time.Duration // 0: a second
	fail func(in engine.Input) error

	mu     sync.Mutex // guards what follows
	began  []string   // ids of runs
	now    int
	most   int
	causes []error
}

func (g *gate) Kind() string { return "exec" }

func (*gate) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }

func (g *gate) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	g.mu.Lock()
	g.began = append(g.began, in.Run)
	g.now++
	g.most = max(g.most, g.now)
	take := g.take
	g.mu.Unlock()
	if take == 0 {
		take = time.Second
	}
	var err error
	select {
	case <-time.After(take):
		if g.fail != nil {
			err = g.fail(in)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
	if err != nil {
		g.causes = append(g.causes, err)
	}
	return engine.Output{}, err
}

// order is the numbers of the runs in the order in which they began.
func (g *gate) order(ids []string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, id := range g.began {
		all = append(all, fmt.Sprint(slices.Index(ids, id)+1))
	}
	return strings.Join(all, " ")
}

// TestBurstOfFive is the README's table: five events a tenth of a second apart,
// and a command that takes a second.
func TestBurstOfFive(t *testing.T) {
	const done = "done, done, done, done, done"
	tests := []struct {
		name  string
		alter func(*engine.Rule)
		fates string
		order string
		most  int
	}{
		{"no key at all", func(*engine.Rule) {}, done, "1 2 3 4 5", 1},
		{"queue", func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusyQueue }, done, "1 2 3 4 5", 1},
		{"limit 2", func(r *engine.Rule) { r.Concurrency.Limit = 2 }, done, "1 2 3 4 5", 2},
		{"none", func(r *engine.Rule) { r.Concurrency.None = true }, done, "1 2 3 4 5", 5},
		{"a key each", func(r *engine.Rule) { r.Concurrency.Key = key("body.n") }, done, "1 2 3 4 5", 5},
		{"skip", func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusySkip },
			"done, skipped by 1, skipped by 1, skipped by 1, skipped by 1", "1", 1},
		{"skip, limit 2", func(r *engine.Rule) { r.Concurrency.OnBusy, r.Concurrency.Limit = engine.BusySkip, 2 },
			"done, done, skipped by 1, skipped by 1, skipped by 1", "1 2", 2},
		{"replace", func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusyReplace },
			"replaced by 2, replaced by 3, replaced by 4, replaced by 5, done", "1 2 3 4 5", 1},
		{"replace, limit 2", func(r *engine.Rule) { r.Concurrency.OnBusy, r.Concurrency.Limit = engine.BusyReplace, 2 },
			"replaced by 3, replaced by 4, replaced by 5, done, done", "1 2 3 4 5", 2},
		{"latest", func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusyLatest },
			"done, superseded by 3, superseded by 4, superseded by 5, done", "1 5", 1},
		{"latest, limit 2", func(r *engine.Rule) { r.Concurrency.OnBusy, r.Concurrency.Limit = engine.BusyLatest, 2 },
			"done, done, superseded by 4, superseded by 5, done", "1 2 5", 2},
		{"throttle first", func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: 250 * time.Millisecond} },
			"done, throttled by 1, throttled by 1, done, throttled by 4", "1 4", 1},
		{"throttle last", func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: 5 * time.Second, Last: true} },
			"superseded by 2, superseded by 3, superseded by 4, superseded by 5, done", "5", 1},
		{"dedupe", func(r *engine.Rule) { r.Dedupe = &engine.Dedupe{Key: key("body.pair"), Within: time.Hour} },
			"done, duplicate by 1, done, duplicate by 3, done", "1 3 5", 1},
		{"at most 3", func(r *engine.Rule) { r.AtMost = &engine.AtMost{Runs: 3, Per: time.Hour} },
			"done, done, done, tripped, tripped", "1 2 3", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{}
				r := rule("b", g)
				tt.alter(r)
				h := start(t, &shakyStore{}, engine.Options{MaxRuns: 100}, r)
				defer h.stop()
				var ids []string
				for n := range 5 {
					ids = append(ids, h.send("b", fmt.Sprintf(`{"n": %d, "pair": %d}`, n, n/2))...)
					pass(100 * time.Millisecond)
				}
				pass(time.Minute)
				if got := h.fates(ids); got != tt.fates {
					t.Errorf("the runs came to\n%s, want\n%s", got, tt.fates)
				}
				if got := g.order(ids); got != tt.order || g.most != tt.most {
					t.Errorf("order %s, at most %d at once; want %s, %d", got, g.most, tt.order, tt.most)
				}
			})
		})
	}
}

func TestGroupSharesItsLaneBetweenRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		a, b, other := rule("a", g), rule("b", g), rule("c", g)
		a.Concurrency.Group, b.Concurrency.Group = "prod", "prod"
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 100}, a, b, other)
		defer h.stop()
		ids := slices.Concat(h.send("a", "{}"), h.send("b", "{}"), h.send("a", "{}"))
		pass(time.Millisecond)
		if got := h.fates(ids); got != "running, queued, queued" {
			t.Errorf("runs of one group are %s, want one to run", got)
		}
		if why := h.Why(h.run(ids[1])); !strings.Contains(why, `group "prod" has `+ids[0]) {
			t.Errorf("why the second waits: %q, want the group and the first", why)
		}
		c := h.send("c", "{}")
		pass(time.Millisecond)
		if got := h.fates(c); got != "running" {
			t.Errorf("a run outside of the group is %s, want it to run", got)
		}
		pass(time.Minute)
		if got := g.order(ids); !strings.Contains(got, "1") || h.fates(ids) != "done, done, done" {
			t.Errorf("order %s, fates %s", got, h.fates(ids))
		}
		if w := h.run(ids[2]).Waited; !strings.Contains(w, ids[1]) {
			t.Errorf("the third waited %q, want the run before it named", w)
		}
	})
}

func TestPlacesAreKeptForRulesThatRunNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{take: time.Hour}
		greedy := rule("greedy", g)
		greedy.Concurrency.None = true
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 8}, greedy, rule("idle", g))
		defer h.stop()
		var ids []string
		for range 20 {
			ids = append(ids, h.send("greedy", "{}")...)
		}
		pass(time.Second)
		if n := strings.Count(h.fates(ids), "running"); n != 6 {
			t.Errorf("%d runs of the greedy rule go at once, want all but a quarter of 8", n)
		}
		idle := h.send("idle", "{}")
		pass(time.Millisecond)
		if got := h.fates(idle); got != "running" {
			t.Errorf("the first run of the idle rule is %s, want it to run", got)
		}
		if why := h.Why(h.run(ids[10])); !strings.Contains(why, "max_runs") {
			t.Errorf("why a greedy run waits: %q, want max_runs", why)
		}
	})
}

func TestReplacedRunEndsBeforeTheNextStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned []string
		slow := doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // the time that a command takes to end
			return engine.Output{ExitCode: -1}, context.Cause(ctx)
		})
		r := rule("b", slow)
		r.Concurrency.OnBusy = engine.BusyReplace
		r.Always = []engine.Step{{ID: "always.1", Action: doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			cleaned = append(cleaned, in.Run)
			return engine.Output{}, nil
		})}}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		ids := h.send("b", "{}")
		pass(time.Second)
		ids = append(ids, h.send("b", "{}")...)
		pass(2 * time.Second)
		if got := h.fates(ids); got != "running by 2, queued" {
			t.Errorf("while the first ends the runs are %s", got)
		}
		pass(2 * time.Second)
		if got := h.fates(ids); got != "replaced by 2, running" {
			t.Errorf("when it has ended they are %s", got)
		}
		if !slices.Equal(cleaned, ids[:1]) {
			t.Errorf("always ran for %v, want the replaced run", cleaned)
		}
	})
}

// TestReplaceEndsARunThatWaitsForItsRetry: it gives its place up at once.
func TestReplaceEndsARunThatWaitsForItsRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		r := rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			if tries++; tries == 1 {
				return engine.Output{}, errors.New("x")
			}
			return engine.Output{}, nil
		}))
		r.Concurrency.OnBusy = engine.BusyReplace
		r.Retry = engine.Retry{Attempts: 5, Backoff: 24 * time.Hour, Max: 24 * time.Hour}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		ids := h.send("b", "{}")
		pass(time.Microsecond)
		if got := h.fates(ids); got != "queued" {
			t.Fatalf("the run is %s, want it to wait for a retry", got)
		}
		ids = append(ids, h.send("b", "{}")...)
		synctest.Wait()
		if got := h.fates(ids); got != "replaced by 2, done" {
			t.Errorf("the runs came to %s", got)
		}
	})
}

func TestRetryPolicies(t *testing.T) {
	steps := []engine.StepShape{{ID: "1", Kind: "exec"}, {ID: "2", Kind: "exec"}}
	world := engine.World{Steps: steps, Closing: true}
	tests := []struct {
		name  string
		alter func(r *engine.Rule)
		err   error
		tries int // of the second step
		said  string
	}{
		{"the rule's", func(r *engine.Rule) { r.Retry.Attempts = 3 }, errors.New("x"), 3, "step 2 (exec): x"},
		{"the action's own", func(r *engine.Rule) {
			r.Retry.Attempts, r.Steps[1].Retry = 9, &engine.Retry{Attempts: 2}
		}, errors.New("x"), 2, "step 2 (exec): x"},
		{"if says no", func(r *engine.Rule) {
			r.Retry = engine.Retry{Attempts: 9, If: condition(`error contains "timeout"`, world)}
		}, errors.New("broken"), 1, "step 2 (exec): broken; not tried again: retry.if is false"},
		{"if says yes of what is permanent", func(r *engine.Rule) {
			r.Retry = engine.Retry{Attempts: 3, If: condition(`steps["2"].exit_code == 7 && run.attempt < 9`, world)}
		}, engine.Permanent(errors.New("x")), 3, "step 2 (exec): x"},
		{"if fails", func(r *engine.Rule) {
			r.Retry = engine.Retry{Attempts: 3, If: condition(`body.n > 1`, world)}
		}, errors.New("x"), 1, "step 2 (exec): x; retry.if: body.n > 1: at column 8"},
		{"permanent", func(r *engine.Rule) { r.Retry.Attempts = 3 }, engine.Permanent(errors.New("x")), 1,
			"step 2 (exec): x; not tried again: it would fail again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := 0, 0
				r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { first++; return engine.Output{}, nil }),
					doing(func(context.Context, engine.Input) (engine.Output, error) {
						second++
						return engine.Output{ExitCode: 7}, tt.err
					}))
				tt.alter(r)
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				id := h.send("b", "{}")[0]
				pass(24 * time.Hour)
				run := h.run(id)
				if run.State != engine.Failed || second != tt.tries || first != 1 || !strings.HasPrefix(run.Err, tt.said) {
					t.Errorf("%s, %q after %d and %d tries; want failed, %q after 1 and %d", run.State, run.Err, first, second, tt.said, tt.tries)
				}
			})
		})
	}
}

// closing makes a closing step that notes its run's world by a template.
func closing(id, template string, w engine.World, notes *[]string, err error) engine.Step {
	t, findings := engine.NewCompiler(w).Template(template, nil)
	if t == nil {
		panic(findings)
	}
	return engine.Step{ID: id, Action: doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
		text, rerr := t.Render(in.Scope)
		*notes = append(*notes, id+": "+text)
		return engine.Output{}, errors.Join(err, rerr)
	})}
}

func TestClosingActions(t *testing.T) {
	world := engine.World{Steps: []engine.StepShape{{ID: "1", Kind: "exec"}, {ID: "2", Kind: "exec"}}, Closing: true}
	const see = `{{ run.state }} {{ run.rule }} {{ run.attempt }} [{{ error }}] {{ steps["1"].state }} {{ steps["2"].state }}`
	tests := []struct {
		name  string
		fails error // of the first step
		hook  error // of the closing steps
		want  []string
		state engine.State
		steps string
	}{
		{"done", nil, nil, []string{
			"on_success.1: done b 1 [] done done", "always.1: done b 1 [] done done",
		}, engine.Done, "1 1 done, 2 1 done, on_success.1 1 done, always.1 1 done"},
		{"failed", errors.New("x"), nil, []string{
			"on_failure.1: failed b 2 [step 1 (exec): x] failed not_run", "always.1: failed b 2 [step 1 (exec): x] failed not_run",
		}, engine.Failed, "1 1 failed, 1 2 failed, on_failure.1 2 done, always.1 2 done"},
		{"their own failure is recorded and ends there", errors.New("x"), errors.New("y"), []string{
			"on_failure.1: failed b 2 [step 1 (exec): x] failed not_run", "always.1: failed b 2 [step 1 (exec): x] failed not_run",
		}, engine.Failed, "1 1 failed, 1 2 failed, on_failure.1 2 failed, always.1 2 failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var notes []string
				r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { return engine.Output{}, tt.fails }), doing(fine))
				r.Retry.Attempts = 2
				r.OnSuccess = []engine.Step{closing("on_success.1", see, world, &notes, tt.hook)}
				r.OnFailure = []engine.Step{closing("on_failure.1", see, world, &notes, tt.hook)}
				r.Always = []engine.Step{closing("always.1", see, world, &notes, tt.hook)}
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				id := h.send("b", "{}")[0]
				pass(time.Hour)
				if !slices.Equal(notes, tt.want) {
					t.Errorf("closing actions saw\n%s, want\n%s", strings.Join(notes, "\n"), strings.Join(tt.want, "\n"))
				}
				if got := h.run(id); got.State != tt.state || got.Outcome != "" || h.steps(id) != tt.steps {
					t.Errorf("run is %s, steps %s; want %s, %s", got.State, h.steps(id), tt.state, tt.steps)
				}
			})
		})
	}
}

// TestStopInClosingActionsGoesOnThere: what is before them is not repeated, and
// how the run ends stays.
func TestStopInClosingActionsGoesOnThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		tries, told := 0, 0
		r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) {
			tries++
			return engine.Output{}, errors.New("x")
		}))
		r.OnFailure = []engine.Step{
			{ID: "on_failure.1", Action: doing(func(context.Context, engine.Input) (engine.Output, error) { told++; return engine.Output{}, nil })},
			{ID: "on_failure.2", Action: &gate{take: 10 * time.Minute}},
		}
		h := start(t, store, engine.Options{Grace: time.Second}, r)
		id := h.send("b", "{}")[0]
		pass(time.Minute)
		h.stop()
		if got := h.run(id); got.State != engine.Queued || got.Outcome != engine.Failed {
			t.Errorf("after the stop the run is %s, to end as %q; want queued, failed", got.State, got.Outcome)
		}
		h = start(t, store, engine.Options{}, r)
		defer h.stop()
		pass(time.Hour)
		if got := h.run(id); got.State != engine.Failed || got.Err != "step 1 (exec): x" {
			t.Errorf("the run came to %s, %q", got.State, got.Err)
		}
		if tries != 1 || told != 1 {
			t.Errorf("the action ran %d times, the first closing one %d times; want each once", tries, told)
		}
	})
}

func TestContinueOnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := 0
		r := rule("b",
			doing(func(context.Context, engine.Input) (engine.Output, error) {
				first++
				return engine.Output{}, errors.New("x")
			}),
			doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
				if in.Attempt < 3 {
					return engine.Output{}, errors.New("y")
				}
				return engine.Output{}, nil
			}))
		r.Retry.Attempts = 9
		r.Steps[0].ContinueOnError = true
		r.Steps[0].Retry = &engine.Retry{Attempts: 2}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		id := h.send("b", "{}")[0]
		pass(time.Hour)
		if got, want := h.steps(id), "1 1 failed, 1 2 failed, 2 2 failed, 2 3 done"; got != want || h.run(id).State != engine.Done {
			t.Errorf("run is %s, steps %s; want done, %s", h.run(id).State, got, want)
		}
	})
}

func TestDuplicateIsMeasuredAgainstRunsThatDidNotFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		fail := true
		r := rule("b", &gate{fail: func(engine.Input) error {
			if fail {
				return errors.New("x")
			}
			return nil
		}})
		r.Dedupe = &engine.Dedupe{Key: key(`body.id`), Within: time.Hour}
		h := start(t, store, engine.Options{}, r)
		failed := h.submitBody("b", `{"id": "d1"}`)
		pass(time.Minute)
		fail = false
		again := h.submitBody("b", `{"id": "d1"}`) // a redelivery of what failed
		pass(time.Minute)
		if h.run(failed.Runs[0].ID).State != engine.Failed || h.run(again.Runs[0].ID).State != engine.Done {
			t.Errorf("a redelivery of a failed one came to %s, want it to run", h.run(again.Runs[0].ID).State)
		}
		h.stop()
		h = start(t, store, engine.Options{}, r) // a restart forgets nothing
		defer h.stop()
		dup := h.submitBody("b", `{"id": "d1"}`)
		run := h.run(dup.Runs[0].ID)
		if run.State != engine.Duplicate || run.By != again.Runs[0].ID {
			t.Errorf("the next is %s by %s, want a duplicate of run %s", run.State, run.By, again.Runs[0].ID)
		}
		if !dup.Duplicate || dup.Event != again.Event || dup.KeptAs == "" {
			t.Errorf("receipt = %+v, want that of event %s", dup, again.Event)
		}
		if _, err := store.Event(t.Context(), dup.KeptAs); err != nil {
			t.Errorf("the duplicate itself is not kept: %v", err)
		}
		for _, body := range []string{`{}`, `{"id": ""}`} { // no key: it could be anything
			if id := h.send("b", body)[0]; h.run(id).State == engine.Duplicate {
				t.Errorf("an event %s is a duplicate", body)
			}
		}
		if _, err := h.Retry(t.Context(), run.ID, false); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if got := h.run(run.ID); got.State != engine.Done || !strings.Contains(got.Note, "it was duplicate by run "+again.Runs[0].ID) {
			t.Errorf("the duplicate, retried by hand, came to %s, note %q", got.State, got.Note)
		}
		pass(time.Hour)
		if id := h.send("b", `{"id": "d1"}`)[0]; h.run(id).State == engine.Duplicate {
			t.Error("the same key is a duplicate after the window")
		}
	})
}

// TestHeldRunOutlastsARestart: the burst's last event runs at its time, whatever
// happens to hookrun and its clock.
func TestHeldRunOutlastsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := &shakyStore{}, &gate{}
		r := rule("b", g)
		r.Throttle = &engine.Throttle{Every: time.Minute, Last: true, Key: key("body.k")}
		h := start(t, store, engine.Options{}, r)
		ids := slices.Concat(h.send("b", `{"k": "a"}`), h.send("b", `{"k": "a"}`), h.send("b", `{"k": "b"}`))
		pass(10 * time.Second)
		h.stop()
		h = start(t, store, engine.Options{}, r)
		defer h.stop()
		pass(30 * time.Second)
		if got := h.fates(ids); got != "superseded by 2, queued, queued" {
			t.Errorf("within the window the runs are %s", got)
		}
		if why := h.Why(h.run(ids[1])); !strings.HasPrefix(why, "throttle:") {
			t.Errorf("why it waits: %q", why)
		}
		pass(30 * time.Second)
		if got := h.fates(ids); got != "superseded by 2, done, done" {
			t.Errorf("after it they are %s", got)
		}
	})
}

// TestHeldRunMeetsItsLaneWhenItIsReleased: on_busy decides then, not before.
func TestHeldRunMeetsItsLaneWhenItIsReleased(t *testing.T) {
	tests := []struct {
		mode engine.OnBusy
		want string
	}{
		{engine.BusyQueue, "done, done"},
		{engine.BusySkip, "done, skipped by 1"},
		{engine.BusyReplace, "replaced by 2, done"},
		{engine.BusyLatest, "done, done"},
	}
	for _, tt := range tests {
		t.Run(string(tt.mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rule("b", &gate{take: time.Minute})
				r.Throttle = &engine.Throttle{Every: 10 * time.Second, Last: true}
				r.Concurrency.OnBusy = tt.mode
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				ids := h.send("b", "{}")
				pass(15 * time.Second)
				ids = append(ids, h.send("b", "{}")...)
				pass(time.Second)
				if got := h.fates(ids); got != "running, queued" {
					t.Errorf("while the second is held the runs are %s", got)
				}
				pass(time.Hour)
				if got := h.fates(ids); got != tt.want {
					t.Errorf("the runs came to %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestBreakerTripsOncePerKeyAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips []string
		r := rule("b", doing(fine))
		r.AtMost = &engine.AtMost{Runs: 2, Per: time.Hour, Key: key("body.k")}
		r.OnTrip = []engine.Step{closing("on_trip.1", "{{ body.k }} {{ run.state }} {{ error }}", engine.World{Closing: true}, &trips, nil)}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		var a, b []string
		for range 4 {
			a = append(a, h.send("b", `{"k": "a"}`)...)
		}
		b = append(b, h.send("b", `{"k": "b"}`)...)
		pass(time.Second)
		if got := h.fates(a) + "; " + h.fates(b); got != "done, done, tripped, tripped; done" {
			t.Errorf("the runs came to %s", got)
		}
		want := []string{"on_trip.1: a tripped at_most: 2 runs in 1h were reached"}
		if !slices.Equal(trips, want) {
			t.Errorf("on_trip ran for %q, want %q", trips, want)
		}
		pass(time.Hour)
		a = h.send("b", `{"k": "a"}`)
		a = slices.Concat(a, h.send("b", `{"k": "a"}`), h.send("b", `{"k": "a"}`))
		pass(time.Second)
		if got := h.fates(a); got != "done, done, tripped" || len(trips) != 2 {
			t.Errorf("after an hour they came to %s, with %d trips; want room for two, and a second trip", got, len(trips))
		}
		if got := h.Counts()[engine.Tripped]; got != 3 {
			t.Errorf("%d runs tripped are counted, want 3", got)
		}
	})
}

func TestForEachRunsEachElementWithItsOwnKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notes []string
		step := closing("1", `{{ alert.name }} {{ alert.value }}`, engine.World{Element: "alert"}, &notes, nil)
		r := rule("b")
		r.Steps = []engine.Step{step}
		r.ForEach = &engine.ForEach{List: list("body.alerts"), As: "alert", Key: key("alert.name")}
		r.Dedupe = &engine.Dedupe{Key: key("alert.id"), Within: time.Hour}
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 1}, r)
		defer h.stop()
		ids := h.send("b", `{"alerts": [{"name": "disk", "id": 1, "value": 0.10}, {"name": "cpu", "id": 2, "value": 12345678901234567890}, {"name": "disk", "id": 1, "value": 3}]}`)
		pass(time.Second)
		if got := h.fates(ids); got != "done, done, duplicate by 1" {
			t.Errorf("the elements came to %s", got)
		}
		if want := []string{"1: disk 0.10", "1: cpu 12345678901234567890"}; !slices.Equal(notes, want) {
			t.Errorf("actions saw %q, want %q", notes, want)
		}
		if a, b := h.run(ids[0]), h.run(ids[1]); a.Key != "disk" || a.Lane == b.Lane || b.Index != 1 {
			t.Errorf("runs %+v and %+v, want lanes by the element's key", a, b)
		}
	})
}

func TestForEachThatCannotBeSaysWhy(t *testing.T) {
	long := `{"alerts": [` + strings.Repeat(`{},`, engine.MaxForEach) + `{}]}`
	tests := []struct{ body, why string }{
		{`{"alerts": []}`, "for_each.list: the list is empty"},
		{`{}`, "for_each.list: body.alerts: at column 1: the event has no body.alerts"},
		{`{"alerts": {"a": 1}}`, "for_each.list: body.alerts: at column 1: a list is needed, not an object"},
		{long, "for_each.list: it has 1001 elements, more than 1000"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			r := rule("b", doing(fine))
			r.ForEach = &engine.ForEach{List: list("body.alerts"), As: "alert", Key: key("alert.name")}
			if tt.body == long {
				r.ForEach.Key = nil
			}
			h := start(t, &shakyStore{}, engine.Options{}, r)
			defer h.stop()
			receipt := h.submitBody("b", tt.body)
			verdicts, _ := h.store.Verdicts(t.Context(), receipt.Event)
			if len(receipt.Runs) != 0 || !strings.HasPrefix(verdicts[0].Why, tt.why) {
				t.Errorf("%d runs, why %q; want none, %q", len(receipt.Runs), verdicts[0].Why, tt.why)
			}
		})
	}
}

func TestEventCancelsWhatWaitsOrRunsForItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{take: time.Hour}
		fix := rule("fix", g)
		fix.Concurrency.Key = key("body.k")
		calm := rule("calm")
		calm.Cancels = []engine.Cancel{{Rule: "fix", Key: key("body.k")}}
		h := start(t, &shakyStore{}, engine.Options{}, fix, calm)
		defer h.stop()
		ids := slices.Concat(h.send("fix", `{"k": "a"}`), h.send("fix", `{"k": "a"}`), h.send("fix", `{"k": "b"}`))
		pass(time.Second)
		c := h.send("calm", `{"k": "a"}`)
		synctest.Wait()
		ids = append(ids, c...)
		if got := h.fates(ids); got != "cancelled by 4, cancelled by 4, running, done" {
			t.Errorf("the runs came to %s", got)
		}
		if err := h.run(ids[0]).Err; err != `an event of rule "calm" cancels it` {
			t.Errorf("why: %q", err)
		}
	})
}

func TestStepThatHookrunsEndCutOff(t *testing.T) {
	tests := []struct {
		name   string
		policy func(*engine.Step)
		stops  int
		state  engine.State
		began  int
		err    string
	}{
		{"resume", func(*engine.Step) {}, 3, engine.Done, 4, ""},
		{"resume, at most three times", func(*engine.Step) {}, 4, engine.Failed, 4, "step 1 (exec): a stop of hookrun cut it off 4 times"},
		{"fail", func(s *engine.Step) { s.OnInterrupt = engine.FailCut }, 1, engine.Failed, 1, "step 1 (exec): a stop of hookrun cut it off, and on_interrupt says fail"},
		{"done", func(s *engine.Step) { s.OnInterrupt = engine.DoneCut }, 1, engine.Done, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, g := &shakyStore{}, &gate{take: time.Hour}
				r := rule("b", g, doing(fine))
				tt.policy(&r.Steps[0])
				h := start(t, store, engine.Options{Grace: time.Second}, r)
				id := h.send("b", "{}")[0]
				for range tt.stops {
					pass(time.Second)
					h.stop()
					h = start(t, store, engine.Options{Grace: time.Second}, r)
				}
				defer h.stop()
				pass(2 * time.Hour)
				if run := h.run(id); run.State != tt.state || len(g.began) != tt.began || !strings.HasPrefix(run.Err, tt.err) {
					t.Errorf("%s, %q, begun %d times; want %s, %q, %d", run.State, run.Err, len(g.began), tt.state, tt.err, tt.began)
				}
			})
		})
	}
}

// TestCommandThatASupervisorEndsWithUs: systemd signals hookrun and its commands
// at the same time. That is a stop, no failure.
func TestCommandThatASupervisorEndsWithUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signalled := make(chan struct{})
		r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) {
			<-signalled
			return engine.Output{ExitCode: -1, Signal: "SIGTERM"}, errors.New("ended by SIGTERM")
		}))
		store := &shakyStore{}
		h := start(t, store, engine.Options{}, r)
		id := h.send("b", "{}")[0]
		pass(time.Second)
		close(signalled)
		time.Sleep(100 * time.Millisecond)
		h.stop()
		if got := h.run(id); got.State != engine.Queued || h.steps(id) != "1 1 interrupted" {
			t.Errorf("run is %s, steps %s; want it to go on at the next start", got.State, h.steps(id))
		}

		h = start(t, store, engine.Options{}, r) // a signal without a stop is a failure
		defer h.stop()
		pass(time.Minute)
		if got := h.run(id); got.State != engine.Failed {
			t.Errorf("run is %s, want failed", got.State)
		}
	})
}

func TestCrashCutsAStepOff(t *testing.T) {
	for policy, want := range map[engine.OnCut]string{engine.ResumeCut: "done 1", engine.FailCut: "failed 0"} {
		synctest.Test(t, func(t *testing.T) {
			store, g := &shakyStore{}, &gate{}
			a := enginetest.NewAcceptance("deploys")
			if _, err := store.Accept(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			run := *a.Runs[0]
			run.State, run.Attempt = engine.Running, 1
			cut := &engine.StepResult{Run: run.ID, Attempt: 1, Step: "1", Kind: "exec", State: engine.StepRunning}
			if err := store.Update(t.Context(), &run, cut); err != nil {
				t.Fatal(err)
			}
			r := rule("deploys", g)
			r.Steps[0].OnCrash = policy
			h := start(t, store, engine.Options{}, r)
			defer h.stop()
			pass(time.Minute)
			if got := fmt.Sprint(h.run(run.ID).State, " ", len(g.began)); got != want {
				t.Errorf("on_crash %s: %s, want %s", policy, got, want)
			}
		})
	}
}

func TestRuleThatLedToItselfIsALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var via []string
		act := doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			via = append(via, in.Via)
			return engine.Output{}, nil
		})
		h := start(t, &shakyStore{}, engine.Options{Instance: "i1"}, rule("a", act), rule("b", act))
		defer h.stop()
		follow := func(bucket, header string) engine.State {
			r, err := h.Submit(t.Context(), &engine.Event{Bucket: bucket, Method: "POST", Source: engine.SourceIntake,
				Header: map[string][]string{"hookrun-via": {header}}})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return h.run(r.Runs[0].ID).State
		}
		h.send("a", "{}")
		synctest.Wait()
		if got := follow("b", via[0]); got != engine.Done {
			t.Errorf("another rule that follows is %s, want it to run", got)
		}
		if got := follow("a", via[1]); got != engine.Tripped {
			t.Errorf("the rule that led to itself, by way of another, is %s, want tripped", got)
		}
		if got := follow("a", strings.Repeat("0123456789abcdef01234567, ", 40)); got != engine.Done {
			t.Errorf("a rule after those of others is %s, want it to run", got)
		}
		if n := strings.Count(via[len(via)-1], ","); n != 31 {
			t.Errorf("the header has %d marks, want 32: its own, and what there is room for", n+1)
		}
		follow("a", strings.Repeat("x", 5000)+", "+strings.ToUpper(via[0])+"\r\nX: y, ")
		if got := via[len(via)-1]; got != via[0] {
			t.Errorf("what a stranger put into the header is passed on: %.80q", got)
		}
	})
}

func TestFullQueueTakesNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{take: time.Minute}
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", g))
		defer h.stop()
		set := engine.NewRuleSet([]*engine.Rule{rule("b", g)}, "h")
		set.QueueLimit = 2
		h.SetRules(set)
		for range 3 { // one runs, two wait
			h.send("b", "{}")
			synctest.Wait()
		}
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b"}); !errors.Is(err, engine.ErrBusy) {
			t.Errorf("Submit with a full queue: %v, want %v", err, engine.ErrBusy)
		}
		pass(time.Minute)
		h.send("b", "{}")
	})
}

func TestPauseOutlastsARestart(t *testing.T) {
	for _, what := range []string{"b", ""} {
		synctest.Test(t, func(t *testing.T) {
			store, g := &shakyStore{}, &gate{}
			h := start(t, store, engine.Options{}, rule("a", g), rule("b", g))
			if err := h.Pause(t.Context(), what); err != nil {
				t.Fatal(err)
			}
			ids := slices.Concat(h.send("b", "{}"), h.send("a", "{}"))
			pass(time.Minute)
			h.stop()
			h = start(t, store, engine.Options{}, rule("a", g), rule("b", g))
			defer h.stop()
			pass(time.Minute)
			want := "queued, done"
			if what == "" {
				want = "queued, queued"
			}
			if got := h.fates(ids); got != want || !slices.Equal(h.Paused(), []string{what}) {
				t.Errorf("with %q paused the runs are %s, want %s", what, got, want)
			}
			if why := h.Why(h.run(ids[0])); !strings.Contains(why, "paused") {
				t.Errorf("why it waits: %q", why)
			}
			if err := h.Resume(t.Context(), what); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			if got := h.fates(ids); got != "done, done" || len(h.Paused()) != 0 {
				t.Errorf("after resume they are %s", got)
			}
		})
	}
}

func TestRetryAndCancelByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		first := 0
		r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { first++; return engine.Output{}, nil }),
			&gate{take: time.Minute, fail: func(engine.Input) error {
				if fail {
					return errors.New("x")
				}
				return nil
			}})
		r.Retry.Attempts = 2
		closed := 0
		r.Always = []engine.Step{{ID: "always.1", Action: doing(func(context.Context, engine.Input) (engine.Output, error) { closed++; return engine.Output{}, nil })}}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		id := h.send("b", "{}")[0]
		if _, err := h.Retry(t.Context(), id, false); !errors.Is(err, engine.ErrNotFinished) {
			t.Errorf("Retry of a run that goes on: %v", err)
		}
		pass(time.Hour)
		if _, err := h.Retry(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if got := h.run(id); got.State != engine.Failed || got.Attempt != 4 || first != 1 || closed != 2 {
			t.Errorf("retried by hand: %s after %d attempts, first step %d times, closed %d times; want two more tries at the failed step, and closed again",
				got.State, got.Attempt, first, closed)
		}
		fail = false
		for range 2 { // from the first action, then of one that is done
			if _, err := h.Retry(t.Context(), id, true); err != nil {
				t.Fatal(err)
			}
			pass(time.Hour)
		}
		if got := h.run(id); got.State != engine.Done || first != 3 {
			t.Errorf("retried whole: %s, first step %d times; want done, 3", got.State, first)
		}
		if _, err := h.Cancel(t.Context(), id); !errors.Is(err, engine.ErrFinished) {
			t.Errorf("Cancel of a finished run: %v", err)
		}
		ids := slices.Concat(h.send("b", "{}"), h.send("b", "{}"))
		pass(time.Second)
		for _, id := range ids {
			if _, err := h.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := h.fates(ids); got != "cancelled, cancelled" || h.run(ids[0]).Err != "cancelled by hand" {
			t.Errorf("cancelled by hand: %s, %q", got, h.run(ids[0]).Err)
		}
		if _, err := h.Cancel(t.Context(), "nobody"); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("Cancel of no run: %v", err)
		}
	})
}

// TestDetachedCommandIsPickedUpOrEnded: after a restart its step goes on with it,
// unless the step or the run is over.
func TestDetachedCommandIsPickedUpOrEnded(t *testing.T) {
	left := engine.Process{PID: 4711, Start: "x", Dir: "/folder"}
	tests := []struct {
		name   string
		away   func(t *testing.T, s engine.Store, id string, r *engine.Rule)
		state  engine.State
		picked bool
	}{
		{"picked up", func(*testing.T, engine.Store, string, *engine.Rule) {}, engine.Done, true},
		{"its run was cancelled meanwhile", func(t *testing.T, s engine.Store, id string, _ *engine.Rule) {
			if _, err := engine.CancelRun(t.Context(), s, id); err != nil {
				t.Fatal(err)
			}
		}, engine.Cancelled, false},
		{"its step is gone", func(_ *testing.T, _ engine.Store, _ string, r *engine.Rule) { r.Steps[0].Key = "id:other" }, engine.Done, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var resumed, ended []engine.Process
				act := doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
					if in.Resume != nil {
						resumed = append(resumed, *in.Resume)
					}
					if in.Attempt == 1 {
						in.Started(left)
						<-ctx.Done()
						return engine.Output{ExitCode: -1}, context.Cause(ctx)
					}
					return engine.Output{}, nil
				})
				store, r := &shakyStore{}, rule("b", act)
				h := start(t, store, engine.Options{Grace: time.Second}, r)
				id := h.send("b", "{}")[0]
				pass(time.Minute)
				h.stop()
				tt.away(t, store, id, r)
				h = start(t, store, engine.Options{Reap: func(_ context.Context, l engine.Leftover) error { ended = append(ended, l.Process); return nil }}, r)
				defer h.stop()
				pass(time.Minute)
				if got := h.run(id); got.State != tt.state {
					t.Errorf("run is %s, want %s", got.State, tt.state)
				}
				if got, want := len(resumed) == 1 && resumed[0] == left, tt.picked; got != want {
					t.Errorf("picked up %v, want %v", resumed, want)
				}
				if got, want := len(ended) == 1 && ended[0] == left, !tt.picked; got != want {
					t.Errorf("ended %v, want %v", ended, want)
				}
			})
		})
	}
}

// TestElementsShareTheirEventsBudget: a long list does not multiply it.
func TestElementsShareTheirEventsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(fine))
		r.ForEach = &engine.ForEach{List: list("body"), As: "alert", Key: key("string(count(1..90000, # > alert))")}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		receipt := h.submitBody("b", "["+strings.Repeat("1,", 99)+"1]")
		pass(time.Minute)
		last := h.run(receipt.Runs[99].ID)
		if last.State != engine.Failed || !strings.Contains(last.Err, "over all rules of this event") {
			t.Errorf("the last element is %s, %q, want the event's budget used up", last.State, last.Err)
		}
	})
}

// betweenStore calls a function once, right before an attempt reads its event,
// or before it stores that it waits for a retry.
type betweenStore struct {
	shakyStore
	once     sync.Once
	reading  func()
	requeues func()
}

func (s *betweenStore) Event(ctx context.Context, id string) (*engine.Event, error) {
	if s.reading != nil {
		s.once.Do(s.reading)
	}
	return s.shakyStore.Event(ctx, id)
}

func (s *betweenStore) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	if s.requeues != nil && r.State == engine.Queued {
		s.once.Do(s.requeues)
	}
	return s.shakyStore.Update(ctx, r, steps...)
}

// TestReplacementInTheMiddle: whenever it comes, the replaced run does nothing
// more and its place is free at once.
func TestReplacementInTheMiddle(t *testing.T) {
	tests := []struct {
		name  string
		hook  func(s *betweenStore, submit func())
		began int // steps of the first run
	}{
		{"before its first step", func(s *betweenStore, submit func()) { s.reading = submit }, 0},
		{"while it is put off for a retry", func(s *betweenStore, submit func()) { s.requeues = submit }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, began, first := &betweenStore{}, 0, ""
				r := rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
					if in.Run == first {
						began++
						return engine.Output{}, errors.New("x")
					}
					return engine.Output{}, nil
				}))
				r.Concurrency.OnBusy = engine.BusyReplace
				r.Retry = engine.Retry{Attempts: 2, Backoff: 24 * time.Hour, Max: 24 * time.Hour}
				e, err := engine.Open(t.Context(), engine.Options{Store: store, Rules: engine.NewRuleSet([]*engine.Rule{r}, "h")})
				if err != nil {
					t.Fatal(err)
				}
				h := &house{t: t, store: &store.shakyStore, Engine: e}
				var ids []string
				tt.hook(store, func() { ids = append(ids, h.send("b", "{}")...) })
				ids = h.send("b", "{}")
				first = ids[0]
				ctx, cancel := context.WithCancel(t.Context())
				h.wg.Go(func() { h.Run(ctx) })
				defer h.wg.Wait()
				defer cancel()
				pass(time.Second)
				if got := h.fates(ids); got != "replaced by 2, done" || began != tt.began {
					t.Errorf("the runs came to %s, the first began %d steps; want replaced by 2, done, %d", got, began, tt.began)
				}
			})
		})
	}
}

// TestCrashForgetsNoDuplicate: a run that a crash cut off is still the first.
func TestCrashForgetsNoDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := &shakyStore{}, &gate{take: time.Minute}
		r := rule("b", g)
		r.Dedupe = &engine.Dedupe{Key: key("body.id"), Within: time.Hour}
		h := start(t, store, engine.Options{Grace: time.Second}, r)
		ids := h.send("b", `{"id": "d1"}`)
		pass(time.Second)
		store.Fail(errors.New("killed")) // nothing that happens from here on is stored
		h.stop()
		store.Fail(nil)
		h = start(t, store, engine.Options{}, r)
		defer h.stop()
		ids = append(ids, h.send("b", `{"id": "d1"}`)...)
		pass(10 * time.Minute)
		ids = append(ids, h.send("b", `{"id": "d1"}`)...)
		if got := h.fates(ids); got != "done, duplicate by 1, duplicate by 1" {
			t.Errorf("the runs came to %s", got)
		}
		if got := h.steps(ids[0]); got != "1 1 crashed, 1 2 done" {
			t.Errorf("steps = %s, want the crash and then the end", got)
		}
	})
}

// TestCrashForgetsNoReplacement: the run that was to end ends, and says why.
func TestCrashForgetsNoReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, first := &shakyStore{}, ""
		r := rule("b", doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			if in.Run != first {
				return engine.Output{}, nil
			}
			<-ctx.Done()
			time.Sleep(time.Second) // the time that a command takes to end
			return engine.Output{ExitCode: -1}, context.Cause(ctx)
		}))
		r.Concurrency.OnBusy = engine.BusyReplace
		h := open(t, store, engine.Options{}, r)
		ids := h.send("b", "{}")
		first = ids[0]
		ctx, cancel := context.WithCancel(t.Context())
		h.wg.Go(func() { h.Run(ctx) })
		pass(time.Second)
		running := h.run(first)
		ids = append(ids, h.send("b", "{}")...)
		if err := store.Update(t.Context(), running); err != nil { // as a step does that was not told yet
			t.Fatal(err)
		}
		store.Fail(errors.New("killed"))
		cancel()
		h.wg.Wait()
		store.Fail(nil)
		h = start(t, store, engine.Options{}, r)
		defer h.stop()
		pass(time.Hour)
		if got := h.fates(ids); got != "replaced by 2, done" || h.run(first).Err != "concurrency: a newer run took its place" {
			t.Errorf("the runs came to %s, %q", got, h.run(first).Err)
		}
	})
}

// TestLatestBehindThrottle: of what the throttle lets through, only the newest
// waits.
func TestLatestBehindThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", &gate{take: time.Minute})
		r.Throttle = &engine.Throttle{Every: 2 * time.Second}
		r.Concurrency.OnBusy = engine.BusyLatest
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		var ids []string
		for range 8 {
			ids = append(ids, h.send("b", "{}")...)
			pass(time.Second)
		}
		pass(time.Hour)
		const want = "done, throttled by 1, superseded by 5, throttled by 3, superseded by 7, throttled by 5, done, throttled by 7"
		if got := h.fates(ids); got != want {
			t.Errorf("the runs came to\n%s, want\n%s", got, want)
		}
	})
}

// TestOneBadElementHoldsUpNoOther: it fails by itself, and says why.
func TestOneBadElementHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(fine))
		r.ForEach = &engine.ForEach{List: list("body"), As: "alert", Key: key("alert.name")}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		ids := h.send("b", `[{"name": "x"}, {"z": 1}, {"name": "y"}]`)
		pass(time.Second)
		if got := h.fates(ids); got != "done, failed, done" {
			t.Errorf("the elements came to %s", got)
		}
		bad := h.run(ids[1])
		if want := "element 1: for_each.key: alert.name: at column 1: the event has no alert.name"; !strings.HasPrefix(bad.Err, want) || bad.Element != `{"z":1}` {
			t.Errorf("the bad one is %s, %q", bad.Element, bad.Err)
		}
	})
}

// TestEmptyKeyCancelsNobody: it could be anybody's.
func TestEmptyKeyCancelsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calm := rule("calm")
		calm.Cancels = []engine.Cancel{{Rule: "fix", Key: key("body.k")}}
		h := start(t, &shakyStore{}, engine.Options{}, rule("fix", &gate{}), calm)
		defer h.stop()
		ids := h.send("fix", "{}")
		pass(time.Millisecond)
		h.send("calm", `{"k": ""}`)
		pass(time.Hour)
		if got := h.fates(ids); got != "done" {
			t.Errorf("the run came to %s", got)
		}
	})
}

// TestLoopKeepsNoBreakerFromTripping: what is refused as a loop is no trip.
func TestLoopKeepsNoBreakerFromTripping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips []string
		via := ""
		r := rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			via = in.Via
			return engine.Output{}, nil
		}))
		r.AtMost = &engine.AtMost{Runs: 2, Per: time.Hour}
		r.OnTrip = []engine.Step{closing("on_trip.1", "{{ run.state }}", engine.World{Closing: true}, &trips, nil)}
		h := start(t, &shakyStore{}, engine.Options{Instance: "i1"}, r)
		defer h.stop()
		ids := slices.Concat(h.send("b", "{}"), h.send("b", "{}"))
		pass(time.Second)
		receipt, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceIntake, Header: map[string][]string{engine.ViaHeader: {via}}})
		if err != nil {
			t.Fatal(err)
		}
		tripping := h.submitBody("b", "{}")
		ids = append(ids, receipt.Runs[0].ID, tripping.Runs[0].ID)
		pass(time.Second)
		if got := h.fates(ids); got != "done, done, tripped, tripped" || len(trips) != 1 || tripping.Runs[0].State != engine.Tripped {
			t.Errorf("the runs came to %s with %d trips, the sender is told %s", got, len(trips), tripping.Runs[0].State)
		}
		for range 2 { // by hand they go, and one after the other
			for _, id := range ids[2:] {
				if _, err := h.Retry(t.Context(), id, true); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Second)
		}
		if got := h.fates(ids); got != "done, done, done, done" || h.run(ids[3]).Lane == "" {
			t.Errorf("retried by hand they came to %s, in lane %q", got, h.run(ids[3]).Lane)
		}
	})
}

// TestDecidedEndWaitsForNoPause: whoever cancels a run sees it end.
func TestDecidedEndWaitsForNoPause(t *testing.T) {
	for _, what := range []string{"", "b"} {
		for _, offline := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				store := &shakyStore{}
				r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { return engine.Output{}, errors.New("x") }))
				r.Retry = engine.Retry{Attempts: 5, Backoff: 24 * time.Hour, Max: 24 * time.Hour}
				h := start(t, store, engine.Options{}, r)
				id := h.send("b", "{}")[0]
				pass(time.Microsecond)
				if err := h.Pause(t.Context(), what); err != nil {
					t.Fatal(err)
				}
				if offline {
					h.stop()
					if _, err := engine.CancelRun(t.Context(), store, id); err != nil {
						t.Fatal(err)
					}
					h = start(t, store, engine.Options{}, r)
				} else if _, err := h.Cancel(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				defer h.stop()
				pass(time.Second)
				if got := h.run(id); got.State != engine.Cancelled || !strings.Contains(got.Note, "cancelled by hand") {
					t.Errorf("paused %q, offline %v: the run is %s, note %q; want it to have ended", what, offline, got.State, got.Note)
				}
			})
		}
	}
}

// TestRuleThatIsSwitchedOffAndThenDeletedLeavesNothing behind: its time begins
// when it is deleted.
func TestRuleThatIsSwitchedOffAndThenDeletedLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", &gate{}))
		defer h.stop()
		ids := slices.Concat(h.send("b", "{}"), h.send("b", "{}"))
		pass(time.Millisecond)
		off := engine.NewRuleSet(nil, "off")
		off.Off = []*engine.Rule{{Name: "b"}}
		h.SetRules(off)
		pass(time.Hour)
		h.SetRules(engine.NewRuleSet(nil, "gone"))
		pass(5 * time.Minute)
		if got := h.fates(ids); got != "done, queued" {
			t.Errorf("within the grace time the runs are %s", got)
		}
		pass(10 * time.Minute)
		if got := h.fates(ids); got != "done, abandoned" {
			t.Errorf("after it they are %s", got)
		}
	})
}

// TestRetryBeforeTheOldAttemptHasSeenTheEnd: the run goes once, not twice.
func TestRetryBeforeTheOldAttemptHasSeenTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := &betweenStore{}, &gate{}
		r := rule("b", g)
		r.Concurrency.Limit = 2
		e, err := engine.Open(t.Context(), engine.Options{Store: store, Rules: engine.NewRuleSet([]*engine.Rule{r}, "h")})
		if err != nil {
			t.Fatal(err)
		}
		h := &house{t: t, store: &store.shakyStore, Engine: e}
		id := ""
		store.reading = func() {
			if _, err := h.Cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
			if _, err := h.Retry(t.Context(), id, false); err != nil {
				t.Error(err)
			}
		}
		id = h.send("b", "{}")[0]
		ctx, cancel := context.WithCancel(t.Context())
		h.wg.Go(func() { h.Run(ctx) })
		defer h.wg.Wait()
		defer cancel()
		pass(time.Hour)
		if got := h.run(id); got.State != engine.Done || len(g.began) != 1 {
			t.Errorf("the run is %s after %d starts, want done after one", got.State, len(g.began))
		}
	})
}

// TestElementsMeetEachOtherAsEventsDo: it makes no difference whether runs come
// in one commit or one after the other.
func TestElementsMeetEachOtherAsEventsDo(t *testing.T) {
	modes := map[string]func(*engine.Rule){
		"skip":            func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusySkip },
		"skip, limit 2":   func(r *engine.Rule) { r.Concurrency.OnBusy, r.Concurrency.Limit = engine.BusySkip, 2 },
		"replace":         func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusyReplace },
		"latest":          func(r *engine.Rule) { r.Concurrency.OnBusy = engine.BusyLatest },
		"latest, limit 2": func(r *engine.Rule) { r.Concurrency.OnBusy, r.Concurrency.Limit = engine.BusyLatest, 2 },
		"at most 3":       func(r *engine.Rule) { r.AtMost = &engine.AtMost{Runs: 3, Per: time.Hour, Key: key(`""`)} },
		"throttle last":   func(r *engine.Rule) { r.Throttle = &engine.Throttle{Every: time.Second, Last: true} },
		"throttle last and at most 2": func(r *engine.Rule) {
			r.Throttle, r.AtMost = &engine.Throttle{Every: time.Second, Last: true}, &engine.AtMost{Runs: 2, Per: time.Hour}
		},
		"at most 2 and latest": func(r *engine.Rule) {
			r.Concurrency.OnBusy, r.AtMost = engine.BusyLatest, &engine.AtMost{Runs: 2, Per: time.Hour}
		},
	}
	come := func(alter func(*engine.Rule), bodies ...string) (fates string) {
		synctest.Test(t, func(t *testing.T) {
			r := rule("b", &gate{take: time.Minute})
			r.ForEach = &engine.ForEach{List: list("body"), As: "alert"}
			alter(r)
			h := start(t, &shakyStore{}, engine.Options{MaxRuns: 100}, r)
			defer h.stop()
			var ids []string
			for _, body := range bodies {
				ids = append(ids, h.send("b", body)...)
				synctest.Wait() // which of two has begun is no matter of luck then
			}
			pass(24 * time.Hour)
			fates = h.fates(ids)
		})
		return fates
	}
	for name, alter := range modes {
		whole := come(alter, "[1,2,3,4,5]", "[6,7]")
		single := come(alter, "[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]")
		if whole != single {
			t.Errorf("%s: elements of a list come to\n%s, events to\n%s", name, whole, single)
		}
	}
}

// TestWhatWillNotBeDoneIsNoFirst: a redelivery of what trips or fails at this
// moment goes through.
func TestWhatWillNotBeDoneIsNoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			return engine.Output{}, errors.New("x")
		}))
		r.Dedupe = &engine.Dedupe{Key: key("body.id"), Within: time.Hour}
		r.AtMost = &engine.AtMost{Runs: 2, Per: time.Hour}
		r.OnFailure = []engine.Step{{ID: "on_failure.1", Action: &gate{take: time.Minute}}}
		r.OnTrip = []engine.Step{{ID: "on_trip.1", Action: &gate{take: time.Minute}}}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		var ids []string
		for _, id := range []string{"a", "a", "b", "b"} {
			ids = append(ids, h.send("b", fmt.Sprintf(`{"id": %q}`, id))...)
			pass(time.Second)
		}
		pass(time.Hour)
		if got := h.fates(ids); got != "failed, failed, tripped, tripped" {
			t.Errorf("the runs came to %s, want no duplicate", got)
		}
	})
}

// TestWorkGoesOnWhileLeftoversAreEnded: the lane of a run that a crash cut off is
// kept until nothing is left of it; all else goes on.
func TestWorkGoesOnWhileLeftoversAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := &shakyStore{}, &gate{}
		r := rule("b", g)
		r.Concurrency.OnBusy = engine.BusyReplace
		h := start(t, store, engine.Options{Grace: time.Second}, r, rule("other", g))
		ids := h.send("b", "{}")
		pass(time.Millisecond)
		store.Fail(errors.New("killed"))
		h.stop()
		store.Fail(nil)

		left := make(chan struct{})
		h = start(t, store, engine.Options{Reap: func(context.Context, engine.Leftover) error { <-left; return nil }}, r, rule("other", g))
		defer h.stop()
		other := h.send("other", "{}")
		ids = append(ids, h.send("b", "{}")...) // it is to take the place of the one that was cut off
		pass(time.Minute)
		if got := h.fates(other) + "; " + h.fates(ids); got != "done; running by 2, queued" {
			t.Errorf("while something is left the runs are %s", got)
		}
		close(left)
		pass(time.Minute)
		if got := h.fates(ids); got != "replaced by 2, done" || len(g.began) != 3 {
			t.Errorf("after that they came to %s, with %d starts in all; want 3", got, len(g.began))
		}
	})
}
