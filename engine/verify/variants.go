package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"unicode/utf16"
)

// A secretVariant is what a sender may use in a secret's place.
type secretVariant struct{ text, cause string }

// secretVariants are the ways in which a secret goes wrong between two places.
func secretVariants(s string) []secretVariant {
	all := []secretVariant{}
	add := func(text, cause string) {
		if text != "" && text != s {
			all = append(all, secretVariant{text, cause})
		}
	}
	add(strings.TrimRight(s, "\r\n"), "the secret here ends in a line break, the sender's does not")
	add(strings.TrimSpace(s), "the secret here has spaces around it, the sender's has none")
	add(s+"\n", "the sender's secret ends in a line break, the one here does not")
	add(s+"\r\n", "the sender's secret ends in a line break (CR LF), the one here does not")
	add(s+" ", "the sender's secret ends in a space, the one here does not")
	add(" "+s, "the sender's secret begins with a space, the one here does not")
	add(strings.Trim(s, `"'`), "the secret here has quotes around it, the sender's has none")
	add(`"`+s+`"`, "the sender's secret has quotes around it, the one here has none")
	bare := strings.TrimPrefix(s, "whsec_")
	add(bare, "the sender uses the secret without whsec_")
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(bare); err == nil {
			add(string(b), "the sender uses the secret decoded from base64")
		}
	}
	if b, err := hex.DecodeString(s); err == nil {
		add(string(b), "the sender uses the secret decoded from hex")
	}
	return all
}

// bodyVariants are the bodies that a sender may have signed where this one
// arrived, each with what that would mean.
func bodyVariants(r Request) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		_ = formVariants(r, yield) && textVariants(r.Body, yield) && jsonVariants(r.Body, yield)
	}
}

func formVariants(r Request, yield func(string, []byte) bool) bool {
	if inner, ok := formPayload(r); ok {
		return yield("the sender signs the payload field of its form, decoded, as scheme gitea does", inner)
	}
	if !json.Valid(r.Body) {
		return true
	}
	form := []byte("payload=" + url.QueryEscape(string(r.Body)))
	return yield("the sender signed a form with payload=, and JSON arrived", form)
}

func changed(how string) string {
	return "the body was changed on its way: the signature fits it " + how
}

func textVariants(body []byte, yield func(string, []byte) bool) bool {
	bom := []byte("\xef\xbb\xbf")
	lf := bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	for _, v := range []struct {
		how  string
		body []byte
	}{
		{"with a line break at its end", append(bytes.Clone(body), '\n')},
		{"without the line break at its end", bytes.TrimRight(body, "\r\n")},
		{"with LF in place of CR LF", lf},
		{"with CR LF in place of LF", bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n"))},
		{"without the spaces around it", bytes.TrimSpace(body)},
		{"without the byte order mark", bytes.TrimPrefix(body, bom)},
		{"with a byte order mark", append(bytes.Clone(bom), body...)},
	} {
		if !yield(changed(v.how), v.body) {
			return false
		}
	}
	return true
}

func jsonVariants(body []byte, yield func(string, []byte) bool) bool {
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return true
	}
	if !writings("", compact.Bytes(), yield) {
		return false
	}
	sorted, ok := sortKeys(body)
	return !ok || writings("and its keys in order", sorted, yield)
}

// writings are the ways in which programs write the same JSON.
func writings(also string, compact []byte, yield func(string, []byte) bool) bool {
	for _, v := range []struct {
		how  string
		body []byte
	}{
		{"without spaces between", compact},
		{"with a space behind colons and commas", spaced(compact)},
		{"indented by two spaces", indented(compact, "  ")},
		{"indented by four spaces", indented(compact, "    ")},
		{"indented by tabs", indented(compact, "\t")},
		{"with letters beyond ASCII as \\u", escaped(compact)},
		{"with a space behind colons and commas, and letters beyond ASCII as \\u", escaped(spaced(compact))},
		{"with / as \\/", bytes.ReplaceAll(compact, []byte("/"), []byte(`\/`))},
		{"with <, > and & as \\u", escapedHTML(compact)},
	} {
		how := strings.TrimSpace(v.how + " " + also)
		if !yield(changed(how), v.body) || !yield(changed(how+", and a line break at its end"), append(bytes.Clone(v.body), '\n')) {
			return false
		}
	}
	return true
}

// sortKeys writes JSON with the keys of its objects sorted, numbers as they
// are.
func sortKeys(body []byte) ([]byte, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return nil, false
	}
	return bytes.TrimRight(out.Bytes(), "\n"), true
}

// indented skips JSON that would grow too much: its size grows with the square
// of its depth.
func indented(compact []byte, by string) []byte {
	lines, deepest := shape(compact)
	if lines*deepest*len(by) > maxIndented {
		return compact
	}
	var out bytes.Buffer
	if json.Indent(&out, compact, "", by) != nil {
		return compact
	}
	return out.Bytes()
}

// shape is how many lines compact JSON has when it is indented, and how deep it
// goes; what stands in texts may count too.
func shape(compact []byte) (lines, deepest int) {
	depth := 0
	for _, c := range compact {
		switch c {
		case '{', '[':
			lines, depth = lines+1, depth+1
			deepest = max(deepest, depth)
		case '}', ']':
			lines, depth = lines+1, depth-1
		case ',':
			lines++
		}
	}
	return lines, deepest
}

// spaced is what Python's json.dumps writes.
func spaced(compact []byte) []byte {
	out := make([]byte, 0, len(compact)+len(compact)/8)
	inText := false
	for i := 0; i < len(compact); i++ {
		c := compact[i]
		out = append(out, c)
		switch {
		case c == '\\' && inText && i+1 < len(compact):
			i++
			out = append(out, compact[i])
		case c == '"':
			inText = !inText
		case (c == ':' || c == ',') && !inText:
			out = append(out, ' ')
		}
	}
	return out
}

// escaped writes what is not ASCII as \u, in UTF-16.
func escaped(compact []byte) []byte {
	out := make([]byte, 0, len(compact))
	for _, r := range string(compact) {
		if r < 0x80 {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

func escapedHTML(compact []byte) []byte {
	var out bytes.Buffer
	json.HTMLEscape(&out, compact)
	return out.Bytes()
}
