package control

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func TestListAsksAndPages(t *testing.T) {
	s := &enginetest.MemStore{}
	accept(t, s,
		as("aaaaaa1", engine.Done),
		as("aaaaaa2", engine.Queued),
		func(r *engine.Run) { r.ID, r.Rule, r.State = "aaaaaa3", "heal", engine.Failed },
		as("aaaaaa4", engine.Queued),
	)
	rules := rulesOf(t, "deploy", "true", "heal", "true")
	l := &Local{
		Store: s, Live: live{why: "its turn"}, Names: func() []string { return []string{"heal", "deploy"} },
		Ruleset: func() *engine.RuleSet { return rules },
	}
	for _, tt := range []struct {
		name string
		q    Query
		want []string
		next bool
		hint string
	}{
		{"all, newest first", Query{}, []string{"aaaaaa4", "aaaaaa3", "aaaaaa2", "aaaaaa1"}, false, ""},
		{"rule", Query{Rule: "heal"}, []string{"aaaaaa3"}, false, ""},
		{"states", Query{States: []engine.State{engine.Done, engine.Failed}}, []string{"aaaaaa3", "aaaaaa1"}, false, ""},
		{"first page", Query{Limit: 3}, []string{"aaaaaa4", "aaaaaa3", "aaaaaa2"}, true, ""},
		{"rule without runs in that time", Query{Rule: "heal", Since: time.Now().Add(time.Hour)}, nil, false, ""},
		{"until", Query{Until: time.Now().Add(-time.Hour)}, nil, false, ""},
		{"since, until", Query{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), Limit: 1}, []string{"aaaaaa4"}, true, ""},
		{"bucket", Query{Bucket: "deploys", Rule: "heal"}, []string{"aaaaaa3"}, false, ""},
		{"another bucket", Query{Bucket: "nowhere"}, nil, false, "no rule names this bucket"},
		{"mistyped bucket", Query{Bucket: "deploy"}, nil, false, `did you mean "deploys"?`},
		{"mistyped rule", Query{Rule: "deplyo"}, nil, false, `did you mean "deploy"?`},
		{"another rule", Query{Rule: "x"}, nil, false, "the rules are deploy, heal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := l.List(t.Context(), tt.q)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "runs", ids(got.Runs), tt.want)
			wantEqual(t, "there is more", got.Next != 0, tt.next)
			wantEqual(t, "hint", got.Hint, tt.hint)
			for _, r := range got.Runs {
				if want := r.State == engine.Queued; (r.Why == "its turn") != want {
					t.Errorf("%s run waits for %q", r.State, r.Why)
				}
			}
		})
	}

	page, err := l.List(t.Context(), Query{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := l.List(t.Context(), Query{Limit: 3, Before: page.Next})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "second page", ids(rest.Runs), []string{"aaaaaa1"})
}

func TestListRefuses(t *testing.T) {
	l := &Local{Store: &enginetest.MemStore{}}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		q    Query
		want Error
	}{
		{"near state", Query{States: []engine.State{"faild"}}, Error{http.StatusBadRequest, `there is no state "faild"`, `did you mean "failed"?`}},
		{"no state", Query{States: []engine.State{"x"}}, Error{http.StatusBadRequest, `there is no state "x"`,
			"the states are queued, running, done, failed, cancelled, abandoned, skipped, replaced, superseded, duplicate, throttled, tripped, shadow"}},
		{"limit", Query{Limit: MaxLimit + 1}, Error{http.StatusBadRequest, "the limit is 1001, which is not between 1 and 1000", ""}},
		{"event and bucket", Query{Event: "aaaaaa1", Bucket: "deploys"}, Error{http.StatusBadRequest, "event and bucket are both given", "an event is of one bucket: leave bucket out"}},
		{"no time", Query{Since: at, Until: at}, Error{http.StatusBadRequest, "there is no time since 2026-07-01T12:00:00Z and until 2026-07-01T12:00:00Z", "since is the earlier one"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := l.List(t.Context(), tt.q)
			wantError(t, err, tt.want)
		})
	}
}

