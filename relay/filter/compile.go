package filter

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"hookrun/relay/account"
)

// Bounds of a rule.
const (
	maxDepth    = 32
	maxNodes    = 1000
	maxText     = 4 << 10 // bytes of a value, name, regex or secret
	maxProgram  = 2000    // instructions of a regex
	maxNetworks = 100     // of one ip-range
	maxSegments = 32      // of a payload's path
)

// compiler makes nodes of rules.
type compiler struct {
	nodes int
	paths map[string]int // of the payload, and their number
}

func invalid(at, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", account.ErrInvalid, at, fmt.Sprintf(format, args...))
}

// rule compiles the part of the tree that stands at a place and depth.
func (c *compiler) rule(r *account.Rule, at string, depth int) (node, error) {
	c.nodes++
	switch {
	case depth > maxDepth:
		return nil, invalid(at, "more than %d levels", maxDepth)
	case c.nodes > maxNodes:
		return nil, invalid(at, "more than %d parts", maxNodes)
	}
	set := 0
	for _, is := range []bool{len(r.And) > 0, len(r.Or) > 0, r.Not != nil, r.Match != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, invalid(at, "has %d of and, or, not and match; want one", set)
	}
	switch {
	case r.And != nil:
		parts, err := c.rules(r.And, at+".and", depth)
		return all(parts), err
	case r.Or != nil:
		parts, err := c.rules(r.Or, at+".or", depth)
		return oneOf(parts), err
	case r.Not != nil:
		part, err := c.rule(r.Not, at+".not", depth+1)
		return not{part}, err
	}
	return c.match(r.Match, at+".match")
}

func (c *compiler) rules(rs []account.Rule, at string, depth int) ([]node, error) {
	var parts []node
	for i := range rs {
		part, err := c.rule(&rs[i], fmt.Sprintf("%s[%d]", at, i), depth+1)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// kinds are the types of a match, and which of its fields each takes.
func kinds() map[string][]string {
	return map[string][]string{
		"value":               {"value"},
		"contains":            {"value", "substring"},
		"does-not-contain":    {"value", "substring"},
		"substring":           {"substring", "value"},
		"regex":               {"regex"},
		"payload-hash-sha1":   {"secret"},
		"payload-hash-sha256": {"secret"},
		"ip-range":            {"ip-range"},
	}
}

func (c *compiler) match(m *account.Match, at string) (node, error) {
	operand, err := operand(m, at)
	if err != nil {
		return nil, err
	}
	if m.Type == "ip-range" {
		return networks(m, at)
	}
	from, err := c.source(m.Parameter, at+".parameter")
	if err != nil {
		return nil, err
	}
	l := leaf{from: from, cost: plainCost}
	switch m.Type {
	case "value":
		l.test = func(_ *look, v string) bool { // it may be a token: nothing is told by the time
			return subtle.ConstantTimeCompare([]byte(v), []byte(operand)) == 1
		}
	case "contains", "substring":
		l.test = func(_ *look, v string) bool { return strings.Contains(v, operand) }
	case "does-not-contain":
		l.test = func(_ *look, v string) bool { return !strings.Contains(v, operand) }
	case "regex":
		re, size, err := compileRegex(operand)
		if err != nil {
			return nil, invalid(at+".regex", "%v", err)
		}
		l.test = func(_ *look, v string) bool { return re.MatchString(v) }
		l.cost = func(_ *look, v string) int64 { return int64(size) * int64(len(v)+1) }
	case "payload-hash-sha1":
		l.test, l.cost = hashTest(operand, "sha1=", sha1.New), hashCost
	case "payload-hash-sha256":
		l.test, l.cost = hashTest(operand, "sha256=", sha256.New), hashCost
	}
	return l, nil
}

// What tests cost: comparing goes many bytes at a time, hashing one by one.
func plainCost(_ *look, v string) int64 { return 16 + int64(len(v)/16) }
func hashCost(l *look, v string) int64  { return 1000 + int64(len(l.Body)+len(v)) }

// operand is the one field of a match that its type takes.
func operand(m *account.Match, at string) (string, error) {
	takes, ok := kinds()[m.Type]
	if !ok {
		return "", invalid(at+".type", "%q: want value, contains, does-not-contain, substring, regex, payload-hash-sha1, payload-hash-sha256 or ip-range", m.Type)
	}
	var found string
	for _, f := range []struct{ name, text string }{
		{"value", m.Value}, {"regex", m.Regex}, {"substring", m.Substring}, {"secret", m.Secret}, {"ip-range", m.IPRange},
	} {
		switch {
		case f.text == "":
		case !slices.Contains(takes, f.name):
			return "", invalid(at, "type %s does not take %s, it takes %s", m.Type, f.name, takes[0])
		case len(f.text) > maxText:
			return "", invalid(at+"."+f.name, "more than %d bytes", maxText)
		case found != "" && found != f.text:
			return "", invalid(at, "%s and %s differ; one is enough", takes[0], takes[1])
		default:
			found = f.text
		}
	}
	if found == "" { // not there and empty look the same: a mistyped key must not match all that is empty
		return "", invalid(at, "type %s needs %s, and not empty", m.Type, takes[0])
	}
	return found, nil
}

// compileRegex also returns the size of its program, as a measure of its cost.
func compileRegex(text string) (*regexp.Regexp, int, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, 0, err
	}
	size := len(program.Inst)
	if size > maxProgram {
		return nil, 0, fmt.Errorf("it is too costly: %d steps, want %d at most", size, maxProgram)
	}
	re, err := regexp.Compile(text)
	return re, size, err
}

// hashTest is of a header that holds the hash of the body, or several with
// commas between them.
func hashTest(secret, prefix string, algorithm func() hash.Hash) func(*look, string) bool {
	return func(l *look, value string) bool {
		mac := hmac.New(algorithm, []byte(secret))
		mac.Write(l.Body)
		want := mac.Sum(nil)
		ok := false
		for one := range strings.SplitSeq(value, ",") {
			got, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(one), prefix))
			ok = ok || err == nil && hmac.Equal(got, want)
		}
		return ok
	}
}

// from reports whether an address is in a network.
type from []netip.Prefix

func (f from) eval(l *look) verdict {
	addr, err := netip.ParseAddr(l.IP)
	if err != nil {
		return unknown
	}
	addr = addr.Unmap().WithZone("")
	return verdictOf(slices.ContainsFunc(f, func(p netip.Prefix) bool { return p.Contains(addr) }))
}

// networks compiles an ip-range: networks or addresses, with spaces or commas
// between them.
func networks(m *account.Match, at string) (node, error) {
	if m.Parameter != (account.Parameter{}) {
		return nil, invalid(at+".parameter", "ip-range looks at the sender's address and takes no parameter")
	}
	words := strings.FieldsFunc(m.IPRange, func(r rune) bool { return r == ' ' || r == ',' })
	if len(words) == 0 || len(words) > maxNetworks {
		return nil, invalid(at+".ip-range", "has %d networks, want 1 to %d", len(words), maxNetworks)
	}
	var f from
	for _, word := range words {
		p, err := prefix(word)
		if err != nil {
			return nil, invalid(at+".ip-range", "%q: want a network such as 192.0.2.0/24, or an address", word)
		}
		f = append(f, p)
	}
	return f, nil
}

func prefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, cmp.Or(err, account.ErrInvalid)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && p.Addr().Is4In6() { // it would contain no address: those are compared as IPv4
		err = account.ErrInvalid
	}
	return p.Masked(), err
}
