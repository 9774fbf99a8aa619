package verify

import (
	"fmt"
	"strings"
)

// What is signed is one text, and must be read in one way only: else who has a
// signed request sends it again with bytes moved from the body to the header of
// the id, say, and the signature still fits. So each {{id}} and {{url}} ends where
// a constant begins that it must not hold, {{raw}} is what is left, and a timestamp
// that touches another place has one of two lengths, see seam.

// checkTemplate refuses a payload that leaves unsigned what looks signed.
func (s *signature) checkTemplate(c Config) error {
	if err := s.template.checkShape(); err != nil {
		return err
	}
	t := s.template
	switch {
	case !t.has("raw"):
		return &ConfigError{"payload", "without {{raw}} the body is not signed: anybody could change it", "payload: " + `"{{raw}}"`}
	case t.has("timestamp") && c.TimestampHeader == "":
		return &ConfigError{"timestamp_header", "payload holds {{timestamp}}, and nothing says where it stands", "timestamp_header: X-Timestamp"}
	case !t.has("timestamp") && c.TimestampHeader != "":
		return &ConfigError{"timestamp_header", "payload holds no {{timestamp}}: what is not signed anybody can change", `payload: "{{timestamp}}.{{raw}}"`}
	case t.has("id") && c.IDHeader == "":
		return &ConfigError{"id_header", "payload holds {{id}}, and nothing says where it stands", "id_header: X-Request-Id"}
	case !t.has("id") && c.IDHeader != "":
		return &ConfigError{"id_header", "payload holds no {{id}}: what is not signed anybody can change", `payload: "{{id}}.{{raw}}"`}
	case c.Tolerance != 0 && c.TimestampHeader == "":
		return &ConfigError{"tolerance", "nothing says when the request was signed", "give timestamp_header too, and {{timestamp}} in payload"}
	case holdsEnd(c.PublicURL, t.after("url")):
		return &ConfigError{"payload", fmt.Sprintf("public_url holds %q, which ends {{url}}: nobody knows where the URL ends", t.after("url")), `payload: "{{url}}|{{raw}}"`}
	}
	return nil
}

// checkShape refuses a payload that can be read in two ways.
func (p payload) checkShape() error {
	seen := map[string]bool{}
	for i, part := range p {
		switch {
		case part.name == "":
			continue
		case seen[part.name]:
			return &ConfigError{"payload", fmt.Sprintf("{{%s}} stands there twice", part.name), "each of them once"}
		case part.name == "timestamp" && p.digitBeside(i):
			return &ConfigError{"payload", "the text beside {{timestamp}} has a digit there: nobody knows where the timestamp ends", `payload: "{{timestamp}}.{{raw}}"`}
		case part.name != "id" && part.name != "url":
		case seen["raw"]:
			return &ConfigError{"payload", fmt.Sprintf("{{%s}} stands behind {{raw}}: bytes of the body could be sent as its own", part.name), fmt.Sprintf(`payload: "{{%s}}|{{raw}}"`, part.name)}
		case p.text(i+1) == "":
			return &ConfigError{"payload", fmt.Sprintf("nothing stands between {{%s}} and what follows: bytes could be moved from one to the other", part.name), fmt.Sprintf(`payload: "{{%s}}|{{raw}}"`, part.name)}
		}
		seen[part.name] = true
	}
	return nil
}

// text is the constant at a place, or "".
func (p payload) text(i int) string {
	if i < 0 || i >= len(p) {
		return ""
	}
	return p[i].text
}

// named reports whether a name stands at a place.
func (p payload) named(i int) bool { return i >= 0 && i < len(p) && p[i].name != "" }

// touching reports whether a timestamp has another name beside it, and nothing
// between.
func (p payload) touching() bool {
	for i, part := range p {
		if part.name == "timestamp" {
			return p.named(i-1) || p.named(i+1)
		}
	}
	return false
}

// digitBeside reports whether a constant that parts a timestamp from another name
// could be taken for digits of it.
func (p payload) digitBeside(i int) bool {
	before, behind := p.text(i-1), p.text(i+1)
	return i > 1 && allDigits(before[max(len(before)-1, 0):]) || i+2 < len(p) && allDigits(behind[:min(len(behind), 1)])
}

func allDigits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// moved is how many digits a timestamp has more in milliseconds than in seconds.
const moved = millisLength - secondsLength

// seam refuses a timestamp in seconds that becomes one in milliseconds with the
// digits that it touches: the sender may have meant that one, and those digits be
// none of the body's.
func (s *signature) seam(m message, body []byte) *Failure {
	if s.form != stampFixed || len(m.timestamp) != secondsLength {
		return nil
	}
	first, last := m, m
	first.raw, last.raw = body[:min(len(body), moved)], body[max(len(body)-moved, 0):]
	for i, part := range s.template {
		if part.name != "timestamp" {
			continue
		}
		behind := s.template[i+1:].fill(first)
		if s.template.named(i+1) && len(behind) >= moved && allDigits(string(behind[:moved])) {
			return fail("digits follow the timestamp: nobody knows where it ends")
		}
		before := s.template[:i].fill(last)
		if s.template.named(i-1) && len(before) >= moved && allDigits(string(before[len(before)-moved:])) {
			return fail("digits stand before the timestamp: nobody knows where it begins")
		}
	}
	return nil
}
