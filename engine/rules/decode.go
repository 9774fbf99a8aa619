package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// decoder reads the nodes of one file and notes what is wrong with them.
type decoder struct {
	l        *loader
	src      *source
	rule     string // name of the rule that is being read
	disabled bool   // it is not enabled: its secrets need not be there
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
			d.fail(key, meant(key.Value, known), "unknown key %q in %s", key.Value, what)
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

// meant is the hint for a key that nobody knows.
func meant(key string, known []string) string {
	other := map[string]string{
		"command": "exec", "cmd": "exec", "run": "shell", "script": "shell", "url": "http", "path": "file",
		"condition": "when", "match": "when", "if": "when", "on": "when", "trigger": "when",
		"steps": "actions", "do": "actions", "then": "actions", "jobs": "actions",
		"cwd": "dir", "workdir": "dir", "working_directory": "dir", "environment": "env",
		"hooks": "rules", "retries": "retry", "disabled": "enabled", "text": "content", "data": "body",
	}[strings.ToLower(key)]
	if slices.Contains(known, other) {
		return fmt.Sprintf("did you mean %q?", other)
	}
	return engine.Nearest(key, slices.Clone(known))
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

// braceHint is for {{ }} without quotes, which YAML takes for a mapping in a
// mapping.
func braceHint(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 &&
		n.Content[0].Kind == yaml.MappingNode && n.Content[0].Style&yaml.FlowStyle != 0 {
		return `a text with {{ }} in it needs quotes: "{{ body.after }}"`
	}
	return ""
}

// text returns the value of a key that must be a single one; "" where it is
// not there.
func (o object) text(key string) string {
	n := o.values[key]
	if n == nil || !o.d.scalar(n, key) {
		return ""
	}
	return n.Value
}

// scalar reports whether n is a single value, and notes it where it is not.
// Numbers and true are texts as they are written.
func (d *decoder) scalar(n *yaml.Node, what string) bool {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		return true
	}
	d.fail(n, braceHint(n), "%s must be a text, not %s", what, describe(n))
	return false
}

// constant is text of which {{ }} and ${} can be no part.
func (o object) constant(key string) string {
	text := o.text(key)
	if text != "" && !o.d.plain(o.values[key], key) {
		return ""
	}
	return text
}

// plain reports whether n has neither {{ }} nor a secret in it, and notes it.
func (d *decoder) plain(n *yaml.Node, what string) bool {
	if strings.Contains(n.Value, "{{") || secretRef.MatchString(n.Value) {
		d.fail(n, "", "%s must be fixed: neither {{ }} nor ${ } can stand in it", what)
		return false
	}
	return true
}

// flag returns the value of a key that is true or false.
func (o object) flag(key string, unset bool) bool {
	n := o.values[key]
	if n == nil {
		return unset
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		o.d.fail(n, "", "%s must be true or false, not %s", key, show(n))
		return unset
	}
	return strings.EqualFold(n.Value, "true")
}

// show is the value itself where it is a short single one, else its kind.
func show(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && !isNull(n) && len(n.Value) <= 40 {
		return fmt.Sprintf("%q", n.Value)
	}
	return describe(n)
}

var (
	bareNumber = regexp.MustCompile(`^[0-9]+$`)
	inDays     = regexp.MustCompile(`^([0-9]{1,4})d$`)
)

// duration returns the value of a key that is a length of time, above 0.
func (o object) duration(key string, unset time.Duration) time.Duration {
	n := o.values[key]
	if n == nil {
		return unset
	}
	v, err := time.ParseDuration(n.Value)
	if n.Kind == yaml.ScalarNode && err == nil && v > 0 {
		return v
	}
	hint := "write 30s, 10m or 1h30m"
	if m := inDays.FindStringSubmatch(n.Value); m != nil {
		var days int
		fmt.Sscan(m[1], &days) // digits
		hint = fmt.Sprintf("write %dh", 24*days)
	} else if bareNumber.MatchString(n.Value) {
		hint = fmt.Sprintf("write %ss or %sm", n.Value, n.Value)
	}
	o.d.fail(n, hint, "%s must be a length of time above 0, not %s", key, show(n))
	return unset
}

// list returns the items of a key that is a list, or a single text where
// single ones are good. An empty list is noted.
func (o object) list(key string, single bool) []*yaml.Node {
	n := o.values[key]
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		return n.Content
	case n.Kind == yaml.SequenceNode:
		o.d.fail(n, "", "%s is an empty list", key)
	case single && n.Kind == yaml.ScalarNode:
		return []*yaml.Node{n}
	case single:
		o.d.fail(n, "", "%s must be a text or a list, not %s", key, describe(n))
	default:
		o.d.fail(n, "", "%s must be a list, not %s", key, describe(n))
	}
	return nil
}

// names returns the items of list as texts without control characters, each
// once.
func (o object) names(key string) []string {
	var names []string
	for _, n := range o.list(key, true) {
		if !o.d.scalar(n, "an item of "+key) || !o.d.name(n, "an item of "+key) || slices.Contains(names, n.Value) {
			continue
		}
		names = append(names, n.Value)
	}
	return names
}

// maxName bounds names of rules and buckets, in bytes.
const maxName = 200

// name reports whether n can name something, and notes it where it can not.
func (d *decoder) name(n *yaml.Node, what string) bool {
	switch {
	case n.Value == "":
		d.fail(n, "", "%s is empty", what)
	case len(n.Value) > maxName:
		d.fail(n, "", "%s is longer than %d bytes", what, maxName)
	case strings.ContainsFunc(n.Value, isControl):
		d.fail(n, "", "%s has a line break or control character in it", what)
	case strings.TrimSpace(n.Value) != n.Value:
		d.fail(n, "", "%s begins or ends with a space", what)
	default:
		return true
	}
	return false
}

func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029'
}
