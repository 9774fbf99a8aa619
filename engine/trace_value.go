package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of what is shown of a condition.
const (
	maxNodeText  = 400     // of the source of a part, in bytes
	maxShown     = 1 << 10 // of a value's JSON, in bytes, before secrets are masked and it is cut
	maxShownKeys = 1000    // of an object: one with more is not sorted
	maxShowDepth = 40      // of lists and objects in each other
)

// veil masks the secrets of the rules and the credentials of an event.
type veil [2]*masker

func newVeil(secrets *masker, ev *Event) veil {
	credentials := credentialParams(ev.Query)
	for name, values := range ev.Header {
		if !IsCredential(name) {
			continue
		}
		for _, v := range values {
			credentials = append(credentials, NewSecret(v))
			if _, token, ok := strings.Cut(v, " "); ok { // behind Bearer
				credentials = append(credentials, NewSecret(token))
			}
		}
	}
	if credentials == nil {
		return veil{secrets}
	}
	return veil{secrets, newMasker(credentials)}
}

// maxCredentialParams bounds what is looked for of one query.
const maxCredentialParams = 50

// credentialParams are the values in a query that prove who sends a request, as
// headers of their names do.
func credentialParams(raw string) []Secret {
	var all []Secret
	for part := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(key)
		if err != nil || !IsCredential(name) {
			continue
		}
		if len(all) >= maxCredentialParams {
			break
		}
		all = append(all, NewSecret(value))
		if plain, err := url.QueryUnescape(value); err == nil && plain != value {
			all = append(all, NewSecret(plain))
		}
	}
	return all
}

func (v veil) string(s string) string {
	for _, m := range v {
		s = m.string(s)
	}
	return s
}

// empty reports whether there is nothing to mask.
func (v veil) empty() bool { return v == veil{} }

// longest is the length of the longest text that is masked.
func (v veil) longest() int {
	n := 0
	for _, m := range v {
		if m != nil && len(m.secrets) > 0 {
			n = max(n, len(m.secrets[0]))
		}
	}
	return n
}

// valueText is a value as JSON, masked, with all that is not printable escaped,
// and cut.
func valueText(doc *document, mask veil, v any) string {
	s := jsonWriter{doc: doc, most: maxShown + mask.longest()}
	s.add(v, 0)
	text := mask.string(string(s.b))
	if s.full {
		text = text[:max(0, len(text)-mask.longest())] // the beginning of a secret may stand there
	}
	text = escapeText(strings.ToValidUTF8(text, "\ufffd"))
	if s.full {
		text += "…"
	}
	return cutText(text, MaxNodeValue)
}

// cutText keeps a text to so many bytes, its … included.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}

// escapeText writes what can't be seen, or turns the direction of the text
// around, as JSON escapes it.
func escapeText(s string) string {
	if !strings.ContainsFunc(s, isUnseen) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !isUnseen(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func isUnseen(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// jsonWriter writes a value as JSON, and no more of it than can be shown.
type jsonWriter struct {
	doc  *document
	most int
	b    []byte
	full bool // there is more
}

func (s *jsonWriter) add(v any, depth int) {
	if s.full = s.full || len(s.b) > s.most || depth > maxShowDepth; s.full {
		return
	}
	switch v := v.(type) {
	case string:
		s.text(v)
		return
	case time.Duration:
		s.text(spell(v))
		return
	case map[string]any:
		s.object(v, depth)
		return
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Slice, reflect.Array:
		s.list(r, depth)
	case reflect.Map:
		s.object(textKeys(r), depth)
	default:
		s.scalar(v)
	}
}

func (s *jsonWriter) scalar(v any) {
	b, err := s.doc.appendJSON(nil, v)
	if err != nil { // a function, or a number whose digits are not known
		b, _ = json.Marshal(fmt.Sprint(reflect.TypeOf(v)))
		if f, ok := v.(float64); ok {
			b = strconv.AppendFloat(nil, f, 'g', -1, 64)
		}
	}
	s.b = append(s.b, b...)
}

func (s *jsonWriter) text(v string) {
	if len(v) > s.most {
		v = strings.ToValidUTF8(v[:s.most], "")
		defer func() { s.full = true }()
	}
	if !utf8.ValidString(v) {
		v = strings.ToValidUTF8(v, "\ufffd")
	}
	s.scalar(v)
}

func (s *jsonWriter) list(list reflect.Value, depth int) {
	s.b = append(s.b, '[')
	for i := range list.Len() {
		if s.full {
			return
		}
		if i > 0 {
			s.b = append(s.b, ',')
		}
		s.add(list.Index(i).Interface(), depth+1)
	}
	s.b = append(s.b, ']')
}

func (s *jsonWriter) object(object map[string]any, depth int) {
	s.b = append(s.b, '{')
	if len(object) > maxShownKeys {
		s.full = true
		return
	}
	for i, key := range slices.Sorted(maps.Keys(object)) {
		if s.full {
			return
		}
		if i > 0 {
			s.b = append(s.b, ',')
		}
		s.text(key)
		s.b = append(s.b, ':')
		s.add(object[key], depth+1)
	}
	s.b = append(s.b, '}')
}

// textKeys is a map that a function of expr made, as an object.
func textKeys(m reflect.Value) map[string]any {
	object := make(map[string]any, m.Len()) // it was made by a function: maxElements bounds it
	for key, v := range m.Seq2() {
		object[fmt.Sprint(key.Interface())] = v.Interface()
	}
	return object
}

// nodeKind is the kind of a value in one word.
func nodeKind(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case time.Time, time.Duration, string:
		return "text"
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct, reflect.Pointer, reflect.Func:
		return "object"
	}
	return "number"
}
