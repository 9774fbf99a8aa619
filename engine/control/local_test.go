package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// happened is an event that a rule of this name matched, with changes.
func happened(t *testing.T, s engine.Store, rule string, change func(*engine.Acceptance)) *engine.Acceptance {
	t.Helper()
	a := enginetest.NewAcceptance(rule)
	change(a)
	for _, r := range a.Runs {
		r.Event = a.Event.ID
	}
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// rulesOf are rules with these conditions, by name and in order.
func rulesOf(t *testing.T, conditions ...string) *engine.RuleSet {
	t.Helper()
	var rules []*engine.Rule
	for i := 0; i < len(conditions); i += 2 {
		cond, findings := engine.NewCompiler(engine.World{}).Condition(conditions[i+1])
		if cond == nil {
			t.Fatal(findings)
		}
		rules = append(rules, &engine.Rule{
			Name: conditions[i], Place: fmt.Sprintf("rules.yaml:%d", i+1), Buckets: []string{"deploys"}, Methods: []string{"POST"}, When: cond,
			Steps: []engine.Step{{ID: "build", Action: &enginetest.Action{}}, {ID: "test", Action: &enginetest.Action{}}},
		})
	}
	return engine.NewRuleSet(rules, "hash")
}

func eventIDs(events []EventRow) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.ID)
	}
	return all
}

func TestEventsAskAndPage(t *testing.T) {
	s := &enginetest.MemStore{}
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	at := func(id string, hour int, more func(*engine.Acceptance)) func(*engine.Acceptance) {
		return func(a *engine.Acceptance) {
			a.Event.ID, a.Event.Received = id, noon.Add(time.Duration(hour)*time.Hour)
			more(a)
		}
	}
	happened(t, s, "deploy", at("aaaaaa1", 0, func(*engine.Acceptance) {}))
	happened(t, s, "heal", at("aaaaaa2", 1, func(a *engine.Acceptance) { a.Event.Bucket = "alerts" }))
	happened(t, s, "deploy", at("aaaaaa3", 2, func(a *engine.Acceptance) {
		a.Runs, a.Verdicts[0].Outcome, a.Verdicts[0].Why = nil, engine.NoMatch, "false: body.ref"
	}))
	happened(t, s, "deploy", at("aaaaaa4", 3, func(a *engine.Acceptance) { a.Runs, a.Verdicts[0].Outcome = nil, engine.Errored }))
	rules := rulesOf(t, "deploy", "true")
	l := &Local{Store: s, Names: func() []string { return []string{"deploy", "heal"} }, Ruleset: func() *engine.RuleSet { return rules }}
	for _, tt := range []struct {
		name string
		q    EventQuery
		want []string
		next bool
		hint string
	}{
		{"all, newest first", EventQuery{}, []string{"aaaaaa4", "aaaaaa3", "aaaaaa2", "aaaaaa1"}, false, ""},
		{"bucket", EventQuery{Bucket: "alerts"}, []string{"aaaaaa2"}, false, ""},
		{"rule", EventQuery{Rule: "deploy"}, []string{"aaaaaa1"}, false, "its condition failed on events that are not among these, as on aaaaaa4: the outcome error lists them"},
		{"rule, before it failed", EventQuery{Rule: "deploy", Until: noon.Add(3 * time.Hour)}, []string{"aaaaaa1"}, false, "events that it did not match are not among these; the newest is aaaaaa3 (false: body.ref)"},
		{"rule that matched all", EventQuery{Rule: "deploy", Until: noon.Add(time.Hour)}, []string{"aaaaaa1"}, false, ""},
		{"rule that did not fail", EventQuery{Rule: "heal"}, []string{"aaaaaa2"}, false, ""},
		{"outcomes", EventQuery{Outcomes: []engine.EventOutcome{engine.EventUnmatched, engine.EventErrored}}, []string{"aaaaaa4", "aaaaaa3"}, false, ""},
		{"from to", EventQuery{Since: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)}, []string{"aaaaaa3", "aaaaaa2"}, false, ""},
		{"first page", EventQuery{Limit: 3}, []string{"aaaaaa4", "aaaaaa3", "aaaaaa2"}, true, ""},
		{"mistyped rule", EventQuery{Rule: "deplyo"}, nil, false, `did you mean "deploy"?`},
		{"mistyped bucket", EventQuery{Bucket: "deploy"}, nil, false, `did you mean "deploys"?`},
		{"a bucket of nobody", EventQuery{Bucket: "xyz"}, nil, false, "no rule names this bucket"},
		{"a bucket without events in that time", EventQuery{Bucket: "deploys", Since: noon.Add(time.Hour * 99)}, nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := l.Events(t.Context(), tt.q)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "events", eventIDs(got.Events), tt.want)
			wantEqual(t, "there is more", got.Next != 0, tt.next)
			wantEqual(t, "hint", got.Hint, tt.hint)
		})
	}

	page, err := l.Events(t.Context(), EventQuery{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := l.Events(t.Context(), EventQuery{Limit: 3, Before: page.Next})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "second page", eventIDs(rest.Events), []string{"aaaaaa1"})
	newer, err := l.Events(t.Context(), EventQuery{After: rest.Events[0].Seq})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "newer, oldest first", eventIDs(newer.Events), []string{"aaaaaa2", "aaaaaa3", "aaaaaa4"})
}

