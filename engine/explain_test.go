package engine

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestExplain holds the exact tree of each row of design.md's table of what an
// expression means, of every operator, and of what is written in unusual ways.
func TestExplain(t *testing.T) {
	const push = `{"ref":"refs/heads/main","n":3,"float":0.50,"big":9007199254740993,"zero":null,"draft":true,
	"list":["x","y"],"items":[{"n":1,"name":"a"},{"n":5,"name":"b"}],"obj":{"k":{"deep":1}},
	"commits":[{"added":["a.go"],"modified":["docs/b.md"],"removed":[]},{"added":[],"modified":["a.go"],"removed":["c"]}]}`
	tests := []struct{ name, src, body, want string }{
		{name: `a field that differs from anything because it is not there`, src: `body.nope != "main" && method == "GET"`, body: push, want: `body.nope != "main" && method == "GET"  → false
├─ body.nope != "main"  → true
└─ method == "GET"  → false: method is "POST"`},
		{name: `absent parents at any depth`, src: `body.a.b.c == 1`, body: push, want: `body.a.b.c == 1  → false: body.a.b.c is not there`},
		{name: `an absent parent under an index`, src: `body.list[7].name == "x"`, body: push, want: `body.list[7].name == "x"  → false: body.list[7].name is not there`},
		{name: `null is there`, src: `body.zero == 1`, body: push, want: `body.zero == 1  → false: body.zero is null`},
		{name: `a member of null`, src: `body.zero.b == 1`, body: push, want: `body.zero.b == 1  → false: body.zero.b is not there`},
		{name: `a member of a text`, src: `body.ref.name == "x"`, body: push, want: `body.ref.name == "x"  → false: body.ref.name is not there`},
		{name: `a root that is no object`, src: `body.ref == "x"`, body: `[1,2]`, want: `body.ref == "x"  → false: body.ref is not there`},
		{name: `no body`, src: `body.ref == "x"`, body: ``, want: `body.ref == "x"  → false: body.ref is not there`},
		{name: `a broken body`, src: `body.ref == "x"`, body: `{`, want: `body.ref == "x"  → false: body.ref is not there`},
		{name: `nil in an order`, src: `body.nope > 1`, body: push, want: `body.nope > 1  → error: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list); body.nope is not there`},
		{name: `not of nil`, src: `not body.nope`, body: push, want: `not body.nope  → error: got nothing (nil) where yes or no (bool) is needed (a field may be absent: write == true or != true)
└─ body.nope  → not there`},
		{name: `not of null`, src: `method == "POST" && !body.zero`, body: push, want: `method == "POST" && !body.zero  → error
├─ method == "POST"  → true
└─ !body.zero  → error: got nothing (nil) where yes or no (bool) is needed (a field may be absent: write == true or != true)
   └─ body.zero  → null`},
		{name: `nil elements of a list`, src: `any(body.items, .q > 3)`, body: push, want: `any(body.items, .q > 3)  → error
└─ .q > 3  → error: > does not work between nothing (nil) and a number (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list); .q is not there`},
		{name: `nil for a list`, src: `any(body.nope, .n > 3)`, body: push, want: `any(body.nope, .n > 3)  → error: got nothing (nil) where a list is needed (a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list); body.nope is not there
└─ .n > 3  → not asked`},
		{name: `contains on a list`, src: `body.list contains "x"`, body: push, want: `body.list contains "x"  → error: got a list where a text is needed (to look in a list write "x" in body.list); body.list is ["x","y"]`},
		{name: `a header in any case`, src: `headers["x-github-event"] == "ping" || headers["X-GITHUB-EVENT"] == "tag"`, body: push, want: `headers["x-github-event"] == "ping" || headers["X-GITHUB-EVENT"] == "tag"  → false
├─ headers["x-github-event"] == "ping"  → false: headers["x-github-event"] is "push"
└─ headers["X-GITHUB-EVENT"] == "tag"  → false: headers["X-GITHUB-EVENT"] is "push"`},
		{name: `a header that is not there`, src: `headers["X-GitLab-Event"] == "Push Hook"`, body: push, want: `headers["X-GitLab-Event"] == "Push Hook"  → false: headers["X-GitLab-Event"] is not there`},
		{name: `a header named by the event`, src: `headers[lower("X-GitHub-Event")] == "ping"`, body: push, want: `headers[lower("X-GitHub-Event")] == "ping"  → false: headers[lower("X-GitHub-Event")] is "push"`},
		{name: `whether there is a header`, src: `"x-no" in headers`, body: push, want: `"x-no" in headers  → false`},
		{name: `repeated headers`, src: `"three" in header_values("x-many")`, body: push, want: `"three" in header_values("x-many")  → false: header_values("x-many") is ["one","two"]`},
		{name: `the query`, src: `query.a == "2" || query.none == "x" || query_values("a") == ["3"]`, body: push, want: `query.a == "2" || query.none == "x" || query_values("a") == ["3"]  → false
├─ query.a == "2"  → false: query.a is "1"
├─ query.none == "x"  → false: query.none is not there
└─ query_values("a") == ["3"]  → false: query_values("a") is ["1","2"]`},
		{name: `meta`, src: `meta.output_name == "x" || meta["input"] == "x"`, body: push, want: `meta.output_name == "x" || meta["input"] == "x"  → false
├─ meta.output_name == "x"  → false: meta.output_name is "out"
└─ meta["input"] == "x"  → false: meta["input"] is not there`},
		{name: `big numbers digit for digit`, src: `body.big == 9007199254740992`, body: push, want: `body.big == 9007199254740992  → false: body.big is 9007199254740993`},
		{name: `floats as they came`, src: `body.float < 0.5`, body: push, want: `body.float < 0.5  → false: body.float is 0.50`},
		{name: `an object`, src: `body.obj == 1`, body: push, want: `body.obj == 1  → false: body.obj is {"k":{"deep":1}}`},
		{name: `an object of the body in a text`, src: `toJSON(body.obj) == "x"`, body: push, want: `toJSON(body.obj) == "x"  → false: toJSON(body.obj) is "{\"k\":{\"deep\":1}}"`},
		{name: `the budget of steps`, src: `method == "POST" and any(1..60, any(1..60, any(1..60, # == 0)))`, body: push, want: `method == "POST" and any(1..60, any(1..60, any(1..60, # == 0)))  → error
├─ method == "POST"  → true
└─ any(1..60, any(1..60, any(1..60, # == 0)))  → error
   └─ any(1..60, any(1..60, # == 0))  → error: evaluation budget used up: more than 100000 steps
      └─ any(1..60, # == 0)  → false (true in 0 of 1638)
         └─ # == 0  → false: # is 56 (true in 0 of 98335)`},
		{name: `a text that would be too long`, src: `repeat(body.ref, 100000000) == "" || true`, body: push, want: `repeat(body.ref, 100000000) == "" || true  → error
├─ repeat(body.ref, 100000000) == ""  → error
│  └─ repeat(body.ref, 100000000)  → error: evaluation budget used up: more than 64 MiB of text; body.ref is "refs/heads/main"
└─ true  → not asked`},
		{name: `the time of arrival`, src: `now().Year() == 2020 || now() - event.received > duration("1h")`, body: push, want: `now().Year() == 2020 || now() - event.received > duration("1h")  → false
├─ now().Year() == 2020  → false: now().Year() is 2026
└─ now() - event.received > duration("1h")  → false: now() - event.received is "0s"`},
		{name: `now, as a value`, src: `now() == event.received ? now() > date("2030-01-01") : true`, body: push, want: `now() == event.received ? now() > date("2030-01-01") : true  → false
├─ now() == event.received  → true
├─ now() > date("2030-01-01")  → false: now() is "2026-03-01T12:00:00Z"
└─ true  → not asked`},
		{name: `everything true`, src: `body.n == 3 && method == "POST"`, body: push, want: `body.n == 3 && method == "POST"  → true
├─ body.n == 3  → true
└─ method == "POST"  → true`},
		{name: `the first part of three`, src: `body.n == 1 && method == "POST" && path == "/x/y"`, body: push, want: `body.n == 1 && method == "POST" && path == "/x/y"  → false
├─ body.n == 1  → false: body.n is 3
├─ method == "POST"  → not asked
└─ path == "/x/y"  → not asked`},
		{name: `the last part of three`, src: `path == "/x/y" && method == "POST" && body.n == 1`, body: push, want: `path == "/x/y" && method == "POST" && body.n == 1  → false
├─ path == "/x/y"  → true
├─ method == "POST"  → true
└─ body.n == 1  → false: body.n is 3`},
		{name: `words in place of signs`, src: `body.n == 3 and not (body.draft or body.n == 4)`, body: push, want: `body.n == 3 and not (body.draft or body.n == 4)  → false
├─ body.n == 3  → true
└─ not (body.draft or body.n == 4)  → false
   └─ body.draft or body.n == 4  → true
      ├─ body.draft  → true
      └─ body.n == 4  → not asked`},
		{name: `none of several`, src: `body.n == 1 || body.n == 2 || body.ref == "x"`, body: push, want: `body.n == 1 || body.n == 2 || body.ref == "x"  → false
├─ body.n == 1  → false: body.n is 3
├─ body.n == 2  → false: body.n is 3
└─ body.ref == "x"  → false: body.ref is "refs/heads/main"`},
		{name: `the second of two`, src: `(body.n == 1 || body.n == 3) && body.ref == "x"`, body: push, want: `(body.n == 1 || body.n == 3) && body.ref == "x"  → false
├─ body.n == 1 || body.n == 3  → true
│  ├─ body.n == 1  → false: body.n is 3
│  └─ body.n == 3  → true
└─ body.ref == "x"  → false: body.ref is "refs/heads/main"`},
		{name: `not of what is true`, src: `!(body.n == 3)`, body: push, want: `!(body.n == 3)  → false
└─ body.n == 3  → true`},
		{name: `not of a field`, src: `not body.draft`, body: push, want: `not body.draft  → false
└─ body.draft  → true`},
		{name: `? and :`, src: `body.n == 3 ? body.ref == "x" : body.ref == "y"`, body: push, want: `body.n == 3 ? body.ref == "x" : body.ref == "y"  → false
├─ body.n == 3  → true
├─ body.ref == "x"  → false: body.ref is "refs/heads/main"
└─ body.ref == "y"  → not asked`},
		{name: `? and : the other way`, src: `body.n == 4 ? true : false`, body: push, want: `body.n == 4 ? true : false  → false
├─ body.n == 4  → false: body.n is 3
├─ true  → not asked
└─ false  → false`},
		{name: `if and else`, src: `if body.n == 4 { true } else if body.n == 3 { body.draft == false } else { true }`, body: push, want: `if body.n == 4 { true } else if body.n == 3 { body.draft == false } else { true…  → false
├─ body.n == 4  → false: body.n is 3
├─ true  → not asked
└─ if body.n == 3 { body.draft == false } else { true }  → false
   ├─ body.n == 3  → true
   ├─ body.draft == false  → false: body.draft is true
   └─ true  → not asked`},
		{name: `a yes or no that is a text`, src: `body.ref && true`, body: push, want: `body.ref && true  → error: got a text where yes or no (bool) is needed
├─ body.ref  → "refs/heads/main"
└─ true  → not asked`},
		{name: `a whole condition that is a text`, src: `body.ref`, body: push, want: `body.ref  → error: the answer is a text, not true or false (compare it with something: == true, != nil, == "…")`},
		{name: `a whole condition that is null`, src: `body.zero`, body: push, want: `body.zero  → false: it is null`},
		{name: `a whole condition that is not there`, src: `body.nope`, body: push, want: `body.nope  → false: it is not there`},
		{name: `true alone`, src: `true`, body: push, want: `true  → true`},
		{name: `false alone`, src: `false`, body: push, want: `false  → false`},
		{name: `a constant that decides`, src: `body.n == 3 && 1 > 2`, body: push, want: `body.n == 3 && 1 > 2  → false
├─ body.n == 3  → true
└─ 1 > 2  → false`},
		{name: `two comparisons in one`, src: `5 < body.n < 10`, body: push, want: `5 < body.n < 10  → false
├─ 5 < body.n  → false: body.n is 3
└─ body.n < 10  → not asked`},
		{name: `in a list of the rule`, src: `body.ref in ["refs/heads/main2", "refs/heads/dev"]`, body: push, want: `body.ref in ["refs/heads/main2", "refs/heads/dev"]  → false: body.ref is "refs/heads/main"`},
		{name: `not in`, src: `"x" not in body.list`, body: push, want: `"x" not in body.list  → false: body.list is ["x","y"]`},
		{name: `in an object`, src: `"q" in body.obj`, body: push, want: `"q" in body.obj  → false: body.obj is {"k":{"deep":1}}`},
		{name: `in nothing`, src: `"x" in body.nope`, body: push, want: `"x" in body.nope  → false: body.nope is not there`},
		{name: `matches`, src: `body.ref matches "^refs/tags/v[0-9]+$"`, body: push, want: `body.ref matches "^refs/tags/v[0-9]+$"  → false: body.ref is "refs/heads/main"`},
		{name: `starts, ends, contains`, src: `body.ref startsWith "refs/tags/" or body.ref endsWith "dev" or body.ref contains "rel" or raw contains "zz"`, body: `{"ref":"refs/heads/main"}`, want: `body.ref startsWith "refs/tags/" or body.ref endsWith "dev" or body.ref contain…  → false
├─ body.ref startsWith "refs/tags/"  → false: body.ref is "refs/heads/main"
├─ body.ref endsWith "dev"  → false: body.ref is "refs/heads/main"
├─ body.ref contains "rel"  → false: body.ref is "refs/heads/main"
└─ raw contains "zz"  → false: raw is "{\"ref\":\"refs/heads/main\"}"`},
		{name: `arithmetic`, src: `body.n * 2 + 1 == 8`, body: push, want: `body.n * 2 + 1 == 8  → false: body.n * 2 + 1 is 7`},
		{name: `?? of an absent field`, src: `(body.nope ?? 2) > 3`, body: push, want: `(body.nope ?? 2) > 3  → false: body.nope ?? 2 is 2`},
		{name: `?? of a field`, src: `(body.n ?? 9) > 3`, body: push, want: `(body.n ?? 9) > 3  → false: body.n ?? 9 is 3`},
		{name: `?.`, src: `body?.a?.b == 1 || body.obj?.k?.deep == 2`, body: push, want: `body?.a?.b == 1 || body.obj?.k?.deep == 2  → false
├─ body?.a?.b == 1  → false: body?.a?.b is not there
└─ body.obj?.k?.deep == 2  → false: body.obj?.k?.deep is 1`},
		{name: `get`, src: `get(body, "n") == 4`, body: push, want: `get(body, "n") == 4  → false: get(body, "n") is 3`},
		{name: `a slice`, src: `body.list[1:] == ["x"]`, body: push, want: `body.list[1:] == ["x"]  → false: body.list[1:] is ["y"]`},
		{name: `a range`, src: `body.n in 5..9`, body: push, want: `body.n in 5..9  → false: body.n is 3`},
		{name: `a variable`, src: `let o = body.obj; let d = o.k.deep; d == 2 && o.k.q == 1`, body: push, want: `let o = body.obj; let d = o.k.deep; d == 2 && o.k.q == 1  → false: body.obj is {"k":{"deep":1}}, o.k.deep is 1
└─ d == 2 && o.k.q == 1  → false
   ├─ d == 2  → false: d is 1
   └─ o.k.q == 1  → not asked`},
		{name: `a sequence`, src: `body.nope; body.n == 4`, body: push, want: `body.nope; body.n == 4  → false
├─ body.nope  → not there
└─ body.n == 4  → false: body.n is 3`},
		{name: `a list made of the event`, src: `[body.n, method] == [3, "GET"]`, body: push, want: `[body.n, method] == [3, "GET"]  → false: [body.n, method] is [3,"POST"]`},
		{name: `an object made of the event`, src: `{"a": body.n}.a == 4`, body: push, want: `{"a": body.n}.a == 4  → false: {"a": body.n}.a is 3`},
		{name: `pipes`, src: `body.list | len() > 7 || (body.ref | split("/") | last()) == "dev"`, body: push, want: `body.list | len() > 7 || (body.ref | split("/") | last()) == "dev"  → false
├─ body.list | len() > 7  → false: body.list | len() is 2
└─ (body.ref | split("/") | last()) == "dev"  → false: body.ref | split("/") | last() is "main"`},
		{name: `texts are joined`, src: `"ref: " + body.ref == "ref: x"`, body: push, want: `"ref: " + body.ref == "ref: x"  → false: "ref: " + body.ref is "ref: refs/heads/main"`},
		{name: `division by zero`, src: `body.n % (body.n - 3) == 1`, body: push, want: `body.n % (body.n - 3) == 1  → error
└─ body.n % (body.n - 3)  → error: integer divide by zero; body.n is 3; body.n - 3 is 0`},
		{name: `a number in a text`, src: `int(body.ref) > 1`, body: push, want: `int(body.ref) > 1  → error
└─ int(body.ref)  → error: int does not work on what this event has there; body.ref is "refs/heads/main"`},
		{name: `any: none`, src: `any(body.items, .name == "x")`, body: push, want: `any(body.items, .name == "x")  → false: none of 2
└─ .name == "x"  → false: .name is "b" (true in 0 of 2)`},
		{name: `any of two conditions`, src: `any(body.items, .n > 7 && .name == "b")`, body: push, want: `any(body.items, .n > 7 && .name == "b")  → false: none of 2
└─ .n > 7 && .name == "b"  → false (true in 0 of 2)
   ├─ .n > 7  → false: .n is 5 (true in 0 of 2)
   └─ .name == "b"  → not asked`},
		{name: `any of nothing`, src: `any(body.nope ?? [], .n > 1)`, body: push, want: `any(body.nope ?? [], .n > 1)  → false: the list is empty
└─ .n > 1  → not asked`},
		{name: `all`, src: `all(body.items, .n < 5)`, body: push, want: `all(body.items, .n < 5)  → false: number 2 is not
└─ .n < 5  → false: .n is 5 (true in 1 of 2)`},
		{name: `none`, src: `none(body.items, { .n == 5 })`, body: push, want: `none(body.items, { .n == 5 })  → false: number 2 is
└─ .n == 5  → true (true in 1 of 2)`},
		{name: `one`, src: `one(body.items, .n > 0)`, body: push, want: `one(body.items, .n > 0)  → false: 2 of 2 are
└─ .n > 0  → true (true in 2 of 2)`},
		{name: `filter`, src: `len(filter(body.items, .n > 7)) > 0`, body: push, want: `len(filter(body.items, .n > 7)) > 0  → false: len(filter(body.items, .n > 7)) is 0
└─ .n > 7  → false: .n is 5 (true in 0 of 2)`},
		{name: `filter to a field that is not there`, src: `filter(body.items, .n > 100)[0].name == "x"`, body: push, want: `filter(body.items, .n > 100)[0].name == "x"  → false: filter(body.items, .n > 100)[0].name is not there
└─ .n > 100  → false: .n is 5 (true in 0 of 2)`},
		{name: `count`, src: `count(body.items, .n > 1) == 2`, body: push, want: `count(body.items, .n > 1) == 2  → false: count(body.items, .n > 1) is 1
└─ .n > 1  → true (true in 1 of 2)`},
		{name: `map`, src: `map(body.items, .name) == ["a"]`, body: push, want: `map(body.items, .name) == ["a"]  → false: map(body.items, .name) is ["a","b"]
└─ .name  → "b"`},
		{name: `lists in lists`, src: `any(body.commits, any(.added, # == "zz") or "q" in .modified)`, body: push, want: `any(body.commits, any(.added, # == "zz") or "q" in .modified)  → false: none of 2
└─ any(.added, # == "zz") or "q" in .modified  → false (true in 0 of 2)
   ├─ any(.added, # == "zz")  → false (true in 0 of 2)
   │  └─ # == "zz"  → not asked in the last round (true in 0 of 1)
   └─ "q" in .modified  → false: .modified is ["a.go"] (true in 0 of 2)`},
		{name: `a reduction`, src: `reduce(body.items, #acc + .n, 0) == 7`, body: push, want: `reduce(body.items, #acc + .n, 0) == 7  → false: reduce(body.items, #acc + .n, 0) is 6
└─ #acc + .n  → 6`},
		{name: `changed`, src: `"x.go" in changed(body)`, body: push, want: `"x.go" in changed(body)  → false: changed(body) is ["a.go","docs/b.md","c"]`},
		{name: `match on what changed`, src: `any(changed(body), match("src/**", #))`, body: push, want: `any(changed(body), match("src/**", #))  → false: none of 3
└─ match("src/**", #)  → false: # is "c" (true in 0 of 3)`},
		{name: `a function of the rule in a function`, src: `lower(trim(body.ref)) == "x"`, body: push, want: `lower(trim(body.ref)) == "x"  → false: lower(trim(body.ref)) is "refs/heads/main"`},
		{name: `text beyond ASCII`, src: `body.name == "Zoë" || "日本" in [body.name]`, body: `{"name":"Zoé \u202e\u200b\u0007"}`, want: `body.name == "Zoë" || "日本" in [body.name]  → false
├─ body.name == "Zoë"  → false: body.name is "Zoé \u202e\u200b\u0007"
└─ "日本" in [body.name]  → false: [body.name] is ["Zoé \u202e\u200b\u0007"]`},
		{name: `several lines`, src: `body.n == 4
  // the branch
  || body.ref ==
     "x"`, body: push, want: `body.n == 4 // the branch || body.ref == "x"  → false
├─ body.n == 4  → false: body.n is 3
└─ body.ref == "x"  → false: body.ref is "refs/heads/main"`},
		{name: `quotes as written`, src: "body.ref == 'x' or body.ref == `y`", body: push, want: "body.ref == 'x' or body.ref == `y`  → false\n├─ body.ref == 'x'  → false: body.ref is \"refs/heads/main\"\n└─ body.ref == `y`  → false: body.ref is \"refs/heads/main\""},
		{name: `a long text is cut`, src: `body.long == "x"`, body: `{"long":"` + strings.Repeat("é", 300) + `"}`, want: `body.long == "x"  → false: body.long is "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé…`},
		{name: `a long condition is cut`, src: `body.n == 1 || body.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa == "bbbbbbbbbbbbbbbbbbbbbbbbbbbbb"`, body: push, want: `body.n == 1 || body.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…  → false
├─ body.n == 1  → false: body.n is 3
└─ body.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…  → false: body.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not there`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, event := condition(t, tt.src), jsonEvent(tt.body)
			if c.prog.trace() == nil {
				t.Fatalf("%s can't be traced", tt.src)
			}
			tree := c.Explain(NewScope(event))
			if got := tree.String(); got != tt.want {
				t.Errorf("the tree of %s is\n%s\nwant\n%s", tt.src, got, tt.want)
			}
			if err := checkTree(c, event, tree); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExplainDecides: what is marked is what somebody has to look at, and misses
// are told from near misses.
func TestExplainDecides(t *testing.T) {
	const body = `{"n":3,"t":true,"list":[1,2]}`
	tests := []struct {
		name, src string
		want      string // the parts that decided, joined by " ; "
		near      float64
	}{
		{name: "a match", src: `body.n == 3`, near: 1},
		{name: "a plain miss", src: `body.n == 4`, want: `body.n == 4`},
		{name: "the part that was false", src: `body.t && body.n == 4`, want: `body.n == 4`, near: 0.5},
		{name: "parts that were not asked count half", src: `body.n == 4 && body.t`, want: `body.n == 4`, near: 0.25},
		{name: "three of four", src: `body.t && body.n > 1 && body.n > 2 && body.n > 3`, want: `body.n > 3`, near: 0.75},
		{name: "all parts of an or", src: `body.n == 1 || body.n == 2`, want: `body.n == 1 ; body.n == 2`},
		{name: "the best of an or", src: `body.n == 1 || (body.t && body.n == 2)`, want: `body.n == 1 ; body.n == 2`, near: 0.5},
		{name: "what is true below a not", src: `body.t && not (body.n == 1 || body.n == 3)`, want: `body.n == 3`, near: 0.5},
		{name: "all that is true below a not", src: `not (body.n == 3 && body.t)`, want: `body.n == 3 ; body.t`},
		{name: "the branch that was taken", src: `body.t ? body.n == 4 : true`, want: `body.n == 4`},
		{name: "the end of a let", src: `let n = body.n; n > 0 && n == 4`, want: `n == 4`, near: 0.5},
		{name: "a list as a whole", src: `any(body.list, # > 0 && # == 3)`, want: `any(body.list, # > 0 && # == 3)`},
		{name: "the part that failed", src: `body.t && body.list > 3`, want: `body.list > 3`},
		{name: "the field that is neither true nor false", src: `body.t && body.nope && body.n == 3`, want: `body.nope`},
		{name: "the element that failed", src: `any(body.list, .x > 3)`, want: `.x > 3`},
		{name: "a whole condition that is no answer", src: `body.n`, want: `body.n`},
		{name: "a whole condition that is nothing", src: `body.nope`, want: `body.nope`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := condition(t, tt.src).Explain(NewScope(jsonEvent(body)))
			var texts []string
			for _, n := range tree.Deciders() {
				texts = append(texts, n.Text)
			}
			if got := strings.Join(texts, " ; "); got != tt.want {
				t.Errorf("%s was decided by %s, want %s", tt.src, got, tt.want)
			}
			if got := near(tree); got != tt.near {
				t.Errorf("near(%s) = %v, want %v", tt.src, got, tt.near)
			}
		})
	}
}

// TestExplainMasks: no part of a secret is shown, wherever a text is cut.
func TestExplainMasks(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2"
	mask := newMasker([]Secret{NewSecret(secret), NewSecret("other\"\u200bsecret"), NewSecret("12345678")})
	tests := []struct{ name, src, body, want string }{
		{name: "a value", src: `body.a == "x"`, body: `{"a":"is ` + secret + `!"}`, want: `body.a is "is ***!"`},
		{name: "a number", src: `body.a == 1`, body: `{"a":12345678}`, want: `body.a is ***`},
		{name: "in an object", src: `body.a == 1`, body: `{"a":{"k":["` + secret + `"]}}`, want: `body.a is {"k":["***"]}`},
		{name: "one that is escaped", src: `body.a == 1`, body: `{"a":"other\"\u200bsecret"}`, want: `body.a is "***"`},
		{name: "one that the rule names", src: `body.a == "` + secret + `"`, body: `{"a":1}`, want: `body.a == "***"  → false: body.a is 1`},
		{name: "a header that proves who sends", src: `header_values("authorization") == [] || headers["Authorization"] == "x"`, body: `{}`, want: `header_values("authorization") is ["***"]`},
		{name: "a short one, which stands in many texts", src: `headers["x-pin"] == "1" || headers["X_Hook-Secret"] == "x"`, body: `{}`, want: `headers["X_Hook-Secret"] is "***"`},
		{name: "a part of one", src: `headers["X-Api-Key"][:2] == "x" || upper(headers["x-api-key"]) == "x"`, body: `{}`, want: `upper(headers["x-api-key"]) == "x"  → false: upper(headers["x-api-key"]) is "***"`},
		{name: "of several values", src: `any(header_values("x-api-key"), # == "x")`, body: `{}`, want: `# == "x"  → false: # is "***"`},
		{name: "a header that is none", src: `headers["X-Event-Key"] == "x"`, body: `{}`, want: `headers["X-Event-Key"] is "repo:push"`},
		{name: "one that is not there", src: `headers["X-Other-Token"] == "x"`, body: `{}`, want: `headers["X-Other-Token"] is not there`},
		{name: "one where the text is cut", src: `body.a == 1`, body: `{"a":"` + strings.Repeat("é", 90) + secret + `"}`, want: strings.Repeat("é", 90) + `***"`},
		{name: "one where the value is cut before it is masked", src: `body.a == 1`,
			body: `{"a":"` + strings.Repeat(secret, (maxShown+len(secret))/len(secret)) + `hunter2-hunter2-hunter2"}`, want: `is "***`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := jsonEvent(tt.body)
			event.Header = http.Header{
				"Content-Type": {"application/json"}, "Authorization": {"Bearer hunter2"}, "X-Event-Key": {"repo:push"}, "X_hook-Secret": {"ab"}, "X-Api-Key": {"QZ9", "QZ8"},
			}
			tree := condition(t, tt.src).explain(NewScope(event), newVeil(mask, event), &sketchbook{text: maxTreeText, time: maxTreeTime})
			js, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(tree.String(), tt.want) {
				t.Errorf("the tree is\n%s\nwant %s in it", tree, tt.want)
			}
			for _, secret := range []string{"hunter2", "QZ", `"ab"`} {
				if strings.Contains(string(js), secret) || strings.Contains(tree.String(), secret) {
					t.Errorf("the tree tells a secret: %s", js)
				}
			}
		})
	}
}

// TestExplainInJSON holds the shape that commands and pages give.
func TestExplainInJSON(t *testing.T) {
	tree := condition(t, `body.a == "x" && any(body.l, .n == 1)`).Explain(NewScope(jsonEvent(`{"a":"x","l":[{"n":0},{}]}`)))
	var got strings.Builder
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		t.Fatal(err)
	}
	want := `{"text":"body.a == \"x\" && any(body.l, .n == 1)","offset":0,"op":"&&","state":"false","parts":[` +
		`{"text":"body.a == \"x\"","offset":0,"op":"==","state":"true","parts":[` +
		`{"text":"body.a","offset":0,"path":"body.a","state":"value","kind":"text","value":"\"x\""}]},` +
		`{"text":"any(body.l, .n == 1)","offset":17,"op":"any","state":"false","decided":true,"parts":[` +
		`{"text":"body.l","offset":21,"path":"body.l","state":"value","kind":"list","value":"[{\"n\":0},{}]"},` +
		`{"text":".n == 1","offset":29,"op":"==","state":"false","rounds":2,"each":true,"parts":[` +
		`{"text":".n","offset":29,"path":".n","state":"missing","kind":"nothing","rounds":2}]}]}]}` + "\n"
	if got.String() != want {
		t.Errorf("the tree is\n%s\nwant\n%s", got.String(), want)
	}
}
