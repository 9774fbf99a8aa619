package engine

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/expr-lang/expr/parser"
)

var explained = flag.Int("explain.n", 2000, "how many random conditions TestExplainAgreesWithTheEngine makes")

// TestExplainAgreesWithTheEngine: for random conditions and events the root of
// the tree is what Eval answers, no node contradicts its parts, and each part
// means by itself what the tree says that it came to.
func TestExplainAgreesWithTheEngine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	states := map[NodeState]int{}
	for i := range *explained {
		g := &generator{r: r}
		src, event := g.answer(4), jsonEvent(g.body())
		c, _ := NewCompiler(World{}).Condition(src)
		if c == nil {
			continue // some are refused at load
		}
		if c.prog.trace() == nil {
			t.Errorf("%d: %s can't be traced", i, src)
			continue
		}
		tree := c.Explain(NewScope(event))
		states[tree.State]++
		if err := checkTree(c, event, tree); err != nil {
			t.Errorf("%d: %s\n with %s: %v\n%s", i, src, event.Body, err, tree)
		}
		if i%8 == 0 && !strings.Contains(src, "let ") { // to compile them all takes its time
			checkAlone(t, event, tree)
		}
		if t.Failed() {
			t.Logf("%d: %s\n with %s\n%s", i, src, event.Body, tree)
			return
		}
	}
	t.Log(states)
	for _, state := range []NodeState{NodeTrue, NodeFalse, NodeError} {
		if states[state] < *explained/20 {
			t.Errorf("%d of %d conditions came to %s, want more of them", states[state], *explained, state)
		}
	}
}

// FuzzExplain: no condition and no body make it panic, or say something else
// than the engine.
func FuzzExplain(f *testing.F) {
	for _, src := range []string{
		`body.ref == "x" && any(body.list, .n > 1)`, `not body.a ? body.b : body?.c.d`, `let a = body.n; 1 < a < 3`,
		`if body.n > 1 { true } else { body.list | filter(# > 1) | len() == 2 }`, `headers["x"] in ["a", body.b] or {"a": body.n}.a == 1`,
		`reduce(body.list, #acc + #.n, 0) > body[path] ?? 3`, `body.s[1:2] not contains "é" && -body.n ** 2 == 4`,
	} {
		f.Add(src, `{"ref":"x","n":2,"list":[{"n":1},{"n":2}],"s":"aé"}`)
	}
	f.Fuzz(func(t *testing.T, src, body string) {
		c, _ := NewCompiler(World{}).Condition(src)
		if c == nil {
			t.Skip()
		}
		event := jsonEvent(body)
		tree := c.Explain(NewScope(event))
		_ = tree.String()
		if err := checkTree(c, event, tree); err != nil {
			t.Errorf("%s\n with %s: %v\n%s", src, body, err, tree)
		}
	})
}

// checkTree holds the tree of a condition against what the engine decides, and
// against itself.
func checkTree(c *Condition, event *Event, tree *Node) error {
	ok, _, err := c.Eval(NewScope(event))
	want := NodeFalse
	if ok {
		want = NodeTrue
	}
	if err != nil {
		want = NodeError
	}
	if tree.State != want {
		return fmt.Errorf("the root is %s, want %s (%w)", tree.State, want, err)
	}
	if decided := len(tree.Deciders()) > 0; decided != (want != NodeTrue) {
		return fmt.Errorf("decided = %v in a tree that is %s", decided, want)
	}
	if n := countErrors(tree); n != 1 && want == NodeError || n != 0 && want != NodeError {
		return fmt.Errorf("%d nodes say why it failed", n)
	}
	return checkNode(tree)
}

func countErrors(n *Node) int {
	count := 0
	if n.Err != "" {
		count++
	}
	for _, part := range n.Parts {
		count += countErrors(part)
	}
	return count
}

func checkNode(n *Node) error {
	if len(n.Value) > MaxNodeValue {
		return fmt.Errorf("%s shows %d bytes", n.Text, len(n.Value))
	}
	if n.Trues > n.Rounds {
		return fmt.Errorf("%s is true in %d of %d rounds", n.Text, n.Trues, n.Rounds)
	}
	if err := checkParts(n); err != nil {
		return err
	}
	for _, part := range n.Parts {
		if n.State == NodeUnreached && part.State != NodeUnreached {
			return fmt.Errorf("%s was not asked, its part %s was", n.Text, part.Text)
		}
		if n.State != NodeError && part.State == NodeError {
			return fmt.Errorf("%s is %s, its part %s has failed", n.Text, n.State, part.Text)
		}
		if err := checkNode(part); err != nil {
			return err
		}
	}
	return nil
}

