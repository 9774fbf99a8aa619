package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// meaning is what a rule's hash is of. What can be written in several ways, or
// comes from defaults, stands in it as it was understood, the rest as JSON values.
type meaning struct {
	Name             string
	Buckets, Methods []string
	When             string
	Stop             bool
	Shadow           bool `json:",omitempty"` // rules without it have the hash that they had before there was any
	Timeout          time.Duration
	Retry            retryMeaning
	Keys             map[string]any
	Roots            []string // where a file is written
	Allowed          []string `json:",omitempty"` // http_allow of all rules, where a call is made
}

type retryMeaning struct {
	Attempts     int
	If           string
	Backoff, Max time.Duration
}

// plainKeys are the keys of a rule that its hash takes as they stand there.
func plainKeys() []string {
	return slices.DeleteFunc(ruleKeys(), func(key string) bool {
		return slices.Contains([]string{"name", "enabled", "bucket", "mode", "method", "when", "stop", "timeout", "retry"}, key)
	})
}

// hashRule names what a rule means: two rules of one hash do the same to the
// same events. Secrets are in it by reference only.
func (l *loader) hashRule(r *engine.Rule, o object) string {
	m := meaning{
		Name: r.Name, Buckets: r.Buckets, Methods: r.Methods, When: sourceOf(r.When), Stop: r.Stop, Shadow: r.Shadow, Timeout: r.Timeout,
		Retry: retryMeaning{Attempts: r.Retry.Attempts, If: sourceOf(r.Retry.If), Backoff: r.Retry.Backoff, Max: r.Retry.Max},
		Keys:  map[string]any{},
	}
	for _, key := range plainKeys() {
		if n := o.values[key]; n != nil {
			m.Keys[key] = canonical(n)
		}
	}
	if slices.ContainsFunc(allSteps(r), func(s engine.Step) bool { return s.Action.Kind() == "file" }) {
		m.Roots = l.roots
	}
	if slices.ContainsFunc(allSteps(r), func(s engine.Step) bool { return s.Action.Kind() == "http" }) {
		m.Allowed = l.allowedTexts
	}
	data, _ := json.Marshal(m) // texts, numbers, lists and maps of texts: always possible
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// sourceOf is the text of a condition, "" of none.
func sourceOf(c *engine.Condition) string {
	if c == nil {
		return ""
	}
	return c.String()
}

// keyOf names an action without an id by what it does: how often it is tried and
// what a failure of it means is no part of that. Secrets are in it by reference
// only.
func keyOf(item *yaml.Node) string {
	const enough = 8 // bytes: a rule has at most maxActions
	does := canonical(item)
	if m, ok := does.(map[string]any); ok {
		for _, key := range []string{"retry", "continue_on_error", "on_interrupt", "on_crash", "limits"} {
			delete(m, key)
		}
	}
	data, _ := json.Marshal(does) // texts, lists and maps of texts: always possible
	sum := sha256.Sum256(data)
	return "do:" + hex.EncodeToString(sum[:enough])
}

// canonical is a node as JSON values, however its author wrote it.
func canonical(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = canonical(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, canonical(item))
		}
		return list
	}
	if tag := n.ShortTag(); tag != "!!str" {
		return []string{tag, n.Value} // json: {a: 1} is another text than {a: "1"}
	}
	return n.Value
}

// hashSet names a generation: its rules and what it says for all of them.
func (l *loader) hashSet() string {
	h := sha256.New()
	for _, r := range l.enabled {
		fmt.Fprintln(h, r.Hash)
	}
	fmt.Fprintln(h, l.maxRuns, l.queueLimit)
	for _, t := range l.tops {
		for _, key := range []string{"buckets", "trusted_proxies"} {
			if n := t.keys.values[key]; n != nil {
				data, _ := json.Marshal(canonical(n)) // texts, lists and maps of texts: always possible
				fmt.Fprintf(h, "%s %s\n", key, data)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Diff returns the names of the rules that are only in new, that differ, and
// that are only in old, each in the order of its set. nil is an empty set.
func Diff(old, new *engine.RuleSet) (added, changed, removed []string) {
	before, after := byName(old), byName(new)
	for _, r := range ruleList(new) {
		switch was := before[r.Name]; {
		case was == nil:
			added = append(added, r.Name)
		case was.Hash != r.Hash:
			changed = append(changed, r.Name)
		}
	}
	for _, r := range ruleList(old) {
		if after[r.Name] == nil {
			removed = append(removed, r.Name)
		}
	}
	return added, changed, removed
}

// DiffBuckets returns the names of the buckets of which something else is said
// now than before, sorted.
func DiffBuckets(old, new *Generation) []string {
	var names []string
	all := maps.Clone(old.said)
	maps.Copy(all, new.said)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if old.said[name] != new.said[name] {
			names = append(names, name)
		}
	}
	return names
}

func ruleList(s *engine.RuleSet) []*engine.Rule {
	if s == nil {
		return nil
	}
	return s.Rules
}

func byName(s *engine.RuleSet) map[string]*engine.Rule {
	m := map[string]*engine.Rule{}
	for _, r := range ruleList(s) {
		m[r.Name] = r
	}
	return m
}
