package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

// maxStatuses is how many status frames wait to be written at most.
const maxStatuses = 64

// conn is one client's connection.
type conn struct {
	h       *Hub
	ws      *websocket.Conn
	number  int
	ip      netip.Addr
	agent   string // its User-Agent
	deflate bool

	// Set while logging in and subscribing; guarded by Hub.mu.
	token, secretHash string
	subscribed        bool
	since             time.Time // of the subscription
	filter            filter
	follows           map[string]bool // bucket ids
	member            *member         // nil: it acknowledges nothing

	mu       sync.Mutex // guards all below
	pong     []byte     // answers the client's latest control ping, before all else; nil: none is due
	queue    []item     // to be written
	statuses int        // of them
	bytes    int        // of the deliveries among them
	writing  bool       // somebody writes the queue
	over     bool       // nothing is queued any more
	code     int        // of the close frame
	reason   string
}

// item is what is to be written: a status frame, a ping, a delivery, the answer
// to a ping, or the close frame where there is nothing else in it.
type item struct {
	status []byte
	ping   bool // behind status: a control frame, which every library answers
	pong   bool // status is what a control ping held
	d      *delivery
}

// ServeSocket is GET /v1/socket. It returns when the connection is upgraded; the
// hub goes on with it.
func (h *Hub) ServeSocket(w http.ResponseWriter, r *http.Request) {
	ip := h.o.Address(r)
	if h.o.Guard != nil && !h.o.Guard.Allowed(ip) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many failed logins", http.StatusTooManyRequests)
		return
	}
	select {
	case <-h.begun:
	case <-r.Context().Done():
		return
	}
	if !deflates(r.Header) {
		r.Header.Del(extensions)
	}
	ws, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		h.log.Debug("no WebSocket", "remote", ip, "err", err)
		return
	}
	c := &conn{
		h: h, ws: ws, ip: ip, agent: r.UserAgent(),
		deflate: deflates(r.Header),
	}
	if !h.enter(c) {
		ws.Close()
	}
}

const extensions = "Sec-Websocket-Extensions"

// deflates reports whether a client takes compressed frames. Who wants a smaller
// window than there is here gets them plain.
func deflates(h http.Header) bool {
	offers := strings.Join(h.Values(extensions), ",")
	return strings.Contains(offers, "permessage-deflate") && !strings.Contains(offers, "server_max_window_bits")
}

// enter has a connection served, unless the hub takes none. What net/http holds
// for the request is free again then.
func (h *Hub) enter(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.number++
	c.number = h.number
	h.conns[c] = true
	life := h.life
	h.wg.Go(func() {
		stop := context.AfterFunc(life, func() { c.ws.Close() })
		defer stop()
		defer h.leave(c)
		defer c.ws.Close()
		c.read(life)
	})
	return true
}

// leave forgets a connection that ended.
func (h *Hub) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.drop(c)
	if c.member != nil {
		c.member.of.release()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.clear()
	if c.token != "" {
		h.log.Info("client disconnected", "remote", c.ip, "token", c.token, "client", c.agent, "reason", c.reason)
	}
}

// drop has a connection get nothing any more; mu is held.
func (h *Hub) drop(c *conn) {
	if c.member != nil {
		c.member.leave()
	}
	h.unfollow(c)
	c.subscribed = false
}

// cut ends a connection: see conn.end. What it has not acknowledged is free for
// others at once; mu is held.
func (h *Hub) cut(c *conn, code int, reason string) {
	c.end(code, reason)
	h.drop(c)
}

// read takes what the client says until the connection ends.
func (c *conn) read(life context.Context) {
	c.ws.SetReadLimit(wire.MaxRequest)
	c.ws.SetReadDeadline(time.Now().Add(loginTimeout))
	c.ws.SetPongHandler(func(string) error {
		c.heard()
		return nil
	})
	c.ws.SetPingHandler(func(data string) error {
		c.heard()
		c.answerPing(data)
		return nil
	})
	for {
		data, err := c.message()
		if err != nil {
			return
		}
		c.heard()
		if !c.aside(life, data) {
			// The close frame is on its way; what the client says until it has
			// read it is of no interest.
			c.ws.SetReadDeadline(time.Now().Add(goodbyeTime))
			for err == nil {
				_, err = c.message()
			}
			return
		}
	}
}

