package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// newLogger writes for people (time, level, message; in colour on a terminal)
// or, as "json", one JSON object a line.
func newLogger(w io.Writer, format string, verbose bool) (*slog.Logger, error) {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: plainAttr})), nil
	case "text":
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level: level, TimeFormat: time.DateTime, NoColor: !isTerminal(w),
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				a = plainAttr(groups, a)
				switch v := a.Value.Any().(type) {
				case string:
					return slog.String(a.Key, printable(v))
				case []string:
					return slog.String(a.Key, printable(cut(strings.Join(v, ", "))))
				}
				return a
			},
		})), nil
	}
	return nil, &usageError{fmt.Sprintf("-log %s: there is no such format", format), "-log text or -log json"}
}

// maxAttr bounds one attribute in the log, in bytes: a sender chooses the length
// of some.
const maxAttr = 1000

// plainAttr writes durations as people do (slog's JSON has nanoseconds), and
// cuts what is long.
func plainAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return a
	}
	switch v := a.Value.Any().(type) {
	case time.Duration:
		return slog.String(a.Key, v.String())
	case string:
		return slog.String(a.Key, cut(v))
	case error:
		return slog.String(a.Key, cut(v.Error()))
	case []string:
		short := make([]string, len(v))
		for i := range v {
			short[i] = cut(v[i])
		}
		return slog.Any(a.Key, short)
	}
	return a
}

func cut(s string) string {
	if len(s) <= maxAttr {
		return s
	}
	return strings.ToValidUTF8(s[:maxAttr], "") + "…"
}

// printable puts escapes in the place of what a terminal would obey or not show:
// a sender may choose some of it. Quoting is not enough, as the handler for text
// turns a quoted \x1b back into the character.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return strings.ReplaceAll(b.String(), `\x1b`, `\u001b`)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == ""
}
