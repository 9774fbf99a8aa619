package ruletest

import (
	"cmp"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// File is a file of tests.
type File struct {
	Path  string
	Env   map[string]string // what ${env:NAME} stands for in the rules, where it is not left to a stand-in
	Tests []*Test

	doc *rules.Document
}

// Test is one case: an event, and what rules are to make of it.
type Test struct {
	Name  string
	Place string // file:line

	event      *engine.Event
	match      []name // exactly these match, where exact
	exact      bool
	noMatch    []name
	unverified []name // rules that did not know the sender
	errors     []wantError
	actions    []wantRuns
	past       []past
}

// name is a name of something in the rules, and where it is said.
type name struct {
	text string
	node *yaml.Node
}

// wantError is a rule whose condition is to fail, and how.
type wantError struct {
	rule name
	why  Pattern
}

// maxTests bounds the tests of one file.
const maxTests = 10_000

// defaultNow is when an event was received of which its test does not say it.
func defaultNow() time.Time { return time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC) }

// madeUp is the id of an event of which its test does not say it.
const madeUp = "00000000-0000-7000-8000-000000000000"

func kind() rules.DocumentKind {
	return rules.DocumentKind{
		Keys: []string{"tests", "env"}, Main: "tests",
		First: "begin with: tests: [{name: a push, event: github/push, bucket: deploys, match: [deploy]}]",
	}
}

// Read reads a file of tests, and the files of events that it names, which are
// looked for from its folder. Where there is a problem there is no File.
func Read(path string) (*File, []rules.Problem) {
	return read(path, rules.ReadDocument(path, kind()))
}

// Parse is Read of a file that was read already.
func Parse(f rules.File) (*File, []rules.Problem) {
	return read(f.Path, rules.ParseDocument(f, kind()))
}

func read(path string, doc *rules.Document) (*File, []rules.Problem) {
	if problems := doc.Problems(); len(problems) > 0 {
		return nil, problems
	}
	f := &File{Path: path, Env: map[string]string{}, doc: doc}
	r := &reader{doc: doc, dir: filepath.Dir(path)}
	r.env(f)
	r.tests(f)
	if problems := doc.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return f, nil
}

// reader reads one file of tests.
type reader struct {
	doc   *rules.Document
	dir   string // where paths start
	depth int    // files that the event which is read is from
}

func (r *reader) env(f *File) {
	n := r.doc.Root.Value("env")
	if n == nil {
		return
	}
	o := r.doc.Object(n, "env")
	for _, key := range o.Keys() {
		if text := o.Text(key.Value); text != "" {
			f.Env[key.Value] = text
		}
	}
}

func (r *reader) tests(f *File) {
	root := r.doc.Root
	if !root.Needs("the file", kind().First, "tests") {
		return
	}
	items := root.Items("tests")
	if len(items) > maxTests {
		r.doc.Fail(items[maxTests], "", "more than %d tests", maxTests)
		return
	}
	lines := map[string]int{}
	for _, n := range items {
		t := r.test(n)
		if t == nil || t.Name == "" {
			continue
		}
		if first, taken := lines[t.Name]; taken {
			r.doc.Fail(n, "-run and reports know a test by its name", "the name %q is that of the test in line %d already", t.Name, first)
			continue
		}
		lines[t.Name] = n.Line
		f.Tests = append(f.Tests, t)
	}
}

func testKeys() []string {
	return []string{"name", "event", "bucket", "now", "match", "no_match", "errors", "unverified", "actions", "steps"}
}

// test reads one test; nil where it is none.
func (r *reader) test(n *yaml.Node) *Test {
	o := r.doc.Object(n, "a test", testKeys()...)
	if !o.Needs("a test", "{name: a push, event: github/push, bucket: deploys, match: [deploy]}", "name", "event") {
		return nil
	}
	t := &Test{
		Name: o.Name("name"), Place: r.doc.At(n),
		event: r.event(o.Value("event")), match: r.names(o.Value("match"), "match"), exact: o.Value("match") != nil,
		noMatch: r.names(o.Value("no_match"), "no_match"), unverified: r.names(o.Value("unverified"), "unverified"),
		errors: r.errors(o.Value("errors")), actions: r.actions(o.Value("actions")), past: r.steps(o.Value("steps")),
	}
	if !t.exact && len(t.noMatch)+len(t.errors)+len(t.actions) == 0 {
		r.doc.Fail(n, "match: [deploy] names the rules that match, match: [] says that none does", "the test says nothing of what is to come of its event")
	}
	r.both(t)
	if t.event != nil {
		r.surround(o, t.event)
	}
	return t
}

// both notes what a test says of a rule that can't be true together.
func (r *reader) both(t *Test) {
	for _, w := range t.noMatch {
		if has(t.match, w.text) {
			r.doc.Fail(w.node, "", "%q is in match, too", w.text)
		}
	}
	for _, w := range t.actions {
		if t.exact && !has(t.match, w.rule.text) {
			r.doc.Fail(w.rule.node, "put it into match", "actions of rule %q, which is not in match", w.rule.text)
		}
	}
	for _, w := range t.errors {
		if has(t.match, w.rule.text) {
			r.doc.Fail(w.rule.node, "a rule whose condition fails does not match", "%q is in match, too", w.rule.text)
		}
	}
}

func has(names []name, text string) bool {
	return slices.ContainsFunc(names, func(n name) bool { return n.text == text })
}

// surround adds to the event what the test says of it.
func (r *reader) surround(o rules.Object, ev *engine.Event) {
	if n := o.Value("bucket"); n != nil {
		ev.Bucket = o.Name("bucket")
	} else if ev.Bucket == "" {
		r.doc.Fail(o.Value("event"), "bucket: deploys", "nothing says to which bucket the event came")
	}
	ev.ID = cmp.Or(ev.ID, madeUp)
	ev.Received = defaultNow()
	n := o.Value("now")
	if n == nil {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, o.Text("now"))
	if err != nil {
		r.doc.Fail(n, "now: 2026-01-02T03:04:05Z", "now must be a time, not %q", n.Value)
		return
	}
	ev.Received = at.UTC()
}

// names reads a list of names of rules, or one.
func (r *reader) names(n *yaml.Node, what string) []name {
	if n == nil {
		return nil
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content // it may be empty: no rule
	}
	var all []name
	for _, item := range items {
		text, ok := r.doc.Text(item, "an item of "+what)
		switch {
		case !ok:
		case has(all, text):
			r.doc.Fail(item, "", "%q is in %s twice", text, what)
		default:
			all = append(all, name{text, item})
		}
	}
	return all
}

func (r *reader) errors(n *yaml.Node) []wantError {
	if n == nil {
		return nil
	}
	o := r.doc.Object(n, "errors")
	var all []wantError
	for _, key := range o.Keys() {
		if why, ok := r.pattern(o.Value(key.Value), "an error"); ok {
			all = append(all, wantError{name{key.Value, key}, why})
		}
	}
	return all
}
