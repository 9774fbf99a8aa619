package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// source is the text of one file, with its lines.
type source struct {
	path  string
	text  string
	lines []int // offset of each line's first byte; the first is 0
}

// newSource prepares a file for reading. Where it is no text at all, the
// problem says so.
func newSource(f File) (*source, *Problem) {
	data := bytes.TrimPrefix(f.Data, []byte("\xef\xbb\xbf")) // as Windows' editors begin a file
	s := &source{path: f.Path, text: string(data), lines: []int{0}}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &Problem{File: f.Path, Line: 1, Msg: "the file is UTF-16", Hint: "save it as UTF-8"}
	}
	for i := 0; i < len(data); i++ {
		if width := breakWidth(s.text[i:]); width > 0 {
			i += width - 1
			s.lines = append(s.lines, i+1)
		}
	}
	for i := 0; i < len(data); {
		r, width := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && width == 1 {
			line, col := s.position(i)
			return nil, &Problem{File: f.Path, Line: line, Col: col, Msg: "the file is not UTF-8 text here", Hint: "save it as UTF-8"}
		}
		i += width
	}
	return s, nil
}

// breakWidth is the number of bytes of the line break that s begins with, 0
// where there is none. YAML 1.1, which yaml.v3 counts lines by, knows more of
// them than most.
func breakWidth(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"):
		return 2
	case strings.HasPrefix(s, "\n"), strings.HasPrefix(s, "\r"):
		return 1
	case strings.HasPrefix(s, "\u0085"):
		return 2
	case strings.HasPrefix(s, "\u2028"), strings.HasPrefix(s, "\u2029"):
		return 3
	}
	return 0
}

// position returns the line and column, in characters, of a byte.
func (s *source) position(offset int) (line, col int) {
	line, found := slices.BinarySearch(s.lines, offset)
	if found {
		line++
	}
	return line, utf8.RuneCountInString(s.text[s.lines[line-1]:offset]) + 1
}

// offset returns the byte at a line and column, the end of the text where there
// is no such place.
func (s *source) offset(line, col int) int {
	if line < 1 || line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[line-1]
	for ; col > 1 && at < len(s.text); col-- {
		_, width := utf8.DecodeRuneInString(s.text[at:])
		at += width
	}
	return at
}

// line returns the text of a line.
func (s *source) line(line int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	end := len(s.text)
	if line < len(s.lines) {
		end = s.lines[line]
	}
	return strings.TrimRight(s.text[s.lines[line-1]:end], "\r\n")
}

// parse returns the root node of a file of that kind.
func (s *source) parse(k fileKind) (*yaml.Node, *Problem) {
	root, second, err := parseYAML(s.text)
	switch {
	case err != nil:
		return nil, s.syntaxProblem(err)
	case root == nil:
		return nil, &Problem{File: s.path, Line: 1, Msg: "the file is empty", Hint: k.first}
	case second != nil:
		return nil, &Problem{File: s.path, Line: second.Line, Col: second.Column, Msg: "a second YAML document begins here", Hint: k.second}
	}
	return root, nil
}

const firstRule = `begin with: rules: [{name: hello, actions: [{exec: [echo, hello]}]}]`

