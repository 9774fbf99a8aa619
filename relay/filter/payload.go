package filter

import (
	"bytes"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
)

// maxPayload bounds the body that is parsed, in bytes. What is kept of it is
// what the rule names.
const maxPayload = 8 << 20

// What reading costs, in steps.
const (
	byteCost   = 4 // of JSON, on each level that is gone into
	memberCost = 50
)

// values are those at a path of the payload, which is read when the first is
// asked for.
func (l *look) values(n int) []string {
	if l.payload == nil {
		l.payload = make([][]string, len(l.paths))
		if len(l.Body) <= maxPayload {
			l.read()
		}
	}
	return l.payload[n]
}

// want is a path of the payload, or what is left of it on the way down.
type want struct {
	path int // its number
	rest string
}

// read finds all paths in one go.
func (l *look) read() {
	wants := make([]want, len(l.paths))
	for i, path := range l.paths {
		wants[i] = want{path: i, rest: path}
	}
	kind, _, _ := mime.ParseMediaType(l.Header.Get("Content-Type"))
	switch {
	case kind == "application/x-www-form-urlencoded":
		pairs(string(l.Body), func(key, value string) { l.field(key, value, wants) })
	case json.Valid(l.Body):
		l.json(l.Body, wants)
	}
	if l.work == 0 { // what was not read might have said something else
		clear(l.payload)
	}
}

// field looks at a field of a form. What is wanted below it stands in a value
// that is JSON.
func (l *look) field(key, value string, wants []want) {
	if !l.pay(memberCost + int64(len(wants))) {
		return
	}
	below, here := under(key, wants)
	for _, w := range here {
		l.payload[w.path] = append(l.payload[w.path], value)
	}
	if len(below) > 0 && json.Valid([]byte(value)) {
		l.json([]byte(value), below)
	}
}

// under returns what is wanted below a key, and what is wanted of it.
func under(key string, wants []want) (below, here []want) {
	for _, w := range wants {
		if w.rest == key { // a key may have a dot in it
			here = append(here, w)
		} else if rest, ok := strings.CutPrefix(w.rest, key+"."); ok {
			below = append(below, want{path: w.path, rest: rest})
		}
	}
	return below, here
}

// json looks into an object or list that is valid JSON.
func (l *look) json(data []byte, wants []want) {
	if !l.pay(byteCost * int64(len(data))) {
		return
	}
	switch data = bytes.TrimLeft(data, " \t\r\n"); data[0] {
	case '{':
		l.object(data, wants)
	case '[':
		l.list(data, wants)
	}
}

func (l *look) object(data []byte, wants []want) {
	in := json.NewDecoder(bytes.NewReader(data))
	in.Token() // {, and no error here or below: the whole is valid
	for in.More() && l.pay(memberCost+int64(len(wants))) {
		key, err := in.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return
		}
		below, here := under(name, wants)
		if in.Decode(&member{l, below, here}) != nil {
			return
		}
	}
}

func (l *look) list(data []byte, wants []want) {
	in := json.NewDecoder(bytes.NewReader(data))
	in.Token()
	for i := 0; in.More() && l.pay(memberCost+int64(len(wants))); i++ {
		below, here := under(strconv.Itoa(i), wants)
		if in.Decode(&member{l, below, here}) != nil {
			return
		}
	}
}

// member is a value on the way through a payload.
type member struct {
	look        *look
	below, here []want
}

// UnmarshalJSON looks at the value without making anything of the rest. It
// implements json.Unmarshaler.
func (m *member) UnmarshalJSON(data []byte) error {
	if len(m.here) > 0 {
		if text, ok := textOf(data); ok {
			for _, w := range m.here {
				m.look.payload[w.path] = append(m.look.payload[w.path], text)
			}
		}
	}
	if len(m.below) > 0 {
		m.look.json(data, m.below)
	}
	return nil
}

// textOf is a JSON value as a rule compares it; null is none.
func textOf(data []byte) (string, bool) {
	switch data[0] {
	case 'n':
		return "", false
	case '"':
		var s string
		err := json.Unmarshal(data, &s)
		return s, err == nil
	case '{', '[':
		var b bytes.Buffer
		err := json.Compact(&b, data)
		return b.String(), err == nil
	}
	return string(data), true
}
