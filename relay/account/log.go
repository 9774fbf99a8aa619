package account

import (
	"net/http"
	"time"
)

// Words of Log.Status.
const (
	StatusPreparing = "preparing" // the relay itself is to send it, or is trying
	StatusReceived  = "received"  // kept for subscribers
	StatusSent      = "sent"      // a destination took it
	StatusFailed    = "failed"    // a destination refused it, or could not be reached
	StatusStalled   = "stalled"   // nobody was there to take it
	StatusRejected  = "rejected"
)

// Log is one delivery of one webhook: to the subscribers of a bucket, or to a
// public output. A webhook to several outputs has one for each.
type Log struct {
	Seq       int64  // order of arrival, over all buckets; given by the store
	ID        string // of the delivery: meta.id
	WebhookID string // of the request; what its deliveries have in common

	BucketID, InputID, OutputID string // OutputID is "" where the bucket has no output
	Internal                    bool   // for subscribers
	Received                    time.Time
	Updated                     time.Time

	Method string // upper case
	Path   string // what follows the input, percent-encoded as it came, "/" at least
	Query  string // raw, without "?"
	Header http.Header
	Body   []byte
	Size   int    // bytes of Body, as the store tells, also where Body was left out
	IP     string // of the sender, without a port
	Resent string // id of the delivery that a person had sent again; "" for others

	Status string // one of the words above

	// What the destination answered; zero while it has not.
	StatusCode int
	Answer     []byte // up to 3 MiB; of a public output, where StatusCode is 0: a line that says why there was no answer
	AnswerHead http.Header
	Retries    int
	Duration   time.Duration
	Next       time.Time // of a public output: when it is tried next; zero: never again
}

// Update is what becomes of a delivery.
type Update struct {
	Status     string
	StatusCode int
	Answer     []byte
	AnswerHead http.Header
	Retries    int
	Duration   time.Duration
	Next       time.Time
}

// Consumer is a client, or group of clients, that acknowledges what it gets. It
// has a position in each bucket.
type Consumer struct {
	Name     string // client id, or group
	Group    bool
	BucketID string
	Acked    int64     // everything up to this Seq is acknowledged, or was never for it
	Above    []int64   // acknowledged although something before is not; ascending
	Seen     time.Time // when it was connected last
}

// Gap is what a consumer was to get and can't: retention came first.
type Gap struct {
	Consumer string
	BucketID string
	Count    int64
	From, To time.Time // when the oldest and the newest of them were received
	Reason   string    // "age" or "size"
}