func TestEventsRefuse(t *testing.T) {
	l := &Local{Store: &enginetest.MemStore{}}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		q    EventQuery
		want Error
	}{
		{"outcome", EventQuery{Outcomes: []engine.EventOutcome{"unmached"}}, Error{http.StatusBadRequest, `there is no outcome "unmached"`, `did you mean "unmatched"?`}},
		{"limit", EventQuery{Limit: MaxLimit + 1}, Error{http.StatusBadRequest, "the limit is 1001, which is not between 1 and 1000", ""}},
		{"both ways", EventQuery{Before: 1, After: 2}, Error{http.StatusBadRequest, "before and after are both given", "before goes on with older ones, after with newer ones"}},
		{"no time", EventQuery{Since: at, Until: at}, Error{http.StatusBadRequest, "there is no time since 2026-07-01T12:00:00Z and until 2026-07-01T12:00:00Z", "since is the earlier one"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := l.Events(t.Context(), tt.q)
			wantError(t, err, tt.want)
		})
	}
}

func TestIDsOfEventsMayBeTheirBeginning(t *testing.T) {
	s := &enginetest.MemStore{}
	for _, id := range []string{"0197f3c2-8a1b-7001", "0197f3c2-8a1b-7002"} {
		happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID = id })
	}
	run := happened(t, s, "deploy", func(*engine.Acceptance) {}).Runs[0]
	l := &Local{Store: s}
	for _, tt := range []struct {
		given, want string
		err         Error
	}{
		{" 0197F3C2-8A1B-7002 ", "0197f3c2-8a1b-7002", Error{}},
		{"0197f3", "", Error{http.StatusConflict, `the ids of 2 events begin with "0197f3"`, "give more of it"}},
		{"0197f", "", Error{http.StatusBadRequest, `"0197f" is too short for the id of an event: give its first 6 characters or more`, "hookrun events lists them"}},
		{"0197f3c2-9", "", Error{http.StatusNotFound, `there is no event "0197f3c2-9"`, "hookrun events lists them; old ones are deleted, see -keep-age"}},
		{run.ID, "", Error{http.StatusNotFound, fmt.Sprintf("%q is a run, not an event", run.ID), "its event: " + run.Event}},
	} {
		t.Run(tt.given, func(t *testing.T) {
			got, err := l.Event(t.Context(), tt.given)
			body, bodyErr := l.Body(t.Context(), tt.given)
			if tt.want == "" {
				wantError(t, err, tt.err)
				wantError(t, bodyErr, tt.err)
				return
			}
			if err != nil || got.ID != tt.want || bodyErr != nil || body.Event != tt.want {
				t.Errorf("Event = %s, %v, Body = %+v, %v; want %s", got.ID, err, body, bodyErr, tt.want)
			}
		})
	}
}

// TestEventTellsAll: all that is kept of it, but for what proves who sent it.
func TestEventTellsAll(t *testing.T) {
	s := &enginetest.MemStore{}
	origin := happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID = "aaaaaa1" })
	a := happened(t, s, "deploy", func(a *engine.Acceptance) {
		e := a.Event
		e.ID, e.ReplayOf, e.Edited, e.Source, e.Remote, e.Input = "bbbbbb2", "aaaaaa1", true, "relay", "192.0.2.1:4", "in"
		e.BucketID, e.Delivery, e.Query, e.Meta = "id", "d1", "token=abc&a=hunter2hunter2", map[string]string{"m": "n hunter2hunter2"}
		e.Header = http.Header{"X-Github-Event": {"push"}, "Authorization": {"Bearer abc", "x"}, "X-A": {"1 hunter2hunter2", "2"}}
		a.BodyErr, a.Rules = "no JSON", "hash"
	})
	rules := rulesOf(t, "deploy", "true")
	rules.Secrets = []engine.Secret{engine.NewSecret("hunter2hunter2")}
	l := &Local{Store: s, Ruleset: func() *engine.RuleSet { return rules }, Live: live{why: "its turn"}}
	got, err := l.Event(t.Context(), "bbbbbb2")
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "event", got, EventDetail{
		EventRow: EventRow{
			Event: Event{
				ID: "bbbbbb2", Received: a.Event.Received, Source: "relay", Remote: "192.0.2.1:4", Bucket: "deploys", Input: "in", Method: "POST", Path: "/", Size: 25,
			},
			Seq: got.Seq, Kind: "push", Outcome: engine.EventStarted, Matched: []string{"deploy"}, ReplayOf: "aaaaaa1", BodyErr: "no JSON",
		},
		BucketID: "id", Delivery: "d1", Query: "token=%2A%2A%2A&a=***", Meta: map[string]string{"m": "n ***"}, Edited: true,
		Header: map[string][]string{"X-Github-Event": {"push"}, "Authorization": {"***", "***"}, "X-A": {"1 ***", "2"}},
		Body:   Bytes(`{"ref":"refs/heads/main"}`), Rules: "hash", Current: true, Verdicts: a.Verdicts,
		Runs: []Run{newRun(a.Runs[0], "its turn")},
	})
	first, err := l.Event(t.Context(), origin.Event.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "replays of the first", first.Replays, []string{"bbbbbb2"})
	wantEqual(t, "its rules are in force", first.Current, false)
	body, err := l.Body(t.Context(), "bbbbbb2")
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "body", body, Body{Event: "bbbbbb2", Data: []byte(`{"ref":"refs/heads/main"}`)})
}

