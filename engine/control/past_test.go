package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"hookrun/engine"
)

// past is what a fakeDesk answers as History and Control.
type past struct {
	events      EventList
	event       EventDetail
	body        Body
	rehearsal   *engine.Rehearsal
	notices     []Notice
	rejections  RejectionList
	rates       RateList
	status      Status
	replayed    Replayed
	armed       Armed
	rules       RuleList
	generations GenerationList
	generation  Generation
}

// somePast has every field of every shape set.
func somePast(now time.Time) past {
	row := EventRow{
		Event: Event{ID: "e1", Received: now, Source: "relay", Remote: "192.0.2.1:4", Bucket: "deploys", Input: "in", Method: "POST", Path: "/<a>", Size: 3},
		Seq:   7, Kind: "push", Outcome: engine.EventStarted, Matched: []string{"a"}, Errored: []string{"b"}, ReplayOf: "e0", BodyErr: "x", MatchErr: "y",
	}
	run := Run{ID: "r1", Seq: 9, Event: "e1", Rule: "a", State: engine.Queued, Created: now, Armed: true, Why: "held"}
	text := "out"
	leaf := &engine.Node{Text: "body.ref", Offset: 3, Path: "body.ref", State: engine.NodeValue, Kind: "text", Value: `"x"`}
	tree := &engine.Node{Text: "a == 1", Op: "==", State: engine.NodeFalse, Err: "e", Rounds: 2, Trues: 1, Decided: true, Parts: []*engine.Node{leaf}}
	plan := engine.Plan{
		Argv: []string{"sh", "-c", "x"}, Dir: "/", Env: []engine.PlanVar{{Name: "A", Value: "1"}}, Stdin: &text, Path: "/f", Write: "create", Content: &text,
		Method: "POST", URL: "https://x", Header: []engine.PlanVar{{Name: "B", Value: "2"}}, Body: &text, Open: []string{"steps.a.stdout"},
	}
	verdict := engine.Verdict{Rule: "a", Outcome: engine.NoMatch, Why: "w", Missing: []string{"body.x"}, Slow: time.Second}
	generation := Generation{
		N: 3, Hash: "h", At: now, Files: []string{"/r.yaml"}, Current: true, Diff: "+a",
		Changes: &Changes{Events: 5, Of: "the last 24h", Flipped: 2, Rules: []RuleChanges{{Rule: "a", Newly: 1, NoMore: 1, Differs: 1, Sample: []string{"e1"}, Details: []string{"argv"}}}},
	}
	return past{
		events: EventList{Events: []EventRow{row}, Next: 7, Hint: "h"},
		event: EventDetail{
			EventRow: row, BucketID: "b", Delivery: "d", Query: "a=b", Header: map[string][]string{"X-A": {"1", "2"}}, Meta: map[string]string{"m": "n"},
			Edited: true, Body: Bytes("a\xffb"), Rules: "h", Current: true, Verdicts: []engine.Verdict{verdict}, Runs: []Run{run}, MoreRuns: 2, Replays: []string{"e2"},
		},
		body: Body{Event: "e1", Type: "text/html; charset=utf-8", Data: []byte("<script>\x00\xff")},
		rehearsal: &engine.Rehearsal{Event: "e1", Rules: "h", BodyErr: "b", Asked: []engine.Explanation{{
			Rule: "a", Place: "r.yaml:1", Verdict: verdict, Shadow: true, When: tree, Near: 0.5,
			Runs: []engine.PlannedRun{{Index: 1, Element: json.RawMessage(`{"n":1}`), Key: "k", Err: "e", Steps: []engine.PlannedStep{
				{Index: 1, Step: "s", Kind: "exec", If: tree, Skip: true, Open: true, Plan: plan, Err: "e"},
			}}},
		}}},
		notices: []Notice{
			{}, {Event: &row}, {Run: &run}, {Rejected: &engine.Rejection{ID: "x", Received: now, Bucket: "deploys", Headers: []string{"A"}, Reason: "no"}},
			{Rules: &generation}, {Refused: &Refusal{At: now, Problems: []RuleProblem{{Place: "r.yaml:1"}}}}, {Health: &Health{Reason: "<disk>"}}, {Missed: 3},
		},
		rejections: RejectionList{Rejections: []engine.Rejection{{ID: "x", Received: now, Bucket: "b", Headers: []string{}, Reason: "no", Likely: "another secret"}}},
		rates:      RateList{Step: 60, Rates: []Rate{{From: now, Events: 2, Runs: map[engine.State]int{engine.Done: 1}, Median: 0.5, Worst: 2}}},
		status: Status{
			Version: "v1", Since: now, Health: Health{OK: true}, Relay: "connected", Listen: ":1", Admin: "http://a/", Rules: 2, Held: true,
			Refused: &Refusal{At: now, Problems: []RuleProblem{{Place: "r.yaml:1:2", Rule: "a", Msg: "<no>", Hint: "yes"}}, More: 1},
			Store:   StoreInfo{Folder: "/d", Size: 3, Used: 2, Free: 1, Events: 4, Runs: 5, Oldest: now, Newest: now, KeepAge: 60, KeepSize: 10},
			Summary: Summary{Since: now, Ended: map[engine.State]int64{engine.Done: 1}, Paused: Paused{Rules: []string{"a"}}},
		},
		replayed: Replayed{Event: "e2", Runs: []Run{run}},
		armed:    Armed{All: true, Rules: []string{"a"}, Runs: []Run{run}},
		rules: RuleList{Hash: "h", Rules: []RuleInfo{{
			Name: "a", Place: "r.yaml:1", Buckets: []string{"b"}, Methods: []string{"POST"}, When: "true", Off: true, Shadow: true, Paused: true, Armed: true,
			Source: "- name: a", Last: &run, Day: map[engine.State]int{engine.Failed: 3},
		}}},
		generations: GenerationList{Generations: []Generation{generation}, Held: &Generation{Hash: "i", At: now, Files: []string{}}},
		generation:  generation,
	}
}

