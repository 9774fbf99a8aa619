package ruletest

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// said shows problems as a person gets them.
func said(problems []rules.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
		if p.Hint != "" {
			b.WriteString("  hint: " + p.Hint + "\n")
		}
	}
	return b.String()
}

// testRules are what the tests of this package are about.
const testRules = `
buckets: {deploys: {verify: {scheme: standard-webhooks, secret: "${env:HOOK_SECRET}"}}, chat: {verify: none}}
file_roots: [/var/lib/not-there]
rules:
  - name: deploy
    bucket: deploys
    method: POST
    when: headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/main"
    actions:
      - id: build
        exec: [make, deploy, "REF={{ body.after }}"]
        dir: /srv/app
        env: {BRANCH: "{{ body.ref }}", TOKEN: "${env:TOKEN}"}
        stdin: "{{ raw }}"
      - shell: |
          echo "$SHA"
        env: {SHA: "{{ body.after }}"}
      - if: steps.build.exit_code == 0
        file: /var/lib/not-there/{{ body.after }}.json
        content: "{{ raw }}\n{{ steps.build.stdout }}\n"
      - http: https://chat.example/hook
        headers: {Authorization: "Bearer ${file:/run/secrets/not-there}"}
        json: {text: "deployed {{ body.after }}", n: 1}
  - name: each
    bucket: chat
    for_each: {list: body.list, as: item}
    actions:
      - exec: [echo, "{{ item }}"]
  - name: count
    bucket: chat
    when: body.n > 3
    actions: [{exec: [echo, many]}]
`

func load(t testing.TB) *rules.Generation {
	t.Helper()
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(testRules)}}, rules.Options{
		Dry: true, Dir: "/work", Getenv: func(string) (string, bool) { return "", false },
	})
	if g == nil {
		t.Fatal(said(problems))
	}
	return g
}

// parse reads tests from a text.
func parse(text string) (*File, []rules.Problem) {
	return Parse(rules.File{Path: "x.tests.yaml", Data: []byte(text)})
}

