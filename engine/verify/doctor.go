package verify

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of the doctor: anybody can send what fails.
const (
	maxDoctorBody  = 256 << 10
	maxTries       = 200      // signatures computed, or tokens compared
	maxTriesBytes  = 32 << 20 // signed in all
	maxIndented    = 4 << 20
	maxShownPrefix = 16
	maxTokens      = 10 // of jwt
)

// A doctor looks for why a request of a signing scheme was refused.
type doctor struct {
	*signature
	claim    claim
	payloads [][]byte
	request  Request
	known    []Known
	budget   budget
}

// budget counts what a doctor has tried.
type budget struct{ tries, bytes int }

func (b *budget) take(n int) bool {
	b.tries++
	b.bytes += n
	return !b.spent()
}

func (b *budget) spent() bool { return b.tries > maxTries || b.bytes > maxTriesBytes }

func (s *signature) diagnose(_ context.Context, r Request, now time.Time, known []Known) string {
	d := &doctor{signature: s, request: r, known: known}
	c, f := s.read(r)
	if f != nil {
		return d.otherHeader()
	}
	d.claim = c
	if d.payloads, f = s.payloads(r, c); f != nil {
		return ""
	}
	if _, f := s.fits(c, d.payloads); f == nil {
		return d.clock(now)
	}
	for _, cause := range []func() string{d.spelling, d.otherSecret, d.knownSecret, d.otherBody, d.otherAlgorithm, d.otherHeader} {
		if text := cause(); text != "" {
			return text
		}
	}
	return ""
}

// clock is for a right signature that is too old or too new.
func (d *doctor) clock(now time.Time) string {
	signed := d.claim.signed
	if d.stampBody != "" {
		ms, ok := bodyStamp(d.request.Body, d.stampBody)
		if !ok {
			return ""
		}
		signed = time.UnixMilli(ms)
	}
	switch age := now.Sub(signed).Truncate(time.Second); {
	case signed.IsZero():
		return ""
	case age > d.tolerance:
		return fmt.Sprintf("the signature is right: the request is %s old, or the clock here is %.0f s ahead of the sender's", age, age.Seconds())
	case age < -d.tolerance:
		return fmt.Sprintf("the signature is right: the clock here is %.0f s behind the sender's", -age.Seconds())
	}
	return ""
}

// fits is key.fits on the budget. An HMAC is computed once for all signatures,
// ed25519 once for each.
func (d *doctor) fits(k key, payload []byte, signatures [][]byte) bool {
	if len(signatures) == 0 || k.hash == nil && len(signatures) > 10 {
		return false
	}
	return d.budget.take(len(payload)) && k.fits(payload, signatures)
}

// A spelt is what a part of the header is, read in one way.
type spelt struct {
	bytes            []byte
	prefix, encoding string
}

// spelt reads the parts of the header in every way.
func (d *doctor) spelt() []spelt {
	var all []spelt
	for _, item := range d.claim.items {
		for _, prefix := range []string{"", through(item, "="), through(item, ",")} {
			for _, encoding := range []string{"hex", "base64", "base64url"} {
				if b, ok := decode(encoding, item[len(prefix):]); ok && len(b) >= 20 {
					all = append(all, spelt{b, prefix, encoding})
				}
			}
		}
	}
	return all
}

// through is the text up to the first mark, with it.
func through(text, mark string) string {
	before, _, found := strings.Cut(text, mark)
	if !found {
		return ""
	}
	return before + mark
}

// spelling is for the right bytes behind another prefix or in another encoding.
func (d *doctor) spelling() string {
	all := d.spelt()
	for _, k := range d.keys {
		for _, p := range d.payloads {
			if !d.fits(k, p, bytesOf(all)) {
				continue
			}
			for _, s := range all {
				if k.fits(p, [][]byte{s.bytes}) {
					return d.misspelt(k, s)
				}
			}
		}
	}
	return ""
}

func bytesOf(all []spelt) [][]byte {
	var some [][]byte
	for _, s := range all {
		some = append(some, s.bytes)
	}
	return some
}

