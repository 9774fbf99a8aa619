package control

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
