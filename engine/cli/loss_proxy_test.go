//go:build unix

package cli

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// Bounds of a faultyLine.
const (
	lineChunk = 16 << 10 // bytes that are passed on at once
	lineAhead = 64       // chunks that were read and not passed on, each way

	// Bytes of each way that are never changed: the upgrade, the key and the
	// subscription. A line that damages the key has the client wait for a minute,
	// as after a wrong one.
	lineSpared = 1 << 10
)

// faultyLine is a TCP proxy that does to its connections what bad lines do. The
// faults are those of toxiproxy; it is a proxy of its own, as that one's leaves
// goroutines behind when a side goes away in the middle of what it was sent.
type faultyLine struct {
	ln      net.Listener
	to      string // address
	wg      sync.WaitGroup
	flipped atomic.Int64 // bytes that were changed
	cuts    atomic.Int64 // connections that a fault ended
	carried atomic.Int64 // bytes that servers said

	mu      sync.Mutex // guards all below
	rng     *rand.Rand
	fault   lineFault
	changed chan struct{} // closed when fault changes
	links   map[*lineLink]bool
	ended   bool
}

// lineFault is what is wrong with both ways of a line; nil: nothing.
type lineFault struct {
	name     string
	up, down func(w *lineWay) toxics.Toxic
	cuts     bool // connections can't go on after it
	silent   bool // nothing is passed on
}

// lineLink is a connection through the line.
type lineLink struct {
	sides [2]*net.TCPConn
	over  chan struct{} // closed by cut
	cut   func()
}

// lineWay is one of its two ways.
type lineWay struct {
	line   *faultyLine
	up     bool         // from the client to the server
	rng    *rand.Rand   // owned by the toxic at work
	passed atomic.Int64 // bytes that were read
}

// newFaultyLine starts a line to an address. It ends with the test.
func newFaultyLine(t *testing.T, to string, seed uint64) *faultyLine {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &faultyLine{ln: ln, to: to, rng: rand.New(rand.NewPCG(seed, 0)), changed: make(chan struct{}), links: make(map[*lineLink]bool)}
	l.wg.Go(l.serve)
	t.Cleanup(l.end)
	return l
}

func (l *faultyLine) address() string { return l.ln.Addr().String() }

func (l *faultyLine) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.ln.Close()
	l.cutAll()
	l.wg.Wait()
}

func (l *faultyLine) serve() {
	for {
		client, err := l.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.to)
		if err != nil {
			client.Close() // nobody is there
			continue
		}
		l.join(client.(*net.TCPConn), server.(*net.TCPConn))
	}
}

// join passes on what two sides say.
func (l *faultyLine) join(client, server *net.TCPConn) {
	link := &lineLink{sides: [2]*net.TCPConn{client, server}, over: make(chan struct{})}
	link.cut = sync.OnceFunc(func() {
		close(link.over)
		client.Close()
		server.Close()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		link.cut()
		return
	}
	l.links[link] = true
	up := &lineWay{line: l, up: true, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 0))}
	down := &lineWay{line: l, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 0))}
	l.wg.Go(func() {
		defer l.forget(link)
		var ways sync.WaitGroup
		ways.Go(func() { up.pass(link, client, server) })
		ways.Go(func() { down.pass(link, server, client) })
		ways.Wait()
	})
}

func (l *faultyLine) forget(link *lineLink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.links, link)
}

// set puts a fault in the place of the one before. Connections that can't go on
// behind that one are cut.
func (l *faultyLine) set(f lineFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
	close(l.changed)
	l.changed = make(chan struct{})
}

// cutAll ends all connections.
func (l *faultyLine) cutAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts.Add(int64(len(l.links)))
	for link := range l.links {
		link.cut()
	}
}

func (l *faultyLine) now() (lineFault, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault, l.changed
}

// pass takes what one side says to the other until the link is over.
func (w *lineWay) pass(link *lineLink, from, to *net.TCPConn) {
	defer link.cut()
	in := make(chan *stream.StreamChunk, lineAhead)
	out := make(chan *stream.StreamChunk)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(in)
		w.read(from, in)
	})
	wg.Go(func() {
		defer link.cut()
		writeTo(to, out)
	})
	stub := toxics.NewToxicStub(in, out)
	for !stub.Closed() {
		w.spoil(link, stub)
	}
	link.cut()
	for range in { // what was read and goes nowhere
	}
}

// spoil has the fault of the moment work until there is another one, or the stub
// is closed.
func (w *lineWay) spoil(link *lineLink, stub *toxics.ToxicStub) {
	fault, changed := w.line.now()
	toxic := w.toxic(fault)
	if stateful, ok := toxic.(toxics.StatefulToxic); ok {
		stub.State = stateful.NewState()
	}
	returned := make(chan struct{})
	w.line.wg.Go(func() {
		defer close(returned)
		toxic.Pipe(stub)
	})
	select {
	case <-changed:
		select {
		case stub.Interrupt <- struct{}{}:
		case <-returned:
		}
	case <-returned:
	}
	<-returned
	if cleanup, ok := toxic.(toxics.CleanupToxic); ok && !stub.Closed() {
		cleanup.Cleanup(stub)
	}
	if !stub.Closed() || fault.name == "" {
		return
	}
	select {
	case <-link.over: // by a side that went away
	default:
		w.line.cuts.Add(1)
	}
	if _, ok := toxic.(*toxics.ResetToxic); ok {
		for _, side := range link.sides {
			side.SetLinger(0)
		}
	}
}

// toxic is what is wrong with this way.
func (w *lineWay) toxic(f lineFault) toxics.Toxic {
	makes := f.down
	if w.up {
		makes = f.up
	}
	if makes == nil {
		return new(toxics.NoopToxic)
	}
	return makes(w)
}

func (w *lineWay) read(from io.Reader, in chan<- *stream.StreamChunk) {
	for {
		data := make([]byte, lineChunk)
		n, err := from.Read(data)
		if n > 0 {
			w.passed.Add(int64(n))
			if !w.up {
				w.line.carried.Add(int64(n))
			}
			in <- &stream.StreamChunk{Data: data[:n], Timestamp: time.Now()}
		}
		if err != nil {
			return
		}
	}
}

// writeTo writes until out is closed, and goes on reading it when nobody takes
// what it writes.
func writeTo(to *net.TCPConn, out <-chan *stream.StreamChunk) {
	gone := false
	for c := range out {
		if gone {
			continue
		}
		if _, err := to.Write(c.Data); err != nil {
			to.Close()
			gone = true
		}
	}
}

// flipToxic changes a byte now and then.
type flipToxic struct {
	way   *lineWay
	every int  // bytes between two, at most
	only  byte // changes bytes of this value alone, into another letter; 0: all, into anything
}

// Pipe implements toxics.Toxic.
func (f flipToxic) Pipe(stub *toxics.ToxicStub) {
	next := f.way.rng.IntN(f.every)
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			if f.way.passed.Load() > lineSpared {
				next = f.flip(c.Data, next)
			}
			stub.Output <- c
		}
	}
}

// flip changes bytes, the first of which is at next, and returns where the one
// behind them is.
func (f flipToxic) flip(data []byte, next int) int {
	for ; next < len(data); next += 1 + f.way.rng.IntN(f.every) {
		switch f.only {
		case 0:
			data[next] ^= 1 << f.way.rng.IntN(8)
		case data[next]:
			data[next] ^= 1
		default:
			continue
		}
		f.way.line.flipped.Add(1)
	}
	return next - len(data)
}