// TestSecretsInABodyAreMasked: whole ones, and one that reaches over the end of
// what is shown.
func TestSecretsInABodyAreMasked(t *testing.T) {
	const secret = "hunter2hunter2"
	long := strings.Repeat("x", MaxShownBody-6)
	for _, tt := range []struct {
		body, want string
		cut        int
		masked     bool
	}{
		{`{"key":"` + secret + `"}`, `{"key":"***"}`, 0, true},
		{`{"key":"hunter"}`, `{"key":"hunter"}`, 0, false},
		{long + secret + "y", long, len(secret) + 1, false},
		{"ends with hunter", "ends with hunter", 0, false},
		{"***" + secret, "***", 0, true}, // that is the other secret, whose mask is its own beginning
		{long[:MaxShownBody-20] + secret + "hunter2", long[:MaxShownBody-20] + "***", 7, true},
	} {
		s := &enginetest.MemStore{}
		happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID, a.Event.Body = "aaaaaa1", []byte(tt.body) })
		rules := rulesOf(t, "deploy", "true")
		rules.Secrets = []engine.Secret{engine.NewSecret(secret), engine.NewSecret("***" + secret)}
		got, err := (&Local{Store: s, Ruleset: func() *engine.RuleSet { return rules }, Live: live{}}).Event(t.Context(), "aaaaaa1")
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Body) != tt.want || got.BodyCut != tt.cut || got.BodyMasked != tt.masked {
			t.Errorf("%.20q…: body %.20q… of %d bytes, %d cut, masked: %v; want %d bytes, %d, %v", tt.body, got.Body, len(got.Body), got.BodyCut, got.BodyMasked, len(tt.want), tt.cut, tt.masked)
		}
	}
}

// TestSecretsOfRulesAreMasked: a file may hold a secret of the rules in force where
// nobody would look for one.
func TestSecretsOfRulesAreMasked(t *testing.T) {
	set := rulesOf(t, "a", `body.s == "hunter2hunter2"`)
	set.Secrets = []engine.Secret{engine.NewSecret("hunter2hunter2")}
	l := &Local{Store: &enginetest.MemStore{}, Ruleset: func() *engine.RuleSet { return set }, Archive: openArchive{}}
	rules, err := l.Rules(t.Context())
	if err != nil || len(rules.Rules) != 1 {
		t.Fatalf("Rules = %+v, %v", rules, err)
	}
	wantEqual(t, "condition", rules.Rules[0].When, `body.s == "***"`)
	wantEqual(t, "source", rules.Rules[0].Source, "exec: [echo, ***]")
	all, err := l.Generations(t.Context())
	if err != nil || len(all.Generations) != 1 {
		t.Fatalf("Generations = %+v, %v", all, err)
	}
	wantEqual(t, "diff", all.Generations[0].Diff, "-exec: [echo, ***]")
}

// openArchive is an Archive of files with a secret in them.
type openArchive struct{}

func (openArchive) Generations() ([]Generation, error) {
	return []Generation{{N: 1, Diff: "-exec: [echo, hunter2hunter2]"}}, nil
}

func (openArchive) Source() func(string) string {
	return func(string) string { return "exec: [echo, hunter2hunter2]" }
}

func TestCredentialsAreMasked(t *testing.T) {
	for name, masked := range map[string]bool{
		"Authorization": true, "Cookie": true, "X-Gitlab-Token": true, "X-Telegram-Bot-Api-Secret-Token": true, "X-Api-Key": true, "X-Shared-Secret": true,
		"X-Event-Key": false, "X-Hub-Signature-256": false, "X-Github-Delivery": false, "Content-Type": false, "Tokens": false,
	} {
		got := shownHeader(http.Header{name: {"a", "b"}}, nil)
		want := map[string][]string{name: {"a", "b"}}
		if masked {
			want[name] = []string{engine.Masked, engine.Masked}
		}
		wantEqual(t, name, got, want)
	}
}

// TestEventBoundsWhatItShows: a body of any size, and any number of runs.
func TestEventBoundsWhatItShows(t *testing.T) {
	s := &enginetest.MemStore{}
	happened(t, s, "deploy", func(a *engine.Acceptance) {
		a.Event.ID, a.Event.Body = "aaaaaa1", make([]byte, MaxShownBody+7)
		for range MaxLimit + 4 {
			a.Runs = append(a.Runs, &engine.Run{ID: engine.NewID(), Rule: "deploy", State: engine.Queued})
		}
	})
	got, err := (&Local{Store: s}).Event(t.Context(), "aaaaaa1")
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "bytes of the body", []int{len(got.Body), got.Size}, []int{MaxShownBody, MaxShownBody + 7})
	wantEqual(t, "runs", []int{len(got.Runs), got.MoreRuns}, []int{MaxLimit, 5})
}

func TestRunsOfAnEvent(t *testing.T) {
	s := &enginetest.MemStore{}
	runs := accept(t, s, as("aaaaaa1", engine.Done), as("aaaaaa2", engine.Failed), as("aaaaaa3", engine.Failed))
	accept(t, s, as("bbbbbb1", engine.Done))
	l := &Local{Store: s}
	for _, tt := range []struct {
		name string
		q    Query
		want []string
	}{
		{"all", Query{}, []string{"aaaaaa3", "aaaaaa2", "aaaaaa1"}},
		{"states", Query{States: []engine.State{engine.Failed}}, []string{"aaaaaa3", "aaaaaa2"}},
		{"a page", Query{Limit: 1}, []string{"aaaaaa3"}},
		{"until", Query{Until: runs[0].Created}, nil},
		{"until later", Query{Until: runs[0].Created.Add(time.Hour)}, []string{"aaaaaa3", "aaaaaa2", "aaaaaa1"}},
		{"the next", Query{Before: runs[2].Seq}, []string{"aaaaaa2", "aaaaaa1"}},
		{"rule", Query{Rule: "x"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.q.Event = runs[0].Event
			got, err := l.List(t.Context(), tt.q)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "runs", ids(got.Runs), tt.want)
		})
	}
	_, err := l.List(t.Context(), Query{Event: "cccccc"})
	wantError(t, err, Error{http.StatusNotFound, `there is no event "cccccc"`, "hookrun events lists them; old ones are deleted, see -keep-age"})
}