func TestIDsMayBeTheirBeginning(t *testing.T) {
	s := &enginetest.MemStore{}
	runs := accept(t, s, as("0197f3c2-8a1b-7001", engine.Done), as("0197f3c2-8a1b-7002", engine.Done))
	many := make([]func(*engine.Run), 101)
	for i := range many {
		many[i] = as(fmt.Sprintf("bbbbbb%d", i), engine.Done)
	}
	event := accept(t, s, many...)[0].Event
	l := &Local{Store: s}
	for _, tt := range []struct {
		given, want string
		err         Error
	}{
		{"0197f3c2-8a1b-7001", runs[0].ID, Error{}},
		{" 0197F3C2-8A1B-7002 ", runs[1].ID, Error{}},
		{"0197f3", "", Error{http.StatusConflict, `the ids of 2 runs begin with "0197f3"`, "give more of it"}},
		{"bbbbbb", "", Error{http.StatusConflict, `the ids of 100 or more runs begin with "bbbbbb"`, "give more of it"}},
		{"0197f", "", Error{http.StatusBadRequest, `"0197f" is too short for the id of a run: give its first 6 characters or more`, "hookrun runs lists them"}},
		{"0197f3c2-8a1b-7003", "", Error{http.StatusNotFound, `there is no run "0197f3c2-8a1b-7003"`, "hookrun runs lists them; old ones are deleted, see -keep-age"}},
		{runs[0].Event, "", Error{http.StatusNotFound, fmt.Sprintf("%q is an event, not a run", runs[0].Event), "its runs: 0197f3c2-8a1b-7001, 0197f3c2-8a1b-7002"}},
		{event, "", Error{http.StatusNotFound, fmt.Sprintf("%q is an event, not a run", event),
			"its runs: bbbbbb0, bbbbbb1, bbbbbb2, bbbbbb3, bbbbbb4, bbbbbb5, bbbbbb6, bbbbbb7, bbbbbb8, bbbbbb9, and 91 more"}},
	} {
		t.Run(tt.given, func(t *testing.T) {
			got, err := l.Show(t.Context(), tt.given)
			if tt.want == "" {
				wantError(t, err, tt.err)
				return
			}
			if err != nil || got.Run.ID != tt.want {
				t.Errorf("Show = %s, %v; want %s", got.Run.ID, err, tt.want)
			}
		})
	}
}

