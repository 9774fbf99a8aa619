package rehearse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

// lines are a report as a table of tests says it.
func lines(r *Report) []string {
	var all []string
	for _, rule := range r.Rules {
		for _, g := range rule.Groups {
			all = append(all, fmt.Sprintf("%s %s %d %v %s", rule.Rule, g.Kind, g.Count, g.Sample, g.Why))
			for _, d := range g.Diffs {
				all = append(all, fmt.Sprintf("  %s %s: %q -> %q", d.Step, d.Field, d.Was, d.Now))
			}
		}
	}
	return all
}

func TestCompareTellsWhatDiffers(t *testing.T) {
	const isMain = `body.ref == "main"`
	deploy := rule(t, "deploy", isMain, "make", "{{ body.ref }}")
	shadow := rule(t, "deploy", isMain, "make", "{{ body.ref }}")
	shadow.Shadow, shadow.Hash = true, "shadow"
	bodies := []string{`{"ref":"main"}`, `{"ref":"dev"}`, `{"ref":"main"}`}
	tests := []struct {
		name   string
		before *engine.RuleSet
		now    *engine.RuleSet
		only   string // Options.Rule
		want   []string
	}{
		{"the same rules", ruleSet(deploy), ruleSet(deploy), "", nil},
		{
			"a condition that takes more", ruleSet(deploy), ruleSet(rule(t, "deploy", `body.ref in ["main", "dev"]`, "make", "{{ body.ref }}")), "",
			[]string{`deploy newly 1 [e2] before, body.ref == "main" was false`},
		},
		{
			"a condition that takes less", ruleSet(deploy), ruleSet(rule(t, "deploy", `body.ref == "none"`, "make", "{{ body.ref }}")), "",
			[]string{`deploy no_more 2 [e3 e1] body.ref == "none" is false`},
		},
		{
			"a part more", ruleSet(deploy), ruleSet(rule(t, "deploy", isMain+` && bucket == "c"`, "make", "{{ body.ref }}")), "",
			[]string{`deploy no_more 2 [e3 e1] bucket == "c" is false`},
		},
		{
			"a rule that is new", ruleSet(deploy), ruleSet(deploy, rule(t, "tell", "")), "",
			[]string{`tell newly 3 [e3 e2 e1] it was not asked`},
		},
		{
			"a rule that is gone", ruleSet(deploy, rule(t, "tell", "")), ruleSet(deploy), "",
			[]string{`tell no_more 3 [e3 e2 e1] it is not there any more, or switched off`},
		},
		{
			"rules in another order, one gone and one new", ruleSet(deploy, rule(t, "tell", ""), rule(t, "log", isMain)), ruleSet(rule(t, "log", isMain), rule(t, "say", isMain), deploy), "",
			[]string{`tell no_more 3 [e3 e2 e1] it is not there any more, or switched off`, `say newly 2 [e3 e1] it was not asked`},
		},
		{
			"another argument", ruleSet(deploy), ruleSet(rule(t, "deploy", isMain, "make", "REF={{ body.ref }}")), "",
			[]string{`deploy differs 2 [e3 e1] 1: argv[1]`, `  1 argv[1]: "main" -> "REF=main"`},
		},
		{
			"an argument more", ruleSet(deploy), ruleSet(rule(t, "deploy", isMain, "make", "{{ body.ref }}", "-v")), "",
			[]string{`deploy differs 2 [e3 e1] 1: argv[2]`, `  1 argv[2]: "" -> "-v"`},
		},
		{
			"another text that comes to the same", ruleSet(deploy), ruleSet(rule(t, "deploy", isMain, "make", `{{ body.ref + "" }}`)), "", nil,
		},
		{
			"a condition that fails", ruleSet(deploy), ruleSet(rule(t, "deploy", `body.n > 1`, "make", "{{ body.ref }}")), "",
			[]string{
				`deploy no_more 2 [e3 e1] body.n > 1: at column 8: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list)`,
				`deploy fails 1 [e2] body.n > 1: at column 8: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list)`,
			},
		},
		{"a rule goes live", ruleSet(shadow), ruleSet(deploy), "", []string{`deploy differs 2 [e3 e1] mode`, `   mode: "shadow" -> "live"`}},
		{
			"one rule alone is asked for", ruleSet(deploy), ruleSet(rule(t, "deploy", ""), rule(t, "tell", "")), "tell",
			[]string{`tell newly 3 [e3 e2 e1] it was not asked`},
		},
	}
	for _, tt := range tests {
		for _, way := range []string{"recorded", "asked"} {
			t.Run(tt.name+", before is "+way, func(t *testing.T) {
				var events []*engine.Event
				for _, body := range bodies {
					events = append(events, push(body))
				}
				o := Options{Rules: tt.now, Plans: true, Rule: tt.only}
				if way == "asked" {
					o.Before = tt.before
				}
				got, err := Compare(t.Context(), happened(tt.before, events...), o)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(lines(got), tt.want) {
					t.Errorf("report:\n%s\nwant:\n%s", strings.Join(lines(got), "\n"), strings.Join(tt.want, "\n"))
				}
				if got.Events != len(bodies) {
					t.Errorf("events = %d, want %d", got.Events, len(bodies))
				}
			})
		}
	}
}

