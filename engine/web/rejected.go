package web

import (
	"net/http"

	"hookrun/engine"
	"hookrun/engine/control"
)

// rejectedPage is what /rejected shows.
type rejectedPage struct {
	Bucket     string
	Since      string
	Times      []timeChoice
	Rejections []engine.Rejection
	Cut        bool // there may be more
}

// maxRejected bounds the rejections that the page shows.
const maxRejected = 100

func (s *Server) rejected(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p := rejectedPage{Bucket: q.Get("bucket"), Since: q.Get("since"), Times: timeChoices()}
	list, err := s.desk.Rejections(r.Context(), control.RejectionQuery{Bucket: p.Bucket, Since: since(p.Since), Limit: maxRejected})
	if err != nil {
		return err
	}
	p.Rejections, p.Cut = list.Rejections, len(list.Rejections) == maxRejected
	return s.show(w, r, http.StatusOK, "rejected", frame{Title: "Rejected webhooks", Nav: "events"}, p)
}
