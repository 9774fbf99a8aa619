package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// fakeDesk answers with its fields and notes what it was asked.
type fakeDesk struct {
	control.Desk // nil: what a test does not ask

	pages   []control.List // in turn
	detail  control.Detail
	run     control.Run
	paused  control.Paused
	summary control.Summary
	pieces  []control.Piece
	err     error
	asked   []string
}

var _ control.Desk = (*fakeDesk)(nil)

func (f *fakeDesk) note(format string, args ...any) error {
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeDesk) List(_ context.Context, q control.Query) (control.List, error) {
	err := f.note("list rule=%s states=%v before=%d limit=%d", q.Rule, q.States, q.Before, q.Limit)
	if len(f.pages) == 0 {
		return control.List{}, err
	}
	page := f.pages[0]
	f.pages = f.pages[1:]
	return page, err
}

func (f *fakeDesk) Show(_ context.Context, id string) (control.Detail, error) {
	return f.detail, f.note("show %s", id)
}

func (f *fakeDesk) Log(_ context.Context, id string, follow bool, emit func(control.Piece) error) error {
	for _, p := range f.pieces {
		if err := emit(p); err != nil {
			return err
		}
	}
	return f.note("log %s %v", id, follow)
}

func (f *fakeDesk) Retry(_ context.Context, id string, all bool) (control.Run, error) {
	return f.run, f.note("retry %s %v", id, all)
}

func (f *fakeDesk) Cancel(_ context.Context, id string) (control.Run, error) {
	return f.run, f.note("cancel %s", id)
}

func (f *fakeDesk) Paused(context.Context) (control.Paused, error) { return f.paused, f.note("paused") }

func (f *fakeDesk) Pause(_ context.Context, rule string) (control.Paused, error) {
	return f.paused, f.note("pause %q", rule)
}

func (f *fakeDesk) Resume(_ context.Context, rule string) (control.Paused, error) {
	return f.paused, f.note("resume %q", rule)
}

func (f *fakeDesk) Summary(context.Context) (control.Summary, error) {
	return f.summary, f.note("summary")
}

// wantText compares what was printed.
func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

// day is a time of which clock prints what it says here, wherever here is.
func day(clock string) time.Time {
	t, err := time.ParseInLocation(time.DateTime, "2026-07-01 "+clock, time.Local)
	if err != nil {
		panic(err)
	}
	return t
}

func TestRunsTable(t *testing.T) {
	const by = "0197f3c2-8a1b-7a2c-8000-000000000001"
	now := day("12:00:00")
	run := func(state engine.State, change func(*control.Run)) control.Run {
		r := control.Run{ID: "0197f3c2-8a1b-7a2d-8000-000000000002", Rule: "deploy", State: state, Created: day("11:59:00")}
		change(&r)
		return r
	}
	tests := []struct {
		name string
		run  control.Run
		want string // state, rule, tries, took, why
	}{
		{"done", run(engine.Done, func(r *control.Run) {
			r.Key, r.Attempts, r.Started, r.Finished = "acme/widget", 1, day("11:59:00"), day("11:59:12")
		}), "done|deploy [acme/widget]|1|12s|"},
		{"failed", run(engine.Failed, func(r *control.Run) {
			r.Attempts, r.Started, r.Finished, r.Error = 3, day("11:00:00"), day("11:59:12"), "step 1 (exec): exit status 2"
		}), "failed|deploy|3|59m12s|step 1 (exec): exit status 2"},
		{"waiting its turn", run(engine.Queued, func(r *control.Run) { r.Why = "concurrency: it is full" }),
			"queued|deploy|0||concurrency: it is full"},
		{"waiting for a retry", run(engine.Queued, func(r *control.Run) {
			r.Attempts, r.Started, r.Due, r.Why, r.Error = 1, day("11:59:00"), day("12:01:30"), "it is tried again in 1m30s", "exit status 1"
		}), "queued|deploy|1|in 1m30s|it is tried again in 1m30s; before: exit status 1"},
		{"running", run(engine.Running, func(r *control.Run) { r.Attempts, r.Started = 1, day("09:30:00") }),
			"running|deploy|1|2h30m yet|"},
		{"about to be replaced", run(engine.Running, func(r *control.Run) {
			r.Attempts, r.Started, r.Stop, r.By, r.Error = 1, day("11:59:59"), engine.Replaced, by, "a newer run took its place"
		}), "running|deploy|1|1s yet|about to end as replaced: by 0197f3c2-8a1b-7a2c: a newer run took its place"},
		{"duplicate", run(engine.Duplicate, func(r *control.Run) { r.By, r.Finished, r.Error = by, r.Created, "dedupe: the same key" }),
			"duplicate|deploy|0||by 0197f3c2-8a1b-7a2c: dedupe: the same key"},
		{"retried days later", run(engine.Done, func(r *control.Run) {
			r.Attempts, r.Retried, r.Started, r.Finished = 2, true, day("11:59:00"), now.Add(72*time.Hour)
		}), "done|deploy|2||"},
		{"what a sender chose", run(engine.Failed, func(r *control.Run) { r.Key, r.Error = "a\x1b[2J\nb", "\x1b]0;x\x07" }),
			`failed|deploy [a\u001b[2J\u000ab]|0||\u001b]0;x\u0007`},
		{"a long key", run(engine.Skipped, func(r *control.Run) { r.Key = strings.Repeat("ü", 100) }),
			"skipped|deploy [" + strings.Repeat("ü", 31) + "…|0||"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			printTable(screen{Writer: &out}, []control.Run{tt.run}, now)
			lines := strings.Split(out.String(), "\n")
			if len(lines) != 3 || !strings.HasPrefix(lines[0], "ID                  STATE") {
				t.Fatalf("printed\n%s", out.String())
			}
			state, rest, _ := strings.Cut(tt.want, "|")
			rule, rest, _ := strings.Cut(rest, "|")
			want := strings.Join([]string{"0197f3c2-8a1b-7a2d", state, rule, "2026-07-01 11:59:00", strings.ReplaceAll(rest, "|", " ")}, " ")
			wantText(t, "row", strings.Join(strings.Fields(lines[1]), " "), strings.Join(strings.Fields(want), " "))
		})
	}
}

