package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// doing is an action that does what the test says.
type doing func(ctx context.Context, in engine.Input) (engine.Output, error)

func (d doing) Kind() string { return "exec" }

func (doing) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }
func (d doing) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	return d(ctx, in)
}

// shakyStore is a store in memory that can be made to fail, and to keep whoever
// calls Accept waiting.
type shakyStore struct {
	enginetest.MemStore

	mu    sync.Mutex // guards what follows
	err   error
	block chan struct{}
}

// Fail makes every write fail with err; nil ends that.
func (s *shakyStore) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Block makes Accept wait until release is called.
func (s *shakyStore) Block() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = make(chan struct{})
	return func() { close(s.block) }
}

func (s *shakyStore) state() (block chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.block, s.err
}

func (s *shakyStore) Accept(ctx context.Context, a *engine.Acceptance) (engine.Receipt, error) {
	block, err := s.state()
	if block != nil {
		<-block
	}
	if err != nil {
		return engine.Receipt{}, err
	}
	return s.MemStore.Accept(ctx, a)
}

func (s *shakyStore) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	if _, err := s.state(); err != nil {
		return err
	}
	return s.MemStore.Update(ctx, r, steps...)
}

func (s *shakyStore) SetArmed(ctx context.Context, rules []string) error {
	if _, err := s.state(); err != nil {
		return err
	}
	return s.MemStore.SetArmed(ctx, rules)
}

// house is an engine over a store in memory.
type house struct {
	t     *testing.T
	store *shakyStore
	*engine.Engine

	wg   sync.WaitGroup
	stop context.CancelFunc
}

// open opens the engine over store; start runs it until the test or stop ends
// it. Both are called in a synctest bubble.
func open(t *testing.T, store *shakyStore, o engine.Options, rules ...*engine.Rule) *house {
	t.Helper()
	o.Store, o.Rules = store, engine.NewRuleSet(rules, "h")
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, store: store, Engine: e}
}

func start(t *testing.T, store *shakyStore, o engine.Options, rules ...*engine.Rule) *house {
	t.Helper()
	h := open(t, store, o, rules...)
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = sync.OnceFunc(func() {
		cancel()
		h.wg.Wait()
	})
	h.wg.Go(func() { h.Run(ctx) })
	return h
}

// submit sends an event to the bucket and returns its id.
func (h *house) submit(bucket string) engine.Receipt {
	h.t.Helper()
	r, err := h.Submit(context.Background(), &engine.Event{Bucket: bucket, Method: "POST", Source: engine.SourceIntake, Body: []byte("{}")})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) run(id string) *engine.Run {
	h.t.Helper()
	r, err := h.store.Run(context.Background(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// steps are the step results of a run as "id attempt state", joined by ", ".
func (h *house) steps(id string) string {
	h.t.Helper()
	results, err := h.store.Steps(context.Background(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, r := range results {
		all = append(all, fmt.Sprintf("%s %d %s", r.Step, r.Attempt, r.State))
	}
	return strings.Join(all, ", ")
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// rule makes a rule of the bucket with its own name, whose steps are "1", "2", ….
func rule(name string, steps ...engine.Action) *engine.Rule {
	r := &engine.Rule{Name: name, Hash: name, Buckets: []string{name}}
	for i, a := range steps {
		r.Steps = append(r.Steps, engine.Step{ID: fmt.Sprint(i + 1), Action: a})
	}
	return r
}

func fine(context.Context, engine.Input) (engine.Output, error) { return engine.Output{}, nil }

func TestRunEndsDoneWithItsStepsAndOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			fmt.Fprint(in.Stdout, "to stdout")
			fmt.Fprint(in.Stderr, "to stderr")
			return engine.Output{ExitCode: 0}, nil
		}), doing(fine))
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		if got := h.run(id); got.State != engine.Done || got.Attempt != 1 || got.Finished.IsZero() {
			t.Errorf("run = %+v, want done at the first attempt", got)
		}
		if got, want := h.steps(id), "1 1 done, 2 1 done"; got != want {
			t.Errorf("steps = %s, want %s", got, want)
		}
		results, _ := h.store.Steps(t.Context(), id)
		if got := results[0].Stdout.String() + "|" + results[0].Stderr.String(); got != "to stdout|to stderr" {
			t.Errorf("output = %s", got)
		}
	})
}

func TestRetryKeepsFinishedSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second int
		r := rule("b",
			doing(func(context.Context, engine.Input) (engine.Output, error) { first++; return engine.Output{}, nil }),
			doing(func(context.Context, engine.Input) (engine.Output, error) {
				if second++; second < 3 {
					return engine.Output{ExitCode: 1}, errors.New("exit status 1")
				}
				return engine.Output{}, nil
			}))
		r.Retry = engine.Retry{Attempts: 3, Backoff: time.Second, Max: time.Minute}
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		if got := h.run(id); got.State != engine.Queued || got.Due.IsZero() || got.Err != "step 2 (exec): exit status 1" {
			t.Errorf("after the first attempt the run is %+v, want queued with a time and the error", got)
		}
		pass(time.Minute)
		if got := h.run(id); got.State != engine.Done || got.Attempt != 3 {
			t.Errorf("run = %+v, want done at attempt 3", got)
		}
		if first != 1 || second != 3 {
			t.Errorf("the steps ran %d and %d times, want 1 and 3", first, second)
		}
		if got, want := h.steps(id), "1 1 done, 2 1 failed, 2 2 failed, 2 3 done"; got != want {
			t.Errorf("steps = %s, want %s", got, want)
		}
	})
}

func TestPermanentErrorAndLastAttemptFail(t *testing.T) {
	tests := []struct {
		name     string
		attempts int
		err      error
		want     int
	}{
		{"one attempt by default", 0, errors.New("x"), 1},
		{"all attempts", 3, errors.New("x"), 3},
		{"permanent", 3, engine.Permanent(errors.New("x")), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { return engine.Output{}, tt.err }))
				r.Retry.Attempts = tt.attempts
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				id := h.submit("b").Runs[0].ID
				pass(time.Hour)
				if got := h.run(id); got.State != engine.Failed || got.Attempt != tt.want || got.Err == "" {
					t.Errorf("run = %+v, want failed after %d attempts", got, tt.want)
				}
			})
		})
	}
}

func TestRunsOfOneRuleGoOneAtATimeAndRulesBesideEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		most := map[string]int{}
		now := map[string]int{}
		act := doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			mu.Lock()
			order = append(order, in.Run)
			now[in.Rule]++
			now["all"]++
			most[in.Rule] = max(most[in.Rule], now[in.Rule])
			most["all"] = max(most["all"], now["all"])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			now[in.Rule]--
			now["all"]--
			return engine.Output{}, nil
		})
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 2}, rule("a", act), rule("b", act), rule("c", act))
		defer h.stop()
		var a []string
		for range 5 {
			a = append(a, h.submit("a").Runs[0].ID)
			h.submit("b")
			h.submit("c")
		}
		pass(time.Minute)
		if most["a"] != 1 || most["b"] != 1 || most["c"] != 1 || most["all"] != 2 {
			t.Errorf("at most %v at once, want 1 of each rule and 2 of all", most)
		}
		var got []string
		for _, id := range order {
			for _, want := range a {
				if id == want {
					got = append(got, id)
				}
			}
		}
		if strings.Join(got, " ") != strings.Join(a, " ") {
			t.Errorf("runs of a went in the order %v, want %v", got, a)
		}
	})
}

