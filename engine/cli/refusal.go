package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"hookrun/engine/control"
	"hookrun/engine/rules"
)

// maxProblemText bounds a text of a problem that is kept, in characters.
const maxProblemText = 1 << 10

// refuse keeps why rules were refused until good ones come, and tells of it.
func (g *gate) refuse(problems []rules.Problem) {
	g.mu.Lock()
	g.refused = newRefusal(problems, g.inForce.Rules.Mask)
	told := g.refused
	g.mu.Unlock()
	g.tell(control.Notice{Refused: told})
}

// forgive forgets what was refused: the files hold good rules.
func (g *gate) forgive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = nil
}

// Refused implements control.Gate.
func (g *gate) Refused() *control.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

// newRefusal is a refusal as people see it. mask takes secrets out: a message may
// quote the file.
func newRefusal(problems []rules.Problem, mask func(string) string) *control.Refusal {
	r := &control.Refusal{At: time.Now().UTC(), Problems: []control.RuleProblem{}}
	text := func(s string) string { return clip(mask(s), maxProblemText) }
	for _, p := range problems {
		switch {
		case p.Warning:
		case len(r.Problems) == control.MaxProblems:
			r.More++
		default:
			r.Problems = append(r.Problems, control.RuleProblem{Place: placeOf(p), Rule: text(p.Rule), Msg: text(p.Msg), Hint: text(p.Hint)})
		}
	}
	return r
}

// placeOf is file:line:column of a problem, as far as it is known.
func placeOf(p rules.Problem) string {
	place := p.File
	if p.Line > 0 {
		place += ":" + strconv.Itoa(p.Line)
	}
	if p.Line > 0 && p.Col > 0 {
		place += ":" + strconv.Itoa(p.Col)
	}
	return place
}

// printRefused prints why the hookrun of a data folder does not take the rules that
// the files hold, if one runs and refuses them.
func printRefused(ctx context.Context, out screen, data string) error {
	client, err := control.Dial(ctx, data)
	if errors.Is(err, control.ErrNoDaemon) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil || s.Refused == nil {
		return err
	}
	out.line(fmt.Sprintf("refused  %s  the files hold rules that are not in force, those before go on:", clock(s.Refused.At)))
	for _, line := range refusalLines(s.Refused) {
		out.line("      " + printable(line))
	}
	return nil
}

// refusalLines are the problems of rules that were refused, for people.
func refusalLines(r *control.Refusal) []string {
	var all []string
	for _, p := range r.Problems {
		text := p.Place + ": "
		if p.Rule != "" {
			text += fmt.Sprintf("rule %q: ", p.Rule)
		}
		all = append(all, text+p.Msg)
		if p.Hint != "" {
			all = append(all, "hint: "+p.Hint)
		}
	}
	if r.More > 0 {
		all = append(all, "and "+count(r.More, "more problem")+": hookrun check lists them")
	}
	return all
}
