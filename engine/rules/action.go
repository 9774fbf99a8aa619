package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// kinds are the keys that say what an action does.
func kinds() []string { return []string{"exec", "shell", "file", "http"} }

// common are the keys of every action.
func common() []string { return keys[commonShape]() }

// keysOf are the further keys of an action of a kind.
func keysOf(kind string) []string {
	all := common()
	return slices.DeleteFunc(keysOfShape(kindShape(kind)), func(key string) bool {
		return key == kind || slices.Contains(all, key)
	})
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// action reads the keys of one action.
type action struct {
	object
	c *engine.Compiler
}

// does reads what an action of the kind does. step is known but for that.
func (a action) does(kind string, step engine.Step) engine.Action {
	switch kind {
	case "exec":
		x := a.exec()
		x.Outputs, x.Detach, x.Bounds = step.Outputs, a.detach(), a.bounds()
		return x
	case "shell":
		x := a.shell()
		x.Outputs, x.Detach, x.Bounds = step.Outputs, a.detach(), a.bounds()
		return x
	case "file":
		return a.file()
	default:
		x := a.http()
		x.Timeout = step.Timeout
		return x
	}
}

// oneKind returns the one key that says what the action does.
func (o object) oneKind() (kind string, ok bool) {
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
	return slices.ContainsFunc(kinds(), func(kind string) bool { return o.keyNode(kind) != nil })
}

// onlyKeysOf notes keys that an action of the kind does not have.
func (o object) onlyKeysOf(kind string) {
	known := slices.Concat([]string{kind}, keysOf(kind), common())
	for _, key := range o.keys {
		if slices.Contains(known, key.Value) {
			continue
		}
		hint := meantHere(key.Value, known)
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

// template compiles the text of a key, nil where it is not there.
func (a action) template(key string, f field) *engine.Template {
	n := a.values[key]
	if n == nil {
		return nil
	}
	f.what = key
	return a.d.template(n, a.c, f)
}