func TestStepIsSkippedFailedOrTimedOut(t *testing.T) {
	condition := func(src string) *engine.Condition {
		c, findings := engine.NewCompiler(engine.World{Steps: []engine.StepShape{{ID: "1", Kind: "exec"}}}).Condition(src)
		if c == nil {
			t.Fatal(findings)
		}
		return c
	}
	hang := doing(func(ctx context.Context, _ engine.Input) (engine.Output, error) {
		<-ctx.Done()
		return engine.Output{ExitCode: -1}, context.Cause(ctx)
	})
	tests := []struct {
		name  string
		alter func(*engine.Rule)
		steps string
		err   string
	}{
		{"if is false", func(r *engine.Rule) { r.Steps[1].If = condition(`bucket == "x"`) }, "1 1 done, 2 1 skipped, 3 1 done", ""},
		{"if sees steps", func(r *engine.Rule) {
			r.Steps[1].If = condition(`steps["1"].exit_code == 0 && steps["1"].state == "done"`)
		}, "1 1 done, 2 1 done, 3 1 done", ""},
		{"if fails", func(r *engine.Rule) { r.Steps[1].If = condition(`body.x > 1`) }, "1 1 done, 2 1 failed",
			`step 2 (exec): if: body.x > 1: at column 8: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list)`},
		{"step times out", func(r *engine.Rule) { r.Steps[1].Action, r.Steps[1].Timeout = hang, time.Second }, "1 1 done, 2 1 failed", "step 2 (exec): timed out after 1s"},
		{"attempt times out", func(r *engine.Rule) { r.Steps[1].Action, r.Timeout = hang, time.Minute }, "1 1 done, 2 1 failed", "step 2 (exec): timed out after 1m0s"},
		{"action panics", func(r *engine.Rule) {
			r.Steps[1].Action = doing(func(context.Context, engine.Input) (engine.Output, error) { panic("oops") })
		}, "1 1 done, 2 1 failed", "step 2 (exec): action panicked: oops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rule("b", doing(fine), doing(fine), doing(fine))
				tt.alter(r)
				h := start(t, &shakyStore{}, engine.Options{}, r)
				defer h.stop()
				id := h.submit("b").Runs[0].ID
				pass(time.Hour)
				run := h.run(id)
				if run.Err != tt.err || (run.State == engine.Done) != (tt.err == "") {
					t.Errorf("run is %s, %q, want the error %q", run.State, run.Err, tt.err)
				}
				if got := h.steps(id); got != tt.steps {
					t.Errorf("steps = %s, want %s", got, tt.steps)
				}
			})
		})
	}
}

// TestStopGivesGraceThenQueuesTheRunAgain is the end on SIGTERM.
func TestStopGivesGraceThenQueuesTheRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		var calls int
		act := doing(func(ctx context.Context, _ engine.Input) (engine.Output, error) {
			if calls++; calls > 1 {
				return engine.Output{}, nil
			}
			<-ctx.Done()
			return engine.Output{}, errors.New("signal: terminated")
		})
		h := start(t, store, engine.Options{Grace: time.Minute}, rule("b", doing(fine), act))
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		began := time.Now()
		h.stop()
		if got := time.Since(began); got != time.Minute {
			t.Errorf("stop took %s, want the grace of a minute", got)
		}
		if run := h.run(id); run.State != engine.Queued || !run.Due.IsZero() || run.Cut != 1 {
			t.Errorf("run = %+v, want queued at once, its attempt not counted", run)
		}
		h = start(t, store, engine.Options{}, rule("b", doing(fine), act))
		defer h.stop()
		synctest.Wait()
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("after the next start the run is %s, want done", run.State)
		}
		if got, want := h.steps(id), "1 1 done, 2 1 interrupted, 2 2 done"; got != want {
			t.Errorf("steps = %s, want %s", got, want)
		}
	})
}

func TestHurrySkipsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		hang := doing(func(ctx context.Context, _ engine.Input) (engine.Output, error) {
			<-ctx.Done()
			return engine.Output{}, context.Cause(ctx)
		})
		h := start(t, &shakyStore{}, engine.Options{Grace: time.Hour, Hurry: hurry}, rule("b", hang))
		h.submit("b")
		synctest.Wait()
		began := time.Now()
		close(hurry)
		h.stop()
		if got := time.Since(began); got != 0 {
			t.Errorf("stop took %s after the second signal, want no wait", got)
		}
	})
}

