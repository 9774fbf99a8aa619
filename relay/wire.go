package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is one webhook as a relay delivers it. It belongs to whom it is
// handed to.
type Message struct {
	ID       string    // the delivery's own name (meta.id); "" from relays that send none
	Received time.Time // when it was read, UTC: Handle may be asked about it long after

	BucketID, BucketName          string      // one of them is never ""
	InputID, InputName            string      // the public end that took the webhook
	OutputName, OutputDestination string      // "" where the bucket has no output
	Path                          string      // percent-encoded as it came, "/" at least
	Method                        string      // upper case; "" if the relay named none
	Query                         string      // raw, without "?"
	Header                        http.Header // names in canonical case; never nil
	Body                          []byte      // never nil

	// Lossy reports that Body may not be what was sent: it holds U+FFFD, which a
	// relay that can only send text puts in the place of bytes that are no UTF-8.
	// A sender may have sent that character itself, so a signature that fits is
	// still proof; one that does not fit proves nothing.
	Lossy bool
}

// What a webhook may have beside its body and query. One that has more is not
// understood: no sender's request gets there, and memory is bounded by it.
const (
	maxName         = 1 << 10  // bytes of an id, a name or the method
	maxPath         = 64 << 10 // bytes of a path or destination
	maxHeaderBytes  = 1 << 20  // names and values
	maxHeaderValues = 10_000
)

// valueCost is what a string costs beside its bytes.
const valueCost = 16

// size is the number of bytes that m holds in memory, near enough for bounds.
func (m *Message) size() int {
	n := len(m.Body) + len(m.Query) + len(m.OutputDestination) + len(m.Path) + headerSize(m.Header)
	for _, s := range m.names() {
		n += len(s) + valueCost
	}
	return n
}

func (m *Message) names() []string {
	return []string{m.ID, m.BucketID, m.BucketName, m.InputID, m.InputName, m.OutputName, m.Method}
}

func headerSize(h http.Header) int {
	n := 0
	for name, values := range h {
		n += len(name) + valueCost
		for _, v := range values {
			n += len(v) + valueCost
		}
	}
	return n
}

// tooLong reports whether m has more than the bounds above allow.
func (m *Message) tooLong() bool {
	return len(m.Path) > maxPath || len(m.OutputDestination) > maxPath || headerSize(m.Header) > maxHeaderBytes ||
		slices.ContainsFunc(m.names(), func(s string) bool { return len(s) > maxName })
}

// Types of a relay's frames and the words of a status frame.
const (
	typeStatus  = "status"
	typeWebhook = "webhook"

	statusAuthenticated = "authenticated"
	statusUnauthorized  = "unauthorized"
	statusForbidden     = "forbidden"
	statusSubscribed    = "subscribed"
	statusPing          = "ping"
)

// request is a frame of ours.
type request struct {
	Action  string   `json:"action"`
	Key     string   `json:"key,omitempty"`
	Secret  string   `json:"secret,omitempty"`
	Buckets []string `json:"buckets,omitempty"`
}

// frame is a frame of the relay. Which fields are set depends on Type; a type
// unknown here sets none.
type frame struct {
	Type            string
	Status, Message string  // of a status frame
	Webhook         Message // of a webhook frame
}

// What a frame can be that is not understood. The texts are for the log, and
// hold nothing of the frame.
var (
	errNotText  = errors.New("not text")
	errNotJSON  = errors.New("not JSON")
	errForm     = errors.New("a value of another form")
	errNoType   = errors.New("no type")
	errNoBucket = errors.New("no bucket")
	errTooLong  = errors.New("a name, path or header too long")
	errTooEarly = errors.New("webhook before authenticated")
)

// decode reads a relay's frame. A type unknown here is no error, whatever else
// is in the frame: relays may learn new ones. Its errors are those above.
func decode(data []byte) (frame, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := unmarshal(data, &head); err != nil {
		return frame{}, err
	}
	f := frame{Type: head.Type}
	var err error
	switch f.Type {
	case "":
		err = errNoType
	case typeStatus:
		f.Status, f.Message, err = decodeStatus(data)
	case typeWebhook:
		f.Webhook, err = decodeWebhook(data)
	}
	return f, err
}

