package api

import (
	"net/http"
	"slices"
	"time"

	"hookrun/relay/account"

	"github.com/google/uuid"
)

// inputBody is what can be set of an input. What is absent is cleared, but for
// the name, and the rate, which is this relay's own.
type inputBody struct {
	Name               *string        `json:"name"`
	Description        string         `json:"description"`
	FunctionID         string         `json:"function_id"`
	StatusCode         int            `json:"status_code"`
	Body               text           `json:"body"`
	Headers            account.Header `json:"headers"`
	ResponseFromOutput string         `json:"response_from_output"`
	CustomDomain       string         `json:"custom_domain"`
	PathPrefix         string         `json:"path_prefix"`
	StripPathPrefix    bool           `json:"strip_path_prefix"`
	LegacyTLS          bool           `json:"legacy_tls"`
	TLSVersion         string         `json:"tls_version"`
	Rate               *int           `json:"rate"`
}

func (body *inputBody) apply(in *account.Input) {
	*in = account.Input{
		ID:                 in.ID,
		CreatedAt:          in.CreatedAt,
		UpdatedAt:          account.At(time.Now()),
		Name:               or(body.Name, in.Name),
		BucketID:           in.BucketID,
		Description:        body.Description,
		FunctionID:         body.FunctionID,
		StatusCode:         body.StatusCode,
		Body:               string(body.Body),
		Headers:            body.Headers,
		ResponseFromOutput: body.ResponseFromOutput,
		CustomDomain:       body.CustomDomain,
		PathPrefix:         body.PathPrefix,
		StripPathPrefix:    body.StripPathPrefix,
		LegacyTLS:          body.LegacyTLS,
		TLSVersion:         body.TLSVersion,
		CreatedBy:          in.CreatedBy,
		Rate:               or(body.Rate, in.Rate),
	}
}

// inputView is an input as it is shown.
type inputView struct {
	account.Input
	URL string `json:"url,omitempty"` // ours: where webhooks are sent to
}

func (s *Server) inputView(q *request, in *account.Input) inputView {
	return inputView{*in, s.url(q.Request, in)}
}

func (s *Server) createInput(q *request) (any, error) {
	var body inputBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		in := account.Input{ID: uuid.NewString(), BucketID: b.ID, CreatedBy: q.token.ID}
		body.apply(&in)
		if err := q.mayMove(&account.Input{}, &in); err != nil {
			return nil, err
		}
		in.CreatedAt = in.UpdatedAt
		b.Inputs = append(b.Inputs, in)
		return s.inputView(q, &in), nil
	})
}

func (s *Server) updateInput(q *request) (any, error) {
	var body inputBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		in := b.Input(q.args[1])
		if in == nil {
			return nil, notFound("input", q.args[1])
		}
		was := *in
		body.apply(in)
		if err := q.mayMove(&was, in); err != nil {
			return nil, err
		}
		return s.inputView(q, in), nil
	})
}

// mayMove refuses a token that is bound to some buckets to have an input at
// another place than it is: what comes to a host name may be meant for another
// bucket, or for this API.
func (q *request) mayMove(was, now *account.Input) error {
	if !isScoped(q.token) || was.CustomDomain == now.CustomDomain && was.PathPrefix == now.PathPrefix {
		return nil
	}
	return refuse(http.StatusForbidden, "this token is bound to some buckets, and may not set or change custom_domain and path_prefix: "+
		"send them as they are (%q and %q)", was.CustomDomain, was.PathPrefix)
}

func (s *Server) deleteInput(q *request) (any, error) {
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		in := b.Input(q.args[1])
		if in == nil {
			return nil, notFound("input", q.args[1])
		}
		id := in.ID
		b.Inputs = slices.DeleteFunc(b.Inputs, func(in account.Input) bool { return in.ID == id })
		return gone(id), nil
	})
}