// TestCrashResumesAtTheCutStep opens a store in which a crash left a run.
func TestCrashResumesAtTheCutStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		h := open(t, store, engine.Options{}, rule("b", doing(fine)))
		id := h.submit("b").Runs[0].ID
		run := h.run(id)
		run.State, run.Attempt = engine.Running, 1
		done := &engine.StepResult{Run: id, Attempt: 1, Step: "1", Kind: "exec", State: engine.StepDone}
		cut := &engine.StepResult{Run: id, Attempt: 1, Index: 1, Step: "2", Kind: "exec", State: engine.StepRunning, Process: engine.Process{PID: 4711, Start: "x"}}
		if err := store.Update(t.Context(), run, done, cut); err != nil {
			t.Fatal(err)
		}
		var reaped []engine.Process
		var again int
		h = start(t, store, engine.Options{Reap: func(_ context.Context, l engine.Leftover) error { reaped = append(reaped, l.Process); return nil }},
			rule("b",
				doing(func(context.Context, engine.Input) (engine.Output, error) { again++; return engine.Output{}, nil }),
				doing(fine)))
		defer h.stop()
		synctest.Wait()
		if len(reaped) != 1 || reaped[0] != cut.Process {
			t.Errorf("reaped %v, want the process that the crash left", reaped)
		}
		if got, want := h.steps(id), "1 1 done, 2 1 crashed, 2 2 done"; got != want || again != 0 {
			t.Errorf("steps = %s, the finished one ran %d times again, want %s and 0", got, again, want)
		}
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("run is %s, want done: a crash takes no attempt away", run.State)
		}
	})
}

func TestRunWithoutItsRuleIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		before := open(t, store, engine.Options{}, rule("b", doing(fine)))
		first, second := before.submit("b").Runs[0].ID, before.submit("b").Runs[0].ID
		h := start(t, store, engine.Options{}, rule("other", doing(fine)))
		defer h.stop()
		pass(9 * time.Minute)
		if run := h.run(first); run.State != engine.Queued {
			t.Errorf("run is %s while its rule may come back, want queued", run.State)
		}
		pass(2 * time.Minute)
		for _, id := range []string{first, second} { // the grace is the rule's, not each run's
			if run := h.run(id); run.State != engine.Abandoned || run.Err != "its rule is gone" {
				t.Errorf("run is %s, %q, want abandoned", run.State, run.Err)
			}
		}
	})
}

func TestRunsOfARuleThatIsOffWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", doing(func(ctx context.Context, _ engine.Input) (engine.Output, error) {
			time.Sleep(time.Minute)
			return engine.Output{}, nil
		})))
		defer h.stop()
		h.submit("b")
		id := h.submit("b").Runs[0].ID
		off := engine.NewRuleSet(nil, "h2")
		off.Off = []*engine.Rule{{Name: "b", Buckets: []string{"b"}}}
		h.SetRules(off)
		pass(24 * time.Hour)
		if run := h.run(id); run.State != engine.Queued {
			t.Errorf("run is %s while its rule is off, want queued", run.State)
		}
		h.SetRules(engine.NewRuleSet(nil, "h3"))
		pass(time.Minute) // the time for which it was off does not count as gone
		h.SetRules(engine.NewRuleSet([]*engine.Rule{rule("b", doing(fine))}, "h4"))
		pass(time.Minute)
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("run is %s after its rule was switched on, want done", run.State)
		}
	})
}

func TestRuleThatComesBackFindsItsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		id := open(t, store, engine.Options{}, rule("b", doing(fine))).submit("b").Runs[0].ID
		h := start(t, store, engine.Options{}, rule("other", doing(fine)))
		defer h.stop()
		pass(time.Minute)
		h.SetRules(engine.NewRuleSet([]*engine.Rule{rule("b", doing(fine))}, "h2"))
		pass(time.Minute)
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("run is %s after its rule came back, want done", run.State)
		}
	})
}