func TestExplainOfAnEventThatIsKept(t *testing.T) {
	s := &enginetest.MemStore{}
	a := happened(t, s, "deploy", func(a *engine.Acceptance) {
		a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: "signed", Outcome: engine.NoMatch, Why: "not verified: no signature"})
	})
	build := step(a.Runs[0].ID, engine.StepDone)
	update(t, s, a.Runs[0], build)
	rules := rulesOf(t, "deploy", `body.ref == "refs/heads/main"`, "other", `body.ref == "refs/heads/dev"`, "signed", "true")
	l := &Local{Store: s, Ruleset: func() *engine.RuleSet { return rules }, Names: func() []string { return []string{"deploy", "other", "signed"} }}
	got, err := l.Explain(t.Context(), ExplainQuery{Event: a.Event.ID[:20]})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, x := range got.Asked {
		told = append(told, fmt.Sprintf("%s %s %s, %d runs", x.Rule, x.Verdict.Outcome, x.Place, len(x.Runs)))
	}
	wantEqual(t, "verdicts", told, []string{"deploy matched rules.yaml:1, 1 runs", "other no rules.yaml:3, 0 runs", "signed no rules.yaml:5, 0 runs"})
	wantEqual(t, "why the sender is not known", got.Asked[2].Verdict.Why, "not verified: no signature")
	if got.Asked[1].When == nil || got.Asked[1].When.State != engine.NodeFalse {
		t.Errorf("the tree is %+v, want one that is false", got.Asked[1].When)
	}

	one, err := l.Explain(t.Context(), ExplainQuery{Event: a.Event.ID, Rule: "other"})
	if err != nil || len(one.Asked) != 1 || one.Asked[0].Rule != "other" {
		t.Errorf("explain of one rule = %+v, %v", one, err)
	}
}

