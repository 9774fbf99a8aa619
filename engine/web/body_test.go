package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestBodyIsShownAsPeopleReadIt(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	tests := []struct {
		name      string
		data      string
		size      int // 0: all of data
		text      string
		json      bool
		cut, edit bool
		binary    bool
	}{
		{name: "JSON", data: `{"a":12345678901234567890,"b":[1.50]}`, text: "{\n  \"a\": 12345678901234567890,\n  \"b\": [\n    1.50\n  ]\n}", json: true, edit: true},
		{name: "text", data: "a=b&c=d", text: "a=b&c=d", edit: true},
		{name: "nothing", data: "", edit: true},
		{name: "no text", data: "a\x00b", binary: true},
		{name: "not UTF-8", data: "a\xff\xfe\xfdb", binary: true},
		{name: "beginning of JSON", data: `{"a":`, size: 900, text: `{"a":`, cut: true},
		{name: "character cut in two", data: "abc\xc3", size: 900, text: "abc\uFFFD", cut: true},
		{name: "JSON that grows too long", data: deep, text: deep, edit: true},
		{name: "hidden characters", data: "a\u202eb", text: "a⟨U+202E⟩b", edit: true},
		{name: "old Mac lines", data: "a\rb", text: "a␍b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.size == 0 {
				tt.size = len(tt.data)
			}
			v := newBodyView([]byte(tt.data), tt.size, len(tt.data) < tt.size)
			if v.Text != tt.text {
				t.Errorf("text = %.200q, want %.200q", v.Text, tt.text)
			}
			if v.JSON != tt.json || v.Cut != tt.cut || v.Edit != tt.edit || v.Binary != tt.binary {
				t.Errorf("JSON %v, cut %v, edit %v, binary %v; want %v, %v, %v, %v", v.JSON, v.Cut, v.Edit, v.Binary, tt.json, tt.cut, tt.edit, tt.binary)
			}
		})
	}
	if v := newBodyView([]byte(strings.Repeat("x", 3*maxPretty)), 3*maxPretty, false); len(v.Text) != maxPretty || !v.Cut || v.Edit {
		t.Errorf("of a long body %d bytes are shown, cut %v, edit %v; want %d, cut and not to be edited", len(v.Text), v.Cut, v.Edit, maxPretty)
	}
}

// TestBodyThatIsNotEditedStays: a browser sends what stood in the field with other
// line breaks.
func TestBodyThatIsNotEditedStays(t *testing.T) {
	tests := []struct {
		name, body, typed, want string
		same                    bool
	}{
		{"not edited", "a\nb", "a\r\nb", "a\nb", true},
		{"not edited, windows lines", "a\r\nb", "a\r\nb", "a\r\nb", true},
		{"mixed lines", "a\r\nb\nc", "a\r\nb\r\nc", "a\r\nb\nc", true},
		{"edited", "a\nb", "a\r\nc\r\n", "a\nc\n", false},
		{"edited, windows lines", "a\r\nb", "a\r\nc", "a\r\nc", false},
		{"JSON laid out", `{"a":1}`, "{\r\n  \"a\": 1\r\n}", `{"a":1}`, true},
		{"JSON edited", `{"a":1}`, "{\r\n  \"a\": 2\r\n}", "{\n  \"a\": 2\n}", false},
		{"emptied", "a", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, same := typed(tt.typed, []byte(tt.body))
			if string(got) != tt.want || same != tt.same {
				t.Errorf("typed(%q, %q) = %q, %v, want %q, %v", tt.typed, tt.body, got, same, tt.want, tt.same)
			}
		})
	}
}

