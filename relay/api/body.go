package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"hookrun/relay/account"
)

// Bounds on the body of a request.
const (
	maxBody = 1 << 20
	maxPut  = 5 << 20 // of an answer to a webhook: 3 MiB are 4 in base64, and there are headers

	// maxLarge is how many bodies of more than smallBody are in memory at once, and
	// maxTokenLarge how many of them one token has: they may come slowly, and others
	// are not to wait for that.
	maxLarge      = 16
	maxTokenLarge = 4
	smallBody     = 64 << 10
	largeWait     = 5 * time.Second // for a place among them
)

// decode reads the body of q, JSON of at most max bytes, into what v points to.
// Fields that v does not have are left out: clients send more than is known here.
// release gives back the memory, and is to be called when v is not needed more.
func (s *Server) decode(q *request, max int64, v any) (release func(), err error) {
	release, err = s.reserve(q)
	if err != nil {
		return release, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(q.w, q.Body, max))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", max)
	case err != nil:
		err = refuse(http.StatusBadRequest, "the body did not come whole")
	case len(bytes.TrimSpace(data)) == 0:
		err = refuse(http.StatusBadRequest, "the body is empty: want JSON")
	default:
		err = misfit(json.Unmarshal(data, v))
	}
	return release, err
}

// reserve waits for a place where the body may be a large one.
func (s *Server) reserve(q *request) (release func(), err error) {
	if 0 <= q.ContentLength && q.ContentLength <= smallBody {
		return func() {}, nil
	}
	wait, cancel := context.WithTimeout(q.Context(), largeWait)
	defer cancel()
	own := s.usage.large(q.token.ID)
	if take(wait, own) {
		if take(wait, s.large) {
			return func() { <-s.large; <-own }, nil
		}
		<-own
	}
	return func() {}, refuse(http.StatusServiceUnavailable, "too many large requests at once, send it again later").
		with("Retry-After", retryBusy)
}

// take waits for a place until ctx ends, and reports whether it got one.
func take(ctx context.Context, places chan<- struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// misfit says what is wrong with a body, for whoever sent it.
func misfit(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind) && kind.Field == "":
		return refuse(http.StatusBadRequest, "the body: want %s, got %s", word(kind.Type), kind.Value)
	case errors.As(err, &kind):
		return refuse(http.StatusBadRequest, "%s: want %s, got %s", kind.Field, word(kind.Type), kind.Value)
	}
	return refuse(http.StatusBadRequest, "the body is no JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// word is what JSON has for a type.
func word(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		if t == reflect.TypeFor[encoded]() {
			return "a string in base64"
		}
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "an integer"
}

// wrong is an error of an UnmarshalJSON, to which encoding/json adds the field.
func wrong(data []byte, want reflect.Type) error {
	return &json.UnmarshalTypeError{Value: found(data), Type: want}
}

// found is a word for JSON that does not fit.
func found(data []byte) string {
	switch {
	case len(data) == 0:
		return "nothing"
	case data[0] == '"':
		return "string"
	case data[0] == '{':
		return "object"
	case data[0] == '[':
		return "array"
	case data[0] == 't', data[0] == 'f':
		return "bool"
	}
	return "number"
}

// encoded is bytes: base64 in a string, or a list of numbers.
type encoded []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *encoded) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, (*[]byte)(b)); err != nil {
		return wrong(data, reflect.TypeFor[encoded]())
	}
	return nil
}

// text is a string, or a list of its bytes as numbers.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var b []byte
		if err := json.Unmarshal(data, &b); err != nil {
			return wrong(data, reflect.TypeFor[string]())
		}
		*t = text(b)
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// choice is one of some words, or its place among them: newer clients send
// numbers.
func choice(data []byte, words []string) (string, error) {
	var word string
	if err := json.Unmarshal(data, &word); err == nil {
		return word, nil
	}
	if n, err := strconv.Atoi(string(data)); err == nil && 0 <= n && n < len(words) {
		return words[n], nil
	}
	return "", wrong(data, reflect.TypeFor[string]())
}

// authType is account.Auth.Type on the wire.
type authType string

// UnmarshalJSON implements json.Unmarshaler.
func (t *authType) UnmarshalJSON(data []byte) error {
	word, err := choice(data, []string{account.AuthNone, account.AuthBasic, account.AuthToken})
	*t = authType(word)
	return err
}

// status is account.Log.Status on the wire.
type status string

// UnmarshalJSON implements json.Unmarshaler.
func (t *status) UnmarshalJSON(data []byte) error {
	word, err := choice(data, statuses())
	*t = status(word)
	return err
}

// statuses in the order in which clients number them.
func statuses() []string {
	return []string{account.StatusPreparing, account.StatusSent, account.StatusFailed,
		account.StatusStalled, account.StatusReceived, account.StatusRejected}
}

// listed says which words there are.
func listed(words []string) string {
	last := len(words) - 1
	return fmt.Sprintf("%s or %s", strings.Join(words[:last], ", "), words[last])
}
