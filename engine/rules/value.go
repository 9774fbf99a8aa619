package rules

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

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
	if n.Kind == yaml.ScalarNode && !isNull(n) && len(n.Value) <= maxShown {
		return fmt.Sprintf("%q", n.Value)
	}
	return describe(n)
}

// maxShown is the longest value that a message shows, in bytes.
const maxShown = 40

// number returns the value of a key that is a whole number from 1 to most, 0
// where it is not there or is wrong.
func (o object) number(key string, most int, hint string) int {
	return o.between(key, 1, most, 0, hint)
}

// between returns the value of a key that is a whole number from least to most.
func (o object) between(key string, least, most, unset int, hint string) int {
	n := o.values[key]
	if n == nil {
		return unset
	}
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
		o.d.fail(n, hint, "%s must be a number from %d to %d, not %s", key, least, most, show(n))
		return unset
	}
	return v
}

// choice returns the value of a key that is one of the words, "" where it is not
// there or is wrong. hint is for what is near to none of them.
func (o object) choice(key, hint string, words ...string) string {
	n := o.values[key]
	if n == nil {
		return ""
	}
	if n.Kind == yaml.ScalarNode && slices.Contains(words, n.Value) {
		return n.Value
	}
	last := len(words) - 1
	o.d.fail(n, cmp.Or(engine.Nearest(n.Value, slices.Clone(words)), hint),
		"%s must be %s or %s, not %s", key, strings.Join(words[:last], ", "), words[last], show(n))
	return ""
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
	for _, n := range o.nameNodes(key) {
		names = append(names, n.Value)
	}
	return names
}

// nameNodes are the nodes of names.
func (o object) nameNodes(key string) []*yaml.Node {
	var nodes []*yaml.Node
	for _, n := range o.list(key, true) {
		if !o.d.scalar(n, "an item of "+key) || !o.d.name(n, "an item of "+key) ||
			slices.ContainsFunc(nodes, func(m *yaml.Node) bool { return m.Value == n.Value }) {
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes
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
