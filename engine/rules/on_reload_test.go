package rules

import (
	"fmt"
	"testing"
)

func TestOnReload(t *testing.T) {
	const rule = "\nrules: [{name: a, bucket: b, verify: none, actions: [{exec: [make]}]}]\n"
	tests := []struct {
		name, top string
		want      OnReload
	}{
		{"nothing is said", "", OnReload{}},
		{"a few changes", "on_reload: {confirm_if_changes_over: 5}", OnReload{Confirm: true, Over: 5}},
		{"a single change", "on_reload: {confirm_if_changes_over: 0}", OnReload{Confirm: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, problems := Parse([]File{{"rules.yaml", []byte(tt.top + rule)}}, Options{})
			if g == nil {
				t.Fatal(problems)
			}
			if g.OnReload != tt.want {
				t.Errorf("on_reload = %+v, want %+v", g.OnReload, tt.want)
			}
		})
	}
}

func TestInWhenKnowsThePlaceInTheFile(t *testing.T) {
	const actions = "\n    actions: [{exec: [make]}]\n"
	text := "rules:\n" +
		"  - name: plain\n    bucket: b\n    verify: none\n    when: body.a == 1" + actions +
		"  - name: folded\n    bucket: b\n    verify: none\n    when: >\n      bucket == \"b\" &&\n      body.a == 1" + actions +
		"  - name: quoted\n    bucket: b\n    verify: none\n    when: \"body.t == \\\"x\\\" && body.a == 1\"" + actions +
		"  - name: none\n    bucket: b\n    verify: none" + actions +
		"  - name: steps\n    bucket: b\n    verify: none\n    actions:\n      - exec: [make]\n      - exec: [make]\n        if: method == \"POST\"\n"
	g, problems := Parse([]File{{"a.yaml", []byte("x-nothing: 1\nrules: [{name: other, bucket: b, verify: none, when: body.x == 2, actions: [{exec: [make]}]}]\n")}, {"b.yaml", []byte(text)}}, Options{})
	if g == nil {
		t.Fatal(problems)
	}
	tests := []struct {
		rule   string
		offset int
		want   string
	}{
		{"plain", 0, `b.yaml:5:11: rule "plain": `},
		{"plain", 10, `b.yaml:5:21: rule "plain": `},
		{"folded", 17, `b.yaml:12:7: rule "folded": `},
		{"quoted", 17, `b.yaml:17:31: rule "quoted": `},
		{"other", 0, `a.yaml:2:54: rule "other": `},
		{"none", 0, `rule "none": `},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.rule, " ", tt.offset), func(t *testing.T) {
			if got := g.InWhen(tt.rule, tt.offset).String(); got != tt.want {
				t.Errorf("place = %q, want %q", got, tt.want)
			}
		})
	}
	if got, want := g.InIf("steps", 1, 10).String(), `b.yaml:29:23: rule "steps": `; got != want {
		t.Errorf("place in the condition of an action = %q, want %q", got, want)
	}
	if got, want := g.InIf("steps", 0, 0).String(), `rule "steps": `; got != want {
		t.Errorf("place in the condition of an action without one = %q, want %q", got, want)
	}
}
