package server

import (
	"net"
	"net/netip"
	"sync"
)

// limitListener accepts a connection only while fewer than a number of its
// connections are open; the others wait in the system's backlog. A connection
// from an address that has too many is closed at once, so that it keeps nobody
// waiting.
type limitListener struct {
	net.Listener
	slots      chan struct{} // holds one value for every open connection
	closed     chan struct{} // closed by Close
	once       sync.Once
	perAddress int

	counted func(netip.Addr) bool // whether perAddress holds for this address
	refused func(netip.Prefix)    // told of a connection that was one too many

	mu   sync.Mutex // guards open
	open map[netip.Prefix]int
}

// limit bounds the connections of ln.
func (s *Server) limit(ln net.Listener) *limitListener {
	return &limitListener{
		Listener:   ln,
		slots:      make(chan struct{}, s.maxConns),
		closed:     make(chan struct{}),
		perAddress: s.perAddr,
		counted:    func(a netip.Addr) bool { return bound(s.proxies(), a) },
		refused: func(from netip.Prefix) {
			s.counts.limited.Add(1)
			s.crowds.note(s.log, "too many connections from one address", "conns "+from.String(), "address", from)
		},
		open: make(map[netip.Prefix]int),
	}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		if leave, ok := l.enter(c); ok {
			return &limitConn{Conn: c, release: sync.OnceFunc(func() {
				leave()
				<-l.slots
			})}, nil
		}
		c.Close() // nothing was written, so nothing can be lost
	}
}

// enter counts a connection for its address. ok is false where that has too
// many; else leave, called once, takes it back.
func (l *limitListener) enter(c net.Conn) (leave func(), ok bool) {
	addr, _ := hop(c.RemoteAddr().String())
	if !l.counted(addr) {
		return func() {}, true
	}
	from := network(addr)
	if !l.add(from) {
		l.refused(from)
		return nil, false
	}
	return func() { l.remove(from) }, true
}

func (l *limitListener) add(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.perAddress {
		return false
	}
	l.open[from]++
	return true
}

func (l *limitListener) remove(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[from]--
	if l.open[from] == 0 {
		delete(l.open, from)
	}
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	release func() // gives the slot back; works once
}

func (c *limitConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets net/http end an early answer properly: a sender that is still
// sending its body would otherwise see a reset in the place of "413".
func (c *limitConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
