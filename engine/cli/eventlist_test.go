package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hookrun/engine"
	"hookrun/engine/control"
)

// eventDesk answers with its fields and notes what it was asked.
type eventDesk struct {
	control.Desk // nil: what a test does not ask

	pages []control.EventList // in turn
	event control.EventDetail
	asked []string
}

func (d *eventDesk) Events(_ context.Context, q control.EventQuery) (control.EventList, error) {
	d.asked = append(d.asked, fmt.Sprintf("bucket=%s rule=%s outcomes=%v before=%d limit=%d", q.Bucket, q.Rule, q.Outcomes, q.Before, q.Limit))
	if len(d.pages) == 0 {
		return control.EventList{}, errors.New("no page is left")
	}
	page := d.pages[0]
	d.pages = d.pages[1:]
	return page, nil
}

func (d *eventDesk) Event(context.Context, string) (control.EventDetail, error) { return d.event, nil }

func someEvents() []control.EventRow {
	return []control.EventRow{
		{Event: control.Event{ID: "0197f3c2-8a1b-7a2d-8000-000000000002", Received: day("10:00:00"), Bucket: "deploys", Method: "POST", Path: "/"},
			Kind: "push", Outcome: engine.EventStarted, Matched: []string{"deploy main", "heal"}},
		{Event: control.Event{ID: "0197f3c2-8a1b-7a2c-8000-000000000001", Received: day("09:00:00"), Bucket: "b\x1b[2J", Method: "POST", Path: "/" + strings.Repeat("ü", 50)},
			Outcome: engine.EventErrored, Errored: []string{"x\x07"}, ReplayOf: "0197"},
	}
}

func TestEventsTable(t *testing.T) {
	var out bytes.Buffer
	printEvents(screen{Writer: &out}, someEvents())
	wantText(t, "table", out.String(), `
ID                  RECEIVED             BUCKET      OUTCOME  RULES              REQUEST
0197f3c2-8a1b-7a2d  2026-07-01 10:00:00  deploys     started  deploy main, heal  POST / push
0197f3c2-8a1b-7a2c  2026-07-01 09:00:00  b\u001b[2J  error    x\u0007 (error)    POST /`[1:]+strings.Repeat("ü", 33)+`…
`)
}

// TestEventsOnATerminal: what became of an event is seen on a narrow one, in
// colour.
func TestEventsOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var out bytes.Buffer
	printEvents(screen{Writer: &out, terminal: true, width: 80}, someEvents())
	wantText(t, "table", out.String(), "ID                  RECEIVED             BUCKET      OUTCOME  RULES            …\n"+
		"0197f3c2-8a1b-7a2d  2026-07-01 10:00:00  deploys     \x1b[32mstarted\x1b[0m  deploy main, heal…\n"+
		"0197f3c2-8a1b-7a2c  2026-07-01 09:00:00  b\\u001b[2J  \x1b[31merror\x1b[0m    x\\u0007 (error)  …\n")
}

// TestEventsAskForPages: a page may be short, even empty, and have a next one.
func TestEventsAskForPages(t *testing.T) {
	page := func(n int, next int64, hint ...string) control.EventList {
		return control.EventList{Events: make([]control.EventRow, n), Next: next, Hint: strings.Join(hint, "")}
	}
	for _, tt := range []struct {
		name   string
		limit  int
		pages  []control.EventList
		want   []string
		events int
		hint   string
	}{
		{"one", 50, []control.EventList{page(3, 0)}, []string{"before=0 limit=50"}, 3, ""},
		{"short ones", 50, []control.EventList{page(0, 90), page(20, 70), page(5, 0)}, []string{"before=0 limit=50", "before=90 limit=50", "before=70 limit=30"}, 25, ""},
		{"enough", 1200, []control.EventList{page(1000, 77), page(200, 7)}, []string{"before=0 limit=1000", "before=77 limit=200"}, 1200, ""},
		{"none", 5, []control.EventList{page(0, 0, "h")}, []string{"before=0 limit=5"}, 0, "h"},
		{"some are missing", 50, []control.EventList{page(20, 70, "h"), page(5, 0)}, []string{"before=0 limit=50", "before=70 limit=30"}, 25, "h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &eventDesk{pages: tt.pages}
			o := eventOptions{filterFlags: filterFlags{bucket: "b", rule: "a", limit: tt.limit}, outcomes: list{"error,started", "answered"}}
			events, hint, err := o.fetch(t.Context(), d)
			if err != nil || len(events) != tt.events || hint != tt.hint {
				t.Errorf("got %d events, hint %q, %v; want %d, %q", len(events), hint, err, tt.events, tt.hint)
			}
			want := "bucket=b rule=a outcomes=[error started answered] " + strings.Join(tt.want, "\nbucket=b rule=a outcomes=[error started answered] ")
			wantText(t, "asked", strings.Join(d.asked, "\n"), want)
		})
	}
}

