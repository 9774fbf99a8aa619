package cli

import (
	"testing"
	"time"

	"hookrun/relay"
)

// TestHeldUpMessageKeepsItsTime: one that the store does not take for an hour is
// not too old for its signature then.
func TestHeldUpMessageKeepsItsTime(t *testing.T) {
	read := time.Now().Add(-time.Hour)
	if got := event("wss://relay.example", relay.Message{ID: "1", Received: read}).Received; !got.Equal(read) {
		t.Errorf("the event was received at %s, want %s, when the message was read", got, read)
	}
}
