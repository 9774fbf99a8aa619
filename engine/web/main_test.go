package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDesk shows one of everything, with text in each field that can come from
// outside, and notes what it was asked to change.
type fakeDesk struct {
	control.Desk // what it does not have must not be asked

	text  string // in every field
	held  bool
	armed bool // the run waits for a person
	old   bool // the rules have changed since the event
	mask  bool // a secret stands in the body of the event
	err   error
	empty bool // there is nothing yet

	mu    sync.Mutex // guards asked
	asked []string
}

const (
	eventID = "0197f3c2-8a1b-7a2c-9d3e-000000000001"
	runID   = "0197f3c2-8a1b-7a2c-9d3e-0000000000a1"
)

func at(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }

func (f *fakeDesk) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeDesk) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *fakeDesk) one(state engine.State) control.Run {
	r := control.Run{
		ID: runID, Seq: 1, Event: eventID, Rule: f.text, Key: f.text, State: state, Attempts: 2, Cut: 1, Retried: true,
		Created: at(1), Started: at(2), Error: f.text, Waited: f.text, Note: f.text, Why: f.text, By: runID,
	}
	if state.Finished() {
		r.Finished = at(9)
	}
	r.Armed = state == engine.Queued
	return r
}

func (f *fakeDesk) row() control.EventRow {
	return control.EventRow{
		Event: control.Event{
			ID: eventID, Received: at(0), Source: f.text, Remote: f.text, Bucket: f.text, Input: f.text, Method: f.text, Path: f.text, Size: len(f.text),
		},
		Seq: 7, Kind: f.text, Outcome: engine.EventStarted, Matched: []string{f.text}, Errored: []string{f.text}, ReplayOf: eventID, BodyErr: f.text, MatchErr: f.text,
	}
}

func (f *fakeDesk) verdicts() []engine.Verdict {
	return []engine.Verdict{
		{Rule: f.text, Outcome: engine.Matched, Why: f.text, Missing: []string{f.text}},
		{Rule: f.text + " 2", Outcome: engine.Errored, Why: f.text},
		{Rule: f.text + " 3", Outcome: engine.NoMatch, Why: f.text},
	}
}

func (f *fakeDesk) plan() *engine.Plan {
	v := []engine.PlanVar{{Name: f.text, Value: f.text}}
	return &engine.Plan{
		Argv: []string{f.text, f.text}, Dir: f.text, Env: v, Stdin: &f.text, Path: f.text, Write: f.text, Content: &f.text,
		Method: f.text, URL: f.text, Header: v, Body: &f.text, Open: []string{f.text},
	}
}

func (f *fakeDesk) planned() *engine.PlannedRun {
	return &engine.PlannedRun{Key: f.text, Err: f.text, Element: json.RawMessage(`"x"`), Steps: []engine.PlannedStep{
		{Step: f.text, Kind: f.text, If: f.tree(), Plan: *f.plan(), Err: f.text, Open: true}, {Step: f.text, Skip: true},
	}}
}

func (f *fakeDesk) tree() *engine.Node {
	leaf := func(s engine.NodeState) *engine.Node {
		return &engine.Node{Text: f.text, Path: f.text, State: s, Kind: "text", Value: f.text, Err: f.text}
	}
	return &engine.Node{Text: f.text, State: engine.NodeFalse, Rounds: 3, Trues: 1, Decided: true, Parts: []*engine.Node{
		leaf(engine.NodeTrue), leaf(engine.NodeFalse), leaf(engine.NodeValue), leaf(engine.NodeMissing), leaf(engine.NodeError), leaf(engine.NodeUnreached),
	}}
}

func (f *fakeDesk) List(_ context.Context, q control.Query) (control.List, error) {
	if f.empty {
		return control.List{Hint: f.text}, f.err
	}
	if len(q.States) > 0 && q.States[0] == "nonsense" {
		return control.List{}, &control.Error{Status: http.StatusBadRequest, Msg: `there is no state "nonsense"`, Hint: "the states are others"}
	}
	if q.Event != "" {
		return control.List{Runs: []control.Run{f.one(engine.Failed)}}, f.err
	}
	return control.List{Runs: []control.Run{f.one(engine.Done), f.one(engine.Failed), f.one(engine.Running), f.one(engine.Queued)}, Next: 3}, f.err
}

