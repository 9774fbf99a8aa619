package account

import "errors"

// ErrConnected tells that a client can't be forgotten: it is connected.
var ErrConnected = errors.New("is connected")

// Client is a subscriber: one that is connected, or one that acknowledges and is
// away.
type Client struct {
	AccessTokenKey string   // of the token that it logged in with
	Name           string   // its own, or its group's, of one that acknowledges; "": it does not
	Buckets        []string // names of those it is subscribed to, or has a position in; sorted
	IP             string   // without a port; "" of one that is away, as the next four
	Type           string   // what it says it is; "" where it does not
	Version        string
	Destination    string // where it forwards to, as it says
	SubscribedAt   Time
	Group          string           // that it shares a position with; "": none
	Acks           bool             // it acknowledges what it gets
	Waiting        map[string]int64 // deliveries that are kept for it, or its group, and not acknowledged yet; by the name of the bucket

	Away     bool // and what is kept waits for it
	LastSeen Time // of one that is away; zero: it is not known
}
