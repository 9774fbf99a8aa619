package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// graph is the checker of Microsoft Graph, whose notifications carry the secret
// in their body: https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks
type graph struct{ secrets []string }

var _ checker = (*graph)(nil)

func newGraph(c Config) (checker, error) { return &graph{secrets: c.Secrets}, nil }

// check wants the secret in each notification: one body may hold some of
// several subscriptions.
func (g *graph) check(_ context.Context, r Request, _ time.Time) error {
	var body struct {
		Value []struct{ ClientState string }
	}
	if err := json.Unmarshal(r.Body, &body); err != nil || len(body.Value) == 0 {
		return fail("the body is not a list of notifications")
	}
	for i, v := range body.Value {
		switch {
		case v.ClientState == "":
			return fail("notification %d of %d has no clientState", i+1, len(body.Value))
		case !sameSecret(v.ClientState, g.secrets):
			return fail("the clientState of notification %d of %d differs", i+1, len(body.Value))
		}
	}
	return nil
}

func (g *graph) sign(Request, time.Time, string) (Signed, error) {
	return Signed{}, fmt.Errorf("%w: microsoft-graph has no signature, its secret is clientState in the body", ErrCantSign)
}

func (g *graph) diagnose(_ context.Context, r Request, _ time.Time, known []Known) string {
	var body struct {
		Value []struct{ ClientState string }
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return ""
	}
	for _, v := range body.Value {
		if !sameSecret(v.ClientState, g.secrets) {
			return tokenCause("clientState", v.ClientState, g.secrets, known)
		}
	}
	return ""
}
