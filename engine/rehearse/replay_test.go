package rehearse

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/store"
)

var replay = flag.Int("replay", 1000, "how many `EVENTS` TestReplayOfAStore compares against 100 rules; prints what it took")

const (
	manyRules = 100
	edited    = 10 // of these: one half takes no more events, the other half says something else
)

// pushOf is about 2 KB of a push to a branch.
func pushOf(branch int) *engine.Event {
	type object = map[string]any
	commits := []object{}
	for i := range 3 {
		commits = append(commits, object{
			"id": strings.Repeat(fmt.Sprint(i), 40), "message": "mend the build, which was broken since the last merge", "distinct": true,
			"author": object{"name": "A. Person", "email": "person@example.org", "username": "person"},
			"added":  []string{"docs/a.md"}, "removed": []string{}, "modified": []string{"engine/a.go", "engine/b.go"},
		})
	}
	body, _ := json.Marshal(object{ // texts and lists: always possible
		"ref": fmt.Sprint("refs/heads/b", branch), "before": strings.Repeat("a", 40), "after": strings.Repeat("b", 40), "created": false, "forced": false,
		"repository": object{"id": 1296269, "full_name": "octo/hello", "private": false, "owner": object{"login": "octo", "id": 1}, "clone_url": "https://example.org/octo/hello.git", "topics": []string{"a", "b"}},
		"pusher":     object{"name": "person", "email": "person@example.org"}, "sender": object{"login": "person", "id": 7, "type": "User"}, "commits": commits,
		"padding": strings.Repeat("x", 500),
	})
	return push(string(body))
}

// branchRules are rules that take a branch each. Where now is set some of them
// are edited.
func branchRules(t *testing.T, now bool) *engine.RuleSet {
	var list []*engine.Rule
	for i := range manyRules {
		ref, arg := fmt.Sprint("refs/heads/b", i), "REF={{ body.ref }}"
		switch {
		case now && i < edited/2:
			ref += "/gone"
		case now && i < edited:
			arg = "ref={{ body.ref }}"
		}
		list = append(list, rule(t, fmt.Sprint("deploy ", i), fmt.Sprintf(`headers["X-GitHub-Event"] == "push" && body.ref == %q`, ref), "make", "deploy", arg))
	}
	return ruleSet(list...)
}

// TestReplayOfAStore compares what a store holds with edited rules, and finds all
// that differs. With -replay 100000 it tells what that takes.
func TestReplayOfAStore(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, branchRules(t, false), *replay)
	reader, err := store.OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	was, now := branchRules(t, false), branchRules(t, true)
	all := timed(t, "all are asked", reader, Options{Rules: now, Plans: true, Window: Window{Limit: *replay}})
	got := timed(t, "the edited ones are asked", reader, Options{
		Rules: now, Plans: true, Window: Window{Limit: *replay}, Made: func(string) *engine.RuleSet { return was },
	})
	if !reflect.DeepEqual(got, all) {
		t.Errorf("report = %q, want as where all are asked %q", lines(got), lines(all))
	}
	each := *replay / manyRules // events of a rule
	want := Report{Flipped: each * edited / 2}
	if got.Events != *replay || got.Flipped != want.Flipped || len(got.Rules) != edited {
		t.Errorf("%d events, %d flipped, %d rules, want %d, %d and %d", got.Events, got.Flipped, len(got.Rules), *replay, want.Flipped, edited)
	}
	for _, r := range got.Rules {
		if r.NoMore+r.Differs != each || r.Newly+r.Uncompared > 0 {
			t.Errorf("%s: %+v, want %d events that differ", r.Rule, r, each)
		}
	}
}

func timed(t *testing.T, what string, src Source, o Options) *Report {
	t.Helper()
	runtime.GC()
	most := watchMemory(t)
	began := time.Now()
	got, err := Compare(t.Context(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events against %d rules, %s: %s, at most %d MiB in use", got.Events, manyRules, what, time.Since(began).Round(time.Millisecond), most()>>20)
	return got
}

// fill puts events into a store as if rules had been asked.
func fill(t *testing.T, dir string, rules *engine.RuleSet, events int) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, KeepSize: 10 << 30})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	var told []*engine.Rehearsal // of a push to each branch
	for branch := range manyRules {
		told = append(told, rules.Rehearse(pushOf(branch), engine.RehearseOptions{Plans: true}))
	}
	var producers sync.WaitGroup
	const many = 32 // so that commits are shared
	for first := range many {
		producers.Go(func() {
			for i := first; i < events; i += many {
				accept(t, s, rules, told, i%manyRules)
			}
		})
	}
	producers.Wait()
	stop()
	served.Wait()
}

// accept takes a push to a branch, whose rule has run.
func accept(t *testing.T, s *store.Store, rules *engine.RuleSet, told []*engine.Rehearsal, branch int) {
	ev := pushOf(branch)
	ev.ID, ev.Received = engine.NewID(), time.Now().UTC()
	x := told[branch].Asked[branch]
	planned := x.Runs[0].Steps[0]
	run := &engine.Run{
		ID: engine.NewID(), Event: ev.ID, Rule: x.Rule, RuleHash: rules.Rules[branch].Hash, State: engine.Done, Attempt: 1,
		Created: ev.Received, Started: ev.Received, Finished: ev.Received,
	}
	step := &engine.StepResult{Run: run.ID, Attempt: 1, Step: planned.Step, Kind: planned.Kind, State: engine.StepDone, Started: ev.Received, Finished: ev.Received, Plan: &planned.Plan}
	if _, err := s.Accept(t.Context(), &engine.Acceptance{
		Event: ev, Rules: rules.Hash, Verdicts: verdicts(told[branch]), Runs: []*engine.Run{run}, Steps: []*engine.StepResult{step},
	}); err != nil {
		t.Error(err)
	}
}

// watchMemory returns what tells the most memory that was in use since.
func watchMemory(t *testing.T) func() uint64 {
	const often = 50 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	most := uint64(0)
	wg.Go(func() {
		tick := time.NewTicker(often)
		defer tick.Stop()
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse+m.StackInuse)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(stop)
	return func() uint64 {
		stop()
		wg.Wait()
		return most
	}
}
