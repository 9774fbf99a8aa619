//go:build linux

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is a number of senders, each with a connection that it keeps, which send
// webhooks one after the other. Each webhook has its number in its query.
type load struct {
	address string // of the relay
	senders int
	body    []byte
	first   int           // number of the first webhook
	count   int           // of webhooks, at most
	time    time.Duration // to send in, at most; 0: as long as ctx

	// before is called with a webhook's number before it is sent, by many at
	// once, and may wait; nil: nobody is asked. An error ends the load.
	before func(n int) error
}

// run returns how many webhooks were sent and answered with 200, and how long
// that took without the connecting. What is sent has the numbers from first on.
func (l load) run(ctx context.Context) (sent int, took time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]*sender, l.senders)
	for i := range all {
		if all[i], err = dialSender(ctx, l.address, l.body); err != nil {
			return 0, 0, err
		}
		defer all[i].close()
	}
	var next, answered atomic.Int64
	begin := time.Now()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			for ctx.Err() == nil && (l.time == 0 || time.Since(begin) < l.time) {
				n := int(next.Add(1)) - 1
				if n >= l.count {
					return
				}
				if err := l.send(s, l.first+n); err != nil {
					cancel(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	return int(answered.Load()), time.Since(begin), context.Cause(ctx)
}

func (l load) send(s *sender, n int) error {
	if l.before != nil {
		if err := l.before(n); err != nil {
			return err
		}
	}
	return s.post(n)
}

// sender is a connection to the relay. Its requests are put together by hand, as
// a sender's work is taken from the relay's processor.
type sender struct {
	conn   net.Conn
	answer *bufio.Reader
	head   []byte // of the request now
	body   []byte
	stop   func() bool
}

func dialSender(ctx context.Context, address string, body []byte) (*sender, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// Whoever waits for an answer ends with ctx.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	return &sender{conn: conn, answer: bufio.NewReader(conn), body: body, stop: stop}, nil
}

func (s *sender) close() {
	s.stop()
	s.conn.Close()
}

// hookHeader is what a sender as GitHub says of its webhook.
const hookHeader = "Host: hooks.example.org\r\n" +
	"User-Agent: GitHub-Hookshot/044aadd\r\n" +
	"Accept: */*\r\n" +
	"Content-Type: application/json\r\n" +
	"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\n" +
	"X-GitHub-Event: push\r\n" +
	"X-GitHub-Hook-ID: 292430182\r\n" +
	"X-Hub-Signature-256: sha256=d57c68ca6f92289e6987922ff26938930f6e66a2d161ef06abdf1859230aa23c\r\n"

// post sends webhook n and waits for the answer.
func (s *sender) post(n int) error {
	s.head = fmt.Appendf(s.head[:0], "POST %s?n=%d HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", hookPath, n, hookHeader, len(s.body))
	parts := net.Buffers{s.head, s.body}
	if _, err := parts.WriteTo(s.conn); err != nil {
		return fmt.Errorf("send webhook %d: %w", n, err)
	}
	resp, err := http.ReadResponse(s.answer, nil)
	if err != nil {
		return fmt.Errorf("read the answer to webhook %d: %w", n, err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer to webhook %d: %w", n, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("webhook %d was answered %s: %s", n, resp.Status, text)
	}
	if resp.Close {
		return errors.New("the relay does not keep a sender's connection")
	}
	return nil
}

// Sizes of bodies.
const (
	smallBody = 2 << 10
	largeBody = 1 << 20
)

// jsonBody is JSON of a size as senders write it, with about as many quotes.
func jsonBody(size int) []byte {
	const begin, end = `{"commits":[`, `{}]}`
	const item = `{"id":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","message":"Update README.md","added":[],"author":{"name":"a","email":"a@example.org"}},`
	var b strings.Builder
	b.WriteString(begin)
	for b.Len()+len(item)+len(end) <= size {
		b.WriteString(item)
	}
	b.WriteString(strings.Repeat(" ", size-b.Len()-len(end)) + end)
	return []byte(b.String())
}
