package ruletest

import (
	"regexp"
	"testing"
)

// aPush is what most tests here begin with.
const aPush = `tests:
  - name: t
    event: {bucket: deploys, headers: {X-GitHub-Event: push}, body: {ref: refs/heads/main, after: 4f2c}}
`

func TestRun(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"all as it is", aPush + `    match: [deploy]
    steps: {deploy: {build: {stdout: v1}}}
    actions:
      deploy:
        - exec: [make, deploy, REF=4f2c]
          dir: /srv/app
          env: {BRANCH: refs/heads/main, TOKEN: "***"}
          stdin: '{"ref":"refs/heads/main","after":"4f2c"}'
        - shell: "echo \"$SHA\"\n"
          env: {SHA: {match: "[0-9a-f]+"}}
        - file: ../var/lib/not-there/4f2c.json
          write: replace
          content: "{\"ref\":\"refs/heads/main\",\"after\":\"4f2c\"}\nv1\n"
        - http: https://chat.example/hook
          method: post
          headers: {authorization: "Bearer ***"}
          json: {n: 1, text: deployed 4f2c}
`, ""},
		{"by id", aPush + `    actions: {deploy: {build: {exec: [make, deploy, {match: "REF=.*"}]}, "4": {http: {match: "https://.*"}}}}
`, ""},
		{"a hash", aPush + `    actions: {deploy: {build: {exec: [make, deploy, {sha256: 37df422ef859652fe14941879a7235a01a33dafe47755b2fbc7de2bff9bfd2b3}]}}}
`, ""},
		{"no match", `tests:
  - name: t
    event: {bucket: deploys, headers: {X-GitHub-Event: push}, body: {ref: refs/heads/dev}}
    match: [deploy]
`, `rule "deploy" does not match: false: body.ref == "refs/heads/main"
    body.ref == "refs/heads/main"  → false: body.ref is "refs/heads/dev"
`},
		{"a match too many", aPush + `    match: []
`, `rule "deploy" matches, and match does not name it
`},
		{"a rule that is not to match", aPush + `    no_match: [deploy]
`, `rule "deploy" matches, and no_match names it
`},
		{"a rule of another bucket", aPush + `    match: [deploy, count]
`, `rule "count" is not asked: it is for bucket "chat", and the event came to "deploys"
`},
		{"a rule that did not know the sender", aPush + `    match: []
    unverified: [deploy]
`, ""},
		{"another method", `tests:
  - name: t
    event: {bucket: deploys, method: PUT, body: {}}
    match: [deploy]
`, `rule "deploy" does not match: the method is PUT, not POST
`},
		{"a body that is no JSON", `tests:
  - name: t
    event: {bucket: deploys, headers: {X-GitHub-Event: push}, body: "{"}
    match: [deploy]
`, `rule "deploy" does not match: false: body.ref == "refs/heads/main"
    body.ref == "refs/heads/main"  → false: body.ref is not there
    the body can't be read: JSON: the body ends too early, at byte 1
`},
		{"a condition that fails", `tests:
  - name: t
    event: {bucket: chat, body: {n: x}}
    match: [each]
`, `rule "each" ends in an error: for_each.list: body.list: at column 1: the event has no body.list (write ?? [] where it may be empty)
rule "count" ends in an error: body.n > 3: at column 8: > does not work between a text and a number
    body.n > 3  → error: > does not work between a text and a number; body.n is "x"
`},
		{"a condition that is to fail", `tests:
  - name: t
    event: {bucket: chat, body: {n: x, list: []}}
    match: [each]
    errors: {count: {match: ".*> does not work between a text and a number.*"}}
    actions: {each: []}
`, ""},
		{"a condition that fails otherwise", `tests:
  - name: t
    event: {bucket: chat, body: {n: x, list: []}}
    match: [each]
    errors: {count: never}
`, `rule "count" ends in another error (-want +got)
    - "never"
    + "body.n > 3: at column 8: > does not work between a text and a number"
`},
		{"a condition that is to fail and does not", `tests:
  - name: t
    event: {bucket: chat, body: {n: 4, list: []}}
    match: [each]
    errors: {count: never}
`, `rule "count" matches, and match does not name it
rule "count" matches, and errors says that it ends in an error
`},
		{"other arguments, other variables", aPush + `    actions:
      deploy:
        build:
          exec: [make, deploy, REF=4f2d]
          dir: /srv
          env: {BRANCH: {match: "refs/tags/.*"}, NONE: x}
          stdin: "{}"
`, `rule "deploy", action build: the command is another (-want +got)
    - ["make", "deploy", "REF=4f2d"]
    + ["make", "deploy", "REF=4f2c"]
rule "deploy", action build: dir is another (-want +got)
    - "/srv"
    + "/srv/app"
rule "deploy", action build: stdin is another (-want +got)
    - "{}"
    + "{\"ref\":\"refs/heads/main\",\"after\":\"4f2c\"}"
rule "deploy", action build: the variable BRANCH is another (-want +got)
    - {match: "refs/tags/.*"}
    + "refs/heads/main"
rule "deploy", action build: there is no variable NONE
    - "x"
`},
		{"another kind", aPush + `    actions: {deploy: {build: {shell: make deploy}}}
`, `rule "deploy", action build: it is exec, want shell
`},
		{"other content", aPush + `    steps: {deploy: {build: {stdout: "v1\nv2"}}}
    actions: {deploy: {"3": {file: /var/lib/not-there/4f2c.json, content: "{\"ref\":\"refs/heads/main\",\"after\":\"4f2c\"}\nv1\nv3\n", write: append}}}
`, `rule "deploy", action 3: content is another (-want +got)
    @@ -1,3 +1,3 @@
     {"ref":"refs/heads/main","after":"4f2c"}
     v1
    -v3
    +v2
rule "deploy", action 3: write is another (-want +got)
    - append
    + replace
`},
		{"other JSON", aPush + `    actions: {deploy: {"4": {http: "https://chat.example/hook?a", method: PUT, json: {text: deployed 4f2c, n: 2}, headers: {X-None: "1"}}}}
`, `rule "deploy", action 4: the URL is another (-want +got)
    - "https://chat.example/hook?a"
    + "https://chat.example/hook"
rule "deploy", action 4: method is another (-want +got)
    - PUT
    + POST
rule "deploy", action 4: body is other JSON (-want +got)
    @@ -1,4 +1,4 @@
     {
    -  "n": 2,
    +  "n": 1,
       "text": "deployed 4f2c"
     }
rule "deploy", action 4: there is no header X-None
    - "1"
`},
		{"it is not known whether", aPush + `    actions: {deploy: {"3": {file: x}}}
`, `rule "deploy", action 3: whether it runs depends on an action before it: say in steps what that came to
`},
		{"skipped", aPush + `    steps: {deploy: {build: {exit_code: 2}}}
    actions: {deploy: {"3": {file: x}, "4": {skip: true}}}
`, `rule "deploy", action 3: it is skipped: its if is false
    steps.build.exit_code == 0  → false: steps.build.exit_code is 2
rule "deploy", action 4: it is not skipped: http "https://chat.example/hook"
`},
		{"too few actions", aPush + `    actions: {deploy: [{exec: [make]}]}
`, `rule "deploy": it has 4 actions, want 1
    build: exec ["make", "deploy", "REF=4f2c"]
    2: shell "echo \"$SHA\"\n"
    3: not known
    4: http "https://chat.example/hook"
`},
		{"runs", `tests:
  - name: t
    event: {bucket: chat, body: {n: 1, list: [a, b]}}
    actions:
      each:
        - - exec: [echo, a]
        - - exec: [echo, c]
`, `rule "each", run 2, action 1: the command is another (-want +got)
    - ["echo", "c"]
    + ["echo", "b"]
`},
		{"a list for two runs", `tests:
  - name: t
    event: {bucket: chat, body: {n: 1, list: [a, b]}}
    actions: {each: [{exec: [echo, a]}]}
`, `rule "each" starts 2 runs, want 1
    for several runs write a list of lists, one for each: [[{exec: […]}], [{exec: […]}]]
`},
		{"an action that can't be made", `tests:
  - name: t
    event: {bucket: chat, body: {n: 1, list: [{a: 1}, null, -x]}}
    actions: {each: [[{exec: [echo, '{"a":1}']}], [{error: {match: ".*it is nil.*"}}], [{exec: [echo, -x]}]]}
`, `rule "each", run 3, action 1: it fails: argument 1 begins with "-", as an option does; put "--" before it, or write {value: …, dash: allow}
`},
	}
	g := load(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, problems := parse(tt.text)
			if f == nil {
				t.Fatal(said(problems))
			}
			if problems := f.Check(g.Rules); len(problems) > 0 {
				t.Fatal(said(problems))
			}
			r := f.Run(Options{Rules: g.Rules, Dir: "/work"})
			if got := r.Results[0].Text(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestRunOnlySome(t *testing.T) {
	f, problems := parse(`tests:
  - {name: a push, event: github/push, bucket: deploys, match: [deploy]}
  - {name: a tag, event: github/push-tag, bucket: deploys, match: [deploy]}
`)
	if f == nil {
		t.Fatal(said(problems))
	}
	r := f.Run(Options{Rules: load(t).Rules, Dir: "/work", Run: regexp.MustCompile("push$")})
	if len(r.Results) != 1 || r.Failed() != 0 || r.Results[0].Name != "a push" {
		t.Errorf("ran %+v, want the push alone, which passes", r.Results)
	}
	if all := f.Run(Options{Rules: load(t).Rules, Dir: "/work"}); len(all.Results) != 2 || all.Failed() != 1 {
		t.Errorf("ran %+v, want both, of which one fails", all.Results)
	}
}
