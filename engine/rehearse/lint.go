package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hookrun/engine"
)

// Finding is something in a condition that hardly is as meant, by what came.
type Finding struct {
	Rule   string `json:"rule"`
	Offset int    `json:"offset"` // in the condition, in bytes
	Msg    string `json:"msg"`
	Hint   string `json:"hint,omitempty"` // the likely mend
}

// Linted is what Lint came to.
type Linted struct {
	Seen
	Findings []Finding `json:"findings"` // by rule, in the order of their places
}

// LintLimit is how many events Lint looks at where its window does not say.
const LintLimit = 5000

// Thresholds of findings.
const (
	minSame    = 20   // events for which a part of a condition was always the same
	minMissing = 5    // events that were asked for a field, of which
	mostly     = 0.05 // this part had to be without it
)

// LintOptions say what is looked at.
type LintOptions struct {
	Window
	Rules *engine.RuleSet
	Rule  string // "": all
}

// Lint asks the rules about what came, part by part of their conditions.
func Lint(ctx context.Context, src Source, o LintOptions) (*Linted, error) {
	o.Limit = cmp.Or(o.Limit, LintLimit)
	l := &linter{o: o}
	all := l.tally()
	left, err := walk(ctx, src, o.Window, l.tally, all.merge)
	if err != nil {
		return nil, err
	}
	all.seen.Left = left
	return &Linted{Seen: all.seen, Findings: all.findings()}, nil
}

// linter is what all workers share.
type linter struct{ o LintOptions }

func (l *linter) tally() *lint { return &lint{l: l, rules: map[string]*conditionStats{}} }

// lint is what some events told of conditions.
type lint struct {
	l     *linter
	seen  Seen
	rules map[string]*conditionStats
}

// conditionStats is what the parts of a rule's condition came to.
type conditionStats struct {
	root  *engine.Node // of one event: its shape is that of all
	nodes map[nodeKey]*nodeStats
}

// nodeKey tells the parts of one condition apart.
type nodeKey struct {
	offset int
	text   string
}

// nodeStats is what one part of a condition came to.
type nodeStats struct {
	asked, trues, falses, missing int // events
	inner                         bool
	kind                          string // what senders call these events; "": several things, or nothing
	mixed                         bool   // kind is "" for there are several

	without  int // of these, with an operand that is missing
	mismatch int // of these, with a number on one side and a text on the other
	clash    string

	there int            // of a header or query name: events that have it
	names map[string]int // what stands where something is missing: name → events
	owner string         // the path that has these names
	gone  string         // the name that it does not have
	looks int
}

// event implements tally.
func (t *lint) event(_ context.Context, rec *engine.EventRecord) error {
	if skipped(rec) {
		t.seen.Skipped++
		return nil
	}
	r := t.l.o.Rules.Rehearse(rec.Event, engine.RehearseOptions{Rule: t.l.o.Rule, Trees: true, Refused: refusals(rec.Verdicts)})
	t.seen.add(rec)
	for i := range r.Asked {
		if x := &r.Asked[i]; x.When != nil {
			c := t.of(x.Rule)
			c.root = cmp.Or(c.root, x.When)
			c.look(x.When, rec)
		}
	}
	return nil
}

func (t *lint) of(rule string) *conditionStats {
	if t.rules[rule] == nil {
		t.rules[rule] = &conditionStats{nodes: map[nodeKey]*nodeStats{}}
	}
	return t.rules[rule]
}

func (c *conditionStats) of(n *engine.Node) *nodeStats {
	key := nodeKey{n.Offset, n.Text}
	if c.nodes[key] == nil {
		c.nodes[key] = &nodeStats{}
	}
	return c.nodes[key]
}

// look counts what the parts of a condition came to for one event.
func (c *conditionStats) look(n *engine.Node, rec *engine.EventRecord) {
	if n.State == engine.NodeUnreached {
		return
	}
	s := c.of(n)
	s.count(n, rec.Kind)
	if name, ok := outside(n); ok {
		s.lookFor(name, rec.Event)
	} else if n.State == engine.NodeMissing && n.Rounds == 0 {
		s.lookAround(n.Path, rec.Event)
	}
	if isComparison(n.Op) {
		s.compare(n)
	}
	for _, part := range n.Parts {
		c.look(part, rec)
	}
}

func (s *nodeStats) count(n *engine.Node, kind string) {
	if s.asked == 0 {
		s.kind = kind
	}
	s.mixed = s.mixed || s.kind != kind
	s.asked++
	s.inner = s.inner || n.Rounds > 0
	switch n.State {
	case engine.NodeTrue:
		s.trues++
	case engine.NodeFalse:
		s.falses++
	case engine.NodeMissing:
		s.missing++
	}
}

// merge adds what a later page told.
func (t *lint) merge(o *lint) {
	t.seen.merge(o.seen)
	for rule, c := range o.rules {
		have := t.of(rule)
		have.root = cmp.Or(have.root, c.root)
		for key, s := range c.nodes {
			if have.nodes[key] == nil {
				have.nodes[key] = s
				continue
			}
			have.nodes[key].merge(s)
		}
	}
}

func (s *nodeStats) merge(o *nodeStats) {
	s.mixed = s.mixed || o.mixed || s.kind != o.kind
	s.asked += o.asked
	s.trues += o.trues
	s.falses += o.falses
	s.missing += o.missing
	s.inner = s.inner || o.inner
	s.without += o.without
	s.mismatch += o.mismatch
	s.clash = cmp.Or(s.clash, o.clash)
	s.there += o.there
	s.owner, s.gone = cmp.Or(s.owner, o.owner), cmp.Or(s.gone, o.gone)
	for name, n := range o.names {
		s.name(name, n)
	}
}

