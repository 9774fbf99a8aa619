package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestTailLines(t *testing.T) {
	const runID = "0197f3c2-8a1b-7a2d-8000-000000000002"
	events := someEvents()
	for _, tt := range []struct {
		name   string
		notice control.Notice
		want   string
	}{
		{"an event", control.Notice{Event: &events[0]}, "10:00:00  event  0197f3c2-8a1b-7a2d  started     deploys  POST / push  deploy main, heal"},
		{"what a sender chose", control.Notice{Event: &control.EventRow{Event: control.Event{ID: "e1", Received: day("10:00:00"), Bucket: "b\x1b[2J", Method: "GET", Path: "/\n"}, Outcome: engine.EventUnmatched}},
			`10:00:00  event  e1                  unmatched   b\u001b[2J  GET /\u000a`},
		{"a run that runs", control.Notice{Run: &control.Run{ID: runID, Rule: "deploy", Key: "a", State: engine.Running, Attempts: 1, Started: day("11:59:00")}},
			"12:00:00  run    0197f3c2-8a1b-7a2d  running     deploy [a]"},
		{"a run that will be tried again", control.Notice{Run: &control.Run{ID: runID, Rule: "deploy", State: engine.Queued, Attempts: 1, Due: day("12:00:10"), Error: "exit status 2"}},
			"12:00:00  run    0197f3c2-8a1b-7a2d  queued      deploy  will retry at 12:00:10: exit status 2"},
		{"a second attempt", control.Notice{Run: &control.Run{ID: runID, Rule: "deploy", State: engine.Running, Attempts: 2, Error: "exit status 2"}},
			"12:00:00  run    0197f3c2-8a1b-7a2d  running     deploy  attempt 2"},
		{"a run that failed", control.Notice{Run: &control.Run{ID: runID, Rule: "deploy", State: engine.Failed, Attempts: 1, Started: day("11:59:00"), Finished: day("11:59:12"), Error: "exit status 2"}},
			"12:00:00  run    0197f3c2-8a1b-7a2d  failed      deploy  12s  exit status 2"},
		{"a duplicate", control.Notice{Run: &control.Run{ID: runID, Rule: "deploy", State: engine.Duplicate, By: "aaaaaa1"}},
			"12:00:00  run    0197f3c2-8a1b-7a2d  duplicate   deploy  by aaaaaa1"},
		{"a rejection", control.Notice{Rejected: &engine.Rejection{Received: day("10:00:00"), Bucket: "deploys", Method: "POST", Path: "/", Remote: "192.0.2.1:4", Reason: "no signature"}},
			"10:00:00  event                      rejected    deploys  POST /  from 192.0.2.1:4: no signature"},
		{"rules", control.Notice{Rules: &control.Generation{Hash: "abcd", Files: []string{"/r.yaml"}, Current: true, Changes: &control.Changes{Flipped: 3, Of: "the last 24h"}}},
			"12:00:00  rules  abcd                in force    /r.yaml  other than 3 decisions of the last 24h"},
		{"rules that are held", control.Notice{Rules: &control.Generation{Hash: "abcd", Files: []string{"/r.yaml"}}},
			"12:00:00  rules  abcd                held        /r.yaml  hookrun rules accept abcd"},
		{"not well", control.Notice{Health: &control.Health{Reason: "the disk is full"}}, "12:00:00  state                      not well    the disk is full"},
		{"well again", control.Notice{Health: &control.Health{OK: true}}, "12:00:00  state                      well"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			tail := &tail{out: screen{Writer: &out}, stderr: &stderr, now: func() time.Time { return day("12:00:00") }}
			if err := tail.notice(tt.notice); err != nil {
				t.Fatal(err)
			}
			wantText(t, "line", out.String(), tt.want+"\n")
			wantText(t, "stderr", stderr.String(), "")
		})
	}
}