func TestEventsPrint(t *testing.T) {
	for _, tt := range []struct {
		name        string
		json        bool
		page        control.EventList
		out, stderr string
	}{
		{"none", false, control.EventList{}, "", "hookrun: there are no such events\n"},
		{"a mistyped bucket", false, control.EventList{Hint: `did you mean "deploys"?`}, "", "hookrun: there are no such events\nhookrun: hint: did you mean \"deploys\"?\n"},
		{"JSON", true, control.EventList{Events: []control.EventRow{{Event: control.Event{ID: "e1", Path: "<\x1b>\u009b\u202e\U000e0001 é"}, Outcome: engine.EventAnswered}}},
			`{"id":"e1","received":"0001-01-01T00:00:00Z","source":"","bucket":"","method":"","path":"<\u001b>\u009b\u202e\udb40\udc01 é","size":0,"seq":0,"outcome":"answered"}` + "\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			o := eventOptions{filterFlags: filterFlags{limit: 50, json: tt.json}}
			if err := o.print(t.Context(), &eventDesk{pages: []control.EventList{tt.page}}, screen{Writer: &out}, &stderr); err != nil {
				t.Fatal(err)
			}
			wantText(t, "stdout", out.String(), tt.out)
			wantText(t, "stderr", stderr.String(), tt.stderr)
		})
	}
}