// TestEachAbsenceOfARuleHasItsOwnGrace: also where nothing ran in between.
func TestEachAbsenceOfARuleHasItsOwnGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := doing(func(context.Context, engine.Input) (engine.Output, error) {
			time.Sleep(time.Hour)
			return engine.Output{}, nil
		})
		h := start(t, &shakyStore{}, engine.Options{MaxRuns: 1}, rule("a", slow), rule("b", doing(fine)))
		defer h.stop()
		none, both := engine.NewRuleSet(nil, "h2"), engine.NewRuleSet([]*engine.Rule{rule("a", slow), rule("b", doing(fine))}, "h3")
		id := h.submit("b").Runs[0].ID
		synctest.Wait() // done: b has no run that waits
		h.submit("a")
		second := h.submit("b").Runs[0].ID // waits for the one slot
		pass(time.Second)
		h.SetRules(none)
		pass(90 * time.Minute) // a is done after an hour, and b is gone for half of one
		if run := h.run(second); h.run(id).State != engine.Done || run.State != engine.Abandoned {
			t.Fatalf("the second run of b is %s, want abandoned", run.State)
		}
		h.SetRules(both)
		h.submit("a")
		third := h.submit("b").Runs[0].ID
		pass(time.Second)
		h.SetRules(none)
		pass(time.Hour + time.Minute)
		if run := h.run(third); run.State != engine.Queued {
			t.Errorf("the third run of b is %s after a minute without its rule, want queued", run.State)
		}
	})
}

// TestEditBetweenAttempts: finished steps are known by what they do, not by
// where they stand.
func TestEditBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		step := func(key string, err error) engine.Step {
			return engine.Step{Key: "do:" + key, Action: doing(func(context.Context, engine.Input) (engine.Output, error) {
				ran = append(ran, key)
				return engine.Output{}, err
			})}
		}
		numbered := func(steps ...engine.Step) *engine.Rule {
			for i := range steps {
				steps[i].ID = fmt.Sprint(i + 1)
			}
			return &engine.Rule{Name: "b", Buckets: []string{"b"}, Steps: steps, Retry: engine.Retry{Attempts: 2, Backoff: time.Second}}
		}
		h := start(t, &shakyStore{}, engine.Options{}, numbered(step("backup", nil), step("deploy", errors.New("x"))))
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		h.SetRules(engine.NewRuleSet([]*engine.Rule{numbered(step("check", nil), step("backup", nil), step("deploy", nil))}, "h2"))
		pass(time.Minute)
		if got, want := strings.Join(ran, " "), "backup deploy check deploy"; got != want || h.run(id).State != engine.Done {
			t.Errorf("ran %s, state %s, want %s, done", got, h.run(id).State, want)
		}
	})
}

// TestStoreOutageTakesNothingOfTheTimeout: the rule bounds its actions.
func TestStoreOutageTakesNothingOfTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		r := rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) {
			store.Fail(errors.New("disk full"))
			return engine.Output{}, nil
		}), doing(fine))
		r.Timeout = time.Minute
		h := start(t, store, engine.Options{}, r)
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		pass(5 * time.Minute)
		store.Fail(nil)
		pass(time.Minute)
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("run is %s, %q after the outage, want done", run.State, run.Err)
		}
	})
}

// TestTimeoutBoundsAllActionsTogether is the rule's timeout over two steps.
func TestTimeoutBoundsAllActionsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := doing(func(ctx context.Context, _ engine.Input) (engine.Output, error) {
			select {
			case <-time.After(40 * time.Second):
				return engine.Output{}, nil
			case <-ctx.Done():
				return engine.Output{}, context.Cause(ctx)
			}
		})
		r := rule("b", slow, slow)
		r.Timeout = time.Minute
		h := start(t, &shakyStore{}, engine.Options{}, r)
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		pass(time.Hour)
		if run := h.run(id); run.Err != "step 2 (exec): timed out after 1m0s" || run.Finished.Sub(run.Started) != time.Minute {
			t.Errorf("run ended with %q after %s, want a timeout after a minute", run.Err, run.Finished.Sub(run.Started))
		}
	})
}

