package rules

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Bounds of the rules of an output.
const (
	maxRuleDepth = 32   // of conditions in each other
	maxRuleParts = 1000 // conditions, those that hold others counted too
	maxRegex     = 4096 // bytes of an expression
)

// RelayRule is a tree of conditions that decides whether an output gets a webhook:
// exactly one of its fields is set. Words and shape are those that users of
// adnanh/webhook know.
type RelayRule struct {
	And   []RelayRule
	Or    []RelayRule
	Not   *RelayRule
	Match *RelayMatch
}

// RelayMatch is a leaf of a RelayRule.
type RelayMatch struct {
	Type   string // one of value, contains, does-not-contain, regex, substring, payload-hash-sha1, payload-hash-sha256, ip-range
	Source string // where the value is: header, payload, query, body or path; "" of ip-range
	Name   string // of the header or parameter, dotted in a payload; "" of body and path

	// What it is compared with: that which the type asks for.
	Value     string
	Regex     string // compiles
	Substring string
	Secret    engine.Secret
	IPRange   string // a network or an address
}

// ruleTree reads the rules of one output.
type ruleTree struct {
	d     *decoder
	parts int
	full  bool // of parts, and that is noted
}

// rule reads a condition at a depth, from 1; nil after a problem.
func (t *ruleTree) rule(n *yaml.Node, depth int) *RelayRule {
	if t.parts++; t.parts > maxRuleParts || depth > maxRuleDepth {
		t.tooMuch(n, depth)
		return nil
	}
	o, ok := t.d.formed(n, "a rule of an output", "{match: {…}}, {and: […]}, {or: […]} or {not: {…}}", ruleTreeKeys()...)
	if !ok {
		return nil
	}
	if len(o.values) != 1 {
		if len(o.keys) == len(o.values) && len(o.values) != 0 || len(n.Content) == 0 { // else it is noted what is wrong
			t.d.fail(n, "put several into and: or or:", "a rule of an output has exactly one of and, or, not and match")
		}
		return nil
	}
	r := &RelayRule{}
	switch {
	case o.values["and"] != nil:
		r.And = t.rules(o, "and", depth)
	case o.values["or"] != nil:
		r.Or = t.rules(o, "or", depth)
	case o.values["not"] != nil:
		r.Not = t.rule(o.values["not"], depth+1)
	default:
		r.Match = o.match()
	}
	return r
}

func ruleTreeKeys() []string { return []string{"and", "or", "not", "match"} }

// tooMuch notes once that a tree is too large, and each time that it is too deep.
func (t *ruleTree) tooMuch(n *yaml.Node, depth int) {
	switch {
	case depth > maxRuleDepth:
		t.d.fail(n, "", "rules more than %d deep", maxRuleDepth)
	case !t.full:
		t.full = true
		t.d.fail(n, "", "more than %d rules in one output", maxRuleParts)
	}
}

func (t *ruleTree) rules(o object, key string, depth int) []RelayRule {
	var all []RelayRule
	for _, n := range o.list(key, false) {
		if r := t.rule(n, depth+1); r != nil {
			all = append(all, *r)
		}
	}
	return all
}

func matchKeys() []string {
	return []string{"type", "parameter", "value", "regex", "substring", "secret", "ip-range"}
}

// operand is the key that holds what a type compares with.
func operand(kind string) string {
	switch kind {
	case "value", "contains", "does-not-contain":
		return "value"
	case "payload-hash-sha1", "payload-hash-sha256":
		return "secret"
	}
	return kind // regex, substring, ip-range
}

// match reads a leaf, nil after a problem.
func (o object) match() *RelayMatch {
	const form = "{type: value, parameter: {source: header, name: X-Event}, value: push}"
	v, ok := o.part("match", form, matchKeys()...)
	if !ok || !v.needs("match", form, "type") {
		return nil
	}
	m := &RelayMatch{Type: v.choice("type", "", "value", "contains", "does-not-contain", "regex", "substring", "payload-hash-sha1", "payload-hash-sha256", "ip-range")}
	if m.Type == "" {
		return nil
	}
	key := operand(m.Type)
	v.needs("match of type "+m.Type, "", key)
	known := []string{"type", "parameter", key}
	if m.Type == "ip-range" {
		known = []string{"type", key}
	} else if v.needs("match of type "+m.Type, "parameter: {source: header, name: X-Event}", "parameter") {
		m.Source, m.Name = v.parameter()
	}
	for _, k := range v.keys {
		if v.values[k.Value] != nil && !slices.Contains(known, k.Value) {
			v.d.fail(k, "it compares with "+key, "%s does not go with match of type %s", k.Value, m.Type)
		}
	}
	v.compared(m, key)
	return m
}

// parameter reads where the value of a match is.
func (o object) parameter() (source, name string) {
	v, ok := o.part("parameter", "{source: header, name: X-Event}", "source", "name")
	if !ok || !v.needs("parameter", "header, payload, query, body or path", "source") {
		return "", ""
	}
	source = v.choice("source", "", "header", "payload", "query", "body", "path")
	switch source {
	case "header", "payload", "query":
		if v.needs("parameter of source "+source, "", "name") && v.d.scalar(v.values["name"], "name") && v.d.name(v.values["name"], "name") {
			name = v.values["name"].Value
		}
		if source == "header" && name != "" && !token.MatchString(name) {
			v.d.fail(v.values["name"], "", "%s is no name of a header", show(v.values["name"]))
		}
	case "body", "path":
		if k := v.keyNode("name"); k != nil {
			v.d.fail(k, "leave it out: it is all of it", "name does not go with source %s", source)
		}
	}
	return source, name
}

// compared reads what a match compares with.
func (o object) compared(m *RelayMatch, key string) {
	n := o.values[key]
	if n == nil {
		return
	}
	const kept = "it is shown to clients"
	switch key {
	case "value":
		m.Value = o.fixed(key, kept)
	case "substring":
		if m.Substring = o.fixed(key, kept); n.Kind == yaml.ScalarNode && n.Value == "" {
			o.d.fail(n, "", "substring is empty: it is in every text")
		}
	case "regex":
		m.Regex = o.regex()
	case "secret":
		m.Secret = o.secretOf(key)
	case "ip-range":
		m.IPRange = o.text(key)
		if _, err := prefix(m.IPRange); err != nil && n.Kind == yaml.ScalarNode {
			o.d.fail(n, "write 192.0.2.0/24, 2001:db8::/32 or one address", "ip-range: %v", err)
		}
	}
}

// regex reads an expression and compiles it.
func (o object) regex() string {
	text, n := o.fixed("regex", "it is shown to clients"), o.values["regex"]
	if len(text) > maxRegex {
		o.d.fail(n, "", "regex is longer than %d bytes", maxRegex)
		return ""
	}
	if _, err := regexp.Compile(text); err != nil {
		o.d.fail(n, "the syntax is that of RE2: https://github.com/google/re2/wiki/Syntax", "regex is wrong: %s", unwrapRegex(err))
	}
	return text
}

// unwrapRegex is what is wrong with an expression, in few words.
func unwrapRegex(err error) string {
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		return fmt.Sprintf("%s: %q", e.Code, e.Expr)
	}
	return err.Error()
}
