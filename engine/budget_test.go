package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// hostileBody is a list of n elements in each of two fields.
func hostileBody(n int) string {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]"
	return `{"a":` + list + `,"b":` + list + `}`
}

// TestBudgetEndsHostileEvaluations shows that what a sender makes long can't
// make an evaluation long.
func TestBudgetEndsHostileEvaluations(t *testing.T) {
	lists, text := hostileBody(100_000), `{"s":"`+strings.Repeat("ab", 1<<19)+`"}`
	tests := []struct{ name, src, body string }{
		{"nested any", `any(body.a, let x = #; any(body.b, # == x + 1))`, lists},
		{"nested filter and map", `len(filter(body.a, len(map(body.b, # + 1)) > 0)) > 0`, lists},
		{"nested count", `count(body.a, count(body.b, # > 1) > 1) > 1`, lists},
		{"reduce to a long text", `len(reduce(body.a, #acc + "0123456789abcdef0123456789abcdef", "")) > 0`, lists},
		{"uniq", `len(uniq(map(1..50000, #))) > 1`, lists},
		{"repeat", `len(repeat(body.s, 100000)) > 1`, text},
		{"replace", `len(replace(body.s, "a", body.s)) > 1`, text},
		{"split into letters", `len(split(raw + raw + raw + raw + raw + raw, "")) > 1`, text},
		{"join with a long text", `len(join(split(body.s, "b"), body.s)) > 1`, text},
		{"adding up", `len(map(body.a, raw + raw)) > 1`, lists},
		{"results of predicates", `len(map(body.a, upper(raw))) > 1`, lists},
		{"one object many times in JSON", `len(toJSON(map(body.a, body.b))) > 1`, lists},
		{"doubling lists as a text", `len(string(reduce(1..30, [#acc, #acc], [1]))) > 1`, lists},
		{"sorting by a text made", `len(sortBy(body.a, raw + "x")) > 1`, lists},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ok, _, err := condition(t, tt.src).Eval(NewScope(jsonEvent(tt.body)))
			if ok || !errors.Is(err, errBudget) {
				t.Errorf("Eval(%s) = %v, %v, want the budget to end it", tt.src, ok, err)
			}
		})
	}
}

// TestTemplateOfOneObjectManyTimesIsBounded: so is what {{ }} makes.
func TestTemplateOfOneObjectManyTimesIsBounded(t *testing.T) {
	got, err := template(t, "{{ map(body.a, body.b) }}").Render(NewScope(jsonEvent(hostileBody(10_000))))
	if !errors.Is(err, errBudget) {
		t.Errorf("Render = %d bytes, %v, want the budget to end it", len(got), err)
	}
}

// TestPatternsFromOutsideAreShort: compiling one costs memory.
func TestPatternsFromOutsideAreShort(t *testing.T) {
	ev := jsonEvent(`{"short":"^p.sh$","long":"` + strings.Repeat("a?", 1000) + `"}`)
	if ok, _, err := condition(t, `"push" matches body.short && "push" matches "^p"`).Eval(NewScope(ev)); !ok || err != nil {
		t.Errorf("short pattern: %v, %v, want true", ok, err)
	}
	if _, _, err := condition(t, `"push" matches body.long`).Eval(NewScope(ev)); err == nil || !strings.Contains(err.Error(), "the pattern of matches is longer than 1024 bytes") {
		t.Errorf("long pattern: %v, want it refused", err)
	}
}

// TestRangeIsBounded: the elements that an expression makes by itself are
// bounded too.
func TestRangeIsBounded(t *testing.T) {
	ok, _, err := condition(t, `len(1..body.n) > 1`).Eval(NewScope(jsonEvent(`{"n":1000000000}`)))
	if ok || err == nil || !strings.Contains(err.Error(), "memory budget exceeded") {
		t.Errorf("Eval = %v, %v, want the memory budget to end it", ok, err)
	}
}

// TestOneHostileRuleLeavesTheOthersAlone is the row of the design: the rule
// with the nested any ends with a recorded error, the rules beside it match.
func TestOneHostileRuleLeavesTheOthersAlone(t *testing.T) {
	set := NewRuleSet([]*Rule{
		{Name: "before", When: condition(t, `body.a[0] == 1`)},
		{Name: "hostile", When: condition(t, `any(body.a, let x = #; any(body.b, # == x + 1))`)},
		{Name: "after", When: condition(t, `len(body.b) == 100000`)},
	}, "h")
	verdicts, matched := set.Match(NewScope(jsonEvent(hostileBody(100_000))), nil)
	if len(matched) != 2 || matched[0].Name != "before" || matched[1].Name != "after" {
		t.Errorf("matched %v, want before and after", matched)
	}
	if v := verdicts[1]; v.Outcome != Errored || !strings.Contains(v.Why, "evaluation budget used up: ") { // of steps or, on a slow machine, of time
		t.Errorf("verdict of hostile = %+v, want the budget named", v)
	}
}

// TestAllRulesShareAnEventsBudget: many hostile rules together are bounded.
func TestAllRulesShareAnEventsBudget(t *testing.T) {
	hostile := condition(t, `any(body.a, let x = #; any(body.b, # == x + 1))`)
	rules := make([]*Rule, 200)
	for i := range rules {
		rules[i] = &Rule{Name: string(rune('a' + i)), When: hostile}
	}
	verdicts, _ := NewRuleSet(rules, "h").Match(NewScope(jsonEvent(hostileBody(1000))), nil)
	if last := verdicts[len(verdicts)-1]; !strings.Contains(last.Why, "over all rules of this event") {
		t.Errorf("last verdict = %+v, want the event's budget used up", last)
	}
}

// TestMatchIsBounded: a regular expression can't be stopped, so one that would take
// long over the sender's text is not begun.
func TestMatchIsBounded(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	for _, tt := range []struct {
		when string
		body map[string]string
		want string
	}{
		{`body.t matches "^a+$"`, map[string]string{"t": long}, ""},
		{`body.t matches "(.*a){400}$"`, map[string]string{"t": long}, "matches would cost too much: the text has 1048576 bytes"},
		{`body.t matches body.p`, map[string]string{"t": "aaa", "p": "^a+$"}, ""},
		{`body.t matches body.p`, map[string]string{"t": long, "p": "(.*a){9}$"}, "matches would cost too much: the text has 1048576 bytes"},
	} {
		body, err := json.Marshal(tt.body)
		if err != nil {
			t.Fatal(err)
		}
		ok, _, err := condition(t, tt.when).Eval(NewScope(jsonEvent(string(body))))
		switch {
		case tt.want == "" && (err != nil || !ok):
			t.Errorf("%s = %v, %v, want true", tt.when, ok, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s = %v, %v, want an error that says %q", tt.when, ok, err, tt.want)
		}
	}
}
