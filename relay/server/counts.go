package server

import (
	"net/http"
	"sync/atomic"
)

// Counts says what a server answered since it was made.
type Counts struct {
	Accepted   int64 // 202
	TooLarge   int64 // 413 and 431
	Unknown    int64 // 404
	Incomplete int64 // 400 and 408: the request did not come whole
	TurnedAway int64 // 503
	Failed     int64 // 500
}

// Counts returns what the server answered so far.
func (s *Server) Counts() Counts {
	c := &s.counts
	return Counts{
		Accepted:   c.accepted.Load(),
		TooLarge:   c.tooLarge.Load(),
		Unknown:    c.unknown.Load(),
		Incomplete: c.incomplete.Load(),
		TurnedAway: c.turnedAway.Load(),
		Failed:     c.failed.Load(),
	}
}

type counts struct {
	accepted, tooLarge, unknown, incomplete, turnedAway, failed atomic.Int64
}

func (c *counts) add(status int) {
	switch status {
	case http.StatusAccepted:
		c.accepted.Add(1)
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		c.tooLarge.Add(1)
	case http.StatusNotFound:
		c.unknown.Add(1)
	case http.StatusBadRequest, http.StatusRequestTimeout:
		c.incomplete.Add(1)
	case http.StatusServiceUnavailable:
		c.turnedAway.Add(1)
	case http.StatusInternalServerError:
		c.failed.Add(1)
	}
}
