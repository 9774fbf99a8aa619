package enginetest

import (
	"context"
	"testing"
	"time"

	"hookrun/engine"
)

func testFilter(t *testing.T, s engine.Store) {
	day0 := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	run := func(id, rule string, state engine.State, sec int) func(*engine.Run) {
		return func(r *engine.Run) {
			r.ID, r.Rule, r.State, r.Created = id, rule, state, day0.Add(time.Duration(sec)*time.Second)
		}
	}
	all := acceptRuns(t, s,
		run("aa1", "a", engine.Done, 0),
		run("ab1", "a", engine.Failed, 1),
		run("b_1", "b", engine.Failed, 9), // the clock went wrong
		func(r *engine.Run) {
			run("b%1", "b", engine.Queued, 2)(r)
			r.Held, r.Armed = true, true
		},
		run("ab2", "a", engine.Running, 3),
		run("abc", "b", engine.Done, 4),
	)
	failed := []engine.State{engine.Failed}
	for _, tt := range []struct {
		name string
		f    engine.RunFilter
		want []int
	}{
		{"any", engine.RunFilter{}, []int{5, 4, 3, 2, 1, 0}},
		{"rule", engine.RunFilter{Rule: "a"}, []int{4, 1, 0}},
		{"no such rule", engine.RunFilter{Rule: "?"}, nil},
		{"state", engine.RunFilter{States: failed}, []int{2, 1}},
		{"states", engine.RunFilter{States: []engine.State{engine.Queued, engine.Failed, engine.Queued}}, []int{3, 2, 1}},
		{"state that no run is in", engine.RunFilter{States: []engine.State{engine.Tripped}}, nil},
		{"rule and states", engine.RunFilter{Rule: "a", States: []engine.State{engine.Running, engine.Done}}, []int{4, 0}},
		{"since", engine.RunFilter{Since: day0.Add(3 * time.Second)}, []int{5, 4, 2}},
		{"since just after", engine.RunFilter{Since: day0.Add(3*time.Second + 1)}, []int{5, 2}},
		{"since after all", engine.RunFilter{Since: day0.Add(time.Hour)}, nil},
		{"since and state", engine.RunFilter{Since: day0.Add(2 * time.Second), States: failed}, []int{2}},
		{"since and rule", engine.RunFilter{Since: day0.Add(time.Second), Rule: "a"}, []int{4, 1}},
		{"until", engine.RunFilter{Until: day0.Add(3 * time.Second)}, []int{3, 1, 0}},
		{"until just after", engine.RunFilter{Until: day0.Add(3*time.Second + 1)}, []int{4, 3, 1, 0}},
		{"until before all", engine.RunFilter{Until: day0}, nil},
		{"until after all", engine.RunFilter{Until: day0.Add(time.Hour)}, []int{5, 4, 3, 2, 1, 0}},
		{"from, until", engine.RunFilter{Since: day0.Add(time.Second), Until: day0.Add(4 * time.Second)}, []int{4, 3, 1}},
		{"no time", engine.RunFilter{Since: day0.Add(4 * time.Second), Until: day0.Add(time.Second)}, nil},
		{"until and rule", engine.RunFilter{Until: day0.Add(3 * time.Second), Rule: "a"}, []int{1, 0}},
		{"until and state", engine.RunFilter{Until: day0.Add(9 * time.Second), States: failed}, []int{1}},
		{"until and prefix", engine.RunFilter{Until: day0.Add(3 * time.Second), IDPrefix: "ab"}, []int{1}},
		{"until, before", engine.RunFilter{Until: day0.Add(4 * time.Second), Before: all[3].Seq}, []int{1, 0}},
		{"until, a page", engine.RunFilter{Until: day0.Add(4 * time.Second), Limit: 2}, []int{4, 3}},
		{"armed", engine.RunFilter{Armed: true}, []int{3}},
		{"armed, of a rule", engine.RunFilter{Armed: true, Rule: "a"}, nil},
		{"armed, of its rule", engine.RunFilter{Armed: true, Rule: "b", Limit: 1}, []int{3}},
		{"armed and state", engine.RunFilter{Armed: true, States: failed}, nil},
		{"armed and its state", engine.RunFilter{Armed: true, States: []engine.State{engine.Queued}}, []int{3}},
		{"armed and time", engine.RunFilter{Armed: true, Since: day0.Add(3 * time.Second)}, nil},
		{"armed and prefix", engine.RunFilter{Armed: true, IDPrefix: "ab"}, nil},
		{"armed and its prefix", engine.RunFilter{Armed: true, IDPrefix: "b"}, []int{3}},
		{"prefix", engine.RunFilter{IDPrefix: "ab"}, []int{5, 4, 1}},
		{"whole id", engine.RunFilter{IDPrefix: "abc"}, []int{5}},
		{"more than an id", engine.RunFilter{IDPrefix: "abcd"}, nil},
		{"prefix is no pattern", engine.RunFilter{IDPrefix: "b_"}, []int{2}},
		{"nor this", engine.RunFilter{IDPrefix: "b%"}, []int{3}},
		{"prefix and rule", engine.RunFilter{IDPrefix: "a", Rule: "b"}, []int{5}},
		{"prefix and states", engine.RunFilter{IDPrefix: "a", States: []engine.State{engine.Done, engine.Failed}}, []int{5, 1, 0}},
		{"prefix and since", engine.RunFilter{IDPrefix: "a", Since: day0.Add(3 * time.Second)}, []int{5, 4}},
		{"before", engine.RunFilter{Before: all[3].Seq}, []int{2, 1, 0}},
		{"before, of a rule", engine.RunFilter{Before: all[4].Seq, Rule: "a"}, []int{1, 0}},
		{"before, in a state", engine.RunFilter{Before: all[2].Seq, States: failed}, []int{1}},
		{"before, by prefix", engine.RunFilter{Before: all[5].Seq, IDPrefix: "ab"}, []int{4, 1}},
		{"before, since", engine.RunFilter{Before: all[5].Seq, Since: day0.Add(3 * time.Second)}, []int{4, 2}},
		{"before all", engine.RunFilter{Before: all[0].Seq}, nil},
		{"limit", engine.RunFilter{Limit: 2}, []int{5, 4}},
		{"limit of a rule", engine.RunFilter{Limit: 2, Rule: "a"}, []int{4, 1}},
		{"limit of states", engine.RunFilter{Limit: 2, States: []engine.State{engine.Failed, engine.Done}}, []int{5, 2}},
		{"limit of a prefix", engine.RunFilter{Limit: 1, IDPrefix: "a"}, []int{5}},
	} {
		wantRuns(t, tt.name, must[[]*engine.Run](t)(s.Runs(t.Context(), tt.f)), all, tt.want...)
	}
}

