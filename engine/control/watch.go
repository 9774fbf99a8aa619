package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"hookrun/engine"
)

// pingEvery is how often a stream of events has a sign of life: proxies cut what
// is silent for a minute.
const pingEvery = 15 * time.Second

// watch sends what happens: as server-sent events (WHATWG HTML, 9.2), named after
// what they tell of, or as a Notice a line where that is what is accepted.
func (s *Server) watch(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	p, err := params(r, "bucket", "rule", "outcome", "state")
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	q := WatchQuery{
		Bucket: p.text("bucket"), Rule: p.text("rule"),
		Outcomes: words[engine.EventOutcome](p, "outcome"), States: words[engine.State](p, "state"),
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // it is for requests that end; a connection of net/http has one
	out := &noticeWriter{w: w, conn: conn, lines: strings.Contains(r.Header.Get("Accept"), typeLines)}
	quiet, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { out.keepAlive(quiet) })
	err = s.desk.Watch(ctx, q, out.emit)
	stop()
	wg.Wait()
	switch {
	case err == nil || ctx.Err() != nil: // nobody listens any more
	case !out.begun:
		s.refuse(w, r, err)
	default:
		s.log.Debug("one who watched is gone", "err", err)
	}
}

// noticeWriter sends notices to one who watches.
type noticeWriter struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	lines bool // a Notice a line, not events

	mu    sync.Mutex // guards what is written, and begun
	begun bool
}

// keepAlive sends comments until ctx ends, once there are notices. Where who
// watches is gone, emit finds out.
func (o *noticeWriter) keepAlive(ctx context.Context) {
	if o.lines {
		return // it has none; the connection's own keep-alive has to do
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			o.ping()
		case <-ctx.Done():
			return
		}
	}
}

func (o *noticeWriter) ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun {
		_ = o.send([]byte(": ping\n\n"))
	}
}

// emit sends one notice.
func (o *noticeWriter) emit(n Notice) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun {
		o.begun = true
		o.begin()
	}
	form := serverSent
	if o.lines {
		form = line
	}
	text, err := form(n)
	if err != nil {
		return err
	}
	return o.send(text)
}

func (o *noticeWriter) begin() {
	h := o.w.Header()
	h.Set("Content-Type", typeEvents)
	if o.lines {
		h.Set("Content-Type", typeLines)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // a proxy such as nginx passes it on at once
}

func (o *noticeWriter) send(text []byte) error {
	_ = o.conn.SetWriteDeadline(time.Now().Add(stallTimeout)) // as of the read deadline
	if _, err := o.w.Write(text); err != nil {
		return err
	}
	return o.conn.Flush()
}

// serverSent is a notice as an event of a stream. The first, which tells nothing,
// is a comment.
func serverSent(n Notice) ([]byte, error) {
	name, data := n.part()
	if name == "" {
		return []byte(": watching\n\n"), nil
	}
	text, err := marshal(data)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n", name, text), nil // JSON on one line, and its end
}

// line is a notice on a line.
func line(n Notice) ([]byte, error) { return marshal(n) }

// part is what a notice tells of, and by which name; "" where it tells nothing.
func (n Notice) part() (name string, data any) {
	switch {
	case n.Event != nil:
		return "event", n.Event
	case n.Run != nil:
		return "run", n.Run
	case n.Rejected != nil:
		return "rejected", n.Rejected
	case n.Rules != nil:
		return "rules", n.Rules
	case n.Refused != nil:
		return "refused", n.Refused
	case n.Health != nil:
		return "health", n.Health
	case n.Missed > 0:
		return "missed", n.Missed
	}
	return "", nil
}

// marshal is JSON on one line, with its end.
func marshal(v any) ([]byte, error) {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return text.Bytes(), nil
}
