package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"hookrun/relay"
)

// testInput is where a test webhook is sent.
type testInput struct {
	bucket string
	url    string
	auth   bucketAuth
}

// bucketAuth is what senders have to show, as the relay's list of buckets says.
type bucketAuth struct {
	Type     string `json:"type"`
	Username string `json:"username"`
	Password string `json:"password"`
	Token    string `json:"token"`
}

// listedBucket is a bucket in that list, as far as it matters here.
type listedBucket struct {
	ID     string        `json:"id"`
	Name   string        `json:"name"`
	Auth   bucketAuth    `json:"auth"`
	Inputs []listedInput `json:"inputs"`
}

type listedInput struct {
	ID           string `json:"id"`
	CustomDomain string `json:"custom_domain"`
	PathPrefix   string `json:"path_prefix"`
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.api.String()+"/v1/buckets", nil)
	if err != nil {
		return nil, fmt.Errorf("list the relay's buckets: %w", err)
	}
	req.SetBasicAuth(t.wanted.Key.Reveal(), t.wanted.Secret.Reveal())
	resp, err := t.do(req)
	if err != nil {
		return nil, fmt.Errorf("list the relay's buckets: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
		return nil, withHint(fmt.Errorf("list the relay's buckets: the relay answered %s", statusText(resp)),
			"the key needs access to the relay's API; where the relay has none, leave out self_test")
	}
	var buckets []listedBucket
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBucketList)).Decode(&buckets); err != nil {
		return nil, errors.New("list the relay's buckets: the answer is no list of buckets") // err may quote it
	}
	return buckets, nil
}

// url is where the input takes webhooks.
func (i listedInput) url(api *url.URL) (string, error) {
	if i.CustomDomain == "" {
		return api.String() + "/v1/webhooks/" + url.PathEscape(i.ID), nil
	}
	u, err := url.Parse("https://" + i.CustomDomain + i.PathPrefix)
	if err != nil || u.Host != i.CustomDomain || u.User != nil || i.PathPrefix != "" && !strings.HasPrefix(i.PathPrefix, "/") {
		return "", errors.New("its custom domain and path make no URL")
	}
	return u.String(), nil
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
	resp, err := t.do(req)
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

// do sends a request. Its errors are without the URL, which is a secret where it
// is an input's.
func (t *selfTest) do(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", userAgent())
	resp, err := t.client.Do(req)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return resp, err
}

func statusText(resp *http.Response) string {
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode)))
}
