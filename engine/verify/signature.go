package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// maxField bounds the timestamp and the id of a delivery.
const maxField = 256

// signature is the checker of the rows.
type signature struct {
	row
	template  payload
	keys      []key
	texts     []string // of the keys' secrets, for the doctor
	tolerance time.Duration
	form      stampForm
}

var _ checker = (*signature)(nil)

func newSignature(r row, c Config) (checker, error) {
	if c.Header != "" {
		r.names = []names{{signature: c.Header}}
	}
	if c.TimestampHeader != "" {
		r.names[0].timestamp = c.TimestampHeader
		r.payload = "{{timestamp}}:{{raw}}" // of grafana, the one row that takes the key
	}
	if c.Tolerance != 0 && !r.stamped() {
		return nil, &ConfigError{"tolerance", "nothing says when the request was signed", "give timestamp_header too"}
	}
	return build(r, c)
}

// newGeneric makes the checker of scheme hmac: a row that the file describes.
func newGeneric(c Config) (checker, error) {
	r := row{
		scheme: "hmac", names: []names{{c.Header, c.TimestampHeader, c.IDHeader}}, prefix: c.Prefix,
		algorithm: c.Algorithm, encoding: c.Encoding, payload: c.Payload,
	}
	switch {
	case c.Header == "":
		return nil, &ConfigError{"header", "scheme hmac needs the header that the signature stands in", "header: X-Signature"}
	case hashOf(r.algorithm) == nil:
		return nil, &ConfigError{"algorithm", fmt.Sprintf("unknown algorithm %q", c.Algorithm), "one of sha1, sha256, sha384, sha512"}
	}
	switch r.encoding {
	case "", "hex", "base64", "base64url":
	default:
		return nil, &ConfigError{"encoding", fmt.Sprintf("unknown encoding %q", c.Encoding), "one of hex, base64, base64url"}
	}
	s, err := build(r, c)
	if err != nil {
		return nil, err
	}
	s.form = stampLoose
	if s.template.touching() {
		s.form = stampFixed
	}
	return s, s.checkTemplate(c)
}

// build makes the checker of a row whose words are right.
func build(r row, c Config) (*signature, error) {
	if r.payload == "" {
		r.payload = "{{raw}}"
	}
	if r.encoding == "" {
		r.encoding = "hex"
	}
	template, err := parsePayload(r.payload)
	if err != nil {
		return nil, err
	}
	keys, err := r.parseKeys(c.Secrets)
	if err != nil {
		return nil, err
	}
	return &signature{
		row: r, template: template, keys: keys, texts: c.Secrets,
		tolerance: cmp.Or(c.Tolerance, r.tolerance, DefaultTolerance),
	}, nil
}

// A claim is what the headers of a request say of it.
type claim struct {
	header  string   // that the signatures stand in
	items   []string // with their prefixes
	message message  // without raw
	signed  time.Time
}

func (s *signature) check(_ context.Context, r Request, now time.Time) error {
	c, f := s.read(r)
	if f != nil {
		return f
	}
	payloads, f := s.payloads(r, c)
	if f != nil {
		return f
	}
	if _, f := s.fits(c, payloads); f != nil {
		return f
	}
	if f := s.fresh(c, r, now); f != nil {
		return f
	}
	return nil
}

// read takes from the headers what the scheme needs.
func (s *signature) read(r Request) (claim, *Failure) {
	n := s.spelling(r)
	c := claim{header: n.signature}
	value, f := single(r.Header, n.signature)
	if f != nil {
		return c, f
	}
	if c.items, f = items(n.signature, value, s.list); f != nil {
		return c, f
	}
	if f := s.readStamp(&c, n, r); f != nil {
		return c, f
	}
	if f := s.readID(&c, n, r); f != nil {
		return c, f
	}
	c.message.url = r.URL
	if s.template.has("url") && r.URL == "" {
		return c, fail("the URL that the sender called is not known: public_url is not set")
	}
	if end := s.template.after("url"); holdsEnd(r.URL, end) {
		return c, fail("the URL that the sender called holds %q, which ends a URL", end)
	}
	if f := s.seam(c.message, r.Body); f != nil {
		return c, f
	}
	return c, nil
}

// spelling are the names of the headers that the request uses.
func (s *signature) spelling(r Request) names {
	for _, n := range s.names {
		if len(values(r.Header, n.signature)) > 0 {
			return n
		}
	}
	return s.names[0]
}

