package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something wrong in the rules, and where. Its texts never hold the
// value of a secret.
type Problem struct {
	File    string
	Line    int    // from 1; 0 where the whole file is meant
	Col     int    // in characters, from 1; 0 where the whole line is meant
	Rule    string // name of the rule, or ""
	Msg     string
	Hint    string // the likely mend, or ""
	Warning bool   // the rules can be used all the same
}

// String returns the problem as one line, without its hint:
//
//	rules.yaml:14:11: rule "deploy": unknown action kind "shel"
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Line > 0 && p.Col > 0 {
		fmt.Fprintf(&b, ":%d", p.Col)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Rule != "" {
		fmt.Fprintf(&b, "rule %q: ", p.Rule)
	}
	b.WriteString(p.Msg)
	return b.String()
}

// Error implements error for a problem that is alone.
func (p *Problem) Error() string { return p.String() }

// FirstError is the first problem that is more than a warning; nil: there is none.
func FirstError(problems []Problem) *Problem {
	for i := range problems {
		if !problems[i].Warning {
			return &problems[i]
		}
	}
	return nil
}

// maxProblems is how many problems of one load are told: who has more will
// mend one and look again.
const maxProblems = 100

// tidy puts problems in the order of their places, says each once (a place may
// be read through several aliases) and cuts the list to its bound.
func tidy(problems []Problem, files []File) []Problem {
	order := map[string]int{}
	for i, f := range files {
		order[f.Path] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	problems = slices.Compact(problems)
	if more := len(problems) - maxProblems; more > 0 {
		last := problems[maxProblems]
		broken := failed(problems[maxProblems:])
		problems = append(problems[:maxProblems:maxProblems], Problem{
			File: last.File, Line: last.Line, Col: last.Col, Warning: !broken,
			Msg: fmt.Sprintf("and %d problems more", more),
		})
	}
	return problems
}

// failed reports whether one of problems is more than a warning.
func failed(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}
