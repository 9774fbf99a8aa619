// Package wire is the frames that a relay and its clients say to each other:
// one JSON object per text frame, read and written here in both directions.
//
// A client says Requests:
//
//	{"action":"auth","key":"K","secret":"S","client":"ID","group":"G","features":["ack","resume"]}
//	{"action":"subscribe","buckets":["name-or-id"]}        no buckets: all of them
//	{"action":"ack","ids":["…"]}                           these are safe, and need not be sent again
//	{"action":"pong","held":3}                             three were read and are not acked yet
//
// and a relay says Statuses and Webhooks:
//
//	{"type":"status","status":"authenticated","message":"…","features":["ack"]}
//	{"type":"status","status":"subscribed","message":"…","unknown":["misspelt"]}
//	{"type":"status","status":"gap","message":"…","gaps":[{"bucket_id":"…","bucket_name":"…","count":1,"from":1,"to":2,"reason":"…"}]}
//	{"type":"webhook","meta":{"id":"…",…,"received_at":1700000000000,"sum":"e3069283"},
//	    "headers":{"A":["b"]},"query":"","body":"…","method":"POST","body_base64":"…"}
//
// What stands here beside action, key, secret and buckets, and beside type,
// status and message, are hookrun's own additions: they are left out where they
// are empty, and a side that does not know them passes over them.
//
// Reading is lenient with what is not known, strict with what is, and bounded.
// No error holds anything of a frame: that may be a secret, or half a webhook.
// The package knows no connection, and no order in which frames may come.
package wire

import "errors"

// Bounds of frames, in bytes.
const (
	// MaxRequest bounds a frame of a client.
	MaxRequest = 64 << 10

	// MaxFrame bounds a frame of a relay. A body of 3 MiB can take six times as
	// much as a JSON string; one of 64 MiB, which a relay may be told to take, has
	// room where it is text. Many clients take no more than this either.
	MaxFrame = 100 << 20
)

// Bounds within frames. Beside its body and query a webhook has little: no
// sender's request gets there, and memory is bounded by it.
const (
	maxName         = 1 << 10   // bytes of an id, a name, the method, a key or a secret
	maxPath         = 128 << 10 // bytes of a path or destination
	maxHeaderBytes  = 1 << 20   // names and values, with valueCost for each
	maxHeaderValues = 10_000
	valueCost       = 16

	// MaxAcks bounds the ids of one ack.
	MaxAcks = 128

	maxBuckets  = 4096
	maxFeatures = 64
	maxGaps     = 4096
)

// Actions of a Request.
const (
	ActionAuth      = "auth"
	ActionSubscribe = "subscribe"
	ActionPong      = "pong"
	ActionAck       = "ack"
)

// Types of a relay's frames.
const (
	TypeStatus  = "status"
	TypeWebhook = "webhook"
)

// Words of a Status.
const (
	StatusAuthenticated = "authenticated"
	StatusUnauthorized  = "unauthorized"
	StatusForbidden     = "forbidden"
	StatusSubscribed    = "subscribed"
	StatusPing          = "ping"
	StatusGap           = "gap"
)

// Features that a client asks for and a relay confirms.
const (
	FeatureAck    = "ack"    // webhooks are sent until they are acked
	FeatureResume = "resume" // and kept for the client while it is away
)

// ErrTooLong is of a frame that has more than the bounds allow. Sending it again
// can't help.
var ErrTooLong = errors.New("a name, path or header too long")

// What else a frame can be that is not understood.
var (
	errNotJSON  = errors.New("not JSON")
	errForm     = errors.New("a value of another form")
	errNoType   = errors.New("no type")
	errNoAction = errors.New("no action")
	errNoBucket = errors.New("no bucket")
)
