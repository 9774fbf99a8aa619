package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Bounds on answers that take their time.
const (
	maxAwaited    = 256              // senders that wait, or read a stream, at once, unless Options.MaxAwait says another
	laterTimeout  = 65 * time.Second // for Answer.Later
	sendTimeout   = 15 * time.Second // for an answer to be read, once it is there
	streamTimeout = 10 * time.Second // for the sender to take one Write of a stream
)

// Answer is what the sender of a webhook gets.
type Answer struct {
	Receipt Receipt // sent as JSON where nothing else is: 202, or 200 for a duplicate
	Custom  *Custom // not nil: sent in place of the receipt

	// Later, if not nil, waits for what is sent in place of these two; nil is
	// nothing. It is not called where too many senders wait already. ctx ends after
	// 65 s or when the server stops, but not when the sender hangs up, and Later
	// returns soon after.
	Later func(ctx context.Context) *Custom
}

// Custom is an answer of the inbox's own. Content-Length, Date and what concerns
// the connection alone are left out of its header. Without a Content-Type it is
// plain text.
type Custom struct {
	Status int // 200 to 599
	Header http.Header
	Body   []byte

	// Stream, if not nil, writes the body in place of Body. Each Write is sent at
	// once; one that the sender does not take within 10 s fails, and so do all
	// after it. ctx ends when the sender hangs up or the server stops. An error
	// cuts the connection, so that the sender sees that the end is missing.
	Stream func(ctx context.Context, w io.Writer) error
}

// await returns the reply for an answer, which may have to be waited for.
func (s *Server) await(wait context.Context, w http.ResponseWriter, a Answer) reply {
	p := delivered(a.Receipt)
	p.custom = a.Custom
	if a.Later == nil {
		return p
	}
	if c := s.later(wait, w, a.Later); c != nil {
		p.custom = c
	}
	return p
}

func (s *Server) later(wait context.Context, w http.ResponseWriter, later func(context.Context) *Custom) *Custom {
	if !s.awaitOne() {
		return nil
	}
	defer s.awaited.give(1)
	ctx, cancel := context.WithTimeout(wait, laterTimeout)
	defer cancel()
	// A writer without deadlines belongs to a caller that brings its own.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(laterTimeout + sendTimeout))
	return later(ctx)
}

// awaitOne takes a place among the senders that wait. It reports false where
// there is none.
func (s *Server) awaitOne() bool {
	if s.awaited.take(1) {
		return true
	}
	s.counts.notAwaited.Add(1)
	s.crowds.note(s.log, "too many senders wait for answers, this one gets the receipt", "awaited")
	return false
}

// sendCustom sends an answer of the inbox's own. It reports false, and has sent
// nothing, where that can't be done.
func (s *Server) sendCustom(wait context.Context, w http.ResponseWriter, r *http.Request, c *Custom) bool {
	if c.Status < 200 || c.Status > 599 {
		s.log.Error("an answer has a status that can't be sent, the receipt is sent in its place", "status", c.Status)
		return false
	}
	bodiless := c.Status == http.StatusNoContent || c.Status == http.StatusNotModified
	hasBody := !bodiless && r.Method != http.MethodHead
	streams := hasBody && c.Stream != nil
	if streams && !s.awaitOne() {
		return false
	}
	if streams {
		defer s.awaited.give(1)
	}
	s.setHeader(w.Header(), c)
	switch {
	case streams:
		s.stream(wait, w, r, c)
		return true
	case bodiless:
		w.Header().Del("Content-Type")
	case c.Stream == nil:
		w.Header().Set("Content-Length", strconv.Itoa(len(c.Body)))
	}
	w.WriteHeader(c.Status)
	if hasBody {
		_, _ = w.Write(c.Body) // a sender that hung up can't be told anything
	}
	return true
}

// setHeader sets what c may decide. A value can come from a webhook, so it is
// not trusted to be one line.
func (s *Server) setHeader(h http.Header, c *Custom) {
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	for name, values := range c.Header {
		name = http.CanonicalHeaderKey(name)
		if isOfConnection(name, c.Header) {
			continue
		}
		if !isHeader(name, values) {
			s.log.Warn("a header of an answer is left out: its name or value can't be sent", "name", cut(name))
			continue
		}
		h[name] = append([]string(nil), values...)
	}
	h.Set("X-Content-Type-Options", "nosniff")
}

// isOfConnection reports whether a header is net/http's business: it is about
// the connection or the length (RFC 9110, 7.6.1), and not about the answer.
func isOfConnection(name string, h http.Header) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te",
		"Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Date":
		return true
	}
	for other, values := range h {
		if strings.EqualFold(other, "Connection") && listed(values, name) {
			return true
		}
	}
	return false
}

// listed reports whether a header that is a list names an element.
func listed(values []string, element string) bool {
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(part), element) {
			return true
		}
	}
	return false
}

// isHeader reports whether a header is one line: a token, and values without
// control characters but the tab (RFC 9110, 5.1 and 5.5).
func isHeader(name string, values []string) bool {
	isToken := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}
	isControl := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isToken(r) }) {
		return false
	}
	for _, v := range values {
		if strings.ContainsFunc(v, isControl) {
			return false
		}
	}
	return true
}

// stream sends what Stream writes, until it returns.
func (s *Server) stream(wait context.Context, w http.ResponseWriter, r *http.Request, c *Custom) {
	ctx, cancel := context.WithCancel(wait)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()

	// nginx and its like would keep the lines until they have a lot of them.
	w.Header().Set("X-Accel-Buffering", "no")
	out := &flusher{w: w, conn: http.NewResponseController(w)}
	out.begin(c.Status)
	err := c.stream(ctx, out)
	if err == nil {
		out.extend() // for the mark of the end
		return
	}
	if out.err != nil || ctx.Err() != nil {
		s.log.Debug("the sender of a webhook did not stay for the end of its stream", "remote", r.RemoteAddr, "err", err)
	} else {
		s.log.Error("an answer was not streamed to its end", "remote", r.RemoteAddr, "err", err)
	}
	panic(http.ErrAbortHandler) // net/http's way to cut a connection
}

// stream calls Stream. A panic becomes its error: the status is sent, so that
// nobody above could answer for it.
func (c *Custom) stream(ctx context.Context, w io.Writer) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return c.Stream(ctx, w)
}

// flusher sends each Write at once, and gives up on a sender that is slow.
type flusher struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	err  error // why nothing is written any more
}

func (f *flusher) begin(status int) {
	f.extend()
	f.w.WriteHeader(status)
	f.err = f.conn.Flush()
}

// extend lifts the time for the whole answer, and gives some to the next write.
// Writers without deadlines belong to callers that bring their own.
func (f *flusher) extend() { _ = f.conn.SetWriteDeadline(time.Now().Add(streamTimeout)) }

func (f *flusher) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.extend()
	n, err := f.w.Write(p)
	if err == nil {
		err = f.conn.Flush()
	}
	if err != nil {
		f.err = fmt.Errorf("send to the webhook's sender: %w", err)
	}
	return n, f.err
}
