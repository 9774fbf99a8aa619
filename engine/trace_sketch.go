package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// term is a sub-expression that a tree of Nodes shows.
type term struct {
	id        int
	text      string // as written
	from, to  int    // where it stands, in runes; to is behind it
	offset    int    // from, in bytes
	ends      []int  // where else, in runes, errors of it or of its parts are placed
	op, path  string
	base, key string // of a member with a constant name: what it is a member of, where that is a name
	member    bool   // evalMember reads it
	predicate bool   // the body of a predicate
	looped    bool   // it stands in a predicate
	noted     bool   // its values are noted
	covered   bool   // its value may be that of a header that IsCredential knows
	parts     []*term
}

// prune takes away parts that are not noted: a call has taken their place.
func (p *term) prune() {
	p.parts = slices.DeleteFunc(p.parts, func(q *term) bool {
		q.prune()
		return !q.noted
	})
}

// sketch finds the parts of a condition. Constants are none, but where they
// answer yes or no; a chain of members is one, and so is a chain of && or of ||.
type sketch struct {
	src    string
	tokens []lexer.Token
	at     map[int]int // index of the token that begins at a rune
	parts  map[ast.Node]*term
	count  int
}

func newSketch(src string) *sketch {
	k := &sketch{src: src, at: map[int]int{}, parts: map[ast.Node]*term{}}
	k.tokens, _ = lexer.Lex(file.NewSource(src)) // it was parsed, so it can be read
	for i, t := range k.tokens {
		k.at[t.From] = i
	}
	return k
}

// term makes a part of n, looped where it stands in a predicate.
func (k *sketch) term(n ast.Node, looped bool) *term {
	if p := k.parts[n]; p != nil {
		return p // as the n of 1 < n < 3
	}
	p := &term{id: k.count, looped: looped}
	k.count++
	k.parts[n] = p
	k.place(p, n)
	k.fill(p, n)
	for _, q := range p.parts {
		p.ends = append(p.ends, q.ends...)
		p.covered = p.covered || q.covered
	}
	return p
}

// cover says of p and all its parts that they are asked of what is covered.
func (p *term) cover() {
	p.covered = true
	for _, q := range p.parts {
		q.cover()
	}
}

// fill gives p what is peculiar to the kind of n.
func (k *sketch) fill(p *term, n ast.Node) {
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.PointerNode, *ast.MemberNode, *ast.ChainNode:
		k.chain(p, n)
	case *ast.UnaryNode:
		k.unary(p, n)
	case *ast.BinaryNode:
		k.binary(p, n)
	case *ast.BuiltinNode:
		k.builtin(p, n)
	case *ast.CallNode:
		k.call(p, n)
	case *ast.ConditionalNode:
		p.op = "?:"
		p.ends = []int{n.Location().From} // behind it: so expr has it
		p.parts = k.answers(p, n.Cond, n.Exp1, n.Exp2)
	case *ast.VariableDeclaratorNode:
		p.op = "let"
		p.parts = append(k.operands(p, n.Value), k.let(p, n.Expr)...)
	case *ast.SequenceNode:
		p.op = ";"
		p.parts = k.answers(p, n.Nodes...)
	case *ast.SliceNode:
		p.op = "[:]"
		p.parts = k.operands(p, n.Node, n.From, n.To)
	case *ast.ArrayNode:
		p.op = "[]"
		p.parts = k.operands(p, n.Nodes...)
	case *ast.MapNode:
		p.op = "{}"
		for _, pair := range n.Pairs {
			p.parts = append(p.parts, k.operands(p, pair.(*ast.PairNode).Value)...)
		}
	}
}

// let are the parts behind a declaration: those of a further one stand beside it.
func (k *sketch) let(p *term, n ast.Node) []*term {
	if next, ok := n.(*ast.VariableDeclaratorNode); ok {
		return append(k.operands(p, next.Value), k.let(p, next.Expr)...)
	}
	return k.answers(p, n)
}

// operands are the parts of nodes whose value is used; constants are none.
func (k *sketch) operands(p *term, nodes ...ast.Node) []*term {
	var all []*term
	for _, n := range nodes {
		if n != nil && !isConstant(n) {
			all = append(all, k.term(n, p.looped))
		}
	}
	return all
}