// TestRunThatEndsHookrunAgainAndAgainFails: it must not do so for ever.
func TestRunThatEndsHookrunAgainAndAgainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		h := open(t, store, engine.Options{}, rule("b", doing(fine)))
		run := h.run(h.submit("b").Runs[0].ID)
		if err := store.SetPaused(t.Context(), []string{"b"}); err != nil { // it is taken back and does not go on
			t.Fatal(err)
		}
		off := rule("b", doing(fine))
		for range 20 {
			run.State = engine.Running
			run.Attempt++
			step := &engine.StepResult{Run: run.ID, Attempt: run.Attempt, Step: "1", Kind: "exec", State: engine.StepRunning}
			if err := store.Update(t.Context(), run, step); err != nil {
				t.Fatal(err)
			}
			e := start(t, store, engine.Options{}, off)
			pass(time.Second)
			e.stop()
			run = e.run(run.ID)
		}
		if err := store.SetPaused(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		h = start(t, store, engine.Options{}, rule("b", doing(fine)))
		defer h.stop()
		synctest.Wait()
		if got := h.run(run.ID); got.State != engine.Failed || got.Err != "step 1 (exec): hookrun ended 20 times while it ran" {
			t.Errorf("run is %s, %q, want failed", got.State, got.Err)
		}
	})
}

// TestFailedCommandTellsItsLastWords: the reason stands in the run's error.
func TestFailedCommandTellsItsLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			fmt.Fprint(in.Stdout, "working\n")
			fmt.Fprint(in.Stderr, "warning: old\nfatal: no \x1b[31mremote\n\n")
			return engine.Output{ExitCode: 1}, errors.New("exit status 1")
		})))
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		if got, want := h.run(id).Err, "step 1 (exec): exit status 1: fatal: no  [31mremote"; got != want {
			t.Errorf("error = %q, want %q", got, want)
		}
	})
}

// TestUnreadableRunDoesNotHoldUpItsRule: it fails after some tries.
func TestUnreadableRunDoesNotHoldUpItsRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenEvents{}
		e, err := engine.Open(t.Context(), engine.Options{Store: store, Rules: engine.NewRuleSet([]*engine.Rule{rule("b", doing(fine))}, "h")})
		if err != nil {
			t.Fatal(err)
		}
		h := &house{t: t, store: &store.shakyStore, Engine: e}
		first := h.submit("b")
		store.broken = first.Event
		second := h.submit("b")
		ctx, cancel := context.WithCancel(t.Context())
		h.wg.Go(func() { h.Run(ctx) })
		pass(2 * time.Minute)
		if a, b := h.run(first.Runs[0].ID), h.run(second.Runs[0].ID); a.State != engine.Failed || a.Err != "header is damaged" || b.State != engine.Done {
			t.Errorf("runs are %s, %q and %s, want failed and done", a.State, a.Err, b.State)
		}
		cancel()
		h.wg.Wait()
	})
}

// brokenEvents is a store in which one event can't be read.
type brokenEvents struct {
	shakyStore
	broken string
}

func (s *brokenEvents) Event(ctx context.Context, id string) (*engine.Event, error) {
	if id == s.broken {
		return nil, errors.New("header is damaged")
	}
	return s.shakyStore.Event(ctx, id)
}