func TestCompareCountsWhatIsNewAndGone(t *testing.T) {
	src := happened(ruleSet(rule(t, "old", "")), push(`{}`), push(`{}`))
	got, err := Compare(t.Context(), src, Options{Rules: ruleSet(rule(t, "fresh", ""))})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Rules {
		got.Rules[i].Groups = nil
	}
	want := []RuleReport{{Rule: "fresh", Place: "rules.yaml:1", New: true, Newly: 2}, {Rule: "old", Gone: true, NoMore: 2}}
	if !reflect.DeepEqual(got.Rules, want) || got.Flipped != 4 {
		t.Errorf("rules = %+v, flipped %d, want %+v, flipped 4", got.Rules, got.Flipped, want)
	}
}

func TestCompareLeavesOutWhatTellsNothing(t *testing.T) {
	rules := ruleSet(rule(t, "all", ""))
	src := happened(rules, push(`{}`), push(`{}`), push(`{}`), push(`{}`))
	src.records[0].Outcome = engine.EventAnswered
	src.records[1].MatchErr = "matching panicked"
	src.records[2].ReplayOf = "e1"
	got, err := Compare(t.Context(), src, Options{Rules: ruleSet()})
	if err != nil {
		t.Fatal(err)
	}
	if got.Events != 1 || got.Skipped != 3 || got.Flipped != 1 {
		t.Errorf("events %d, skipped %d, flipped %d, want 1, 3 and 1", got.Events, got.Skipped, got.Flipped)
	}
}

func TestCompareTakesOverWhoWasNotVerified(t *testing.T) {
	rules := ruleSet(rule(t, "deploy", ""))
	src := happened(rules, push(`{}`))
	src.records[0].Verdicts = []engine.Verdict{{Rule: "deploy", Outcome: engine.NoMatch, Why: "not verified: no signature"}}
	got, err := Compare(t.Context(), src, Options{Rules: rules})
	if err != nil || !got.Same() {
		t.Errorf("report = %q, error %v, want nothing that differs", lines(got), err)
	}
}

