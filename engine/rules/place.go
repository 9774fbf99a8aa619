package rules

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// inScalar returns the place in the file of a byte of a scalar's value.
//
// YAML folds and indents, but what is not white stays in its order: value and
// source are walked side by side from one visible character to the next. Where
// they part all the same, the place is the scalar's beginning.
func (s *source) inScalar(n *yaml.Node, offset int) (line, col int) {
	v, at := 0, s.content(n)
	for at < len(s.text) {
		v += len(n.Value[v:]) - len(strings.TrimLeft(n.Value[v:], " \t\r\n"))
		at += len(s.text[at:]) - len(strings.TrimLeft(s.text[at:], " \t\r\n"))
		char, width := sourceChar(n.Style, s.text[at:])
		if v >= offset && char != "" {
			return s.position(at)
		}
		if !strings.HasPrefix(n.Value[v:], char) {
			break
		}
		v += len(char)
		at += width
	}
	return n.Line, n.Column
}

// content returns the offset at which a scalar's text begins, behind its
// anchor, its tag and what opens it.
func (s *source) content(n *yaml.Node) int {
	at := s.offset(n.Line, n.Column)
	for at < len(s.text) && (s.text[at] == '&' || s.text[at] == '!') {
		end := strings.IndexAny(s.text[at:], " \t\r\n")
		if end < 0 {
			return len(s.text)
		}
		at += end
		at += len(s.text[at:]) - len(strings.TrimLeft(s.text[at:], " \t\r\n"))
	}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		line, _ := s.position(at)
		return s.offset(line+1, 1)
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return min(at+1, len(s.text))
	}
	return at
}

// sourceChar returns the first character of a scalar's source as it stands in
// the value, "" where it leaves nothing visible, and its bytes in the source.
func sourceChar(style yaml.Style, src string) (char string, width int) {
	switch {
	case style&yaml.SingleQuotedStyle != 0 && strings.HasPrefix(src, "''"):
		return "'", 2
	case style&yaml.DoubleQuotedStyle != 0 && len(src) > 1 && src[0] == '\\':
		return escaped(src)
	}
	_, width = utf8.DecodeRuneInString(src)
	return src[:width], width
}

// escaped reads an escape of a double-quoted scalar.
func escaped(src string) (char string, width int) {
	digits := 0
	switch src[1] {
	case 'n', 't', 'r', ' ', '\t', '\n', '\r': // white, or a line that goes on
		return "", 2
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return src[1:2], 2
	}
	if len(src) < 2+digits {
		return src, len(src)
	}
	code, err := strconv.ParseUint(src[2:2+digits], 16, 32)
	if err != nil {
		return src, len(src)
	}
	return strings.TrimLeft(string(rune(code)), " \t\r\n"), 2 + digits
}