func (f *fakeDesk) Show(_ context.Context, id string) (control.Detail, error) {
	if id != runID {
		return control.Detail{}, &control.Error{Status: http.StatusNotFound, Msg: "there is no run " + id, Hint: f.text}
	}
	code := 1
	text := control.Text{Head: control.Bytes(f.text + "\n\x1b[31m" + f.text + "\x1b[0m"), Cut: 10, Tail: control.Bytes(f.text)}
	v := f.verdicts()[0]
	row := f.row()
	state, planned, plannedErr := engine.Failed, (*engine.PlannedRun)(nil), ""
	if f.armed {
		state, planned, plannedErr = engine.Queued, f.planned(), f.text
	}
	return control.Detail{
		Run: f.one(state), Planned: planned, PlannedErr: plannedErr, Element: json.RawMessage(f.text), Event: &row.Event, Verdict: &v,
		Steps: []control.Step{
			{Attempt: 1, Step: f.text, Kind: f.text, State: engine.StepFailed, Started: at(2), Finished: at(4), Error: f.text, Signal: f.text, Path: f.text, Outputs: map[string]string{f.text: f.text}, Plan: f.plan(), Body: control.Bytes(f.text), Stdout: text, Stderr: text},
			{Attempt: 2, Index: 1, Phase: engine.PhaseAlways, Step: f.text, Kind: f.text, State: engine.StepDone, Started: at(5), Finished: at(9), ExitCode: &code, Status: 200, Passed: true, Path: f.text, Stdout: text},
		},
	}, f.err
}

func (f *fakeDesk) Events(context.Context, control.EventQuery) (control.EventList, error) {
	if f.empty {
		return control.EventList{Hint: f.text}, f.err
	}
	return control.EventList{Events: []control.EventRow{f.row()}, Next: 7, Hint: f.text}, f.err
}

func (f *fakeDesk) Event(_ context.Context, id string) (control.EventDetail, error) {
	if id != eventID {
		return control.EventDetail{}, &control.Error{Status: http.StatusNotFound, Msg: "there is no event " + id, Hint: f.text}
	}
	return control.EventDetail{
		EventRow: f.row(), BucketID: f.text, Delivery: f.text, Query: f.text, Header: map[string][]string{f.text: {f.text, f.text}}, Meta: map[string]string{f.text: f.text},
		Edited: true, Body: control.Bytes(f.text), BodyMasked: f.mask, Rules: f.text, Current: !f.old, Verdicts: f.verdicts(), Runs: []control.Run{f.one(engine.Done)}, Replays: []string{eventID},
	}, f.err
}

func (f *fakeDesk) Body(context.Context, string) (control.Body, error) {
	return control.Body{Type: "text/html", Data: []byte(f.text)}, f.err
}

func (f *fakeDesk) Explain(_ context.Context, q control.ExplainQuery) (*engine.Rehearsal, error) {
	if q.Made != nil {
		if err := f.note("explain %s", q.Made.Body); err != nil {
			return nil, err
		}
	}
	var asked []engine.Explanation
	for i, v := range f.verdicts() {
		if f.old && i == 1 {
			continue // the rule is gone
		}
		if f.old && i == 2 {
			v.Outcome = engine.Matched
		}
		asked = append(asked, engine.Explanation{
			Rule: v.Rule, Place: f.text, Verdict: v, Shadow: i == 0, When: f.tree(), Near: 0.5,
			Runs: []engine.PlannedRun{*f.planned()},
		})
	}
	asked = append(asked, engine.Explanation{Rule: f.text + " 4", Verdict: engine.Verdict{Rule: f.text + " 4", Outcome: engine.NoMatch}})
	return &engine.Rehearsal{Event: eventID, BodyErr: f.text, Asked: asked}, nil
}

func (f *fakeDesk) Rejections(context.Context, control.RejectionQuery) (control.RejectionList, error) {
	if f.empty {
		return control.RejectionList{}, f.err
	}
	r := engine.Rejection{ID: eventID, Received: at(0), Source: f.text, Remote: f.text, Bucket: f.text, Method: f.text, Path: f.text, Headers: []string{f.text}, Size: 3, Reason: f.text, Likely: f.text}
	return control.RejectionList{Rejections: []engine.Rejection{r}}, f.err
}

func (f *fakeDesk) Rates(_ context.Context, q control.RateQuery) (control.RateList, error) {
	return control.RateList{Step: q.Step.Seconds(), Rates: []control.Rate{
		{From: at(0), Events: 4, Runs: map[engine.State]int{engine.Done: 3, engine.Failed: 1, engine.Queued: 1, engine.Skipped: 2}, Median: 0.2, Worst: 12},
		{From: at(30)},
	}}, f.err
}

