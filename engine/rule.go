package engine

import (
	"time"
)

// Rule says which events start which actions. It is made once, by a loader,
// and never changes.
type Rule struct {
	Name    string
	Place   string        // file:line of the rule, for people
	Hash    string        // of all that the rule says
	Buckets []string      // empty: every bucket. Names or ids
	Methods []string      // empty: every method. Upper case
	When    *Condition    // nil: always
	Stop    bool          // a match ends the search
	Timeout time.Duration // of one attempt; 0: DefaultTimeout
	Retry   Retry
	Steps   []Step
}

// DefaultTimeout bounds one attempt of a run whose rule says nothing of it.
const DefaultTimeout = time.Hour

// Retry says how often and when a failed run is tried again.
type Retry struct {
	Attempts int           // tries in all; 0 counts as 1
	Backoff  time.Duration // before the second try, doubled for each further one; 0: DefaultBackoff
	Max      time.Duration // no wait is longer; 0: DefaultMaxBackoff
}

// Defaults of Retry.
const (
	DefaultBackoff    = 10 * time.Second
	DefaultMaxBackoff = 5 * time.Minute
)

// Step is one action of a rule.
type Step struct {
	ID      string        // as the rule gives it, else its number from "1"
	Key     string        // what a retry knows the step by, whatever was edited around it: "id:" and its id, else a hash of what it does; unique in the rule. "": the ID
	If      *Condition    // nil: always
	Timeout time.Duration // 0: only the rule's
	Action  Action
}

// RuleSet is one generation of rules. It never changes; a reload makes a new
// one.
type RuleSet struct {
	Rules   []*Rule
	Hash    string   // of all rules
	Secrets []Secret // values to mask wherever output is kept

	// Off are the rules that are switched off. Their buckets are known all the
	// same: a sender that is told 404 may switch its hook off for good.
	Off []*Rule

	mask     func() *masker     // of Secrets; made when it is first asked for
	byBucket map[string][]*Rule // rules that name a bucket, in order
	anywhere []*Rule            // rules that name none, in order
	byName   map[string]*Rule
	order    map[*Rule]int
}
