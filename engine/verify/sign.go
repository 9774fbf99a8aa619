package verify

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ErrCantSign says that a configuration holds only what checks, not what signs.
var ErrCantSign = errors.New("can't sign")

// sign makes the headers with the first secret that can.
func (s *signature) sign(r Request, now time.Time, id string) (Signed, error) {
	k, ok := s.signer()
	if !ok {
		return Signed{}, fmt.Errorf("%w: the secret of scheme %s is the public key, only the sender has the private one", ErrCantSign, s.scheme)
	}
	c := claim{message: message{url: r.URL}}
	if s.template.has("timestamp") {
		c.message.timestamp = strconv.FormatInt(now.Unix(), 10)
	}
	if s.template.has("id") {
		c.message.id = id
	}
	if err := s.canSign(c, r.Body); err != nil {
		return Signed{}, err
	}
	payloads, f := s.payloads(r, c)
	if f != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrCantSign, f)
	}
	// Of a form whose payload field is signed, that one stands last.
	signed := payloads[0]
	if s.inner {
		signed = payloads[len(payloads)-1]
	}
	b, _ := k.sign(signed)
	h := s.headers(c.message, k.prefix+encode(s.encoding, b))
	// What check can never take is no signature.
	if _, f := s.read(Request{URL: r.URL, Header: h, Body: r.Body}); f != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrCantSign, f)
	}
	return Signed{Header: h}, nil
}

// headers are those of a signature, under the first names of the scheme.
func (s *signature) headers(m message, value string) http.Header {
	n, h := s.names[0], http.Header{}
	if s.stampMark != "" {
		value = s.stampMark + m.timestamp + s.list + value
	}
	h.Set(n.signature, value)
	if n.timestamp != "" {
		h.Set(n.timestamp, m.timestamp)
	}
	if n.id != "" {
		h.Set(n.id, m.id)
	}
	return h
}

// signer is the first key that can sign.
func (s *signature) signer() (key, bool) {
	for _, k := range s.keys {
		if k.hash != nil || k.private != nil {
			return k, true
		}
	}
	return key{}, false
}

// canSign says what the caller has to give that it did not.
func (s *signature) canSign(c claim, body []byte) error {
	if _, ok := bodyStamp(body, s.stampBody); s.stampBody != "" && !ok {
		return fmt.Errorf("%w: the body needs %s in milliseconds, the time that scheme %s signs", ErrCantSign, s.stampBody, s.scheme)
	}
	switch {
	case s.template.has("url") && c.message.url == "":
		return fmt.Errorf("%w: scheme %s signs the URL, and it is not given", ErrCantSign, s.scheme)
	case s.template.has("id") && c.message.id == "":
		return fmt.Errorf("%w: scheme %s signs an id, and it is not given", ErrCantSign, s.scheme)
	}
	return nil
}

// SecretParams names the headers and the query parameters in which the secret
// itself stands, for the caller to mask before it keeps a request.
func (v *Verifier) SecretParams() (headers, query []string) {
	switch c := v.checker.(type) {
	case *token:
		if c.query != "" {
			return nil, []string{c.query}
		}
		return []string{c.header}, nil
	case *jwtChecker:
		return []string{c.header}, nil
	case *gitlab:
		return []string{"X-Gitlab-Token"}, nil
	}
	if v.config.Scheme == "meta" {
		return nil, []string{"hub.verify_token"}
	}
	return nil, nil
}
