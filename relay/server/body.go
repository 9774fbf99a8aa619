package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

// errHeld tells that the bodies in memory reached their bound.
var errHeld = errors.New("the bodies in memory reached their bound")

// read returns the body of a request. The caller calls release, also after an
// error, when the body is no longer in use.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	m := &meter{budget: &s.held, r: http.MaxBytesReader(w, r.Body, s.maxBody)}
	if r.ContentLength > s.maxBody {
		// Said before a byte is read: a sender that waits for "100 Continue"
		// keeps its body.
		return nil, m.release, &http.MaxBytesError{Limit: s.maxBody}
	}
	body, err = io.ReadAll(m)
	return body, m.release, err
}

// unread answers for a body that did not come whole, or that is too large.
func (s *Server) unread(err error) reply {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", s.maxBody), "")
	case errors.Is(err, errHeld):
		s.refusals.note(s.log, errHeld)
		return refuse(http.StatusServiceUnavailable, ErrBusy.Error(), "send it again later").
			with("Retry-After", retryBusy)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, fmt.Sprintf("the request did not come whole within %s", readTimeout), "").
			with("Connection", "close")
	}
	return refuse(http.StatusBadRequest, "the body did not come whole", "").with("Connection", "close")
}

// budget is a number of bytes that many share.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

// meter takes what it reads from a budget, as it comes: a sender that only
// promises a large body takes nothing from the others.
type meter struct {
	budget *budget
	r      io.Reader
	taken  int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if !m.budget.take(int64(n)) {
		return 0, errHeld
	}
	m.taken += int64(n)
	return n, err
}

func (m *meter) release() { m.budget.used.Add(-m.taken) }