func (d *doctor) misspelt(k key, s spelt) string {
	switch {
	case s.encoding != d.encoding:
		return fmt.Sprintf("the signature is right, but in %s instead of %s", s.encoding, d.encoding)
	case s.prefix == "":
		return fmt.Sprintf("the signature is right, but comes without the prefix %s", k.prefix)
	case k.prefix == "":
		return fmt.Sprintf("the signature is right, but comes with a prefix, %.*s", maxShownPrefix, s.prefix)
	}
	return fmt.Sprintf("the signature is right, but the prefix is %.*s instead of %s", maxShownPrefix, s.prefix, k.prefix)
}

// otherSecret is for a secret that was copied or read in another way here than
// at the sender.
func (d *doctor) otherSecret() string {
	for i, k := range d.keys {
		if k.hash == nil {
			continue
		}
		signatures, _ := d.signatures(d.claim, k)
		variants := secretVariants(d.texts[i])
		if d.key == keyStandard {
			variants = append(variants, secretVariant{d.texts[i], "the sender uses the secret as it is, not decoded from base64"})
		}
		for _, v := range variants {
			try := k
			try.secret = []byte(v.text)
			for _, p := range d.payloads {
				if d.fits(try, p, signatures) {
					return v.cause
				}
			}
		}
	}
	return ""
}

// knownSecret is for the secret of another bucket or of yesterday.
func (d *doctor) knownSecret() string {
	for _, known := range d.known {
		k, ok := d.parseKey(known.Secret)
		if !ok {
			continue
		}
		signatures, _ := d.signatures(d.claim, k)
		for _, p := range d.payloads {
			if d.fits(k, p, signatures) {
				return "the request is signed with " + known.Name
			}
		}
	}
	return ""
}

// otherBody is for a body that was written anew on its way, or before it was
// signed.
func (d *doctor) otherBody() string {
	for cause, body := range bodyVariants(d.request) {
		if d.budget.spent() {
			return ""
		}
		m := d.claim.message
		m.raw = body
		payload := d.template.fill(m)
		for _, k := range d.keys {
			signatures, _ := d.signatures(d.claim, k)
			if d.fits(k, payload, signatures) {
				return cause
			}
		}
	}
	return ""
}

// otherAlgorithm is for a signature with another hash.
func (d *doctor) otherAlgorithm() string {
	signatures := bytesOf(d.spelt())
	for _, k := range d.keys {
		if k.hash == nil {
			continue
		}
		for _, name := range []string{"sha1", "sha256", "sha384", "sha512"} {
			k.hash = hashOf(name)
			for _, p := range d.payloads {
				if d.fits(k, p, signatures) {
					return fmt.Sprintf("the signature is made with %s", name)
				}
			}
		}
	}
	return ""
}

// otherHeader is for a sender that signs as another scheme does, or does not
// sign but send the secret.
func (d *doctor) otherHeader() string {
	if cause := d.oldHeader(); cause != "" {
		return cause
	}
	for _, r := range rows() {
		if r.scheme == d.scheme || r.twilio {
			continue
		}
		if header, ok := d.fitsRow(r); ok {
			return fmt.Sprintf("the request is signed as scheme %s signs, in the header %s", r.scheme, header)
		}
	}
	if where := tokenPlace(d.request, d.texts); where.kind != "" {
		return fmt.Sprintf("the request is not signed: the secret itself came in %s", where)
	}
	return ""
}

// oldHeader is for senders that know SHA-1 only.
func (d *doctor) oldHeader() string {
	old := row{scheme: "github", names: []names{{signature: "X-Hub-Signature"}}, prefix: "sha1=", algorithm: "sha1"}
	if _, ok := d.fitsRow(old); !ok {
		return ""
	}
	return "the signature is right in X-Hub-Signature, which is made with SHA-1 and not taken: the sender has to send X-Hub-Signature-256"
}

