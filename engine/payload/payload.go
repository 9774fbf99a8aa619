// Package payload reads the body of a webhook into a plain value: what an
// expression calls body, files and cloudevent.
//
//	raw ─► Content-Encoding ─► charset ─► JSON | NDJSON | form | multipart | XML | YAML | CloudEvents ─► Body
//
// What it promises: no body makes it panic, and none makes it build more than
// MaxNodes values, MaxDepth levels or MaxInflated bytes: all three are counted
// before anything is built. A body beyond them is an error that names the form
// and the place, and never a part of what the sender meant.
//
// What it does not do: it checks no signature, changes nothing of the bytes that
// came, writes no file, and fetches nothing that a body points to.
package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// Bounds of a body that is read. One beyond them has no value.
const (
	MaxDepth    = 64      // objects, lists and elements inside each other
	MaxNodes    = 250_000 // values and keys
	MaxInflated = 8 << 20 // bytes behind a Content-Encoding
	MaxFields   = 10_000  // of a form
	MaxParts    = 1000    // of a multipart body
	MaxXML      = 4 << 20 // bytes; XML and YAML take far longer to read than JSON
	MaxYAML     = 1 << 20 // bytes
)

// ErrEmpty is the error of a body that holds nothing, or blanks.
var ErrEmpty = errors.New("the body is empty")

// Body is what a body says.
type Body struct {
	// Value is nil or a bool, json.Number, string, []any or map[string]any, and
	// holds nothing but these.
	Value any

	Files      []File         // of a multipart body, in the order in which they came
	CloudEvent map[string]any // the attributes of a CloudEvent, of the kinds of Value; nil: it is none
}

// File is a file of a multipart body.
type File struct {
	Field string // name of the field
	Name  string // without folders and what can't be seen; "" where the sender gives none
	Type  string // as the sender says it, "" where it does not
	Data  []byte // not to be changed
}

// Parse reads a body as its header says. Where there is an error the Body still
// holds what could be read: the files before the fault, the CloudEvent in the
// header. The names in header may be in any case.
func Parse(header http.Header, raw []byte) (body Body, err error) {
	defer func() {
		if recover() != nil { // readers of other people stand between the sender and us
			err = errors.New("the body breaks its reader")
		}
	}()
	return parse(header, raw)
}

func parse(header http.Header, raw []byte) (Body, error) {
	body := Body{CloudEvent: binaryEvent(header)}
	data, err := inflate(values(header, "Content-Encoding"), raw)
	if err != nil {
		return body, err
	}
	r := newReader()
	err = r.read(&body, typeOf(first(header, "Content-Type")), data)
	return body, err
}

// JSON reads one JSON value (RFC 8259) with nothing behind it. Numbers are
// json.Number.
func JSON(raw []byte) (any, error) { return newReader().json(raw) }

// reader reads one body.
type reader struct {
	nodes int // how many values and keys there may still be
}

func newReader() *reader { return &reader{nodes: MaxNodes} }

// take counts n values or keys, and reports whether they are too many.
func (r *reader) take(n int) error {
	if n > r.nodes {
		return fmt.Errorf("more than %d values", MaxNodes)
	}
	r.nodes -= n
	return nil
}

// contentType is what a Content-Type says.
type contentType struct {
	media   string // lower case; "": nothing is said
	params  map[string]string
	charset string
}

// typeOf reads a Content-Type. A broken parameter does not cost the rest.
func typeOf(header string) contentType {
	media, params, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return contentType{}
	}
	return contentType{media: media, params: params, charset: params["charset"]}
}

// form is how a body is written.
type form int

const (
	notRead form = iota
	isJSON
	isLines
	isForm
	isMultipart
	isXML
	isYAML
	isEvent
	isBatch
)

// form says how a body of this type is written. One without a type is JSON.
func (t contentType) form() form {
	switch t.media {
	case "", "application/json", "text/json", "application/csp-report":
		return isJSON
	case "text/plain", "application/octet-stream": // senders of JSON call it so often enough
		return isJSON
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-seq":
		return isLines
	case "application/x-www-form-urlencoded":
		return isForm
	case "multipart/form-data":
		return isMultipart
	case "application/xml", "text/xml":
		return isXML
	case "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml":
		return isYAML
	case "application/cloudevents+json":
		return isEvent
	case "application/cloudevents-batch+json":
		return isBatch
	}
	_, suffix, _ := strings.Cut(t.media, "+")
	switch suffix {
	case "json":
		return isJSON
	case "xml":
		return isXML
	case "yaml":
		return isYAML
	}
	return notRead
}

// read fills the body with what data, which has that type, says.
func (r *reader) read(body *Body, t contentType, data []byte) (err error) {
	if isBlank(data) {
		return ErrEmpty
	}
	switch t.form() {
	case isMultipart:
		return r.multipart(body, t.params["boundary"], data)
	case isEvent, isBatch:
		return r.events(body, t, data)
	}
	body.Value, err = r.plain(t, data)
	return err
}

// plain reads the forms that are one value and nothing beside it.
func (r *reader) plain(t contentType, data []byte) (any, error) {
	form := t.form()
	switch form {
	case notRead, isMultipart, isEvent, isBatch:
		return nil, fmt.Errorf("a body of type %s is not parsed", shorten(t.media))
	case isForm:
		return r.form(data, t.charset)
	case isXML:
		if t.charset == "" {
			t.charset = declaredCharset(data)
		}
	}
	text, err := toUTF8(data, t.charset)
	if err != nil {
		return nil, err
	}
	switch form {
	case isLines:
		return r.lines(text)
	case isXML:
		return r.xml(text)
	case isYAML:
		return r.yaml(text)
	}
	return r.json(text)
}

// values returns the values of a header, whatever its case on either side.
func values(header http.Header, name string) []string {
	if v, ok := header[http.CanonicalHeaderKey(name)]; ok {
		return v
	}
	for k, v := range header { // a relay may pass names on in any case
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func first(header http.Header, name string) string {
	if v := values(header, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func isBlank(data []byte) bool { return len(bytes.TrimSpace(data)) == 0 }

// number is a json.Number of digits that a reader made.
func number(digits string) any { return json.Number(digits) }

// shorten keeps what a sender wrote to a length that an error can hold.
func shorten(s string) string {
	const most = 60
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
