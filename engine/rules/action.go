package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// kinds are the keys that say what an action does.
func kinds() []string { return []string{"exec", "shell", "file", "http"} }

// common are the keys of every action.
func common() []string { return []string{"id", "if", "timeout"} }

// keysOf are the further keys of an action of a kind.
func keysOf(kind string) []string {
	switch kind {
	case "exec", "shell":
		return []string{"dir", "env", "stdin"}
	case "file":
		return []string{"content", "write", "mode"}
	case "http":
		return []string{"method", "headers", "body", "json", "expect"}
	}
	return nil
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// action reads the keys of one action.
type action struct {
	object
	c *engine.Compiler
}

// step reads the action at index i of a rule. before are the actions ahead of
// it.
func (d *decoder) step(n *yaml.Node, i int, before []engine.StepShape) (step engine.Step, kind string) {
	step.ID = strconv.Itoa(i + 1)
	o := d.entries(n, "an action")
	if n.Kind != yaml.MappingNode {
		return step, ""
	}
	kind, ok := o.kind()
	if !ok {
		return step, ""
	}
	o.onlyKeysOf(kind)
	if id := o.values["id"]; id != nil {
		step.ID = d.id(id, before)
		step.Key = "id:" + step.ID
	}
	a := action{o, engine.NewCompiler(before...)}
	if cond := o.values["if"]; cond != nil {
		step.If = d.condition(cond, a.c, "if")
	}
	step.Timeout = o.duration("timeout", 0)
	switch kind {
	case "exec":
		step.Action = a.exec()
	case "shell":
		step.Action = a.shell()
	case "file":
		step.Action = a.file()
	case "http":
		call := a.http()
		call.Timeout = step.Timeout
		step.Action = call
	}
	return step, kind
}

// kind returns the one key that says what the action does.
func (o object) kind() (kind string, ok bool) {
	var found []*yaml.Node
	for _, key := range o.keys {
		if slices.Contains(kinds(), key.Value) {
			found = append(found, key)
		}
	}
	switch {
	case len(found) == 1:
		return found[0].Value, true
	case len(found) > 1:
		o.d.fail(found[1], "make two actions of it", "an action does one thing, this one has %s and %s", found[0].Value, found[1].Value)
	default:
		o.noKind()
	}
	return "", false
}

// noKind notes that an action does nothing, with the key that was likely meant
// to say what.
func (o object) noKind() {
	every := common()
	for _, kind := range kinds() {
		every = append(every, keysOf(kind)...)
	}
	for _, key := range o.keys {
		hint := meant(key.Value, kinds())
		if slices.Contains(every, key.Value) || hint == "" && meant(key.Value, every) != "" {
			continue
		}
		if hint == "" {
			hint = "one of " + strings.Join(kinds(), ", ")
		}
		o.d.fail(key, hint, "unknown action kind %q", key.Value)
		return
	}
	if o.kindWithoutValue() {
		return
	}
	o.d.fail(o.node, "it needs one of "+strings.Join(kinds(), ", "), "an action that does nothing")
}

// kindWithoutValue reports whether the kind is there but empty, which is noted
// already.
func (o object) kindWithoutValue() bool {
	return slices.ContainsFunc(o.node.Content, func(n *yaml.Node) bool { return slices.Contains(kinds(), n.Value) })
}

// onlyKeysOf notes keys that an action of the kind does not have.
func (o object) onlyKeysOf(kind string) {
	known := slices.Concat([]string{kind}, keysOf(kind), common())
	for _, key := range o.keys {
		if slices.Contains(known, key.Value) {
			continue
		}
		hint := meant(key.Value, known)
		for _, other := range kinds() {
			if slices.Contains(keysOf(other), key.Value) {
				hint = fmt.Sprintf("%q goes with %s", key.Value, kindsWith(key.Value))
			}
		}
		o.d.fail(key, hint, "unknown key %q in an action of kind %s", key.Value, kind)
	}
}

func kindsWith(key string) string {
	var with []string
	for _, kind := range kinds() {
		if slices.Contains(keysOf(kind), key) {
			with = append(with, kind)
		}
	}
	return strings.Join(with, " and ")
}

// id reads the name of an action.
func (d *decoder) id(n *yaml.Node, before []engine.StepShape) string {
	if !d.scalar(n, "id") {
		return ""
	}
	if !identifier.MatchString(n.Value) || len(n.Value) > maxName {
		d.fail(n, "letters, digits and _, a letter first: expressions say steps.build", "id %s is no name", show(n))
	}
	if slices.ContainsFunc(before, func(s engine.StepShape) bool { return s.ID == n.Value }) {
		d.fail(n, "", "an action before has the id %q already", n.Value)
	}
	return n.Value
}

// template compiles the text of a key, nil where it is not there.
func (a action) template(key string, f field) *engine.Template {
	n := a.values[key]
	if n == nil {
		return nil
	}
	f.what = key
	return a.d.template(n, a.c, f)
}

// required notes that a key is missing.
func (a action) required(key, kind string) bool {
	if a.values[key] != nil {
		return true
	}
	if !slices.ContainsFunc(a.node.Content, func(n *yaml.Node) bool { return n.Value == key }) { // else "has no value" is noted
		a.d.fail(a.node, "", "an action of kind %s needs %s", kind, key)
	}
	return false
}