func TestCompareDoesNotGuessWhatWasRun(t *testing.T) {
	src := happened(ruleSet(rule(t, "deploy", "", "make")), push(`{}`), push(`{}`))
	src.steps["e1/deploy/0"] = nil // it was a duplicate, say
	got, err := Compare(t.Context(), src, Options{Rules: ruleSet(rule(t, "deploy", "", "make", "all")), Plans: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rules) != 1 || got.Rules[0].Differs != 1 || got.Rules[0].Uncompared != 1 {
		t.Errorf("rules = %+v, want one event that differs and one that is not compared", got.Rules)
	}
}

func TestCompareGroupsAreBounded(t *testing.T) {
	var events []*engine.Event
	var was []*engine.Rule
	for i := range maxGroups + 10 {
		was = append(was, rule(t, "stop"+fmt.Sprint(i), fmt.Sprintf("body.n == %d", i)))
		was[i].Stop = true
		events = append(events, push(fmt.Sprintf(`{"n": %d}`, i)))
	}
	last := rule(t, "last", "")
	src := happened(ruleSet(append(was, last)...), events...)
	got, err := Compare(t.Context(), src, Options{Rules: ruleSet(last), Rule: "last", Window: Window{Workers: 1}})
	if err != nil {
		t.Fatal(err)
	}
	groups := got.Rules[0].Groups
	if len(groups) != maxGroups+1 || groups[0].Why != "other reasons" || groups[0].Count != 10 || len(groups[0].Sample) != MaxSample {
		t.Errorf("%d groups, the first of %d events %v: %q, want %d, 10 events, %d samples, other reasons", len(groups), groups[0].Count, groups[0].Sample, groups[0].Why, maxGroups+1, MaxSample)
	}
}

// TestCompareWithTheSameRulesIsEmpty: whatever the rules and whatever came.
func TestCompareWithTheSameRulesIsEmpty(t *testing.T) {
	conditions := []string{"", `body.ref == "main"`, `body.n > 1`, `not (body.ref startsWith "m")`, `any(body.list, # == body.n)`, `headers["X-GitHub-Event"] == "push"`, `body.a.b.c != 1`, `body.list contains "x"`}
	values := []string{`{"ref":"main"}`, `{"n":2,"list":[1,2]}`, `{"a":{"b":{"c":1}}}`, `[]`, `not JSON`, ``, `{"ref":1,"n":"two"}`, `{"list":"xyz"}`}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var list []*engine.Rule
		for i := range 1 + rnd.IntN(6) {
			r := rule(t, fmt.Sprint("r", i), conditions[rnd.IntN(len(conditions))], "run", `{{ body.ref ?? "" }}`, `{{ raw }}`)
			r.Stop, r.Shadow = rnd.IntN(4) == 0, rnd.IntN(4) == 0
			list = append(list, r)
		}
		var events []*engine.Event
		for range rnd.IntN(40) {
			events = append(events, push(values[rnd.IntN(len(values))]))
		}
		rules := ruleSet(list...)
		src := happened(rules, events...)
		src.page = 1 + rnd.IntN(20)
		for _, runs := range src.runs { // so that what they did is compared
			for _, run := range runs {
				run.RuleHash = "another"
			}
		}
		others := copied(list) // of another hash, so that they are asked
		for _, before := range []*engine.RuleSet{nil, rules, ruleSet(others...)} {
			got, err := Compare(t.Context(), src, Options{Rules: rules, Before: before, Plans: true})
			if err != nil || !got.Same() || got.Events != len(events) {
				t.Fatalf("seed %d: %d events of %d, differences %q, error %v, want none", seed, got.Events, len(events), lines(got), err)
			}
		}
	}
}

func copied(rules []*engine.Rule) []*engine.Rule {
	var all []*engine.Rule
	for _, r := range rules {
		other := *r
		other.Hash += " copied"
		all = append(all, &other)
	}
	return all
}

// TestCompareAsksNoMoreThanItMust: to leave out rules that say the same changes
// nothing of the answer.
func TestCompareAsksNoMoreThanItMust(t *testing.T) {
	conditions := []string{"", `body.n > 1`, `body.n % 2 == 0`, `body.n % 3 == 0`, `body.m > 1`}
	random := func(rnd *rand.Rand, stop bool) *engine.RuleSet {
		var list []*engine.Rule
		for i := range 6 {
			if rnd.IntN(5) > 0 {
				r := rule(t, fmt.Sprint("r", i), conditions[rnd.IntN(len(conditions))], "run", []string{"{{ body.n }}", "n={{ body.n }}"}[rnd.IntN(2)])
				r.Stop = stop && rnd.IntN(3) == 0
				r.Hash += fmt.Sprint(r.Stop)
				list = append(list, r)
			}
		}
		return ruleSet(list...)
	}
	left := 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		was, now := random(rnd, seed%4 == 0), random(rnd, seed%4 == 0)
		src := happened(was, times(12, `{"n":%d}`)...)
		o := Options{Rules: now, Plans: true}
		want, err := Compare(t.Context(), src, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Made = func(string) *engine.RuleSet { return was }
		got, err := Compare(t.Context(), src, o)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %q, error %v, want %q", seed, lines(got), err, lines(want))
		}
		left += len(now.Rules) - len(differing(was, now).now.Rules)
	}
	if left == 0 {
		t.Error("no rule was left out in any of the comparisons")
	}
}

