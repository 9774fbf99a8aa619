package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// ruleKeys are all keys of a rule.
func ruleKeys() []string { return keys[ruleShape]() }

// ruleReader reads the keys of one rule.
type ruleReader struct {
	object
	element string         // the name that for_each gives, "" for none
	ids     map[string]int // lines of the actions' ids, over all lists

	main  []engine.StepShape // of the actions
	tries engine.Retry       // for actions that say nothing
	cut   onCut              // likewise
}

// rule reads one rule and keeps it if it is good.
func (l *loader) rule(d *decoder, n *yaml.Node) {
	before := len(l.problems)
	d.rule, d.disabled = nameOf(n), false
	defer func() { d.rule, d.disabled = "", false }()

	o := d.object(n, "a rule", ruleKeys()...)
	if n.Kind != yaml.MappingNode {
		return
	}
	l.claimName(o)
	enabled := o.flag("enabled", true)
	d.disabled = !enabled
	x := &ruleReader{object: o, ids: map[string]int{}}
	r := x.read()
	if failed(l.problems[before:]) {
		return
	}
	l.nodes[r] = place{d, n}
	if !enabled {
		l.off = append(l.off, r)
		return
	}
	r.Hash = l.hashRule(r, o)
	l.enabled = append(l.enabled, r)
}

// read reads all keys but the first two.
func (x *ruleReader) read() *engine.Rule {
	r := &engine.Rule{
		Name:    x.d.rule,
		Place:   x.d.at(x.node),
		Buckets: x.names("bucket"),
		Methods: x.methods(),
		Stop:    x.flag("stop", false),
		Shadow:  x.shadow(),
		Timeout: x.duration("timeout", x.d.l.timeout),
		ForEach: x.forEach(),
	}
	r.Verify, r.VerifyNone = x.verify(fmt.Sprintf("rule %q", x.d.rule))
	r.When = x.when()
	r.Concurrency = x.concurrency()
	r.Dedupe = x.dedupe()
	r.Throttle = x.throttle()
	r.Cancels = x.cancels()
	x.actions(r)
	r.Respond = x.respond()
	if r.Shadow && r.Respond != nil {
		x.d.warn(x.keyNode("respond"), "the sender gets the receipt until the rule says mode: live", "a rule in mode shadow answers nobody")
	}
	return r
}

// Modes of a rule.
const (
	live   = "live"
	shadow = "shadow"
)

// shadow reads whether the rule is only tried out.
func (x *ruleReader) shadow() bool {
	return x.choice("mode", "shadow keeps what the rule would do, and does nothing; live, as without the key, does it", shadow, live) == shadow
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

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110, 5.6.2

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

// when reads the condition that the whole event is asked.
func (x *ruleReader) when() *engine.Condition {
	n := x.values["when"]
	if n == nil {
		return nil
	}
	if strings.TrimSpace(n.Value) == "false" && !x.d.disabled {
		x.d.fail(n, "to keep a rule out write enabled: false", "the rule can never match")
		return nil
	}
	x.d.unseen = x.element
	defer func() { x.d.unseen = "" }()
	return x.d.condition(n, engine.NewCompiler(engine.World{}), "when")
}

var noCount = regexp.MustCompile(`^0+$`)

// maxAttempts bounds the tries of a run or of one action.
const maxAttempts = 1000

// retry reads the key of that name. What it leaves out is as in unset. c is for
// its condition; nil: there can be none.
func (o object) retry(unset engine.Retry, c *engine.Compiler) engine.Retry {
	example := "3"
	if said(o.values["retry"], noCount, "") != "" {
		example = "1"
	}
	v, ok := o.part("retry", "{attempts: "+said(o.values["retry"], aCount, example)+"}", keys[retryShape]()...)
	if !ok {
		return unset
	}
	r := engine.Retry{
		Attempts: unset.Attempts,
		If:       unset.If,
		Backoff:  v.duration("backoff", unset.Backoff),
		Max:      v.duration("max", unset.Max),
	}
	if attempts := v.number("attempts", maxAttempts, "1 is a single try, without a retry"); attempts > 0 {
		r.Attempts = attempts
	}
	if r.Backoff > 0 && r.Max > 0 && r.Max < r.Backoff {
		o.d.fail(o.values["retry"], "", "max (%s) is shorter than backoff (%s)", r.Max, r.Backoff)
	}
	switch cond := v.values["if"]; {
	case cond != nil && c == nil:
		o.d.fail(v.keyNode("if"), "put it into the retry of a rule: it reads what the actions there did", "if cannot stand in the retry of defaults")
	case cond != nil:
		r.If = o.d.condition(cond, c, "if")
	}
	return r
}
