package cli

import (
	"bytes"
	"testing"

	"hookrun/engine/control"
)

func TestPausedIsPrinted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		paused control.Paused
		one    bool
		want   string
	}{
		{"nothing", control.Paused{}, false, "nothing is paused\n"},
		{"rules", control.Paused{Rules: []string{"a\x1b", "b"}}, true, "paused: a\\u001b, b\n"},
		{"all", control.Paused{All: true}, false, "paused: all rules\n"},
		{"all and one", control.Paused{All: true, Rules: []string{"a"}}, false, "paused: all rules, and by themselves a\n"},
		{"all, after one was resumed", control.Paused{All: true}, true, "paused: all rules\nhookrun resume, without a rule, ends that\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			printPaused(&out, tt.paused, tt.one)
			wantText(t, "stdout", out.String(), tt.want)
		})
	}
}