// TestPastIsWhatStepsCameToLast: of each step the newest end, of the run that is
// asked for.
func TestPastIsWhatStepsCameToLast(t *testing.T) {
	s := &enginetest.MemStore{}
	a := happened(t, s, "deploy", func(a *engine.Acceptance) {
		a.Runs = append(a.Runs, &engine.Run{ID: engine.NewID(), Rule: "deploy", State: engine.Queued, Index: 1})
	})
	of := func(attempt, index int, phase engine.Phase, state engine.StepState) *engine.StepResult {
		return &engine.StepResult{Run: a.Runs[0].ID, Attempt: attempt, Index: index, Phase: phase, Step: fmt.Sprint(index), State: state, Started: time.Now()}
	}
	update(t, s, a.Runs[0],
		of(1, 0, "", engine.StepDone), of(1, 1, "", engine.StepFailed), of(1, 9, engine.PhaseAlways, engine.StepDone),
		of(2, 1, "", engine.StepDone), of(2, 2, "", engine.StepSkipped), of(3, 2, "", engine.StepRunning))
	past, err := (&Local{Store: s}).past(t.Context(), a.Event.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range past("deploy", 0) {
		got = append(got, fmt.Sprintf("%d.%d %s", st.Attempt, st.Index, st.State))
	}
	wantEqual(t, "past", got, []string{"1.0 done", "2.1 done", "2.2 skipped"})
	wantEqual(t, "of another element", len(past("deploy", 1)), 0)
	wantEqual(t, "of another rule", len(past("x", 0)), 0)
}

func TestExplainOfAnEventThatIsMadeUp(t *testing.T) {
	rules := rulesOf(t, "deploy", `body.a == 1 && headers["x-a"] == "1" && query.q == "2" && path == "/p"`)
	l := &Local{Store: &enginetest.MemStore{}, Ruleset: func() *engine.RuleSet { return rules }}
	made := &Request{Bucket: "deploys", Method: "post", Path: "/p", Query: "?q=2", Header: map[string][]string{"x-A": {"1"}}, Body: Bytes(`{"a":1}`)}
	got, err := l.Explain(t.Context(), ExplainQuery{Made: made})
	if err != nil || len(got.Asked) != 1 || got.Asked[0].Verdict.Outcome != engine.Matched {
		t.Fatalf("explain = %+v, %v; want a match", got, err)
	}
	wantEqual(t, "id of the event", got.Event, "")
}

func TestExplainRefuses(t *testing.T) {
	rules := rulesOf(t, "deploy", "true")
	l := &Local{Store: &enginetest.MemStore{}, Ruleset: func() *engine.RuleSet { return rules }, Names: func() []string { return []string{"deploy", "off"} }}
	for _, tt := range []struct {
		name string
		q    ExplainQuery
		want Error
	}{
		{"nothing", ExplainQuery{}, Error{http.StatusBadRequest, "one event is to be explained: event or made", "event is the id of one that is kept, made is one that is made up"}},
		{"both", ExplainQuery{Event: "aaaaaa", Made: &Request{}}, Error{http.StatusBadRequest, "one event is to be explained: event or made", "event is the id of one that is kept, made is one that is made up"}},
		{"no event", ExplainQuery{Event: "aaaaaa"}, Error{http.StatusNotFound, `there is no event "aaaaaa"`, "hookrun events lists them; old ones are deleted, see -keep-age"}},
		{"mistyped rule", ExplainQuery{Made: &Request{Bucket: "b"}, Rule: "deplyo"}, Error{http.StatusNotFound, `there is no rule "deplyo"`, `did you mean "deploy"?`}},
		{"rule that is off", ExplainQuery{Made: &Request{Bucket: "b"}, Rule: "off"}, Error{http.StatusNotFound, `there is no rule "off"`, "it is switched off: enabled: false"}},
		{"no bucket", ExplainQuery{Made: &Request{}}, Error{http.StatusBadRequest, "the event that is made up has no bucket", "bucket says which rules are asked"}},
		{"path", ExplainQuery{Made: &Request{Bucket: "b", Path: "p"}}, Error{http.StatusBadRequest, `the path "p" does not begin with /`, "it is the part behind the bucket, / where there is none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := l.Explain(t.Context(), tt.q)
			wantError(t, err, tt.want)
		})
	}
}

// worker is a hookrun that notes what it is told to do.
type worker struct {
	live
	store   engine.Store
	armed   []string
	replays []engine.Replay
	err     error
}

func (w *worker) Arm(_ context.Context, rule string) error {
	w.armed = append(w.armed, rule)
	return w.err
}

func (w *worker) Armed() []string { return w.armed }

func (w *worker) Disarm(_ context.Context, rule string) error {
	w.armed = slices.DeleteFunc(w.armed, func(r string) bool { return rule == "" || r == rule })
	return w.err
}

func (w *worker) Release(ctx context.Context, id string) (*engine.Run, error) {
	if w.err != nil {
		return nil, fmt.Errorf("release run %s: %w", id, w.err)
	}
	return w.store.Run(ctx, id)
}

func (w *worker) Replay(ctx context.Context, r engine.Replay) (engine.Receipt, error) {
	if w.replays = append(w.replays, r); w.err != nil {
		return engine.Receipt{}, fmt.Errorf("replay: %w", w.err)
	}
	a := enginetest.NewAcceptance("deploy")
	a.Event.ID, a.Runs[0].ID, a.Runs[0].Event = "bbbbbb1", "bbbbbb2", "bbbbbb1"
	return w.store.Accept(ctx, a)
}

func TestReplay(t *testing.T) {
	s := &enginetest.MemStore{}
	a := happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID, a.Runs[0].ID = "aaaaaa1", "aaaaaa2" })
	body, empty := Bytes("new"), Bytes{}
	for _, tt := range []struct {
		name string
		q    ReplayQuery
		want engine.Replay
		err  Error
	}{
		{"an event", ReplayQuery{Event: "aaaaaa"}, engine.Replay{Event: a.Event.ID}, Error{}},
		{"of one rule", ReplayQuery{Event: "aaaaaa1", Rule: "heal"}, engine.Replay{Event: a.Event.ID, Rule: "heal"}, Error{}},
		{"a run", ReplayQuery{Run: "aaaaaa2"}, engine.Replay{Event: a.Event.ID, Rule: "deploy"}, Error{}},
		{"with another body", ReplayQuery{Run: "aaaaaa2", Body: &body}, engine.Replay{Event: a.Event.ID, Rule: "deploy", Body: []byte("new"), Edited: true}, Error{}},
		{"with none", ReplayQuery{Event: "aaaaaa1", Body: &empty}, engine.Replay{Event: a.Event.ID, Body: []byte{}, Edited: true}, Error{}},
		{"nothing", ReplayQuery{}, engine.Replay{}, Error{http.StatusBadRequest, "one thing is to run again: event or run", "event is the id of an event, run that of a run, for its rule"}},
		{"both", ReplayQuery{Event: "aaaaaa1", Run: "aaaaaa2"}, engine.Replay{}, Error{http.StatusBadRequest, "one thing is to run again: event or run", "event is the id of an event, run that of a run, for its rule"}},
		{"a run for a rule", ReplayQuery{Run: "aaaaaa2", Rule: "x"}, engine.Replay{}, Error{http.StatusBadRequest, "a run is replayed for its own rule", "rule goes with event"}},
		{"a run as an event", ReplayQuery{Event: "aaaaaa2"}, engine.Replay{}, Error{http.StatusNotFound, `"aaaaaa2" is a run, not an event`, "its event: aaaaaa1"}},
		{"no run", ReplayQuery{Run: "cccccc1"}, engine.Replay{}, Error{http.StatusNotFound, `there is no run "cccccc1"`, "hookrun runs lists them; old ones are deleted, see -keep-age"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &worker{store: s}
			got, err := (&Local{Store: s, Live: w}).Replay(t.Context(), tt.q)
			if tt.err != (Error{}) {
				wantError(t, err, tt.err)
				wantEqual(t, "replays", len(w.replays), 0)
				return
			}
			if err != nil || got.Event != "bbbbbb1" || !slices.Equal(ids(got.Runs), []string{"bbbbbb2"}) {
				t.Errorf("Replay = %+v, %v", got, err)
			}
			wantEqual(t, "replay", w.replays, []engine.Replay{tt.want})
			s = &enginetest.MemStore{}
			happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID, a.Runs[0].ID = "aaaaaa1", "aaaaaa2" })
		})
	}
}

// unreadable is a store that can't tell the runs of an event.
type unreadable struct{ Store }

func (unreadable) RunsOf(context.Context, string) ([]*engine.Run, error) {
	return nil, errors.New("the disk is gone")
}

// TestAReplayThatIsTakenIsNoError: who is told of one would replay it once more.
func TestAReplayThatIsTakenIsNoError(t *testing.T) {
	s := &enginetest.MemStore{}
	happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID = "aaaaaa1" })
	got, err := (&Local{Store: unreadable{s}, Live: &worker{store: s}}).Replay(t.Context(), ReplayQuery{Event: "aaaaaa1"})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "replayed", got, Replayed{Event: "bbbbbb1", Runs: []Run{}})
}

