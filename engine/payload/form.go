package payload

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"slices"
)

// form reads the fields of a form. A form with one field payload that holds a
// JSON object or list is that JSON: GitHub's, Slack's and Travis' way. So is one
// that is JSON as a whole: curl -d calls that a form.
func (r *reader) form(data []byte, charset string) (any, error) {
	if looksJSON(data) {
		if v, err := newReader().json(data); err == nil {
			return v, nil
		}
	}
	if n := bytes.Count(data, []byte("&")) + 1; n > MaxFields {
		return nil, fmt.Errorf("form: %d fields, more than %d", n, MaxFields)
	}
	form, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	if p := form["payload"]; len(p) == 1 && looksJSON([]byte(p[0])) {
		v, err := r.json([]byte(p[0]))
		if err != nil {
			return nil, fmt.Errorf("form field payload: %w", err)
		}
		return v, nil
	}
	fields := fields{}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, v := range form[name] {
			if err := fields.add(name, v, charset); err != nil {
				return nil, fmt.Errorf("form: %w", err)
			}
		}
	}
	return map[string]any(fields), nil
}

// fields are those of a form: a text where a field came once, else the list of
// its texts.
type fields map[string]any

// add takes a field whose name and value are in a charset.
func (f fields) add(name, value, charset string) error {
	enc, err := charsetOf(charset)
	if err != nil {
		return err
	}
	if enc != nil { // what can't be read there becomes U+FFFD
		name, _ = enc.NewDecoder().String(name)
		value, _ = enc.NewDecoder().String(value)
	}
	switch old := f[name].(type) {
	case nil:
		f[name] = value
	case []any:
		f[name] = append(old, value)
	default:
		f[name] = []any{old, value}
	}
	return nil
}

func looksJSON(raw []byte) bool {
	t := bytes.TrimSpace(raw)
	return len(t) > 0 && (t[0] == '{' || t[0] == '[')
}
