package server

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Inbox is where webhooks go. Its methods are called from many goroutines at
// once.
type Inbox interface {
	// Known reports whether anything could ever be done with a webhook to this
	// bucket. It is asked before the body is read, so it has to be quick.
	Known(bucket string) bool

	// Deliver returns without an error only after the webhook is on disk. It
	// returns soon after ctx ends; what takes longer than being stored is for
	// Answer.Later. An error that wraps ErrBusy or ErrUnavailable asks the sender
	// to try again, one that wraps a *Refused tells it not to.
	Deliver(ctx context.Context, w Webhook) (Answer, error)
}

// Reasons for which an Inbox turns a webhook away that the sender should send
// again.
var (
	ErrBusy        = errors.New("too many webhooks are waiting")
	ErrUnavailable = errors.New("webhooks can't be stored now")
)

// Reasons for which an Inbox turns a webhook away for good. A scheme that asks
// for WWW-Authenticate has a *Refused of its own.
var (
	ErrNotVerified error = &Refused{Status: http.StatusUnauthorized, Text: "not verified"}
	ErrForbidden   error = &Refused{Status: http.StatusForbidden, Text: "not allowed from this address"}
)

// Refused is the error of an Inbox that knows what its sender is to be told.
// What may be said to the operator alone goes into an error around it.
type Refused struct {
	Status int         // 400 to 599
	Text   string      // a fixed text that tells a stranger nothing new
	Header http.Header // sent beside it, such as WWW-Authenticate; nil: none
}

// Error implements error.
func (r *Refused) Error() string { return r.Text }

// Webhook is one HTTP request that the intake took whole. It belongs to the
// inbox from then on.
type Webhook struct {
	Bucket   string      // decoded: "a/b" for /hooks/a%2Fb
	Method   string      // upper case
	Path     string      // what follows the bucket, percent-encoded as it came; "/" at least
	Query    string      // raw, without "?"
	Remote   string      // the sender: host:port of the connection, or what a trusted proxy says, with or without a port
	Header   http.Header // without Host, as net/http has it
	Body     []byte      // the exact bytes; empty, not nil, where there are none
	Received time.Time   // when its last byte was read, UTC
}

// Receipt says what became of a webhook.
type Receipt struct {
	Event     string    `json:"event"`               // id under which it is kept
	Duplicate bool      `json:"duplicate,omitempty"` // what it asks for was done before, by Event
	KeptAs    string    `json:"kept_as,omitempty"`   // id under which a duplicate itself is kept, if it is
	Runs      []Started `json:"runs"`                // what it started, in order
}

// Started is a run that a webhook started, or did not start: its state says.
type Started struct {
	ID    string `json:"id"`
	Rule  string `json:"rule"`
	State string `json:"state"`        // "queued" in most cases
	By    string `json:"by,omitempty"` // id of the run that decided the state
}
