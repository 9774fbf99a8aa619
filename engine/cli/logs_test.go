package cli

import (
	"bytes"
	"testing"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestLogsPrintsTheOutputItself(t *testing.T) {
	out := func(text string) control.Piece { return control.Piece{Stream: engine.Stdout, Data: []byte(text)} }
	errs := func(text string) control.Piece { return control.Piece{Stream: engine.Stderr, Data: []byte(text)} }
	done := control.Piece{State: engine.Done}
	for _, tt := range []struct {
		name           string
		o              logsOptions
		terminal       bool
		pieces         []control.Piece
		stdout, stderr string
	}{
		{"as it is", logsOptions{}, false, []control.Piece{out("a\x1b[2J\r\n\xff"), errs("oops\n"), out("b"), done}, "a\x1b[2J\r\n\xffb", "oops\n"},
		{"on a terminal", logsOptions{}, true, []control.Piece{out("a\x1b[2J\r\n\tb\rc\xff\n"), errs("\x07\n"), done}, "a\\u001b[2J\n\tb\nc\ufffd\n", "\\u0007\n"},
		{"raw on a terminal", logsOptions{raw: true}, true, []control.Piece{out("a\x1b[2J\r\n"), done}, "a\x1b[2J\r\n", ""},
		{"with a cut", logsOptions{}, false, []control.Piece{out("a\n"), {Stream: engine.Stdout, Cut: 9, Data: []byte("z\n")}, done},
			"a\nz\n", "hookrun: 9 bytes of stdout are not kept\n"},
		{"of one that runs", logsOptions{}, false, []control.Piece{out("a\n"), {State: engine.Running}}, "a\n", "hookrun: the run is running, -f follows it\n"},
		{"of one that waits", logsOptions{}, false, []control.Piece{{State: engine.Queued, Why: "its rule is \x1bpaused"}},
			"", "hookrun: the run is queued, -f follows it: its rule is \\u001bpaused\n"},
		{"followed", logsOptions{follow: true}, false,
			[]control.Piece{{State: engine.Queued, Why: "its turn"}, {State: engine.Running}, out("a\n"), {State: engine.Failed, Why: "exit status 1"}},
			"a\n", "hookrun: the run is queued: its turn\nhookrun: the run has ended as failed: exit status 1\n"},
		{"followed on a terminal, in a line", logsOptions{follow: true}, true, []control.Piece{out("a"), done}, "a", "\nhookrun: the run has ended as done\n"},
		{"followed into a file, in a line", logsOptions{follow: true}, false, []control.Piece{out("a"), done}, "a", "hookrun: the run has ended as done\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			f := &fakeDesk{pieces: tt.pieces}
			if err := tt.o.print(t.Context(), f, "aaaaaa", screen{Writer: &stdout, terminal: tt.terminal}, screen{Writer: &stderr, terminal: tt.terminal}); err != nil {
				t.Fatal(err)
			}
			wantText(t, "stdout", stdout.String(), tt.stdout)
			wantText(t, "stderr", stderr.String(), tt.stderr)
		})
	}
}
