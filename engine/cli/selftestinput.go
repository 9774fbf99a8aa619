package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"hookrun/relay"
)

// testInput is where a test webhook is sent.
type testInput struct {
	bucket string
	url    string
	auth   bucketAuth
}

// input finds the first input of the first bucket that is subscribed to.
func (t *selfTest) input(ctx context.Context) (testInput, error) {
	buckets, err := t.buckets(ctx)
	if err != nil {
		return testInput{}, err
	}
	for _, b := range buckets {
		if !subscribed(t.wanted, relay.Message{BucketID: b.ID, BucketName: b.Name}) {
			continue
		}
		if len(b.Inputs) == 0 {
			return testInput{}, withHint(fmt.Errorf("bucket %q has no input at the relay", b.Name), "give it one there")
		}
		to, err := b.Inputs[0].url(t.api)
		if err != nil {
			return testInput{}, fmt.Errorf("first input of bucket %q: %w", b.Name, err)
		}
		return testInput{b.Name, to, b.Auth}, nil
	}
	return testInput{}, withHint(errors.New("the relay has none of the buckets that are subscribed to"),
		"are they there under the names that the rules have, and may the key see them?")
}

// buckets asks the relay for its buckets.
func (t *selfTest) buckets(ctx context.Context) ([]listedBucket, error) {
	buckets, err := listBuckets(ctx, t.client, t.api, t.wanted.Key.Reveal(), t.wanted.Secret.Reveal())
	if err == nil {
		return buckets, nil
	}
	err = fmt.Errorf("list the relay's buckets: %w", err)
	if errors.Is(err, errNotListed) {
		err = withHint(err, "the key needs access to the relay's API; where the relay has none, leave out self_test")
	}
	return nil, err
}

// send sends the webhook of that name.
func (t *selfTest) send(ctx context.Context, to testInput, nonce string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, strings.NewReader(selfTestBody))
	if err != nil {
		return errors.New("send it to the relay: the input's URL is wrong") // err may hold it: who knows it can send
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(selfTestHeader, nonce)
	switch to.auth.Type {
	case "basic":
		req.SetBasicAuth(to.auth.Username, to.auth.Password)
	case "token":
		req.Header.Set("Authorization", "Bearer "+to.auth.Token)
	}
	resp, err := ask(t.client, req)
	if err != nil {
		return fmt.Errorf("send it to the relay: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
	if resp.StatusCode/100 != 2 {
		return withHint(fmt.Errorf("send it to the relay: the input of bucket %q answered %s", to.bucket, statusText(resp)),
			"senders get the same answer; the relay's log of that bucket may say why")
	}
	return nil
}
