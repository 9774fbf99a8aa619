package control

import (
	"context"
	"errors"
	"testing"

	"hookrun/engine"
)

// TestExplainEndsWithWhoAsks: half an answer is none.
func TestExplainEndsWithWhoAsks(t *testing.T) {
	gone := errors.New("the client is gone")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(gone)
	rules := rulesOf(t, "deploy", `body.ref == "refs/heads/main"`)
	r, err := rehearse(ctx, rules, &engine.Event{Bucket: "deploys", Method: "POST"}, engine.RehearseOptions{Trees: true, Plans: true})
	if r != nil || !errors.Is(err, gone) {
		t.Errorf("rehearse = %+v, %v, want %v", r, err, gone)
	}
}
