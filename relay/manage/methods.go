package manage

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hookrun/relay/account"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

func at(parts ...string) []string { return parts }

// discard is where the answer to a deletion goes.
type discard struct{}

// Buckets lists all buckets that the token sees, with inputs and outputs.
func (c *Client) Buckets(ctx context.Context) (all []Bucket, err error) {
	err = c.ask(ctx, get, at("buckets"), nil, nil, &all)
	return all, err
}

// Bucket finds a bucket by name or id.
func (c *Client) Bucket(ctx context.Context, bucket string) (b Bucket, err error) {
	err = c.ask(ctx, get, at("buckets", bucket), nil, nil, &b)
	return b, err
}

// bucketBody is a bucket as it is sent: with all that is set, and nothing of what
// has addresses of its own.
type bucketBody struct {
	account.Bucket
	Hasty   bool      `json:"hasty"` // also where it is false
	Inputs  *struct{} `json:"inputs"`
	Outputs *struct{} `json:"outputs"`
}

func newBucketBody(b account.Bucket) bucketBody { return bucketBody{Bucket: b, Hasty: b.Hasty} }

// CreateBucket makes a bucket with one input. Name, Stream and what else can be
// set are as b says; ids, times, inputs and outputs of b are not read.
func (c *Client) CreateBucket(ctx context.Context, b account.Bucket) (made Bucket, err error) {
	err = c.ask(ctx, post, at("buckets"), nil, newBucketBody(b), &made)
	return made, err
}

// UpdateBucket sets all that can be set of a bucket, as b says, also what is zero
// there. Inputs and outputs stay.
func (c *Client) UpdateBucket(ctx context.Context, bucket string, b account.Bucket) (now Bucket, err error) {
	err = c.ask(ctx, put, at("buckets", bucket), nil, newBucketBody(b), &now)
	return now, err
}

// DeleteBucket deletes a bucket with its deliveries; one with inputs or outputs
// only by force.
func (c *Client) DeleteBucket(ctx context.Context, bucket string, force bool) error {
	params := url.Values{}
	if force {
		params.Set("force", "true")
	}
	return c.ask(ctx, del, at("buckets", bucket), params, nil, &discard{})
}

// inputBody is an input as it is sent.
type inputBody struct {
	account.Input
	Rate int `json:"rate"` // also where it is 0
}

// CreateInput makes an input. Ids and times of in are not read.
func (c *Client) CreateInput(ctx context.Context, bucket string, in account.Input) (made Input, err error) {
	err = c.ask(ctx, post, at("buckets", bucket, "inputs"), nil, inputBody{in, in.Rate}, &made)
	return made, err
}

// UpdateInput sets all that can be set of an input, as in says, also what is zero
// there.
func (c *Client) UpdateInput(ctx context.Context, bucket, input string, in account.Input) (now Input, err error) {
	err = c.ask(ctx, put, at("buckets", bucket, "inputs", input), nil, inputBody{in, in.Rate}, &now)
	return now, err
}

// DeleteInput deletes an input. Its address is gone for good.
func (c *Client) DeleteInput(ctx context.Context, bucket, input string) error {
	return c.ask(ctx, del, at("buckets", bucket, "inputs", input), nil, nil, &discard{})
}

// CreateOutput makes an output. Ids and times of out are not read; a
// TLSVerification that is false turns it off.
func (c *Client) CreateOutput(ctx context.Context, bucket string, out account.Output) (made account.Output, err error) {
	err = c.ask(ctx, post, at("buckets", bucket, "outputs"), nil, out, &made)
	return made, err
}

// UpdateOutput sets all that can be set of an output, as out says, also what is
// zero there.
func (c *Client) UpdateOutput(ctx context.Context, bucket, output string, out account.Output) (now account.Output, err error) {
	err = c.ask(ctx, put, at("buckets", bucket, "outputs", output), nil, out, &now)
	return now, err
}

// DeleteOutput deletes an output.
func (c *Client) DeleteOutput(ctx context.Context, bucket, output string) error {
	return c.ask(ctx, del, at("buckets", bucket, "outputs", output), nil, nil, &discard{})
}

// SetRules sets the rules of an output; nil is none.
func (c *Client) SetRules(ctx context.Context, bucket, output string, rules *account.Rule) (now account.Output, err error) {
	if rules == nil {
		err = c.ask(ctx, del, at("buckets", bucket, "outputs", output, "rules"), nil, nil, &now)
		return now, err
	}
	err = c.ask(ctx, put, at("buckets", bucket, "outputs", output, "rules"), nil, rules, &now)
	return now, err
}

// Tokens lists all tokens.
func (c *Client) Tokens(ctx context.Context) (all []Token, err error) {
	err = c.ask(ctx, get, at("tokens"), nil, nil, &all)
	return all, err
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (made KeySecret, err error) {
	err = c.ask(ctx, post, at("tokens"), nil, t, &made)
	return made, err
}

// UpdateToken sets description, scopes, active and API access of a token.
func (c *Client) UpdateToken(ctx context.Context, t Token) (now Token, err error) {
	err = c.ask(ctx, put, at("tokens", t.ID), nil, t, &now)
	return now, err
}

// DeleteToken deletes a token.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	return c.ask(ctx, del, at("tokens", id), nil, nil, &discard{})
}

// Logs lists deliveries, the newest first.
func (c *Client) Logs(ctx context.Context, q LogsQuery) (page Logs, err error) {
	params := url.Values{}
	set := func(name, value string) {
		if value != "" {
			params.Set(name, value)
		}
	}
	set("bucket", q.Bucket)
	set("status", q.Status)
	set("cursor", q.Cursor)
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	if !q.From.IsZero() {
		set("from", q.From.Format(time.RFC3339))
	}
	if !q.To.IsZero() {
		set("to", q.To.Format(time.RFC3339))
	}
	err = c.ask(ctx, get, at("logs"), params, nil, &page)
	return page, err
}

// Log finds a delivery.
func (c *Client) Log(ctx context.Context, id string) (l Log, err error) {
	err = c.ask(ctx, get, at("logs", id), nil, nil, &l)
	return l, err
}

// resend is what is sent to send a delivery again.
type resend struct {
	Action string `json:"action"`
	Output string `json:"output,omitempty"`
	Policy string `json:"process_policy"`
}

// Resend sends a delivery again, to the output of that name or id, or where that
// is "" to the same one. What was sent already is only sent again by force.
func (c *Client) Resend(ctx context.Context, id, output string, force bool) (r Resent, err error) {
	body := resend{"resend", output, "skip"}
	if force {
		body.Policy = "force"
	}
	err = c.ask(ctx, post, at("logs", id, "action"), nil, body, &r)
	return r, err
}

// Clients lists the clients that are connected, and those that are away.
func (c *Client) Clients(ctx context.Context) (all Clients, err error) {
	err = c.ask(ctx, get, at("connected-clients"), nil, nil, &all)
	return all, err
}

// ForgetClient forgets a client that is away, with what waits for it.
func (c *Client) ForgetClient(ctx context.Context, a Absent) error {
	params := url.Values{"access_token_key": {a.Key}, "group": {strconv.FormatBool(a.Group != "")}}
	return c.ask(ctx, del, at("connected-clients", a.Name), params, nil, &discard{})
}