// checkParts holds the answer of n against those of its parts.
func checkParts(n *Node) error {
	if n.State != NodeTrue && n.State != NodeFalse {
		return nil
	}
	var states []NodeState
	for _, part := range n.Parts {
		states = append(states, part.State)
	}
	good := true
	switch n.Op {
	case "&&":
		good = shortCircuit(states, NodeTrue, n.State)
	case "||":
		good = shortCircuit(states, NodeFalse, n.State)
	case "not":
		good = n.State != states[0] && (states[0] == NodeTrue || states[0] == NodeFalse)
	case "?:":
		taken, other := states[1], states[2]
		if states[0] == NodeFalse {
			taken, other = other, taken
		}
		good = answers(taken, n.State) && other == NodeUnreached
	case "let", ";":
		good = answers(states[len(states)-1], n.State)
	}
	if !good {
		return fmt.Errorf("%s is %s of parts that are %v", n.Text, n.State, states)
	}
	return nil
}

// answers reports whether a part in this state makes an answer that: nothing
// counts as false where it is the whole condition's.
func answers(part, answer NodeState) bool {
	return part == answer || answer == NodeFalse && (part == NodeValue || part == NodeMissing)
}

// shortCircuit reports whether states are those of a chain that goes on while its
// parts are so, and came to answer.
func shortCircuit(states []NodeState, goOn, answer NodeState) bool {
	for i, s := range states {
		if s == goOn {
			continue
		}
		unasked := !slices.ContainsFunc(states[i+1:], func(s NodeState) bool { return s != NodeUnreached })
		return answers(s, answer) && unasked
	}
	return answer == goOn
}

// checkAlone compiles each part that stands in no predicate and holds what it
// comes to against what the tree says.
func checkAlone(t *testing.T, event *Event, n *Node) {
	t.Helper()
	for _, part := range n.Parts {
		if !part.Each {
			checkAlone(t, event, part)
		}
	}
	if len(n.Text) >= maxNodeText || n.State == NodeUnreached {
		return
	}
	if _, err := parser.Parse(n.Text); err != nil && !strings.Contains(err.Error(), "cannot be mixed") { // a < b ?? c < d
		t.Errorf("the text of a part is %q, which is no expression: %v", n.Text, err)
		return
	}
	v, _ := NewCompiler(World{}).Value(n.Text)
	if v == nil {
		return // expr does not check what stands between the brackets of list[a:b]
	}
	s := NewScope(event)
	got, err := s.run(v.prog)
	want := &Node{State: NodeError}
	if err == nil {
		(&writer{doc: &s.doc, scope: s}).state(want, got)
	}
	switch {
	case n.State == NodeMissing && (got == nil || got == ""):
	case n.State == NodeFalse && got == nil && err == nil: // the whole condition
	case n.State == NodeError && n.Err != "" && err == nil: // the whole condition, whose value is no answer
	case n.State != want.State || n.State == NodeValue && n.Value != want.Value:
		t.Errorf("part %s is %s %s, by itself it is %s %s (%v)", n.Text, n.State, n.Value, want.State, want.Value, err)
	}
}

// generator makes conditions and bodies.
type generator struct {
	r    *rand.Rand
	loop int // predicates around
	lets int // variables so far
}

func (g *generator) one(of ...string) string { return of[g.r.IntN(len(of))] }

func (g *generator) sub(depth int, template string, parts ...func(int) string) string {
	args := make([]any, len(parts))
	for i, p := range parts {
		args[i] = p(depth - 1)
	}
	return fmt.Sprintf(template, args...)
}

// answer makes an expression that is mostly true or false.
func (g *generator) answer(depth int) string {
	if depth <= 0 {
		return g.one("true", "false", "body.t", "body.f == true", "body.t", `method == "POST"`, "body.none == nil", "body.a == body.b", "body.n > 2", `headers["x-github-event"] == "push"`, "body.o.k.t")
	}
	switch g.r.IntN(20) {
	case 0, 1, 2:
		return g.sub(depth, "%s "+g.one("&&", "and")+" %s", g.answer, g.answer)
	case 3, 4:
		return g.sub(depth, "(%s "+g.one("||", "or")+" %s)", g.answer, g.answer)
	case 5:
		return g.sub(depth, g.one("not ", "!")+"(%s)", g.answer)
	case 6:
		return g.sub(depth, "(%s ? %s : %s)", g.answer, g.answer, g.answer)
	case 7:
		return g.sub(depth, "(if %s { %s } else { %s })", g.answer, g.answer, g.answer)
	case 8, 9:
		return g.sub(depth, "%s "+g.one("==", "!=", "<", ">", "<=", ">=")+" %s", g.number, g.number)
	case 10:
		return g.sub(depth, "%s "+g.one("==", "!=", "contains", "startsWith", "not contains", "<")+" %s", g.text, g.text)
	case 11, 12, 13:
		return g.predicate(depth, g.one("any", "all", "none", "one")+"(%s, %s)", g.answer)
	case 14:
		return g.sub(depth, "%s "+g.one("in", "not in")+" %s", g.number, g.list)
	case 15:
		return g.sub(depth, "%s matches "+g.one(`"x"`, `"^[a-z]+$"`, "body.s"), g.text)
	case 16:
		return g.sub(depth, "%s < %s <= %s", g.number, g.number, g.number)
	case 17:
		return g.let(depth)
	case 18:
		return g.sub(depth, "(%s ?? %s) == true", g.answer, g.answer)
	}
	return g.sub(depth, "(\n\t%s\n)", g.answer)
}

