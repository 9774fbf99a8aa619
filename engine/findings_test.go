package engine

import (
	"slices"
	"testing"
)

// TestFindings holds what is said of a condition at load.
func TestFindings(t *testing.T) {
	tests := []struct {
		name, src string
		want      []Finding
	}{
		{"unknown name", `boddy.ref == "x"`, []Finding{{Offset: 0, Msg: `unknown name "boddy"`, Hint: `did you mean "body"?`}}},
		{"unknown function", `body.a == 1 && lenn(body.b) > 1`, []Finding{{Offset: 15, Msg: `unknown name "lenn"`, Hint: `did you mean "len"?`}}},
		{"our functions are known", `chnged(body) == []`, []Finding{{Offset: 0, Msg: `unknown name "chnged"`, Hint: `did you mean "changed"?`}}},
		{"unknown field", `event.recieved == now()`, []Finding{{Offset: 6, Msg: `unknown field "recieved"`, Hint: `did you mean "received"?`}}},
		{"header with a dot", `headers.X-GitHub-Event == "push"`, []Finding{{Offset: 10, Msg: `unknown name "GitHub"`, Hint: `write headers["X-GitHub-Event"]`}}},
		{"one equals sign", `body.ref = "x"`, []Finding{{Offset: 9, Msg: `unexpected "="`, Hint: "to compare write =="}}},
		{"in a predicate", `any(body.l, lenn(#) > 1)`, []Finding{{Offset: 12, Msg: `unknown name "lenn"`, Hint: `did you mean "len"?`}}},
		{"in an argument", `match("x", lenn(body.b))`, []Finding{{Offset: 11, Msg: `unknown name "lenn"`, Hint: `did you mean "len"?`}}},
		{"in a sum", `"a" + lenn(body.b) == "x"`, []Finding{{Offset: 6, Msg: `unknown name "lenn"`, Hint: `did you mean "len"?`}}},
		{"predicate that is no answer", `any(body.l, "text")`, []Finding{{Offset: 12, Msg: "predicate should return boolean (got string)"}}},
		{"part that is no answer", `body.a == 1 && method`, []Finding{{Offset: 12, Msg: "invalid operation: && (mismatched types bool and string)"}}},
		{"cut off", `any(body.a, `, []Finding{{Offset: 11, Msg: "the expression ends too early"}}},
		{"stray bracket", `body.a == 1)`, []Finding{{Offset: 11, Msg: `unexpected ")"`}}},
		{"environment", `env.HOME == "x"`, []Finding{{Offset: 0, Msg: `unknown name "env"`, Hint: "conditions and templates do not see the environment; ${env:NAME} works in actions"}}},
		{"steps", `steps.build.exit_code == 0`, []Finding{{Offset: 0, Msg: `unknown name "steps"`, Hint: "steps are known in the actions after them and in closing actions"}}},
		{"whole world", `$env["method"] == "x"`, []Finding{{Offset: 0, Msg: `unknown name "$env"`}}},
		{"no answer", `bucket`, []Finding{{Offset: 0, Msg: "the condition must be true or false, but this is a text", Hint: "compare it with something"}}},
		{"types", `method > 3`, []Finding{{Offset: 7, Msg: "a text and a number can't be compared", Hint: "a text that holds a number is read by int(…)"}}},
		{"operator as a method", `body.ref.startsWith("x")`, []Finding{{Offset: 9, Msg: "body.ref.startsWith is data and can't be called", Hint: `write body.ref startsWith "…"`}}},
		{"operator as a function", `startsWth(body.ref, "x")`, []Finding{{Offset: 0, Msg: `unknown name "startsWth"`, Hint: `startsWith, endsWith, contains and matches stand between two texts: body.ref startsWith "refs/"`}}},
		{"too few arguments", `match("x")`, []Finding{{Offset: 0, Msg: "not enough arguments to call match", Hint: `match("docs/**", text)`}}},
		{"called data", `body.items.filter("x") == 1`, []Finding{{Offset: 11, Msg: "body.items.filter is data and can't be called", Hint: "write function(value), or value | function()"}}},
		{"empty", "  ", []Finding{{Msg: "the expression is empty"}}},
		{"after wide letters", `"ü" == bocket`, []Finding{{Offset: 8, Msg: `unknown name "bocket"`, Hint: `did you mean "bucket"?`}}},

		{"!= on what may be absent", `body.ref != "main"`, []Finding{{Offset: 9, Warning: true, Msg: "!= is also true for every event that has no body.ref", Hint: "add: body.ref != nil"}}},
		{"!= that is guarded", `body.ref != nil && body.ref != "main"`, nil},
		{"!= guarded by in", `"ref" in body && body.ref != "main"`, nil},
		{"!= on a header", `headers["X"] != "main"`, nil},
		{"contains on a list", `body.labels contains "x"`, []Finding{{Offset: 12, Warning: true, Msg: "contains looks in a text; body.labels looks like a list", Hint: `for a list write: "x" in body.labels`}}},
		{"contains on a text", `body.status contains "x" && body.message contains "y"`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := NewCompiler(World{}).Condition(tt.src)
			if !slices.Equal(got, tt.want) {
				t.Errorf("Condition(%s) found %+v, want %+v", tt.src, got, tt.want)
			}
			if fatal := slices.ContainsFunc(tt.want, func(f Finding) bool { return !f.Warning }); (c == nil) != fatal {
				t.Errorf("Condition(%s) = %v, want nil only for more than warnings", tt.src, c)
			}
		})
	}
}

func TestStepsAreTyped(t *testing.T) {
	c := NewCompiler(World{Steps: []StepShape{{ID: "build", Kind: "exec"}, {ID: "call", Kind: "http"}}})
	for _, src := range []string{
		`steps.build.exit_code == 0 && steps.build.stdout contains "ok"`,
		`steps.call.status == 200 && steps.call.json.id.x == 1 && steps.call.headers["X"] == ""`,
	} {
		if cond, found := c.Condition(src); cond == nil || len(found) > 0 {
			t.Errorf("Condition(%s) found %+v, want it to compile", src, found)
		}
	}
	tests := []struct {
		src  string
		want Finding
	}{
		{`steps.biuld.exit_code == 0`, Finding{Offset: 6, Msg: `unknown field "biuld"`, Hint: `did you mean "build"?`}},
		{`steps.build.exitcode == 0`, Finding{Offset: 12, Msg: `unknown field "exitcode"`, Hint: `did you mean "exit_code"?`}},
		{`steps.zzz.exit_code == 0`, Finding{Offset: 6, Msg: `unknown field "zzz"`, Hint: "the actions before this one are build, call"}},
		{`steps.1.exit_code == 0`, Finding{Offset: 9, Msg: "a number is no name", Hint: `write steps["1"], or give the action an id`}},
		{`steps.build.status == 0`, Finding{Offset: 12, Msg: `unknown field "status"`, Hint: `did you mean "state"?`}},
	}
	for _, tt := range tests {
		if _, got := c.Condition(tt.src); len(got) != 1 || got[0] != tt.want {
			t.Errorf("Condition(%s) found %+v, want %+v", tt.src, got, tt.want)
		}
	}
}
