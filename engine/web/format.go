package web

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hookrun/engine"
	"hookrun/engine/control"
)

// pageFuncs are what templates may call.
func pageFuncs() template.FuncMap {
	return template.FuncMap{
		"clock": func(t time.Time) string { return clock(t, time.Now()) },
		"iso":   func(t time.Time) string { return t.Format(time.RFC3339Nano) },
		"full":  func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000 MST") },
		"size":  bytesOf, "span": span, "seconds": seconds, "count": count,
		"plain": plain, "short": func(id string) string { return cut(id, 13) }, "cut": cut,
		"tone": tone, "outcome": outcomeTone, "verdict": verdictTone, "stepTone": stepTone,
		"mark": nodeMark, "nodeTone": nodeTone, "says": nodeSays, "open": isOpen,
		"place":  placeName,
		"linked": linked, "errorTone": errorTone, "decided": decided,
		"list": func(s []string) string { return plain(strings.Join(s, ", ")) },
		"pair": func(a, b any) pair { return pair{a, b} },
	}
}

// pair gives a template two values.
type pair struct{ A, B any }

// clock is a time as short as it can be told.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch y, m, d := t.Date(); {
	case t.IsZero():
		return ""
	case y == now.Year() && m == now.Month() && d == now.Day():
		return t.Format(time.TimeOnly)
	case y == now.Year():
		return t.Format("Jan 2 15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// span is a length of time to its first two units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return "<1ms"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return strings.TrimSuffix(fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour), "0h")
}

// seconds is span of seconds, as the shapes of control have them.
func seconds(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// size is a number of bytes for people.
func size(n int64) string {
	const k = 1024
	v, unit := float64(n), 0
	for v >= k && unit < 4 {
		v /= k
		unit++
	}
	names := [...]string{"B", "KiB", "MiB", "GiB", "TiB"}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, names[unit])
}

// bytesOf is size of any whole number, for templates.
func bytesOf(n any) string {
	switch n := n.(type) {
	case int:
		return size(int64(n))
	case int64:
		return size(n)
	}
	return fmt.Sprint(n)
}

// count is a number in groups of three.
func count(n any) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:] // a narrow space that does not break
	}
	return text
}

// cut is the beginning of a text.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// placeName is a place, file:line, without the folders of the file.
func placeName(place string) string { return plain(place[strings.LastIndexAny(place, `/\`)+1:]) }

// shortened is a text from outside in a sentence.
func shortened(s string) string { return cut(plain(s), 100) }

// plain shows what a text from outside has in it that is not seen, or that has
// others seen elsewhere than they stand: control characters, those that turn the
// direction of writing, those without width. Line breaks and tabs stay.
func plain(s string) string {
	if !strings.ContainsFunc(s, isHidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isHidden(r) {
			writeHidden(&b, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isHidden reports whether a character is not seen as what it is.
func isHidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t' || r == ' ':
		return false
	case r == utf8.RuneError:
		return false
	}
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r) || unicode.Is(unicode.Cs, r)
}

func writeHidden(b *strings.Builder, r rune) {
	const pictures = 0x2400 // of the control characters, in their order
	switch {
	case r < ' ':
		b.WriteRune(pictures + r)
	case r == 0x7f:
		b.WriteRune('\u2421')
	default:
		fmt.Fprintf(b, "⟨U+%04X⟩", r)
	}
}

// Tones are the classes of what is good, bad, to be looked at, going on, or none
// of it.
const (
	toneOK   = "ok"
	toneBad  = "bad"
	toneWarn = "warn"
	toneInfo = "info"
	toneNone = "none"
)

// tone is that of a run.
func tone(s engine.State) string {
	switch s {
	case engine.Done:
		return toneOK
	case engine.Failed, engine.Tripped:
		return toneBad
	case engine.Running, engine.Queued:
		return toneInfo
	case engine.Cancelled, engine.Abandoned, engine.Shadow:
		return toneWarn
	}
	return toneNone
}

func outcomeTone(o engine.EventOutcome) string {
	switch o {
	case engine.EventStarted:
		return toneOK
	case engine.EventErrored:
		return toneBad
	case engine.EventShadowed:
		return toneWarn
	case engine.EventAnswered:
		return toneInfo
	}
	return toneNone
}

func verdictTone(o engine.Outcome) string {
	switch o {
	case engine.Matched:
		return toneOK
	case engine.Errored:
		return toneBad
	}
	return toneNone
}

func stepTone(s engine.StepState) string {
	switch s {
	case engine.StepDone:
		return toneOK
	case engine.StepFailed, engine.StepCrashed:
		return toneBad
	case engine.StepRunning:
		return toneInfo
	case engine.StepInterrupted, engine.StepShadow:
		return toneWarn
	}
	return toneNone
}

// errorTone is the class of why a run, or its last attempt, ended: that it gave way
// to another one is no error.
func errorTone(r control.Run) string {
	if isOpen(r) || tone(r.State) == toneBad {
		return "error"
	}
	return "muted"
}

// decided is an outcome in words.
func decided(o engine.Outcome) string {
	if o == engine.NoMatch {
		return "no match"
	}
	return string(o)
}

// reference is a part of a text, or the id of a run in it.
type reference struct{ Text, Run string }

// runInText is a run that a sentence of hookrun's own speaks of.
var runInText = regexp.MustCompile(`\brun ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b`)

// linked takes a sentence apart where it names runs.
func linked(text string) []reference {
	var all []reference
	from := 0
	for _, at := range runInText.FindAllStringSubmatchIndex(text, -1) {
		all = append(all, reference{Text: plain(text[from:at[2]])}, reference{Run: text[at[2]:at[3]]})
		from = at[3]
	}
	return append(all, reference{Text: plain(text[from:])})
}

// isOpen reports whether a run goes on, or may.
func isOpen(r control.Run) bool { return !r.State.Finished() }
