package ruletest

import (
	"fmt"
	"strings"
	"testing"

	"hookrun/engine/rules"
)

func TestCoverage(t *testing.T) {
	const source = `rules:
  - name: both
    bucket: b
    when: |
      body.a == 1 &&
      (body.b == 2 || not body.c)
    actions: [{exec: [echo]}]
  - {name: always, bucket: b, actions: [{exec: [echo]}]}
  - {name: elsewhere, bucket: other, when: body.x > 1, actions: [{exec: [echo]}]}
  - {name: list, bucket: b, when: 'any(body.list ?? [], .n == 1 && .m in ["x", "y"])', actions: [{exec: [echo]}]}
`
	tests := []struct {
		name   string
		bodies []string
		want   string
	}{
		{"nothing", nil, `0%
rules.yaml:2 both : no test matches it
rules.yaml:5:7 both body.a == 1 &&
(body.b == 2 || not body.c): never asked
rules.yaml:5:7 both body.a == 1: never asked
rules.yaml:6:8 both body.b == 2 || not body.c: never asked
rules.yaml:6:8 both body.b == 2: never asked
rules.yaml:6:23 both not body.c: never asked
rules.yaml:6:27 both body.c: never asked
rules.yaml:8 always : no test matches it
rules.yaml:9 elsewhere : no test matches it
rules.yaml:9:44 elsewhere body.x > 1: never asked
rules.yaml:10 list : no test matches it
rules.yaml:10:36 list any(body.list ?? [], .n == 1 && .m in ["x", "y"]): never asked
rules.yaml:10:57 list .n == 1 && .m in ["x", "y"]: never asked
rules.yaml:10:57 list .n == 1: never asked
rules.yaml:10:68 list .m in ["x", "y"]: never asked
`},
		{"some", []string{`{a: 1, b: 2, list: [{n: 1, m: x}, {n: 2}]}`, `{a: 2}`}, `52%
rules.yaml:6:8 both body.b == 2 || not body.c: never false
rules.yaml:6:8 both body.b == 2: never false
rules.yaml:6:23 both not body.c: never asked
rules.yaml:6:27 both body.c: never asked
rules.yaml:9 elsewhere : no test matches it
rules.yaml:9:44 elsewhere body.x > 1: never asked
rules.yaml:10:57 list .n == 1 && .m in ["x", "y"]: never false
rules.yaml:10:57 list .n == 1: never false
rules.yaml:10:68 list .m in ["x", "y"]: never false
`},
		{"all but the other bucket", []string{
			`{a: 1, b: 2, c: false}`, `{a: 1, b: 3, c: true}`, `{a: 1, b: 3, c: false}`, `{a: 2}`,
			`{a: 2, list: [{n: 2}, {n: 1, m: z}, {n: 1, m: x}]}`,
		}, `91%
rules.yaml:9 elsewhere : no test matches it
rules.yaml:9:44 elsewhere body.x > 1: never asked
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(source)}}, rules.Options{Dry: true})
			if g == nil {
				t.Fatal(said(problems))
			}
			c := NewCoverage(g)
			for _, body := range tt.bodies {
				f, problems := parse("tests:\n  - {name: t, event: {bucket: b, body: " + body + "}, match: [always]}\n")
				if f == nil {
					t.Fatal(said(problems))
				}
				f.Run(Options{Rules: g.Rules, Dir: "/", Coverage: c})
			}
			var got strings.Builder
			fmt.Fprintf(&got, "%d%%\n", c.Percent())
			for _, gap := range c.Gaps() {
				fmt.Fprintf(&got, "%s %s %s: %s\n", gap.Place, gap.Rule, gap.Text, gap.Msg)
			}
			if got.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), tt.want)
			}
		})
	}
}

// TestCoverageOfConditionsOfActions: one that reads what an earlier action came to is
// reached by a test that says so.
func TestCoverageOfConditionsOfActions(t *testing.T) {
	const source = `rules:
  - name: deploy
    bucket: b
    actions:
      - exec: [make]
        id: build
      - exec: [tell]
        if: steps.build.exit_code == 0 && body.a == 1
      - exec: [shout]
        if: body.loud
`
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(source)}}, rules.Options{Dry: true})
	if g == nil {
		t.Fatal(said(problems))
	}
	c := NewCoverage(g)
	for _, test := range []string{
		`{name: open, event: {bucket: b, body: {a: 1, loud: true}}, match: [deploy]}`,
		`{name: known, event: {bucket: b, body: {a: 2}}, match: [deploy], steps: {deploy: {build: {exit_code: 0}}}}`,
	} {
		f, problems := parse("tests:\n  - " + test + "\n")
		if f == nil {
			t.Fatal(said(problems))
		}
		f.Run(Options{Rules: g.Rules, Dir: "/", Coverage: c})
	}
	var got strings.Builder
	for _, gap := range c.Gaps() {
		fmt.Fprintf(&got, "%s %s: %s\n", gap.Place, gap.Text, gap.Msg)
	}
	const want = `rules.yaml:8:13 steps.build.exit_code == 0 && body.a == 1: never true
rules.yaml:8:13 steps.build.exit_code == 0: never false
rules.yaml:8:43 body.a == 1: never true
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
