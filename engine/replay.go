package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Replay says which event of the past is to run again.
type Replay struct {
	Event  string // id
	Rule   string // this rule alone; "": all that match it now
	Body   []byte // in the place of its body, where Edited
	Edited bool
}

// ErrNoRule is the error of a Replay for a rule that is not in force.
var ErrNoRule = errors.New("there is no such rule")

// Replay has an event of the past run again, as an event of its own that says
// whose replay it is. It is a person's word: nobody is asked who sent it, and
// dedupe, throttle and the look for loops, which are there against what comes
// twice by itself, don't hold it up; at_most and concurrency do. A rule that did
// not know the sender then does not take it now either.
//
// The error wraps ErrNotFound where there is no such event, ErrNoRule, and those
// of Submit.
func (e *Engine) Replay(ctx context.Context, r Replay) (Receipt, error) {
	rules := e.rules.Load()
	if r.Rule != "" && rules.Rule(r.Rule) == nil {
		return Receipt{}, fmt.Errorf("replay event %s: rule %q: %w", r.Event, r.Rule, ErrNoRule)
	}
	origin, err := e.store.Event(ctx, r.Event)
	if err != nil {
		return Receipt{}, fmt.Errorf("replay event %s: %w", r.Event, err)
	}
	verdicts, err := e.store.Verdicts(ctx, r.Event)
	if err != nil {
		return Receipt{}, fmt.Errorf("replay event %s: %w", r.Event, err)
	}
	ev := r.event(origin)
	if err := e.admit(ev.Size()); err != nil {
		return Receipt{}, fmt.Errorf("replay event %s: %w", r.Event, err)
	}
	defer e.leave(ev.Size())
	a, f, err := e.judge(ctx, rules, ev, trust{refused: r.refused(rules, verdicts)})
	if err != nil {
		return Receipt{}, fmt.Errorf("replay event %s: %w", r.Event, err)
	}
	for _, p := range f.plans {
		p.byHand = true
	}
	e.log.Info("event is replayed by hand", "event", ev.ID, "of", origin.ID, "rule", r.Rule, "edited", r.Edited)
	return e.take(ctx, a, f)
}

// event is the new event of a replay.
func (r Replay) event(origin *Event) *Event {
	ev := *origin
	ev.ID, ev.Received = NewID(), time.Now().UTC()
	ev.ReplayOf, ev.Delivery = origin.ID, ""
	ev.Header, ev.Meta = origin.Header.Clone(), maps.Clone(origin.Meta)
	if r.Edited {
		ev.Edited, ev.Body = true, r.Body
		ev.Header.Del("Content-Encoding") // a person's text is not packed
		if ev.Header.Get("Content-Length") != "" {
			ev.Header.Set("Content-Length", strconv.Itoa(len(r.Body)))
		}
	}
	return &ev
}

// refused are the rules that do not take the replay, and why.
func (r Replay) refused(rules *RuleSet, then []Verdict) map[*Rule]string {
	refused := map[*Rule]string{}
	for _, rule := range rules.Rules {
		i := slices.IndexFunc(then, func(v Verdict) bool { return v.Rule == rule.Name })
		switch {
		case r.Rule != "" && rule.Name != r.Rule:
			refused[rule] = fmt.Sprintf("not asked: the replay is for rule %q", r.Rule)
		case i >= 0 && then[i].Refused():
			refused[rule] = then[i].Why
		}
	}
	return refused
}
