package engine

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLeadAnswersAsTheMachine: what a condition comes to, what it found missing,
// which part decided, what it used up and how it is explained are the same where its
// first parts are answered without expr's machine, wherever it stands in a rule.
func TestLeadAnswersAsTheMachine(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	compiled, decided, left := 0, 0, 0
	for i := range 4000 {
		g, world := &generator{r: r}, leadWorlds()[i%len(leadWorlds())]
		src, event := g.conjunction(world.names), jsonEvent(g.body())
		event.Header["x-ODD"], event.Header["X-Empty"] = []string{"x"}, nil
		c, _ := NewCompiler(world.World).Condition(src)
		if c == nil {
			continue // some are refused at load
		}
		compiled++
		s := NewScope(event).With(world.View)
		s.fill("body")
		if _, ok := s.directly(&c.prog.lead); ok {
			decided++
		} else if len(c.prog.lead.parts) > 0 {
			left++
		}
		// A world that has nearly no steps left has some end in the middle of the lead.
		spent := r.IntN(2) * (maxEventSteps - r.IntN(6))
		got := outcomeOf(c, event, world.View, spent)
		c.prog.lead = lead{}
		if want := outcomeOf(c, event, world.View, spent); got != want {
			t.Fatalf("%s\n with %s, %d steps used before\n %s\nwant %s", src, event.Body, spent, got, want)
		}
	}
	if decided < compiled/4 || left < compiled/10 {
		t.Errorf("of %d conditions %d were decided without the machine and %d begun, want more", compiled, decided, left)
	}
}

// leadWorld is where a condition stands in a rule.
type leadWorld struct {
	World
	View
	names []string // that only it has
}

func leadWorlds() []leadWorld {
	done := &StepResult{Step: "build", Kind: "exec", State: StepDone, Output: Output{ExitCode: 0}}
	return []leadWorld{
		{},
		{World{Element: "item"}, View{Element: &Element{As: "item", Value: map[string]any{"n": 3, "s": "x"}}}, []string{"item", "item.n", "item.s"}},
		{World{Steps: []StepShape{{ID: "build", Kind: "exec"}}}, View{Steps: []*StepResult{done}}, []string{"steps.build.exit_code", "steps.build.stdout"}},
		{World{Closing: true}, View{Run: &Run{ID: "r", State: Failed}, Err: "x"}, []string{"error", "run.state"}},
	}
}

// outcomeOf is all that evaluating a condition leaves.
func outcomeOf(c *Condition, event *Event, v View, spent int) string {
	s := NewScope(event).With(v)
	s.used.spent = spent
	ok, missing, err := c.Eval(s)
	text := fmt.Sprintf("%v, missing %q, part %q, %d steps, error: %v", ok, missing, s.eval.part, s.used.spent-spent, err)
	return text + "\n" + c.Explain(s).String()
}

// conjunction makes a condition of comparisons, of which some are no leads. names are
// of the world in which it stands.
func (g *generator) conjunction(names []string) string {
	parts := make([]string, 1+g.r.IntN(4))
	for i := range parts {
		switch g.r.IntN(8) {
		case 0:
			parts[i] = g.answer(2)
		case 1, 2:
			parts[i] = "(" + g.comparison(names) + g.one(" or ", " || ") + g.comparison(names) + ")"
		default:
			parts[i] = g.comparison(names)
		}
	}
	return strings.Join(parts, g.one(" && ", " and "))
}

func (g *generator) comparison(names []string) string {
	atom := func() string { return g.one("nil", `"x"`, `"é"`, `"3"`, `"push"`, "true", "3", "2.5") }
	operand := func() string {
		return g.one(append(slices.Clone(names), "body", "body.n", "body.s", "body.none.x", "body.o.k", "body.list", "body.list[1]", "body.list[7]", `body["f"]`, "body.items[0].o.n",
			"body[bucket]", "bucket", "method", "path", "raw", `headers["x-github-event"]`, `headers["x-odd"]`, `headers["x-empty"]`, `headers[body.s]`, "query.a", `meta["a"]`,
			"files", "cloudevent", `get(body, "n")`, "body?.n", "now()", "event.id")...)
	}
	switch g.r.IntN(6) {
	case 0:
		return operand() + " in [" + g.one("", `"x"`, `"POST", "push"`, `"x", nil`, "body.s, 3") + "]"
	case 1:
		return operand() + g.one(" == ", " != ") + operand()
	case 2:
		return atom() + g.one(" == ", " != ") + operand()
	}
	return operand() + g.one(" == ", " != ") + atom()
}

// TestLongComparisonsUseUpTime: two values of the sender may be of any size, so what
// compares them is held against the event's time.
func TestLongComparisonsUseUpTime(t *testing.T) {
	c := condition(t, `body.a != body.b`)
	if len(c.prog.lead.parts) > 0 {
		t.Error("two values from outside are compared where no clock is looked at")
	}
	for _, src := range []string{`body.a != "x"`, `body.a == nil`, `body.a == 3`, `headers["a"] == bucket`} {
		if c := condition(t, src); !c.prog.lead.all {
			t.Errorf("%s is left to the machine", src)
		}
	}
	s := NewScope(&Event{Method: http.MethodPost})
	s.used.took = maxEventTime + time.Nanosecond
	if _, _, err := condition(t, `method == "POST"`).Eval(s); err == nil {
		t.Error("a condition is answered when the event's time is used up")
	}
}
