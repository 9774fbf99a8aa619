package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestLogObeysNoSender: what a sender chooses can't steer the terminal, forge a
// line or fill the disk.
func TestLogObeysNoSender(t *testing.T) {
	hostile := []string{
		"\x1b[2J\x1b]0;title\x07", `\x1b[2J`, `\\x1b[2J`, "a\nb", "a\r\nb", "\u009b2J", "\u2028", "\u202e", "\x7f", "\xff\xfe", strings.Repeat("x", 1<<20),
	}
	for format, obeyed := range map[string]string{"text": "\x1b\x07\r\x7f\u009b\u2028\u202e", "json": "\x1b\x07\r"} {
		var out bytes.Buffer
		log, err := newLogger(&out, format, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range hostile {
			out.Reset()
			log.Warn("message", "bucket", s, "err", errors.New(s), "missing", []string{s})
			got := out.String()
			if strings.Count(got, "\n") != 1 || strings.ContainsAny(got, obeyed) {
				t.Errorf("%s log of %.20q is %q", format, s, got)
			}
			if len(s) > 1000 && len(got) > 10_000 {
				t.Errorf("%s log of %d bytes has %d bytes", format, len(s), len(got))
			}
		}
	}
}