func TestRunningStepKeepsTheRuleItBeganWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		note := func(what string) doing {
			return func(context.Context, engine.Input) (engine.Output, error) {
				time.Sleep(time.Second)
				ran = append(ran, what)
				return engine.Output{}, nil
			}
		}
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", note("old 1"), note("old 2")))
		defer h.stop()
		h.submit("b")
		synctest.Wait()
		h.SetRules(engine.NewRuleSet([]*engine.Rule{rule("b", note("new 1"), note("new 2"))}, "h2"))
		h.submit("b")
		pass(time.Minute)
		if got, want := strings.Join(ran, ", "), "old 1, old 2, new 1, new 2"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestStoreThatCannotBeWrittenLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		h := start(t, store, engine.Options{}, rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) {
			store.Fail(errors.New("disk full"))
			return engine.Output{}, nil
		})))
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b"}); err == nil {
			t.Error("Submit acknowledged an event that is not stored")
		}
		pass(time.Minute)
		store.Fail(nil)
		pass(time.Minute)
		if run := h.run(id); run.State != engine.Done {
			t.Errorf("run is %s after the store came back, want done", run.State)
		}
	})
}

func TestSecretsAreMaskedInWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("b", doing(func(_ context.Context, in engine.Input) (engine.Output, error) {
			fmt.Fprint(in.Stdout, "token hunter2 end")
			return engine.Output{Body: "hunter2", Header: map[string][]string{"X": {"a hunter2"}}}, errors.New("answered hunter2")
		}))
		store := &shakyStore{}
		set := engine.NewRuleSet([]*engine.Rule{r}, "h")
		set.Secrets = []engine.Secret{engine.NewSecret("hunter2")}
		h := start(t, store, engine.Options{}, r)
		h.SetRules(set)
		defer h.stop()
		id := h.submit("b").Runs[0].ID
		synctest.Wait()
		results, _ := store.Steps(t.Context(), id)
		if all := fmt.Sprintf("%+v %s %+v", results[0], results[0].Stdout, h.run(id)); strings.Contains(all, "hunter2") {
			t.Errorf("a secret is kept: %s", all)
		}
	})
}

func TestSubmitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shakyStore{}
		release := store.Block()
		h := open(t, store, engine.Options{}, rule("b", doing(fine)))
		var wg sync.WaitGroup
		for range engine.MaxPending {
			wg.Go(func() { h.Submit(context.Background(), &engine.Event{Bucket: "b"}) })
		}
		synctest.Wait()
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b"}); !errors.Is(err, engine.ErrBusy) {
			t.Errorf("Submit beyond %d events: %v, want ErrBusy", engine.MaxPending, err)
		}
		release()
		wg.Wait()
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b"}); err != nil {
			t.Errorf("Submit after that: %v", err)
		}
	})
}

func TestSameDeliveryOfARelayStartsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		h := start(t, &shakyStore{}, engine.Options{}, rule("b", doing(func(context.Context, engine.Input) (engine.Output, error) { n++; return engine.Output{}, nil })))
		defer h.stop()
		send := func() engine.Receipt {
			r, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Source: engine.SourceRelay, Delivery: "d-1"})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first, second := send(), send()
		synctest.Wait()
		if !second.Duplicate || second.Event != first.Event || n != 1 {
			t.Errorf("second receipt = %+v, %d runs, want a duplicate of %s and one run", second, n, first.Event)
		}
	})
}

// TestRetrySurvivesRestartAndAClockSetBack: the wait goes on after a restart,
// and a time that lies a year ahead by the clock of now does not strand it.
func TestRetrySurvivesRestartAndAClockSetBack(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"restart": 10 * time.Minute, "clock set back": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &shakyStore{}
				h := open(t, store, engine.Options{}, rule("b", doing(fine)))
				run := h.run(h.submit("b").Runs[0].ID)
				run.Attempt, run.Due = 1, time.Now().Add(ahead)
				if err := store.Update(t.Context(), run); err != nil {
					t.Fatal(err)
				}
				h = start(t, store, engine.Options{}, rule("b", doing(fine)))
				defer h.stop()
				pass(9 * time.Minute)
				if got := h.run(run.ID); got.State != engine.Queued {
					t.Errorf("run is %s before its time, want queued", got.State)
				}
				pass(time.Hour)
				if got := h.run(run.ID); got.State != engine.Done {
					t.Errorf("run is %s after its time, want done", got.State)
				}
			})
		})
	}
}