// parseYAML returns the root of the first document, nil where there is nothing
// in it, and the second document, nil where there is none.
func parseYAML(text string) (root, second *yaml.Node, err error) {
	// A live edit must not end the daemon. yaml.v3 hands a panic of its own on
	// where it meets an event that it did not expect.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the parser gave up: %v", p)
		}
	}()
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	if len(doc.Content) > 0 && !isNull(doc.Content[0]) {
		root = doc.Content[0]
	}
	if err := dec.Decode(&next); errors.Is(err, io.EOF) {
		return root, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	return root, &next, nil
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxProblem makes of an error of yaml.v3 a problem at the line that is
// wrong.
func (s *source) syntaxProblem(err error) *Problem {
	said, msg := yamlError(err)
	line := said + 1 // yaml.v3 counts from 0 here
	// It names the line where the broken list or mapping begins, which may be the
	// file's first. In brackets that is the place to look; elsewhere the place is
	// where reading cannot go on.
	col := 0
	if !inBrackets(msg) {
		line = max(s.firstFailure(msg), said, 1)
		col = s.failureIn(line, msg)
	}
	line = min(line, len(s.lines))
	return &Problem{File: s.path, Line: line, Col: col, Msg: "not YAML: " + msg, Hint: syntaxHint(msg, s.line(line))}
}

// inBrackets reports whether msg is of a list or mapping in brackets that does
// not go on as one.
func inBrackets(msg string) bool { return strings.Contains(msg, "',' or '") }

// yamlError takes an error of yaml.v3 apart. The line is 0 where it names none.
func yamlError(err error) (line int, msg string) {
	msg = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits; too many are no line
		msg = msg[len(m[0]):]
	}
	return line, msg
}

// maxSearch bounds the files whose faulty line is looked for, as they are parsed
// some twenty times for it.
const maxSearch = 512 << 10

// firstFailure returns the last of the fewest lines that fail with msg.
func (s *source) firstFailure(msg string) int {
	if len(s.text) > maxSearch {
		return 0
	}
	n := sort.Search(len(s.lines)-1, func(i int) bool { return s.failsWith(s.lines[i+1], msg) })
	return n + 1
}

// failureIn returns the column of line at which reading with msg fails, 0 where
// no such place is in it.
func (s *source) failureIn(line int, msg string) int {
	if len(s.text) > maxSearch || line < 1 || line > len(s.lines) {
		return 0
	}
	begin := s.lines[line-1]
	chars := []rune(s.line(line))
	n := sort.Search(len(chars), func(i int) bool { return s.failsWith(begin+len(string(chars[:i+1])), msg) })
	if n == len(chars) || s.failsWith(begin, msg) {
		return 0
	}
	if star := strings.LastIndexByte(string(chars[:n+1]), '*'); star >= 0 && strings.HasPrefix(msg, "unknown anchor") {
		return utf8.RuneCountInString(string(chars[:n+1])[:star]) + 1 // it fails with the name's last letter
	}
	return n + 1
}

// failsWith reports whether reading the first bytes of the text fails with msg.
func (s *source) failsWith(bytes int, msg string) bool {
	_, _, err := parseYAML(s.text[:bytes])
	if err == nil {
		return false
	}
	_, got := yamlError(err)
	return got == msg
}

// syntaxHint says what is mostly wrong with a line that gives msg.
func syntaxHint(msg, line string) string {
	_, value, _ := strings.Cut(line, ": ")
	value = strings.TrimLeft(strings.TrimSpace(value), "[{ ")
	trimmed := strings.TrimLeft(line, " ")
	switch {
	case strings.Contains(msg, "unexpected end of stream"):
		return "a quote that is opened here is not closed"
	case strings.HasPrefix(trimmed, "\t"):
		return "YAML takes no tabs before a line's text: use spaces"
	case strings.Contains(line, "{{"):
		return `a text with {{ }} in it needs quotes: "{{ body.after }}"`
	case strings.HasPrefix(value, `"`), strings.HasPrefix(value, "'"):
		return "put an expression that begins with a quote below a line with |, or all of it in quotes of the other kind"
	case strings.Contains(msg, "mapping values are not allowed"):
		return `a text with ": " in it needs quotes; a key stands under the one before it`
	case strings.HasPrefix(value, "!"), strings.HasPrefix(value, "*"), strings.HasPrefix(value, "&"),
		strings.HasPrefix(value, "@"), strings.HasPrefix(value, "`"), strings.HasPrefix(value, "%"):
		return fmt.Sprintf("a text that begins with %s needs quotes", value[:1])
	case inBrackets(msg):
		return "a bracket that is opened here is not closed, or a comma is missing"
	case strings.Contains(msg, "did not find expected"):
		return "look at the indentation: what belongs together begins in one column"
	}
	return ""
}