func TestShowTellsAll(t *testing.T) {
	s := &enginetest.MemStore{}
	a := enginetest.NewAcceptance("deploy", "other")
	a.Event.Query = "token=s3cret"
	a.Verdicts[0].Missing = []string{"body.deleted"}
	run := a.Runs[0]
	run.Element, run.Base = `{"n":1}`, 1
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	began := time.Now().UTC()
	run.State, run.Attempt, run.Err = engine.Failed, 2, "step build (exec): exit status 2"
	command := step(run.ID, engine.StepFailed)
	command.Started, command.Err, command.Output.ExitCode = began, "exit status 2", 2
	call := step(run.ID, engine.StepDone)
	call.Index, call.Step, call.Kind, call.Phase, call.Started = 1, "2", "http", engine.PhaseFailure, began
	call.Output = engine.Output{Status: 200, Body: "\xff", Header: http.Header{"Set-Cookie": {"s3cret"}}}
	prints(t, s, run.ID, engine.Stdout, 0, "hello")
	update(t, s, run, command, call)

	got, err := (&Local{Store: s}).Show(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	two := 2
	want := Detail{
		Run: Run{
			ID: run.ID, Seq: run.Seq, Event: a.Event.ID, Rule: "deploy", State: engine.Failed, Attempts: 2, Retried: true,
			Created: run.Created, Error: run.Err,
		},
		Element: []byte(`{"n":1}`),
		Event: &Event{
			ID: a.Event.ID, Received: a.Event.Received, Source: "intake", Bucket: "deploys", Method: "POST", Path: "/", Size: 25,
		},
		Verdict: &a.Verdicts[0],
		Steps: []Step{
			{Attempt: 1, Step: "build", Kind: "exec", State: engine.StepFailed, Started: began, Error: "exit status 2", ExitCode: &two,
				Body: Bytes{}, Stdout: Text{Head: Bytes("hello")}, Stderr: Text{}},
			{Attempt: 1, Index: 1, Phase: "on_failure", Step: "2", Kind: "http", State: engine.StepDone, Started: began, Status: 200, Body: Bytes("\xff")},
		},
	}
	wantEqual(t, "detail", got, want)
}

func TestShowBoundsTheOutput(t *testing.T) {
	big := make(Bytes, maxShown/2)
	steps := []Step{{Stdout: Text{Head: big}}, {Stdout: Text{Head: big, Cut: 3, Tail: big}, Body: big}, {Stderr: Text{Head: big}}, {}}
	trim(steps)
	wantEqual(t, "the newest", len(steps[2].Stderr.Head), len(big))
	wantEqual(t, "the one that is too much", steps[1], Step{Stdout: Text{Cut: 3 + maxShown}})
	wantEqual(t, "the one before", steps[0], Step{Stdout: Text{Cut: maxShown / 2}})
}

// TestShowBoundsThePlans: a run of many attempts has as many.
func TestShowBoundsThePlans(t *testing.T) {
	text := strings.Repeat("x", maxShown/4)
	for _, tt := range []struct {
		name string
		plan engine.Plan
	}{
		{"exec", engine.Plan{Argv: []string{text}, Dir: text, Env: []engine.PlanVar{{Name: "A", Value: text}}, Stdin: &text}},
		{"file", engine.Plan{Path: text, Write: text, Content: &text, Open: []string{text}}},
		{"http", engine.Plan{Method: text, URL: text, Header: []engine.PlanVar{{Name: text}}, Body: &text}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps := []Step{{Plan: &tt.plan}, {Plan: &tt.plan, Stdout: Text{Head: Bytes("hello")}}, {Plan: &engine.Plan{}}}
			trim(steps)
			wantEqual(t, "plans left", []bool{steps[0].Plan != nil, steps[1].Plan != nil, steps[2].Plan != nil}, []bool{false, false, true})
		})
	}
	steps := []Step{{Plan: &engine.Plan{Argv: []string{text, text, text, text}}}}
	trim(steps)
	if steps[0].Plan == nil {
		t.Errorf("a plan of %d bytes is gone, and there is room for it", maxShown)
	}
}

func TestRetryAndCancel(t *testing.T) {
	s := &enginetest.MemStore{}
	accept(t, s, as("aaaaaa1", engine.Failed), as("aaaaaa2", engine.Queued))
	l := &Local{Store: s, Hands: Stopped{s}}

	_, err := l.Retry(t.Context(), "aaaaaa2", false)
	wantError(t, err, Error{http.StatusConflict, "run aaaaaa2 has not finished, so it can't be retried", "hookrun runs cancel ends it"})
	_, err = l.Cancel(t.Context(), "aaaaaa1")
	wantError(t, err, Error{http.StatusConflict, "run aaaaaa1 has finished already: it is failed", "hookrun runs retry runs it again"})
	_, err = l.Cancel(t.Context(), "aaaaaa9")
	wantError(t, err, Error{http.StatusNotFound, `there is no run "aaaaaa9"`, "hookrun runs lists them; old ones are deleted, see -keep-age"})

	run, err := l.Retry(t.Context(), "aaaaaa1", false)
	if err != nil || run.State != engine.Queued || run.Why != "no hookrun answers: it goes on when one runs" {
		t.Errorf("Retry = %+v, %v", run, err)
	}
	run, err = l.Cancel(t.Context(), "aaaaaa2")
	if err != nil || run.State != engine.Cancelled || run.Why != "" {
		t.Errorf("Cancel = %+v, %v", run, err)
	}
	stored, err := s.Run(t.Context(), "aaaaaa2")
	if err != nil || stored.State != engine.Cancelled {
		t.Errorf("stored is %+v, %v", stored, err)
	}
}