// answers are the parts of nodes that answer what p does, constants too.
func (k *sketch) answers(p *term, nodes ...ast.Node) []*term {
	var all []*term
	for _, n := range nodes {
		all = append(all, k.term(n, p.looped))
	}
	return all
}

// arguments are operands, without those of which there is more than can be
// shown.
func (k *sketch) arguments(p *term, nodes ...ast.Node) []*term {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n ast.Node) bool {
		name, ok := n.(*ast.IdentifierNode)
		return ok && slices.Contains([]string{"body", "headers", "query", "meta", "raw", "steps", "event"}, name.Value)
	})
	return k.operands(p, nodes...)
}

// chain is a name, or members of what is shown as one: where they do not begin
// with a name, that stands below.
func (k *sketch) chain(p *term, n ast.Node) {
	p.path = pathOf(n)
	if strings.HasPrefix(p.path, "#.") {
		p.path = p.path[1:]
	}
	for first := true; ; first = false {
		switch m := n.(type) {
		case *ast.ChainNode:
			n = m.Node
		case *ast.MemberNode:
			if key, ok := m.Property.(*ast.StringNode); ok && first {
				p.key = key.Value
			}
			if base, ok := m.Node.(*ast.IdentifierNode); ok && p.key != "" {
				p.base = base.Value
			}
			p.member = true
			p.parts = append(k.operands(p, m.Property), p.parts...)
			n = m.Node
		case *ast.IdentifierNode, *ast.PointerNode:
			if p.base == headersName {
				p.path = fmt.Sprintf("%s[%q]", headersName, p.key)
				p.covered = IsCredential(p.key)
			}
			return
		default:
			p.path = "" // its text says it
			p.parts = append(k.operands(p, n), p.parts...)
			return
		}
	}
}

func (k *sketch) unary(p *term, n *ast.UnaryNode) {
	p.op = n.Operator
	if n.Operator != "not" && n.Operator != "!" {
		p.parts = k.operands(p, n.Node)
		return
	}
	p.op = "not"
	if in, ok := n.Node.(*ast.BinaryNode); ok && in.Location() == n.Location() { // a not in b
		p.op = "not " + in.Operator
		p.parts = k.operands(p, in.Left, in.Right)
		return
	}
	p.parts = k.answers(p, n.Node)
}

func (k *sketch) binary(p *term, n *ast.BinaryNode) {
	p.op = logic(n.Operator)
	if p.op == "&&" || p.op == "||" {
		p.parts = k.answers(p, k.flat(p.op, n.Left, n.Right)...)
		return
	}
	p.parts = k.operands(p, n.Left, n.Right)
}

// logic is the one of two ways in which && and || are written.
func logic(op string) string {
	switch op {
	case "and":
		return "&&"
	case "or":
		return "||"
	}
	return op
}

// flat has in the place of nodes with the operator their operands.
func (k *sketch) flat(op string, nodes ...ast.Node) []ast.Node {
	var all []ast.Node
	for _, n := range nodes {
		if b, ok := n.(*ast.BinaryNode); ok && logic(b.Operator) == op {
			all = append(all, k.flat(op, b.Left, b.Right)...)
			continue
		}
		all = append(all, n)
	}
	return all
}

func (k *sketch) builtin(p *term, n *ast.BuiltinNode) {
	p.op = n.Name
	if key, ok := n.Arguments[len(n.Arguments)-1].(*ast.StringNode); ok && n.Name == "get" {
		k.chain(p, &ast.MemberNode{Node: n.Arguments[0], Property: key})
		return
	}
	for _, arg := range n.Arguments {
		predicate, ok := arg.(*ast.PredicateNode)
		if !ok {
			p.parts = append(p.parts, k.arguments(p, arg)...)
			continue
		}
		body := k.term(predicate.Node, true)
		body.predicate = true
		if slices.ContainsFunc(p.parts, func(list *term) bool { return list.covered }) {
			body.cover()
		}
		p.parts = append(p.parts, body)
	}
}

func (k *sketch) call(p *term, n *ast.CallNode) {
	switch callee := n.Callee.(type) {
	case *ast.IdentifierNode:
		p.op = callee.Value
		p.covered = p.op == "header_values" && isCredentialName(n.Arguments)
	case *ast.MemberNode:
		p.op = pathOf(callee)
		if i := strings.LastIndex(p.op, "."); i >= 0 {
			p.op = p.op[i:]
		}
		p.parts = k.operands(p, callee.Node)
	}
	p.parts = append(p.parts, k.arguments(p, n.Arguments...)...)
}