func TestRunsTableStandsInColumns(t *testing.T) {
	runs := []control.Run{
		{ID: "aaaaaa1", Rule: "deploy ü", State: engine.Superseded, Created: day("10:00:00"), By: "aaaaaa2"},
		{ID: "aaaaaa2", Rule: "a", State: engine.Done, Created: day("10:00:01"), Attempts: 10, Started: day("10:00:00"), Finished: day("10:00:01")},
	}
	var out bytes.Buffer
	printTable(screen{Writer: &out}, runs, day("12:00:00"))
	wantText(t, "table", out.String(), `
ID       STATE       RULE      CREATED              TRIES  TOOK  WHY
aaaaaa1  superseded  deploy ü  2026-07-01 10:00:00  0            by aaaaaa2
aaaaaa2  done        a         2026-07-01 10:00:01  10     1s
`[1:])

	out.Reset()
	printTable(screen{Writer: &out, terminal: true, width: 30}, runs, day("12:00:00"))
	wantText(t, "table on a narrow terminal", out.String(), `
ID       STATE       RULE    …
aaaaaa1  superseded  deploy ü…
aaaaaa2  done        a       …
`[1:])
}

func TestRunsAsksForPages(t *testing.T) {
	page := func(n int, next int64) control.List {
		return control.List{Runs: make([]control.Run, n), Next: next}
	}
	for _, tt := range []struct {
		name  string
		limit int
		pages []control.List
		want  []string
		runs  int
	}{
		{"one", 50, []control.List{page(3, 0)}, []string{"list rule=a states=[done failed] before=0 limit=50"}, 3},
		{"more than a page", 1200, []control.List{page(1000, 77), page(200, 7)}, []string{
			"list rule=a states=[done failed] before=0 limit=1000", "list rule=a states=[done failed] before=77 limit=200"}, 1200},
		{"the last page is empty", 2000, []control.List{page(1000, 77), page(0, 0)}, []string{
			"list rule=a states=[done failed] before=0 limit=1000", "list rule=a states=[done failed] before=77 limit=1000"}, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeDesk{pages: tt.pages}
			o := listOptions{filterFlags: filterFlags{rule: "a", limit: tt.limit}, states: list{"done, failed"}}
			runs, _, err := o.fetch(t.Context(), f)
			if err != nil || len(runs) != tt.runs {
				t.Errorf("got %d runs, %v; want %d", len(runs), err, tt.runs)
			}
			wantText(t, "asked", strings.Join(f.asked, "\n"), strings.Join(tt.want, "\n"))
		})
	}
}

