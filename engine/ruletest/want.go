package ruletest

import (
	"cmp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine/rules"
)

// wantRuns is what the runs of a rule are to do.
type wantRuns struct {
	rule name
	runs [][]wantStep // of each run; of one where the test does not list runs
	byID bool         // the steps that are named, else all of them in their order
	each bool         // runs are listed
}

// wantStep is what a step is to do. What is nil or empty is not looked at.
type wantStep struct {
	id   name // "" where steps are listed
	node *yaml.Node
	kind string // exec, shell, file, http; "" with skip and err

	argv   []Pattern // exec
	target *Pattern  // the script, the path, the URL
	skip   bool      // its if is false
	err    *Pattern  // one of its texts can't be made

	dir, stdin, content, body *Pattern
	write, method             string
	json                      *string // what content or body holds, as JSON
	vars                      []wantVar
}

// wantVar is an environment variable or a header.
type wantVar struct {
	name  string
	value Pattern
}

// actions reads what the rules that match are to do.
func (r *reader) actions(n *yaml.Node) []wantRuns {
	if n == nil {
		return nil
	}
	o := r.doc.Object(n, "actions")
	var all []wantRuns
	for _, key := range o.Keys() {
		w := r.runs(o.Value(key.Value))
		w.rule = name{key.Value, key}
		all = append(all, w)
	}
	return all
}

// runs reads the steps of a rule: a list of them, a mapping by their ids, or a list
// of such lists, one for each run.
func (r *reader) runs(n *yaml.Node) wantRuns {
	switch {
	case n.Kind == yaml.MappingNode:
		return wantRuns{runs: [][]wantStep{r.named(n)}, byID: true}
	case n.Kind != yaml.SequenceNode:
		r.doc.Fail(n, "deploy: [{exec: [make, deploy]}]", "the actions of a rule must be a list, or a mapping by their ids")
		return wantRuns{}
	case len(n.Content) > 0 && n.Content[0].Kind == yaml.SequenceNode:
		w := wantRuns{each: true}
		for _, run := range n.Content {
			if run.Kind != yaml.SequenceNode {
				r.doc.Fail(run, "one list for each run", "the actions of a run must be a list")
				continue
			}
			w.runs = append(w.runs, r.listed(run))
		}
		return w
	}
	return wantRuns{runs: [][]wantStep{r.listed(n)}}
}

func (r *reader) listed(n *yaml.Node) []wantStep {
	steps := []wantStep{}
	for _, item := range n.Content {
		steps = append(steps, r.step(item))
	}
	return steps
}

func (r *reader) named(n *yaml.Node) []wantStep {
	o := r.doc.Object(n, "the actions of a rule")
	var steps []wantStep
	for _, key := range o.Keys() {
		s := r.step(o.Value(key.Value))
		s.id = name{key.Value, key}
		steps = append(steps, s)
	}
	return steps
}

// kinds of actions and the keys that go with each.
func kinds() map[string][]string {
	return map[string][]string{
		"exec": {"dir", "env", "stdin"}, "shell": {"dir", "env", "stdin"},
		"file": {"content", "json", "write"}, "http": {"method", "headers", "body", "json"},
		"skip": {}, "error": {},
	}
}

func stepKeys() []string {
	return []string{"exec", "shell", "file", "http", "skip", "error", "dir", "env", "stdin", "content", "write", "method", "headers", "body", "json"}
}

// step reads what one action is to do.
func (r *reader) step(n *yaml.Node) wantStep {
	s := wantStep{node: n}
	o := r.doc.Object(n, "an action", stepKeys()...)
	if n.Kind != yaml.MappingNode || !r.oneKind(o, &s) {
		return s
	}
	switch s.kind {
	case "exec":
		s.argv = r.patterns(o.Value("exec"))
	case "skip":
		s.kind, s.skip = "", true
		if !o.Flag("skip") {
			r.doc.Fail(o.Value("skip"), "leave it out", "skip can only be true")
		}
	case "error":
		s.kind, s.err = "", r.patternOf(o.Value("error"), "error")
	default:
		s.target = r.patternOf(o.Value(s.kind), s.kind)
	}
	r.around(o, &s)
	return s
}

// oneKind reads which kind of action it is.
func (r *reader) oneKind(o rules.Object, s *wantStep) bool {
	for _, key := range o.Keys() {
		if _, ok := kinds()[key.Value]; !ok {
			continue
		}
		if s.kind != "" {
			r.doc.Fail(key, "each action is an item of its own", "one action can't be %s and %s", s.kind, key.Value)
			return false
		}
		s.kind = key.Value
	}
	if s.kind == "" {
		r.doc.Fail(o.Node(), "exec: […], shell: …, file: PATH, http: URL, skip: true or error: …", "nothing says what the action does")
		return false
	}
	for _, key := range o.Keys() {
		if key.Value != s.kind && !slices.Contains(kinds()[s.kind], key.Value) {
			r.doc.Fail(key, "", "%s does not go with %s", key.Value, s.kind)
		}
	}
	return true
}

// around reads what is beside the command, the path or the URL.
func (r *reader) around(o rules.Object, s *wantStep) {
	s.dir = r.patternOf(o.Value("dir"), "dir")
	s.stdin = r.patternOf(o.Value("stdin"), "stdin")
	s.content = r.patternOf(o.Value("content"), "content")
	s.body = r.patternOf(o.Value("body"), "body")
	s.method = strings.ToUpper(o.Text("method"))
	s.write = o.Choice("write", "create", "replace", "append")
	if n := o.Value("json"); n != nil {
		text := r.json(n)
		s.json = &text
		if other := cmp.Or(o.Value("content"), o.Value("body")); other != nil {
			r.doc.Fail(other, "json says what it holds", "there is json beside it")
		}
	}
	vars := cmp.Or(o.Value("env"), o.Value("headers"))
	if vars == nil {
		return
	}
	named := r.doc.Object(vars, "env and headers")
	for _, key := range named.Keys() {
		if p, ok := r.pattern(named.Value(key.Value), key.Value); ok {
			s.vars = append(s.vars, wantVar{key.Value, p})
		}
	}
}

// patterns reads the elements of a command.
func (r *reader) patterns(n *yaml.Node) []Pattern {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.doc.Fail(n, "exec: [make, deploy]", "exec must be a list of the program and its arguments")
		return nil
	}
	var all []Pattern
	for _, item := range n.Content {
		p, _ := r.pattern(item, "an argument")
		all = append(all, p)
	}
	return all
}
