package rules

import (
	"fmt"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"
)

// decoder reads the nodes of one file and notes what is wrong with them.
type decoder struct {
	l        *loader
	src      *source
	rule     string // name of the rule that is being read
	disabled bool   // it is not enabled: its secrets need not be there
	unseen   string // the name that for_each gives, where it is not known
	atOnce   bool   // it is an answer that waits for nothing
}

// fail notes a problem at the beginning of n.
func (d *decoder) fail(n *yaml.Node, hint, format string, args ...any) {
	d.note(n.Line, n.Column, hint, fmt.Sprintf(format, args...), false)
}

// warn notes a warning at the beginning of n.
func (d *decoder) warn(n *yaml.Node, hint, format string, args ...any) {
	d.note(n.Line, n.Column, hint, fmt.Sprintf(format, args...), true)
}

func (d *decoder) note(line, col int, hint, msg string, warning bool) {
	d.l.problems = append(d.l.problems, Problem{
		File: d.src.path, Line: line, Col: col, Rule: d.rule, Msg: msg, Hint: hint, Warning: warning,
	})
}

// object is a mapping whose keys are known.
type object struct {
	d      *decoder
	node   *yaml.Node
	keys   []*yaml.Node // in their order, those with a value
	values map[string]*yaml.Node
}

// object reads n as a mapping with no keys but known ones. It notes what else
// is there, and gives what is good of it. what names it: "a rule".
func (d *decoder) object(n *yaml.Node, what string, known ...string) object {
	o := d.entries(n, what)
	for _, key := range o.keys {
		if !slices.Contains(known, key.Value) {
			d.fail(key, d.l.kind.meant(key.Value, known), "unknown key %q in %s", key.Value, what)
			delete(o.values, key.Value)
		}
	}
	return o
}

// entries reads n as a mapping of any keys.
func (d *decoder) entries(n *yaml.Node, what string) object {
	o := object{d: d, node: n, values: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "", "%s must be a mapping (key: value), not %s", what, describe(n))
		return o
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(key, braceHint(n), "a key of %s must be a text, not %s", what, describe(key))
			continue
		}
		if first := seen[key.Value]; first != nil {
			d.fail(key, "", "the key %q is there twice: first in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		if isNull(value) {
			d.fail(key, "", "%q has no value", key.Value)
			continue
		}
		o.keys = append(o.keys, key)
		o.values[key.Value] = value
	}
	return o
}

// part reads the value of a key as a mapping. form is what to write in place of
// a single value.
func (o object) part(key, form string, known ...string) (part object, ok bool) {
	n := o.values[key]
	if n == nil {
		return object{}, false
	}
	return o.d.formed(n, key, key+": "+form, known...)
}

// formed is object with the form that is meant where n is a single value.
func (d *decoder) formed(n *yaml.Node, what, form string, known ...string) (o object, ok bool) {
	if n.Kind == yaml.ScalarNode {
		d.fail(n, "write "+form, "%s must be a mapping (key: value), not %s", what, describe(n))
		return object{}, false
	}
	return d.object(n, what, known...), n.Kind == yaml.MappingNode
}

// said is n where it is a single value that fits into a form, else the example.
func said(n *yaml.Node, fits *regexp.Regexp, example string) string {
	if n != nil && n.Kind == yaml.ScalarNode && fits.MatchString(n.Value) {
		return n.Value
	}
	return example
}

// What fits a form.
var (
	aCount = regexp.MustCompile(`^[1-9][0-9]{0,9}$`)
	aTime  = regexp.MustCompile(`^[1-9][0-9]{0,9}[smh]$`)
	aWord  = regexp.MustCompile(`^[^,{}\[\]"'#:\s]{1,40}$`)
)

// needs reports whether all the keys are there, and notes which is not.
func (o object) needs(what, hint string, keys ...string) bool {
	all := true
	for _, key := range keys {
		if o.values[key] != nil {
			continue
		}
		all = false
		if o.keyNode(key) == nil { // else "has no value" is noted
			o.d.fail(o.node, hint, "%s needs %s", what, key)
		}
	}
	return all
}

// keyNode returns the key itself, nil where it is not there.
func (o object) keyNode(key string) *yaml.Node {
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		if n := o.node.Content[i]; n.Kind == yaml.ScalarNode && n.Value == key {
			return n
		}
	}
	return nil
}

// describe names the kind of a value for people.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!bool":
		return "true or false"
	case n.ShortTag() == "!!int", n.ShortTag() == "!!float":
		return "a number"
	}
	return "a text"
}