func TestNumbersAreForPeople(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	tests := []struct{ name, got, want string }{
		{"bytes", size(999), "999 B"}, {"KiB", size(1536), "1.5 KiB"}, {"GiB", size(3 << 30), "3.0 GiB"}, {"a lot", size(1 << 62), "4194304.0 TiB"},
		{"no time", span(0), "0s"}, {"short", span(time.Microsecond), "<1ms"}, {"ms", span(12 * time.Millisecond), "12ms"}, {"s", span(1234 * time.Millisecond), "1.2s"},
		{"m", span(90 * time.Second), "1m30s"}, {"h", span(3*time.Hour + 4*time.Minute), "3h4m"}, {"d", span(50 * time.Hour), "2d2h"}, {"whole days", span(48 * time.Hour), "2d"},
		{"small", count(999), "999"}, {"thousands", count(1234567), "1\u202f234\u202f567"}, {"negative", count(-1234), "-1\u202f234"},
		{"today", clock(now.Add(-time.Hour), now), "11:00:00"}, {"this year", clock(now.AddDate(0, -1, 0), now), "Feb 4 12:00:00"},
		{"before", clock(now.AddDate(-1, 0, 0), now), "2025-03-04 12:00"}, {"never", clock(time.Time{}, now), ""},
		{"cut", cut("ñandú", 3), "ñan…"}, {"not cut", cut("ñandú", 5), "ñandú"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

func TestLocalAddresses(t *testing.T) {
	for back, want := range map[string]string{
		"/": "/", "/events?bucket=a%20b&rule=x": "/events?bucket=a%20b&rule=x", "/runs/abc#main": "/runs/abc#main",
		"": "/", "events": "/", "//evil.example": "/", `/\evil.example`: "/", "/events\r\nX: y": "/", "http://evil.example/events": "/", "javascript:alert(1)": "/",
		"/ui/pause": "/", "/api/v1/runs": "/", "/events/x/body": "/", "/logout": "/", "/" + strings.Repeat("x", maxBack): "/", "/events?" + strings.Repeat("x", maxBack): "/",
	} {
		if got := local(back); got != want {
			t.Errorf("local(%.80q) = %q, want %q", back, got, want)
		}
	}
}

func TestLanesOfSteps(t *testing.T) {
	tests := []struct {
		name         string
		began, ended int
		x, w         string
	}{
		{"first half", 0, 5, "0", "500"}, {"all", 0, 10, "0", "1000"}, {"at the end", 9, 10, "900", "100"}, {"in no time", 10, 10, "995", "5"},
	}
	for _, tt := range tests {
		got := newLane(at(0), at(10), at(tt.began), at(tt.ended), engine.StepDone)
		if got.X != tt.x || got.W != tt.w {
			t.Errorf("%s: from %s for %s, want from %s for %s", tt.name, got.X, got.W, tt.x, tt.w)
		}
	}
}

func TestChartOfNothing(t *testing.T) {
	c := newChart(control.RateList{}, rangeOf("24h"))
	if len(c.Bars) != 0 || c.Max != "1" || newDurations(control.RateList{}, rangeOf("24h")) != nil {
		t.Errorf("a chart of nothing has %d bars up to %s", len(c.Bars), c.Max)
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"[\\"{"}]}`), 20, "{}")
	f.Add([]byte("a\r\nb\x00\xff"), 900, "a\r\nb")
	f.Fuzz(func(t *testing.T, data []byte, size int, text string) {
		v := newBodyView(data, max(size, len(data)), size > len(data))
		if most := 3*maxPretty + 16; len(v.Text) > most {
			t.Errorf("of %d bytes %d are shown, want at most %d", len(data), len(v.Text), most)
		}
		if v.Edit {
			sent := strings.ReplaceAll(strings.ReplaceAll(v.Whole, "\r\n", "\n"), "\n", "\r\n") // as browsers do
			if got, same := typed(sent, data); !same || string(got) != string(data) {
				t.Errorf("a body that is not edited becomes %q", got)
			}
		}
		typed(text, data)
	})
}

// coloured is a step of an attempt that printed much, each letter in a colour.
func coloured(attempt, bytes int) control.Step {
	return control.Step{Attempt: attempt, Stdout: control.Text{Head: control.Bytes(strings.Repeat("\x1b[31mx\x1b[32my", bytes/12))}}
}

// TestPageHasEnoughOfOutput: a run of twenty failed attempts, each with all the
// output that is kept of one, was a page of 8 MB.
func TestPageHasEnoughOfOutput(t *testing.T) {
	d := control.Detail{Run: control.Run{ID: runID, State: engine.Failed}}
	for attempt := range 20 {
		d.Steps = append(d.Steps, coloured(attempt+1, 100<<10))
	}
	left := newBudget()
	views := []runView{newRunView(d, left), newRunView(d, left)}
	var shown []string
	bytes, spans := 0, 0
	for i, v := range views {
		for _, st := range v.Steps {
			if (st.Left == runID) != (st.Text == nil) {
				t.Errorf("run %d, attempt %d: output is shown: %v, left out: %q", i, st.Attempt, st.Text != nil, st.Left)
			}
			for _, o := range st.Text {
				shown = append(shown, fmt.Sprintf("%d.%d", i, st.Attempt))
				spans += len(o.Head)
				for _, p := range o.Head {
					bytes += len(p.Text)
				}
			}
		}
	}
	if got, want := strings.Join(shown, " "), "0.16 0.17 0.18 0.19 0.20"; got != want {
		t.Errorf("a page shows the output of run.attempt %s, want of %s", got, want)
	}
	if most := maxPageSpans + 2*len(shown); bytes > maxPageOutput || spans > most {
		t.Errorf("a page shows %d bytes in %d pieces, want at most %d in %d", bytes, spans, maxPageOutput, most)
	}
	if last := views[0].Steps[19]; last.Text == nil || last.Text[0].Head[0].Class != "f1" {
		t.Error("the newest attempt is shown without its colours, or not at all")
	}
}

func TestAnswersCountAsOutput(t *testing.T) {
	d := control.Detail{Run: control.Run{ID: runID, State: engine.Failed}}
	for attempt := range 10 {
		d.Steps = append(d.Steps, control.Step{Attempt: attempt + 1, Body: control.Bytes(strings.Repeat("x", 100<<10))})
	}
	shown := 0
	for _, st := range newRunView(d, newBudget()).Steps {
		if st.Answer != nil {
			shown++
		}
	}
	if shown != 5 {
		t.Errorf("a page shows %d answers of 100 KiB, want 5", shown)
	}
}
