package control

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hookrun/engine"
)

// Events implements History.
func (l *Local) Events(ctx context.Context, q EventQuery) (EventList, error) {
	if err := q.check(); err != nil {
		return EventList{}, err
	}
	page, err := l.Store.Events(ctx, engine.EventFilter{
		Bucket: q.Bucket, Rule: q.Rule, Outcomes: q.Outcomes, Since: q.Since, Until: q.Until, Before: q.Before, After: q.After, Limit: q.Limit,
	})
	if err != nil {
		return EventList{}, err
	}
	list := EventList{Events: make([]EventRow, 0, len(page.Events)), Next: page.Next}
	for _, e := range page.Events {
		list.Events = append(list.Events, newEventRow(e))
	}
	if len(page.Events) == 0 && page.Next == 0 {
		list.Hint = l.eventHint(q)
	}
	if list.Hint == "" && q.Rule != "" && len(q.Outcomes) == 0 && q.Before == 0 && q.After == 0 {
		list.Hint, err = l.othersHint(ctx, q)
	}
	return list, err
}

// maxOthers bounds the events that are searched for one that a rule was asked about
// and has no run of: what is kept by rule is runs.
const maxOthers = 50

// othersHint tells of the newest event that has no run of the rule, and is thus not
// among those that it is asked for: one on which its condition failed, else one that
// it did not match, and why.
func (l *Local) othersHint(ctx context.Context, q EventQuery) (string, error) {
	f := engine.EventFilter{Bucket: cmp.Or(q.Bucket, l.bucketOf(q.Rule)), Since: q.Since, Until: q.Until, Limit: maxOthers}
	failed := f
	failed.Outcomes = []engine.EventOutcome{engine.EventErrored}
	page, err := l.Store.Events(ctx, failed)
	if err != nil {
		return "", err
	}
	for _, e := range page.Events {
		if slices.Contains(e.Errored, q.Rule) {
			return fmt.Sprintf("its condition failed on events that are not among these, as on %s: the outcome error lists them", e.ID), nil
		}
	}
	if page, err = l.Store.Events(ctx, f); err != nil {
		return "", err
	}
	for _, e := range page.Events {
		if slices.Contains(e.Matched, q.Rule) {
			continue
		}
		verdicts, err := l.Store.Verdicts(ctx, e.ID)
		if err != nil {
			return "", err
		}
		if i := slices.IndexFunc(verdicts, func(v engine.Verdict) bool { return v.Rule == q.Rule && v.Outcome == engine.NoMatch }); i >= 0 {
			return fmt.Sprintf("events that it did not match are not among these; the newest is %s (%s)", e.ID, verdicts[i].Why), nil
		}
	}
	return "", nil
}

// bucketOf is the one bucket of a rule, "" where it has several or is not known.
func (l *Local) bucketOf(rule string) string {
	if l.Ruleset == nil {
		return ""
	}
	if r := l.Ruleset().Rule(rule); r != nil && len(r.Buckets) == 1 {
		return r.Buckets[0]
	}
	return ""
}

func (q EventQuery) check() error {
	if err := checkLimit(q.Limit); err != nil {
		return err
	}
	if q.Before != 0 && q.After != 0 {
		return badRequest("before goes on with older ones, after with newer ones", "before and after are both given")
	}
	if err := checkTimes(q.Since, q.Until); err != nil {
		return err
	}
	return checkWords("outcome", q.Outcomes, engine.EventOutcomes())
}

// eventHint says what may be wrong with a question that has no answer.
func (l *Local) eventHint(q EventQuery) string {
	if q.Rule != "" {
		if hint := l.ruleHint(q.Rule); hint != "" {
			return hint
		}
	}
	return l.bucketHint(q.Bucket)
}

// bucketHint says which bucket was meant where no rule has one of this name; "" where
// one has, or nobody knows.
func (l *Local) bucketHint(bucket string) string {
	if bucket == "" || l.Ruleset == nil {
		return ""
	}
	rules := l.Ruleset()
	if rules.Known(bucket) {
		return ""
	}
	var buckets []string
	for _, r := range slices.Concat(rules.Rules, rules.Off) {
		buckets = append(buckets, r.Buckets...)
	}
	if hint := engine.Nearest(bucket, buckets); hint != "" {
		return hint
	}
	return "no rule names this bucket"
}

func newEventRow(e engine.EventSummary) EventRow {
	return EventRow{
		Event: Event{
			ID: e.ID, Received: e.Received, Source: e.Source, Remote: e.Remote, Bucket: e.Bucket, Input: e.Input,
			Method: e.Method, Path: e.Path, Size: e.Size,
		},
		Seq: e.Seq, Kind: e.Kind, Outcome: e.Outcome, Matched: e.Matched, Errored: e.Errored,
		ReplayOf: e.ReplayOf, BodyErr: e.BodyErr, MatchErr: e.MatchErr,
	}
}

