package payload

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// xml reads a document as {name of the root: its value}. The value of an element
// is its text, or where it has attributes or elements in it an object: "-name"
// is an attribute, "#text" the text around the elements, and an element that
// comes more than once is a list. Names are without their namespace.
//
// encoding/xml expands no entity but XML's own five and reads nothing from
// elsewhere. mxj, which makes the same shape on top of it, drops the text before
// a comment (2026-11: v2.7.0), so that a sender could hide half of a value from a
// condition.
func (r *reader) xml(text []byte) (any, error) {
	if len(text) > MaxXML {
		return nil, fmt.Errorf("XML: more than %d MiB", MaxXML>>20)
	}
	if err := r.measureXML(text); err != nil {
		return nil, fmt.Errorf("XML: %w", err)
	}
	dec := xml.NewDecoder(bytes.NewReader(text))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // it is UTF-8 by now
	doc := &tree{open: []element{{members: map[string]any{}}}}
	for {
		token, err := dec.Token()
		if err == nil {
			err = doc.put(token)
		}
		if err == io.EOF {
			return doc.root()
		}
		if err != nil {
			line, _ := dec.InputPos()
			return nil, fmt.Errorf("XML, line %d: %s", line, plainXML(err))
		}
	}
}

func plainXML(err error) string {
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		return shorten(syntax.Msg)
	}
	return shorten(err.Error())
}

// measureXML counts elements and attributes before a token is made: one element
// may have a million attributes. A "=" of a text with marks in it may be counted
// too.
func (r *reader) measureXML(text []byte) error {
	nodes, inTag := 0, false
	for i, c := range text {
		switch {
		case c == '<':
			inTag = true
			if i+1 < len(text) && text[i+1] != '/' {
				nodes += 2 // the element and its text
			}
		case c == '>':
			inTag = false
		case c == '=' && inTag:
			nodes++
		}
	}
	return r.take(nodes)
}

// tree is a document as far as it is read.
type tree struct {
	open []element // those that no end has been read of; the first holds the root
}

type element struct {
	name    string
	members map[string]any // nil: none
	text    []byte
}

func (t *tree) put(token xml.Token) error {
	top := &t.open[len(t.open)-1]
	switch token := token.(type) {
	case xml.StartElement:
		return t.begin(token)
	case xml.CharData:
		if len(t.open) == 1 && !isBlank(token) {
			return errors.New("there is text outside of the element")
		}
		top.text = append(top.text, token...)
	case xml.EndElement:
		t.open = t.open[:len(t.open)-1]
		t.open[len(t.open)-1].add(top.name, top.value())
	}
	return nil
}

func (t *tree) begin(start xml.StartElement) error {
	switch {
	case len(t.open) > MaxDepth:
		return fmt.Errorf("more than %d levels deep", MaxDepth)
	case len(t.open) == 1 && len(t.open[0].members) > 0:
		return errors.New("a second element follows the first")
	}
	e := element{name: start.Name.Local}
	for _, a := range start.Attr {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" { // what declares a namespace says nothing
			e.add("-"+a.Name.Local, a.Value)
		}
	}
	t.open = append(t.open, e)
	return nil
}

func (t *tree) root() (any, error) {
	if len(t.open[0].members) == 0 {
		return nil, errors.New("XML: there is no element")
	}
	return t.open[0].members, nil
}

func (e *element) add(name string, v any) {
	if e.members == nil {
		e.members = map[string]any{}
	}
	switch old := e.members[name].(type) {
	case nil:
		e.members[name] = v
	case []any:
		e.members[name] = append(old, v)
	default:
		e.members[name] = []any{old, v}
	}
}

func (e *element) value() any {
	text := string(bytes.TrimSpace(e.text))
	if e.members == nil {
		return text
	}
	if text != "" {
		e.members["#text"] = text
	}
	return e.members
}