// aside is take on a stack of its own, but for who acknowledges all the time: the
// reader's would stay as large as reading JSON makes it, and that is most of what
// an idle subscriber costs.
func (c *conn) aside(life context.Context, data []byte) (goOn bool) {
	if c.member != nil {
		return c.take(life, data)
	}
	var wg sync.WaitGroup
	wg.Go(func() { goOn = c.take(life, data) })
	wg.Wait()
	return goOn
}

// message reads one message. Its bound holds for what it is unpacked too.
func (c *conn) message() ([]byte, error) {
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, wire.MaxRequest+1))
	if err != nil {
		return nil, err
	}
	if len(data) > wire.MaxRequest {
		return nil, websocket.ErrReadLimit
	}
	if kind == websocket.BinaryMessage {
		return nil, nil // is no request
	}
	return data, nil
}

// heard gives the client time until its next word. Before the login nothing but
// the login does, and behind the close frame nothing does.
func (c *conn) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && !c.over {
		c.ws.SetReadDeadline(time.Now().Add(idleTimeout))
	}
}

// answerPing has a control ping answered by whoever writes: who reads waits for
// nobody. Of several that wait the latest is answered.
func (c *conn) answerPing(data string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.pong = append([]byte{}, data...)
		c.start()
	}
}

func (c *conn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// take does what the client asks for. It reports false when the connection is to
// end.
func (c *conn) take(life context.Context, data []byte) bool {
	r, err := request(data)
	switch {
	case c.isOver():
		if err == nil && r.Action == wire.ActionAck {
			c.acked(r.IDs) // of what it read before the close frame
		}
		return true
	case err != nil:
		c.finish(websocket.ClosePolicyViolation, reasonRequest)
		return false
	case c.token == "":
		return c.login(life, r)
	}
	switch r.Action {
	case wire.ActionSubscribe:
		return c.subscribe(life, r)
	case wire.ActionAck:
		return c.acked(r.IDs)
	case wire.ActionPong:
		return c.ponged(life, r.Held)
	}
	return true // a word of newer clients, or of odd ones
}

// request reads a client's frame. What is no JSON object at all is passed over:
// clients say odd things.
func request(data []byte) (wire.Request, error) {
	data = bytes.TrimSpace(data)
	if !json.Valid(data) || len(data) == 0 || data[0] != '{' {
		return wire.Request{}, nil
	}
	return wire.DecodeRequest(data)
}

// end drops what is queued and says goodbye; the reader ends when the client has
// answered, or after goodbyeTime.
func (c *conn) end(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.clear()
	c.close(code, reason)
	// A frame that is being written to somebody who does not read holds it up.
	c.ws.NetConn().SetWriteDeadline(time.Now().Add(goodbyeTime))
}

// finish says goodbye behind what is queued.
func (c *conn) finish(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.close(code, reason)
	}
}

// close queues the close frame; mu is held.
func (c *conn) close(code int, reason string) {
	c.over, c.code, c.reason = true, code, reason
	c.push(item{})
}

// push queues an item; mu is held.
func (c *conn) push(it item) {
	c.queue = append(c.queue, it)
	c.start()
}

// start has what is queued written; mu is held.
func (c *conn) start() {
	if !c.writing {
		c.writing = true
		c.h.wg.Go(c.write)
	}
}

// status queues a status frame.
func (c *conn) status(s wire.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushStatus(item{status: wire.EncodeStatus(s)})
}

func (c *conn) pushStatus(it item) {
	if c.over {
		return
	}
	if c.statuses++; c.statuses > maxStatuses {
		c.close(websocket.ClosePolicyViolation, reasonSlow)
		return
	}
	c.push(it)
}

func (c *conn) enqueuePing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.member != nil {
		c.member.pinged()
	}
	c.pushStatus(item{status: wire.EncodeStatus(wire.Status{Status: wire.StatusPing}), ping: true})
}

// enqueue queues a delivery for a plain subscriber. It reports false where that
// reads too slowly, and is cut off for it, or where it has ended; Hub.mu is held.
func (c *conn) enqueue(d *delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	n := d.bytes
	if c.bytes > 0 && (len(c.queue) >= maxQueued || c.bytes+n > maxQueuedBytes || c.bytes > fairQueuedBytes && c.h.heap.full()) {
		c.tooSlow(d)
		return false
	}
	c.queueDelivery(d)
	return true
}