// readStamp reads a timestamp that stands in a header, its own or the
// signature's.
func (s *signature) readStamp(c *claim, n names, r Request) *Failure {
	where := n.timestamp
	switch {
	case s.stampMark != "":
		where = n.signature
		var found []string
		for _, item := range c.items {
			if text, ok := strings.CutPrefix(item, s.stampMark); ok {
				found = append(found, text)
			}
		}
		if len(found) != 1 {
			return fail("the header %s holds %d parts %s instead of one", where, len(found), s.stampMark)
		}
		c.message.timestamp = found[0]
	case where != "":
		text, f := single(r.Header, where)
		if f != nil {
			return f
		}
		c.message.timestamp = text
	default:
		return nil
	}
	var ok bool
	if c.signed, ok = s.form.parse(c.message.timestamp); !ok {
		return fail("the timestamp in the header %s is not %s", where, s.form)
	}
	return nil
}

// readID reads the id of the delivery. It must not hold what follows it in the
// payload, or two deliveries would be signed alike.
func (s *signature) readID(c *claim, n names, r Request) *Failure {
	if n.id == "" {
		return nil
	}
	id, f := single(r.Header, n.id)
	if f != nil {
		return f
	}
	if len(id) > maxField {
		return fail("the header %s has %d bytes, more than %d", n.id, len(id), maxField)
	}
	if end := s.template.after("id"); holdsEnd(id, end) {
		return fail("the header %s holds %q, which ends an id", n.id, end)
	}
	c.message.id = id
	return nil
}

// payloads are the bytes that the sender may have signed.
func (s *signature) payloads(r Request, c claim) ([][]byte, *Failure) {
	if s.twilio {
		return twilioPayloads(r)
	}
	if s.object && !strings.HasPrefix(string(r.Body[:min(len(r.Body), 1)]), "{") {
		return nil, fail("the body is not a JSON object")
	}
	m := c.message
	m.raw = r.Body
	all := [][]byte{s.template.fill(m)}
	if !s.inner {
		return all, nil
	}
	if inner, ok := formPayload(r); ok {
		m.raw = inner
		all = append(all, s.template.fill(m))
	}
	return all, nil
}

// fits returns the key that fits one of the payloads, or why none does.
func (s *signature) fits(c claim, payloads [][]byte) (key, *Failure) {
	prefixed, formed := false, false
	for _, k := range s.keys {
		signatures, some := s.signatures(c, k)
		prefixed, formed = prefixed || some, formed || len(signatures) > 0
		for _, p := range payloads {
			if k.fits(p, signatures) {
				return k, nil
			}
		}
	}
	return key{}, s.misfit(c, prefixed, formed)
}

// signatures are those of a claim that a key could have made; some is whether
// one at least has the key's prefix.
func (s *signature) signatures(c claim, k key) (all [][]byte, some bool) {
	for _, item := range c.items {
		text, ok := strings.CutPrefix(item, k.prefix)
		if !ok {
			continue
		}
		some = true
		if b, ok := decode(s.encoding, text); ok && len(b) == k.size() {
			all = append(all, b)
		}
	}
	return all, some
}

func (s *signature) misfit(c claim, prefixed, formed bool) *Failure {
	k := s.keys[0]
	switch {
	case !prefixed && s.list != "":
		return fail("the header %s holds no signature that begins with %s", c.header, k.prefix)
	case !prefixed:
		return fail("the header %s does not begin with %s", c.header, k.prefix)
	case !formed:
		return fail("the header %s holds no signature of %d bytes in %s", c.header, k.size(), s.encoding)
	}
	return fail("the signature differs")
}

// fresh says why the request is too old or not yet due, or nil. It is asked
// last, so that what it says is true.
func (s *signature) fresh(c claim, r Request, now time.Time) *Failure {
	if s.stampBody != "" {
		ms, ok := bodyStamp(r.Body, s.stampBody)
		if !ok {
			return fail("the body has no %s in milliseconds", s.stampBody)
		}
		return within(time.UnixMilli(ms), now.Truncate(time.Millisecond), s.tolerance)
	}
	if c.message.timestamp == "" {
		return nil
	}
	return within(c.signed, now.Truncate(time.Second), s.tolerance)
}

// bodyStamp reads a number at the top of a body.
func bodyStamp(body []byte, field string) (int64, bool) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		return 0, false
	}
	return digits(string(top[field]))
}

func within(signed, now time.Time, tolerance time.Duration) *Failure {
	switch age := now.Sub(signed); {
	case age > tolerance:
		return fail("the timestamp is %s old, more than %s", age, tolerance)
	case age < -tolerance:
		return fail("the timestamp is %s ahead, more than %s", -age, tolerance)
	}
	return nil
}
