package verify

import (
	"fmt"
	"strings"
)

// A part of a payload is a constant, or the name of what stands there.
type part struct{ text, name string }

// A payload is a template of what is signed.
type payload []part

// parsePayload reads a template over {{raw}}, {{timestamp}}, {{id}} and {{url}}.
func parsePayload(text string) (payload, error) {
	var p payload
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{{")
		if strings.Contains(before, "}}") {
			return nil, payloadError("}} without {{")
		}
		if before != "" {
			p = append(p, part{text: before})
		}
		if !found {
			break
		}
		name, next, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, payloadError("{{ without }}")
		}
		name = strings.TrimSpace(name)
		switch name {
		case "raw", "timestamp", "id", "url":
		default:
			return nil, payloadError(fmt.Sprintf("{{%s}} is not known", name))
		}
		p = append(p, part{name: name})
		rest = next
	}
	return p, nil
}

func payloadError(msg string) error {
	return &ConfigError{"payload", msg, "it may hold {{raw}}, {{timestamp}}, {{id}} and {{url}}, and text between them"}
}

// has reports whether a name stands in the template.
func (p payload) has(name string) bool {
	for _, part := range p {
		if part.name == name {
			return true
		}
	}
	return false
}

// after is the constant that stands behind a name, or "".
func (p payload) after(name string) string {
	for i, part := range p[:max(len(p)-1, 0)] {
		if part.name == name {
			return p[i+1].text
		}
	}
	return ""
}

// holdsEnd reports whether a text holds the constant that ends it in the payload,
// or makes one together with it: then nobody knows where it ends.
func holdsEnd(text, end string) bool {
	return end != "" && strings.Index(text+end, end) < len(text)
}

// A message is what stands in a payload's places.
type message struct {
	raw                []byte
	timestamp, id, url string
}

// fill is the bytes that are signed.
func (p payload) fill(m message) []byte {
	if len(p) == 1 && p[0].name == "raw" {
		return m.raw // no copy of a large body
	}
	var b []byte
	for _, part := range p {
		switch part.name {
		case "raw":
			b = append(b, m.raw...)
		case "timestamp":
			b = append(b, m.timestamp...)
		case "id":
			b = append(b, m.id...)
		case "url":
			b = append(b, m.url...)
		default:
			b = append(b, part.text...)
		}
	}
	return b
}
