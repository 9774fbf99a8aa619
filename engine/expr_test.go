package engine

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// jsonEvent is an event with a JSON body, and one of most other things.
func jsonEvent(body string) *Event {
	return &Event{
		ID: "ev-1", Received: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Source: SourceIntake, Remote: "192.0.2.7:4711", Bucket: "deploys", BucketID: "b-1", Input: "in",
		Method: "POST", Path: "/x/y", Query: "a=1&a=2&token=t",
		Header: http.Header{"Content-Type": {"application/json"}, "X-Github-Event": {"push"}, "X-Many": {"one", "two"}},
		Body:   []byte(body), Meta: map[string]string{"output_name": "out"},
	}
}

func condition(t *testing.T, src string) *Condition {
	t.Helper()
	c, findings := NewCompiler(World{}).Condition(src)
	if c == nil {
		t.Fatalf("Condition(%s) = %+v, want it to compile", src, findings)
	}
	return c
}

// TestWhatAnExpressionMeans holds what hookrun settles where bare expr
// surprises, and the world that expressions see.
func TestWhatAnExpressionMeans(t *testing.T) {
	const push = `{"ref":"refs/heads/main","n":3,"big":9007199254740993,"zero":null,
		"list":["x","y"],"items":[{"n":1,"name":"a"},{"n":5,"name":"b"}],"obj":{"k":{"deep":1}},
		"commits":[{"added":["a.go"],"modified":["docs/b.md"],"removed":[]},{"added":[],"modified":["a.go"],"removed":["c"]}]}`
	tests := []struct {
		name, src, body string
		want            bool
		missing         string // absent fields, joined by ","
		err             string // part of the error; "" is none
	}{
		{name: "equal", src: `body.ref == "refs/heads/main"`, body: push, want: true},
		{name: "absent field differs from anything", src: `body.nope != "main"`, body: push, want: true, missing: "body.nope"},
		{name: "absent parents are nil at any depth", src: `body.a.b.c == 1`, body: push, missing: "body.a"},
		{name: "null has no fields but is there", src: `body.zero.b == 1`, body: push, missing: "body.zero.b"},
		{name: "member of a text", src: `body.ref.name == "x"`, body: push, missing: "body.ref.name"},
		{name: "member of a list root", src: `body.ref == "x"`, body: `[1,2]`, missing: "body.ref"},
		{name: "member of a scalar root", src: `body.ref == "x"`, body: `17`, missing: "body.ref"},
		{name: "list root", src: `body[1] == 2 && body[-1] == 2`, body: `[1,2]`, want: true},
		{name: "index beyond the list", src: `body.list[7] == nil`, body: push, want: true, missing: "body.list[7]"},
		{name: "key given at run time", src: `body[method] == nil`, body: push, want: true, missing: "body[…]"},
		{name: "optional chaining", src: `body?.a?.b == nil && body.obj?.k?.deep == 1`, body: push, want: true, missing: "body.a"},
		{name: "get", src: `get(body, "n") == 3 && get(body, "m") == nil`, body: push, want: true, missing: "body.m"},
		{name: "nil coalescing", src: `(body.a.b ?? "x") == "x"`, body: push, want: true, missing: "body.a"},
		{name: "variable", src: `let o = body.obj; o.k.deep == 1 && o.q.z == nil`, body: push, want: true, missing: "o.q"},

		{name: "nil in an order", src: `body.nope > 1`, body: push, missing: "body.nope",
			err: `body.nope > 1: at column 11: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list)`},
		{name: "not of nil", src: `not body.nope`, body: push, missing: "body.nope",
			err: "got nothing (nil) where yes or no (bool) is needed (a field may be absent: write == true or != true)"},
		{name: "predicate over nil elements", src: `any(body.items, .q > 3)`, body: push, missing: "#.q", err: "> does not work between nothing (nil) and a number"},
		{name: "predicate over nil list", src: `any(body.nope, .n > 3)`, body: push, missing: "body.nope", err: "got nothing (nil) where a list is needed (a field may be absent"},
		{name: "predicate", src: `any(body.items, .n > 3) && !all(body.items, .n > 3)`, body: push, want: true},
		{name: "contains on a list", src: `body.list contains "x"`, body: push, err: `(to look in a list write "x" in body.list)`},
		{name: "in a list", src: `"x" in body.list and not ("z" in body.list)`, body: push, want: true},
		{name: "in nothing", src: `"x" in body.nope`, body: push, missing: "body.nope"},
		{name: "not a bool", src: `body.ref`, body: push, err: "the answer is a text, not true or false"},

		{name: "header in any case", src: `headers["x-github-event"] == "push" && headers["X-GITHUB-EVENT"] == "push"`, body: push, want: true},
		{name: "header missing is empty", src: `headers["X-No"] == ""`, body: push, want: true},
		{name: "header by name at run time", src: `headers[lower("X-GitHub-Event")] == "push"`, body: push, want: true},
		{name: "header there", src: `"x-github-event" in headers && not ("x-no" in headers)`, body: push, want: true},
		{name: "repeated header", src: `header_values("x-many") == ["one", "two"] && headers["x-many"] == "one"`, body: push, want: true},
		{name: "repeated query", src: `query_values("a") == ["1", "2"] && query.a == "1" && query.none == ""`, body: push, want: true},
		{name: "names", src: `bucket == "deploys" && bucket_id == "b-1" && input == "in" && method == "POST" && path == "/x/y" && meta.output_name == "out"`, body: push, want: true},
		{name: "event", src: `event.id == "ev-1" && event.source == "intake" && event.remote startsWith "192.0.2." && event.received == now()`, body: push, want: true},
		{name: "now is when it came", src: `now().Year() == 2026 && now() - event.received == duration("0s")`, body: push, want: true},

		{name: "ints stay exact", src: `body.big == 9007199254740993 && body.big != 9007199254740992`, body: push, want: true},
		{name: "int and float", src: `body.n == 3 && body.n == 3.0 && body.n / 2 == 1.5`, body: push, want: true},
		{name: "changed", src: `changed(body) == ["a.go", "docs/b.md", "c"] && any(changed(body), match("docs/**", #))`, body: push, want: true},
		{name: "changed of no push", src: `changed(body) == []`, body: `[]`, want: true},
		{name: "match stops at slashes", src: `match("*.go", "a.go") && !match("*.go", "d/a.go") && match("**/*.go", "d/e/a.go")`, body: push, want: true},
		{name: "built-ins", src: `len(body.list) == 2 && split("a,b", ",")[1] == "b" && "a-b" == replace("a b", " ", "-") && join(["a","b"], "+") == "a+b" && repeat("ab", 2) == "abab"`, body: push, want: true},
		{name: "built-ins in pipes", src: `("a b" | replace(" ", "-") | split("-"))[0] == "a"`, body: push, want: true},
		{name: "join of the body", src: `join(body.list, ",") == "x,y" && uniq([1,1,2]) == [1,2]`, body: push, want: true},
		{name: "JSON in JSON", src: `fromJSON("{\"a\":{\"b\":2}}").a.b == 2 && toJSON(body.items[0]) == "{\"n\":1,\"name\":\"a\"}"`, body: push, want: true},
		{name: "texts are joined", src: `"ref: " + body.ref == "ref: refs/heads/main" && body.n + 1 == 4`, body: push, want: true},
		{name: "sorting and mapping", src: `map(sortBy(body.items, .n, "desc"), .name) == ["b", "a"] && filter(body.items, .n > 1)[0].name == "b"`, body: push, want: true},
		{name: "filter to nothing", src: `filter(body.items, .n > 100)[0].name == nil`, body: push, want: true, missing: "(…)[0]"},

		{name: "last of those that match", src: `last(filter(body.list, # != "y")) == "x" && body.ref == "refs/heads/main" && "y" == last(body.list) && last(filter(body.items, .n > 0)).name == "b"`, body: push, want: true},
		{name: "names of days and months", src: `string(now().Weekday()) == "Sunday" && string(now().Month()) == "March" && string(duration("90s")) == "1m30s"`, body: push, want: true},
		{name: "a function that fails is named", src: `int(body.ref) > 1`, body: push, err: "int does not work on what this event has there"},
		{name: "no body", src: `body == nil && body.x == nil && raw == ""`, body: ``, want: true, missing: "body.x"},
		{name: "broken body", src: `body == nil && raw == "{"`, body: `{`, want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, missing, err := condition(t, tt.src).Eval(NewScope(jsonEvent(tt.body)))
			if got != tt.want || strings.Join(missing, ",") != tt.missing {
				t.Errorf("Eval(%s) = %v, missing %v, want %v, %q (err %v)", tt.src, got, missing, tt.want, tt.missing, err)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Eval(%s): error %v, want %q", tt.src, err, tt.err)
			}
		})
	}
}

