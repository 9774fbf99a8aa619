package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"hookrun/engine"
	"hookrun/relay"
	"hookrun/relay/server"
)

// inbox hands the intake's webhooks to the engine.
type inbox struct {
	engine  *engine.Engine
	answers answers
}

var _ server.Inbox = inbox{}

// Known implements server.Inbox.
func (i inbox) Known(bucket string) bool { return i.engine.Rules().Known(bucket) }

// Deliver implements server.Inbox.
func (i inbox) Deliver(ctx context.Context, w server.Webhook) (server.Answer, error) {
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
		return server.Answer{}, fmt.Errorf("%w: %w", server.ErrBusy, err)
	case errors.Is(err, engine.ErrUnavailable):
		return server.Answer{}, fmt.Errorf("%w: %w", server.ErrUnavailable, err)
	case errors.Is(err, engine.ErrNotVerified):
		return server.Answer{}, notVerified(i.engine.Rules(), w.Bucket)
	case errors.Is(err, engine.ErrNotAllowed):
		return server.Answer{}, server.ErrForbidden
	case err != nil:
		return server.Answer{}, err
	}
	return i.answer(ctx, receipt), nil
}

// answer is what the sender gets, now or when the run has ended.
func (i inbox) answer(ctx context.Context, receipt engine.Receipt) server.Answer {
	a := server.Answer{Receipt: told(receipt)}
	if receipt.Waits() {
		a.Later = func(ctx context.Context) *server.Custom { return i.answers.custom(ctx, receipt) }
		return a
	}
	a.Custom = i.answers.custom(ctx, receipt)
	return a
}

// told is what a receipt tells the sender.
func told(receipt engine.Receipt) server.Receipt {
	r := server.Receipt{Event: receipt.Event, Duplicate: receipt.Duplicate, KeptAs: receipt.KeptAs, Runs: []server.Started{}}
	for _, run := range receipt.Runs {
		r.Runs = append(r.Runs, server.Started{ID: run.ID, Rule: run.Rule, State: string(run.State), By: run.By})
	}
	return r
}

// notVerified tells a sender how to say who it is, where HTTP has a word for it
// (RFC 9110, 11.6.1).
func notVerified(rules *engine.RuleSet, bucket string) error {
	b := rules.Buckets[bucket]
	if b == nil {
		return server.ErrNotVerified
	}
	asks, ok := b.Verify.(interface{ Authenticate() string })
	if !ok || asks.Authenticate() == "" {
		return server.ErrNotVerified
	}
	return &server.Refused{
		Status: http.StatusUnauthorized, Text: server.ErrNotVerified.Error(), Header: http.Header{"Www-Authenticate": {asks.Authenticate()}},
	}
}

// event is the event that a relay's message is. url names the relay.
func event(url string, m relay.Message) *engine.Event {
	bucket := m.BucketName
	if bucket == "" {
		bucket = m.BucketID
	}
	return &engine.Event{
		Received: m.Received,
		Source:   engine.SourceRelay,
		Delivery: delivery(url, m),
		Bucket:   bucket,
		BucketID: m.BucketID,
		Input:    m.InputName,
		Method:   m.Method,
		Path:     m.Path,
		Query:    m.Query,
		Header:   m.Header,
		Body:     m.Body,
		Lossy:    m.Lossy,
		Meta: map[string]string{
			"id":                 m.ID,
			"input_id":           m.InputID,
			"output_name":        m.OutputName,
			"output_destination": m.OutputDestination,
		},
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
