package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/relay/server"
)

// answers makes what senders get in the place of the receipt.
type answers struct {
	engine *engine.Engine
	desk   control.Desk // for streams
}

// custom is the answer to the sender of an event. nil: it is the receipt.
func (a answers) custom(ctx context.Context, receipt engine.Receipt) *server.Custom {
	if c := receipt.Challenge; c != nil {
		return &server.Custom{Status: c.Status, Header: http.Header{"Content-Type": {c.ContentType}}, Body: []byte(c.Body)}
	}
	answer := a.engine.Answer(ctx, receipt)
	switch {
	case answer == nil:
		return nil
	case answer.Stream != engine.StreamNever:
		return a.stream(answer)
	}
	c := &server.Custom{Status: answer.Status, Header: answer.Header, Body: answer.Body}
	if c.Body == nil {
		for i, run := range receipt.Runs {
			if run.ID == answer.Run { // it has ended meanwhile
				receipt.Runs[i].State = answer.State
			}
		}
		c.Body = receiptBody(receipt)
		c.Header.Set("Content-Type", cmp.Or(c.Header.Get("Content-Type"), "application/json"))
	}
	return c
}

func receiptBody(receipt engine.Receipt) []byte {
	body, err := json.Marshal(told(receipt))
	if err != nil {
		panic(err) // texts and lists of them
	}
	return append(body, '\n')
}

// stream is an answer that is what the run's commands print, as they do.
func (a answers) stream(answer *engine.Answer) *server.Custom {
	c := &server.Custom{Status: answer.Status, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
	c.Stream = func(ctx context.Context, w io.Writer) error {
		return a.desk.Log(ctx, answer.Run, true, func(p control.Piece) error {
			_, err := w.Write(p.Data)
			return err
		})
	}
	if answer.Stream == engine.StreamSSE {
		c.Header.Set("Content-Type", "text/event-stream")
		c.Stream = func(ctx context.Context, w io.Writer) error { return a.events(ctx, w, answer.Run) }
	}
	return c
}

// events sends what the run's commands print as events.
func (a answers) events(ctx context.Context, w io.Writer, run string) error {
	s := &sseWriter{w: w, begun: map[string][]byte{}}
	quiet, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.keepAlive(quiet) })
	return a.desk.Log(ctx, run, true, s.piece)
}

// sseQuiet is the time after which a stream has a comment line: proxies cut
// what is silent for a minute.
const sseQuiet = 15 * time.Second

// sseWriter sends what commands print as server-sent events (WHATWG HTML, 9.2):
// a line each, named after its stream, and the states of the run as events
// named state.
type sseWriter struct {
	mu    sync.Mutex // guards what follows
	w     io.Writer
	begun map[string][]byte // by stream, a line whose end has not come
}

// keepAlive sends comments until ctx ends. Where the sender is gone, piece finds
// out.
func (s *sseWriter) keepAlive(ctx context.Context) {
	tick := time.NewTicker(sseQuiet)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			_, _ = io.WriteString(s.w, ":\n\n")
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (s *sseWriter) piece(p control.Piece) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out bytes.Buffer
	if p.State != "" {
		for _, stream := range slices.Sorted(maps.Keys(s.begun)) {
			s.event(&out, stream, s.begun[stream])
		}
		clear(s.begun)
		s.event(&out, "state", []byte(p.State))
	}
	lines := append(s.begun[p.Stream], p.Data...)
	for {
		line, rest, ok := bytes.Cut(lines, []byte("\n"))
		if !ok {
			break
		}
		s.event(&out, p.Stream, line)
		lines = rest
	}
	delete(s.begun, p.Stream)
	if len(lines) > 0 {
		s.begun[p.Stream] = bytes.Clone(lines)
	}
	if out.Len() == 0 {
		return nil
	}
	_, err := s.w.Write(out.Bytes())
	return err
}

// event writes one event. A carriage return would end a line of it too.
func (s *sseWriter) event(out *bytes.Buffer, name string, line []byte) {
	line = bytes.ReplaceAll(bytes.TrimSuffix(line, []byte("\r")), []byte("\r"), []byte(" "))
	fmt.Fprintf(out, "event: %s\ndata: %s\n\n", name, line)
}
