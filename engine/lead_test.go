package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLeadAnswersAsTheMachine: what a condition comes to, what it found missing,
// which part decided and what it used up are the same where its first parts are
// answered without expr's machine.
func TestLeadAnswersAsTheMachine(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	decided, left := 0, 0
	for range 4000 {
		g := &generator{r: r}
		src, event := g.conjunction(), jsonEvent(g.body())
		c, _ := NewCompiler(World{}).Condition(src)
		if c == nil {
			continue // some are refused at load
		}
		s := NewScope(event)
		s.fill("body")
		if _, ok := s.directly(&c.prog.lead); ok {
			decided++
		} else if len(c.prog.lead.parts) > 0 {
			left++
		}
		// A world that has nearly no steps left has some end in the middle of the lead.
		spent := r.IntN(2) * (maxEventSteps - r.IntN(6))
		got := outcomeOf(c, event, spent)
		c.prog.lead = lead{}
		if want := outcomeOf(c, event, spent); got != want {
			t.Fatalf("%s\n with %s, %d steps used before\n %s\nwant %s", src, event.Body, spent, got, want)
		}
	}
	if decided < 1000 || left < 300 {
		t.Errorf("%d conditions were decided without the machine and %d begun, want more", decided, left)
	}
}

// outcomeOf is all that evaluating a condition leaves.
func outcomeOf(c *Condition, event *Event, spent int) string {
	s := NewScope(event)
	s.used.spent = spent
	ok, missing, err := c.Eval(s)
	return fmt.Sprintf("%v, missing %q, part %q, %d steps, error: %v", ok, missing, s.eval.part, s.used.spent-spent, err)
}

// conjunction makes a condition of comparisons, of which some are no leads.
func (g *generator) conjunction() string {
	parts := make([]string, 1+g.r.IntN(4))
	for i := range parts {
		switch g.r.IntN(5) {
		case 0:
			parts[i] = g.answer(2)
		case 1:
			parts[i] = "(" + g.comparison() + g.one(" or ", " || ") + g.comparison() + ")"
		default:
			parts[i] = g.comparison()
		}
	}
	return strings.Join(parts, g.one(" && ", " and "))
}

func (g *generator) comparison() string {
	operand := func() string {
		return g.one("body", "body.n", "body.s", "body.none.x", "body.o.k", "body.list", "body.list[1]", "body.list[7]", `body["f"]`, "body.items[0].o.n",
			"body[bucket]", "nil", `"x"`, `"é"`, `"3"`, "true", "3", "2.5", "bucket", "method", "path", "raw", `headers["x-github-event"]`, `headers[body.s]`, "query.a", `meta["a"]`)
	}
	switch g.r.IntN(4) {
	case 0:
		return operand() + " in [" + g.one("", `"x"`, `"POST", "push"`, `"x", nil`, "body.s, 3") + "]"
	case 1:
		return operand() + " != " + operand()
	}
	return operand() + " == " + operand()
}
