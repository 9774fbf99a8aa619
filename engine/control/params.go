package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookrun/engine"
)

// query is the parameters of a request. The first that can't be read is err.
type query struct {
	of  url.Values
	err error
}

// params refuses unknown parameters: a mistyped rule= would mean all rules.
func params(r *http.Request, known ...string) (*query, error) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("", "the parameters can't be read")
	}
	for name, values := range given {
		if !slices.Contains(known, name) {
			return nil, badRequest(engine.Nearest(name, known), "unknown parameter %q", name)
		}
		if len(values) > 1 {
			return nil, badRequest("", "parameter %q is given twice", name)
		}
	}
	return &query{of: given}, nil
}

func (q *query) text(name string) string { return q.of.Get(name) }

func (q *query) number(name string) int64 {
	text := q.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		q.fail(name, "a number from 1")
	}
	return n
}

func (q *query) time(name string) time.Time {
	text := q.text(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.fail(name, "a time such as "+time.RFC3339)
	}
	return t
}

// limit is the number of things that a page is to have.
func (q *query) limit() int { return int(min(q.number("limit"), MaxLimit+1)) }

func (q *query) duration(name string) time.Duration {
	text := q.text(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		q.fail(name, "a length of time such as 30m")
	}
	return d
}

// words are those of a parameter, with commas between them.
func words[W ~string](q *query, name string) (all []W) {
	for word := range strings.SplitSeq(q.text(name), ",") {
		if word != "" {
			all = append(all, W(word))
		}
	}
	return all
}

func (q *query) flag(name string) bool {
	switch q.text(name) {
	case "", "0":
		return false
	case "1":
		return true
	}
	q.fail(name, "0 or 1")
	return false
}

func (q *query) fail(name, want string) {
	if q.err == nil {
		q.err = badRequest("", "parameter %q is not %s", name, want)
	}
}

// Content types of requests and answers.
const (
	typeJSON   = "application/json"
	typeLines  = "application/x-ndjson" // a value a line
	typeEvents = "text/event-stream"
)

// maxAsked bounds the body of a request, in bytes: an event that is made up, or
// the new body of one that is to run again.
const maxAsked = 8 << 20

// readBody reads the JSON of a request into a value. What it does not know is
// refused: a mistyped rule would mean all rules.
func readBody(r *http.Request, into any) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != typeJSON {
		return &Error{http.StatusUnsupportedMediaType, "the body of the request is no JSON", "send it with Content-Type: " + typeJSON}
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAsked))
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body of the request has more than %d bytes", maxAsked), ""}
	}
	if err != nil {
		return badRequest("", "the body of the request can't be read: %v", err)
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		return badRequest("/v1/openapi.json says what it may have", "the body of the request can't be read: %v", err)
	}
	if in.More() {
		return badRequest("", "the body of the request has something behind its JSON")
	}
	return nil
}