func TestRunsPrints(t *testing.T) {
	hostile := control.Run{ID: "aaaaaa1", Rule: "<a> \x1b[2J\u009b\U000e0001", State: engine.Done, Created: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)}
	summary := control.Summary{
		Since: day("10:00:00"), Waiting: 4, Held: 2, Paused: control.Paused{Rules: []string{"heal"}},
		Ended: map[engine.State]int64{engine.Failed: 2, engine.Done: 7, engine.Skipped: 0},
	}
	const asJSON = `{"id":"aaaaaa1","seq":0,"event":"","rule":"<a> \u001b[2J\u009b\udb40\udc01","state":"done","attempts":0,"created":"2026-07-01T00:00:00Z"}` + "\n"
	for _, tt := range []struct {
		name        string
		o           listOptions
		desk        fakeDesk
		terminal    bool
		out, stderr string
	}{
		{"nothing", listOptions{}, fakeDesk{}, false, "", "hookrun: there are no such runs\n"},
		{"a mistyped rule", listOptions{filterFlags: filterFlags{rule: "x"}}, fakeDesk{pages: []control.List{{Hint: `did you mean "y"?`}}}, false,
			"", "hookrun: there are no such runs\nhookrun: hint: did you mean \"y\"?\n"},
		{"JSON", listOptions{filterFlags: filterFlags{json: true}}, fakeDesk{pages: []control.List{{Runs: []control.Run{hostile, hostile}}}}, false, asJSON + asJSON, ""},
		{"JSON on a terminal", listOptions{filterFlags: filterFlags{json: true}}, fakeDesk{pages: []control.List{{Runs: []control.Run{hostile}}}}, true,
			asJSON, ""},
		{"summary", listOptions{summary: true}, fakeDesk{summary: summary}, false,
			"ended since 2026-07-01 10:00:00: 7 done, 2 failed\nwaiting: 4\nheld: 2, hookrun arm lists what waits for a person\npaused: heal\n", "hookrun: there are no such runs\n"},
		{"summary of nothing", listOptions{summary: true}, fakeDesk{summary: control.Summary{Since: day("10:00:00")}}, false,
			"ended since 2026-07-01 10:00:00: none\nwaiting: 0\nnothing is paused\n", "hookrun: there are no such runs\n"},
		{"summary of a stopped one", listOptions{summary: true}, fakeDesk{summary: control.Summary{Waiting: 1, Paused: control.Paused{All: true}}}, false,
			"waiting: 1\npaused: all rules\n", "hookrun: there are no such runs\n"},
		{"summary as JSON", listOptions{filterFlags: filterFlags{json: true}, summary: true}, fakeDesk{summary: control.Summary{Waiting: 1, Paused: control.Paused{Rules: []string{}}}}, false,
			`{"summary":{"ended":null,"rejected":0,"waiting":1,"held":0,"paused":{"all":false,"rules":[]}}}` + "\n", "hookrun: there are no such runs\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.limit = 50
			var out, stderr bytes.Buffer
			if err := tt.o.print(t.Context(), &tt.desk, screen{Writer: &out, terminal: tt.terminal}, &stderr); err != nil {
				t.Fatal(err)
			}
			wantText(t, "stdout", out.String(), tt.out)
			wantText(t, "stderr", stderr.String(), tt.stderr)
			if tt.o.json {
				var back control.Run
				if err := json.NewDecoder(&out).Decode(&back); err != nil || !tt.o.summary && back.Rule != hostile.Rule {
					t.Errorf("JSON is read back as %+v, %v", back, err)
				}
			}
		})
	}
}

func TestRetryAndCancelSayWhatBecameOfTheRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  control.Run
		do   func(context.Context, control.Desk, *bytes.Buffer) error
		want string
	}{
		{"retry", control.Run{ID: "aaaaaa1", Rule: "deploy", State: engine.Queued}, doRetry, "run aaaaaa1 of rule \"deploy\" is queued again\n"},
		{"retry that waits", control.Run{ID: "aaaaaa1", Rule: "deploy", State: engine.Queued, Why: "its rule is paused"}, doRetry,
			"run aaaaaa1 of rule \"deploy\" is queued again: its rule is paused\n"},
		{"cancel", control.Run{ID: "aaaaaa1", Rule: "deploy", State: engine.Cancelled}, doCancel, "run aaaaaa1 of rule \"deploy\" is cancelled\n"},
		{"cancel of one that runs", control.Run{ID: "aaaaaa1", Rule: "deploy", State: engine.Running, Stop: engine.Cancelled}, doCancel,
			"run aaaaaa1 of rule \"deploy\" is about to end\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := tt.do(t.Context(), &fakeDesk{run: tt.run}, &out); err != nil {
				t.Fatal(err)
			}
			wantText(t, "stdout", out.String(), tt.want)
		})
	}
}

func doRetry(ctx context.Context, d control.Desk, out *bytes.Buffer) error {
	return retry(ctx, d, "aaaaaa", false, out)
}

func doCancel(ctx context.Context, d control.Desk, out *bytes.Buffer) error {
	return cancel(ctx, d, "aaaaaa", out)
}

