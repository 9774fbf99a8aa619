package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxReplyBytes is how much of the relay's reply is read, so that its connection
// can be used again.
const maxReplyBytes = 64 << 10

// answer is an answer on the wire. Clients send its fields in this order.
type answer struct {
	ID      string      `json:"id"`
	Status  int         `json:"status_code"`
	Body    []byte      `json:"response_body"`
	Header  http.Header `json:"response_headers"`
	Outcome string      `json:"status,omitempty"`
	Retries int         `json:"retries"`
}

func (r Response) wire() answer {
	a := answer{r.ID, r.Status, r.Body, http.Header{}, r.Outcome, r.Retries}
	if a.Body == nil {
		a.Body = []byte{} // "" and not null
	}
	switch {
	case a.Status == 0 && a.Outcome == OutcomeFailed:
		a.Status = http.StatusInternalServerError
	case a.Status == 0:
		a.Status = http.StatusOK
	}
	for name, values := range r.Header {
		if !hasBreak(name) && !slices.ContainsFunc(values, hasBreak) {
			a.Header[name] = values
		}
	}
	return a
}

// hasBreak reports whether text would end a line of a header: the relay may
// write it into one as it is.
func hasBreak(text string) bool { return strings.ContainsAny(text, "\r\n\x00") }

// put makes one try. again reports whether another one may help. Its errors hold
// nothing of what the relay said but the status.
func (a *Answers) put(ctx context.Context, id string, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, a.logURL(id), bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("answer to relay %s: %w", a.base.Host, err)
	}
	req.SetBasicAuth(a.opts.Key, a.opts.Secret)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", a.opts.UserAgent)
	resp, err := a.client.Do(req)
	if err != nil {
		return true, fmt.Errorf("answer to relay: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReplyBytes)
	if resp.StatusCode == http.StatusOK {
		return false, nil
	}
	again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
	return again, &statusError{resp.StatusCode}
}

func (a *Answers) logURL(id string) string { return a.base.String() + url.PathEscape(id) }

// statusError is a status with which the relay did not take an answer.
type statusError struct{ status int }

// Error implements error.
func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the relay answered %d %s", e.status, http.StatusText(e.status)))
}
