package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// EventOutcome says in one word what became of an event when it came.
type EventOutcome string

// Outcomes of an event.
const (
	EventStarted    EventOutcome = "started"    // a run of it was queued
	EventSuppressed EventOutcome = "suppressed" // rules matched, and all their runs ended at once: duplicate, throttled, skipped, tripped; or there was nothing to run
	EventShadowed   EventOutcome = "shadow"     // only rules in mode shadow matched
	EventUnmatched  EventOutcome = "unmatched"  // no rule matched
	EventErrored    EventOutcome = "error"      // nothing was started, and a condition failed or no rule could be asked
	EventAnswered   EventOutcome = "answered"   // the question of a service: no rule was asked
)

// EventOutcomes lists all of them.
func EventOutcomes() []EventOutcome {
	return []EventOutcome{EventStarted, EventSuppressed, EventShadowed, EventUnmatched, EventErrored, EventAnswered}
}

// EventFilter asks for events. What is left zero asks for any.
type EventFilter struct {
	IDPrefix     string // the id begins so
	Bucket       string // its name or its id
	Rule         string // a run of this rule was made of it, of whatever state
	Outcomes     []EventOutcome
	Since, Until time.Time // received in [Since, Until)
	Before       int64     // Seq is lower: the next page
	After        int64     // Seq is higher; then the oldest come first. -1: from the first on
	Limit        int       // at most so many; 0: DefaultEventLimit
}

// DefaultEventLimit is how many events a filter without Limit gives.
const DefaultEventLimit = 50

// EventPage is a part of the answer to an EventFilter.
type EventPage struct {
	Events []EventSummary

	// Next is Before, or where the filter has After that, of the next page; 0:
	// there is none. A page may be short, even empty, and have a next one: one page
	// looks at a bounded number of events.
	Next int64
}

// EventSummary is an event as a list shows it.
type EventSummary struct {
	Seq      int64 // order of arrival
	ID       string
	Received time.Time
	Source   string
	Remote   string
	Bucket   string
	Input    string
	Method   string
	Path     string
	Kind     string // what its sender calls it, by the usual headers: "push"; or ""
	Size     int    // of the body, in bytes
	Outcome  EventOutcome
	Matched  []string // rules whose verdict is Matched
	Errored  []string // rules whose verdict is Errored
	ReplayOf string
	Rules    string // hash of the rules that were asked
	BodyErr  string
	MatchErr string
}

// EventRecord is all that is kept of an event beside its runs.
type EventRecord struct {
	EventSummary
	Event    *Event
	Verdicts []Verdict
}

// MaxRecords is how many bytes the events of one answer of Store.Records may have
// together, reached by the last of them.
const MaxRecords = 16 << 20

// NewEventRecord puts together what event and verdicts tell: all but Seq, Outcome,
// Rules, BodyErr and MatchErr.
func NewEventRecord(e *Event, verdicts []Verdict) EventRecord {
	s := EventSummary{
		ID: e.ID, Received: e.Received, Source: e.Source, Remote: e.Remote, Bucket: e.Bucket, Input: e.Input,
		Method: e.Method, Path: e.Path, Kind: e.Kind(), Size: len(e.Body), ReplayOf: e.ReplayOf,
	}
	for _, v := range verdicts {
		switch v.Outcome {
		case Matched:
			s.Matched = append(s.Matched, v.Rule)
		case Errored:
			s.Errored = append(s.Errored, v.Rule)
		}
	}
	return EventRecord{EventSummary: s, Event: e, Verdicts: verdicts}
}

// Rates are runs and events of one span of time.
type Rates struct {
	From   time.Time
	Events int           // received in it; with RatesFilter.Rule those that a run of the rule was made of
	Ended  map[State]int // runs created in it, by the state that they are in now
	Median time.Duration // of the runs of it that are done, from the first attempt's begin to the end; 0: none
	Worst  time.Duration
}

// RatesFilter asks for rates from Since until now, in spans of Step, the first
// MaxRates of them, those without anything included.
type RatesFilter struct {
	Rule  string // "": all
	Since time.Time
	Step  time.Duration // more than 0
}

// Spans returns the spans that the filter asks for, with nothing counted.
func (f RatesFilter) Spans(now time.Time) ([]Rates, error) {
	if f.Step <= 0 || f.Since.IsZero() {
		return nil, fmt.Errorf("spans of %v since %v: both have to be given", f.Step, f.Since)
	}
	var spans []Rates
	for from := f.Since.UTC().Round(0); from.Before(now) && len(spans) < MaxRates; from = from.Add(f.Step) {
		spans = append(spans, Rates{From: from, Ended: make(map[State]int)})
	}
	return spans, nil
}

// SetDurations sets Median and Worst to those of the given runs, which it sorts.
func (r *Rates) SetDurations(took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	r.Median, r.Worst = took[len(took)/2], took[len(took)-1]
}

// MaxRates bounds the answer to a RatesFilter.
const MaxRates = 400

// MaxReplays is how many ids Store.Replays gives.
const MaxReplays = 100

// MaxRuleUses is how many rules Store.RulesDay tells of.
const MaxRuleUses = 2000

// RuleUse is how a rule was used.
type RuleUse struct {
	Rule string
	Runs map[State]int // created since the time that was asked for, by the state that they are in now
	Last *Run          // the newest that is kept, of any time
}

// StoreInfo is the size of a store and what is kept.
type StoreInfo struct {
	Dir    string // the data folder
	Size   int64  // bytes of the database and its log, on disk
	Used   int64  // bytes of the database that are in use
	Free   int64  // bytes that the disk has left
	Events int64
	Runs   int64
	Oldest time.Time // Received of the event that arrived first; zero: there is none
	Newest time.Time // of the one that arrived last
}

// Outcome is what became of the event, once each of its runs was admitted.
func (a *Acceptance) Outcome() EventOutcome {
	shadow, matched, errored := len(a.Runs) > 0, false, a.MatchErr != ""
	for _, r := range a.Runs {
		if !r.State.Finished() {
			return EventStarted
		}
		shadow = shadow && r.State == Shadow
		errored = errored || r.State == Failed
	}
	for _, v := range a.Verdicts {
		matched = matched || v.Outcome == Matched
		errored = errored || v.Outcome == Errored
	}
	switch {
	case a.Answered:
		return EventAnswered
	case errored:
		return EventErrored
	case shadow:
		return EventShadowed
	case matched:
		return EventSuppressed
	}
	return EventUnmatched
}

// kindHeaders are those by which senders say what kind of event a webhook tells
// of, or a part of it.
func kindHeaders() []string {
	return []string{
		"X-Github-Event", "X-Gitea-Event", "X-Gogs-Event", "X-Gitlab-Event", "X-Event-Key", "X-Shopify-Topic",
		"Sentry-Hook-Resource", "Linear-Event", "Ce-Type",
	}
}

// maxKind bounds EventSummary.Kind, in bytes.
const maxKind = 60

// Kind is what its sender calls the event, as the usual headers have it; or "".
func (e *Event) Kind() string {
	for _, name := range kindHeaders() {
		if v := e.Header.Get(name); v != "" {
			return strings.ToValidUTF8(v[:min(len(v), maxKind)], "")
		}
	}
	return ""
}
