package engine

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// TestPackedBodiesAreBounded: a few wait for their turn to be unpacked, for as
// long as their sender does, more are asked to come again, and what is not packed
// goes on.
func TestPackedBodiesAreBounded(t *testing.T) {
	e := &Engine{packed: make(chan struct{}, maxPacked), inflating: make(chan struct{}, maxInflating)}
	set := NewRuleSet(nil, "h")
	packed := &Event{Header: http.Header{"Content-Encoding": {"gzip"}}}
	for range maxInflating {
		e.inflating <- struct{}{}
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, _, err := e.judge(gone, set, packed, trust{}); !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("judge for a sender that hung up: %v, want ErrBusy", err)
	}
	for range maxPacked {
		e.packed <- struct{}{}
	}
	if _, _, err := e.judge(t.Context(), set, packed, trust{}); !errors.Is(err, ErrBusy) {
		t.Errorf("judge of one packed body too many: %v, want ErrBusy", err)
	}
	for _, coding := range []string{"", "identity"} {
		if _, _, err := e.judge(t.Context(), set, &Event{Header: http.Header{"Content-Encoding": {coding}}}, trust{}); err != nil {
			t.Errorf("judge of coding %q: %v, want it not to wait", coding, err)
		}
	}
	<-e.packed
	<-e.inflating
	if _, _, err := e.judge(t.Context(), set, packed, trust{}); err != nil || len(e.packed) != maxPacked-1 || len(e.inflating) != maxInflating-1 {
		t.Errorf("judge when there is room: %v, and %d and %d places are taken, want those before", err, len(e.packed), len(e.inflating))
	}
}
