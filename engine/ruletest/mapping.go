package ruletest

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// mapping makes a YAML mapping, its keys in the order in which they are set.
type mapping struct{ content []*yaml.Node }

func (m *mapping) set(key string, value *yaml.Node) {
	m.content = append(m.content, textNode(valid(key)), value)
}

// valid is a text that YAML can hold.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// text sets a text, where there is one.
func (m *mapping) text(key, value string) {
	if value != "" {
		m.set(key, textNode(valid(value)))
	}
}

func (m *mapping) number(key string, value int64) {
	m.set(key, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(value, 10)})
}

// names sets a list of texts, on one line.
func (m *mapping) names(key string, names []string) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, name := range names {
		n.Content = append(n.Content, oneLine(textNode(valid(name))))
	}
	m.set(key, n)
}

// oneLine is a text in a list in brackets, where a block can't stand.
func oneLine(n *yaml.Node) *yaml.Node {
	if n.Style == yaml.LiteralStyle {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		oneLine(c)
	}
	return n
}

func (m *mapping) node() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Content: m.content} }

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sorted sets a mapping to texts, where there is something in it.
func (m *mapping) sorted(key string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	in := &mapping{}
	for _, name := range keysOf(values) {
		in.set(name, textNode(valid(values[name])))
	}
	m.set(key, in.node())
}