func testRunsOfBucket(t *testing.T, s engine.Store) {
	to := func(bucket, id string) func(*engine.Acceptance) {
		return func(a *engine.Acceptance) { a.Event.Bucket, a.Event.BucketID = bucket, id }
	}
	events := acceptEvents(t, s,
		to("one", "id-1"),
		to("two", ""),
		func(a *engine.Acceptance) {
			to("one", "id-1")(a)
			addRun(a, "b", engine.Failed)
		},
		to("id-1", "id-1"), // what names the other names this too, once
		func(a *engine.Acceptance) {
			to("one", "id-1")(a)
			dropRuns(a)
		},
	)
	var all []*engine.Run
	for _, a := range events {
		all = append(all, a.Runs...)
	}
	for _, tt := range []struct {
		name string
		f    engine.RunFilter
		want []int
	}{
		{"name", engine.RunFilter{Bucket: "one"}, []int{3, 2, 0}},
		{"id", engine.RunFilter{Bucket: "id-1"}, []int{4, 3, 2, 0}},
		{"another", engine.RunFilter{Bucket: "two"}, []int{1}},
		{"none", engine.RunFilter{Bucket: "three"}, nil},
		{"and rule", engine.RunFilter{Bucket: "one", Rule: "b"}, []int{3}},
		{"and state", engine.RunFilter{Bucket: "one", States: []engine.State{engine.Queued}}, []int{2, 0}},
		{"and states", engine.RunFilter{Bucket: "one", States: []engine.State{engine.Queued, engine.Failed, engine.Done}}, []int{3, 2, 0}},
		{"and rule and state", engine.RunFilter{Bucket: "one", Rule: "a", States: []engine.State{engine.Failed}}, nil},
		{"and id", engine.RunFilter{Bucket: "two", IDPrefix: all[0].ID}, nil},
		{"and its id", engine.RunFilter{Bucket: "id-1", IDPrefix: all[0].ID}, []int{0}},
		{"and armed", engine.RunFilter{Bucket: "one", Armed: true}, nil},
		{"since, until", engine.RunFilter{Bucket: "one", Since: all[1].Created, Until: all[4].Created}, []int{3, 2}},
		{"a page", engine.RunFilter{Bucket: "one", Limit: 2}, []int{3, 2}},
		{"the next", engine.RunFilter{Bucket: "one", Limit: 2, Before: all[2].Seq}, []int{0}},
	} {
		wantRuns(t, tt.name, must[[]*engine.Run](t)(s.Runs(t.Context(), tt.f)), all, tt.want...)
	}
}

