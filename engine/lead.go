package engine

import (
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"
)

// Most rules that are asked about an event say no in the first parts of their
// condition, and these mostly compare a field, a header or a name with what stands
// in the rule. The machine of expr takes more than a microsecond for that; here it
// takes a quarter of the time. What is answered here is answered as there, with
// the functions that the machine calls, too; what isn't of the simplest form, could
// take long, or fails, is left to it.

// lead is the beginning of a condition that is answered without the machine.
type lead struct {
	parts []leadPart
	all   bool // nothing comes behind them
}

// leadPart is a part of the conjunction at the top, or the whole condition.
type leadPart struct {
	text string // as evalPart is given it; "": it is the whole
	ask  direct
}

// direct is a part of an expression that is evaluated without the machine. ok is
// false where the machine has to say what is wrong.
type direct func(e *evaluation) (v any, ok bool)

// leadOf finds the lead of a condition whose tree has been patched.
func leadOf(n ast.Node) lead {
	l := lead{all: true}
	l.take(n)
	return l
}

// take adds a part, or all of a conjunction of them, up to one that isn't of that form.
func (l *lead) take(n ast.Node) {
	if b, ok := n.(*ast.BinaryNode); ok && isAnd(n) {
		l.take(b.Left)
		if l.all {
			l.take(b.Right)
		}
		return
	}
	part := leadPart{}
	if c, ok := n.(*ast.CallNode); ok && isName(c.Callee, fnPart) {
		part.text, n = c.Arguments[1].(*ast.StringNode).Value, c.Arguments[2]
	}
	if part.ask = directYesNo(n); part.ask == nil {
		l.all = false
		return
	}
	l.parts = append(l.parts, part)
}

// directly answers a condition by its lead. ok is false where that doesn't decide.
func (s *Scope) directly(l *lead) (v any, ok bool) {
	if len(l.parts) == 0 || s.eval.within(0) != nil {
		return nil, false
	}
	spent := s.used.spent
	s.eval.forget()
	for i := range l.parts {
		part := &l.parts[i]
		yes, ok := part.ask(&s.eval)
		if !ok {
			s.used.spent = spent
			return nil, false
		}
		s.eval.part = part.text
		if yes == false {
			return false, true
		}
	}
	if !l.all {
		s.used.spent = spent
	}
	return true, l.all
}

// directYesNo is nil where an expression isn't of that form, or may be another value than
// true or false.
func directYesNo(n ast.Node) direct {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return nil
	}
	switch b.Operator {
	case "==":
		return directEqual(b, true)
	case "!=":
		return directEqual(b, false)
	case "in":
		return directIn(b)
	case "||", "or":
		return directOr(b)
	}
	return nil
}

// directEqual compares with a constant, or two texts. Two values from outside can be
// lists or objects of any size: the machine's clock is for them.
func directEqual(b *ast.BinaryNode, want bool) direct {
	left, right := directValue(b.Left), directValue(b.Right)
	if left == nil || right == nil || !isAtom(b.Left) && !isAtom(b.Right) && !(isText(b.Left) && isText(b.Right)) {
		return nil
	}
	return func(e *evaluation) (any, bool) {
		l, ok := left(e)
		if !ok {
			return nil, false
		}
		r, ok := right(e)
		return equal(l, r) == want, ok
	}
}

// isAtom reports whether a constant has no parts.
func isAtom(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.BoolNode, *ast.NilNode, *ast.IntegerNode:
		return true
	}
	return false
}

func isText(n ast.Node) bool {
	t := n.Type()
	return t != nil && t.Kind() == reflect.String
}

// equal is runtime.Equal, with what is compared mostly looked at first.
func equal(a, b any) bool {
	if a, ok := a.(string); ok {
		if b, ok := b.(string); ok {
			return a == b
		}
	}
	return runtime.Equal(a, b)
}

// directIn is whether a value is one of texts that stand in the rule.
func directIn(b *ast.BinaryNode) direct {
	list, ok := b.Right.(*ast.ArrayNode)
	needle := directValue(b.Left)
	if !ok || needle == nil {
		return nil
	}
	var texts []string
	for _, n := range list.Nodes {
		text, ok := n.(*ast.StringNode)
		if !ok {
			return nil
		}
		texts = append(texts, text.Value)
	}
	return func(e *evaluation) (any, bool) {
		v, ok := needle(e)
		text, isText := v.(string)
		return isText && slices.Contains(texts, text), ok
	}
}

func directOr(b *ast.BinaryNode) direct {
	left, right := directYesNo(b.Left), directYesNo(b.Right)
	if left == nil || right == nil {
		return nil
	}
	return func(e *evaluation) (any, bool) {
		if v, ok := left(e); !ok || v == true {
			return v, ok
		}
		return right(e)
	}
}

// directValue is nil where an expression isn't a constant, a name, a header or a
// field of data that came from outside.
func directValue(n ast.Node) direct {
	switch n := n.(type) {
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.BoolNode:
		return constant(n.Value)
	case *ast.NilNode:
		return constant(nil)
	case *ast.IntegerNode:
		if t := n.Type(); t != nil && t.Kind() == reflect.Int { // else the machine makes another number of it
			return constant(n.Value)
		}
	case *ast.IdentifierNode:
		return func(e *evaluation) (any, bool) {
			v, ok := e.scope.world[n.Value]
			return v, ok
		}
	case *ast.CallNode:
		switch {
		case isName(n.Callee, fnHeader):
			return directHeader(n)
		case isName(n.Callee, fnMember):
			return directMember(n)
		}
	}
	return nil
}

func constant(v any) direct { return func(*evaluation) (any, bool) { return v, true } }

func directHeader(n *ast.CallNode) direct {
	name, ok := n.Arguments[1].(*ast.StringNode)
	if !ok {
		return nil
	}
	return func(e *evaluation) (any, bool) {
		if v := e.scope.event.Header[name.Value]; len(v) > 0 { // the patcher has made the name canonical
			return v[0], true
		}
		return e.scope.header(name.Value), true
	}
}

func directMember(n *ast.CallNode) direct {
	data := directValue(n.Arguments[1])
	if data == nil || len(n.Arguments) > 3 { // a key that is known at run time alone
		return nil
	}
	f := n.Arguments[2].(*ast.ConstantNode).Value.(*field)
	return func(e *evaluation) (any, bool) {
		v, ok := data(e)
		if !ok || e.count() != nil {
			return nil, false
		}
		return e.member(v, f.key, f.path), true
	}
}
