package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// errSlow tells that a body came, but too slowly.
var errSlow = fmt.Errorf("the body came too slowly: less than %d bytes in %s", paceBytes, paceTime)

// read returns the body of a request. The caller calls release, also after an
// error, when the body is no longer in use.
func (s *Server) read(q request) (body []byte, release func(), err error) {
	conn := http.NewResponseController(q.w)
	p := newPace(conn, http.MaxBytesReader(q.w, q.r.Body, q.most))
	m := &meter{all: &s.held, shares: &s.shares, from: q.from, r: p}
	if q.r.ContentLength > q.most {
		// Said before a byte is read: a sender that waits for "100 Continue"
		// keeps its body.
		return nil, m.release, &http.MaxBytesError{Limit: q.most}
	}
	if body, err = io.ReadAll(m); err != nil {
		return nil, m.release, err
	}
	// What is read from now on is only whether the sender hangs up.
	_ = conn.SetReadDeadline(time.Time{})
	return body, m.release, nil
}

// unread answers for a body that did not come whole, or that is too large.
func (s *Server) unread(q request, err error) reply {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", q.most), "")
	case errors.Is(err, errShare):
		s.crowds.note(s.log, errShare.Error(), "bodies "+q.from.String(), "address", q.from)
		return refuse(http.StatusServiceUnavailable, errShare.Error(), "send it again later").
			with("Retry-After", retryBusy)
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
// can't hold connections, and what they sent, for long. The rate is that of the
// last seconds: what came in a burst buys no time.
type pace struct {
	conn *http.ResponseController
	r    io.Reader
	end  time.Time // when the body has to be whole
	due  time.Time // when lack more bytes have to be here
	lack int
}

func newPace(conn *http.ResponseController, r io.Reader) *pace {
	now := time.Now()
	return &pace{conn: conn, r: r, end: now.Add(readTimeout), due: now.Add(paceTime), lack: paceBytes}
}

func (p *pace) Read(b []byte) (int, error) {
	deadline := p.end
	if p.due.Before(p.end) {
		deadline = p.due
	}
	// A connection without deadlines is one of a caller that brings its own.
	_ = p.conn.SetReadDeadline(deadline)
	n, err := p.r.Read(b)
	if p.lack -= n; p.lack <= 0 {
		p.due, p.lack = time.Now().Add(paceTime), paceBytes
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(p.end) {
		err = errSlow
	}
	return n, err
}