func isCredentialName(args []ast.Node) bool {
	name, ok := args[0].(*ast.StringNode)
	return ok && IsCredential(name.Value)
}

// isConstant reports whether n is the same for every event.
func isConstant(n ast.Node) bool {
	look := &changing{}
	ast.Walk(&n, look)
	return !look.found
}

// changing looks for what an event, or a round of a predicate, has a say in.
type changing struct{ found bool }

// Visit implements ast.Visitor.
func (c *changing) Visit(node *ast.Node) {
	switch (*node).(type) {
	case *ast.IdentifierNode, *ast.PointerNode, *ast.CallNode:
		c.found = true
	}
}

// place says where in the source p stands: expr knows one token of each node. It
// is from the first to the last token of all nodes in n, and on to where all
// brackets in it are closed.
func (k *sketch) place(p *term, n ast.Node) {
	r := &span{k: k, first: len(k.tokens), last: -1}
	ast.Walk(&n, r)
	if r.last < 0 {
		return
	}
	r.first, r.last = k.balance(r.first, r.last)
	switch n.(type) {
	case *ast.ConditionalNode, *ast.SequenceNode:
		r.first = k.before(r.first, "if")
	}
	p.from, p.to = k.tokens[r.first].From, k.tokens[r.last].To
	p.offset = byteOffset(k.src, p.from)
	p.text = cutText(k.src[p.offset:byteOffset(k.src, p.to)], maxNodeText)
}

// span is the first and the last token of a tree.
type span struct {
	k           *sketch
	first, last int
}

// Visit implements ast.Visitor.
func (s *span) Visit(node *ast.Node) {
	i, ok := s.k.at[(*node).Location().From]
	if !ok {
		return
	}
	switch n := (*node).(type) {
	case *ast.ConditionalNode, *ast.PredicateNode, *ast.PairNode, *ast.SequenceNode: // no token is theirs alone
		return
	case *ast.VariableDeclaratorNode:
		i = s.k.before(i, "let")
	case *ast.PointerNode:
		if n.Name != "" {
			s.add(i + 1)
		}
	case *ast.BuiltinNode, *ast.CallNode: // at the name
		s.add(s.k.closing(i + 1))
	case *ast.ArrayNode, *ast.MapNode, *ast.SliceNode, *ast.MemberNode:
		s.add(s.k.closing(i))
	}
	s.add(i)
}

func (s *span) add(i int) { s.first, s.last = min(s.first, i), max(s.last, i) }

// before is the token before i where that is the word, else i.
func (k *sketch) before(i int, word string) int {
	if i > 0 && k.tokens[i-1].Is(lexer.Operator, word) {
		return i - 1
	}
	return i
}

// closing is the bracket that closes the one at i; i where there is none.
func (k *sketch) closing(i int) int {
	depth := 0
	for j := i; j < len(k.tokens); j++ {
		switch {
		case k.opens(j):
			depth++
		case k.closes(j):
			depth--
		}
		if depth == 0 {
			return j
		}
	}
	return i
}

func (k *sketch) opens(i int) bool {
	return i < len(k.tokens) && k.tokens[i].Is(lexer.Bracket, "(", "[", "{")
}

func (k *sketch) closes(i int) bool {
	return i < len(k.tokens) && k.tokens[i].Is(lexer.Bracket, ")", "]", "}")
}

// balance widens first and last until no bracket between them lacks its other.
func (k *sketch) balance(first, last int) (int, int) {
	depth, least := 0, 0
	for i := first; i <= last; i++ {
		switch {
		case k.opens(i):
			depth++
		case k.closes(i):
			depth--
			least = min(least, depth)
		}
	}
	for missing := -least; missing > 0 && first > 0; {
		first--
		switch {
		case k.opens(first):
			missing--
		case k.closes(first):
			missing++
		}
	}
	for missing := depth - least; missing > 0 && last+1 < len(k.tokens); {
		last++
		switch {
		case k.closes(last):
			missing--
		case k.opens(last):
			missing++
		}
	}
	return first, last
}