func TestReplaysThatAreRefused(t *testing.T) {
	s := &enginetest.MemStore{}
	happened(t, s, "deploy", func(a *engine.Acceptance) { a.Event.ID, a.Runs[0].ID = "aaaaaa1", "aaaaaa2" })
	for _, tt := range []struct {
		err  error
		want Error
	}{
		{engine.ErrNoRule, Error{http.StatusNotFound, `there is no rule "deploy"`, "the rules are heal"}},
		{engine.ErrNotFound, Error{http.StatusNotFound, `there is no event "aaaaaa1"`, "hookrun events lists them; old ones are deleted, see -keep-age"}},
		{engine.ErrBusy, Error{http.StatusServiceUnavailable, "replay: too many events at once", "hookrun's log says why; try again"}},
		{engine.ErrUnavailable, Error{http.StatusServiceUnavailable, "replay: not accepting events", "hookrun's log says why; try again"}},
	} {
		l := &Local{Store: s, Live: &worker{err: tt.err}, Names: func() []string { return []string{"heal"} }}
		_, err := l.Replay(t.Context(), ReplayQuery{Run: "aaaaaa2"})
		wantError(t, err, tt.want)
	}
}

func TestArmAndRelease(t *testing.T) {
	s := &enginetest.MemStore{}
	held := func(r *engine.Run) { r.ID, r.State, r.Held, r.Armed = "aaaaaa1", engine.Queued, true, true }
	accept(t, s, held, as("aaaaaa2", engine.Queued))
	w := &worker{live: live{why: "held"}, store: s}
	rules := []string{"deploy", "heal"}
	l := &Local{Store: s, Live: w, Names: func() []string { return rules }}
	for _, tt := range []struct {
		do, rule string
		all      bool
		want     []string
		err      Error
	}{
		{"arm", "deploy", false, []string{"deploy"}, Error{}},
		{"arm", "", true, []string{"deploy"}, Error{}},
		{"arm", "haul", false, nil, Error{http.StatusNotFound, `there is no rule "haul"`, `did you mean "heal"?`}},
		{"disarm", "haul", false, nil, Error{http.StatusNotFound, `there is no rule "haul"`, `did you mean "heal"?`}},
		{"disarm", "deploy", true, []string{}, Error{}},
		{"arm", "heal", true, []string{"heal"}, Error{}},
		{"disarm", "", false, []string{}, Error{}},
	} {
		do := l.Arm
		if tt.do == "disarm" {
			do = l.Disarm
		}
		got, err := do(t.Context(), tt.rule)
		if tt.err != (Error{}) {
			wantError(t, err, tt.err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, tt.do+" "+tt.rule, []any{got.All, got.Rules, ids(got.Runs)}, []any{tt.all, tt.want, []string{"aaaaaa1"}})
	}
	w.armed, rules = []string{"deploy"}, []string{"heal"} // it is gone from the rules while it is armed
	if got, err := l.Disarm(t.Context(), "deploy"); err != nil || len(got.Rules) > 0 {
		t.Errorf("disarm of a rule that is gone = %+v, %v", got, err)
	}

	run, err := l.Release(t.Context(), "aaaaaa1")
	if err != nil || run.ID != "aaaaaa1" {
		t.Errorf("Release = %+v, %v", run, err)
	}
	w.err = engine.ErrNotArmed
	_, err = l.Release(t.Context(), "aaaaaa2")
	wantError(t, err, Error{http.StatusConflict, "run aaaaaa2 is not held: nobody has to release it", "hookrun arm lists what is held"})
	w.err = engine.ErrFinished
	_, err = l.Release(t.Context(), "aaaaaa2")
	wantError(t, err, Error{http.StatusConflict, "run aaaaaa2 has finished already: it is queued", "hookrun runs retry runs it again"})
}

// builds is an action that knows what it does.
type builds struct{ enginetest.Action }

func (*builds) Plan(in engine.Input) (engine.Plan, error) {
	return engine.Plan{Argv: []string{"build", in.Event.ID}}, nil
}

// TestShowTellsWhatAHeldRunWouldDo: a person is to say whether it goes.
func TestShowTellsWhatAHeldRunWouldDo(t *testing.T) {
	s := &enginetest.MemStore{}
	held := happened(t, s, "deploy", func(a *engine.Acceptance) {
		a.Event.ID = "aaaaaa1"
		a.Runs[0].Held, a.Runs[0].Armed = true, true
	}).Runs[0]
	now := rulesOf(t, "deploy", `body.ref == "refs/heads/main"`)
	now.Rules[0].Steps = []engine.Step{{ID: "build", Action: &builds{}}}
	planned := &engine.PlannedRun{Steps: []engine.PlannedStep{{Step: "build", Kind: "fake", Plan: engine.Plan{Argv: []string{"build", "aaaaaa1"}}}}}
	for _, tt := range []struct {
		name  string
		rules func() *engine.RuleSet
		want  *engine.PlannedRun
		err   string
	}{
		{"its rule", func() *engine.RuleSet { return now }, planned, ""},
		{"its rule, edited", func() *engine.RuleSet { return rulesOf(t, "deploy", "false") }, nil, "its rule has changed and would not start it any more; once released it does what the rule says now"},
		{"its rule is gone", func() *engine.RuleSet { return rulesOf(t, "other", "true") }, nil, "its rule is not in force any more: once released it ends as abandoned"},
		{"no hookrun", nil, nil, "no hookrun runs: there are no rules in force that would say"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := (&Local{Store: s, Ruleset: tt.rules}).Show(t.Context(), held.ID)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "planned", got.Planned, tt.want)
			wantEqual(t, "why not", got.PlannedErr, tt.err)
		})
	}
	held.Armed = false // it was released
	update(t, s, held)
	got, err := (&Local{Store: s, Ruleset: func() *engine.RuleSet { return now }}).Show(t.Context(), held.ID)
	if err != nil || got.Planned != nil || got.PlannedErr != "" {
		t.Errorf("of a run that is not held, planned is %+v, %q, %v; want nothing", got.Planned, got.PlannedErr, err)
	}
}

