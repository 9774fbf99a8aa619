package ruletest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Pattern is what a text has to be: another text, one that a regular expression
// matches from its beginning to its end, or one with a hash.
type Pattern struct {
	text string
	re   *regexp.Regexp // nil: text
	src  string         // of re
	sum  string         // SHA-256 in hexadecimal; "": text or re
}

// exactly is the pattern of one text.
func exactly(text string) Pattern { return Pattern{text: text} }

// compile makes a pattern of a regular expression, in which . stands for line
// breaks, too.
func compile(src string) (Pattern, error) {
	if _, err := regexp.Compile(src); err != nil { // by itself: no bracket of it closes ours
		return Pattern{}, err
	}
	re, err := regexp.Compile(`\A(?s:` + src + `)\z`)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{re: re, src: src}, nil
}

// Matches reports whether the text is as it has to be.
func (p Pattern) Matches(text string) bool {
	switch {
	case p.sum != "":
		return p.sum == sumOf(text)
	case p.re != nil:
		return p.re.MatchString(text)
	}
	return p.text == text
}

// isExact reports whether the pattern is a text.
func (p Pattern) isExact() bool { return p.re == nil && p.sum == "" }

// noted ends a text of a plan that is not shown as it is: it was cut, or is not
// UTF-8.
var noted = regexp.MustCompile(` …\[[0-9]+ bytes, sha256 ([0-9a-f]{64})\]$`)

// sumOf is the hash of a text, or of what stands in its place in a plan.
func sumOf(text string) string {
	if m := noted.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// String shows the pattern on one line, as a file of tests may have it.
func (p Pattern) String() string {
	switch {
	case p.sum != "":
		return fmt.Sprintf("{sha256: %s}", p.sum)
	case p.re != nil:
		return fmt.Sprintf("{match: %s}", strconv.Quote(p.src))
	}
	return strconv.Quote(p.text)
}

// aSum is a SHA-256 in hexadecimal.
var aSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// pattern reads a text, {match: REGEXP} or {sha256: HEX}. what names it.
func (r *reader) pattern(n *yaml.Node, what string) (Pattern, bool) {
	if n.Kind != yaml.MappingNode {
		text, ok := r.doc.Text(n, what)
		return exactly(text), ok
	}
	o := r.doc.Object(n, what, "match", "sha256")
	match, sum := o.Value("match"), o.Value("sha256")
	switch {
	case match == nil && sum == nil, match != nil && sum != nil:
		r.doc.Fail(n, "write a text, {match: REGEXP} or {sha256: HEX}", "%s must be a text or a pattern", what)
		return Pattern{}, false
	case sum != nil:
		p := Pattern{sum: o.Text("sha256")}
		if !aSum.MatchString(p.sum) {
			r.doc.Fail(sum, "sha256sum prints it", "sha256 must be 64 hexadecimal digits in lower case")
		}
		return p, true
	}
	p, err := compile(o.Text("match"))
	if err != nil {
		r.doc.Fail(match, "write it in the syntax of RE2: https://golang.org/s/re2syntax", "%v", err)
		return Pattern{}, false
	}
	return p, true
}

// patternOf reads the value of a key as a pattern; nil: it is not there.
func (r *reader) patternOf(n *yaml.Node, what string) *Pattern {
	if n == nil {
		return nil
	}
	p, ok := r.pattern(n, what)
	if !ok {
		return nil
	}
	return &p
}