func testPages(t *testing.T, s engine.Store) {
	const runs, page = 2*engine.DefaultRunLimit + 7, 10
	changes := make([]func(*engine.Run), runs)
	for i := range changes {
		changes[i] = func(r *engine.Run) {
			r.State = engine.States()[i%4]
			r.Rule = []string{"a", "b", "a"}[i%3]
		}
	}
	all := acceptRuns(t, s, changes...)
	got := must[[]*engine.Run](t)(s.Runs(t.Context(), engine.RunFilter{}))
	wantEqual(t, "runs without a limit", len(got), engine.DefaultRunLimit)
	wantEqual(t, "the newest", got[0], all[runs-1])

	for _, f := range []engine.RunFilter{
		{}, {Rule: "a"}, {States: engine.States()[:2]}, {Rule: "b", States: engine.States()[:2]}, {Since: all[0].Created},
	} {
		f.Limit = runs
		whole := must[[]*engine.Run](t)(s.Runs(t.Context(), f))
		var paged []*engine.Run
		for f.Limit = page; ; {
			next := must[[]*engine.Run](t)(s.Runs(t.Context(), f))
			if len(next) == 0 {
				break
			}
			paged = append(paged, next...)
			f.Before = next[len(next)-1].Seq
		}
		wantEqual(t, "pages together", valuesOf(paged), valuesOf(whole))
	}
}

func testPaused(t *testing.T, s engine.Store) { testRules(t, "Paused", s.SetPaused, s.Paused, s.Armed) }
func testArmed(t *testing.T, s engine.Store)  { testRules(t, "Armed", s.SetArmed, s.Armed, s.Paused) }

// testRules sets names of rules, which other ones don't see.
func testRules(t *testing.T, what string, set func(context.Context, []string) error, get, other func(context.Context) ([]string, error)) {
	for _, tt := range []struct{ set, want []string }{
		{nil, nil},
		{[]string{"notify", "deploy <main>", "notify"}, []string{"deploy <main>", "notify"}},
		{[]string{""}, []string{""}},
		{[]string{}, nil},
	} {
		wantEqual(t, "Set"+what, set(t.Context(), tt.set), nil)
		got := must[[]string](t)(get(t.Context()))
		if len(got)+len(tt.want) > 0 {
			wantEqual(t, what, got, tt.want)
		}
		wantEqual(t, "others", len(must[[]string](t)(other(t.Context()))), 0)
	}
}
