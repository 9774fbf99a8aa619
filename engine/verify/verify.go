package verify

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// DefaultTolerance is how old, or ahead, a signed timestamp may be, where
// neither the configuration nor the scheme says otherwise.
const DefaultTolerance = 5 * time.Minute

// Config says how the sender of a bucket is known.
type Config struct {
	Scheme  string   // one of Schemes
	Secrets []string // each of them valid, none empty; of basic "user:password", of ed25519 the public keys

	Header, Query string // where the signature or token stands, where a scheme leaves it open

	// These are of hmac; timestamp_header also of grafana.
	Algorithm       string // sha256 where empty
	Encoding        string // hex where empty
	Prefix          string
	Payload         string // what is signed, over {{raw}} {{timestamp}} {{id}} {{url}}; {{raw}} where empty
	TimestampHeader string
	IDHeader        string

	Tolerance           time.Duration // 0 is the scheme's own
	PublicURL           string        // for callers that build Request.URL: the URL that the sender was given
	VerifyToken         string        // meta: what hub.verify_token must be; where empty, a secret
	JWT                 JWT
	ConfirmSubscription bool // sns: answer a signed SubscriptionConfirmation

	// Fetch gets the keys of JWT.JWKSURL and the certificate of sns, and is
	// required by those alone. It bounds time and size itself.
	Fetch func(ctx context.Context, url string) ([]byte, error)
}

// JWT is what a token must be, of the scheme jwt. Issuer is also the topic of
// sns.
type JWT struct {
	Key              string // a public key or certificate in PEM, or the shared secret of HS256 and its kin
	JWKSURL          string // instead of Key
	Audience, Issuer string
	Algorithms       []string // those that are accepted; where empty, all that fit the key
}

// Request is what arrived.
type Request struct {
	Method string
	URL    string // whole, with the query, as the sender called it; "" where that is not known
	Query  string // as it came, encoded
	Header http.Header
	Body   []byte // exactly as it came
}

// Failure says why a request was not verified. It names neither a secret nor
// what would have been right.
type Failure struct{ Reason string }

func (f *Failure) Error() string { return f.Reason }

// ConfigError says which key of a configuration is wrong.
type ConfigError struct {
	Key  string // as the file spells it
	Msg  string
	Hint string // how to mend it, or ""
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Msg }

// Known is another secret that hookrun has, for the doctor to try.
type Known struct {
	Name   string // "the secret before the last edit"
	Secret string
}

// Signed is what a sender adds to a request.
type Signed struct {
	Header http.Header
	Query  url.Values
}

// A checker is one way to know a sender.
type checker interface {
	check(ctx context.Context, r Request, now time.Time) error
	sign(r Request, now time.Time, id string) (Signed, error)
	// diagnose returns the likely cause of a failure, or "".
	diagnose(ctx context.Context, r Request, now time.Time, known []Known) string
}

// Verifier checks requests by one configuration. It is safe for concurrent use.
type Verifier struct {
	config  Config
	checker checker
}

// New makes a verifier. Its error is a *ConfigError wherever the file can be
// mended.
func New(c Config) (*Verifier, error) {
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	how, err := newChecker(c)
	if err != nil {
		return nil, err
	}
	return &Verifier{config: c, checker: how}, nil
}

// Scheme returns the name of the scheme.
func (v *Verifier) Scheme() string { return v.config.Scheme }

// NeedsURL reports whether the URL is signed that the sender was given: without
// Request.URL no request passes.
func (v *Verifier) NeedsURL() bool {
	s, ok := v.checker.(*signature)
	return ok && s.template.has("url")
}

// Check returns nil where the request comes from a holder of a secret, and a
// *Failure where that is not shown.
func (v *Verifier) Check(ctx context.Context, r Request, now time.Time) error {
	return v.checker.check(ctx, r, now)
}

// Sign returns what a sender adds to a request for Check to take it; id is the
// delivery's, for schemes that sign one.
func (v *Verifier) Sign(r Request, now time.Time, id string) (Signed, error) {
	return v.checker.sign(r, now, id)
}

// Diagnose returns the likely cause of a failed Check in words for the operator,
// or "". Each cause it names was tried and found to hold.
func (v *Verifier) Diagnose(ctx context.Context, r Request, now time.Time, known []Known) string {
	if len(r.Body) > maxDoctorBody {
		return ""
	}
	return v.checker.diagnose(ctx, r, now, known)
}