// TestRunsUsage: what is wrong with a command line, and the mend.
func TestRunsUsage(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"runs shwo x", exitUsage, "hookrun: runs: unknown word \"shwo\"\nhookrun: hint: did you mean \"show\"?\n"},
		{"runs everything", exitUsage, "hookrun: runs: unknown word \"everything\"\nhookrun: hint: the words are show, logs, retry, cancel, release; without one, runs are listed\n"},
		{"runs 0197f3c2-8a1b", exitUsage, "hookrun: runs: unknown word \"0197f3c2-8a1b\"\nhookrun: hint: hookrun runs show 0197f3c2-8a1b\n"},
		{"runs -json show", exitUsage, "hookrun: runs: unexpected argument \"show\"\nhookrun: hint: flags stand behind the word: hookrun runs show ID -data FOLDER\n"},
		{"runs show", exitUsage, "hookrun: runs show: the id of a run is missing\nhookrun: hint: hookrun runs lists them\n"},
		{"runs show a -json b", exitUsage, "hookrun: runs show: unexpected argument \"b\"\nhookrun: hint: hookrun runs show -h prints the manual\n"},
		{"runs logs a -ff", exitUsage, "hookrun: flag provided but not defined: -ff\nhookrun: hint: did you mean \"-f\"?\n"},
		{"runs -limit 0", exitUsage, "hookrun: runs: -limit=0 is not between 1 and 10000\n"},
		{"runs -since yesterday", exitUsage,
			"hookrun: invalid value \"yesterday\" for flag -since: want a time such as 24h, 7d, 2026-07-01 or 2026-07-01T12:00:00Z\nhookrun: hint: hookrun runs -h prints the manual\n"},
		{"pause a b", exitUsage, "hookrun: pause: unexpected argument \"b\"\nhookrun: hint: hookrun pause -h prints the manual\n"},
		{"runs -data nowhere", exitFailed, "hookrun: runs: nowhere holds no store of a hookrun\nhookrun: hint: -data names the folder that hookrun runs with\n"},
		{"runs retry 0197f3c2 -data nowhere", exitFailed, "hookrun: runs retry: nowhere holds no store of a hookrun\nhookrun: hint: -data names the folder that hookrun runs with\n"},
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

func TestManualsOfRuns(t *testing.T) {
	for _, args := range []string{"runs -h", "runs show -h", "runs logs x -h", "runs retry -h", "runs cancel -h", "runs release -h", "events -h", "events show -h", "events body -h", "tail -h", "status -h", "arm -h", "pause -h", "resume -h", "help runs"} {
		var out, stderr bytes.Buffer
		if code := Main(t.Context(), strings.Fields(args), Process{Stdout: &out, Stderr: &stderr}); code != exitOK || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stderr %q", args, code, stderr.String())
		}
		for _, part := range []string{"hookrun ", "Example", "Exit codes: 0 ", "-data FOLDER"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%s prints no %q:\n%s", args, part, out.String())
			}
		}
	}
}

// TestErrorsOfADesk: those about the question are wrong usage.
func TestErrorsOfADesk(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		want string
	}{
		{&control.Error{Status: http.StatusNotFound, Msg: "there is no run \x1b", Hint: "look"}, exitFailed, "hookrun: runs show: there is no run \\u001b\nhookrun: hint: look\n"},
		{&control.Error{Status: http.StatusBadRequest, Msg: "there is no state"}, exitUsage, "hookrun: runs show: there is no state\n"},
		{errors.New("disk I/O error"), exitFailed, "hookrun: runs show: disk I/O error\n"},
		{fmt.Errorf("control socket x: %w", fs.ErrPermission), exitFailed,
			"hookrun: runs show: control socket x: permission denied\nhookrun: hint: only the user that hookrun runs as, and root, may ask it\n"},
	} {
		var stderr bytes.Buffer
		code := report(Process{Stderr: &stderr}, deskError(showCommand(), tt.err))
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.err, code, tt.code)
		}
		wantText(t, "stderr", stderr.String(), tt.want)
	}
}

func TestMoments(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-07-01T12:00:00Z":      time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC),
		"2026-07-01T12:00:00+02:00": time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC),
		"2026-07-01 12:00:00":       time.Date(2026, 7, 1, 12, 0, 0, 0, time.Local),
		"2026-07-01":                time.Date(2026, 7, 1, 0, 0, 0, 0, time.Local),
	} {
		var m moment
		if err := m.Set(text); err != nil || !time.Time(m).Equal(want) {
			t.Errorf("%s = %s, %v; want %s", text, time.Time(m), err, want)
		}
	}
	var m moment
	before := time.Now().Add(-7 * 24 * time.Hour)
	if err := m.Set("7d"); err != nil || time.Time(m).Before(before) || time.Time(m).After(time.Now().Add(-6*24*time.Hour)) {
		t.Errorf("7d = %s, %v", time.Time(m), err)
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234567: "1ms", 999 * time.Millisecond: "999ms", 3456 * time.Millisecond: "3.5s", 12 * time.Second: "12s",
		200 * time.Second: "3m20s", 2*time.Hour + 5*time.Minute + time.Second: "2h5m", 3 * time.Hour: "3h0m", 76 * time.Hour: "3d4h",
	} {
		if got := brief(d); got != want {
			t.Errorf("brief(%d) = %s, want %s", d, got, want)
		}
	}
}
