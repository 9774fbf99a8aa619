package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/mattn/go-isatty"
)

// screen is where a command prints for a person or a program.
type screen struct {
	io.Writer
	terminal bool // what it is given may be obeyed
	width    int  // in characters; 0: any
}

func screenOf(w io.Writer) screen {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return screen{Writer: w}
	}
	return screen{w, true, columns(f)}
}

// line prints one line, cut where it would not fit.
func (s screen) line(text string) {
	if runes := []rune(text); s.width > 0 && len(runes) > s.width {
		text = string(runes[:s.width-1]) + "…"
	}
	fmt.Fprintln(s, text)
}

// Colours of a terminal.
type colour string

const (
	noColour colour = ""
	green    colour = "32"
	red      colour = "31"
	yellow   colour = "33"
	blue     colour = "34"
	magenta  colour = "35"
	faint    colour = "2"
)

// marked is line with a word in the middle that has a colour, where there are any.
func (s screen) marked(before, word, after string, c colour) {
	if !s.terminal || c == noColour || os.Getenv("NO_COLOR") != "" {
		s.line(before + word + after)
		return
	}
	width := s.width
	if width == 0 {
		width = math.MaxInt
	}
	left := width - len([]rune(before+word))
	if left < 1 {
		s.line(before + word)
		return
	}
	fmt.Fprintf(s, "%s\x1b[%sm%s\x1b[0m%s\n", before, c, word, clip(after, left))
}

// columns prints rows, of which there is one at least, with their cells under each
// other.
func (s screen) columns(rows [][]string) { s.coloured(rows, 0, nil) }

// coloured is columns with a colour for the cells of one column, one for each row;
// without any, none has one.
func (s screen) coloured(rows [][]string, at int, colours []colour) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		begin := 0
		for i, cell := range row {
			if i == at {
				begin = line.Len()
			}
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		text := strings.TrimRight(line.String(), " ")
		if len(colours) == 0 {
			s.line(text)
			continue
		}
		begin = min(begin, len(text))
		end := min(begin+len(row[at]), len(text))
		s.marked(text[:begin], text[begin:end], text[end:], colours[n])
	}
}

// json prints a value as JSON on one line. It may get to a terminal by a detour, as
// through less -R or a log.
func (s screen) json(v any) error {
	var text strings.Builder
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	_, err := fmt.Fprintln(s, escaped(strings.TrimSuffix(text.String(), "\n")))
	return err
}

// escaped puts JSON's own escapes in the place of what a terminal would obey or
// not show.
func escaped(json string) string {
	var b strings.Builder
	for _, r := range json {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= math.MaxUint16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// readable is printable for text of several lines: its lines and tabs stay. A
// carriage return alone would let a line hide the one before: it ends it.
func readable(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "\n\t")
		if i < 0 {
			b.WriteString(printable(s))
			return b.String()
		}
		b.WriteString(printable(s[:i]))
		b.WriteByte(s[i])
		s = s[i+1:]
	}
}

// clip cuts a text to so many characters.
func clip(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// clock is a time as people read it, here.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// brief is a length of time to its first two units.
func brief(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}