// TestErrorsHoldNothingOfTheEvent: they are logged and kept with the verdict.
func TestErrorsHoldNothingOfTheEvent(t *testing.T) {
	const canary = "canary[-1"
	body := `{"s":"` + canary + `","l":["` + canary + `"],"o":{"` + canary + `":1}}`
	for _, src := range []string{
		`int(body.s) > 1`, `float(body.s) > 1`, `match(body.s, "x")`, `"x" matches body.s`, `date(body.s) > now()`,
		`duration(body.s) > duration("1s")`, `fromJSON(body.s) == 1`, `fromBase64(body.s) == ""`, `timezone(body.s) == nil`,
		`body.l > 1`, `body.o > 1`, `body.s + 1 > 1`, `body.s - 1 > 1`, `-body.s > 1`, `body.s`, `body.l`, `body.o`, `join(body.o, body.s) == ""`,
		`first(body.s) == 1`, `sum(body.l) > 1`, `max(body.l) > 1`, `body.l[body.s] > 1`, `body.s[1:body.s] == ""`, `any(body.s, # > "a")`,
		`any(body.l, # > 1)`, `fromPairs(body.l) == nil`, `body.l contains "x"`, `body.s in body.s`, `split(body.s, 1) == nil`, `repeat(body.s, body.s) == ""`,
	} {
		cond, findings := NewCompiler(World{}).Condition(src)
		if cond == nil {
			for _, f := range findings { // refused at load: that is fine too
				t.Logf("%s: %s", src, f.Msg)
			}
			continue
		}
		_, _, err := cond.Eval(NewScope(jsonEvent(body)))
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("error of %s tells what the event holds: %v", src, err)
		}
	}
}
