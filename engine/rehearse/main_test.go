package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"hookrun/engine"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// past is a Source in memory.
type past struct {
	records []engine.EventRecord // the newest first
	runs    map[string][]*engine.Run
	steps   map[string][]*engine.StepResult
	err     error
	page    int // how many records it gives at most; 0: as many as are asked for
}

func (p *past) Records(ctx context.Context, f engine.EventFilter) (page []engine.EventRecord, next int64, err error) {
	if err := cmp.Or(p.err, ctx.Err()); err != nil {
		return nil, 0, err
	}
	most := f.Limit
	if p.page > 0 {
		most = min(most, p.page)
	}
	for _, rec := range p.records {
		switch {
		case f.Before > 0 && rec.Seq >= f.Before, f.Bucket != "" && rec.Bucket != f.Bucket, rec.Received.Before(f.Since):
		case len(page) == most:
			return page, page[len(page)-1].Seq, nil
		default:
			page = append(page, rec)
		}
	}
	return page, 0, nil
}

func (p *past) RunsOf(_ context.Context, event string) ([]*engine.Run, error) {
	return slices.Clone(p.runs[event]), p.err
}

func (p *past) Steps(_ context.Context, run string) ([]*engine.StepResult, error) {
	return p.steps[run], p.err
}

// says is an action that runs a command made of templates.
type says struct{ argv []*engine.Template }

func (says) Kind() string { return "exec" }

func (says) Do(context.Context, engine.Input) (engine.Output, error) { return engine.Output{}, nil }

func (a says) Plan(in engine.Input) (plan engine.Plan, err error) {
	for _, t := range a.argv {
		text, err := t.Render(in.Scope)
		if err != nil {
			return plan, err
		}
		plan.Argv = append(plan.Argv, text)
	}
	return plan, nil
}

// rule makes a rule of the bucket "b".
func rule(t testing.TB, name, when string, argv ...string) *engine.Rule {
	t.Helper()
	r := &engine.Rule{Name: name, Place: "rules.yaml:1", Hash: fmt.Sprint(name, when, argv), Buckets: []string{"b"}}
	c := engine.NewCompiler(engine.World{})
	if when != "" {
		var found []engine.Finding
		if r.When, found = c.Condition(when); r.When == nil {
			t.Fatalf("%s: %v", when, found)
		}
	}
	does := says{}
	for _, src := range argv {
		template, found := c.Template(src, nil)
		if template == nil {
			t.Fatalf("%s: %v", src, found)
		}
		does.argv = append(does.argv, template)
	}
	if len(argv) > 0 {
		r.Steps = []engine.Step{{ID: "1", Action: does}}
	}
	return r
}

func ruleSet(rules ...*engine.Rule) *engine.RuleSet {
	return engine.NewRuleSet(rules, fmt.Sprint(rules))
}

// came is when the first event came; each further one comes a minute later.
func came() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

// push is an event with a body.
func push(body string) *engine.Event {
	return &engine.Event{
		Bucket: "b", Method: "POST", Path: "/", Body: []byte(body),
		Header: http.Header{"Content-Type": {"application/json"}, "X-Github-Event": {"push"}},
	}
}

// happened is the past in which rules were asked about events, in their order,
// and ran what they say.
func happened(rules *engine.RuleSet, events ...*engine.Event) *past {
	p := &past{runs: map[string][]*engine.Run{}, steps: map[string][]*engine.StepResult{}}
	for i, ev := range events {
		ev.ID, ev.Received = fmt.Sprintf("e%d", i+1), came().Add(time.Duration(i)*time.Minute)
		p.take(rules, ev)
	}
	slices.Reverse(p.records)
	return p
}

// verdicts are those of a rehearsal.
func verdicts(r *engine.Rehearsal) []engine.Verdict {
	list := make([]engine.Verdict, len(r.Asked))
	for i, x := range r.Asked {
		list[i] = x.Verdict
	}
	return list
}

func (p *past) take(rules *engine.RuleSet, ev *engine.Event) {
	told := rules.Rehearse(ev, engine.RehearseOptions{Plans: true})
	a := &engine.Acceptance{Event: ev, Verdicts: verdicts(told)}
	for _, x := range told.Asked {
		for _, planned := range x.Runs {
			run := &engine.Run{ID: fmt.Sprintf("%s/%s/%d", ev.ID, x.Rule, planned.Index), Event: ev.ID, Rule: x.Rule, RuleHash: rules.Rule(x.Rule).Hash, Index: planned.Index}
			a.Runs = append(a.Runs, run)
			state := engine.StepDone
			if x.Shadow {
				run.State, state = engine.Shadow, engine.StepShadow
			}
			for _, s := range planned.Steps {
				p.steps[run.ID] = append(p.steps[run.ID], &engine.StepResult{Run: run.ID, Attempt: 1, Index: s.Index, Step: s.Step, Kind: s.Kind, State: state, Plan: &s.Plan})
			}
		}
	}
	p.runs[ev.ID] = a.Runs
	p.records = append(p.records, engine.EventRecord{
		EventSummary: engine.EventSummary{Seq: int64(len(p.records) + 1), ID: ev.ID, Received: ev.Received, Bucket: ev.Bucket, Kind: ev.Kind(), Outcome: a.Outcome(), Rules: rules.Hash},
		Event:        ev, Verdicts: a.Verdicts,
	})
}