// maxNames bounds the names of one place that are kept.
const maxNames = 200

func (s *nodeStats) name(name string, n int) {
	if s.names == nil {
		s.names = map[string]int{}
	}
	if _, known := s.names[name]; known || len(s.names) < maxNames {
		s.names[name] += n
	}
}

// nearest is the hint with the name that was likely meant.
func (s *nodeStats) nearest(name string) string {
	return engine.Nearest(name, slices.Collect(maps.Keys(s.names)))
}

// events says how many there were, for people: "214 push events".
func (s *nodeStats) events() string {
	what := "events"
	if s.asked == 1 {
		what = "event"
	}
	if !s.mixed && s.kind != "" {
		what = s.kind + " " + what
	}
	return fmt.Sprintf("%d %s", s.asked, what)
}

// findings tells of all conditions.
func (t *lint) findings() []Finding {
	all := []Finding{}
	for _, rule := range slices.Sorted(maps.Keys(t.rules)) {
		c := t.rules[rule]
		found := &found{rule: rule, c: c, told: map[nodeKey]bool{}}
		found.parts(c.root)
		found.same(c.root)
		slices.SortStableFunc(found.list, func(a, b Finding) int { return cmp.Compare(a.Offset, b.Offset) })
		all = append(all, found.list...)
	}
	return all
}

// found is the findings of one condition.
type found struct {
	rule string
	c    *conditionStats
	told map[nodeKey]bool // parts of which something was said
	list []Finding
}

func (f *found) say(n *engine.Node, hint, format string, args ...any) {
	key := nodeKey{n.Offset, n.Text}
	if f.told[key] {
		return
	}
	f.told[key] = true
	f.list = append(f.list, Finding{f.rule, n.Offset, fmt.Sprintf(format, args...), hint})
}

// parts says what is odd of single parts.
func (f *found) parts(n *engine.Node) {
	s := f.c.nodes[nodeKey{n.Offset, n.Text}]
	if s != nil && s.asked > 0 {
		f.never(n, s)
		f.compared(n, s)
	}
	for _, part := range n.Parts {
		f.parts(part)
	}
}

// never tells of what was never there.
func (f *found) never(n *engine.Node, s *nodeStats) {
	if name, ok := outside(n); ok {
		if s.there == 0 {
			f.say(n, s.nearest(name.name), "%s %q was never seen in %s", name.what, name.name, s.events())
		}
		return
	}
	if n.Path == "" || s.missing < s.asked {
		return
	}
	if len(s.names) > 0 {
		f.say(n, s.nearest(s.gone), "%s was never seen in %s", join(s.owner, s.gone), s.events())
		return
	}
	f.say(n, "", "%s was never seen in %s", n.Path, s.events())
}

// compared tells of comparisons that can't be meant.
func (f *found) compared(n *engine.Node, s *nodeStats) {
	if !isComparison(n.Op) {
		return
	}
	if s.mismatch > 0 {
		hint := "a text that holds a number is read by int(…); a number is written without quotes"
		f.say(n, hint, "compares %s in %d of %s", s.clash, s.mismatch, s.events())
		return
	}
	share := float64(s.without) / float64(s.asked)
	if n.Op == "!=" && s.asked >= minMissing && share >= mostly && share < 1 && !saysAbsent(n) {
		f.say(n, "add: "+operand(n)+" != nil", "%s is missing in %.0f %% of %s, and != is true there", operand(n), 100*share, s.events())
	}
}

// same tells of the smallest parts that were always true, or always false.
func (f *found) same(n *engine.Node) {
	s := f.c.nodes[nodeKey{n.Offset, n.Text}]
	if s == nil || s.inner {
		return
	}
	if !s.always() {
		for _, part := range n.Parts {
			f.same(part)
		}
		return
	}
	for _, part := range n.Parts {
		if why := f.c.nodes[nodeKey{part.Offset, part.Text}]; why != nil && decides(n.Op, s, why) {
			f.same(part)
			return
		}
	}
	if f.toldIn(n) {
		return // that is why
	}
	if s.trues > 0 {
		f.say(n, "", "%s was true for all %s", shorten(n.Text), s.events())
	} else {
		f.say(n, "", "%s was false for all %s", shorten(n.Text), s.events())
	}
}

// always reports whether the part came to the same thing for enough events.
func (s *nodeStats) always() bool {
	return s.asked >= minSame && (s.trues == s.asked || s.falses == s.asked)
}

// decides reports whether a part that was always the same is why the whole was.
func decides(op string, whole, part *nodeStats) bool {
	if !part.always() {
		return false
	}
	switch op {
	case "&&", "and":
		return whole.falses > 0 && part.falses > 0
	case "||", "or":
		return whole.trues > 0 && part.trues > 0
	}
	return false
}

// toldIn reports whether something was said of a part of n.
func (f *found) toldIn(n *engine.Node) bool {
	return f.told[nodeKey{n.Offset, n.Text}] || slices.ContainsFunc(n.Parts, f.toldIn)
}

// shorten keeps an expression to a line that people can read.
func shorten(src string) string {
	const most = 60
	src = strings.Join(strings.Fields(src), " ")
	if r := []rune(src); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return src
}