func TestBadFilesOfTests(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", `x.tests.yaml:1: the file is empty
  hint: begin with: tests: [{name: a push, event: github/push, bucket: deploys, match: [deploy]}]
`},
		{"no tests", "env: {A: b}\n", `x.tests.yaml:1:1: the file needs tests
  hint: begin with: tests: [{name: a push, event: github/push, bucket: deploys, match: [deploy]}]
`},
		{"an unknown key at the top", "test: []\n", `x.tests.yaml:1:1: unknown key "test" in the file
  hint: did you mean "tests"?
`},
		{"an unknown key of a test", "tests:\n  - {name: a, event: github/push, bucket: b, matches: [x]}\n", `x.tests.yaml:2:5: the test says nothing of what is to come of its event
  hint: match: [deploy] names the rules that match, match: [] says that none does
x.tests.yaml:2:46: unknown key "matches" in a test
  hint: did you mean "match"?
`},
		{"no name", "tests:\n  - {event: github/push, bucket: b, match: []}\n", `x.tests.yaml:2:5: a test needs name
  hint: {name: a push, event: github/push, bucket: deploys, match: [deploy]}
`},
		{"a name twice", "tests:\n  - {name: a, event: github/push, bucket: b, match: []}\n  - {name: a, event: github/push, bucket: b, match: []}\n", `x.tests.yaml:3:5: the name "a" is that of the test in line 2 already
  hint: -run and reports know a test by its name
`},
		{"a key twice", "tests:\n  - {name: a, event: {bucket: b, body: {a: 1, a: 2}}, match: []}\n", `x.tests.yaml:2:47: the key "a" is there twice: first in line 2
`},
		{"no such sample", "tests:\n  - {name: a, event: github/psh, bucket: b, match: []}\n", `x.tests.yaml:2:22: there is no sample "github/psh"
  hint: did you mean "github/push"?
`},
		{"no such file", "tests:\n  - {name: a, event: gone.http, bucket: b, match: []}\n", `x.tests.yaml:2:22: the event gone.http: no such file or directory
  hint: a path starts at the folder of the tests
`},
		{"no bucket", "tests:\n  - {name: a, event: github/push, match: []}\n", `x.tests.yaml:2:22: nothing says to which bucket the event came
  hint: bucket: deploys
`},
		{"no time", "tests:\n  - {name: a, event: github/push, bucket: b, now: yesterday, match: []}\n", `x.tests.yaml:2:51: now must be a time, not "yesterday"
  hint: now: 2026-01-02T03:04:05Z
`},
		{"a number that JSON has not", "tests:\n  - {name: a, event: {bucket: b, body: {n: 0x1F, m: .inf, z: 007}}, match: []}\n", `x.tests.yaml:2:44: "0x1F" is no number that JSON has
  hint: put a text into quotes, or write the number as 1, -2.5 or 1e9
x.tests.yaml:2:53: ".inf" is no number that JSON has
  hint: put a text into quotes, or write the number as 1, -2.5 or 1e9
x.tests.yaml:2:62: "007" is no number that JSON has
  hint: put a text into quotes, or write the number as 1, -2.5 or 1e9
`},
		{"two bodies", "tests:\n  - {name: a, event: {bucket: b, body: x, base64: eA==}, match: []}\n", `x.tests.yaml:2:51: there are body and base64
  hint: base64 is for a body that is no text
`},
		{"no base64", "tests:\n  - {name: a, event: {bucket: b, base64: '?'}, match: []}\n", `x.tests.yaml:2:42: base64: illegal base64 data at input byte 0
  hint: base64 -w0 FILE writes it
`},
		{"a merge into no JSON", "tests:\n  - {name: a, event: {bucket: b, body: a=b, merge: {c: d}}, match: []}\n", `x.tests.yaml:2:52: merge needs a JSON body to change: invalid character 'a' looking for beginning of value
  hint: write body: in place of it
`},
		{"a bad expression", "tests:\n  - name: a\n    event: {bucket: b}\n    actions: {r: [{exec: [{match: '('}]}]}\n", "x.tests.yaml:4:35: error parsing regexp: missing closing ): `(`\n  hint: write it in the syntax of RE2: https://golang.org/s/re2syntax\n"},
		{"an expression that closes our brackets", "tests:\n  - name: a\n    event: {bucket: b}\n    actions: {r: [{exec: [{match: 'a)|(b'}]}]}\n", "x.tests.yaml:4:35: error parsing regexp: unexpected ): `a)|(b`\n  hint: write it in the syntax of RE2: https://golang.org/s/re2syntax\n"},
		{"two kinds", "tests:\n  - name: a\n    event: {bucket: b}\n    actions: {r: [{exec: [x], file: y}]}\n", `x.tests.yaml:4:31: one action can't be exec and file
  hint: each action is an item of its own
`},
		{"no kind", "tests:\n  - name: a\n    event: {bucket: b}\n    actions: {r: [{method: POST}]}\n", `x.tests.yaml:4:19: nothing says what the action does
  hint: exec: […], shell: …, file: PATH, http: URL, skip: true or error: …
`},
		{"a key of another kind", "tests:\n  - name: a\n    event: {bucket: b}\n    actions: {r: [{exec: [x], content: y}]}\n", `x.tests.yaml:4:31: content does not go with exec
`},
		{"actions of a rule that is not to match", "tests:\n  - name: a\n    event: {bucket: b}\n    match: [q]\n    actions: {r: [{exec: [x]}]}\n", `x.tests.yaml:5:15: actions of rule "r", which is not in match
  hint: put it into match
`},
		{"a rule that is and is not to match", "tests:\n  - name: a\n    event: {bucket: b}\n    match: [q]\n    no_match: [q]\n", `x.tests.yaml:5:16: "q" is in match, too
`},
		{"a result that is none", "tests:\n  - name: a\n    event: {bucket: b}\n    match: [r]\n    steps: {r: {build: {exit_code: -2, state: crashed}}}\n", `x.tests.yaml:5:36: exit_code must be a number from -1 to 2147483647, not "-2"
x.tests.yaml:5:47: state must be done, failed or skipped, not "crashed"
`},
		{"an alias bomb", "x-a: &a [1,1,1,1,1,1,1,1,1,1]\ntests: []\n", `x.tests.yaml:2:8: tests is an empty list
`},
		{"two documents", "tests: [{name: a, event: github/push, bucket: b, match: []}]\n---\na: b\n", `x.tests.yaml:2:1: a second YAML document begins here
  hint: put all of it into the first
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, problems := parse(tt.text)
			if got := said(problems); f != nil || got != tt.want {
				t.Errorf("got %v and\n%s\nwant none and\n%s", f, got, tt.want)
			}
		})
	}
}

