package cli

import (
	"strings"
	"testing"

	"hookrun/engine"
)

// TestPlanLines: what a step does is read as it was written.
func TestPlanLines(t *testing.T) {
	text := func(s string) *string { return &s }
	long := strings.Repeat("x\n", shownLines+2)
	tests := []struct {
		name string
		plan engine.Plan
		most int
		want string
	}{
		{name: "a command", plan: engine.Plan{Argv: []string{"echo", "it's", "a b"}, Dir: "/srv"}, want: `command: echo 'it'\''s' 'a b'|dir: /srv`},
		{name: "a script", plan: engine.Plan{Argv: []string{"/bin/sh", "-c", "cd /srv\nif true\nthen\n\techo \x1b[2J\nfi\n"}},
			want: "command: /bin/sh -c …|script:|  cd /srv|  if true|  then|  \techo \\u001b[2J|  fi"},
		{name: "a script of one line", plan: engine.Plan{Argv: []string{"/bin/sh", "-c", "echo x"}}, want: "command: /bin/sh -c 'echo x'"},
		{name: "a text", plan: engine.Plan{Path: "/x", Write: "append", Content: text("a\n\nb\n")}, want: "append: /x|content:|  a||  b"},
		{name: "a text of one line", plan: engine.Plan{Path: "/x", Write: "append", Content: text("a\n")}, want: "append: /x|content: a"},
		{name: "nothing", plan: engine.Plan{Path: "/x", Write: "append", Content: text("")}, want: "append: /x|content: (empty)"},
		{name: "very many lines", plan: engine.Plan{Path: "/x", Write: "append", Content: &long}, most: 80,
			want: "append: /x|content:" + strings.Repeat("|  x", shownLines) + "|  … 2 lines more"},
		{name: "all of them", plan: engine.Plan{Path: "/x", Write: "append", Content: &long}, want: "append: /x|content:" + strings.Repeat("|  x", shownLines+2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(planLines(&tt.plan, tt.most, true), "|"); got != tt.want {
				t.Errorf("planLines = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWrap: a line is broken between words, behind what stands before it in a
// tree; a word that is too long stays whole.
func TestWrap(t *testing.T) {
	tests := []struct {
		name, line string
		width      int
		want       string
	}{
		{name: "not a terminal", line: "  a b c", want: "  a b c"},
		{name: "it fits", line: "  a b c", width: 7, want: "  a b c"},
		{name: "words", line: "  body.ref == 'main'  → false", width: 20, want: "  body.ref == 'main'|      → false"},
		{name: "a branch", line: "  ├─ aaaa bbbb cccc dddd", width: 15, want: "  ├─ aaaa bbbb|  │      cccc|  │      dddd"},
		{name: "the last branch", line: "│  └─ aaaa bbbb cccc dddd", width: 16, want: "│  └─ aaaa bbbb|│         cccc|│         dddd"},
		{name: "a long word", line: "a 0123456789012345678901234567890123456789 b c", width: 20, want: "a|    0123456789012345678901234567890123456789|    b c"},
		{name: "no room", line: "                  a b c d e f g", width: 22, want: "                  a b c d e f g"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(wrap(tt.line, tt.width), "|"); got != tt.want {
				t.Errorf("wrap(%q, %d) =\n%q, want\n%q", tt.line, tt.width, got, tt.want)
			}
		})
	}
}
