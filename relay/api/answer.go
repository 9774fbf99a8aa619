package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"hookrun/relay/account"
)

// Bounds on an answer to a webhook.
const (
	maxAnswer     = 3 << 20  // bytes of its body
	maxAnswerHead = 64 << 10 // bytes of names and values
	maxRetries    = 1 << 20
	maxDuration   = 24 * time.Hour
)

// answerBody is what a client says about a delivery.
type answerBody struct {
	ID         string         `json:"id"`
	StatusCode int            `json:"status_code"`
	Body       encoded        `json:"response_body"`
	Headers    account.Header `json:"response_headers"`
	Status     status         `json:"status"`
	Retries    int            `json:"retries"`
	DurationMS int64          `json:"duration_ms"`
}

// answered is what came of it.
type answered struct {
	ID         string `json:"id"`
	Status     string `json:"status"`
	StatusCode int    `json:"status_code"`
}

func (s *Server) answerWebhook(q *request) (any, error) {
	var body answerBody
	release, err := s.decode(q, maxPut, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	id := q.args[0]
	u, err := body.update(id)
	if err != nil {
		return nil, err
	}
	l, err := s.seen(q, id)
	switch {
	case err != nil:
		return nil, err
	case !l.Internal && l.Status == account.StatusPreparing: // an answer would end the tries
		return nil, refuse(http.StatusBadRequest, "the relay is sending it, and notes the answer itself")
	}
	if err := s.hub.Answer(q.Context(), l, u); err != nil {
		return nil, err
	}
	return answered{id, u.Status, u.StatusCode}, nil
}

// update is what the body says. Clients leave out what is as usual: the status
// follows from the code, and without either the delivery went well.
func (body *answerBody) update(id string) (account.Update, error) {
	u := account.Update{
		Status:     string(body.Status),
		StatusCode: body.StatusCode,
		Answer:     body.Body,
		AnswerHead: clean(body.Headers),
		Retries:    min(max(body.Retries, 0), maxRetries),
		Duration:   min(time.Duration(max(body.DurationMS, 0)), maxDuration/time.Millisecond) * time.Millisecond,
	}
	switch {
	case body.ID != "" && body.ID != id:
		return u, refuse(http.StatusBadRequest, "id: is not that of the address")
	case u.StatusCode != 0 && (u.StatusCode < 200 || u.StatusCode > 599):
		return u, refuse(http.StatusBadRequest, "status_code: want 200 to 599")
	case u.Status != "" && !slices.Contains(statuses(), u.Status):
		return u, refuse(http.StatusBadRequest, "status: want %s", listed(statuses()))
	case len(u.Answer) > maxAnswer:
		return u, refuse(http.StatusRequestEntityTooLarge, "response_body: is larger than %d bytes", maxAnswer)
	case size(u.AnswerHead) > maxAnswerHead:
		return u, refuse(http.StatusRequestEntityTooLarge, "response_headers: are larger than %d bytes", maxAnswerHead)
	}
	if u.StatusCode == 0 && u.Status == "" {
		u.StatusCode = http.StatusOK
	}
	if u.Status == "" {
		u.Status = account.StatusFailed
		if u.StatusCode < 300 {
			u.Status = account.StatusSent
		}
	}
	return u, nil
}

// clean leaves out what can't be a line of a header: the rest of an answer is
// better than none.
func clean(h account.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if name != "" && !strings.ContainsAny(name, " \t\r\n\x00:") && !slices.ContainsFunc(values, hasBreak) {
			kept[name] = values
		}
	}
	return kept
}

func hasBreak(text string) bool { return strings.ContainsAny(text, "\r\n\x00") }

func size(h http.Header) int {
	n := 0
	for name, values := range h {
		n += len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}