// TestTailTellsOfItself: on stderr, so that stdout can be read by a program.
func TestTailTellsOfItself(t *testing.T) {
	var out, stderr bytes.Buffer
	tail := &tail{out: screen{Writer: &out}, stderr: &stderr, json: true, now: time.Now}
	for _, n := range []control.Notice{{}, {Missed: 7}} {
		if err := tail.notice(n); err != nil {
			t.Fatal(err)
		}
	}
	tail.ended()
	tail.ended()
	if err := tail.notice(control.Notice{}); err != nil {
		t.Fatal(err)
	}
	wantText(t, "stdout", out.String(), "{\"missed\":7}\n")
	wantText(t, "stderr", stderr.String(), `
hookrun: hookrun has ended; this goes on when it runs again
hookrun: hookrun runs again; what came meanwhile is listed by hookrun events
`[1:])
}

// TestTailPrintsAStateOnce: a run changes at each of its steps.
func TestTailPrintsAStateOnce(t *testing.T) {
	var out bytes.Buffer
	tail := &tail{out: screen{Writer: &out}, now: func() time.Time { return day("12:00:00") }}
	for _, r := range []control.Run{
		{ID: "a", State: engine.Running, Attempts: 1}, {ID: "a", State: engine.Running, Attempts: 1}, {ID: "b", State: engine.Running, Attempts: 1},
		{ID: "a", State: engine.Queued, Attempts: 1}, {ID: "a", State: engine.Running, Attempts: 2},
	} {
		if err := tail.notice(control.Notice{Run: &r}); err != nil {
			t.Fatal(err)
		}
	}
	wantText(t, "lines", strings.Join(strings.Fields(out.String()), " "),
		"12:00:00 run a running 12:00:00 run b running 12:00:00 run a queued 12:00:00 run a running attempt 2")
	for i := range 3 * maxTailed {
		if tail.isNews(time.Duration(i).String(), "x"); len(tail.runs) > maxTailed {
			t.Fatalf("%d runs are known, want %d at most", len(tail.runs), maxTailed)
		}
	}
}

// someRules are rules in force with these names.
type someRules []string

func (names someRules) Rules(context.Context) (list control.RuleList, err error) {
	for _, name := range names {
		list.Rules = append(list.Rules, control.RuleInfo{Name: name})
	}
	return list, nil
}

// TestTailOfNoRule: a rule that is not there is no reason to end, and is told of
// once.
func TestTailOfNoRule(t *testing.T) {
	for _, tt := range []struct{ name, rule, want string }{
		{name: "any"},
		{name: "one that is there", rule: "heal"},
		{name: "one that is nearly there", rule: "heel", want: "hookrun: there is no rule \"heel\" yet\nhookrun: hint: did you mean \"heal\"?\n"},
		{name: "another", rule: "x\x1b[2J", want: "hookrun: there is no rule \"x\\x1b[2J\" yet\nhookrun: hint: the rules are deploy, heal\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			tail := &tail{stderr: &stderr}
			for range 2 {
				tail.unknown(t.Context(), someRules{"deploy", "heal"}, tt.rule)
			}
			wantText(t, "stderr", stderr.String(), tt.want)
		})
	}
}

// TestTailInColour: the word alone, and a line is cut by what is seen of it.
func TestTailInColour(t *testing.T) {
	event := someEvents()[0]
	for _, tt := range []struct {
		name    string
		width   int
		noColor string
		want    string
	}{
		{"any width", 0, "", "10:00:00  event  0197f3c2-8a1b-7a2d  \x1b[32mstarted\x1b[0m     deploys  POST / push  deploy main, heal\n"},
		{"cut behind the word", 56, "", "10:00:00  event  0197f3c2-8a1b-7a2d  \x1b[32mstarted\x1b[0m     deploy…\n"},
		{"cut in the word", 40, "", "10:00:00  event  0197f3c2-8a1b-7a2d  st…\n"},
		{"no colour wanted", 0, "1", "10:00:00  event  0197f3c2-8a1b-7a2d  started     deploys  POST / push  deploy main, heal\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			var out bytes.Buffer
			tail := &tail{out: screen{Writer: &out, terminal: true, width: tt.width}, now: time.Now}
			if err := tail.notice(control.Notice{Event: &event}); err != nil {
				t.Fatal(err)
			}
			wantText(t, "line", out.String(), tt.want)
		})
	}
}
