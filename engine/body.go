package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"hookrun/engine/payload"
)

// document is a parsed body.
type document struct {
	value any // nil, bool, int, int64, float64, string, []any, map[string]any
	files []payload.File
	event any // the attributes of a CloudEvent, an object; nil: it is none

	// literals gives, for numbers that are no int, the digits that the sender
	// wrote, so that they can be printed as they came. Two numbers that differ
	// but round to the same float64 are in ambiguous instead.
	literals  map[float64]string
	ambiguous map[float64]bool
}

var (
	errEmptyBody = payload.ErrEmpty
	errNil       = errors.New("it is nil")
	errTooLong   = fmt.Errorf("%w: more than %d MiB of text", errBudget, maxText>>20)
)

// parseBody reads a body as its header says. Of one with an error the document
// holds what could be read beside its value.
func parseBody(header http.Header, raw []byte) (document, error) {
	body, err := payload.Parse(header, raw)
	doc := document{files: body.Files}
	doc.value = doc.convert(body.Value)
	if body.CloudEvent != nil {
		doc.event = doc.convert(body.CloudEvent)
	}
	return doc, err
}

// parseJSON reads one JSON value (RFC 8259) with nothing behind it.
func parseJSON(raw []byte) (document, error) {
	v, err := payload.JSON(raw)
	var doc document
	doc.value = doc.convert(v)
	return doc, err
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
