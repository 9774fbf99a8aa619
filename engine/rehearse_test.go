package engine

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func keyOf(t testing.TB, src string) *Key {
	t.Helper()
	k, findings := NewCompiler(World{Element: "item"}).Key(src)
	if k == nil {
		t.Fatalf("Key(%s) = %+v, want it to compile", src, findings)
	}
	return k
}

func listOf(t testing.TB, src string) *Value {
	t.Helper()
	v, findings := NewCompiler(World{}).Value(src)
	if v == nil {
		t.Fatalf("Value(%s) = %+v, want it to compile", src, findings)
	}
	return v
}

// elementText compiles a template that sees the element of for_each.
func elementText(t testing.TB, src string) *Template {
	t.Helper()
	tmpl, findings := NewCompiler(World{Element: "item"}).Template(src, func(string) (Secret, error) { return NewSecret("s3cret"), nil })
	if tmpl == nil {
		t.Fatalf("Template(%s) = %+v, want it to compile", src, findings)
	}
	return tmpl
}

// randomRule is a rule that matches at random, and asks for runs at random.
func randomRule(t testing.TB, rnd *rand.Rand, name string) *Rule {
	some := func(all ...string) string { return all[rnd.IntN(len(all))] }
	r := &Rule{Name: name, Stop: rnd.IntN(6) == 0, Shadow: rnd.IntN(4) == 0}
	if rnd.IntN(3) > 0 {
		r.When = conditionFor(t, some("true", "body.a == 1", "body.a > 1", "body.b.c", `body.s startsWith "x" && body.a == 2`, "any(body.list, # == 1)"))
	}
	r.Buckets = [][]string{nil, {"deploys"}, {"other"}, {"b-1"}}[rnd.IntN(4)]
	r.Methods = [][]string{nil, {"POST"}, {"GET"}}[rnd.IntN(3)]
	if rnd.IntN(3) == 0 {
		r.ForEach = &ForEach{List: listOf(t, some("body.list", "body.a", "[1, nil, {\"k\": 2}]", "[]")), As: "item", Key: keyOf(t, some("item", "item.k"))}
	}
	if rnd.IntN(2) == 0 {
		r.Concurrency.Key = keyOf(t, some("body.a", `body.s ?? "none"`, "1"))
	}
	if rnd.IntN(2) == 0 {
		r.Dedupe = &Dedupe{Key: keyOf(t, some("body.s", "body.a + 1"))}
	}
	text := some("x", "{{ raw }}", "{{ body.s }}", "{{ body.a }} ${env:X}")
	if r.ForEach != nil {
		text += "{{ item }}"
	}
	r.Steps = []Step{{ID: "1", Action: says{"make", elementText(t, text)}}}
	return r
}

func conditionFor(t testing.TB, src string) *Condition {
	t.Helper()
	c, findings := NewCompiler(World{}).Condition(src)
	if c == nil {
		t.Fatalf("Condition(%s) = %+v, want it to compile", src, findings)
	}
	return c
}