func TestNamesThatTheRulesDoNotKnow(t *testing.T) {
	f, problems := parse(`tests:
  - name: a
    event: github/push
    bucket: deploys
    match: [deploi]
    no_match: [eech]
    unverified: [quite another]
    errors: {counts: .*}
    steps: {deploy: {bild: {exit_code: 1}}}
  - name: b
    event: github/push
    bucket: deploys
    actions: {deploy: {"7": {skip: true}}}
`)
	if f == nil {
		t.Fatal(said(problems))
	}
	want := `x.tests.yaml:5:13: there is no rule "deploi"
  hint: did you mean "deploy"?
x.tests.yaml:6:16: there is no rule "eech"
  hint: did you mean "each"?
x.tests.yaml:7:18: there is no rule "quite another"
  hint: the rules are count, deploy, each
x.tests.yaml:8:14: there is no rule "counts"
  hint: did you mean "count"?
x.tests.yaml:9:22: rule "deploy" has no action "bild"
  hint: did you mean "build"?
x.tests.yaml:13:24: rule "deploy" has no action "7"
  hint: its actions are 2, 3, 4, build
`
	if got := said(f.Check(load(t).Rules)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEventsOfTests(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.http", "PUT /hooks/a%2Fb/c?x=1 HTTP/1.1\nX-A: 1\nX-A: 2\n\n{\"a\":1}\n")
	write("length.http", "POST /hooks/a HTTP/1.1\nContent-Length: 2\n\n{}\n")
	write("short.http", "POST /hooks/a HTTP/1.1\nContent-Length: 3\n\n{}")
	write("long.http", "POST /hooks/a HTTP/1.1\nContent-Length: 2\n\n{} and more")
	write("none.http", "hello\n")
	write("e.json", `{"bucket": "b", "headers": {"X-A": "1"}, "body": {"big": 12345678901234567890, "f": 1.50}}`)
	write("loop.json", `{"from": "loop.json", "bucket": "b"}`)
	write("bad.json", `{"bukket": "b"}`)
	tests := []struct {
		name, event string
		want        *engine.Event
		problem     string
	}{
		{"a raw request", "a.http", &engine.Event{Bucket: "a/b", Method: "PUT", Path: "/c", Query: "x=1", Header: http.Header{"X-A": {"1", "2"}}, Body: []byte("{\"a\":1}\n")}, ""},
		{"with its length", "length.http", &engine.Event{Bucket: "a", Header: http.Header{"Content-Length": {"2"}}, Body: []byte("{}")}, ""},
		{"shorter than its length", "short.http", nil, "its body is shorter than its Content-Length says"},
		{"longer than its length", "long.http", nil, "its body is longer than its Content-Length says"},
		{"no request", "none.http", nil, "it does not begin with the first line of an HTTP request"},
		{"JSON", "e.json", &engine.Event{Bucket: "b", Header: http.Header{"X-A": {"1"}}, Body: []byte(`{"big":12345678901234567890,"f":1.50}`)}, ""},
		{"JSON that is from itself", "loop.json", nil, "events are from each other more than 8 times"},
		{"JSON with a key that nobody knows", "bad.json", nil, `bad.json:1:2: unknown key "bukket" in the file`},
		{"a text", "{bucket: b, body: 'a=b'}", &engine.Event{Bucket: "b", Body: []byte("a=b")}, ""},
		{"a text that looks like a number", "{bucket: b, body: '12'}", &engine.Event{Bucket: "b", Body: []byte("12")}, ""},
		{"a value", `{bucket: b, body: {z: null, a: [true, "x\n", 1e3, {}]}}`, &engine.Event{Bucket: "b", Body: []byte(`{"z":null,"a":[true,"x\n",1e3,{}]}`)}, ""},
		{"bytes", "{bucket: b, base64: /wA=}", &engine.Event{Bucket: "b", Body: []byte{0xff, 0}}, ""},
		{"no body", "{bucket: b, method: get, query: {q: a b}}", &engine.Event{Bucket: "b", Method: "GET", Query: "q=a+b"}, ""},
		{"a merge", "{from: e.json, merge: {big: 1, f: null, in: {a: x, gone: null}}}", &engine.Event{Bucket: "b", Header: http.Header{"X-A": {"1"}}, Body: []byte(`{"big":1,"in":{"a":"x"}}`)}, ""},
		{"one header more, one other", "{from: e.json, headers: {x-a: [3, 4], X-B: 5}, body: x}", &engine.Event{Bucket: "b", Header: http.Header{"X-A": {"3", "4"}, "X-B": {"5"}}, Body: []byte("x")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := "tests:\n  - name: a\n    match: []\n    event: " + tt.event + "\n"
			f, problems := Parse(rules.File{Path: filepath.Join(dir, "x.tests.yaml"), Data: []byte(text)})
			if tt.want == nil {
				if got := said(problems); !strings.Contains(got, tt.problem) {
					t.Errorf("got %s, want %s", got, tt.problem)
				}
				return
			}
			if f == nil {
				t.Fatal(said(problems))
			}
			want := blank()
			want.ID, want.Received, want.Bucket, want.Query, want.Body = madeUp, defaultNow(), tt.want.Bucket, tt.want.Query, tt.want.Body
			if tt.want.Method != "" {
				want.Method = tt.want.Method
			}
			if tt.want.Path != "" {
				want.Path = tt.want.Path
			}
			if tt.want.Header != nil {
				want.Header = tt.want.Header
			}
			if got := f.Tests[0].event; !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestSamples holds the samples to what is in testdata/events.
func TestSamples(t *testing.T) {
	names := Samples()
	for _, want := range []string{"github/push", "gitlab/push", "stripe", "alertmanager"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no sample %q", want)
		}
	}
	for _, name := range names {
		got, ok := sample(name)
		want, err := os.ReadFile(filepath.Join(root, "testdata", "events", strings.ReplaceAll(name, "/", "-")+".http"))
		if !ok || err != nil || !bytes.Equal(got, want) {
			t.Errorf("sample %s is not the event of testdata/events (%v): copy that one here", name, err)
		}
		if _, err := Request(got); err != nil {
			t.Errorf("sample %s: %v", name, err)
		}
	}
}