// TestWithoutAHookrun: what needs one says so; the history is there.
func TestWithoutAHookrun(t *testing.T) {
	s := &enginetest.MemStore{}
	accept(t, s, func(r *engine.Run) { r.ID, r.State, r.Held, r.Armed = "aaaaaa1", engine.Queued, true, true })
	l := &Local{Store: s, Hands: Stopped{s}, Archive: generations{}}
	for name, do := range map[string]func() error{
		"an event can't be run again":                      func() error { _, err := l.Replay(t.Context(), ReplayQuery{Event: "aaaaaa"}); return err },
		"no rule can be armed":                             func() error { _, err := l.Arm(t.Context(), "a"); return err },
		"no rule is armed":                                 func() error { _, err := l.Disarm(t.Context(), "a"); return err },
		"there are no rules in force":                      func() error { _, err := l.Rules(t.Context()); return err },
		"there are no rules in force to ask":               func() error { _, err := l.Explain(t.Context(), ExplainQuery{Event: "aaaaaa"}); return err },
		"nothing happens that could be watched":            func() error { return l.Watch(t.Context(), WatchQuery{}, nil) },
		"there is no generation that waits to be accepted": func() error { _, err := l.AcceptRules(t.Context(), ""); return err },
		"what is held can be released once one does, or ended with hookrun runs cancel": func() error { _, err := l.Release(t.Context(), "aaaaaa1"); return err },
	} {
		wantError(t, do(), Error{http.StatusServiceUnavailable, "no hookrun runs on this data folder: " + name, "start one, as with hookrun -rules rules.yaml, or name its folder with -data"})
	}
	armed, err := l.Armed(t.Context())
	if err != nil || !slices.Equal(ids(armed.Runs), []string{"aaaaaa1"}) {
		t.Errorf("Armed = %+v, %v; want what waits", armed, err)
	}
	list, err := l.Generations(t.Context())
	if err != nil || len(list.Generations) != 1 {
		t.Errorf("Generations = %+v, %v", list, err)
	}
	status, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "health", status.Health, Health{Reason: "no hookrun runs"})
	wantEqual(t, "runs in the store", status.Store.Runs, int64(1))
}

// generations is an archive with one.
type generations struct{}

func (generations) Generations() ([]Generation, error) {
	return []Generation{{N: 1, Hash: "h", Files: []string{"r.yaml"}}}, nil
}

func (generations) Source() func(string) string {
	return func(place string) string { return "source of " + place }
}

// gate holds a generation.
type gate struct {
	held    *Generation
	refused *Refusal
}

func (g gate) Held() *Generation { return g.held }

func (g gate) Refused() *Refusal { return g.refused }

func (g gate) Accept(_ context.Context, hash string) (Generation, error) {
	if hash != g.held.Hash {
		return Generation{}, errors.New("another one")
	}
	return Generation{N: 2, Hash: hash, Current: true}, nil
}

func TestAcceptRules(t *testing.T) {
	for _, tt := range []struct {
		name string
		held *Generation
		hash string
		want Error
	}{
		{"the one that is held", &Generation{Hash: "h2"}, "h2", Error{}},
		{"whichever it is", &Generation{Hash: "h2"}, "", Error{http.StatusBadRequest, "it is not said which generation is accepted", "hookrun rules accept h2"}},
		{"what has come since", &Generation{Hash: "h2"}, "h1", Error{http.StatusConflict, "the generation that waits is h2, not h1", "look at what it changes before you accept it: hookrun rules"}},
		{"none", nil, "h1", Error{http.StatusConflict, "no generation of rules waits to be accepted", "hookrun rules lists the generations"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &Local{Store: &enginetest.MemStore{}, Live: live{}, Gate: gate{held: tt.held}, Archive: generations{}}
			got, err := l.AcceptRules(t.Context(), tt.hash)
			if tt.want != (Error{}) {
				wantError(t, err, tt.want)
				return
			}
			if err != nil || got.Hash != "h2" || !got.Current {
				t.Errorf("AcceptRules = %+v, %v", got, err)
			}
			list, err := l.Generations(t.Context())
			if err != nil || list.Held != tt.held {
				t.Errorf("Generations = %+v, %v", list, err)
			}
		})
	}
}