// TestRehearsalIsWhatSubmitDecides asks random rules about random events in both
// ways.
func TestRehearsalIsWhatSubmitDecides(t *testing.T) {
	outcomes := map[Outcome]int{}
	for seed := range 600 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 6))
		var rules []*Rule
		for i := range 1 + rnd.IntN(6) {
			rules = append(rules, randomRule(t, rnd, fmt.Sprint("r", i)))
		}
		set := NewRuleSet(rules, "h")
		set.Secrets = []Secret{NewSecret("s3cret")}
		ev := jsonEvent([]string{
			`{"a":1,"s":"x","list":[1,2]}`, `{"a":2,"s":"xy","b":{"c":true},"list":["l",{"k":1.50}]}`, `{"list":[]}`, `{"s":7,"list":"no"}`, `broken`, ``,
		}[rnd.IntN(6)])
		refused := map[*Rule]string{}
		o := RehearseOptions{Plans: true, Trees: rnd.IntN(2) == 0, Refused: map[string]string{}}
		if rnd.IntN(3) == 0 {
			refused[rules[0]], o.Refused["r0"] = "not verified: no", "not verified: no"
		}
		a, _ := judge(set, ev, trust{refused: refused}, "instance")
		r := set.Rehearse(ev, o)
		var verdicts []Verdict
		var runs []string
		for _, e := range r.Asked {
			outcomes[e.Verdict.Outcome]++
			e.Verdict.Slow = 0
			verdicts = append(verdicts, e.Verdict)
			for _, run := range e.Runs {
				runs = append(runs, fmt.Sprint(e.Rule, run.Index, run.Key, string(run.Element), run.Err))
			}
			if x := e.When; x != nil && x.State != stateOf(e.Verdict.Outcome) && !(x.State == NodeTrue && failedBehind(e.Verdict)) {
				t.Errorf("seed %d: rule %s is %s (%s) by a condition that is %s", seed, e.Rule, e.Verdict.Outcome, e.Verdict.Why, x.State)
			}
			if matched := e.Verdict.Outcome == Matched; matched != (e.Near == 1) && !(o.Trees && e.Verdict.Outcome == Errored) {
				t.Errorf("seed %d: rule %s is %s and near by %v", seed, e.Rule, e.Verdict.Outcome, e.Near)
			}
		}
		for i := range a.Verdicts {
			a.Verdicts[i].Slow = 0
		}
		if !slices.EqualFunc(verdicts, a.Verdicts, func(a, b Verdict) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("seed %d: Rehearse: %+v\nSubmit: %+v", seed, verdicts, a.Verdicts)
		}
		var want []string
		for _, run := range a.Runs {
			want = append(want, fmt.Sprint(run.Rule, run.Index, run.Key, run.Element, run.Err))
		}
		if !slices.Equal(runs, want) {
			t.Fatalf("seed %d: Rehearse asks for the runs %q\nSubmit for %q", seed, runs, want)
		}
		if r.BodyErr != a.BodyErr {
			t.Fatalf("seed %d: body: Rehearse %q, Submit %q", seed, r.BodyErr, a.BodyErr)
		}
		if all, err := json.Marshal(r); err != nil || strings.Contains(string(all), "s3cret") {
			t.Fatalf("seed %d: the rehearsal can't be shown (%v): %s", seed, err, all)
		}
	}
	for _, o := range []Outcome{Matched, NoMatch, Errored} {
		if outcomes[o] < 50 {
			t.Errorf("%d verdicts are %q, want more: the rules are too much alike", outcomes[o], o)
		}
	}
}

// failedBehind reports whether a condition is true and it is the runs of the rule
// that could not be told.
func failedBehind(v Verdict) bool {
	field, _, _ := strings.Cut(v.Why, ": ")
	return v.Outcome == Errored && slices.Contains([]string{"for_each.list", "for_each.key", "concurrency.key", "dedupe.key"}, field)
}

