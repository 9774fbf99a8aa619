package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// errHeld tells that the bodies in memory reached their bound.
var errHeld = errors.New("the bodies in memory reached their bound")

// errSlow tells that a body came, but too slowly.
var errSlow = fmt.Errorf("the body came too slowly: less than %d bytes a second after %s", leastRate, bodyGrace)

// read returns the body of a request. The caller calls release, also after an
// error, when the body is no longer in use.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	conn := http.NewResponseController(w)
	p := &pace{conn: conn, r: http.MaxBytesReader(w, r.Body, s.maxBody), begin: time.Now()}
	m := &meter{budget: &s.held, r: p}
	if r.ContentLength > s.maxBody {
		// Said before a byte is read: a sender that waits for "100 Continue"
		// keeps its body.
		return nil, m.release, &http.MaxBytesError{Limit: s.maxBody}
	}
	if body, err = io.ReadAll(m); err != nil {
		return nil, m.release, err
	}
	// What is read from now on is only whether the sender hangs up.
	_ = conn.SetReadDeadline(time.Time{})
	return body, m.release, nil
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
	case errors.Is(err, errSlow):
		return refuse(http.StatusRequestTimeout, errSlow.Error(), "").with("Connection", "close")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, fmt.Sprintf("the body did not come whole within %s", readTimeout), "").
			with("Connection", "close")
	}
	return refuse(http.StatusBadRequest, "the body did not come whole", "").with("Connection", "close")
}

// pace reads a body that has to come at a least rate, so that senders that drip
// can't hold connections for long.
type pace struct {
	conn  *http.ResponseController
	r     io.Reader
	begin time.Time
	got   int64
}

func (p *pace) Read(b []byte) (int, error) {
	// A connection without deadlines is one of a caller that brings its own.
	_ = p.conn.SetReadDeadline(p.due())
	n, err := p.r.Read(b)
	p.got += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(p.begin) < readTimeout {
		err = errSlow
	}
	return n, err
}

// due is when the next byte has to be here.
func (p *pace) due() time.Time {
	atRate := bodyGrace + time.Duration(p.got)*time.Second/leastRate
	return p.begin.Add(min(atRate, readTimeout))
}

// budget is a number of bytes, or of other things, that many share.
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

func (b *budget) give(n int64) { b.used.Add(-n) }

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

func (m *meter) release() { m.budget.give(m.taken) }
