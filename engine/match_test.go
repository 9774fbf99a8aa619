package engine

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMatchAsksTheRightRulesInOrder(t *testing.T) {
	set := NewRuleSet([]*Rule{
		{Name: "any", When: condition(t, `true`)},
		{Name: "by id", Buckets: []string{"b-1"}},
		{Name: "other", Buckets: []string{"other"}},
		{Name: "both", Buckets: []string{"deploys", "b-1"}},
		{Name: "get", Buckets: []string{"deploys"}, Methods: []string{"GET"}},
		{Name: "false", Buckets: []string{"deploys"}, When: condition(t, `body.a.b == 1`)},
		{Name: "error", Buckets: []string{"deploys"}, When: condition(t, `body.a > 1`)},
		{Name: "stops", Stop: true},
		{Name: "late"},
	}, "h")
	verdicts, matched := set.Match(NewScope(jsonEvent(`{}`)), nil)
	var names []string
	for _, r := range matched {
		names = append(names, r.Name)
	}
	if want := []string{"any", "by id", "both", "stops"}; !slices.Equal(names, want) {
		t.Errorf("matched %q, want %q", names, want)
	}
	want := []Verdict{
		{Rule: "any", Outcome: Matched},
		{Rule: "by id", Outcome: Matched},
		{Rule: "both", Outcome: Matched},
		{Rule: "get", Outcome: NoMatch, Why: "the method is POST, not GET"},
		{Rule: "false", Outcome: NoMatch, Why: "false: body.a.b == 1", Missing: []string{"body.a"}},
		{Rule: "error", Outcome: Errored, Why: `body.a > 1: at column 8: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list)`, Missing: []string{"body.a"}},
		{Rule: "stops", Outcome: Matched},
		{Rule: "late", Outcome: NoMatch, Why: `not asked: rule "stops" matched and says stop`},
	}
	if len(verdicts) != len(want) {
		t.Fatalf("%d verdicts, want %d: %+v", len(verdicts), len(want), verdicts)
	}
	for i, v := range verdicts {
		if v.Rule != want[i].Rule || v.Outcome != want[i].Outcome || v.Why != want[i].Why || !slices.Equal(v.Missing, want[i].Missing) {
			t.Errorf("verdict %d = %+v, want %+v", i, v, want[i])
		}
	}
}

func TestKnownBuckets(t *testing.T) {
	named := []*Rule{{Name: "a", Buckets: []string{"deploys"}}}
	if s := NewRuleSet(named, "h"); !s.Known("deploys") || s.Known("else") {
		t.Error("only buckets that a rule names are known")
	}
	off := NewRuleSet(named, "h")
	off.Off = []*Rule{{Name: "b", Buckets: []string{"off"}}}
	if !off.Known("off") || off.Known("else") {
		t.Error("the bucket of a rule that is switched off is known")
	}
	if s := NewRuleSet(append(named, &Rule{Name: "b"}), "h"); !s.Known("else") {
		t.Error("a rule that names no bucket knows all")
	}
}

// TestPanicInMatchingKeepsTheEvent: the event is stored without runs.
func TestPanicInMatchingKeepsTheEvent(t *testing.T) {
	set := NewRuleSet([]*Rule{{Name: "a"}, {Name: "b", When: &Condition{}}}, "h")
	a, _ := judge(set, jsonEvent(`{}`), trust{}, "")
	if a.MatchErr == "" || a.Runs != nil || a.Event == nil {
		t.Errorf("judge = %+v, want the event, the panic and no runs", a)
	}
}

