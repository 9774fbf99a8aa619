package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestShowOfAFailedRun(t *testing.T) {
	two, zero := 2, 0
	var lines strings.Builder
	for i := range 25 {
		fmt.Fprintf(&lines, "line %d\r\n", i+1)
	}
	d := control.Detail{
		Run: control.Run{
			ID: "0197f3c2-8a1b-7a2d-8000-000000000002", Event: "e1", Rule: "deploy", Key: "acme/\x1bwidget", State: engine.Failed, Attempts: 2, Cut: 1,
			Created: day("10:00:00"), Started: day("10:00:05"), Finished: day("10:01:05"), Index: 3,
			Error: "step build (exec): exit status 2: oops", Waited: "5s, last for run 0197 of its lane", Note: "first\nsecond",
		},
		Element: []byte(`{"n":1}`),
		Event: &control.Event{
			ID: "e1", Received: day("10:00:00"), Source: "relay", Remote: "192.0.2.1:4", Bucket: "deploys", Input: "in", Method: "POST", Path: "/a\x07", Size: 25,
		},
		Verdict: &engine.Verdict{Missing: []string{"body.deleted", "body.x"}},
		Steps: []control.Step{
			{Attempt: 1, Step: "build", Kind: "exec", State: engine.StepFailed, Started: day("10:00:05"), Finished: day("10:00:08"), ExitCode: &two, Error: "exit status 2",
				Stdout: control.Text{Head: []byte(lines.String())}, Stderr: control.Text{Head: []byte("a\x1b[31mb\tc\n"), Cut: 7, Tail: []byte("oops\n")}},
			{Attempt: 2, Step: "build", Kind: "exec", State: engine.StepDone, Started: day("10:01:00"), Finished: day("10:01:01"), ExitCode: &zero,
				Plan:    &engine.Plan{Argv: []string{"make", "REF=main", "it's\x1b", ""}, Dir: "/srv/app", Env: []engine.PlanVar{{Name: "A", Value: "a b"}, {Name: "B", Value: "***"}}, Stdin: new(string)},
				Outputs: map[string]string{"version": "1.2", "url": "x\ny"}},
			{Attempt: 2, Index: 1, Step: "call", Kind: "http", State: engine.StepFailed, Passed: true, Started: day("10:01:01"), Finished: day("10:01:02"), Status: 502,
				Plan:  &engine.Plan{Method: "POST", URL: "https://chat.example/x?y=1", Header: []engine.PlanVar{{Name: "X-A", Value: "b\nc"}}, Body: new(string)},
				Error: "chat.example answered 502", Body: []byte("bad gateway")},
			{Attempt: 2, Index: 2, Step: "3", Kind: "file", State: engine.StepDone, Started: day("10:01:02"), Finished: day("10:01:02"), Path: "/tmp/x", Size: 9,
				Plan: &engine.Plan{Path: "/tmp/x", Write: "append", Content: new(string)}},
			{Attempt: 2, Index: 3, Step: "4", Kind: "shell", State: engine.StepFailed, Started: day("10:01:02"), Finished: day("10:01:04"), Signal: "SIGTERM", Error: "timed out after 2s"},
			{Attempt: 2, Index: 4, Phase: engine.PhaseFailure, Step: "on_failure.1", Kind: "exec", State: engine.StepSkipped, Started: day("10:01:04"), Finished: day("10:01:04")},
			{Attempt: 2, Index: 5, Phase: engine.PhaseAlways, Step: "tidy", Kind: "exec", State: engine.StepRunning, Started: day("10:01:04")},
		},
	}
	f := &fakeDesk{detail: d}
	o := showOptions{desk: deskFlags{data: "here"}}
	var out bytes.Buffer
	if err := o.print(t.Context(), f, "0197f3", screen{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	last := ""
	for i := 6; i <= 25; i++ {
		last += fmt.Sprintf("      line %d\n", i)
	}
	wantText(t, "show", out.String(), `
run       0197f3c2-8a1b-7a2d-8000-000000000002
state     failed
why       step build (exec): exit status 2: oops
rule      deploy
key       acme/\u001bwidget
element   3: {"n":1}
event     e1
request   POST /a\u0007 to bucket deploys, input in, 25 bytes, by way of relay, from 192.0.2.1:4
received  2026-07-01 10:00:00
missing   body.deleted, body.x: the condition read this, and the body does not have it
created   2026-07-01 10:00:00
waited    5s, last for run 0197 of its lane
started   2026-07-01 10:00:05
finished  2026-07-01 10:01:05, after 1m0s
attempts  2, 1 of them cut off by an end of hookrun
note      first
note      second

attempt 1, 2026-07-01 10:00:05
  build (exec)  failed  exit code 2  3s
    error: exit status 2
    stdout, the last 20 of 25 lines:
`[1:]+last+`    stderr:
      a\u001b[31mb	c

      … 7 bytes cut …
      oops

attempt 2, 2026-07-01 10:01:00
  build (exec)  done  exit code 0  1s
    command: make REF=main 'it'\''s\u001b' ''
    dir: /srv/app
    env: A='a b' B='***'
    output url: x\u000ay
    output version: 1.2
  call (http)  failed, the run went on  status 502  1s
    error: chat.example answered 502
    call: POST https://chat.example/x?y=1
    header: X-A: b\u000ac
    answer:
      bad gateway
  3 (file)  done  9 bytes to /tmp/x  0s
    append: /tmp/x
  4 (shell)  failed  SIGTERM  2s
    error: timed out after 2s
  on_failure.1 (exec)  skipped  0s
  tidy (exec) of always  running

to go on where it failed: hookrun runs retry 0197f3c2-8a1b-7a2d -data here (-all: from the first action)
`)

	o.verbose = true
	out.Reset()
	if err := o.print(t.Context(), f, "0197f3", screen{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"    stdout:\n      line 1\n", "    stdin: (empty)\n", "    content: (empty)\n", "    body: (empty)\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-v does not print %q:\n%s", want, out.String())
		}
	}
}

func TestShowOfAShadow(t *testing.T) {
	content := strings.Repeat("x", 2*maxLineShow)
	d := control.Detail{
		Run: control.Run{ID: "0197f3c2-8a1b-7a2d-8000-000000000002", Event: "e1", Rule: "deploy", State: engine.Shadow, Created: day("10:00:00"), Finished: day("10:00:00")},
		Steps: []control.Step{
			{Step: "1", Kind: "exec", State: engine.StepShadow, Started: day("10:00:00"), Finished: day("10:00:00"), Plan: &engine.Plan{Argv: []string{"make", "{{ steps.a.stdout }}"}, Open: []string{"steps.a.stdout"}}},
			{Index: 1, Step: "2", Kind: "exec", State: engine.StepSkipped, Started: day("10:00:00"), Finished: day("10:00:00")},
			{Index: 2, Step: "3", Kind: "file", State: engine.StepShadow, Started: day("10:00:00"), Finished: day("10:00:00"), Plan: &engine.Plan{Path: "/x", Write: "replace", Content: &content}},
			{Index: 3, Step: "4", Kind: "http", State: engine.StepShadow, Started: day("10:00:00"), Finished: day("10:00:00"), Error: "body: it is nil"},
		},
	}
	var out bytes.Buffer
	o := showOptions{desk: deskFlags{data: "here"}}
	if err := o.print(t.Context(), &fakeDesk{detail: d}, "0197f3", screen{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	_, steps, _ := strings.Cut(out.String(), "\n\n")
	wantText(t, "show", steps, `
in shadow: what would have been done
  1 (exec)  shadow
    command: make '{{ steps.a.stdout }}'
  2 (exec)  skipped
  3 (file)  shadow
    replace: /x
    content: `[1:]+content[:maxLineShow-1]+`…
  4 (http)  shadow
    error: body: it is nil

to run its event with the rules as they are now: hookrun replay -run 0197f3c2-8a1b-7a2d -data here
`)
}

// TestShowOfAHeldRun: what a person needs to say whether it goes.
func TestShowOfAHeldRun(t *testing.T) {
	input := "a\x1bb"
	run := control.Run{ID: "0197f3c2-8a1b-7a2d-8000-000000000002", Event: "e1", Rule: "deploy", State: engine.Queued, Armed: true, Created: day("10:00:00")}
	const next = `
to let it go: hookrun runs release 0197f3c2-8a1b-7a2d -data here
to drop it: hookrun runs cancel 0197f3c2-8a1b-7a2d -data here
`
	for _, tt := range []struct {
		name   string
		detail control.Detail
		want   string
	}{
		{"its steps", control.Detail{Planned: &engine.PlannedRun{Steps: []engine.PlannedStep{
			{Step: "build", Kind: "exec", Plan: engine.Plan{Argv: []string{"make", "REF=main", "a b"}, Stdin: &input}},
			{Index: 1, Step: "2", Kind: "exec", Skip: true},
			{Index: 2, Step: "3", Kind: "file", Open: true, Plan: engine.Plan{Path: "/x/{{ steps.build.stdout }}", Write: "replace", Open: []string{"steps.build.stdout"}}},
			{Index: 3, Step: "4", Kind: "http", Err: "url: it is nil"},
		}}}, `
held: what it would do if it was released now
  build (exec)
    command: make REF=main 'a b'
    stdin: a\u001bb
  2 (exec)  skipped
  3 (file)  if a step before has it so
    replace: /x/{{ steps.build.stdout }}
    {{ steps.build.stdout }}: that step has not run
  4 (http)
    error: url: it is nil
`},
		{"it would fail", control.Detail{Planned: &engine.PlannedRun{Err: "concurrency.key: it is nil"}}, `
held: what it would do if it was released now
  it would fail at once: concurrency.key: it is nil
`},
		{"not known", control.Detail{PlannedErr: "its rule is gone"}, `
held: what it would do if it was released now
  not known: its rule is gone
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.detail.Run = run
			var out bytes.Buffer
			o := showOptions{desk: deskFlags{data: "here"}}
			if err := o.print(t.Context(), &fakeDesk{detail: tt.detail}, "0197f3", screen{Writer: &out}); err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(out.String(), "\n\n")
			wantText(t, "show", "\n"+rest, tt.want+next)
		})
	}
}

func TestShowOfOtherRuns(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  control.Run
		want string
	}{
		{"queued", control.Run{State: engine.Queued, Why: "its rule is paused"}, `
state     queued
waits     its rule is paused
event     e1
created   2026-07-01 10:00:00
attempts  0

to follow it: hookrun runs logs aaaaaa1 -f
to end it: hookrun runs cancel aaaaaa1
`},
		{"about to be replaced", control.Run{State: engine.Running, Attempts: 1, Started: day("10:00:00"), Stop: engine.Replaced, By: "aaaaaa2", Error: "a newer one"}, `
state     running, about to end as replaced
why       a newer one
by        aaaaaa2
event     e1
created   2026-07-01 10:00:00
started   2026-07-01 10:00:00
attempts  1

to follow it: hookrun runs logs aaaaaa1 -f
to end it: hookrun runs cancel aaaaaa1
`},
		{"duplicate", control.Run{State: engine.Duplicate, By: "aaaaaa2", Finished: day("10:00:00"), Error: "dedupe"}, `
state     duplicate
why       dedupe
by        aaaaaa2
event     e1
created   2026-07-01 10:00:00
finished  2026-07-01 10:00:00
attempts  0

to run it all the same: hookrun runs retry aaaaaa1
`},
		{"done", control.Run{State: engine.Done, Attempts: 1, Started: day("10:00:00"), Finished: day("10:00:01")}, `
state     done
event     e1
created   2026-07-01 10:00:00
started   2026-07-01 10:00:00
finished  2026-07-01 10:00:01, after 1s
attempts  1

to run it again: hookrun runs retry aaaaaa1
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.run.ID, tt.run.Event, tt.run.Created = "aaaaaa1", "e1", day("10:00:00")
			o := showOptions{desk: deskFlags{data: defaultData()}}
			var out bytes.Buffer
			if err := o.print(t.Context(), &fakeDesk{detail: control.Detail{Run: tt.run}}, "aaaaaa1", screen{Writer: &out}); err != nil {
				t.Fatal(err)
			}
			wantText(t, "show", out.String(), "run       aaaaaa1\n"+tt.want[1:])
		})
	}
}

func TestShowAsJSON(t *testing.T) {
	o := showOptions{json: true}
	var out bytes.Buffer
	d := control.Detail{Run: control.Run{ID: "aaaaaa1", Created: day("10:00:00").UTC()}, Steps: []control.Step{{Step: "1", Stdout: control.Text{Head: []byte("<\xff")}}}}
	if err := o.print(t.Context(), &fakeDesk{detail: d}, "aaaaaa1", screen{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"stdout":{"head":{"base64":"PP8="}}`) {
		t.Errorf("JSON is %s", got)
	}
}
