package ruletest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// aNumber is a number as JSON has it (RFC 8259, 6).
var aNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// json is a YAML value as compact JSON: its keys in their order, its numbers digit
// for digit.
func (r *reader) json(n *yaml.Node) string {
	var b strings.Builder
	r.writeJSON(&b, n)
	return b.String()
}

func (r *reader) writeJSON(b *strings.Builder, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		r.writeObject(b, n)
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			r.writeJSON(b, item)
		}
		b.WriteByte(']')
	default:
		b.WriteString(r.scalar(n))
	}
}

func (r *reader) writeObject(b *strings.Builder, n *yaml.Node) {
	lines := map[string]int{}
	b.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			r.doc.Fail(key, "", "a key must be a text")
			continue
		}
		if first, taken := lines[key.Value]; taken {
			r.doc.Fail(key, "", "the key %q is there twice: first in line %d", key.Value, first)
		}
		lines[key.Value] = key.Line
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoted(key.Value))
		b.WriteByte(':')
		r.writeJSON(b, n.Content[i+1])
	}
	b.WriteByte('}')
}

// scalar is a single value as JSON.
func (r *reader) scalar(n *yaml.Node) string {
	switch n.ShortTag() {
	case "!!null":
		return "null"
	case "!!bool":
		return strings.ToLower(n.Value)
	case "!!int", "!!float":
		if aNumber.MatchString(n.Value) {
			return n.Value
		}
		r.doc.Fail(n, "put a text into quotes, or write the number as 1, -2.5 or 1e9", "%q is no number that JSON has", n.Value)
		return "null"
	}
	return quoted(n.Value)
}

// quoted is a text as JSON.
func quoted(text string) string {
	s, err := encode(text)
	if err != nil { // a string has none
		return `""`
	}
	return s
}

// yamlOf is a JSON value as a YAML node that json makes the same bytes of; nil
// where there is none.
func yamlOf(body []byte) *yaml.Node {
	in := json.NewDecoder(strings.NewReader(string(body)))
	in.UseNumber()
	n, err := nextValue(in, 0)
	if err != nil {
		return nil
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil
	}
	if n.Kind == yaml.ScalarNode || (&reader{}).json(n) != string(body) {
		return nil
	}
	return n
}

// maxNesting is how deep a value in a test may be; a reader takes some more.
const maxNesting = 50

var errNoYAML = errors.New("YAML does not hold it")

func nextValue(in *json.Decoder, depth int) (*yaml.Node, error) {
	token, err := in.Token()
	if err != nil || depth > maxNesting {
		return nil, errNoYAML
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			return list(in, depth)
		}
		return object(in, depth)
	case string:
		return textNode(v), nil
	case json.Number:
		return numberNode(v)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: map[bool]string{true: "true", false: "false"}[v]}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// numberNode is a number that YAML takes for one, too: it has bounds.
func numberNode(v json.Number) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: string(v)}
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
		return nil, errNoYAML
	}
	return n, nil
}

func list(in *json.Decoder, depth int) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for in.More() {
		item, err := nextValue(in, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err := in.Token()
	return n, err
}

func object(in *json.Decoder, depth int) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	known := map[string]bool{}
	for in.More() {
		token, err := in.Token()
		key, ok := token.(string)
		if err != nil || !ok || known[key] {
			return nil, errNoYAML
		}
		known[key] = true
		value, err := nextValue(in, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, textNode(key), value)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err := in.Token()
	return n, err
}

// textNode is a text, in the style in which it comes back as it is.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if text == "<<" || !isPlain(text) { // the encoder leaves a merge key without quotes
		n.Style = yaml.DoubleQuotedStyle
	} else if strings.Contains(text, "\n") {
		n.Style = yaml.LiteralStyle
	}
	return n
}

// isPlain reports whether YAML may hold the text without quotes that say more: of
// what is not a line of visible text it keeps less than all, and a terminal may
// obey it.
func isPlain(text string) bool {
	if text == "" || strings.ContainsAny(text[:1], " \t\n") {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimRight(line, " \t") != line || strings.ContainsFunc(line, isHidden) || strings.Contains(line, "\ufffd") {
			return false
		}
	}
	return true
}

// isHidden reports whether a character can't be seen, or does something.
func isHidden(r rune) bool { return !unicode.IsPrint(r) && r != '\t' && r != '\n' }

// shown puts escapes in the place of what is hidden in YAML of which all texts
// that have such a thing stand in double quotes.
func shown(yaml string) string {
	var b strings.Builder
	for _, r := range yaml {
		switch {
		case !isHidden(r):
			b.WriteRune(r)
		case r <= math.MaxUint16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}
