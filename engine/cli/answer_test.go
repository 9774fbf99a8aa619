package cli

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// printing is a desk of which a run prints pieces, one in eleven seconds.
type printing struct {
	control.Desk
	pieces []control.Piece
}

func (p printing) Log(_ context.Context, _ string, _ bool, emit func(control.Piece) error) error {
	for _, piece := range p.pieces {
		time.Sleep(11 * time.Second)
		if err := emit(piece); err != nil {
			return err
		}
	}
	return nil
}

func TestStreams(t *testing.T) {
	pieces := []control.Piece{
		{State: engine.Running},
		{Stream: engine.Stdout, Data: []byte("one\ntw")},
		{Stream: engine.Stderr, Data: []byte("oh\n")},
		{Stream: engine.Stdout, Data: []byte("o\r\nth\rree")},
		{State: engine.Done},
	}
	const quiet = ":\n\n" // 15 s, 30 s and 45 s after the begin
	for _, tt := range []struct {
		form engine.Stream
		kind string
		want string
	}{
		{engine.StreamText, "text/plain; charset=utf-8", "one\ntwoh\no\r\nth\rree"},
		{engine.StreamSSE, "text/event-stream", "event: state\ndata: running\n\n" + quiet +
			"event: stdout\ndata: one\n\n" + quiet +
			"event: stderr\ndata: oh\n\n" + "event: stdout\ndata: two\n\n" + quiet +
			"event: stdout\ndata: th ree\n\nevent: state\ndata: done\n\n"},
	} {
		t.Run(string(tt.form), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c := answers{desk: printing{pieces: pieces}}.stream(&engine.Answer{Status: 200, Stream: tt.form, Run: "r"})
				if got := c.Header.Get("Content-Type"); got != tt.kind {
					t.Errorf("Content-Type = %q, want %q", got, tt.kind)
				}
				if err := c.Stream(t.Context(), &out); err != nil {
					t.Fatal(err)
				}
				if got := out.String(); got != tt.want {
					t.Errorf("streamed %q\nwant %q", got, tt.want)
				}
			})
		})
	}
}