func (f *fakeDesk) Status(context.Context) (control.Status, error) {
	var refused *control.Refusal
	if f.held {
		refused = &control.Refusal{At: at(0), Problems: []control.RuleProblem{{Place: f.text, Rule: f.text, Msg: f.text, Hint: f.text}}, More: 2}
	}
	return control.Status{
		Version: f.text, Since: at(0), Health: control.Health{OK: f.text == "", Reason: f.text}, Relay: f.text, Listen: f.text,
		Store:   control.StoreInfo{Folder: f.text, Size: 1 << 20, Used: 1 << 19, KeepSize: 1 << 21, Events: 1234567, Runs: 7, KeepAge: 86400, Oldest: at(0), Newest: at(1)},
		Summary: control.Summary{Since: at(0), Ended: map[engine.State]int64{engine.Done: 5}, Rejected: 1, Waiting: 2, Held: 3, Paused: control.Paused{All: f.held, Rules: []string{f.text}}, Relay: f.text},
		Rules:   1, Held: f.held, Admin: f.text, Refused: refused,
	}, nil
}

func (f *fakeDesk) Paused(context.Context) (control.Paused, error) {
	return control.Paused{All: f.held, Rules: []string{f.text}}, f.err
}

func (f *fakeDesk) Armed(context.Context) (control.Armed, error) {
	return control.Armed{All: f.held, Rules: []string{f.text}, Runs: []control.Run{f.one(engine.Queued)}}, f.err
}

func (f *fakeDesk) Rules(context.Context) (control.RuleList, error) {
	last := f.one(engine.Failed)
	all := control.RuleInfo{
		Name: f.text, Place: f.text, Buckets: []string{f.text}, Methods: []string{f.text}, When: f.text, Paused: true, Armed: true, Source: f.text,
		Last: &last, Day: map[engine.State]int{engine.Done: 3, engine.Failed: 1},
	}
	return control.RuleList{Hash: f.text, Rules: []control.RuleInfo{all, {Name: f.text + " 2", Shadow: true}, {Name: f.text + " 3", Off: true}, {Name: f.text + " 4"}}}, f.err
}

func (f *fakeDesk) Generations(context.Context) (control.GenerationList, error) {
	changes := &control.Changes{Events: 9, Of: f.text, Flipped: 2, Rules: []control.RuleChanges{{Rule: f.text, Newly: 1, NoMore: 1, Differs: 1, Sample: []string{eventID}, Details: []string{f.text}}}}
	g := control.Generation{N: 3, Hash: "abc", At: at(0), Files: []string{f.text}, Current: true, Diff: "--- a\n+++ b\n@@ -1 +1 @@\n-" + f.text + "\n+" + f.text + "\n " + f.text + "\n", Changes: changes}
	list := control.GenerationList{Generations: []control.Generation{g}}
	if f.held {
		list.Held = &g
	}
	return list, f.err
}

func (f *fakeDesk) Retry(_ context.Context, id string, all bool) (control.Run, error) {
	return f.one(engine.Queued), f.note("retry %s %v", id, all)
}

func (f *fakeDesk) Cancel(_ context.Context, id string) (control.Run, error) {
	return f.one(engine.Cancelled), f.note("cancel %s", id)
}

func (f *fakeDesk) Release(_ context.Context, id string) (control.Run, error) {
	return f.one(engine.Queued), f.note("release %s", id)
}

func (f *fakeDesk) Pause(_ context.Context, rule string) (control.Paused, error) {
	return control.Paused{}, f.note("pause %q", rule)
}

func (f *fakeDesk) Resume(_ context.Context, rule string) (control.Paused, error) {
	return control.Paused{}, f.note("resume %q", rule)
}

func (f *fakeDesk) Arm(_ context.Context, rule string) (control.Armed, error) {
	return control.Armed{}, f.note("arm %q", rule)
}

func (f *fakeDesk) Disarm(_ context.Context, rule string) (control.Armed, error) {
	return control.Armed{}, f.note("disarm %q", rule)
}

func (f *fakeDesk) AcceptRules(_ context.Context, hash string) (control.Generation, error) {
	return control.Generation{}, f.note("accept %s", hash)
}

func (f *fakeDesk) Replay(_ context.Context, q control.ReplayQuery) (control.Replayed, error) {
	body := "as it was"
	if q.Body != nil {
		body = string(*q.Body)
	}
	if err := f.note("replay event %q run %q rule %q: %s", q.Event, q.Run, q.Rule, body); err != nil {
		return control.Replayed{}, err
	}
	return control.Replayed{Event: eventID, Runs: []control.Run{f.one(engine.Queued)}}, nil
}

// newServer returns one for a desk.
func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask has the server answer a request that was changed before.
func ask(s *Server, method, target, body string, change func(*http.Request)) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8081"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Result()
}

// allPages are addresses of every page that there is.
func allPages() []string {
	return []string{
		"/", "/?range=1h", "/events", "/events?bucket=x&outcome=started&since=24h&before=9", "/events/" + eventID, "/rejected", "/rejected?bucket=x&since=24h",
		"/runs", "/runs?rule=x&state=done&since=1h&range=7d&before=3", "/runs/" + runID, "/rules", "/status", "/nowhere", "/runs/none", "/events/none",
	}
}
