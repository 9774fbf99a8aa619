package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// twilioPayloads are the URL and, behind it, each field of a form with its
// value, in order of the names. Of another body the URL carries the hash.
func twilioPayloads(r Request) ([][]byte, *Failure) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, fail("the URL that the sender called can't be read")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fail("the query of the URL can't be read")
	}
	fields := ""
	switch hashes := query["bodySHA256"]; {
	case len(hashes) > 0:
		sum := sha256.Sum256(r.Body)
		want, err := hex.DecodeString(hashes[0])
		if err != nil || len(hashes) > 1 || subtle.ConstantTimeCompare(sum[:], want) == 0 {
			return nil, fail("the body is not the one that bodySHA256 in the URL names")
		}
	case isForm(r.Header):
		form, err := url.ParseQuery(string(r.Body))
		if err != nil {
			return nil, fail("the form can't be read")
		}
		fields = joinFields(form)
	case len(r.Body) > 0:
		return nil, fail("nothing signs the body: it is no form, and the URL has no bodySHA256")
	}
	var all [][]byte
	for _, spelling := range spellings(r.URL, u) {
		all = append(all, []byte(spelling+fields))
	}
	return all, nil
}

// joinFields is how Twilio's libraries write a form: of values of one name,
// each once, sorted.
func joinFields(form url.Values) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range slices.Compact(slices.Sorted(slices.Values(form[name]))) {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	return b.String()
}

// spellings are the URL as it is, and with the port left out or added: Twilio
// writes it now this way and now that, and its own libraries try both.
func spellings(text string, u *url.URL) []string {
	all := []string{text}
	switch {
	case strings.Contains(u.Host, "["): // an IPv6 address, which Twilio does not call
	case u.Port() != "":
		all = append(all, strings.Replace(text, u.Host, u.Hostname(), 1))
	case u.Scheme == "https":
		all = append(all, strings.Replace(text, u.Host, u.Host+":443", 1))
	case u.Scheme == "http":
		all = append(all, strings.Replace(text, u.Host, u.Host+":80", 1))
	}
	return all
}
