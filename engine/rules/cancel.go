package rules

import (
	"maps"
	"slices"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// maxCancels bounds the rules whose runs one rule ends.
const maxCancels = 100

// reference is a rule that another one names.
type reference struct {
	d    *decoder
	from string     // the rule that names it
	name *yaml.Node // the name
	key  *yaml.Node // of cancels; nil: none
}

// cancels reads whose runs an event ends.
func (x *ruleReader) cancels() []engine.Cancel {
	n := x.values["cancels"]
	if n == nil {
		return nil
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = x.list("cancels", false)
	}
	var all []engine.Cancel
	for _, item := range items {
		all = append(all, x.cancel(item)...)
	}
	if len(all) > maxCancels {
		x.d.fail(n, "", "cancels names more than %d rules", maxCancels)
	}
	return all
}

// cancel reads one mapping of cancels, which may name several rules.
func (x *ruleReader) cancel(n *yaml.Node) []engine.Cancel {
	v, ok := x.d.formed(n, "cancels", "cancels: {rule: "+said(n, aWord, "deploy")+"}", keys[cancelShape]()...)
	if !ok || !v.needs("cancels", "write cancels: {rule: deploy, key: body.number}", "rule") {
		return nil
	}
	key := v.key("key", x.keyCompiler())
	var all []engine.Cancel
	for _, name := range v.nameNodes("rule") {
		x.d.l.refs = append(x.d.l.refs, reference{d: x.d, from: x.d.rule, name: name, key: v.values["key"]})
		all = append(all, engine.Cancel{Rule: name.Value, Key: key})
	}
	return all
}

// references checks the rules that others name, now that all are known.
func (l *loader) references() {
	rules := map[string]*engine.Rule{}
	for _, r := range slices.Concat(l.enabled, l.off) {
		rules[r.Name] = r
	}
	for _, ref := range l.refs {
		ref.d.rule = ref.from
		ref.check(l.places, rules[ref.name.Value])
		ref.d.rule = ""
	}
}

// check notes what is wrong with one. rule is the one that it names, nil where
// that one has problems of its own.
func (ref reference) check(places map[string]string, rule *engine.Rule) {
	name := ref.name.Value
	switch _, known := places[name]; {
	case !known:
		ref.d.fail(ref.name, engine.Nearest(name, slices.Collect(maps.Keys(places))), "cancels: there is no rule %q", name)
	case name == ref.from && ref.key == nil:
		ref.d.warn(ref.name, "add a key, or write concurrency: {on_busy: replace}", "the rule ends all its own runs at each event")
	case rule != nil && ref.key != nil && rule.Concurrency.Key == nil && (rule.ForEach == nil || rule.ForEach.Key == nil):
		ref.d.warn(ref.key, "give that rule a key: concurrency: {key: …}", "the runs of rule %q have no key to compare with", name)
	}
}
