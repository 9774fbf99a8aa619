package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Frame is a frame of a relay. Which fields are set depends on Type; a type
// unknown here sets none.
type Frame struct {
	Type    string
	Status  Status
	Webhook Webhook
}

// Status is what a relay says about a connection.
type Status struct {
	Status, Message string
	Features        []string // of StatusAuthenticated: those that hold for this connection
	Gaps            []Gap    // of StatusGap
	Unknown         []string // of StatusSubscribed: buckets that were asked for in vain
}

// Gap is webhooks of one bucket that a relay took and can't send any more.
type Gap struct {
	BucketID   string `json:"bucket_id"`
	BucketName string `json:"bucket_name"`
	Count      int64  `json:"count"`
	From       int64  `json:"from"` // when the relay took the first and the last of them: unix seconds
	To         int64  `json:"to"`
	Reason     string `json:"reason"`
}

// Webhook is one webhook on its way to a client.
type Webhook struct {
	ID                            string // of the delivery; "" from relays that name none
	BucketID, BucketName          string // one of them is never ""
	InputID, InputName            string
	OutputName, OutputDestination string // "" where the bucket has no output
	Path                          string // "" from relays that don't say it
	ReceivedAt                    int64  // when the relay took it: unix milliseconds; 0: it does not say
	Sum                           string // see the function Sum; "": the relay gives none

	Method string
	Query  string              // raw, without "?"
	Header map[string][]string // names as they are on the wire
	Body   []byte              // read: never nil

	// Lossy is set by reading: Body holds U+FFFD, which may stand for bytes that
	// are no UTF-8 and that the relay could not send.
	Lossy bool
}

// Damaged reports whether w is not what its sum was made of.
func (w *Webhook) Damaged() bool { return w.Sum != "" && w.Sum != Sum(w) }

// tooLong reports whether w has more than the bounds allow.
func (w *Webhook) tooLong() bool {
	return len(w.Path) > maxPath || len(w.OutputDestination) > maxPath || headerTooLong(w.Header) ||
		anyLong(w.ID, w.BucketID, w.BucketName, w.InputID, w.InputName, w.OutputName, w.Method, w.Sum)
}

func headerTooLong(h map[string][]string) bool {
	bytes, values := 0, 0
	for name, vs := range h {
		bytes += len(name) + valueCost
		values += len(vs)
		for _, v := range vs {
			bytes += len(v) + valueCost
		}
	}
	return bytes > maxHeaderBytes || values > maxHeaderValues
}

// DecodeFrame reads a relay's frame of up to MaxFrame bytes. A type unknown here
// is no error, whatever else is in the frame: relays may learn new ones.
func DecodeFrame(data []byte) (Frame, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := unmarshal(data, &head); err != nil {
		return Frame{}, err
	}
	f := Frame{Type: head.Type}
	var err error
	switch f.Type {
	case "":
		err = errNoType
	case TypeStatus:
		f.Status, err = decodeStatus(data)
	case TypeWebhook:
		f.Webhook, err = decodeWebhook(data)
	}
	return f, err
}

// decodeStatus reads a status frame. What hookrun added is looked at only where
// it belongs, as another relay may mean something else by those names.
func decodeStatus(data []byte) (Status, error) {
	var w struct {
		Status   string          `json:"status"`
		Message  string          `json:"message"`
		Features json.RawMessage `json:"features"`
		Gaps     json.RawMessage `json:"gaps"`
		Unknown  json.RawMessage `json:"unknown"`
	}
	if err := unmarshal(data, &w); err != nil {
		return Status{}, err
	}
	s := Status{Status: w.Status, Message: w.Message}
	switch {
	case s.Status == StatusAuthenticated && w.Features != nil:
		if json.Unmarshal(w.Features, &s.Features) != nil || len(s.Features) > maxFeatures {
			s.Features = nil // another relay's word for something else
		}
	case s.Status == StatusSubscribed && w.Unknown != nil:
		if json.Unmarshal(w.Unknown, &s.Unknown) != nil || len(s.Unknown) > maxBuckets {
			s.Unknown = nil // as above
		}
	case s.Status == StatusGap && w.Gaps != nil:
		if err := unmarshal(w.Gaps, &s.Gaps); err != nil {
			return Status{}, err
		}
		if len(s.Gaps) > maxGaps || slices.ContainsFunc(s.Gaps, func(g Gap) bool { return anyLong(g.BucketID, g.BucketName, g.Reason) }) {
			return Status{}, ErrTooLong
		}
	}
	return s, nil
}

// unmarshal hides what json has to say: it quotes what it read.
func unmarshal(data []byte, v any) error {
	var syntax *json.SyntaxError
	err := json.Unmarshal(data, v)
	switch {
	case errors.As(err, &syntax):
		return errNotJSON
	case errors.Is(err, ErrTooLong):
		return ErrTooLong
	case err != nil:
		return errForm
	}
	return nil
}

// webhook is a webhook frame as it is read. Each of its maps and strings may be
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
	ReceivedAt        millis `json:"received_at"`
	Sum               string `json:"sum"`
}

// millis is a time in milliseconds. In any other form it is not said.
type millis int64

// UnmarshalJSON never fails: other relays may have a field of that name.
func (m *millis) UnmarshalJSON(data []byte) error {
	var n int64
	if json.Unmarshal(data, &n) != nil {
		n = 0
	}
	*m = millis(n)
	return nil
}

// values is a header's value on the wire: a list of strings, or one string.
type values []string

// UnmarshalJSON reads either form; null is no value.
func (v *values) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*v = make(values, 1)
		return json.Unmarshal(data, &(*v)[0])
	}
	if bytes.Count(data, []byte{','}) > maxHeaderValues && !fewValues(data) {
		return ErrTooLong
	}
	return json.Unmarshal(data, (*[]string)(v))
}

// fewValues reports whether the commas in a list of strings are mostly within
// them, without holding the strings.
func fewValues(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	for n := 0; n <= maxHeaderValues+2; n++ { // and the brackets
		if _, err := d.Token(); err != nil {
			return true
		}
	}
	return false
}

func decodeWebhook(data []byte) (Webhook, error) {
	var f webhook
	if err := unmarshal(data, &f); err != nil {
		return Webhook{}, err
	}
	w := Webhook{
		ID:                f.Meta.ID,
		BucketID:          f.Meta.BucketID,
		BucketName:        f.Meta.BucketName,
		InputID:           f.Meta.InputID,
		InputName:         f.Meta.InputName,
		OutputName:        f.Meta.OutputName,
		OutputDestination: f.Meta.OutputDestination,
		Path:              f.Meta.Path,
		ReceivedAt:        int64(f.Meta.ReceivedAt),
		Sum:               f.Meta.Sum,
		Method:            f.Method,
		Query:             f.Query,
		Header:            make(http.Header, len(f.Headers)),
		Body:              f.BodyBase64,
	}
	for name, vs := range f.Headers {
		w.Header[name] = vs
	}
	if w.BucketID == "" {
		w.BucketID = f.Meta.BuckedID
	}
	if w.BucketID == "" && w.BucketName == "" {
		return Webhook{}, errNoBucket
	}
	if w.tooLong() {
		return Webhook{}, ErrTooLong
	}
	if len(w.Body) == 0 {
		w.Body = []byte(f.Body)
		w.Lossy = strings.ContainsRune(f.Body, utf8.RuneError)
	}
	return w, nil
}
