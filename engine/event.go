package engine

import (
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Sources of an event.
const (
	SourceRelay  = "relay"  // a frame of a relay connection
	SourceIntake = "intake" // an HTTP request to this machine
)

// Event is one HTTP request that reached us, from any source. It never
// changes once it is accepted: header and body are kept as they came.
type Event struct {
	ID       string    // UUIDv7 (RFC 9562), sorts by time
	Received time.Time // when it reached us, UTC
	Source   string    // SourceRelay or SourceIntake; of a replay, that of the first

	// Delivery is the source's own name of this delivery (a relay's meta.id),
	// or "". A source that sends one delivery twice starts nothing twice.
	Delivery string

	// ReplayOf is the id of the event that a person had run again as this one, or
	// "". Edited says that its body was changed for that.
	ReplayOf string
	Edited   bool

	Remote   string // host:port of the sender, or "" where a relay hides it
	Bucket   string // name of the bucket
	BucketID string // a relay's id of the bucket, or ""
	Input    string // a relay's name of the input, or ""

	Method string // upper case
	Path   string // path below the input, "/" at least
	Query  string // raw, without "?"
	Header http.Header
	Body   []byte            // the exact bytes
	Lossy  bool              // the relay may have replaced bytes of the body that are no UTF-8; known until the event is kept
	Meta   map[string]string // what else the source said of it
}

// valueCost is what a string costs beside its bytes.
const valueCost = 16

// Size is the number of bytes that the event holds in memory, near enough for
// bounds.
func (e *Event) Size() int {
	n := len(e.Body) + 12*valueCost
	for _, s := range []string{e.Delivery, e.Remote, e.Bucket, e.BucketID, e.Input, e.Method, e.Path, e.Query} {
		n += len(s)
	}
	for k, vs := range e.Header {
		n += len(k) + valueCost
		for _, v := range vs {
			n += len(v) + valueCost
		}
	}
	for k, v := range e.Meta {
		n += len(k) + len(v) + 2*valueCost
	}
	return n
}

// NewID returns a UUIDv7: ids made later in one process sort later.
func NewID() string {
	return uuid.Must(uuid.NewV7()).String()
}