// findEvent returns the event whose id begins with what was given.
func (l *Local) findEvent(ctx context.Context, given string) (engine.EventSummary, error) {
	id := strings.ToLower(strings.TrimSpace(given))
	if len(id) < minPrefix {
		return engine.EventSummary{}, badRequest("hookrun events lists them", "%q is too short for the id of an event: give its first %d characters or more", given, minPrefix)
	}
	page, err := l.Store.Events(ctx, engine.EventFilter{IDPrefix: id, Limit: maxFound})
	switch {
	case err != nil:
		return engine.EventSummary{}, err
	case len(page.Events) == 1:
		return page.Events[0], nil
	case len(page.Events) == 0:
		return engine.EventSummary{}, l.noEvent(ctx, given, id)
	}
	return engine.EventSummary{}, ambiguous("events", len(page.Events), given)
}

// noEvent is the error for an id that no event has. People take that of a run for
// one.
func (l *Local) noEvent(ctx context.Context, given, id string) error {
	runs, err := l.Store.Runs(ctx, engine.RunFilter{IDPrefix: id, Limit: 1})
	if err != nil || len(runs) == 0 {
		return &Error{http.StatusNotFound, fmt.Sprintf("there is no event %q", given), "hookrun events lists them; old ones are deleted, see -keep-age"}
	}
	return &Error{http.StatusNotFound, fmt.Sprintf("%q is a run, not an event", given), "its event: " + runs[0].Event}
}

// Event implements History.
func (l *Local) Event(ctx context.Context, id string) (EventDetail, error) {
	found, err := l.findEvent(ctx, id)
	if err != nil {
		return EventDetail{}, err
	}
	ev, err := l.Store.Event(ctx, found.ID)
	if err != nil {
		return EventDetail{}, err
	}
	d := l.newDetail(found, ev)
	if d.Verdicts, err = l.Store.Verdicts(ctx, ev.ID); err != nil {
		return EventDetail{}, err
	}
	if d.Verdicts == nil {
		d.Verdicts = []engine.Verdict{}
	}
	if err := l.addRuns(ctx, &d); err != nil {
		return EventDetail{}, err
	}
	d.Replays, err = l.Store.Replays(ctx, ev.ID)
	return d, err
}

func (l *Local) newDetail(found engine.EventSummary, ev *engine.Event) EventDetail {
	d := EventDetail{
		EventRow: newEventRow(found), BucketID: ev.BucketID, Delivery: ev.Delivery, Meta: ev.Meta, Edited: ev.Edited,
		Body: Bytes(ev.Body[:min(len(ev.Body), MaxShownBody)]), Rules: found.Rules,
	}
	d.BodyCut = len(ev.Body) - len(d.Body)
	var rules *engine.RuleSet
	if l.Ruleset != nil {
		rules = l.Ruleset()
		d.Current = rules.Hash == found.Rules
	}
	d.Header = shownHeader(ev.Header, rules)
	d.conceal(rules)
	d.Query = engine.MaskParams(shown(ev.Query, rules))
	return d
}

// conceal masks the secrets of the rules in what the sender chose.
func (d *EventDetail) conceal(rules *engine.RuleSet) {
	if rules == nil {
		return
	}
	d.Path, d.Delivery, d.Meta = rules.Mask(d.Path), rules.Mask(d.Delivery), maps.Clone(d.Meta)
	for name, v := range d.Meta {
		d.Meta[name] = rules.Mask(v)
	}
	whole, left := d.Body, 0
	if d.BodyCut == 0 {
		d.Body = Bytes(rules.Mask(string(whole)))
	} else {
		d.Body, left = rules.MaskBeginning(whole)
	}
	d.BodyCut += left
	d.BodyMasked = !bytes.Equal(d.Body, whole[:len(whole)-left])
}

// addRuns adds the runs of the event.
func (l *Local) addRuns(ctx context.Context, d *EventDetail) error {
	runs, err := l.Store.RunsOf(ctx, d.ID)
	if err != nil {
		return err
	}
	why, err := l.why(ctx)
	if err != nil {
		return err
	}
	d.Runs = []Run{}
	for _, r := range runs[:min(len(runs), MaxLimit)] {
		d.Runs = append(d.Runs, newRun(r, why(r)))
	}
	d.MoreRuns = len(runs) - len(d.Runs)
	return nil
}

// shownHeader is a header without the credentials in it.
func shownHeader(h http.Header, rules *engine.RuleSet) map[string][]string {
	out := make(map[string][]string, len(h))
	for name, values := range h {
		shownValues := make([]string, len(values))
		for i, v := range values {
			shownValues[i] = shown(v, rules)
			if engine.IsCredential(name) {
				shownValues[i] = engine.Masked
			}
		}
		out[name] = shownValues
	}
	return out
}

// shown is a text of an event with the secrets of the rules masked.
func shown(text string, rules *engine.RuleSet) string {
	if rules == nil || text == "" {
		return text
	}
	return rules.Show(engine.Plan{Argv: []string{text}}, true).Argv[0]
}

// Body implements History.
func (l *Local) Body(ctx context.Context, id string) (Body, error) {
	found, err := l.findEvent(ctx, id)
	if err != nil {
		return Body{}, err
	}
	ev, err := l.Store.Event(ctx, found.ID)
	if err != nil {
		return Body{}, err
	}
	return Body{Event: ev.ID, Type: ev.Header.Get("Content-Type"), Data: ev.Body}, nil
}