// fitsRow reports whether the request is signed as a row says, however old it
// is.
func (d *doctor) fitsRow(r row) (header string, ok bool) {
	s, err := build(r, Config{Secrets: d.texts})
	if err != nil {
		return "", false
	}
	c, f := s.read(d.request)
	if f != nil {
		return "", false
	}
	payloads, f := s.payloads(d.request, c)
	if f != nil || !d.budget.take(len(d.request.Body)*len(payloads)*len(d.texts)) {
		return "", false
	}
	_, f = s.fits(c, payloads)
	return c.header, f == nil
}

func (t *token) diagnose(_ context.Context, r Request, _ time.Time, known []Known) string {
	got, f := t.read(r)
	if f == nil {
		if cause := tokenCause(t.name(), got, t.secrets, known); cause != "" {
			return cause
		}
	}
	own := t.place()
	if n := t.times(r); n > 1 {
		return fmt.Sprintf("the %s %s comes %s", own.kind, own.name, times(n))
	}
	switch where := tokenPlace(r, t.secrets); {
	case where.kind == "":
		return ""
	case where.kind != own.kind || where.name != own.name:
		return fmt.Sprintf("the token is right, but came in %s", where)
	case t.query != "": // the rest of the query can't be read
		return ""
	case t.word == "Basic":
		return fmt.Sprintf("user and password are right, but %s holds them as they are, not in base64 behind Basic", where)
	case t.word == "" || t.bare:
		return fmt.Sprintf("the token is right, but another word stands before it in %s", where)
	default:
		return fmt.Sprintf("the token is right, but %s does not begin with %s", where, t.word)
	}
}

// A place is where a token stands.
type place struct{ kind, name string }

func (p place) String() string { return fmt.Sprintf("the %s %.64q", p.kind, p.name) }

// place is where the token has to stand.
func (t *token) place() place {
	if t.query != "" {
		return place{"query parameter", t.query}
	}
	return place{"header", http.CanonicalHeaderKey(t.header)}
}

// times is how often there is something where the token has to stand.
func (t *token) times(r Request) int {
	if t.query == "" {
		return len(values(r.Header, t.header))
	}
	fields, _ := url.ParseQuery(r.Query)
	return len(fields[t.query])
}

func times(n int) string {
	if n == 2 {
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// tokenCause says how a token differs from a secret, or "".
func tokenCause(where, got string, secrets []string, known []Known) string {
	for _, s := range secrets {
		for _, v := range secretVariants(s) {
			if sameSecret(got, []string{v.text}) {
				return v.cause
			}
		}
	}
	for _, k := range known {
		if k.Secret != "" && sameSecret(got, []string{k.Secret}) {
			return fmt.Sprintf("%s is %s", where, k.Name)
		}
	}
	if rest, ok := cutWord(got, "Bearer"); ok && sameSecret(rest, secrets) {
		return "the word Bearer stands before the token"
	}
	return ""
}

// tokenPlace says where in a request one of the secrets stands; nowhere is the
// zero place.
func tokenPlace(r Request, secrets []string) place {
	var b budget
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			if len(value) > maxHeader || !b.take(len(value)) {
				continue
			}
			_, rest, _ := strings.Cut(value, " ")
			if sameSecret(value, secrets) || sameSecret(rest, secrets) {
				return place{"header", http.CanonicalHeaderKey(name)}
			}
		}
	}
	query, _ := url.ParseQuery(r.Query)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if b.take(len(r.Query)) && sameSecret(query.Get(name), secrets) {
			return place{"query parameter", name}
		}
	}
	return place{}
}

func (j *jwtChecker) diagnose(ctx context.Context, r Request, now time.Time, _ []Known) string {
	var b budget
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			if rest, ok := cutWord(value, "Bearer"); ok {
				value = rest
			}
			if strings.Count(value, ".") != 2 || len(value) > maxHeader || !b.take(len(value)) || b.tries > maxTokens {
				continue
			}
			if j.checkToken(ctx, value, now) == nil {
				return fmt.Sprintf("a good token came in the header %.64q", name)
			}
		}
	}
	return ""
}
