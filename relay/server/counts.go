package server

import (
	"log/slog"
	"net/http"
	"sync/atomic"
)

// counts says what a server answered since it was made.
type counts struct {
	accepted   atomic.Int64 // 202
	tooLarge   atomic.Int64 // 413 and 431
	unknown    atomic.Int64 // 404
	refused    atomic.Int64 // 401 and 403
	limited    atomic.Int64 // 429, and connections closed: too many of one address
	incomplete atomic.Int64 // 400 and 408: the request did not come whole
	turnedAway atomic.Int64 // 503
	failed     atomic.Int64 // 500
	notAwaited atomic.Int64 // of accepted, those that got the receipt for want of a place to wait
}

func (c *counts) add(status int) {
	switch status {
	case http.StatusAccepted:
		c.accepted.Add(1)
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		c.tooLarge.Add(1)
	case http.StatusUnauthorized, http.StatusForbidden:
		c.refused.Add(1)
	case http.StatusTooManyRequests:
		c.limited.Add(1)
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

// log tells what the bounds cost.
func (c *counts) log(log *slog.Logger) {
	log.Info("intake closed", "accepted", c.accepted.Load(), "too_large", c.tooLarge.Load(), "unknown", c.unknown.Load(),
		"refused", c.refused.Load(), "limited", c.limited.Load(), "not_awaited", c.notAwaited.Load(), "incomplete", c.incomplete.Load(), "turned_away", c.turnedAway.Load(), "failed", c.failed.Load())
}

// TurnedAway is how many requests got no 2xx since the server was made, by why.
func (s *Server) TurnedAway() map[string]int64 {
	c := &s.counts
	return map[string]int64{
		"too_large": c.tooLarge.Load(), "unknown": c.unknown.Load(), "refused": c.refused.Load(), "limited": c.limited.Load(),
		"incomplete": c.incomplete.Load(), "busy": c.turnedAway.Load(), "failed": c.failed.Load(),
	}
}
