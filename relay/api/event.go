package api

import (
	"net/http"
	"time"

	"hookrun/relay/account"
)

// defaultMaxAge is how far back events are looked for.
const defaultMaxAge = 24 * time.Hour

// eventsView is what was pulled.
type eventsView struct {
	Logs    []logView `json:"logs"`
	HasMore bool      `json:"has_more"`
}

// pullEvents hands out each delivery once: a client that loses the answer does
// not get it again here, but finds it in the logs. The cursor that some clients
// send says nothing, as what was pulled is gone from the queue.
func (s *Server) pullEvents(q *request) (any, error) {
	a := s.book.Now()
	p, err := q.pull(a)
	if err != nil {
		return nil, err
	}
	if p.BucketIDs != nil && len(p.BucketIDs) == 0 {
		return eventsView{Logs: []logView{}}, nil // the token is bound to buckets that there are not
	}
	logs, more, err := s.logs.Pull(q.Context(), p)
	if err != nil {
		return nil, err
	}
	return eventsView{newLogViews(a, logs), more}, nil
}

// pull reads what is asked for.
func (q *request) pull(a *account.Account) (p account.Pull, err error) {
	in := q.URL.Query()
	if p.BucketIDs, err = q.bucketIDs(a, in.Get("bucket")); err != nil {
		return p, err
	}
	if p.OutputID, err = q.output(a, p.BucketIDs, in.Get("output")); err != nil {
		return p, err
	}
	if p.Limit, err = limitOf(in); err != nil {
		return p, err
	}
	age := defaultMaxAge
	if given := in.Get("max_age"); given != "" {
		if age, err = time.ParseDuration(given); err != nil || age <= 0 {
			return p, refuse(http.StatusBadRequest, "max_age: want a duration such as 24h or 5m")
		}
	}
	p.Since = time.Now().Add(-age)
	return p, nil
}

// output is the id of an output of one of the buckets; nil is all of them.
func (q *request) output(a *account.Account, bucketIDs []string, nameOrID string) (string, error) {
	if nameOrID == "" {
		return "", nil
	}
	for i := range a.Buckets {
		b := &a.Buckets[i]
		if !q.token.Sees(b) || len(bucketIDs) == 1 && b.ID != bucketIDs[0] {
			continue
		}
		if out := b.Output(nameOrID); out != nil {
			return out.ID, nil
		}
	}
	return "", notFound("output", nameOrID)
}