func (f *fakeDesk) Events(_ context.Context, q EventQuery) (EventList, error) {
	return f.events, f.note("events %+v", q)
}

func (f *fakeDesk) Event(_ context.Context, id string) (EventDetail, error) {
	return f.event, f.note("event %s", id)
}

func (f *fakeDesk) Body(_ context.Context, id string) (Body, error) {
	return f.body, f.note("body %s", id)
}

func (f *fakeDesk) Explain(_ context.Context, q ExplainQuery) (*engine.Rehearsal, error) {
	made := "nothing"
	if q.Made != nil {
		made = fmt.Sprintf("%+v", *q.Made)
	}
	return f.rehearsal, f.note("explain %q rule %q made %s", q.Event, q.Rule, made)
}

func (f *fakeDesk) Watch(ctx context.Context, q WatchQuery, emit func(Notice) error) error {
	if err := f.note("watch %+v", q); err != nil {
		return err
	}
	for _, n := range f.notices {
		if err := emit(n); err != nil {
			return err
		}
	}
	if f.block {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (f *fakeDesk) Rejections(_ context.Context, q RejectionQuery) (RejectionList, error) {
	return f.rejections, f.note("rejections %+v", q)
}

func (f *fakeDesk) Rates(_ context.Context, q RateQuery) (RateList, error) {
	return f.rates, f.note("rates %+v", q)
}

func (f *fakeDesk) Status(context.Context) (Status, error) { return f.status, f.note("status") }

func (f *fakeDesk) Replay(_ context.Context, q ReplayQuery) (Replayed, error) {
	body := "as it was"
	if q.Body != nil {
		body = string(*q.Body)
	}
	return f.replayed, f.note("replay %q run %q rule %q body %q", q.Event, q.Run, q.Rule, body)
}

func (f *fakeDesk) Arm(_ context.Context, rule string) (Armed, error) {
	return f.armed, f.note("arm %q", rule)
}

func (f *fakeDesk) Disarm(_ context.Context, rule string) (Armed, error) {
	return f.armed, f.note("disarm %q", rule)
}

func (f *fakeDesk) Armed(context.Context) (Armed, error) { return f.armed, f.note("armed") }

func (f *fakeDesk) Release(_ context.Context, id string) (Run, error) {
	return f.run, f.note("release %s", id)
}

func (f *fakeDesk) Rules(context.Context) (RuleList, error) { return f.rules, f.note("rules") }

func (f *fakeDesk) Generations(context.Context) (GenerationList, error) {
	return f.generations, f.note("generations")
}

func (f *fakeDesk) AcceptRules(_ context.Context, hash string) (Generation, error) {
	return f.generation, f.note("accept %q", hash)
}

// TestClientAndServerAreTheHistory is TestClientAndServerAreTheDesk for the rest
// of it.
func TestClientAndServerAreTheHistory(t *testing.T) {
	now := time.Now().UTC()
	f := &fakeDesk{run: Run{ID: "r1", Created: now}, past: somePast(now)}
	dir := t.TempDir()
	serve(t, f, dir)
	c := dialDir(t, dir)
	empty, binary := Bytes{}, Bytes("\xff\x00")
	made := &Request{Bucket: "b", Method: "PUT", Path: "/p", Query: "q=1", Header: map[string][]string{"A": {"1"}}, Body: Bytes("x\xff")}
	for _, tt := range []struct {
		asked string
		do    func(Desk) (any, error)
		want  any
	}{
		{"events {Bucket: Rule: Outcomes:[] Since:0001-01-01 00:00:00 +0000 UTC Until:0001-01-01 00:00:00 +0000 UTC Before:0 After:0 Limit:0}",
			func(d Desk) (any, error) { return d.Events(t.Context(), EventQuery{}) }, f.events},
		{fmt.Sprintf("events {Bucket:a&b Rule:c=d Outcomes:[started error] Since:%s Until:%s Before:3 After:4 Limit:5}", now, now.Add(1)),
			func(d Desk) (any, error) {
				return d.Events(t.Context(), EventQuery{Bucket: "a&b", Rule: "c=d", Outcomes: []engine.EventOutcome{"started", "error"}, Since: now, Until: now.Add(1), Before: 3, After: 4, Limit: 5})
			}, f.events},
		{"event a/../b?c", func(d Desk) (any, error) { return d.Event(t.Context(), "a/../b?c") }, f.event},
		{"body e1", func(d Desk) (any, error) { return d.Body(t.Context(), "e1") }, f.body},
		{`explain "e1" rule "a" made nothing`, func(d Desk) (any, error) { return d.Explain(t.Context(), ExplainQuery{Event: "e1", Rule: "a"}) }, f.rehearsal},
		{fmt.Sprintf(`explain "" rule "" made %+v`, *made), func(d Desk) (any, error) { return d.Explain(t.Context(), ExplainQuery{Made: made}) }, f.rehearsal},
		{"rates {Rule: Since:0001-01-01 00:00:00 +0000 UTC Step:0s}", func(d Desk) (any, error) { return d.Rates(t.Context(), RateQuery{}) }, f.rates},
		{"rejections {Bucket: Since:0001-01-01 00:00:00 +0000 UTC Limit:0}", func(d Desk) (any, error) { return d.Rejections(t.Context(), RejectionQuery{}) }, f.rejections},
		{fmt.Sprintf("rejections {Bucket:a&b Since:%s Limit:3}", now), func(d Desk) (any, error) {
			return d.Rejections(t.Context(), RejectionQuery{Bucket: "a&b", Since: now, Limit: 3})
		}, f.rejections},
		{fmt.Sprintf("rates {Rule:a Since:%s Step:1m30s}", now), func(d Desk) (any, error) {
			return d.Rates(t.Context(), RateQuery{Rule: "a", Since: now, Step: 90 * time.Second})
		}, f.rates},
		{"status", func(d Desk) (any, error) { return d.Status(t.Context()) }, f.status},
		{`replay "e1" run "" rule "a" body "as it was"`, func(d Desk) (any, error) { return d.Replay(t.Context(), ReplayQuery{Event: "e1", Rule: "a"}) }, f.replayed},
		{`replay "" run "r1" rule "" body ""`, func(d Desk) (any, error) { return d.Replay(t.Context(), ReplayQuery{Run: "r1", Body: &empty}) }, f.replayed},
		{`replay "" run "r1" rule "" body "\xff\x00"`, func(d Desk) (any, error) { return d.Replay(t.Context(), ReplayQuery{Run: "r1", Body: &binary}) }, f.replayed},
		{`arm "a b"`, func(d Desk) (any, error) { return d.Arm(t.Context(), "a b") }, f.armed},
		{`arm ""`, func(d Desk) (any, error) { return d.Arm(t.Context(), "") }, f.armed},
		{`disarm "a b"`, func(d Desk) (any, error) { return d.Disarm(t.Context(), "a b") }, f.armed},
		{"armed", func(d Desk) (any, error) { return d.Armed(t.Context()) }, f.armed},
		{"release r1", func(d Desk) (any, error) { return d.Release(t.Context(), "r1") }, f.run},
		{"rules", func(d Desk) (any, error) { return d.Rules(t.Context()) }, f.rules},
		{"generations", func(d Desk) (any, error) { return d.Generations(t.Context()) }, f.generations},
		{`accept "h"`, func(d Desk) (any, error) { return d.AcceptRules(t.Context(), "h") }, f.generation},
		{`accept ""`, func(d Desk) (any, error) { return d.AcceptRules(t.Context(), "") }, f.generation},
		{"watch {Bucket:a b Rule:c Outcomes:[error] States:[done failed]}", func(d Desk) (any, error) {
			return watched(t, d, WatchQuery{Bucket: "a b", Rule: "c", Outcomes: []engine.EventOutcome{"error"}, States: []engine.State{"done", "failed"}})
		}, f.notices},
	} {
		t.Run(tt.asked, func(t *testing.T) {
			f.err, f.asked = nil, nil
			got, err := tt.do(c)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			wantEqual(t, "asked", f.asked, []string{tt.asked})

			f.err = &Error{http.StatusConflict, "it is <gone>", "look there"}
			_, err = tt.do(c)
			wantError(t, err, Error{http.StatusConflict, "it is <gone>", "look there"})
			f.err = errors.New("disk is full")
			_, err = tt.do(c)
			wantError(t, err, Error{http.StatusInternalServerError, "disk is full", ""})
		})
	}
}

// watched are the notices of a Watch that the other side ends.
func watched(t *testing.T, d Desk, q WatchQuery) (all []Notice, err error) {
	err = d.Watch(t.Context(), q, func(n Notice) error {
		all = append(all, n)
		return nil
	})
	if errors.Is(err, ErrWatchEnded) {
		err = nil
	}
	return all, err
}
