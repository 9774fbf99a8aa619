package relay

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hookrun/relay/wire"
)

// Message is one webhook as a relay delivers it. It belongs to whom it is
// handed to.
type Message struct {
	ID string // the delivery's own name (meta.id); "" from relays that send none

	// Received is when the relay took it, UTC, from relays that keep webhooks and
	// say so; else it is Read. A signature that has a time in it is judged by this
	// one, as the message may have waited for days: one trusts such a relay not to
	// date old webhooks anew.
	Received time.Time
	Read     time.Time // when it was read here, UTC: Handle may be asked about it long after

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

// Gap is webhooks of one bucket that the relay took and lost before it could
// send them: they were too old, or too many.
type Gap struct {
	BucketID, BucketName string
	Count                int64     // of webhooks
	From, To             time.Time // when the relay took the first and the last of them
	Reason               string
}

// valueCost is what a string costs beside its bytes.
const valueCost = 16

// size is the number of bytes that m holds in memory, near enough for bounds.
func (m *Message) size() int {
	n := len(m.Body) + len(m.Query) + headerSize(m.Header)
	for _, s := range []string{m.ID, m.BucketID, m.BucketName, m.InputID, m.InputName, m.OutputName, m.OutputDestination, m.Path, m.Method} {
		n += len(s) + valueCost
	}
	return n
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

// message is a webhook as it is handed over, without its times.
func message(w *wire.Webhook) Message {
	return Message{
		ID:                w.ID,
		BucketID:          w.BucketID,
		BucketName:        w.BucketName,
		InputID:           w.InputID,
		InputName:         w.InputName,
		OutputName:        w.OutputName,
		OutputDestination: w.OutputDestination,
		Path:              path(w),
		Method:            strings.ToUpper(w.Method),
		Query:             w.Query,
		Header:            header(w.Header),
		Body:              w.Body,
		Lossy:             w.Lossy,
	}
}

// path is the path that the webhook was sent to. Relays that don't say it
// append it to the destination of an output, or put it in its place.
func path(w *wire.Webhook) string {
	p := w.Path
	if p == "" {
		if u, err := url.Parse(w.OutputDestination); err == nil {
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
func header(wire map[string][]string) http.Header {
	h := make(http.Header, len(wire))
	for _, name := range slices.Sorted(maps.Keys(wire)) {
		for _, v := range wire[name] {
			h.Add(name, v)
		}
	}
	return h
}

func gap(g wire.Gap) Gap {
	return Gap{
		BucketID: g.BucketID, BucketName: g.BucketName, Count: g.Count, Reason: g.Reason,
		From: time.Unix(g.From, 0).UTC(), To: time.Unix(g.To, 0).UTC(),
	}
}