// TestCompareIsTheSameWithAnyNumberOfWorkers: pages are merged in their order.
func TestCompareIsTheSameWithAnyNumberOfWorkers(t *testing.T) {
	was, now := ruleSet(rule(t, "r", `body.n % 2 == 0`, "{{ body.n }}")), ruleSet(rule(t, "r", `body.n % 3 == 0`, "n={{ body.n }}"))
	var events []*engine.Event
	for i := range 100 {
		events = append(events, push(fmt.Sprintf(`{"n":%d}`, i)))
	}
	src := happened(was, events...)
	src.page = 7
	var want *Report
	for _, workers := range []int{1, 2, 8} {
		got, err := Compare(t.Context(), src, Options{Rules: now, Plans: true, Window: Window{Workers: workers}})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d workers: %q, want as with one %q", workers, lines(got), lines(want))
		}
	}
	if want.Events != 100 || want.Rules[0].Newly != 17 || want.Rules[0].NoMore != 33 || want.Rules[0].Differs != 17 {
		t.Errorf("report = %+v, want 17 newly, 33 no more and 17 that differ of 100", want.Rules[0])
	}
	if oldest := came(); !want.Oldest.Equal(oldest) || !want.Newest.Equal(oldest.Add(99*time.Minute)) {
		t.Errorf("oldest %s, newest %s, want %s and 99 minutes later", want.Oldest, want.Newest, oldest)
	}
}

func TestCompareLooksAtItsWindow(t *testing.T) {
	rules := ruleSet(rule(t, "r", ""))
	other := push(`{}`)
	other.Bucket = "c"
	src := happened(rules, push(`{}`), push(`{}`), other, push(`{}`))
	tests := []struct {
		name   string
		window Window
		want   int
		left   string
	}{
		{"all", Window{}, 4, ""},
		{"since a time", Window{Since: came().Add(time.Minute)}, 3, ""},
		{"a bucket", Window{Bucket: "c"}, 1, ""},
		{"the newest", Window{Limit: 2}, 2, "no more than 2 are looked at"},
		{"as many as there are", Window{Limit: 4}, 4, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Compare(t.Context(), src, Options{Rules: rules, Window: tt.window})
			if err != nil || got.Events != tt.want || got.Left != tt.left {
				t.Errorf("%d events, left out %q, error %v, want %d, %q", got.Events, got.Left, err, tt.want, tt.left)
			}
		})
	}
}

// slow takes a second for each event.
type slow struct{ *past }

func (s slow) Records(ctx context.Context, f engine.EventFilter) ([]engine.EventRecord, int64, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	f.Limit = 1
	return s.past.Records(ctx, f)
}

func TestCompareEndsWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := ruleSet(rule(t, "r", ""))
		src := happened(rules, push(`{}`), push(`{}`), push(`{}`), push(`{}`), push(`{}`))
		got, err := Compare(t.Context(), slow{src}, Options{Rules: rules, Window: Window{Time: 3500 * time.Millisecond}})
		if err != nil || got.Events != 3 || got.Left != "they had to be done within 3.5s" {
			t.Errorf("%d events, left out %q, error %v, want 3 of 5", got.Events, got.Left, err)
		}
	})
}

func TestCompareEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := ruleSet(rule(t, "r", ""))
		src := happened(rules, push(`{}`), push(`{}`), push(`{}`))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if _, err := Compare(ctx, slow{src}, Options{Rules: rules}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want that of the context", err)
		}
	})
}

func TestCompareTellsWhatTheStoreCanNot(t *testing.T) {
	src := &past{err: errors.New("disk I/O error")}
	_, err := Compare(t.Context(), src, Options{Rules: ruleSet()})
	if err == nil || err.Error() != "read events: disk I/O error" {
		t.Errorf("error = %v, want read events: disk I/O error", err)
	}
}