func TestEventShow(t *testing.T) {
	d := control.EventDetail{
		EventRow: someEvents()[0], Delivery: "d1", Query: "a=b\x1b", Meta: map[string]string{"b": "2", "a": "1"}, Edited: true,
		Header: map[string][]string{"X-B": {"1", "2\x07"}, "Authorization": {"***"}}, Body: []byte(`{"a":{"b":"\u001b"}}`), Rules: "abcd",
		Verdicts: []engine.Verdict{{Rule: "deploy main", Outcome: engine.Matched}, {Rule: "x", Outcome: engine.NoMatch, Why: "false: body.ref == 1", Missing: []string{"body.ref"}}},
		Runs:     []control.Run{{ID: "aaaaaa1", Rule: "deploy main", State: engine.Queued, Created: day("10:00:00")}}, MoreRuns: 4, Replays: []string{"e2", "e3"},
	}
	d.Source, d.Remote, d.Input, d.Size, d.ReplayOf, d.BodyErr = "relay", "192.0.2.1:4", "in", 20, "e0", "no JSON\x1b"
	var out bytes.Buffer
	o := showOptions{desk: deskFlags{data: "here"}}
	if err := o.printEvent(t.Context(), &eventDesk{event: d}, "0197f3", screen{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	wantText(t, "show", out.String(), `
event     0197f3c2-8a1b-7a2d-8000-000000000002
received  2026-07-01 10:00:00
request   POST /?a=b\u001b to bucket deploys, input in, 20 bytes, by way of relay, from 192.0.2.1:4
kind      push
outcome   started
replay of e0, with another body
delivery  d1
meta      a: 1
meta      b: 2
problem   no JSON\u001b
rules     others than those in force now, if any are: abcd

header
  Authorization: ***
  X-B: 1
  X-B: 2\u0007

body
  {
    "a": {
      "b": "\u001b"
    }
  }

rules
  matched  deploy main
  no       x: false: body.ref == 1, missing: body.ref

runs
ID       STATE   RULE         CREATED              TRIES  TOOK  WHY
aaaaaa1  queued  deploy main  2026-07-01 10:00:00  0
… 4 more

replays
  e2
  e3

why rules did or did not match: hookrun explain -event 0197f3c2-8a1b-7a2d -data here
`[1:])
}

func TestBodiesOfEvents(t *testing.T) {
	lines := func(n int) string { return strings.TrimSuffix(strings.Repeat("x\n", n), "\n") }
	indented := func(n int) string { return strings.Repeat("  x\n", n) }
	const whole = "hookrun events body e1 -data here"
	for _, tt := range []struct {
		name string
		body string
		cut  int // bytes that come behind
		all  bool
		want string
	}{
		{"nothing", "", 0, false, ""},
		{"a text", "a=1&b=2\r\nx\x1b[2J", 0, false, "\nbody\n  a=1&b=2\n  x\\u001b[2J\n"},
		{"no text", "\xff\xfe", 0, false, "\nbody, 2 bytes that are no text: " + whole + " > FILE\n"},
		{"a zero byte", "a\x00b", 0, false, "\nbody, 3 bytes that are no text: " + whole + " > FILE\n"},
		{"as many lines as are shown", lines(60), 0, false, "\nbody\n" + indented(60)},
		{"many lines", lines(62), 0, false, "\nbody\n" + indented(60) + "  … 2 more lines: -v\n"},
		{"many lines, all", lines(62), 0, true, "\nbody\n" + indented(62)},
		{"a long one, cut in a character", "aü"[:2], 898, false, "\nbody\n  a\n  … 898 more bytes: " + whole + "\n"},
		{"a masked one", `key=***`, 0, false, "\nbody\n  key=***\n  (a secret of the rules is masked in it; as it came: " + whole + ")\n"},
		{"a long line", strings.Repeat("x", 600), 0, false, "\nbody\n  " + strings.Repeat("x", 499) + "…\n"},
		{"numbers digit for digit", `[12345678901234567890]`, 0, false, "\nbody\n  [\n    12345678901234567890\n  ]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			d := control.EventDetail{EventRow: control.EventRow{Event: control.Event{ID: "e1", Size: len(tt.body) + tt.cut}}, Body: []byte(tt.body), BodyCut: tt.cut, BodyMasked: strings.Contains(tt.body, engine.Masked)}
			shown{out: screen{Writer: &out}, all: tt.all}.body(&d, " -data here")
			wantText(t, "body", out.String(), tt.want)
		})
	}
}

// TestHistoryUsage: what is wrong with a command line, and the mend.
func TestHistoryUsage(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", dir)
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"events shwo x", exitUsage, "hookrun: events: unknown word \"shwo\"\nhookrun: hint: did you mean \"show\"?\n"},
		{"events everything", exitUsage, "hookrun: events: unknown word \"everything\"\nhookrun: hint: the words are show, body; without one, events are listed\n"},
		{"events 0197f3c2-8a1b", exitUsage, "hookrun: events: unknown word \"0197f3c2-8a1b\"\nhookrun: hint: hookrun events show 0197f3c2-8a1b\n"},
		{"events -json show", exitUsage, "hookrun: events: unexpected argument \"show\"\nhookrun: hint: flags stand behind the word: hookrun events show ID -data FOLDER\n"},
		{"events show", exitUsage, "hookrun: events show: the id of an event is missing\nhookrun: hint: hookrun events lists them\n"},
		{"events -limit 10001", exitUsage, "hookrun: events: -limit=10001 is not between 1 and 10000\n"},
		{"events -data nowhere", exitFailed, "hookrun: events: nowhere holds no store of a hookrun\nhookrun: hint: -data names the folder that hookrun runs with\n"},
		{"status -data nowhere", exitFailed, "hookrun: status: nowhere holds no store of a hookrun\nhookrun: hint: -data names the folder that hookrun runs with\n"},
		{"tail -data nowhere", exitFailed, "hookrun: tail: no hookrun runs on nowhere\nhookrun: hint: start one, as with hookrun -rules rules.yaml -data nowhere, or name its folder with -data\n"},
		{"arm a -data nowhere", exitFailed, "hookrun: arm: no hookrun runs on nowhere\nhookrun: hint: start one, as with hookrun -rules rules.yaml -data nowhere, or name its folder with -data\n"},
		{"arm a -all", exitUsage, "hookrun: arm: -all and a rule are both given\nhookrun: hint: -all is for any rule\n"},
		{"runs release 0197f3c2 -data nowhere", exitFailed, "hookrun: runs release: no hookrun runs on nowhere\nhookrun: hint: start one, as with hookrun -rules rules.yaml -data nowhere, or name its folder with -data\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := Main(t.Context(), strings.Fields(tt.args), Process{Stdout: &out, Stderr: &stderr})
			if code != tt.code || out.Len() > 0 {
				t.Errorf("exit code %d, stdout %q; want %d and nothing", code, out.String(), tt.code)
			}
			wantText(t, "stderr", stderr.String(), tt.want)
		})
	}
}
