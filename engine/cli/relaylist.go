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
)

// What is read of a relay's list of buckets. Any relay of this protocol may be
// asked, so no more of it than is needed has to have a certain form.

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

// errNotListed tells that the relay did not give a list.
var errNotListed = errors.New("the relay answered")

// listBuckets asks a relay for its buckets. The client follows no redirects: key
// and secret go nowhere but where they were told to. Errors say no more of the
// answer than the status, and wrap errNotListed where there was one.
func listBuckets(ctx context.Context, client *http.Client, api *url.URL, key, secret string) ([]listedBucket, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.String()+"/v1/buckets", nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(key, secret)
	resp, err := ask(client, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
		return nil, fmt.Errorf("%w %s", errNotListed, statusText(resp))
	}
	var buckets []listedBucket
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBucketList)).Decode(&buckets); err != nil {
		return nil, errors.New("the answer is no list of buckets") // err may quote it
	}
	return buckets, nil
}

// ask sends a request. Its errors are without the URL, which is a secret where it
// is an input's.
func ask(client *http.Client, req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", userAgent())
	resp, err := client.Do(req)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return resp, err
}

func statusText(resp *http.Response) string {
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode)))
}
