package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Bounds of a rule.
const (
	maxActions  = 100
	maxAttempts = 1000
)

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, 5.6.2

// rule reads one rule and keeps it if it is good and enabled.
func (l *loader) rule(d *decoder, n *yaml.Node) {
	before := len(l.problems)
	d.rule, d.disabled = nameOf(n), false
	defer func() { d.rule, d.disabled = "", false }()

	o := d.object(n, "a rule", "name", "enabled", "bucket", "method", "when", "timeout", "retry", "stop", "actions")
	if n.Kind != yaml.MappingNode {
		return
	}
	l.claimName(o)
	enabled := o.flag("enabled", true)
	d.disabled = !enabled
	r := &engine.Rule{
		Name:    d.rule,
		Place:   d.at(n),
		Buckets: o.names("bucket"),
		Methods: o.methods(),
		When:    o.when(),
		Stop:    o.flag("stop", false),
		Timeout: o.duration("timeout", l.timeout),
		Retry:   o.retry(l.retry),
	}
	r.Steps = o.steps()
	if failed(l.problems[before:]) {
		return
	}
	if !enabled {
		l.off = append(l.off, r)
		return
	}
	r.Hash = l.hashRule(r, o)
	l.enabled = append(l.enabled, r)
	l.nodes[r] = place{d, n}
}

// nameOf is the name of a rule that is not read yet, so that its problems can
// say it; "" where it can't be one.
func nameOf(n *yaml.Node) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" && len(n.Content[i+1].Value) <= maxName {
			return n.Content[i+1].Value
		}
	}
	return ""
}

// claimName checks the rule's name and that no other rule of the generation has
// it.
func (l *loader) claimName(o object) {
	n := o.values["name"]
	if n == nil {
		o.d.fail(o.node, "history and logs know a rule by its name", "a rule without a name")
		return
	}
	if !o.d.scalar(n, "name") || !o.d.name(n, "name") {
		return
	}
	if first, taken := l.places[n.Value]; taken {
		o.d.fail(n, "names are unique over all files", "the name is taken by the rule in %s", first)
		return
	}
	l.places[n.Value] = o.d.at(n)
}

func (o object) methods() []string {
	var methods []string
	for _, m := range o.names("method") {
		if !token.MatchString(m) {
			o.d.fail(o.values["method"], "GET, POST, PUT …", "%q is no HTTP method", m)
			continue
		}
		if m = strings.ToUpper(m); !slices.Contains(methods, m) {
			methods = append(methods, m)
		}
	}
	return methods
}

func (o object) when() *engine.Condition {
	n := o.values["when"]
	if n == nil {
		return nil
	}
	if strings.TrimSpace(n.Value) == "false" && !o.d.disabled {
		o.d.fail(n, "to keep a rule out write enabled: false", "the rule can never match")
		return nil
	}
	return o.d.condition(n, engine.NewCompiler(), "when")
}

// retry reads the key of that name. What it leaves out is as in unset.
func (o object) retry(unset engine.Retry) engine.Retry {
	n := o.values["retry"]
	if n == nil {
		return unset
	}
	if n.Kind == yaml.ScalarNode && bareNumber.MatchString(n.Value) {
		o.d.fail(n, fmt.Sprintf("write retry: {attempts: %s}", cmp.Or(strings.TrimLeft(n.Value, "0"), "1")), "retry must be a mapping (key: value), not a number")
		return unset
	}
	v := o.d.object(n, "retry", "attempts", "backoff", "max")
	r := engine.Retry{
		Attempts: unset.Attempts,
		Backoff:  v.duration("backoff", unset.Backoff),
		Max:      v.duration("max", unset.Max),
	}
	if a := v.values["attempts"]; a != nil {
		count, err := strconv.Atoi(a.Value)
		if a.Kind != yaml.ScalarNode || err != nil || count < 1 || count > maxAttempts {
			o.d.fail(a, "1 is a single try, without a retry", "attempts must be a number from 1 to %d, not %s", maxAttempts, show(a))
		}
		r.Attempts = count
	}
	if r.Backoff > 0 && r.Max > 0 && r.Max < r.Backoff {
		o.d.fail(n, "", "max (%s) is shorter than backoff (%s)", r.Max, r.Backoff)
	}
	return r
}

// steps reads the actions of a rule. Each sees the ones before it.
func (o object) steps() []engine.Step {
	if o.values["actions"] == nil {
		hint := ""
		for _, kind := range kinds() {
			if slices.ContainsFunc(o.node.Content, func(n *yaml.Node) bool { return n.Value == kind }) {
				hint = fmt.Sprintf("put it below actions: as - %s: …", kind)
			}
		}
		o.d.fail(o.node, hint, "a rule without actions")
		return nil
	}
	items := o.list("actions", false)
	if len(items) > maxActions {
		o.d.fail(items[maxActions], "", "more than %d actions", maxActions)
		return nil
	}
	var steps []engine.Step
	var shapes []engine.StepShape
	alike := map[string]int{} // actions without an id so far that do the same
	for i, item := range items {
		step, kind := o.d.step(item, i, shapes)
		if step.Key == "" {
			step.Key = keyOf(item)
			if alike[step.Key]++; alike[step.Key] > 1 {
				step.Key += fmt.Sprintf("#%d", alike[step.Key])
			}
		}
		steps = append(steps, step)
		shapes = append(shapes, engine.StepShape{ID: step.ID, Kind: kind})
	}
	return steps
}

// hashRule names what a rule means: two rules of one hash do the same to the
// same events. Secrets are in it by reference only.
func (l *loader) hashRule(r *engine.Rule, o object) string {
	meaning := struct {
		Name             string
		Buckets, Methods []string
		When             string
		Stop             bool
		Timeout          time.Duration
		Retry            engine.Retry
		Actions          any
		Roots            []string // where a file is written
	}{
		Name: r.Name, Buckets: r.Buckets, Methods: r.Methods, Stop: r.Stop,
		Timeout: r.Timeout, Retry: r.Retry, Actions: canonical(o.values["actions"]),
	}
	if r.When != nil {
		meaning.When = r.When.String()
	}
	if slices.ContainsFunc(r.Steps, func(s engine.Step) bool { return s.Action.Kind() == "file" }) {
		meaning.Roots = l.roots
	}
	data, _ := json.Marshal(meaning) // texts, numbers, lists and maps of texts: always possible
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// keyOf names an action without an id by what it says. Secrets are in it by
// reference only.
func keyOf(item *yaml.Node) string {
	const enough = 8                         // bytes: a rule has at most maxActions
	data, _ := json.Marshal(canonical(item)) // texts, lists and maps of texts: always possible
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

// hashRules names a set of rules.
func hashRules(rules []*engine.Rule) string {
	h := sha256.New()
	for _, r := range rules {
		fmt.Fprintln(h, r.Hash)
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