func decodeStatus(data []byte) (status, message string, err error) {
	var w struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	err = unmarshal(data, &w)
	return w.Status, w.Message, err
}

// unmarshal hides what json has to say: it quotes what it read.
func unmarshal(data []byte, v any) error {
	var syntax *json.SyntaxError
	err := json.Unmarshal(data, v)
	switch {
	case errors.As(err, &syntax):
		return errNotJSON
	case errors.Is(err, errTooLong):
		return errTooLong
	case err != nil:
		return errForm
	}
	return nil
}

// webhook is a webhook frame on the wire. Each of its maps and strings may be
// null or absent.
type webhook struct {
	Meta       meta              `json:"meta"`
	Headers    map[string]values `json:"headers"`
	Query      string            `json:"query"`
	Method     string            `json:"method"`
	Body       string            `json:"body"`
	BodyBase64 []byte            `json:"body_base64"` // the exact bytes, where Body can't be them
}

type meta struct {
	ID                string `json:"id"`
	BuckedID          string `json:"bucked_id"`
	BucketID          string `json:"bucket_id"`
	BucketName        string `json:"bucket_name"`
	InputID           string `json:"input_id"`
	InputName         string `json:"input_name"`
	OutputName        string `json:"output_name"`
	OutputDestination string `json:"output_destination"`
	Path              string `json:"path"`
}

// values is a header's value on the wire: a list of strings, or one string.
type values []string

// UnmarshalJSON reads either form; null is no value.
func (v *values) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*v = make(values, 1)
		return json.Unmarshal(data, &(*v)[0])
	}
	if bytes.Count(data, []byte{','}) > maxHeaderValues {
		return errTooLong
	}
	return json.Unmarshal(data, (*[]string)(v))
}

func decodeWebhook(data []byte) (Message, error) {
	var w webhook
	if err := unmarshal(data, &w); err != nil {
		return Message{}, err
	}
	m := Message{
		ID:                w.Meta.ID,
		BucketID:          w.Meta.BucketID,
		BucketName:        w.Meta.BucketName,
		InputID:           w.Meta.InputID,
		InputName:         w.Meta.InputName,
		OutputName:        w.Meta.OutputName,
		OutputDestination: w.Meta.OutputDestination,
		Path:              w.Meta.path(),
		Method:            strings.ToUpper(w.Method),
		Query:             w.Query,
		Header:            header(w.Headers),
		Body:              w.BodyBase64,
	}
	if m.BucketID == "" {
		m.BucketID = w.Meta.BuckedID
	}
	if m.BucketID == "" && m.BucketName == "" {
		return Message{}, errNoBucket
	}
	if m.tooLong() {
		return Message{}, errTooLong
	}
	if len(m.Body) == 0 {
		m.Body = []byte(w.Body)
		m.Lossy = strings.ContainsRune(w.Body, utf8.RuneError)
	}
	return m, nil
}

// path is the path that the webhook was sent to. Relays that don't say it
// append it to the destination of an output, or put it in its place.
func (m meta) path() string {
	p := m.Path
	if p == "" {
		if u, err := url.Parse(m.OutputDestination); err == nil {
			p = u.EscapedPath()
		}
	}
	if !strings.HasPrefix(p, "/") {
		return "/" + p
	}
	return p
}

// header brings names to canonical case. Names that differ in case alone are
// one header; their values follow each other in the order of the names.
func header(wire map[string]values) http.Header {
	h := make(http.Header, len(wire))
	for _, name := range slices.Sorted(maps.Keys(wire)) {
		for _, v := range wire[name] {
			h.Add(name, v)
		}
	}
	return h
}

// encode writes a frame of ours.
func encode(r request) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode %s frame: %w", r.Action, err)
	}
	return data, nil
}