func TestPauseAndResume(t *testing.T) {
	s := &enginetest.MemStore{}
	rules := []string{"deploy", "heal"}
	l := &Local{Store: s, Hands: Stopped{s}, Names: func() []string { return rules }}
	for _, tt := range []struct {
		do   string
		rule string
		want Paused
		err  Error
	}{
		{"pause", "deploy", Paused{Rules: []string{"deploy"}}, Error{}},
		{"pause", "deploy", Paused{Rules: []string{"deploy"}}, Error{}},
		{"pause", "", Paused{All: true, Rules: []string{"deploy"}}, Error{}},
		{"pause", "haul", Paused{}, Error{http.StatusNotFound, `there is no rule "haul"`, `did you mean "heal"?`}},
		{"resume", "haul", Paused{}, Error{http.StatusNotFound, `there is no rule "haul"`, `did you mean "heal"?`}},
		{"resume", "heal", Paused{All: true, Rules: []string{"deploy"}}, Error{}},
		{"resume", "deploy", Paused{All: true, Rules: []string{}}, Error{}},
		{"pause", "heal", Paused{All: true, Rules: []string{"heal"}}, Error{}},
		{"resume", "", Paused{Rules: []string{}}, Error{}},
	} {
		do := l.Pause
		if tt.do == "resume" {
			do = l.Resume
		}
		got, err := do(t.Context(), tt.rule)
		if tt.err != (Error{}) {
			wantError(t, err, tt.err)
			continue
		}
		if err != nil {
			t.Fatalf("%s %q: %v", tt.do, tt.rule, err)
		}
		wantEqual(t, tt.do+" "+tt.rule, got, tt.want)
	}

	rules = []string{"heal"} // deploy is gone from the rules while it is paused
	if err := s.SetPaused(t.Context(), []string{"deploy"}); err != nil {
		t.Fatal(err)
	}
	got, err := l.Resume(t.Context(), "deploy")
	if err != nil || len(got.Rules) != 0 {
		t.Errorf("resume of a rule that is gone = %v, %v", got, err)
	}
	rules = nil // nobody knows
	if _, err := l.Pause(t.Context(), "anything"); err != nil {
		t.Error(err)
	}
}

func TestWhyRunsWaitWithoutAHookrun(t *testing.T) {
	s := &enginetest.MemStore{}
	accept(t, s, as("aaaaaa1", engine.Done), as("aaaaaa2", engine.Running))
	for _, tt := range []struct {
		paused []string
		want   string
	}{
		{nil, "no hookrun answers: it goes on when one runs"},
		{[]string{"other"}, "no hookrun answers: it goes on when one runs"},
		{[]string{"deploy"}, "its rule is paused, and no hookrun answers"},
		{[]string{""}, "everything is paused, and no hookrun answers"},
	} {
		if err := s.SetPaused(t.Context(), tt.paused); err != nil {
			t.Fatal(err)
		}
		got, err := (&Local{Store: s}).List(t.Context(), Query{})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, strings.Join(tt.paused, ","), []string{got.Runs[0].Why, got.Runs[1].Why}, []string{tt.want, ""})
	}
}

func TestSummary(t *testing.T) {
	s := &enginetest.MemStore{}
	held := func(r *engine.Run) { r.ID, r.State, r.Held, r.Armed = "aaaaaa4", engine.Queued, true, true }
	accept(t, s, as("aaaaaa1", engine.Done), as("aaaaaa2", engine.Queued), as("aaaaaa3", engine.Running), held)
	if err := s.SetPaused(t.Context(), []string{"heal"}); err != nil {
		t.Fatal(err)
	}
	paused := Paused{Rules: []string{"heal"}}
	got, err := (&Local{Store: s}).Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "without a hookrun", got, Summary{Waiting: 2, Held: 1, Paused: paused, Ended: map[engine.State]int64{}})

	since := time.Now()
	ended := map[engine.State]int64{engine.Done: 7}
	got, err = (&Local{Store: s, Live: live{waiting: 3, counts: ended, rejected: 5}, Since: since}).Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "with one", got, Summary{Since: since, Ended: ended, Rejected: 5, Waiting: 3, Held: 1, Paused: paused})
}

func TestBytesKeepEveryByte(t *testing.T) {
	for _, want := range []string{"", "plain", "ünïcödé\n\x00\x1b", "\xff\xfe", string([]byte{0xe2, 0x82})} {
		data, err := Bytes(want).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var got Bytes
		if err := got.UnmarshalJSON(data); err != nil || !slices.Equal(got, Bytes(want)) {
			t.Errorf("%q became %q by way of %s, %v", want, got, data, err)
		}
	}
}
