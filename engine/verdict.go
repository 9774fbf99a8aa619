package engine

import (
	"strings"
	"time"
)

// Outcome says what a rule made of an event.
type Outcome string

// Outcomes of a verdict.
const (
	Matched Outcome = "matched"
	NoMatch Outcome = "no"
	Errored Outcome = "error" // the condition failed at run time: counts as no match
)

// SlowRule is the time from which on the log warns of a rule that an event asks.
const SlowRule = 100 * time.Millisecond

// Verdict is what one rule made of one event. Rules that a bucket does not
// concern give none.
type Verdict struct {
	Rule    string   `json:"rule"`
	Outcome Outcome  `json:"outcome"`
	Why     string   `json:"why,omitempty"`     // for people: what decided, where it is not a match
	Missing []string `json:"missing,omitempty"` // fields of the body that the condition read and that are not there

	// Slow is the time that the rule took, the body's first reading included, where
	// that is more than SlowRule; else 0.
	Slow time.Duration `json:"slow,omitempty"`
}

// notVerified begins the reason of a rule that does not take an event.
const notVerified = "not verified: "

// Refused reports whether the rule did not take the event, for who sent it: its
// condition was not asked.
func (v Verdict) Refused() bool {
	return v.Outcome == NoMatch && strings.HasPrefix(v.Why, notVerified)
}
