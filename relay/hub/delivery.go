package hub

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"hookrun/relay/account"
	"hookrun/relay/wire"
)

// delivery is a log on its way to subscribers, who share it.
type delivery struct {
	log  *account.Log
	hook wire.Webhook // without its sum

	// The frame, and the frame compressed; each made when it is asked for first.
	encoded func() ([]byte, error)
	packed  func() (*websocket.PreparedMessage, error)

	// unsendable: its frame can't be made, or nobody could read it. Set once that
	// was looked at.
	unsendable atomic.Bool

	bytes int // that it takes in memory, about
	holds int // connections in whose queue it is; guarded by heap.mu

	published bool // is on disk, and log.Seq is set; guarded by Hub.mu
	taken     bool // somebody was there to get it; guarded by Hub.mu
}

// delivery returns a log as subscribers get it, with the names that hold now.
func newDelivery(l *account.Log, a *account.Account) *delivery {
	d := &delivery{log: l, hook: wire.Webhook{
		ID: l.ID, BucketID: l.BucketID, InputID: l.InputID,
		Path: l.Path, ReceivedAt: l.Received.UnixMilli(),
		Method: l.Method, Query: l.Query, Header: l.Header, Body: l.Body,
		OutputDestination: destination(nil, l.Path),
	}}
	if b := a.Bucket(l.BucketID); b != nil {
		d.hook.BucketName = b.Name
		if in := b.Input(l.InputID); in != nil {
			d.hook.InputName = in.Name
		}
		if out := b.Output(l.OutputID); out != nil && l.OutputID != "" {
			d.hook.OutputName = out.Name
			d.hook.OutputDestination = destination(out, l.Path)
			d.hook.Header = overridden(l.Header, out.Headers)
		}
	}
	d.bytes = cost(l)
	d.encoded = sync.OnceValues(d.encode)
	d.packed = sync.OnceValues(d.pack)
	return d
}

func (d *delivery) encode() ([]byte, error) {
	d.hook.Sum = wire.Sum(&d.hook)
	frame, err := wire.EncodeWebhook(&d.hook)
	if err != nil {
		return nil, fmt.Errorf("encode delivery %s: %w", d.log.ID, err)
	}
	return frame, nil
}

func (d *delivery) pack() (*websocket.PreparedMessage, error) {
	frame, err := d.encoded()
	if err != nil {
		return nil, err
	}
	return websocket.NewPreparedMessage(websocket.TextMessage, frame)
}

// held reports whether a delivery waits for somebody who gets it and may answer
// its sender; Hub.mu is held.
func (d *delivery) held() bool { return d.log.Internal && d.published && !d.taken }

const perDelivery = 2 << 10 // names, and all that holds them

// cost is what a delivery takes in memory, about: the log and its frame, in which
// a byte of the body can take six.
func cost(l *account.Log) int {
	n := perDelivery + len(l.Query) + 2*len(l.Path)
	for name, values := range l.Header {
		n += len(name)
		for _, v := range values {
			n += 2 * len(v)
		}
	}
	return n + len(l.Body) + framed(l.Body)
}

// framed is what a body takes in its frame.
func framed(body []byte) int {
	const control, quoted, replaced = 6, 2, 3
	n := len(body)
	for _, b := range body {
		switch {
		case b < ' ':
			n += control - 1
		case b == '"' || b == '\\':
			n += quoted - 1
		}
	}
	if !utf8.Valid(body) {
		n += (replaced-1)*len(body) + base64.StdEncoding.EncodedLen(len(body))
	}
	return n
}

// destination is where a client is to forward a webhook to: clients send it there
// as it is. Without an output it says the path.
func destination(out *account.Output, path string) string {
	if path == "/" {
		path = ""
	}
	if out == nil {
		return path
	}
	if out.LockPath {
		return out.Destination
	}
	end := len(out.Destination)
	if i := strings.IndexAny(out.Destination, "?#"); i >= 0 {
		end = i // the path belongs before these
	}
	return strings.TrimSuffix(out.Destination[:end], "/") + path + out.Destination[end:]
}

// overridden is a header with some of its fields set anew.
func overridden(h http.Header, with account.Header) http.Header {
	if len(with) == 0 {
		return h
	}
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	for name, values := range with {
		h[http.CanonicalHeaderKey(name)] = values
	}
	return h
}

// heap is what is queued for all connections together. A delivery counts once,
// in however many queues it is.
type heap struct {
	mu    sync.Mutex // guards bytes, and holds of all deliveries
	bytes int
}

// hold notes that a delivery is in one more queue.
func (q *heap) hold(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.holds++; d.holds == 1 {
		q.bytes += d.bytes
	}
}

// release takes hold back.
func (q *heap) release(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.holds--; d.holds == 0 {
		q.bytes -= d.bytes
	}
}

// full reports whether too much is queued for all together.
func (q *heap) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > maxHeapBytes
}