func TestRehearseOneRule(t *testing.T) {
	set := NewRuleSet([]*Rule{
		{Name: "a", Place: "rules.yaml:2", Stop: true, When: condition(t, "body.a == 1")},
		{Name: "b", Place: "rules.yaml:9", When: condition(t, "body.b == 1")},
		{Name: "c", Methods: []string{"GET"}, When: condition(t, "true")},
	}, "h")
	tests := []struct {
		name, rule, body string
		o                RehearseOptions
		want             Explanation
		asked            bool // the condition was
	}{
		{"it matches", "b", `{"b":1}`, RehearseOptions{Trees: true}, Explanation{Rule: "b", Place: "rules.yaml:9", Verdict: Verdict{Rule: "b", Outcome: Matched}, Near: 1, Runs: []PlannedRun{{}}}, true},
		{"one before it stops", "b", `{"a":1,"b":1}`, RehearseOptions{Trees: true}, Explanation{Rule: "b", Place: "rules.yaml:9", Verdict: Verdict{Rule: "b", Outcome: NoMatch, Why: `not asked: rule "a" matched and says stop`}}, false},
		{"it was refused", "b", `{"b":1}`, RehearseOptions{Trees: true, Refused: map[string]string{"b": "not verified: x"}}, Explanation{Rule: "b", Place: "rules.yaml:9", Verdict: Verdict{Rule: "b", Outcome: NoMatch, Why: "not verified: x"}}, false},
		{"another method", "c", `{}`, RehearseOptions{Trees: true}, Explanation{Rule: "c", Verdict: Verdict{Rule: "c", Outcome: NoMatch, Why: "the method is POST, not GET"}}, false},
		{"without trees", "b", `{"b":2}`, RehearseOptions{}, Explanation{Rule: "b", Place: "rules.yaml:9", Verdict: Verdict{Rule: "b", Outcome: NoMatch, Why: "false: body.b == 1"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Rule = tt.rule
			r := set.Rehearse(jsonEvent(tt.body), tt.o)
			if len(r.Asked) != 1 {
				t.Fatalf("Rehearse = %+v, want one rule", r)
			}
			got := r.Asked[0]
			if (got.When != nil) != tt.asked {
				t.Errorf("tree %+v, want one: %v", got.When, tt.asked)
			}
			got.When = nil
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Rehearse = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// panics is an action whose plan is a bug.
type panics struct{ says }

func (panics) Plan(Input) (Plan, error) { panic("s3cret") }

func TestPanicOfARehearsalStaysInIt(t *testing.T) {
	rule := &Rule{Name: "a", Steps: []Step{{ID: "1", Action: panics{}}, {ID: "2", Action: says{"make", template(t, "x")}}}}
	set := NewRuleSet([]*Rule{rule}, "h")
	set.Secrets = []Secret{NewSecret("s3cret")}
	r := set.Rehearse(jsonEvent(`{}`), RehearseOptions{Plans: true})
	steps := r.Asked[0].Runs[0].Steps
	if want := "planning panicked: ***"; len(steps) != 2 || steps[0].Err != want || steps[1].Err != "" {
		t.Errorf("steps %+v, want the first with %q, and the second", steps, want)
	}
	rule.When = &Condition{}
	if r := set.Rehearse(jsonEvent(`{}`), RehearseOptions{}); len(r.Asked) > 0 || !strings.HasPrefix(r.MatchErr, "matching panicked: ") {
		t.Errorf("Rehearse with a broken condition = %+v, want it to say so", r)
	}
}

// TestElementWithANumberForASecret: what masking leaves of JSON is no JSON.
func TestElementWithANumberForASecret(t *testing.T) {
	set := NewRuleSet([]*Rule{{Name: "a", ForEach: &ForEach{List: listOf(t, "body.list"), As: "item"}}}, "h")
	set.Secrets = []Secret{NewSecret("123456")}
	r := set.Rehearse(jsonEvent(`{"list":[{"pin":123456},{"pin":"123456"}]}`), RehearseOptions{})
	if got, err := json.Marshal(r.Asked[0].Runs); err != nil || string(got) != `[{"element":"{\"pin\":***}","steps":null},{"index":1,"element":{"pin":"***"},"steps":null}]` {
		t.Errorf("runs %s, %v", got, err)
	}
}

func TestTooManyStepsToPlan(t *testing.T) {
	rule := &Rule{Name: "a", ForEach: &ForEach{List: listOf(t, "1..1000"), As: "item"}, Steps: []Step{
		{ID: "1", Action: says{"make", elementText(t, "{{ item }}")}}, {ID: "2", Action: says{"make", elementText(t, "x")}}, {ID: "3", Action: says{"make", elementText(t, "x")}},
	}}
	r := NewRuleSet([]*Rule{rule}, "h").Rehearse(jsonEvent(`{}`), RehearseOptions{Plans: true})
	steps := 0
	for _, run := range r.Asked[0].Runs {
		steps += len(run.Steps)
	}
	if len(r.Asked[0].Runs) != 1000 || steps != maxPlanned {
		t.Errorf("%d runs with %d steps, want 1000 with %d", len(r.Asked[0].Runs), steps, maxPlanned)
	}
}

// heavy is an action whose plan has many texts.
type heavy struct {
	says
	times int
}

func (h heavy) Plan(in Input) (Plan, error) {
	p, err := h.says.Plan(in)
	for range h.times {
		p.Argv = append(p.Argv, p.Argv[1])
	}
	return p, err
}

// TestPlanningIsBounded: what an event has planned does not grow with its body or
// its lists, and where planning stopped is told.
func TestPlanningIsBounded(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	text := func(n int) *Template { return elementText(t, strings.Repeat("x", n)) }
	tests := []struct {
		name     string
		body     string
		action   Action
		o        RehearseOptions
		rehearse int    // steps that are planned
		why      string // of the run behind them
		shadow   int    // steps that are planned while the sender waits
		shadowed string
	}{
		{
			name: "many steps", body: `{}`, action: says{"make", text(1)},
			rehearse: 2000, why: "not planned: the event has more than 2000 steps", shadow: 200, shadowed: "not planned: the event has more than 200 steps",
		},
		{
			name: "a large body in each", body: fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 2<<20)), action: says{"make", elementText(t, "{{ raw }}")},
			rehearse: 64, why: "not planned: the templates before came to more than 128 MiB", shadow: 8, shadowed: "not planned: the templates before came to more than 16 MiB",
		},
		{
			name: "a large body in each, which then fails", body: fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 2<<20)), action: says{"make", elementText(t, "{{ raw }}{{ body.none }}")},
			rehearse: 64, why: "not planned: the templates before came to more than 128 MiB", shadow: 8, shadowed: "not planned: the templates before came to more than 16 MiB",
		},
		{
			name: "much to show", body: `{}`, action: heavy{says{"make", text(4000)}, 15},
			rehearse: 66, why: "not planned: the steps before have more than 4 MiB to show", shadow: 17, shadowed: "not planned: the steps before have more than 1 MiB to show",
		},
		{
			name: "nobody waits any more", body: `{}`, action: says{"make", text(1)}, o: RehearseOptions{Ended: ended},
			why: "not planned: nobody waits for it", shadow: 200, shadowed: "not planned: the event has more than 200 steps",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // no time goes by
				rule := &Rule{Name: "a", Shadow: true, ForEach: &ForEach{List: listOf(t, "1..1000"), As: "item"}}
				for _, id := range []string{"1", "2", "3"} {
					rule.Steps = append(rule.Steps, Step{ID: id, Action: tt.action})
				}
				set := NewRuleSet([]*Rule{rule}, "h")
				tt.o.Plans = true
				checkPlanned(t, "Rehearse", rehearsed(set, jsonEvent(tt.body), tt.o), tt.rehearse, tt.why)
				checkPlanned(t, "Submit", submitted(set, jsonEvent(tt.body)), tt.shadow, tt.shadowed)
			})
		})
	}
}

