package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"hookrun/engine/control"
)

// drawn is pieces as a text: each that has a look is [look|text].
func drawn(pieces []piece) string {
	var b strings.Builder
	for _, p := range pieces {
		if p.Class == "" {
			b.WriteString(p.Text)
			continue
		}
		fmt.Fprintf(&b, "[%s|%s]", p.Class, p.Text)
	}
	return b.String()
}

func TestOutputHasItsColours(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "ok\n", "ok\n"},
		{"red", "\x1b[31mno\x1b[0m yes", "[f1|no] yes"},
		{"reset without a number", "\x1b[31mno\x1b[m yes", "[f1|no] yes"},
		{"bright", "\x1b[92mok", "[f10|ok]"},
		{"background", "\x1b[41mno\x1b[49m", "[b1|no]"},
		{"bright background", "\x1b[103mno", "[b11|no]"},
		{"bold and red at once", "\x1b[1;31mno", "[f1 bold|no]"},
		{"bold ends", "\x1b[1mno\x1b[22myes", "[bold|no]yes"},
		{"all looks", "\x1b[1;2;3;4;9mx", "[bold dim italic under strike|x]"},
		{"all looks end", "\x1b[1;2;3;4;7;9;31;41m\x1b[22;23;24;27;29;39;49mx", "x"},
		{"turned", "\x1b[7mx", "[turned|x]"},
		{"turned colours", "\x1b[31;42;7mx", "[f2 b1|x]"},
		{"of 256, the 16", "\x1b[38;5;9mx", "[f9|x]"},
		{"of 256, the cube", "\x1b[38;5;196mx", "[f9|x]"},
		{"of 256, a grey", "\x1b[38;5;244mx", "[f8|x]"},
		{"by its parts", "\x1b[38;2;255;0;0mx", "[f9|x]"},
		{"by its parts, with colons", "\x1b[38:2:255:0:0mx", "[f9|x]"},
		{"wide background", "\x1b[48;5;1mx", "[b1|x]"},
		{"wide, cut short", "\x1b[38;5mx", "x"},
		{"wide, then bold", "\x1b[38;5;1;1mx", "[f1 bold|x]"},
		{"number too high", "\x1b[999mx", "x"},
		{"number of many digits", "\x1b[31;99999999999999999999mx", "x"},
		{"empty numbers", "\x1b[;;31mx", "[f1|x]"},
		{"cursor up", "one\x1b[2Atwo", "onetwo"},
		{"clear the screen", "one\x1b[2J\x1b[Htwo", "onetwo"},
		{"erase the line", "secret\x1b[2K\x1b[1Gtwo", "secrettwo"},
		{"private mode", "\x1b[?25lx\x1b[?25h", "x"},
		{"title, BEL", "a\x1b]0;title\x07b", "ab"},
		{"title, ST", "a\x1b]0;title\x1b\\b", "ab"},
		{"link", "\x1b]8;;http://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"title without an end", "a\x1b]0;b\nc", "a␛]0;b\nc"},
		{"device control", "a\x1bPq\x1b\\b", "ab"},
		{"charset", "a\x1b(Bb", "ab"},
		{"reset of all", "a\x1bcb", "ab"},
		{"escape at the end", "a\x1b", "a␛"},
		{"sequence cut off", "a\x1b[31", "a␛[31"},
		{"sequence broken", "a\x1b[3\nb", "a␛[3\nb"},
		{"escape before an escape", "\x1b\x1b[31mx", "␛[f1|x]"},
		{"windows lines", "a\r\nb\r\n", "a\nb\n"},
		{"progress", "10 %\r20 %\r", "10 %\n20 %\n"},
		{"overwritten", "rm -rf /\recho ok   ", "rm -rf /\necho ok   "},
		{"backspace", "ab\bc", "ab␈c"},
		{"bell", "a\ab", "a␇b"},
		{"NUL", "a\x00b", "a␀b"},
		{"DEL", "a\x7fb", "a␡b"},
		{"tab", "a\tb", "a\tb"},
		{"C1", "a\u009b31mb", "a⟨U+009B⟩31mb"},
		{"turned writing", "a\u202eb", "a⟨U+202E⟩b"},
		{"without width", "a\u200bb", "a⟨U+200B⟩b"},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"other scripts", "日本語 ñ 👍", "日本語 ñ 👍"},
		{"markup", "<b>&amp;", "<b>&amp;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := drawn(colored([]byte(tt.in), maxPageSpans)); got != tt.want {
				t.Errorf("colored(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestColoursAreBounded(t *testing.T) {
	in := strings.Repeat("\x1b[31mx\x1b[32my", 2*maxPageSpans)
	pieces := colored([]byte(in), maxPageSpans)
	if n := len(pieces); n > maxPageSpans+1 {
		t.Errorf("%d pieces, want at most %d and the rest", n, maxPageSpans)
	}
	var text strings.Builder
	for _, p := range pieces {
		text.WriteString(p.Text)
	}
	if want := strings.Repeat("xy", 2*maxPageSpans); text.String() != want {
		t.Errorf("%d characters are left, want all %d", text.Len(), len(want))
	}
}

// classes are those that the style sheet has for a look.
func classes() []string {
	all := []string{"bold", "dim", "italic", "under", "strike", "turned"}
	for i := range 16 {
		all = append(all, fmt.Sprint("f", i), fmt.Sprint("b", i))
	}
	return all
}

func FuzzColored(f *testing.F) {
	f.Add([]byte("\x1b[1;38;5;196mred\x1b[0m\r\n\x1b]0;t\x07\x1bP\x1b\\\x1b(B\x9b\xff"))
	f.Add([]byte("\x1b[48;2;1;2;3;38:5:7m\b\t\u202e"))
	known := classes()
	f.Fuzz(func(t *testing.T, in []byte) {
		pieces := colored(in, maxPageSpans)
		if len(pieces) > maxPageSpans+1 {
			t.Errorf("%d pieces", len(pieces))
		}
		for _, p := range pieces {
			if p.Text == "" || !utf8.ValidString(p.Text) || strings.ContainsFunc(p.Text, isHidden) {
				t.Errorf("a piece is %q", p.Text)
			}
			for word := range strings.FieldsSeq(p.Class) {
				if !slices.Contains(known, word) {
					t.Errorf("a class is %q", word)
				}
			}
		}
	})
}

func TestLongOutputIsCutInItsMiddle(t *testing.T) {
	long := strings.Repeat("é", maxOutput) // two bytes each
	tests := []struct {
		name       string
		in         control.Text
		cut, total int64
	}{
		{"short", control.Text{Head: control.Bytes("abc")}, 0, 3},
		{"in two parts", control.Text{Head: control.Bytes("abc"), Tail: control.Bytes("def")}, 0, 6},
		{"cut before", control.Text{Head: control.Bytes("abc"), Cut: 5, Tail: control.Bytes("def")}, 5, 11},
		{"just as long as is shown", control.Text{Head: control.Bytes(long)}, 0, 2 * maxOutput},
		{"long head", control.Text{Head: control.Bytes(long + long)}, 2 * maxOutput, 4 * maxOutput},
		{"long head and tail", control.Text{Head: control.Bytes(long), Cut: 7, Tail: control.Bytes(long)}, 2*maxOutput + 7, 4*maxOutput + 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOutput("stdout", tt.in)
			o.paint(maxPageSpans)
			if o.Cut != tt.cut || o.Total != tt.total {
				t.Errorf("%d bytes of %d are left out, want %d of %d", o.Cut, o.Total, tt.cut, tt.total)
			}
			for _, p := range slices.Concat(o.Head, o.Tail) {
				if strings.Contains(p.Text, "\uFFFD") {
					t.Error("a character is cut in two")
				}
			}
		})
	}
	if o := newOutput("stdout", control.Text{}); o != nil {
		t.Errorf("of no output there is %v, want nothing", o)
	}
}
