package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// field says what may stand in one text of an action.
type field struct {
	what    string // names it: "an argument"
	refused string // why no secret can stand here; "" where it can
	hint    string // where else the secret goes
}

// mistypedRef is what ${env:NAME} may have been meant to be.
var mistypedRef = regexp.MustCompile(`(?:^|[^$])\$\{([A-Za-z]{2,5}):[^-=?+}][^}]*\}`)

var secretInExpr = regexp.MustCompile(`\{\{[^}]*\$\{(?:env|file):`)

// template compiles the text of n, nil after a problem.
func (d *decoder) template(n *yaml.Node, c *engine.Compiler, f field) *engine.Template {
	if !d.scalar(n, f.what) {
		return nil
	}
	if strings.ContainsRune(n.Value, 0) {
		d.fail(n, "", "%s has a NUL character in it", f.what)
		return nil
	}
	if m := secretInExpr.FindStringIndex(n.Value); m != nil {
		line, col := d.src.inScalar(n, m[0])
		d.note(line, col, "write the reference outside of {{ }}", "an expression does not see secrets", false)
		return nil
	}
	if f.refused == "" && d.mistyped(n) {
		return nil
	}
	t, findings := c.Template(n.Value, func(ref string) (engine.Secret, error) {
		switch {
		case f.refused != "":
			return engine.Secret{}, fmt.Errorf("%s", f.refused)
		case d.disabled:
			return engine.Secret{}, nil
		}
		return d.l.secret(ref)
	})
	for i := range findings {
		if f.refused != "" && findings[i].Msg == f.refused {
			findings[i].Hint = f.hint
		}
	}
	d.findings(n, findings)
	for _, m := range bareRef.FindAllStringSubmatchIndex(n.Value, -1) {
		line, col := d.src.inScalar(n, m[2])
		name := n.Value[m[4]:m[5]]
		hint := fmt.Sprintf("write ${env:%s} for the variable, $${%s} for the text itself", name, name)
		if f.refused != "" {
			hint = fmt.Sprintf("hookrun expands no variables here: write the value, or $${%s} for the text itself, as for a shell's -c", name)
		}
		d.note(line, col, hint, fmt.Sprintf("${%s} stays as it is", name), true)
	}
	return t
}

// mistyped reports whether n holds what ${env:NAME} was meant to be, and notes it.
func (d *decoder) mistyped(n *yaml.Node) bool {
	m := mistypedRef.FindStringSubmatchIndex(n.Value)
	if m == nil {
		return false
	}
	word, kinds := n.Value[m[2]:m[3]], []string{"env", "file"}
	hint := engine.Nearest(strings.ToLower(word), slices.Clone(kinds))
	switch {
	case slices.Contains(kinds, word):
		return false
	case slices.Contains(kinds, strings.ToLower(word)):
		hint = fmt.Sprintf("did you mean %q?", strings.ToLower(word))
	case hint == "":
		return false
	}
	line, col := d.src.inScalar(n, m[2])
	d.note(line, col, hint+" For the text itself write $${", fmt.Sprintf("${%s:} is no reference to a secret", word), false)
	return true
}

// condition compiles the expression of n, nil after a problem.
func (d *decoder) condition(n *yaml.Node, c *engine.Compiler, what string) *engine.Condition {
	if !d.expression(n, what, "a condition is kept and shown with every verdict") {
		return nil
	}
	cond, findings := c.Condition(n.Value)
	d.findings(n, findings)
	return cond
}

const shownWithRun = "what it comes to is kept and shown with every run"

// key compiles an expression that tells events apart, nil where it is not there
// or after a problem.
func (o object) key(key string, c *engine.Compiler) *engine.Key {
	n := o.values[key]
	if n == nil || !o.d.expression(n, key, shownWithRun) {
		return nil
	}
	k, findings := c.Key(n.Value)
	o.d.findings(n, findings)
	return k
}

// value compiles an expression of any type, nil where it is not there or after a
// problem.
func (o object) value(key string, c *engine.Compiler) *engine.Value {
	n := o.values[key]
	if n == nil || !o.d.expression(n, key, shownWithRun) {
		return nil
	}
	v, findings := c.Value(n.Value)
	o.d.findings(n, findings)
	return v
}

// expression reports whether n may be one, and notes it where it can not. kept
// says why no secret can stand in it.
func (d *decoder) expression(n *yaml.Node, what, kept string) bool {
	if n.Kind != yaml.ScalarNode {
		hint := ""
		if n.Style&yaml.FlowStyle != 0 {
			hint = "an expression that begins with [ or { needs quotes"
		}
		d.fail(n, hint, "%s must be an expression, not %s", what, describe(n))
		return false
	}
	if at := strings.Index(n.Value, "{{"); at >= 0 && strings.Contains(n.Value[at:], "}}") && strings.TrimSpace(n.Value[:at]) == "" {
		d.fail(n, "leave the braces out", "%s is an expression already: {{ }} is for texts", what)
		return false
	}
	if at := secretRef.FindStringIndex(n.Value); at != nil {
		line, col := d.src.inScalar(n, at[0])
		d.note(line, col, kept+", so nothing secret can stand in it", fmt.Sprintf("%s does not see secrets", what), false)
		return false
	}
	return true
}

// findings notes what a compiler found in the text of n.
func (d *decoder) findings(n *yaml.Node, findings []engine.Finding) {
	for _, f := range findings {
		line, col := d.src.inScalar(n, f.Offset)
		if f.Msg == "the expression ends too early" && n.Style == 0 && n.LineComment != "" { // any(list, # > 1)
			f.Hint = "in YAML a # behind a space begins a comment: put the whole text in quotes"
		}
		if f.Msg == `unknown field "outputs"` {
			f.Hint = "only commands have them, and say which: outputs: [version]"
		}
		if d.atOnce && f.Msg == `unknown name "steps"` {
			f.Hint = "add wait: 10s to the respond of a rule: steps are known when its run has ended"
		}
		if d.unseen != "" && f.Msg == fmt.Sprintf("unknown name %q", d.unseen) {
			f.Hint = `when is asked once for the event; filter the list: filter(body.alerts, .status == "firing")`
		}
		d.note(line, col, f.Hint, f.Msg, f.Warning)
	}
}