// planned is how many steps of a run were, and why no more.
type planned struct {
	steps int
	why   string
}

// rehearsed is what Rehearse plans for one rule.
func rehearsed(set *RuleSet, ev *Event, o RehearseOptions) []planned {
	var runs []planned
	for _, r := range set.Rehearse(ev, o).Asked[0].Runs {
		runs = append(runs, planned{len(r.Steps), r.Unplanned})
	}
	return runs
}

// submitted is what Submit plans of rules in shadow.
func submitted(set *RuleSet, ev *Event) []planned {
	a, _ := judge(set, ev, trust{}, "")
	steps := map[string]int{}
	for _, s := range a.Steps {
		steps[s.Run]++
	}
	var runs []planned
	for _, r := range a.Runs {
		runs = append(runs, planned{steps[r.ID], r.Err})
	}
	return runs
}

// checkPlanned holds against each other what was planned of a rule with three
// steps, and what was said of the rest.
func checkPlanned(t *testing.T, who string, runs []planned, want int, why string) {
	t.Helper()
	if len(runs) != 1000 {
		t.Errorf("%s: %d runs, want 1000", who, len(runs))
	}
	steps := 0
	for i, r := range runs {
		steps += r.steps
		if whole := r.steps == 3; whole != (r.why == "") || !whole && r.why != why {
			t.Fatalf("%s: run %d has %d steps, and %q; want 3, or %q", who, i, r.steps, r.why, why)
		}
	}
	if steps != want {
		t.Errorf("%s: %d steps were planned, want %d", who, steps, want)
	}
}

// TestShadowPlansWithWhatTheEventHasLeft: an event that used up its budget has
// nothing more evaluated while its sender waits.
func TestShadowPlansWithWhatTheEventHasLeft(t *testing.T) {
	rule := &Rule{Name: "a", Shadow: true, Steps: []Step{{ID: "1", Action: says{"make", template(t, "{{ body.a }}")}}}}
	set, scope := NewRuleSet([]*Rule{rule}, "h"), NewScope(jsonEvent(`{"a":1}`))
	plans := set.decide(scope, nil, "").matched[0].plans
	scope.used.spent = maxEventSteps
	steps := set.shadow(scope, plans)
	if want := "over all rules of this event"; len(steps) != 1 || !strings.Contains(steps[0].Err, want) {
		t.Errorf("planned %+v, want one step that has failed with %q", steps, want)
	}
}