// tooSlow cuts a subscriber off; both locks are held.
func (c *conn) tooSlow(d *delivery) {
	lost := 1
	for _, it := range c.queue {
		if it.d != nil {
			lost++
			c.h.count(it.d.log.BucketID).Dropped++
		}
	}
	count := c.h.count(d.log.BucketID)
	count.Slow++
	count.Dropped++
	c.h.log.Warn("a client reads too slowly and is cut off", "remote", c.ip, "token", c.token, "client", c.agent, "lost", lost)
	c.clear()
	c.close(websocket.CloseTryAgainLater, reasonSlow)
	c.ws.NetConn().SetWriteDeadline(time.Now().Add(goodbyeTime))
	c.h.drop(c)
}

// assign queues a delivery for a consumer's connection, whose window bounds it.
func (c *conn) assign(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.queueDelivery(d)
}

// queueDelivery queues a delivery; mu is held.
func (c *conn) queueDelivery(d *delivery) {
	c.bytes += d.bytes
	c.h.heap.hold(d)
	c.push(item{d: d})
}

// clear drops what is queued; mu is held.
func (c *conn) clear() {
	for _, it := range c.queue {
		if it.d != nil {
			c.h.heap.release(it.d)
		}
	}
	c.queue, c.bytes, c.statuses = nil, 0, 0
}

// write writes what is queued until nothing is.
func (c *conn) write() {
	for {
		it, ok := c.next()
		if !ok {
			return
		}
		if err := c.send(it); err != nil {
			c.failed(err)
			return
		}
	}
}

func (c *conn) next() (it item, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pong != nil {
		it = item{status: c.pong, pong: true}
		c.pong = nil
		return it, true
	}
	if len(c.queue) == 0 {
		c.writing, c.queue = false, nil
		return item{}, false
	}
	it = c.queue[0]
	c.queue[0] = item{}
	c.queue = c.queue[1:]
	switch {
	case it.status != nil:
		c.statuses--
	case it.d != nil:
		c.bytes -= it.d.bytes
		c.h.heap.release(it.d)
	}
	return it, true
}

// failed ends a connection that can't be written to. writing stays set: nobody
// writes any more.
func (c *conn) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == "" {
		c.reason = fmt.Sprintf("write: %v", err)
	}
	c.over, c.pong = true, nil
	c.clear()
	c.ws.Close()
}

// send writes one item.
func (c *conn) send(it item) error {
	switch {
	case it.d != nil:
		return c.sendDelivery(it.d)
	case it.pong:
		return c.ws.WriteControl(websocket.PongMessage, it.status, time.Now().Add(writeTimeout))
	case it.status != nil:
		c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
		c.ws.EnableWriteCompression(false) // it is short, and packing takes much memory
		if err := c.ws.WriteMessage(websocket.TextMessage, it.status); err != nil || !it.ping {
			return err
		}
		return c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
	}
	c.mu.Lock()
	text := websocket.FormatCloseMessage(c.code, c.reason)
	c.mu.Unlock()
	err := c.ws.WriteControl(websocket.CloseMessage, text, time.Now().Add(goodbyeTime))
	c.ws.SetReadDeadline(time.Now().Add(goodbyeTime)) // for the answer to it
	return err
}

func (c *conn) sendDelivery(d *delivery) error {
	frame, err := d.encoded()
	if err != nil {
		c.h.unsendable(d)
		return nil
	}
	c.ws.SetWriteDeadline(time.Now().Add(writeTimeout + time.Duration(len(frame)/writeRate)*time.Second))
	if !c.deflate {
		return c.ws.WriteMessage(websocket.TextMessage, frame)
	}
	packed, err := d.packed() // once for all who take it packed
	if err != nil {
		return err
	}
	c.ws.EnableWriteCompression(true)
	return c.ws.WritePreparedMessage(packed)
}

// unsendable notes that a delivery can't be sent to plain subscribers.
func (h *Hub) unsendable(d *delivery) {
	h.measure([]*delivery{d})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(d.log.BucketID).Dropped++
}
