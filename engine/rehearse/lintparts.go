package rehearse

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hookrun/engine"
)

// outsideName is a header or a query parameter that a condition reads.
type outsideName struct{ what, name string }

var (
	member = regexp.MustCompile("^(headers|query)(?:\\??\\.(\\w+)|\\??\\.?\\[\\s*[\"'`]([^\"'`]+)[\"'`]\\s*\\])$")
	values = regexp.MustCompile("^(header_values|query_values)\\(\\s*[\"'`]([^\"'`]+)[\"'`]\\s*\\)$")
)

// outside returns what a part reads of the request beside its body.
func outside(n *engine.Node) (outsideName, bool) {
	if m := member.FindStringSubmatch(n.Text); m != nil {
		return outsideName{whatOf(m[1]), m[2] + m[3]}, true
	}
	if m := values.FindStringSubmatch(n.Text); m != nil {
		return outsideName{whatOf(m[1]), m[2]}, true
	}
	return outsideName{}, false
}

func whatOf(word string) string {
	if strings.HasPrefix(word, "header") {
		return "header"
	}
	return "query parameter"
}

// lookFor counts whether the event has it, and what it has.
func (s *nodeStats) lookFor(name outsideName, ev *engine.Event) {
	names, same := headerNames(ev), strings.EqualFold
	if name.what != "header" {
		names, same = queryNames(ev), func(a, b string) bool { return a == b }
	}
	if slices.ContainsFunc(names, func(n string) bool { return same(n, name.name) }) {
		s.there++
		return
	}
	for _, n := range names {
		s.name(n, 1)
	}
}

func headerNames(ev *engine.Event) []string {
	var names []string
	for name := range ev.Header {
		names = append(names, name)
	}
	return names
}

func queryNames(ev *engine.Event) []string {
	var names []string
	query, _ := url.ParseQuery(ev.Query) // what of a broken one can be read
	for name := range query {
		names = append(names, name)
	}
	return names
}

// maxLooks is in how many events of a page it is looked for what stands where a
// field is missing: that costs reading the body again.
const maxLooks = 10

// lookAround notes what the object has that does not have the missing field.
func (s *nodeStats) lookAround(path string, ev *engine.Event) {
	if s.looks >= maxLooks {
		return
	}
	s.looks++
	scope := engine.NewScope(ev)
	for cut := split(path); len(cut) > 1; cut = cut[:len(cut)-1] {
		owner := strings.Join(cut[:len(cut)-1], "")
		names, ok := membersOf(scope, owner)
		if !ok {
			continue
		}
		gone := nameOf(cut[len(cut)-1])
		if s.owner == "" {
			s.owner, s.gone = owner, gone
		}
		if s.owner == owner && s.gone == gone {
			for _, name := range names {
				s.name(name, 1)
			}
		}
		return
	}
}

var segment = regexp.MustCompile(`^(?:\??\.?\[[^\]]*\]|\??\.?\w+)`)

// split takes a path apart: body, .a, ["b-c"]. It returns nil where it can't.
func split(path string) []string {
	var parts []string
	for path != "" {
		part := segment.FindString(path)
		if part == "" {
			return nil
		}
		parts = append(parts, part)
		path = path[len(part):]
	}
	return parts
}

// nameOf is the name in a segment of a path.
func nameOf(segment string) string { return strings.Trim(segment, "?.[]\"'`") }

var plainName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// join is a path as a rule would write it.
func join(owner, name string) string {
	if plainName.MatchString(name) {
		return owner + "." + name
	}
	return owner + `["` + name + `"]`
}

// membersOf are the names in an object; ok is false where it is none.
func membersOf(scope *engine.Scope, path string) (names []string, ok bool) {
	t, _ := engine.NewCompiler(engine.World{}).Template("{{ keys("+path+") }}", nil)
	if t == nil {
		return nil, false
	}
	list, err := t.Render(scope)
	if err != nil || json.Unmarshal([]byte(list), &names) != nil {
		return nil, false
	}
	return names, true
}

func isComparison(op string) bool {
	return slices.Contains([]string{"==", "!=", "<", "<=", ">", ">=", "in"}, op)
}

// compare counts operands that are missing, or of kinds that never go together.
func (s *nodeStats) compare(n *engine.Node) {
	left, right := sides(n)
	if slices.ContainsFunc(n.Parts, func(p *engine.Node) bool { return p.State == engine.NodeMissing }) {
		s.without++
	}
	if clash := left.kind + right.kind; clash == numberKind+textKind || clash == textKind+numberKind {
		s.mismatch++
		s.clash = "the " + left.kind + " " + left.text + " with the " + right.kind + " " + right.text
	}
}

// Kinds of values, as a Node has them.
const (
	numberKind = "number"
	textKind   = "text"
)

// side is one of the two operands of a comparison.
type side struct{ text, kind string }

// sides are the operands of a comparison. Constants are no parts of a Node: they
// are what is left of its text.
func sides(n *engine.Node) (left, right side) {
	rest := n.Text
	for _, p := range n.Parts {
		if at := p.Offset - n.Offset; at >= 0 && at+len(p.Text) <= len(n.Text) {
			rest = rest[:at] + strings.Repeat("\x00", len(p.Text)) + rest[at+len(p.Text):]
		}
	}
	at := operatorAt(rest, n.Op)
	if at < 0 {
		return side{}, side{}
	}
	return sideOf(n, 0, at), sideOf(n, at+len(n.Op), len(n.Text))
}

// operatorAt finds the operator outside of texts in quotes.
func operatorAt(src, op string) int {
	var quote byte
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case strings.HasPrefix(src[i:], op) && (op != "in" || isWord(src, i)):
			return i
		}
	}
	return -1
}

// isWord reports whether the "in" at i is not a part of a longer word.
func isWord(src string, i int) bool {
	return i > 0 && strings.ContainsAny(src[i-1:i], " \t\n)\x00") && i+2 < len(src) && strings.ContainsAny(src[i+2:i+3], " \t\n([\x00")
}

// sideOf is the operand in n.Text[from:to].
func sideOf(n *engine.Node, from, to int) side {
	text := strings.TrimSpace(n.Text[from:to])
	for _, p := range n.Parts {
		if at := p.Offset - n.Offset; at >= from && at < to && p.Text == strings.Trim(text, "() ") {
			return side{p.Text, p.Kind}
		}
	}
	return side{text, kindOfConstant(text)}
}

var startsNumber = regexp.MustCompile(`^[-+]?\.?[0-9]`)

// kindOfConstant is the kind of a constant, or of the first in a list of them; ""
// where it is none of the two that are told apart.
func kindOfConstant(src string) string {
	src = strings.TrimLeft(src, "([ ")
	switch {
	case src == "":
		return ""
	case strings.ContainsAny(src[:1], "\"'`"):
		return textKind
	case startsNumber.MatchString(src):
		return numberKind
	}
	return ""
}

// saysAbsent reports whether the comparison is made for what may be missing: with
// nil, or as hints recommend it, with true.
func saysAbsent(n *engine.Node) bool {
	left, right := sides(n)
	for _, s := range []side{left, right} {
		if s.text == "nil" || s.text == "true" {
			return true
		}
	}
	return false
}

// operand is the one that was missing: the first part that is a field.
func operand(n *engine.Node) string {
	for _, p := range n.Parts {
		if p.Path != "" {
			return p.Path
		}
	}
	return shorten(n.Text)
}
