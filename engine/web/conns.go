package web

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Bounds of connections; further ones are closed.
const (
	maxConns = 128 // at one time

	// maxConnsOf are those of one address, where a token is asked for: who has none
	// could else keep all others out. A proxy on this machine has as many as there are.
	maxConnsOf = 32
)

// conns are the connections of a Server.
type conns struct {
	each int // of one address; 0: as many as there are
	log  *slog.Logger
	open sync.WaitGroup

	mu      sync.Mutex     // guards what follows
	n       int            // that are open, with those that are being refused
	of      map[string]int // by address, but for those of this machine
	refused int
}

func newConns(token bool, log *slog.Logger) *conns {
	c := &conns{log: log, of: map[string]int{}}
	if token {
		c.each = maxConnsOf
	}
	return c
}

// change is http.Server's ConnState. net/http itself does not wait for the
// goroutines that Close cut off.
func (c *conns) change(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
		if !c.enter(conn.RemoteAddr().String()) {
			conn.Close() // its goroutine finds out
		}
	case http.StateClosed, http.StateHijacked:
		c.leave(conn.RemoteAddr().String())
		c.open.Done()
	}
}

// enter counts one, and reports whether it may stay.
func (c *conns) enter(remote string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	who, counted := c.counted(remote)
	if counted {
		c.of[who]++
	}
	if c.n <= maxConns && (!counted || c.of[who] <= c.each) {
		return true
	}
	if c.refused++; c.refused == 1 {
		c.log.Warn("too many connections to the dashboard at once: further ones are closed", "remote", remote, "open", c.n-1)
	}
	return false
}

func (c *conns) leave(remote string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	who, counted := c.counted(remote)
	if !counted {
		return
	}
	if c.of[who]--; c.of[who] == 0 {
		delete(c.of, who)
	}
}

// counted is the address that a connection is counted for.
func (c *conns) counted(remote string) (who string, ok bool) {
	if c.each == 0 {
		return "", false
	}
	from, err := netip.ParseAddrPort(remote)
	return addressOf(remote), err != nil || !from.Addr().Unmap().IsLoopback()
}

// wait waits until all are closed, and tells of those that were refused.
func (c *conns) wait() {
	c.open.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused > 0 {
		c.log.Warn("too many connections to the dashboard at once", "refused", c.refused, "most", maxConns)
	}
}