func TestRulesTellHowTheyAreUsed(t *testing.T) {
	s := &enginetest.MemStore{}
	accept(t, s, as("aaaaaa1", engine.Done), as("aaaaaa2", engine.Queued))
	if err := s.SetPaused(t.Context(), []string{"deploy"}); err != nil {
		t.Fatal(err)
	}
	rules := rulesOf(t, "deploy", `body.ref == "x"`, "heal", "true")
	rules.Rules[1].Shadow = true
	rules.Off = []*engine.Rule{{Name: "off", Place: "rules.yaml:9"}}
	l := &Local{Store: s, Live: &worker{live: live{why: "its turn"}, armed: []string{"heal"}}, Ruleset: func() *engine.RuleSet { return rules }, Archive: generations{}}
	got, err := l.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := got.Rules[0].Last
	if last == nil || last.ID != "aaaaaa2" || last.Why != "its turn" {
		t.Errorf("the last run is %+v, want aaaaaa2", last)
	}
	got.Rules[0].Last = nil
	wantEqual(t, "rules", got, RuleList{Hash: "hash", Rules: []RuleInfo{
		{Name: "deploy", Place: "rules.yaml:1", Buckets: []string{"deploys"}, Methods: []string{"POST"}, When: `body.ref == "x"`, Paused: true,
			Source: "source of rules.yaml:1", Day: map[engine.State]int{engine.Done: 1, engine.Queued: 1}},
		{Name: "heal", Place: "rules.yaml:3", Buckets: []string{"deploys"}, Methods: []string{"POST"}, When: "true", Shadow: true, Armed: true, Source: "source of rules.yaml:3"},
		{Name: "off", Place: "rules.yaml:9", Off: true, Source: "source of rules.yaml:9"},
	}})
}

func TestStatusOfAHookrun(t *testing.T) {
	s := &enginetest.MemStore{}
	a := happened(t, s, "deploy", func(*engine.Acceptance) {})
	since := time.Now().Add(-time.Hour)
	rules := rulesOf(t, "deploy", "true")
	l := &Local{
		Store: s, Live: live{waiting: 3}, Since: since, Relay: func() string { return "connected" }, Ruleset: func() *engine.RuleSet { return rules },
		Health: func() Health { return Health{OK: true} }, Gate: gate{&Generation{Hash: "h"}, &Refusal{At: since, Problems: []RuleProblem{{Place: "rules.yaml:3", Msg: "unknown key"}}}},
		About: About{Version: "v1", Listen: ":8080", Admin: "http://127.0.0.1:8081/", KeepAge: time.Hour, KeepSize: 1 << 30},
	}
	got, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "status", got, Status{
		Version: "v1", Since: since, Health: Health{OK: true}, Relay: "connected", Listen: ":8080", Admin: "http://127.0.0.1:8081/", Rules: 1, Held: true,
		Refused: &Refusal{At: since, Problems: []RuleProblem{{Place: "rules.yaml:3", Msg: "unknown key"}}},
		Store:   StoreInfo{Events: 1, Runs: 1, Oldest: a.Event.Received, Newest: a.Event.Received, KeepAge: 3600, KeepSize: 1 << 30},
		Summary: Summary{Since: since, Waiting: 3, Paused: Paused{Rules: []string{}}, Relay: "connected"},
	})
}

// slowStore is one whose size takes a while to find out.
type slowStore struct {
	enginetest.MemStore
	asked int
}

func (s *slowStore) Info(ctx context.Context) (engine.StoreInfo, error) {
	s.asked++
	return engine.StoreInfo{Events: int64(s.asked)}, sleep(ctx, 40*time.Millisecond)
}

// TestSizeOfAStoreIsNotAskedForAllTheTime: each page of the dashboard, of each
// second, has a Status.
func TestSizeOfAStoreIsNotAskedForAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{}
		l := &Local{Store: s}
		for _, tt := range []struct {
			wait time.Duration
			want int64
		}{{0, 1}, {3900 * time.Millisecond, 1}, {200 * time.Millisecond, 2}, {0, 2}} {
			if err := sleep(t.Context(), tt.wait); err != nil {
				t.Fatal(err)
			}
			got, err := l.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "events", got.Store.Events, tt.want)
		}
	})
}

func TestRejections(t *testing.T) {
	s := &enginetest.MemStore{}
	l := &Local{Store: s}
	got, err := l.Rejections(t.Context(), RejectionQuery{})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "of none", got, RejectionList{Rejections: []engine.Rejection{}})
	r := engine.Rejection{ID: "x", Received: time.Now(), Bucket: "b", Reason: "no"}
	for _, bucket := range []string{"a", "b", "b"} {
		r.Bucket = bucket
		if err := s.Reject(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = l.Rejections(t.Context(), RejectionQuery{Bucket: "b", Limit: 1}); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "one of a bucket", got, RejectionList{Rejections: []engine.Rejection{r}})
	_, err = l.Rejections(t.Context(), RejectionQuery{Limit: engine.MaxRejections + 1})
	wantError(t, err, Error{http.StatusBadRequest, "the limit is 1001, which is not between 1 and 1000", ""})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &enginetest.MemStore{}
		accept(t, s, func(r *engine.Run) {
			r.ID, r.State, r.Started, r.Finished = "aaaaaa1", engine.Done, time.Now(), time.Now().Add(1500*time.Millisecond)
		})
		if err := sleep(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		l := &Local{Store: s}
		got, err := l.Rates(t.Context(), RateQuery{})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "spans of a day", []any{got.Step, len(got.Rates)}, []any{1800.0, 48})
		last := got.Rates[47]
		wantEqual(t, "the last", last, Rate{From: last.From, Events: 1, Runs: map[engine.State]int{engine.Done: 1}, Median: 1.5, Worst: 1.5})
		text, err := json.Marshal(got.Rates[0])
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "one without anything", string(text), fmt.Sprintf(`{"from":%q,"events":0,"runs":{}}`, got.Rates[0].From.Format(time.RFC3339Nano)))

		_, err = l.Rates(t.Context(), RateQuery{Step: time.Minute})
		wantError(t, err, Error{http.StatusBadRequest, "that is 1441 spans, and at most 400 can be asked for", "take a longer step or a later since"})
		_, err = l.Rates(t.Context(), RateQuery{Step: time.Millisecond})
		wantError(t, err, Error{http.StatusBadRequest, "the step is 1ms, and the least is 1s", ""})
	})
}
