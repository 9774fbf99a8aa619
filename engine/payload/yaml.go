package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxYAMLMarks bounds the characters that can begin a value, of which yaml.v3
// makes a node of 200 bytes before anybody can look at it.
const maxYAMLMarks = 100_000

// yaml reads one YAML document. The keys of an object are texts; what is no
// number of JSON's, no bool and no null is the text that stands there. A merge
// key (<<) is a key like others.
func (r *reader) yaml(text []byte) (any, error) {
	if len(text) > MaxYAML {
		return nil, fmt.Errorf("YAML: more than %d MiB", MaxYAML>>20)
	}
	if line := tooManyMarks(text); line > 0 {
		return nil, fmt.Errorf("YAML, line %d: more than %d values", line, maxYAMLMarks)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if err == io.EOF {
			return nil, errors.New("YAML: there is no value")
		}
		return nil, plainYAML(err)
	}
	if err := dec.Decode(new(yaml.Node)); err != io.EOF {
		return nil, errors.New("YAML: a second document follows the first")
	}
	return r.node(&doc, 0)
}

// plainYAML turns yaml.v3's "yaml: line 3: …" into the words of other forms.
func plainYAML(err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if place, rest, ok := strings.Cut(msg, ": "); ok && strings.HasPrefix(place, "line ") {
		return fmt.Errorf("YAML, %s: %s", place, shorten(rest))
	}
	return fmt.Errorf("YAML: %s", shorten(msg))
}

// tooManyMarks returns the line of the first mark that is too many, 0 for none.
func tooManyMarks(text []byte) (line int) {
	marks := 0
	for i, c := range text {
		switch c {
		case '[', '{', ',', ':':
			marks++
		case '-', '?':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\t' || text[i+1] == '\n' || text[i+1] == '\r' {
				marks++
			}
		}
		if marks > maxYAMLMarks {
			return bytes.Count(text[:i], []byte("\n")) + 1
		}
	}
	return 0
}

// node makes a value. An alias is made anew and counted at each place where it
// stands, so that what is small as a text can't become large, or be endless.
func (r *reader) node(n *yaml.Node, depth int) (any, error) {
	err := r.take(1)
	if err == nil && depth > MaxDepth {
		err = fmt.Errorf("more than %d levels deep", MaxDepth)
	}
	if err != nil {
		return nil, yamlError(n, err)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return nil, nil
		}
		return r.node(n.Content[0], depth)
	case yaml.AliasNode:
		return r.node(n.Alias, depth+1)
	case yaml.SequenceNode:
		return r.sequence(n, depth+1)
	case yaml.MappingNode:
		return r.mapping(n, depth+1)
	}
	return scalar(n)
}

func yamlError(n *yaml.Node, err error) error { return fmt.Errorf("YAML, line %d: %w", n.Line, err) }

func (r *reader) sequence(n *yaml.Node, depth int) (any, error) {
	list := []any{}
	for _, item := range n.Content {
		v, err := r.node(item, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *reader) mapping(n *yaml.Node, depth int) (any, error) {
	object := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if tag := key.ShortTag(); key.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!merge" {
			return nil, yamlError(n.Content[i], errors.New("a key that is no text"))
		}
		if _, twice := object[key.Value]; twice {
			return nil, yamlError(n.Content[i], errors.New("a key that the object has already"))
		}
		if err := r.take(1); err != nil {
			return nil, yamlError(key, err)
		}
		v, err := r.node(n.Content[i+1], depth)
		if err != nil {
			return nil, err
		}
		object[key.Value] = v
	}
	return object, nil
}

// scalar makes a plain value of one of YAML's.
func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, yamlError(n, errors.New("a value that is not what its tag says"))
		}
		return b, nil
	case "!!int":
		return integer(n), nil
	case "!!float":
		return float(n), nil
	}
	return n.Value, nil
}

// integer reads hexadecimal, octal and binary numbers, too.
func integer(n *yaml.Node) any {
	if digits := strings.TrimPrefix(n.Value, "+"); isNumber(digits) {
		return number(digits)
	}
	var i int64
	if err := n.Decode(&i); err != nil {
		return n.Value
	}
	return number(strconv.FormatInt(i, 10))
}

// float reads .5 and 1. too. An infinity is no number of JSON's.
func float(n *yaml.Node) any {
	if isNumber(n.Value) {
		return number(n.Value)
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return n.Value
	}
	return number(strconv.FormatFloat(f, 'g', -1, 64))
}

// isNumber reports whether s is a number of JSON's.
func isNumber(s string) bool {
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	return s != "" && (s[0] == '-' || isDigit(s[0])) && isDigit(s[len(s)-1]) && json.Valid([]byte(s))
}
