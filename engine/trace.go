package engine

import (
	"errors"
	"math"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// A condition is explained by a second program of it. The tree of the first is
// made anew, with the same changes and checks, and then
//
//	a == b    becomes    evalNote(state, part, a == b)
//
// around every part that is worth showing (see sketch), so that what is
// evaluated, and what it uses up, stays the same: notes alone are taken.

const fnNote = "·note"

// traceSlack is how much longer than another a traced evaluation may take.
const traceSlack = 4

// tracing is the traced program of a condition.
type tracing struct {
	code  *vm.Program
	root  *term
	parts int // ids of parts are below
}

// Explain evaluates the condition and returns the tree of its sub-expressions
// with what each came to. The state of the root is what Eval answers: NodeTrue,
// NodeFalse or NodeError.
func (c *Condition) Explain(s *Scope) *Node {
	return c.explain(s, newVeil(nil, s.event), &sketchbook{text: math.MaxInt, time: math.MaxInt64})
}

// sketchbook is what trees may still cost. Once it is full, trees are of one node:
// what the condition came to.
type sketchbook struct {
	text  int // bytes of nodes
	time  time.Duration
	ended <-chan struct{} // see RehearseOptions
}

// full says why no further tree is drawn; "": one is.
func (b *sketchbook) full() string {
	switch {
	case b.text <= 0:
		return "its parts are left out: the trees before are large"
	case b.time <= 0:
		return "its parts are left out: the trees before took long"
	case isClosed(b.ended):
		return "its parts are left out: nobody waits for them"
	}
	return ""
}

func (b *sketchbook) add(tree *Node, began time.Time) {
	b.time -= time.Since(began)
	b.text -= tree.size()
}

// explain is Explain with texts masked, within the bounds of book. It uses up
// nothing of what the event may use; where the condition is what the scope
// evaluated last, that is what is explained, with what the event had used before.
func (c *Condition) explain(s *Scope, mask veil, book *sketchbook) *Node {
	used, eval := *s.used, s.eval
	defer func() { *s.used, s.eval = used, eval }()
	if s.last.prog != c.prog {
		*s.used = usage{}
		c.Eval(s)
	}
	w := &writer{doc: &s.doc, scope: s, mask: mask}
	if book.full() != "" {
		return w.alone(c.String(), s.last)
	}
	c.prog.trace() // compiled once, it is no part of what a tree costs
	began := time.Now()
	tree := w.draw(c, s.last)
	book.add(tree, began)
	return tree
}

// draw is the tree of a condition that came to what was decided.
func (w *writer) draw(c *Condition, decided answer) *Node {
	s, t := w.scope, c.prog.trace()
	if t == nil {
		return w.alone(c.String(), decided)
	}
	for _, name := range c.prog.lazy {
		s.fill(name)
	}
	*s.used = decided.before
	notes := &notes{all: make([]noted, t.parts)}
	value, err := s.traced(c.prog.src, t.code, notes)
	if !sameAnswer(decided, value, err) {
		return w.alone(c.String(), decided)
	}
	w.notes = notes
	return w.tree(t.root, value, err)
}

// traced is evaluate with notes taken.
func (s *Scope) traced(src string, code *vm.Program, n *notes) (any, error) {
	s.eval.reset()
	s.eval.notes = n
	defer func() { s.eval.notes = nil }()
	v, err := s.vm.Run(code, s.world)
	if err != nil {
		return nil, evalError(src, err)
	}
	return v, nil
}

// sameAnswer reports whether a traced evaluation came to what was decided: where
// time ran out in one of the two it may not have.
func sameAnswer(decided answer, value any, err error) bool {
	if decided.err == nil || err == nil {
		return decided.err == nil && err == nil && decided.value == value
	}
	a, _ := errors.AsType[*EvalError](decided.err)
	b, _ := errors.AsType[*EvalError](err)
	return a != nil && b != nil && a.Offset == b.Offset && (a.Msg == b.Msg || errors.Is(a, errBudget) && errors.Is(b, errBudget))
}

// trace compiles the traced program of a condition that compiles; nil where that
// can't be done.
func (c *Compiler) trace(src string) *tracing {
	patch := &patcher{top: conjunctionOf(src), was: map[ast.Node]ast.Node{}}
	config := conf.CreateNew()
	for _, option := range append(c.options(&reader{}, patch, expr.AsBool()), expr.Function(fnNote, evalNote)) {
		option(config)
	}
	for name := range config.Disabled {
		delete(config.Builtins, name)
	}
	config.Check()
	tree, err := parser.ParseWithConfig(src, config)
	if err != nil {
		return nil
	}
	k := newSketch(src)
	root := k.term(tree.Node, false)
	if _, err := new(checker.Checker).PatchAndCheck(tree, config); err != nil {
		return nil
	}
	k.note(tree, patch.was)
	code, err := compiler.Compile(tree, config)
	if err != nil {
		return nil
	}
	root.prune()
	return &tracing{code: code, root: root, parts: k.count}
}

// note puts evalNote around the nodes of the parts, in a tree that is patched and
// checked. It is not checked again, so that a note has the type of what it is
// around, in all that this decides.
func (k *sketch) note(tree *parser.Tree, was map[ast.Node]ast.Node) {
	places := &places{seen: map[*ast.Node]bool{}}
	ast.Walk(&tree.Node, places)
	inTick := map[*ast.Node]bool{}
	for i := len(places.all) - 1; i >= 0; i-- { // a tick is behind what it is around
		place := places.all[i]
		n := *place
		if call, ok := n.(*ast.CallNode); ok && isName(call.Callee, fnTick) {
			inTick[&call.Arguments[1]] = true // it has a note of its own
		}
		first, ok := was[n]
		if !ok {
			first = n
		}
		if p := k.parts[first]; p != nil && !inTick[place] {
			p.noted = true
			*place = noteCall(p, n)
		}
	}
}

func noteCall(p *term, n ast.Node) ast.Node {
	c := call(fnNote, &ast.ConstantNode{Value: p}, n)
	c.SetLocation(n.Location())
	c.SetNature(*n.Nature())
	return c
}

// places gathers where in a tree its nodes stand, each place once: what is
// compared on both sides, as in 1 < n < 3, stands in two.
type places struct {
	all  []*ast.Node
	seen map[*ast.Node]bool
}

// Visit implements ast.Visitor.
func (p *places) Visit(node *ast.Node) {
	if !p.seen[node] {
		p.seen[node] = true
		p.all = append(p.all, node)
	}
}

// notes is what a traced evaluation has come to so far.
type notes struct {
	all []noted // by the id of the part
	seq int     // of the note that was taken last
}

// noted is what one part came to. Of a part that was evaluated several times it
// keeps the last value.
type noted struct {
	value        any
	missing      bool // it is a field that is not there
	count, trues int
	last, before int // notes.seq of the last time and of the time before that; 0: none
}

// evalNote(state, part, value) notes the value of a part.
func evalNote(args ...any) (any, error) {
	e, p, value := args[0].(*evaluation), args[1].(*term), args[2]
	e.notes.seq++
	n := &e.notes.all[p.id]
	n.value, n.missing = value, p.member && e.absent && value == nil
	n.count++
	if value == true {
		n.trues++
	}
	n.last, n.before = e.notes.seq, n.last
	e.absent = false
	return value, nil
}
