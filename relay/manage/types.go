package manage

import (
	"net/http"
	"time"

	"hookrun/relay/account"
)

// Input is an input of a relay.
type Input struct {
	account.Input
	URL string `json:"url"` // where webhooks are sent to; "" where the relay does not say
}

// Bucket is a bucket of a relay.
type Bucket struct {
	account.Bucket
	Inputs []Input `json:"inputs"`
}

// Token is a token of a relay, without its secret.
type Token struct {
	ID          string         `json:"id"` // also the key
	Description string         `json:"description"`
	Scopes      account.Scopes `json:"scopes"`
	Active      bool           `json:"active"`
	APIAccess   string         `json:"api_access"`
	LastLogin   string         `json:"last_login"` // RFC 3339; "": never
	CreatedAt   account.Time   `json:"created_at"`
	UpdatedAt   account.Time   `json:"updated_at"`
}

// NewToken is what a token is made with.
type NewToken struct {
	Description string         `json:"description"`
	Scopes      account.Scopes `json:"scopes"`
	APIAccess   string         `json:"api_access,omitempty"` // "": account.APIEnabled
}

// KeySecret gives access. The secret is shown once.
type KeySecret struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

// Log is a delivery.
type Log struct {
	ID           string         `json:"id"`
	CreatedAt    account.Time   `json:"created_at"`
	UpdatedAt    account.Time   `json:"updated_at"`
	BucketID     string         `json:"bucket_id"`
	InputID      string         `json:"input_id"`
	OutputID     string         `json:"output_id"`
	Method       string         `json:"method"`
	Headers      account.Header `json:"headers"`
	Query        string         `json:"raw_query"`
	Path         string         `json:"extra_path"`
	Body         string         `json:"body"`
	BodyBase64   []byte         `json:"body_base64"` // not nil: the body, which is not UTF-8
	IP           string         `json:"ip_address"`
	Status       string         `json:"status"` // one of the words of account.Log.Status
	StatusCode   int            `json:"status_code"`
	Answer       []byte         `json:"response_body"`
	AnswerHeader account.Header `json:"response_headers"`
	Retries      int            `json:"retries"`
	DurationMS   int64          `json:"duration_ms"`
	Internal     bool           `json:"internal"`
	Resent       string         `json:"resent_from"`
	Next         *account.Time  `json:"next_attempt_at"` // nil: it is not tried again
	Error        string         `json:"error"`           // why the destination of a public output gave no answer
}

// RawBody is the body as it came.
func (l *Log) RawBody() []byte {
	if l.BodyBase64 != nil {
		return l.BodyBase64
	}
	return []byte(l.Body)
}

// Header is the header of the webhook.
func (l *Log) Header() http.Header { return http.Header(l.Headers) }

// Logs is a page of deliveries, the newest first.
type Logs struct {
	Data       []Log  `json:"data"`
	Total      int64  `json:"total"`
	NextCursor string `json:"next_cursor"` // "" on the last page
	Truncated  bool   `json:"truncated"`   // there are more than Total
}

// LogsQuery asks for deliveries. Zero fields don't narrow it.
type LogsQuery struct {
	Bucket   string // name or id
	Status   string
	From, To time.Time
	Limit    int // 0: 20; at most 100
	Cursor   string
}

// Resent is what came of sending a delivery again.
type Resent struct {
	ID     string `json:"id"` // of the new delivery, or the old one where it was not sent again
	Status string `json:"status"`
}

// Subscriber is a client that is connected.
type Subscriber struct {
	Key          string       `json:"access_token_key"`
	Buckets      []string     `json:"buckets"`
	IP           string       `json:"client_ip"`
	Type         string       `json:"client_type"`
	Version      string       `json:"client_version"`
	Destination  string       `json:"destination"`
	SubscribedAt account.Time `json:"subscribed_at"`
	Name         string       `json:"name"`  // of one that acknowledges
	Group        string       `json:"group"` // "": it is in none
	Acks         bool         `json:"acks"`
	Waiting      int64        `json:"waiting"` // that are kept for it, or its group, and not acknowledged
}

// Absent is a client that acknowledges, or a group of such, that is away.
type Absent struct {
	Key      string        `json:"access_token_key"`
	Name     string        `json:"name"`
	Group    string        `json:"group"` // "": it is no group
	Buckets  []string      `json:"buckets"`
	LastSeen *account.Time `json:"last_seen"` // nil: it is not known
	Waiting  int64         `json:"waiting"`
}

// Clients are the clients of a relay.
type Clients struct {
	Connected []Subscriber `json:"webhook_clients"`
	Absent    []Absent     `json:"absent_clients"` // none where the relay does not tell of them
}
