package rules

import (
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Document is a YAML file that holds something else than rules and is read as
// strictly: UTF-8, one document, known keys, each once. Its aliases are put in.
type Document struct {
	Root Object // of no use while there are Problems
	l    *loader
	d    *decoder // nil where the file could not be taken apart
}

// DocumentKind says what may stand in a Document.
type DocumentKind struct {
	Keys  []string // at its top
	Main  string   // the one of them that it is there for
	First string   // the hint for a file with nothing in it
}

// ReadDocument reads a file. What is wrong with it is among its Problems.
func ReadDocument(path string, k DocumentKind) *Document {
	data, err := readFile(path, maxFile)
	if err != nil {
		return &Document{l: &loader{problems: []Problem{{File: path, Msg: cause(err)}}}}
	}
	return ParseDocument(File{path, data}, k)
}

// ParseDocument is ReadDocument of a file that was read already.
func ParseDocument(f File, k DocumentKind) *Document {
	l := &loader{places: map[string]string{}, kind: fileKind{
		keys: k.Keys, main: k.Main, first: k.First, list: "put the list below a line with " + k.Main + ":",
		second: "put all of it into the first", meant: func(key string, known []string) string { return engine.Nearest(key, slices.Clone(known)) },
	}}
	doc := &Document{l: l}
	l.open(f)
	if len(l.tops) > 0 {
		doc.d, doc.Root = l.tops[0].d, Object{l.tops[0].keys}
	}
	return doc
}

// Problems are what is wrong with the document, as far as it was read, in the
// order of their places.
func (doc *Document) Problems() []Problem { return tidy(doc.l.problems, nil) }

// Fail notes a problem at the beginning of n.
func (doc *Document) Fail(n *yaml.Node, hint, format string, args ...any) {
	doc.d.fail(n, hint, format, args...)
}

// At is the place of n as file:line.
func (doc *Document) At(n *yaml.Node) string { return doc.d.at(n) }

// Object reads n as a mapping of known keys; what names it: "a test". Where none
// are named any key is good.
func (doc *Document) Object(n *yaml.Node, what string, known ...string) Object {
	if len(known) == 0 {
		return Object{doc.d.entries(n, what)}
	}
	return Object{doc.d.object(n, what, known...)}
}

// Text reads n as a single value; what names it. ok is false after a problem.
func (doc *Document) Text(n *yaml.Node, what string) (text string, ok bool) {
	if !doc.d.scalar(n, what) {
		return "", false
	}
	return n.Value, true
}

// Object is a mapping of a Document.
type Object struct{ o object }

// Node is the mapping itself.
func (o Object) Node() *yaml.Node { return o.o.node }

// Value is the value of a key; nil: it is not there.
func (o Object) Value(key string) *yaml.Node { return o.o.values[key] }

// Keys are the keys that are good and have a value, in their order.
func (o Object) Keys() []*yaml.Node {
	var keys []*yaml.Node
	for _, k := range o.o.keys {
		if o.o.values[k.Value] != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// Text is the value of a key that is a single one; "" where it is not there.
func (o Object) Text(key string) string { return o.o.text(key) }

// Flag is the value of a key that is true or false.
func (o Object) Flag(key string) bool { return o.o.flag(key, false) }

// Choice is the value of a key that is one of the words; "" where it is not there.
func (o Object) Choice(key string, words ...string) string { return o.o.choice(key, "", words...) }

// Needs reports whether the keys are there, and notes which is not. what names the
// mapping.
func (o Object) Needs(what, hint string, keys ...string) bool { return o.o.needs(what, hint, keys...) }

// Name is the value of a key that names something: short, and without control
// characters; "" where it is not there, or is noted as none.
func (o Object) Name(key string) string {
	n := o.o.values[key]
	if n == nil || !o.o.d.scalar(n, key) || !o.o.d.name(n, key) {
		return ""
	}
	return n.Value
}

// Number is the value of a key that is a whole number from least to most; 0 where
// it is not there.
func (o Object) Number(key string, least, most int) int { return o.o.between(key, least, most, 0, "") }

// Duration is the value of a key that is a length of time above 0; 0 where it is
// not there.
func (o Object) Duration(key string) time.Duration { return o.o.duration(key, 0) }

// Items are those of a key that is a list of one thing at least.
func (o Object) Items(key string) []*yaml.Node { return o.o.list(key, false) }