func TestPlansAreComparedAsFarAsTheyAreKnown(t *testing.T) {
	const open = "steps.build.stdout"
	text := func(s string) *string { return &s }
	tests := []struct {
		name     string
		was, now deed
		want     []string
	}{
		{"the same", deed{plan: engine.Plan{Argv: []string{"a"}}}, deed{plan: engine.Plan{Argv: []string{"a"}}}, nil},
		{"an open place", deed{plan: engine.Plan{Argv: []string{"v=1.2!"}}}, deed{plan: engine.Plan{Argv: []string{"v={{ " + open + " }}!"}, Open: []string{open}}}, nil},
		{
			"around an open place", deed{plan: engine.Plan{Argv: []string{"v=1.2"}}}, deed{plan: engine.Plan{Argv: []string{"w={{ " + open + " }}"}, Open: []string{open}}},
			[]string{`argv[0]: "v=1.2" -> "w={{ steps.build.stdout }}"`},
		},
		{"it was open", deed{plan: engine.Plan{Body: text("{{ " + open + " }}"), Open: []string{open}}}, deed{plan: engine.Plan{Body: text("x")}}, nil},
		{"it is not known whether it runs", deed{plan: engine.Plan{Path: "/a"}}, deed{open: true, plan: engine.Plan{Path: "/b"}}, nil},
		{"another kind", deed{kind: "exec"}, deed{kind: "shell"}, []string{`action: "exec" -> "shell"`}},
		{"it is skipped", deed{}, deed{skip: true}, []string{`if: "true" -> "false"`}},
		{"it was skipped, too", deed{skip: true}, deed{skip: true, plan: engine.Plan{Path: "/b"}}, nil},
		{"it fails", deed{}, deed{err: "the value is nil"}, []string{`error: "" -> "the value is nil"`}},
		{
			"a call", deed{plan: engine.Plan{Method: "POST", URL: "http://a/", Header: []engine.PlanVar{{Name: "A", Value: "1"}}, Body: text("x")}},
			deed{plan: engine.Plan{Method: "PUT", URL: "http://b/", Header: []engine.PlanVar{{Name: "B", Value: "1"}}, Body: text("y")}},
			[]string{`method: "POST" -> "PUT"`, `url: "http://a/" -> "http://b/"`, `header A: "1" -> ""`, `body: "x" -> "y"`, `header B: "" -> "1"`},
		},
		{
			"a file", deed{plan: engine.Plan{Path: "/a", Write: "create", Content: text("1")}}, deed{plan: engine.Plan{Path: "/b", Write: "append", Content: text("2")}},
			[]string{`path: "/a" -> "/b"`, `write: "create" -> "append"`, `content: "1" -> "2"`},
		},
		{
			"a long text", deed{plan: engine.Plan{Stdin: text(strings.Repeat("é", 100) + "1")}}, deed{plan: engine.Plan{Stdin: text(strings.Repeat("é", 100) + "2")}},
			[]string{`stdin: "…` + strings.Repeat("é", 20) + `1" -> "…` + strings.Repeat("é", 20) + `2"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, d := range diffStep(tt.was, tt.now) {
				got = append(got, fmt.Sprintf("%s: %q -> %q", d.Field, d.Was, d.Now))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("differences = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWhatWasNotPlannedIsNotGone: where planning stopped nothing is known of the
// rest.
func TestWhatWasNotPlannedIsNotGone(t *testing.T) {
	step := func(id, arg string) engine.PlannedStep {
		return engine.PlannedStep{Step: id, Kind: "exec", Plan: engine.Plan{Argv: []string{arg}}}
	}
	runs := func(unplanned string, steps ...engine.PlannedStep) []engine.PlannedRun {
		return []engine.PlannedRun{{Steps: steps, Unplanned: unplanned}}
	}
	tests := []struct {
		name     string
		was, now []engine.PlannedRun
		want     int // differences
	}{
		{"both whole", runs("", step("1", "a"), step("2", "a")), runs("", step("1", "a")), 1},
		{"now cut", runs("", step("1", "a"), step("2", "a")), runs("not planned: x", step("1", "b")), 1},
		{"before cut", runs("not planned: x", step("1", "a")), runs("", step("1", "a"), step("2", "a")), 0},
		{"none planned", runs("", step("1", "a"), step("2", "a")), runs("not planned: x"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := diffRuns(planned(tt.was), planned(tt.now)); len(got) != tt.want {
				t.Errorf("differences = %+v, want %d", got, tt.want)
			}
		})
	}
}
