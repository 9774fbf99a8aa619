package filter

import (
	"net/http"
	"net/url"
	"strings"

	"hookrun/relay/account"
)

// source returns the values of a parameter. None: it is not there.
type source func(l *look) []string

// source compiles a parameter.
func (c *compiler) source(p account.Parameter, at string) (source, error) {
	switch {
	case len(p.Name) > maxText:
		return nil, invalid(at+".name", "more than %d bytes", maxText)
	case p.Source == "header" || p.Source == "query" || p.Source == "payload":
		if p.Name == "" {
			return nil, invalid(at+".name", "is missing: which %s?", p.Source)
		}
	case p.Source == "body" || p.Source == "path":
		if p.Name != "" {
			return nil, invalid(at+".name", "%q: %s is looked at as a whole; a field of the body has source payload", p.Name, p.Source)
		}
	default:
		return nil, invalid(at+".source", "%q: want header, payload, query, body or path", p.Source)
	}
	switch p.Source {
	case "header":
		name := http.CanonicalHeaderKey(p.Name)
		return func(l *look) []string { return l.Header[name] }, nil
	case "query":
		return func(l *look) []string { return l.query(p.Name) }, nil
	case "body":
		return (*look).whole, nil
	case "path":
		return (*look).path, nil
	}
	if strings.Count(p.Name, ".") >= maxSegments {
		return nil, invalid(at+".name", "more than %d parts", maxSegments)
	}
	n, ok := c.paths[p.Name]
	if !ok {
		n = len(c.paths)
		c.paths[p.Name] = n
	}
	return func(l *look) []string { return l.values(n) }, nil
}

func (l *look) whole() []string {
	if l.body == "" {
		l.body = string(l.Body)
	}
	return []string{l.body}
}

// path is decoded: a sender can write each character in several ways.
func (l *look) path() []string {
	path, err := url.PathUnescape(l.Path)
	if err != nil {
		return nil
	}
	return []string{path}
}

func (l *look) query(name string) []string {
	if !l.pay(int64(len(l.Query))) {
		return nil
	}
	var values []string
	pairs(l.Query, func(key, value string) {
		if key == name {
			values = append(values, value)
		}
	})
	return values
}

// pairs tells of each pair of a query or form. One that can't be decoded is
// passed over, as net/url does it.
func pairs(text string, tell func(key, value string)) {
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" || strings.Contains(pair, ";") {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			continue
		}
		if value, err = url.QueryUnescape(value); err == nil {
			tell(key, value)
		}
	}
}