func (g *generator) let(depth int) string {
	g.lets++
	name := fmt.Sprintf("v%d", g.lets)
	return "(let " + name + " = " + g.number(depth-1) + "; " + name + " == 3 or " + g.answer(depth-1) + ")"
}

func (g *generator) predicate(depth int, template string, body func(int) string) string {
	list := g.list(depth - 1)
	g.loop++
	inner := body(depth - 1)
	g.loop--
	if g.r.IntN(4) == 0 {
		inner = "{ " + inner + " }"
	}
	return fmt.Sprintf(template, list, inner)
}

func (g *generator) number(depth int) string {
	if g.loop > 0 && g.r.IntN(2) == 0 {
		return g.one(".n", "#", ".m", "#.n", ".o.n")
	}
	if depth <= 0 {
		return g.one("1", "3", "2.5", "-1", "body.n", "body.m", "body.none", "body.o.n", `body["n"]`, "body.list[0]", "body?.o?.n", `get(body, "n")`, "body.big")
	}
	switch g.r.IntN(8) {
	case 0:
		return g.sub(depth, "%s "+g.one("+", "-", "*")+" %s", g.number, g.number)
	case 1:
		return g.sub(depth, "len(%s)", g.list)
	case 2:
		return g.sub(depth, "(%s | len())", g.text)
	case 3:
		return g.sub(depth, "(%s ?? %s)", g.number, g.number)
	case 4:
		return g.predicate(depth, "count(%s, %s)", g.answer)
	case 5:
		return g.sub(depth, "max(%s, %s)", g.number, g.number)
	case 6:
		return g.sub(depth, "%s[%s]", g.list, g.number)
	}
	return g.number(0)
}

func (g *generator) text(depth int) string {
	if depth <= 0 {
		return g.one(`"x"`, `'é'`, "`q`", "body.s", "body.ref", "raw", "path", `headers["X-Many"]`, "query.a", "bucket", "body.none", `headers["x-none"]`)
	}
	switch g.r.IntN(5) {
	case 0:
		return g.sub(depth, "(%s + %s)", g.text, g.text)
	case 1:
		return g.sub(depth, g.one("lower", "upper", "trim", "string", "toJSON")+"(%s)", g.text)
	case 2:
		return g.sub(depth, `replace(%s, "x", %s)`, g.text, g.text)
	case 3:
		return g.sub(depth, `string(%s)`, g.number)
	}
	return g.text(0)
}

func (g *generator) list(depth int) string {
	if depth <= 0 {
		return g.one("body.list", "body.items", "[1, 2, 3]", "1..4", "body.none", "(body.none ?? [])", "[]", `[body.n, 3]`, `split(body.s, "")`, "changed(body)", `header_values("x-many")`)
	}
	switch g.r.IntN(6) {
	case 0:
		return g.predicate(depth, g.one("filter", "map", "sortBy")+"(%s, %s)", g.answer)
	case 1:
		return g.predicate(depth, "map(%s, %s)", g.number)
	case 2:
		return g.sub(depth, "%s[%s:]", g.list, g.number)
	case 3:
		return g.sub(depth, "[%s, %s]", g.number, g.number)
	}
	return g.list(0)
}

func (g *generator) body() string {
	n := func() string { return g.one("1", "2", "3", "2.5", "null", `"3"`) }
	item := func() string { return fmt.Sprintf(`{"n":%s,"m":%s,"o":{"n":%s}}`, n(), n(), n()) }
	return fmt.Sprintf(`{"t":true,"f":%s,"a":%s,"b":%s,"n":%s,"big":9007199254740993,"s":%s,"ref":"refs/heads/main","o":{"n":%s,"k":{"t":true}},"list":[%s,%s],"items":[%s,%s,%s]}`,
		g.one("false", "true", "null"), n(), n(), n(), g.one(`"x"`, `"éx\n"`, `""`), n(), n(), n(), item(), item(), item())
}

