package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a body that is parsed. One beyond them stays raw only, and its
// parse error says so.
const (
	MaxBodyDepth = 64      // objects and lists inside each other
	MaxBodyNodes = 250_000 // values and keys
)

// document is a parsed body.
type document struct {
	value any // nil, bool, int, int64, float64, string, []any, map[string]any

	// literals gives, for numbers that are no int, the digits that the sender
	// wrote, so that they can be printed as they came. Two numbers that differ
	// but round to the same float64 are in ambiguous instead.
	literals  map[float64]string
	ambiguous map[float64]bool
}

var (
	errEmptyBody = errors.New("the body is empty")
	errNil       = errors.New("it is nil")
	errTooLong   = fmt.Errorf("%w: more than %d MiB of text", errBudget, maxText>>20)
)

// parseBody reads a body by its content type: a form, else JSON, which is also
// what a form turns out to be where curl -d sent it.
func parseBody(contentType string, raw []byte) (document, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return document{}, errEmptyBody
	case err == nil && media == "application/x-www-form-urlencoded":
		return parseForm(raw)
	case err == nil && !maybeJSON(media):
		return document{}, fmt.Errorf("a body of type %s is not parsed", media)
	}
	return parseJSON(raw)
}

// maybeJSON reports whether a body of this type is worth reading as JSON.
// Senders of JSON name it text/plain often enough.
func maybeJSON(media string) bool {
	return media == "application/json" || media == "text/json" || media == "text/plain" ||
		strings.HasSuffix(media, "+json") || media == "application/octet-stream" || media == "application/csp-report"
}

// parseForm reads a form. A form with one field payload that holds a JSON
// object or list is that JSON: GitHub's, Slack's and Travis' way.
func parseForm(raw []byte) (document, error) {
	if looksJSON(raw) {
		if doc, err := parseJSON(raw); err == nil {
			return doc, nil
		}
	}
	if n := bytes.Count(raw, []byte("&")); n >= MaxBodyNodes/2 {
		return document{}, fmt.Errorf("the form has %d fields, more than %d", n+1, MaxBodyNodes/2)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return document{}, fmt.Errorf("form: %w", err)
	}
	if p := form["payload"]; len(p) == 1 && looksJSON([]byte(p[0])) {
		doc, err := parseJSON([]byte(p[0]))
		if err != nil {
			return document{}, fmt.Errorf("form field payload: %w", err)
		}
		return doc, nil
	}
	fields := make(map[string]any, len(form))
	for name, values := range form {
		fields[name] = formValue(values)
	}
	return document{value: fields}, nil
}

// formValue is a text where the field came once, else the list of its texts.
func formValue(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = v
	}
	return list
}

func looksJSON(raw []byte) bool {
	t := bytes.TrimSpace(raw)
	return len(t) > 0 && (t[0] == '{' || t[0] == '[')
}

// parseJSON reads one JSON value (RFC 8259) with nothing behind it.
func parseJSON(raw []byte) (document, error) {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if err := checkSize(raw); err != nil {
		return document{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return document{}, jsonError(raw, err)
	}
	end := dec.InputOffset()
	if _, err := dec.Token(); err != io.EOF {
		return document{}, fmt.Errorf("JSON: more follows the value that ends at byte %d", end)
	}
	var doc document
	doc.value = doc.convert(v)
	return doc, nil
}

func jsonError(raw []byte, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("JSON, byte %d: %s", syntax.Offset, strings.TrimPrefix(syntax.Error(), "json: "))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("JSON: the body ends too early, at byte %d", len(raw))
	}
	return fmt.Errorf("JSON: %w", err)
}

// checkSize counts depth and values before any of them is made: 2 MB of "{}"
// would become 87 MB otherwise.
func checkSize(raw []byte) error {
	depth, nodes, inString := 0, 1, false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			depth++
			nodes++
		case '}', ']':
			depth--
		case ',', ':':
			nodes++
		}
		if depth > MaxBodyDepth {
			return fmt.Errorf("JSON, byte %d: more than %d levels deep", i+1, MaxBodyDepth)
		}
		if nodes > MaxBodyNodes {
			return fmt.Errorf("JSON, byte %d: more than %d values", i+1, MaxBodyNodes)
		}
	}
	return nil
}

// convert puts numbers in the place of their digits.
func (d *document) convert(v any) any {
	switch v := v.(type) {
	case json.Number:
		return d.number(string(v))
	case []any:
		for i := range v {
			v[i] = d.convert(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = d.convert(v[k])
		}
	}
	return v
}

func (d *document) number(digits string) any {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if int64(int(n)) == n {
			return int(n)
		}
		return n
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return digits // out of float64's range: all that is left is its text
	}
	if d.literals == nil {
		d.literals = map[float64]string{}
		d.ambiguous = map[float64]bool{}
	}
	if old, seen := d.literals[f]; seen && old != digits {
		d.ambiguous[f] = true
	}
	d.literals[f] = digits
	return f
}

// digits prints a float: as the sender wrote it where that is known.
func (d *document) digits(f float64) (string, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return "", fault("it is no number that can be written: a division by 0")
	case d.ambiguous[f] && isLong(d.literals[f]):
		return "", fault("the body has several long numbers that a 64-bit float can't tell apart, so it can't be printed exactly")
	case d.ambiguous[f]:
		// 1.5 and 1.50 are the same number: any way to write it will do.
	case d.literals[f] != "":
		return d.literals[f], nil
	}
	return strconv.FormatFloat(f, 'f', -1, 64), nil
}

// isLong reports whether a number has more digits than a float64 keeps.
func isLong(digits string) bool {
	n := 0
	for _, c := range digits {
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n > 15
}

// text is what {{ }} puts in a value's place. Its error says why there is none.
func (d *document) text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", errNil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return d.digits(v)
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case time.Duration:
		return v.String(), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32:
		return fmt.Sprint(v), nil
	case []byte:
		return string(v), nil
	case fmt.Stringer: // time.Month and its like
		return v.String(), nil
	}
	return d.json(v)
}

// json is v as compact JSON (RFC 8259), keys sorted, numbers as the sender wrote
// them. It ends with errTooLong before it makes more than maxText bytes: one
// object may stand in v many times.
func (d *document) json(v any) (string, error) {
	b, err := d.appendJSON(nil, v)
	return string(b), err
}

func (d *document) appendJSON(b []byte, v any) ([]byte, error) {
	if len(b) > maxText {
		return nil, errTooLong
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case float64:
		s, err := d.digits(v)
		return append(b, s...), err
	case []any:
		return d.appendList(b, v)
	case map[string]any:
		return d.appendObject(b, v)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fault("it has no text: it is of a kind that JSON does not have")
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}

func (d *document) appendList(b []byte, list []any) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = d.appendJSON(b, v); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (d *document) appendObject(b []byte, object map[string]any) ([]byte, error) {
	b = append(b, '{')
	var err error
	for i, key := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = d.appendJSON(b, key); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = d.appendJSON(b, object[key]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}