// TestRehearsalIsBoundedInAll: the trees and elements of an event, over all rules.
func TestRehearsalIsBoundedInAll(t *testing.T) {
	var parts []string
	for i := range 100 {
		parts = append(parts, fmt.Sprintf("body.%s%d == nil", strings.Repeat("x", 400), i))
	}
	large := condition(t, strings.Join(parts, " && ")+" && body.a == 2")
	var rules []*Rule
	for i := range 100 {
		rules = append(rules, &Rule{
			Name: fmt.Sprint("r", i), When: large, ForEach: &ForEach{List: listOf(t, "body.list"), As: "item"},
			Steps: []Step{{ID: "1", If: large, Action: says{"make", elementText(t, "x")}}},
		})
	}
	long := fmt.Sprintf("[%[1]s,%[1]s,%[1]s]", `"`+strings.Repeat("y", 100<<10)+`"`)
	set := NewRuleSet(rules, "h")
	synctest.Test(t, func(t *testing.T) { // no time goes by
		for a, want := range map[int]NodeState{1: NodeFalse, 2: NodeTrue} {
			r := set.Rehearse(jsonEvent(fmt.Sprintf(`{"a":%d,"list":%s}`, a, long)), RehearseOptions{Trees: true, Plans: true})
			all, err := json.Marshal(r)
			if err != nil || len(all) > 8<<20 {
				t.Errorf("a is %d: the rehearsal has %d bytes (%v), want 8 MiB at most", a, len(all), err)
			}
			first, last := r.Asked[0].When, r.Asked[len(rules)-1].When
			if first.State != want || last.State != want || len(first.Parts) != 101 || len(last.Parts) > 0 || r.Asked[0].Undrawn != "" || r.Asked[len(rules)-1].Undrawn == "" {
				t.Errorf("a is %d: trees are %s of %d parts and %s of %d, want %s, of 101 and of none", a, first.State, len(first.Parts), last.State, len(last.Parts), want)
			}
		}
	})
}

// TestTreeSaysWhatTheVerdictSays, be the event's budget used up before a rule, in
// the middle of it, or not at all.
func TestTreeSaysWhatTheVerdictSays(t *testing.T) {
	var rules []*Rule
	for i, src := range []string{`all(1..400, # > 0)`, `any(1..400, # == 0)`, `body.a == 1 && all(1..400, # > 0)`, `all(1..400, # > 0)`, `true`} {
		rules = append(rules, &Rule{Name: fmt.Sprint("r", i), When: condition(t, src)})
	}
	set, outcomes := NewRuleSet(rules, "h"), map[Outcome]int{}
	for left := range 20 {
		scope := NewScope(jsonEvent(`{"a":1}`))
		scope.used.spent = maxEventSteps - 100*left
		for _, x := range set.rehearse(scope, RehearseOptions{Trees: true}).Asked {
			outcomes[x.Verdict.Outcome]++
			if want := stateOf(x.Verdict.Outcome); x.When.State != want {
				t.Errorf("%d steps left: %s is %s (%s), and its tree\n%s", 100*left, x.Rule, x.Verdict.Outcome, x.Verdict.Why, x.When)
			}
		}
	}
	for _, o := range []Outcome{Matched, NoMatch, Errored} {
		if outcomes[o] < 10 {
			t.Errorf("%d verdicts are %s, want more", outcomes[o], o)
		}
	}
}

// stateOf is the state of the root of a condition's tree, where the condition
// alone decided.
func stateOf(o Outcome) NodeState {
	return map[Outcome]NodeState{Matched: NodeTrue, NoMatch: NodeFalse, Errored: NodeError}[o]
}

// TestCredentialsOfAnEventAreShownToNobody: neither by a condition nor by what a
// rule would do with them.
func TestCredentialsOfAnEventAreShownToNobody(t *testing.T) {
	rule := &Rule{
		Name: "a", When: condition(t, `headers["X-My-Token"] == "other" || headers["X-Api-Key"] != "x"`),
		Concurrency: Concurrency{Key: keyOf(t, `headers["X-My-Token"]`)},
		Steps:       []Step{{ID: "1", If: condition(t, `headers["x-my-token"] != ""`), Action: says{"make", template(t, `T={{ headers["X-My-Token"] }} {{ headers["Authorization"][7:] }} {{ headers["X-Event"] }}`)}}},
	}
	ev := jsonEvent(`{}`)
	for name, value := range map[string]string{"X-My-Token": "hunter2-token", "X-Api-Key": "abc", "Authorization": "Bearer hunter2", "X-Event": "push"} {
		ev.Header.Set(name, value)
	}
	r := NewRuleSet([]*Rule{rule}, "h").Rehearse(ev, RehearseOptions{Trees: true, Plans: true})
	run := r.Asked[0].Runs[0]
	if got, want := run.Key+" "+run.Steps[0].Plan.Argv[1], "*** T=*** *** push"; got != want {
		t.Errorf("the key and the command are %q, want %q", got, want)
	}
	if all, err := json.Marshal(r); err != nil || strings.Contains(string(all), "hunter2") || strings.Contains(string(all), `abc`) {
		t.Errorf("the rehearsal tells a credential (%v): %s", err, all)
	}
	a, _ := judge(NewRuleSet([]*Rule{{Name: "a", Shadow: true, Steps: rule.Steps}}, "h"), ev, trust{}, "")
	if got, want := a.Steps[0].Plan.Argv[1], "T=*** *** push"; got != want {
		t.Errorf("the command in shadow is %q, want %q", got, want)
	}
}
