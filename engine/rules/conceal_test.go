package rules_test

import (
	"strings"
	"testing"

	"hookrun/engine/rules"
)

func TestConceal(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a secret", "verify: {github: hub, secret: hunter2hunter2} # why\n", "verify: {github: hub, secret: ***} # why\n"},
		{"a short one, quoted", "secret: 'it''s'\n", "secret: '***'\n"},
		{"with an escape", `{token: "a\x62\"c", b: 1}` + "\n", `{token: "***", b: 1}` + "\n"},
		{"several", "secret: [first one, \"second\"]\n", "secret: [***, \"***\"]\n"},
		{"one below the other", "secret:\n  - first\n  - ${env:SECOND}\n", "secret:\n  - ***\n  - ${env:SECOND}\n"},
		{"of several lines", "verify:\n  key: |\n    -----BEGIN\n    abc\n\n    -----END\n  jwt: x\n", "verify:\n  key: |\n    ***\n    ***\n\n    ***\n  jwt: x\n"},
		{"folded over lines", "token: \"one\n  two\"\nname: a\n", "token: \"***\n  ***\"\nname: a\n"},
		{"an anchor", "x: &s hunter2\nsecret: *s\n", "x: &s ***\nsecret: *s\n"},
		{"in Windows' lines", "secret: hunter2\r\nname: a\r\n", "secret: ***\r\nname: a\r\n"},
		{"references stay", "secret: ${env:S}\ntoken: \"${file:/t}\"\n", "secret: ${env:S}\ntoken: \"${file:/t}\"\n"},
		{"a reference with a scheme stays", `headers: {Authorization: "Bearer ${env:T}"}` + "\n", `headers: {Authorization: "Bearer ${env:T}"}` + "\n"},
		{"half a reference", `headers: {Authorization: "Bearer ${env:T}hunter2"}` + "\n", `headers: {Authorization: "***"}` + "\n"},
		{"a template stays", `env: {TOKEN: "{{ body.token }}"}` + "\n", `env: {TOKEN: "{{ body.token }}"}` + "\n"},
		{"a header", "headers:\n  X-Api-Key: abc\n  X-Event-Key: abc\n", "headers:\n  X-Api-Key: ***\n  X-Event-Key: abc\n"},
		{"a variable", "env: {DB_PASSWORD: abc, MODE: abc}\n", "env: {DB_PASSWORD: ***, MODE: abc}\n"},
		{"keys of other things", "concurrency: {key: body.ref}\nadmin: {tls: {key: admin.key}}\nrelay: {key: abc}\n", "concurrency: {key: body.ref}\nadmin: {tls: {key: admin.key}}\nrelay: {key: ***}\n"},
		{"the query of a URL", "http: https://x.example/a?room=1&key=abc&x=2\n", "http: https://x.example/a?room=1&key=***&x=2\n"},
		{"before the host of a URL", "http: https://me:abc@x.example/\n", "http: https://me:***@x.example/\n"},
		{"the path of a URL", "http: https://hooks.slack.com/services/T0/B0/aBcDeFgH1jKlMnOpQrStUvWx\n", "http: https://hooks.slack.com/services/T0/B0/***\n"},
		{"a name in the path of a URL", "http: https://git.example/team/a-long-name-of-2024/deploy\n", "http: https://git.example/team/a-long-name-of-2024/deploy\n"},
		{"an argument", `exec: [curl, -H, "Authorization: Bearer abc", --token=abc, "$TOKEN"]` + "\n", `exec: [curl, -H, "Authorization: Bearer ***", --token=***, "$TOKEN"]` + "\n"},
		{"a comment", "# secret: hunter2 until May\nname: a\n", "# secret: *** until May\nname: a\n"},
		{"a condition", "when: body.token == 'abc' && body.secret != nil\n", "when: body.token == 'abc' && body.secret != nil\n"},
		{"no YAML any more", "secret: hunter2\n]", "secret: ***\n]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := rules.Conceal(rules.File{Path: "rules.yaml", Data: []byte(tt.text)}, func(string) string { return "***" })
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestWrittenSecretsAreMasked: what is written out in a header that proves who sends
// is no more to be seen in what a rule does than a reference would be.
func TestWrittenSecretsAreMasked(t *testing.T) {
	const text = `rules:
  - name: a
    bucket: b
    verify: none
    actions:
      - http: https://chat.example/?key=key-of-the-url-1&room=room-of-mine-1
        headers: {Authorization: "Bearer header-token-1", X-Api-Key: short, X-Event: an-event-of-mine}
      - exec: [make]
        env: {API_TOKEN: "variable-token-1", MODE: production-1}
`
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text)}}, rules.Options{LookPath: func(name string) (string, error) { return "/bin/" + name, nil }})
	if g == nil {
		t.Fatal(problems)
	}
	const said = "Bearer header-token-1, header-token-1, variable-token-1, key-of-the-url-1, room-of-mine-1, short, an-event-of-mine, production-1"
	if got, want := g.Rules.Mask(said), "***, ***, ***, ***, room-of-mine-1, short, an-event-of-mine, production-1"; got != want {
		t.Errorf("Mask = %q, want %q", got, want)
	}
}

// FuzzConceal: whatever a file holds, its lines stay as many: places in it stay good.
func FuzzConceal(f *testing.F) {
	f.Add("rules:\n  - name: a\n    verify: {secret: 'x'}\n")
	f.Add("secret: |\n  a\n  b\n")
	f.Fuzz(func(t *testing.T, text string) {
		hide := func(string) string { return "***" }
		got, _ := rules.Conceal(rules.File{Data: []byte(text)}, hide)
		if want := strings.TrimPrefix(text, "\ufeff"); got != "" && strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("%q became %q: its lines are others", text, got)
		}
	})
}