// TestExplainUsesUpNothing: neither of the event's budget nor of what a verdict
// reads of the evaluation.
func TestExplainUsesUpNothing(t *testing.T) {
	c := condition(t, `body.nope == 1 || all(body.list, # == "x")`)
	s := NewScope(jsonEvent(`{"list":["x","y"]}`))
	_, missing, err := c.Eval(s)
	if err != nil {
		t.Fatal(err)
	}
	used := *s.used
	c.Explain(s)
	condition(t, `body.other == 1`).Explain(s)
	if *s.used != used {
		t.Errorf("used %+v after an explanation, want %+v", *s.used, used)
	}
	if !slices.Equal(missing, s.eval.missing) {
		t.Errorf("the evaluation misses %v after an explanation, want %v", s.eval.missing, missing)
	}
}

// TestExplainKeepsTheBudget: a traced evaluation ends where the other does, in
// the part that was too much.
func TestExplainKeepsTheBudget(t *testing.T) {
	s := NewScope(jsonEvent(`{}`))
	tree := condition(t, `body.a == nil && all(1..90000, # > 0) && any(1..20000, # == 0)`).Explain(s)
	want := `body.a == nil && all(1..90000, # > 0) && any(1..20000, # == 0)  → error
├─ body.a == nil  → true
├─ all(1..90000, # > 0)  → true
│  └─ # > 0  → true (true in 90000 of 90000)
└─ any(1..20000, # == 0)  → error
   └─ # == 0  → error: evaluation budget used up: more than 100000 steps; # is 10000`
	if got := tree.String(); got != want {
		t.Errorf("the tree is\n%s\nwant\n%s", got, want)
	}
}

// TestExplainOfWhatTheEventUsedUp: what the rules before have used counts.
func TestExplainOfWhatTheEventUsedUp(t *testing.T) {
	s := NewScope(jsonEvent(`{}`))
	c := condition(t, `any(1..2000, # == 0)`)
	s.used.spent = maxEventSteps - 1000 // the 1,001st step is one too many
	_, _, err := c.Eval(s)
	if !errors.Is(err, errBudget) {
		t.Fatalf("Eval: %v, want the budget used up", err)
	}
	if tree := c.Explain(s); tree.State != NodeError || !strings.Contains(tree.String(), "over all rules of this event; # is 1001") {
		t.Errorf("the tree is\n%s\nwant an error in round 1001", tree)
	}
}

// TestExplainOfWhatCantBeTraced: never a wrong tree, then.
func TestExplainOfWhatCantBeTraced(t *testing.T) {
	c := condition(t, `body.a == 1 && method == "GET"`)
	trace := c.prog.trace()
	tests := []struct {
		name  string
		trace *tracing
		body  string
		want  string
	}{
		{name: "no program", body: `{"a":1}`, want: `body.a == 1 && method == "GET"  → false`},
		{name: "another answer", trace: condition(t, `true`).prog.trace(), body: `{"a":1}`, want: `body.a == 1 && method == "GET"  → false`},
		{name: "an error alone", trace: condition(t, `body.a > 1`).prog.trace(), body: `{}`, want: `body.a == 1 && method == "GET"  → false`},
		{name: "the right one", trace: trace, body: `{"a":1}`, want: "body.a == 1 && method == \"GET\"  → false\n├─ body.a == 1  → true\n└─ method == \"GET\"  → false: method is \"POST\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.prog.trace = func() *tracing { return tt.trace }
			tree := c.Explain(NewScope(jsonEvent(tt.body)))
			if got := tree.String(); got != tt.want {
				t.Errorf("the tree is\n%s\nwant\n%s", got, tt.want)
			}
			if len(tree.Deciders()) == 0 {
				t.Error("nothing decided, want the root or a part of it")
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	c, _ := NewCompiler(World{}).Condition(`headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/main" && any(body.commits, "a.go" in .added)`)
	s := NewScope(jsonEvent(`{"ref":"refs/heads/main","commits":[{"added":[]},{"added":["b.go"]},{"added":["a.go"]}]}`))
	b.Run("Eval", func(b *testing.B) {
		for b.Loop() {
			c.Eval(s)
			*s.used = usage{}
		}
	})
	b.Run("Explain", func(b *testing.B) {
		for b.Loop() {
			c.Explain(s)
		}
	})
}
