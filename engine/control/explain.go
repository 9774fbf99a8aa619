package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hookrun/engine"
)

// Explain implements History.
func (l *Local) Explain(ctx context.Context, q ExplainQuery) (*engine.Rehearsal, error) {
	if (q.Event == "") == (q.Made == nil) {
		return nil, badRequest("event is the id of one that is kept, made is one that is made up", "one event is to be explained: event or made")
	}
	if l.Ruleset == nil {
		return nil, noDaemon("there are no rules in force to ask")
	}
	rules := l.Ruleset()
	if q.Rule != "" && rules.Rule(q.Rule) == nil {
		return nil, l.noRule(q.Rule)
	}
	done, err := l.turns.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	o := engine.RehearseOptions{Rule: q.Rule, Trees: true, Plans: true}
	if q.Made != nil {
		ev, err := q.Made.event()
		if err != nil {
			return nil, err
		}
		return rehearse(ctx, rules, ev, o)
	}
	ev, err := l.kept(ctx, q.Event, &o)
	if err != nil {
		return nil, err
	}
	return rehearse(ctx, rules, ev, o)
}

// rehearse ends with ctx.
func rehearse(ctx context.Context, rules *engine.RuleSet, ev *engine.Event, o engine.RehearseOptions) (*engine.Rehearsal, error) {
	o.Ended = ctx.Done()
	r := rules.Rehearse(ev, o)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return r, nil
}

// noRule is the error for a rule that is not in force.
func (l *Local) noRule(name string) error {
	hint := l.ruleHint(name)
	if hint == "" {
		hint = "it is switched off: enabled: false"
	}
	return &Error{http.StatusNotFound, fmt.Sprintf("there is no rule %q", name), hint}
}

// event is the event that was made up.
func (r *Request) event() (*engine.Event, error) {
	switch {
	case r.Bucket == "":
		return nil, badRequest("bucket says which rules are asked", "the event that is made up has no bucket")
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
		return nil, badRequest("it is the part behind the bucket, / where there is none", "the path %q does not begin with /", r.Path)
	}
	header := http.Header{}
	for name, values := range r.Header {
		for _, v := range values {
			header.Add(name, v)
		}
	}
	return &engine.Event{
		Received: time.Now().UTC(), Source: engine.SourceIntake, Bucket: r.Bucket,
		Method: strings.ToUpper(cmp.Or(r.Method, http.MethodPost)), Path: cmp.Or(r.Path, "/"), Query: strings.TrimPrefix(r.Query, "?"),
		Header: header, Body: r.Body,
	}, nil
}

// kept returns an event of the past, and adds what is known of it.
func (l *Local) kept(ctx context.Context, id string, o *engine.RehearseOptions) (*engine.Event, error) {
	found, err := l.findEvent(ctx, id)
	if err != nil {
		return nil, err
	}
	ev, err := l.Store.Event(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	verdicts, err := l.Store.Verdicts(ctx, ev.ID)
	if err != nil {
		return nil, err
	}
	o.Refused = refused(verdicts)
	o.Past, err = l.past(ctx, ev.ID)
	return ev, err
}

// refused are the rules that did not take the event when it came, and why.
func refused(verdicts []engine.Verdict) map[string]string {
	all := map[string]string{}
	for _, v := range verdicts {
		if v.Refused() {
			all[v.Rule] = v.Why
		}
	}
	return all
}

// maxPastRuns bounds the runs of an event whose steps Explain takes for known.
const maxPastRuns = 100

// past gives the results that the steps of the event's runs have had, each the
// newest.
func (l *Local) past(ctx context.Context, event string) (func(rule string, index int) []*engine.StepResult, error) {
	runs, err := l.Store.RunsOf(ctx, event)
	if err != nil {
		return nil, err
	}
	type of struct {
		rule  string
		index int
	}
	known := map[of][]*engine.StepResult{}
	for _, r := range runs[:min(len(runs), maxPastRuns)] {
		steps, err := l.Store.Steps(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		known[of{r.Rule, r.Index}] = newest(steps)
	}
	return func(rule string, index int) []*engine.StepResult { return known[of{rule, index}] }, nil
}

// newest are the results of the main steps in the last attempt that ended them.
// steps are by attempt, then index.
func newest(steps []*engine.StepResult) []*engine.StepResult {
	var last []*engine.StepResult
	for _, st := range steps {
		over := st.State == engine.StepDone || st.State == engine.StepFailed || st.State == engine.StepSkipped
		if st.Phase != "" || !over {
			continue
		}
		for i := range last {
			if last[i].Index == st.Index {
				last[i], over = st, false
			}
		}
		if over {
			last = append(last, st)
		}
	}
	return last
}
