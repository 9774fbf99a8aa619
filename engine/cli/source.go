package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"hookrun/engine"
	"hookrun/relay"
	"hookrun/relay/server"
)

// inbox hands the intake's webhooks to the engine.
type inbox struct{ engine *engine.Engine }

var _ server.Inbox = inbox{}

// Known implements server.Inbox.
func (i inbox) Known(bucket string) bool { return i.engine.Rules().Known(bucket) }

// Deliver implements server.Inbox.
func (i inbox) Deliver(ctx context.Context, w server.Webhook) (server.Receipt, error) {
	receipt, err := i.engine.Submit(ctx, &engine.Event{
		Received: w.Received,
		Source:   engine.SourceIntake,
		Remote:   w.Remote,
		Bucket:   w.Bucket,
		Method:   w.Method,
		Path:     w.Path,
		Query:    w.Query,
		Header:   w.Header,
		Body:     w.Body,
	})
	switch {
	case errors.Is(err, engine.ErrBusy):
		return server.Receipt{}, fmt.Errorf("%w: %w", server.ErrBusy, err)
	case errors.Is(err, engine.ErrUnavailable):
		return server.Receipt{}, fmt.Errorf("%w: %w", server.ErrUnavailable, err)
	case err != nil:
		return server.Receipt{}, err
	}
	answer := server.Receipt{Event: receipt.Event, Duplicate: receipt.Duplicate, KeptAs: receipt.KeptAs, Runs: []server.Started{}}
	for _, r := range receipt.Runs {
		answer.Runs = append(answer.Runs, server.Started{ID: r.ID, Rule: r.Rule, State: string(r.State), By: r.By})
	}
	return answer, nil
}

// fromRelay hands the messages of the relay at a URL to the engine.
func fromRelay(e *engine.Engine, relayURL string) func(context.Context, relay.Message) error {
	return func(ctx context.Context, m relay.Message) error {
		bucket := m.BucketName
		if bucket == "" {
			bucket = m.BucketID
		}
		_, err := e.Submit(ctx, &engine.Event{
			Source:   engine.SourceRelay,
			Delivery: delivery(relayURL, m),
			Bucket:   bucket,
			BucketID: m.BucketID,
			Input:    m.InputName,
			Method:   m.Method,
			Path:     m.Path,
			Query:    m.Query,
			Header:   m.Header,
			Body:     m.Body,
			Meta: map[string]string{
				"id":                 m.ID,
				"input_id":           m.InputID,
				"output_name":        m.OutputName,
				"output_destination": m.OutputDestination,
			},
		})
		return err
	}
}

// delivery names a message so that a relay that sends it once more is noticed.
// Its own id is not enough: another relay may use it too, and one that counts
// from 1 uses it again. What is taken for the same must be the same.
func delivery(relayURL string, m relay.Message) string {
	if m.ID == "" {
		return ""
	}
	h := sha256.New()
	for _, part := range []string{relayURL, m.BucketID, m.BucketName, m.ID, m.Method, m.Query, string(m.Body)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
