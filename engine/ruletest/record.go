package ruletest

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Past is an event that was taken, and what became of it.
type Past struct {
	Event    *engine.Event
	Verdicts []engine.Verdict
	Runs     []PastRun
}

// PastRun is a run of the event, and what its steps came to.
type PastRun struct {
	Run   *engine.Run
	Steps []*engine.StepResult // by attempt, then in order
}

// RecordOptions say how a test is written. What is left zero has a default.
type RecordOptions struct {
	Name string // of the test; "": made of the event
	Dir  string // a file below it is named by its path from there; "": none is

	// Rules are those that were asked: the test says which of them read what is masked
	// in it. nil: they are not known.
	Rules *engine.RuleSet

	// Note is told what the test says of credentials that are masked in it. nil: nobody
	// is.
	Note func(text string)
}

// Record writes a file with a test that passes as long as the rules make of the
// event what they made of it then.
func Record(w io.Writer, p Past, o RecordOptions) error {
	shownEvent, where := withoutCredentials(p.Event)
	p.Runs = withoutThem(p.Runs, p.Event)
	note := maskedNote(o.Rules, p, shownEvent, where)
	if note != "" && o.Note != nil {
		o.Note(note)
	}
	test := &mapping{}
	test.text("name", cmp.Or(o.Name, nameOf(p)))
	test.set("event", eventNode(shownEvent))
	test.text("now", p.Event.Received.UTC().Format(time.RFC3339Nano))
	x := &recorder{past: p, dir: o.Dir}
	x.verdicts(test)
	x.runs(test)
	file := &mapping{}
	file.set("tests", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{test.node()}})
	var text strings.Builder
	out := yaml.NewEncoder(&text)
	out.SetIndent(2)
	if err := errors.Join(out.Encode(file.node()), out.Close()); err != nil {
		return fmt.Errorf("write a test of event %s: %w", p.Event.ID, err)
	}
	if note != "" {
		note = "# " + oneLineOf(note) + "\n"
	}
	_, err := fmt.Fprintf(w, "# Made by hookrun record of event %s. What held a secret is a pattern here.\n%s%s", p.Event.ID, note, shown(text.String()))
	return err
}

// maxTitle bounds the name that is made for a test, in bytes.
const maxTitle = 150

// nameOf tells what came, and what it started.
func nameOf(p Past) string {
	var matched []string
	for _, v := range p.Verdicts {
		if v.Outcome == engine.Matched {
			matched = append(matched, v.Rule)
		}
	}
	came := cmp.Or(p.Event.Kind(), p.Event.Method) + " to " + p.Event.Bucket
	name := fmt.Sprintf("%s: %s", came, cmp.Or(strings.Join(matched, ", "), "no rule matches"))
	name = oneLineOf(name)
	return strings.TrimSpace(strings.ToValidUTF8(name[:min(len(name), maxTitle)], ""))
}

// oneLineOf is a text without what begins a new line in YAML, or is none.
func oneLineOf(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}

// left reports whether a header is of one connection, and nothing to a rule.
func left(header string) bool {
	return slices.Contains([]string{
		"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
	}, strings.ToLower(header))
}

func eventNode(ev *engine.Event) *yaml.Node {
	m := &mapping{}
	m.text("bucket", ev.Bucket)
	m.text("bucket_id", ev.BucketID)
	m.text("input", ev.Input)
	m.text("id", ev.ID)
	if ev.Source != engine.SourceIntake {
		m.text("source", ev.Source)
	}
	m.text("remote", ev.Remote)
	m.text("method", ev.Method)
	if ev.Path != "/" {
		m.text("path", ev.Path)
	}
	m.text("query", ev.Query)
	m.sorted("meta", ev.Meta)
	headers := &mapping{}
	for _, name := range keysOf(ev.Header) {
		values := ev.Header[name]
		switch {
		case left(name):
		case len(values) == 1:
			headers.set(name, textNode(valid(values[0])))
		default:
			headers.names(name, values)
		}
	}
	if len(headers.content) > 0 {
		m.set("headers", headers.node())
	}
	setBody(m, ev.Body)
	return m.node()
}

// setBody writes a body so that reading it gives the same bytes: as YAML where it
// is JSON without a blank, else as it is.
func setBody(m *mapping, body []byte) {
	switch n := yamlOf(body); {
	case len(body) == 0:
	case n != nil:
		m.set("body", n)
	case utf8.Valid(body):
		m.set("body", textNode(string(body)))
	default:
		m.text("base64", base64.StdEncoding.EncodeToString(body))
	}
}
