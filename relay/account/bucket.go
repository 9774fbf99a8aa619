package account

import (
	"encoding/json"
	"net/http"
)

// DefaultInput is the name of the input that a bucket is made with. Clients find
// it by this name.
const DefaultInput = "Default public endpoint"

// AnyOutput in Input.ResponseFromOutput means that the first answer counts,
// whichever output it is from.
const AnyOutput = "anyOutput"

// Bucket groups inputs, where webhooks come in, and outputs, where they go.
type Bucket struct {
	ID            string   `json:"id"` // lower-case UUID, as all ids here
	CreatedAt     Time     `json:"created_at"`
	UpdatedAt     Time     `json:"updated_at"`
	Name          string   `json:"name"`
	Description   string   `json:"description"`
	AccountID     string   `json:"account_id"`
	Stream        bool     `json:"stream"` // webhooks go to subscribers
	Ephemeral     bool     `json:"ephemeral"`
	Suspended     bool     `json:"suspended"`
	StaticIP      bool     `json:"static_ip"`
	LargeWebhooks bool     `json:"large_webhooks"` // bodies of up to 64 MiB in place of 3 MiB
	CronID        string   `json:"cron_id"`
	Managed       bool     `json:"managed,omitempty"` // ours: the relay's file says what it is
	Heard         bool     `json:"heard,omitempty"`   // ours: somebody subscribed to it once
	Hasty         bool     `json:"hasty,omitempty"`   // ours: senders get their 2xx before the webhook is on disk
	Auth          Auth     `json:"auth"`
	Inputs        []Input  `json:"inputs"`
	Outputs       []Output `json:"outputs"`

	ServiceConnectionInputs  []struct{} `json:"service_connection_inputs"`
	ServiceConnectionOutputs []struct{} `json:"service_connection_outputs"`
}

// Kinds of Auth.
const (
	AuthNone  = "none"
	AuthBasic = "basic"
	AuthToken = "token"
)

// Auth is what senders to a bucket's inputs have to show.
type Auth struct {
	ID       string `json:"id"`
	Type     string `json:"type"` // one of the kinds above; "" is AuthNone
	Username string `json:"username"`
	Password string `json:"password"`
	Token    string `json:"token"`
}

// Input is a public end that takes webhooks.
type Input struct {
	ID                 string `json:"id"`
	CreatedAt          Time   `json:"created_at"`
	UpdatedAt          Time   `json:"updated_at"`
	Name               string `json:"name"`
	BucketID           string `json:"bucket_id"`
	Description        string `json:"description"`
	FunctionID         string `json:"function_id"`
	StatusCode         int    `json:"status_code"`          // of the static response; 0: 200
	Body               string `json:"body"`                 // of the static response
	Headers            Header `json:"headers"`              // of the static response
	ResponseFromOutput string `json:"response_from_output"` // an output's id, AnyOutput, or "": the static response
	CustomDomain       string `json:"custom_domain"`
	PathPrefix         string `json:"path_prefix"`
	StripPathPrefix    bool   `json:"strip_path_prefix"`
	LegacyTLS          bool   `json:"legacy_tls"`
	TLSVersion         string `json:"tls_version"`
	CreatedBy          string `json:"created_by"`
	Managed            bool   `json:"managed,omitempty"` // ours: as of a Bucket
	Rate               int    `json:"rate,omitempty"`    // ours: webhooks a second; 0: no bound of its own
}

// Output is where webhooks of a bucket go.
type Output struct {
	ID              string     `json:"id"`
	CreatedAt       Time       `json:"created_at"`
	UpdatedAt       Time       `json:"updated_at"`
	Name            string     `json:"name"`
	BucketID        string     `json:"bucket_id"`
	Description     string     `json:"description"`
	Destination     string     `json:"destination"`
	Internal        bool       `json:"internal"` // for subscribers; else the relay itself sends it
	Disabled        bool       `json:"disabled"`
	LockPath        bool       `json:"lock_path"` // the path of the request is not appended to Destination
	Headers         Header     `json:"headers"`   // set in place of the request's
	Rules           *Rule      `json:"rules"`     // nil: all webhooks
	FunctionID      string     `json:"function_id"`
	Retries         int        `json:"retries"` // after the first three tries; -1: no second try
	Timeout         int        `json:"timeout"` // seconds, 0 to 180; 0: the default
	TLSVerification bool       `json:"tls_verification"`
	Throttle        Throttle   `json:"throttle"`
	Durability      Durability `json:"durability"`
	ReplayMissing   Replay     `json:"replay_missing"`
	CreatedBy       string     `json:"created_by"`
	Managed         bool       `json:"managed,omitempty"` // ours: as of a Bucket
}

// Throttle is kept for clients that set it; the relay does not act on it.
type Throttle struct {
	Enabled       bool   `json:"enabled"`
	Mode          string `json:"mode,omitempty"`
	Rate          int    `json:"rate,omitempty"`
	Interval      string `json:"interval,omitempty"`
	MaxConcurrent int    `json:"max_concurrent,omitempty"`
	MaxQueueDepth int    `json:"max_queue_depth,omitempty"`
	Deadline      int    `json:"deadline,omitempty"`
}

// Durability is kept for clients that set it; the relay does not act on it.
type Durability struct {
	Enabled      bool   `json:"enabled"`
	Schedule     string `json:"schedule,omitempty"`
	CustomDelays []int  `json:"custom_delays,omitempty"`
	Deadline     int    `json:"deadline,omitempty"`
	HandoffAfter int    `json:"handoff_after,omitempty"`
}

// Replay is kept for clients that set it; the relay does not act on it.
type Replay struct {
	Enabled  bool `json:"enabled"`
	Lookback int  `json:"lookback,omitempty"`
	Limit    int  `json:"limit,omitempty"`
}

// Rule is a tree of conditions: exactly one of its fields is set. Words and
// shape are those of adnanh/webhook's trigger rules.
type Rule struct {
	And   []Rule `json:"and,omitempty"`
	Or    []Rule `json:"or,omitempty"`
	Not   *Rule  `json:"not,omitempty"`
	Match *Match `json:"match,omitempty"`
}

// Match is a leaf of a Rule.
type Match struct {
	Type      string    `json:"type"` // value, contains, does-not-contain, regex, substring, payload-hash-sha1, payload-hash-sha256, ip-range
	Parameter Parameter `json:"parameter"`
	Value     string    `json:"value,omitempty"`
	Regex     string    `json:"regex,omitempty"`
	Substring string    `json:"substring,omitempty"`
	Secret    string    `json:"secret,omitempty"`
	IPRange   string    `json:"ip-range,omitempty"`
}

// Parameter says where a Match finds its value.
type Parameter struct {
	Source string `json:"source"` // header, payload, query, body, path
	Name   string `json:"name"`   // dotted for payload
}

// Header is a set of headers. On the wire a value is a list of texts, or one
// text; null and absent are none. It is written as lists, and none as {}.
type Header http.Header

// MarshalJSON implements json.Marshaler.
func (h Header) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(http.Header(h))
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Header) UnmarshalJSON(data []byte) error {
	var wire map[string]oneOrMore
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*h = make(Header, len(wire))
	for name, values := range wire {
		name = http.CanonicalHeaderKey(name)
		if (*h)[name] == nil {
			(*h)[name] = []string{} // a list in JSON, also without a value
		}
		(*h)[name] = append((*h)[name], values...)
	}
	return nil
}

type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *oneOrMore) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*v = make(oneOrMore, 1)
		return json.Unmarshal(data, &(*v)[0])
	}
	return json.Unmarshal(data, (*[]string)(v))
}
