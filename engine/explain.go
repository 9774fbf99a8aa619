package engine

import "encoding/json"

// Rehearsal is what rules make of an event, in full, with nothing kept and
// nothing run. All texts are masked.
type Rehearsal struct {
	Event    string        `json:"event"`               // id of the event; "" of one that was made up
	Rules    string        `json:"rules"`               // RuleSet.Hash
	BodyErr  string        `json:"body_err,omitempty"`  // why the body could not be parsed
	MatchErr string        `json:"match_err,omitempty"` // why no rule could be asked at all (a panic)
	Asked    []Explanation `json:"rules_asked"`         // each rule that the bucket concerns, in the order of the files
}

// Explanation is what one rule makes of one event, and why.
type Explanation struct {
	Rule    string  `json:"rule"`
	Place   string  `json:"place"` // file:line
	Verdict Verdict `json:"verdict"`
	Shadow  bool    `json:"shadow,omitempty"` // mode: shadow
	When    *Node   `json:"when,omitempty"`   // nil where the rule has no condition, or was not asked

	// Undrawn says why When tells nothing of its parts, where there was no room for
	// them; else "".
	Undrawn string `json:"not_drawn,omitempty"`

	// Near says how near a miss was: 1 is a match, 0 is nothing in common.
	Near float64 `json:"near"`

	Runs []PlannedRun `json:"runs,omitempty"` // of a match: one, or one for each element
}

// PlannedRun is a run that a rule would start.
type PlannedRun struct {
	Index   int             `json:"index,omitempty"`   // for_each: the element's place in the list
	Element json.RawMessage `json:"element,omitempty"` // for_each; of a long one its beginning, as a text; left out behind very many
	Key     string          `json:"key,omitempty"`     // of concurrency
	Err     string          `json:"error,omitempty"`   // its keys could not be told: it would fail at once
	Steps   []PlannedStep   `json:"steps"`             // the actions, without the closing ones

	// Unplanned says why Steps ends before the last action, or has none of them;
	// "": it has all that were asked for.
	Unplanned string `json:"not_planned,omitempty"`
}

// PlannedStep is a step that a run would do.
type PlannedStep struct {
	Index int    `json:"index"`
	Step  string `json:"step"`
	Kind  string `json:"kind"`
	If    *Node  `json:"if,omitempty"`      // nil: the step has no condition
	Skip  bool   `json:"skip,omitempty"`    // its condition is false
	Open  bool   `json:"unknown,omitempty"` // its condition depends on a step that has not run
	Plan  Plan   `json:"plan"`
	Err   string `json:"error,omitempty"` // a template failed: so would the step
}

// NodeState says what a sub-expression came to.
type NodeState string

// States of a Node.
const (
	NodeTrue      NodeState = "true"
	NodeFalse     NodeState = "false"
	NodeValue     NodeState = "value"     // something else than yes or no
	NodeMissing   NodeState = "missing"   // a field that is not there
	NodeError     NodeState = "error"     // it failed
	NodeUnreached NodeState = "unreached" // it was not evaluated: what stands before it decided
)

// Node is a sub-expression of a condition and what it came to.
type Node struct {
	Text    string    `json:"text"`              // as written
	Offset  int       `json:"offset"`            // where in the condition it begins, in bytes
	Op      string    `json:"op,omitempty"`      // the operator or function: "&&", "==", "any"; "" of a name, a member, a constant
	Path    string    `json:"path,omitempty"`    // of a member: as a rule would write it
	State   NodeState `json:"state"`             //
	Kind    string    `json:"kind,omitempty"`    // of the value: text, number, bool, list, object, nothing
	Value   string    `json:"value,omitempty"`   // as JSON, cut to MaxNodeValue bytes
	Err     string    `json:"error,omitempty"`   //
	Rounds  int       `json:"rounds,omitempty"`  // inside a predicate: how often it was evaluated
	Trues   int       `json:"trues,omitempty"`   // of these, how often it was true
	Each    bool      `json:"each,omitempty"`    // it is asked of each element of a list: the body of a predicate
	Decided bool      `json:"decided,omitempty"` // it is the smallest part that decided
	Parts   []*Node   `json:"parts,omitempty"`
}

// MaxNodeValue is how much of a value a Node shows, in bytes.
const MaxNodeValue = 200