func TestBodyForms(t *testing.T) {
	tests := []struct {
		name, contentType, body, src string
	}{
		{"JSON", "application/json", `{"a":1}`, `body.a == 1`},
		{"JSON of a vendor", "application/vnd.github+json; charset=utf-8", `{"a":1}`, `body.a == 1`},
		{"JSON without a type", "", `[1]`, `body[0] == 1`},
		{"JSON with a byte order mark", "application/json", "\ufeff{\"a\":1}", `body.a == 1`},
		{"JSON that curl -d calls a form", "application/x-www-form-urlencoded", `{"a":1}`, `body.a == 1`},
		{"scalar", "application/json", `"x"`, `body == "x"`},
		{"form", "application/x-www-form-urlencoded", `a=1&b=x+y%21&l=1&l=2`, `body.a == "1" && body.b == "x y!" && body.l == ["1", "2"]`},
		{"payload of a form", "application/x-www-form-urlencoded", `payload=%7B%22a%22%3A1%7D`, `body.a == 1`},
		{"payload that is no JSON", "application/x-www-form-urlencoded", `payload=x&b=1`, `body.payload == "x" && body.b == "1"`},
		{"broken payload", "application/x-www-form-urlencoded", `payload=%7B`, `body == nil`},
		{"blank", "application/json", " \n", `body == nil`},
		{"another type", "image/png", `{"a":1}`, `body == nil && raw == "{\"a\":1}"`},
		{"not UTF-8", "application/octet-stream", "\xff\x00", `body == nil && len(raw) == 2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := jsonEvent(tt.body)
			ev.Header.Set("Content-Type", tt.contentType)
			if ok, missing, err := condition(t, tt.src).Eval(NewScope(ev)); !ok || err != nil {
				t.Errorf("Eval(%s) = %v, %v, %v, want true", tt.src, ok, missing, err)
			}
		})
	}
}

// TestParseErrorIsKept: blank bodies are nothing to complain of.
func TestParseErrorIsKept(t *testing.T) {
	set := NewRuleSet([]*Rule{{Name: "a", When: condition(t, `body.x == 1`)}}, "h")
	for body, want := range map[string]string{
		`{"a":1} x`: "JSON: more follows the value that ends at byte 7",
		`{"a":1}`:   "",
		``:          "",
	} {
		if a, _ := judge(set, jsonEvent(body), trust{}, ""); a.BodyErr != want {
			t.Errorf("BodyErr of %q = %q, want %q", body, a.BodyErr, want)
		}
	}
}

// TestVerdictNamesThePartThatDecided: of a conjunction it is the first false
// part, else the whole, in the rule's words: nothing of the event gets into it.
func TestVerdictNamesThePartThatDecided(t *testing.T) {
	tests := []struct{ when, want string }{
		{`body.a == 1`, "false: body.a == 1"},
		{`body.a == 1 || (body.b == 2
			or body.t == 3)`, "false: body.a == 1 || (body.b == 2 or body.t == 3)"},
		{`body.none`, "false: body.none"},
		{`body.s in ["` + strings.Repeat("long", 30) + `"]`, `false: body.s in ["` + strings.Repeat("long", 16) + "lon…"},
		{`body.a == 2 && body.b == 3`, "false: body.b == 3"},
		{`body.a == 1 && body.b == 3`, "false: body.a == 1"},
		{`body.a == 2 and (body.b == 3 or body.c == 4) and body.a == 2`, "false: body.b == 3 or body.c == 4"},
		{`body.a == 2 && any(body.l, # > 1 && # > 2)`, "false: any(body.l, # > 1 && # > 2)"},
		{`body.a == 2 && headers["X-Github-Event"] == "ping"`, `false: headers["X-Github-Event"] == "ping"`},
		{`body.a == 2 && !body.t`, "false: !body.t"},
		{`body.a == 2 || body.b == 1 && body.c == 2`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			r := &Rule{Name: "r", When: condition(t, tt.when)}
			if got := r.verdict(NewScope(jsonEvent(`{"a":2,"b":1,"l":[1,2],"t":true}`))); got.Why != tt.want {
				t.Errorf("verdict of %s = %+v, want %q", tt.when, got, tt.want)
			}
		})
	}
}

// TestSlowRuleIsTold has the clock go on by a step at each look.
func TestSlowRuleIsTold(t *testing.T) {
	for _, tt := range []struct {
		step time.Duration
		want time.Duration
	}{
		{100 * time.Millisecond, 0},
		{101 * time.Millisecond, 101 * time.Millisecond},
	} {
		set := NewRuleSet([]*Rule{{Name: "a"}}, "h")
		clock := time.Now()
		set.now = func() time.Time {
			clock = clock.Add(tt.step)
			return clock
		}
		verdicts, _ := set.Match(NewScope(jsonEvent(`{}`)), nil)
		if got := verdicts[0].Slow; got != tt.want {
			t.Errorf("a rule that took %s is slow: %s, want %s", tt.step, got, tt.want)
		}
		var out strings.Builder
		e := &Engine{log: slog.New(slog.NewTextHandler(&out, nil))}
		e.logVerdict(jsonEvent(`{}`), verdicts[0], false)
		if told := strings.Contains(out.String(), "rule is slow to ask"); told != (tt.want > 0) {
			t.Errorf("log says %q", out.String())
		}
	}
}

// TestBodyIsReadOnceForAllElements: a list has up to MaxForEach of them.
func TestBodyIsReadOnceForAllElements(t *testing.T) {
	scope := NewScope(jsonEvent(`{"a":1}`))
	for range 2 {
		w := scope.With(View{Element: &Element{As: "item", Value: 1}})
		if !scope.parsed || !w.parsed {
			t.Errorf("the body is read for an element: %v, and for all: %v, want both", w.parsed, scope.parsed)
		}
	}
}
