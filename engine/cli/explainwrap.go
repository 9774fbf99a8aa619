package cli

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// branches are what stands before the parts of a tree.
const branches = " │├└─"

// whole prints a line with all that it holds: on a terminal over several, of its
// width; elsewhere on one.
func (s screen) whole(line string) {
	for _, l := range wrap(line, s.width) {
		fmt.Fprintln(s, l)
	}
}

// wrap breaks a line between words where it is longer than width; 0: any is right.
// What follows is indented as the line is, and a bit more. A word that is too long
// stays whole, so that it can be copied.
func wrap(line string, width int) []string {
	text := strings.TrimLeft(line, branches)
	first := line[:len(line)-len(text)]
	next := strings.NewReplacer("├", "│", "└", " ", "─", " ").Replace(first) + "    "
	if room := width - utf8.RuneCountInString(next); width == 0 || room < width/3 {
		return []string{line}
	}
	var lines []string
	for utf8.RuneCountInString(first+text) > width {
		at := breakAt(text, width-utf8.RuneCountInString(first))
		if at == 0 {
			break
		}
		lines = append(lines, first+strings.TrimRight(text[:at], " "))
		first, text = next, strings.TrimLeft(text[at:], " ")
	}
	return append(lines, first+text)
}

// breakAt is where the last space begins that has at most room characters before
// it, or else the first one; 0: there is none.
func breakAt(text string, room int) int {
	at, seen := 0, 0
	for i, r := range text {
		if r == ' ' && i > 0 {
			if seen > room {
				return cmp.Or(at, i)
			}
			at = i
		}
		seen++
	}
	return at
}
