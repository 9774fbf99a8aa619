package web

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// maxPretty bounds what a page shows of a body, in bytes.
const maxPretty = 128 << 10

// bodyView is a body as a page shows it.
type bodyView struct {
	Size   int    // of all of it, in bytes
	Binary bool   // nothing is shown
	JSON   bool   // Text was laid out
	Text   string //
	Cut    bool   // Text is its beginning
	Masked bool   // secrets of the rules stand in it, and can't be seen
	Edit   bool   // Whole can be edited
	Whole  string
}

// newBodyView makes one of a body of so many bytes; cut says that data is its
// beginning.
func newBodyView(data []byte, size int, cut bool) bodyView {
	v := bodyView{Size: size, Cut: cut}
	if !isText(data, v.Cut) {
		v.Binary = true
		return v
	}
	text := data
	if !v.Cut {
		if laid := indented(data); laid != nil {
			text, v.JSON = laid, true
		}
		v.Whole, v.Edit = editable(data), len(data) <= maxPretty && !hasLoneCR(data)
	}
	if len(text) > maxPretty {
		text, v.Cut = firstBytes(text, maxPretty), true
	}
	v.Text = plain(strings.ToValidUTF8(string(text), "\uFFFD"))
	return v
}

// Bounds of laying JSON out: brackets in brackets make it long.
const (
	maxDepth  = 32
	maxLonger = 8 // times
)

// indented is JSON laid out, digit for digit; nil where it is none, or gets too
// long by it.
func indented(data []byte) []byte {
	if depth(data) > maxDepth {
		return nil
	}
	var out bytes.Buffer
	if json.Indent(&out, data, "", "  ") != nil || out.Len() > maxLonger*len(data)+1<<10 {
		return nil
	}
	return bytes.TrimSpace(out.Bytes())
}

// depth is how many brackets of JSON are open at most.
func depth(data []byte) int {
	open, most, inText := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '[' || c == '{':
			open++
			most = max(most, open)
		case c == ']' || c == '}':
			open--
		}
	}
	return most
}

// editable is a body as people can edit it: JSON on one line is laid out.
func editable(data []byte) string {
	if laid := indented(data); laid != nil && !bytes.ContainsAny(bytes.TrimSpace(data), "\n\r") {
		return string(laid)
	}
	return string(data)
}

// isText reports whether people can read it; the last character may be cut.
func isText(data []byte, cut bool) bool {
	if bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	if utf8.Valid(data) {
		return true
	}
	return cut && utf8.Valid(firstBytes(data, max(0, len(data)-utf8.UTFMax)))
}

// hasLoneCR: a browser makes another line break of it.
func hasLoneCR(data []byte) bool {
	return bytes.Count(data, []byte("\r")) != bytes.Count(data, []byte("\r\n"))
}

// typed is what a person typed in place of the body. A browser sends every line
// break as CR LF; those of the body stay what they were. same: nothing was edited.
func typed(text string, body []byte) (data []byte, same bool) {
	lines := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
	if lines(text) == lines(string(body)) || lines(text) == lines(editable(body)) {
		return body, true
	}
	if !bytes.Contains(body, []byte("\r\n")) {
		text = lines(text)
	}
	return []byte(text), false
}

// body answers with the body of an event, for a file.
func (s *Server) body(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	b, err := s.desk.Body(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "event-" + fileName(id) + ".body"}))
	_, _ = w.Write(b.Data) // who hung up can't be told anything
	return nil
}

// fileName is an id, if it is one.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'f' {
			return r
		}
		return -1
	}, path.Base(id))
}
