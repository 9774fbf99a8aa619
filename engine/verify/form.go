package verify

import (
	"mime"
	"net/http"
	"net/url"
)

// isForm reports whether the body says that it is a form.
func isForm(h http.Header) bool {
	all := values(h, "Content-Type")
	if len(all) != 1 {
		return false
	}
	kind, _, err := mime.ParseMediaType(all[0])
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// formPayload is the payload field of a form, or of the query of a GET without
// a body. In a form it must be the only field: the signature says nothing of
// others, and a rule would read them as if it did.
func formPayload(r Request) ([]byte, bool) {
	if r.Method == http.MethodGet {
		fields, err := url.ParseQuery(r.Query)
		if err != nil || len(r.Body) > 0 || len(fields["payload"]) != 1 {
			return nil, false
		}
		return []byte(fields.Get("payload")), true
	}
	if !isForm(r.Header) {
		return nil, false
	}
	fields, err := url.ParseQuery(string(r.Body))
	if err != nil || len(fields) != 1 || len(fields["payload"]) != 1 {
		return nil, false
	}
	return []byte(fields.Get("payload")), true
}
