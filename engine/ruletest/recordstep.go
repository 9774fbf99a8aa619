package ruletest

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// step is what an action did; nil where that is not known.
func (x *recorder) step(s *engine.StepResult) *yaml.Node {
	m := &mapping{}
	s = laidElsewhere(s)
	switch {
	case s.State == engine.StepSkipped:
		m.set("skip", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
	case s.State == engine.StepShadow && s.Err != "":
		m.set("error", patternNode(s.Err))
	case s.Plan == nil, isShortened(s.Plan):
		return nil
	case s.Kind == "exec":
		m.set("exec", patternNodes(s.Plan.Argv))
		command(m, s.Plan)
	case s.Kind == "shell" && len(s.Plan.Argv) > 0:
		m.set("shell", patternNode(s.Plan.Argv[len(s.Plan.Argv)-1]))
		command(m, s.Plan)
	case s.Kind == "file":
		x.file(m, s.Plan)
	case s.Kind == "http":
		call(m, s.Plan)
	default:
		return nil
	}
	return m.node()
}

// laidElsewhere is the result with a pattern in the place of each path of a file of
// the event: a run has a folder of its own for them, a test has none.
func laidElsewhere(s *engine.StepResult) *engine.StepResult {
	if s.Plan == nil || s.Run == "" {
		return s
	}
	folder := "hookrun-files-" + s.Run
	paths := regexp.MustCompile(`[^\s"'=,;]*` + regexp.QuoteMeta(folder) + `[^\s"'=,;]*`)
	text := func(t string) string {
		if !strings.Contains(t, folder) {
			return t
		}
		return paths.ReplaceAllLiteralString(t, engine.Masked)
	}
	as, p := *s, *s.Plan
	p.Argv = slices.Clone(p.Argv)
	for i := range p.Argv {
		p.Argv[i] = text(p.Argv[i])
	}
	p.Env = slices.Clone(p.Env)
	for i := range p.Env {
		p.Env[i].Value = text(p.Env[i].Value)
	}
	for _, t := range []**string{&p.Stdin, &p.Content, &p.Body} {
		if *t != nil {
			with := text(**t)
			*t = &with
		}
	}
	as.Plan = &p
	return &as
}

// isShortened reports whether a list of the plan was cut.
func isShortened(p *engine.Plan) bool {
	cut := func(vars []engine.PlanVar) bool { return len(vars) > 0 && vars[len(vars)-1].Name == "…" }
	return cut(p.Env) || cut(p.Header) || len(p.Argv) > 0 && listCut.MatchString(p.Argv[len(p.Argv)-1])
}

var listCut = regexp.MustCompile(`^…\[[0-9]+ more, sha256 [0-9a-f]{64}\]$`)

func command(m *mapping, p *engine.Plan) {
	if p.Dir != "" {
		m.set("dir", patternNode(p.Dir))
	}
	variables(m, "env", p.Env)
	if p.Stdin != nil {
		m.set("stdin", patternNode(*p.Stdin))
	}
}

func (x *recorder) file(m *mapping, p *engine.Plan) {
	path := p.Path
	if rel, err := filepath.Rel(x.dir, path); x.dir != "" && err == nil && filepath.IsLocal(rel) {
		path = filepath.ToSlash(rel)
	}
	m.set("file", patternNode(path))
	m.text("write", p.Write)
	if p.Content != nil {
		m.set("content", patternNode(*p.Content))
	}
}

func call(m *mapping, p *engine.Plan) {
	m.set("http", patternNode(p.URL))
	m.text("method", p.Method)
	variables(m, "headers", p.Header)
	if p.Body == nil {
		return
	}
	if n := yamlOf([]byte(*p.Body)); n != nil && !isMarked(*p.Body) {
		m.set("json", n)
		return
	}
	m.set("body", patternNode(*p.Body))
}

func variables(m *mapping, key string, vars []engine.PlanVar) {
	if len(vars) == 0 {
		return
	}
	in := &mapping{}
	for i, v := range vars {
		if !slices.ContainsFunc(vars[i+1:], func(w engine.PlanVar) bool { return w.Name == v.Name }) { // the last one counts
			in.set(v.Name, patternNode(v.Value))
		}
	}
	m.set(key, in.node())
}

// isMarked reports whether a text of a plan is not what was used: of what is
// masked or cut a test can say less.
func isMarked(text string) bool {
	return strings.Contains(text, engine.Masked) || noted.MatchString(text)
}

// patternNode is a text of a plan as a test says it.
func patternNode(text string) *yaml.Node {
	m := &mapping{}
	switch {
	case noted.MatchString(text):
		m.text("sha256", sumOf(text))
	case strings.Contains(text, engine.Masked):
		m.text("match", strings.ReplaceAll(regexp.QuoteMeta(text), regexp.QuoteMeta(engine.Masked), ".*"))
	default:
		return textNode(valid(text))
	}
	n := m.node()
	n.Style = yaml.FlowStyle
	return oneLine(n)
}

func patternNodes(texts []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, t := range texts {
		n.Content = append(n.Content, oneLine(patternNode(t)))
	}
	return n
}
