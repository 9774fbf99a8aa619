package verify

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

const (
	maxHeader     = 16 << 10 // bytes of a header that is looked at
	maxSignatures = 100      // in one header
)

// fail makes a Failure.
func fail(format string, args ...any) *Failure { return &Failure{fmt.Sprintf(format, args...)} }

// values are all values of a header, however its name is spelt in the map: a
// relay hands headers on as it got them.
func values(h http.Header, name string) []string {
	canonical := http.CanonicalHeaderKey(name)
	var all []string
	for key, some := range h {
		if http.CanonicalHeaderKey(key) == canonical {
			all = append(all, some...)
		}
	}
	return all
}

// single is the value of a header that must be there once: of two, nobody knows
// which one the next program would read.
func single(h http.Header, name string) (string, *Failure) {
	all := values(h, name)
	switch {
	case len(all) == 0:
		return "", fail("the header %s is missing", name)
	case len(all) > 1:
		return "", fail("the header %s comes %d times", name, len(all))
	case all[0] == "":
		return "", fail("the header %s is empty", name)
	case len(all[0]) > maxHeader:
		return "", fail("the header %s has %d bytes, more than %d", name, len(all[0]), maxHeader)
	}
	return all[0], nil
}

// items splits a header that may hold several signatures.
func items(name, value, list string) ([]string, *Failure) {
	if list == "" {
		return []string{value}, nil
	}
	all := strings.Split(value, list)
	if len(all) > maxSignatures {
		return nil, fail("the header %s holds %d parts, more than %d", name, len(all), maxSignatures)
	}
	for i, item := range all {
		all[i] = strings.Trim(item, " ")
	}
	return all, nil
}

// decode reads a signature: hex in either case, base64 without anything left
// over. Go's base64 skips line breaks, which no header holds.
func decode(encoding, text string) ([]byte, bool) {
	if encoding == "hex" {
		b, err := hex.DecodeString(text)
		return b, err == nil
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := base64Of(encoding, text).Strict().DecodeString(text)
	return b, err == nil
}

// base64Of is the alphabet of an encoding; base64url comes with padding or
// without.
func base64Of(encoding, text string) *base64.Encoding {
	switch {
	case encoding != "base64url":
		return base64.StdEncoding
	case strings.HasSuffix(text, "="):
		return base64.URLEncoding
	}
	return base64.RawURLEncoding
}

func encode(encoding string, b []byte) string {
	if encoding == "hex" {
		return hex.EncodeToString(b)
	}
	return base64Of(encoding, "=").EncodeToString(b)
}
