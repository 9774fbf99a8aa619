package engine

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
)

// Before a condition or template is compiled its tree is changed, so that it
// means what design and README say rather than what bare expr does:
//
//	body.a.b                 evalMember(state, evalMember(state, body, a), b)
//	headers["x-y"]           evalHeader(state, "x-y")
//	any(list, predicate)     any(list, evalTick(state, predicate))
//	a + b, where texts       evalAdd(state, a, b)
//	replace(s, a, b), …      our own, bounded, with the state as first argument
//	a matches "x"            evalMatches(state, a, compiled x)
//	a && b, at the top       evalPart(state, "a", a) && evalPart(state, "b", b)
//
// The state is the *evaluation of this run. No source can name it, nor our
// functions: their names hold a character that expr's lexer refuses.
const (
	stateName     = "·state"
	fnTick        = "·tick"
	fnMember      = "·member"
	fnHeader      = "·header"
	fnHasHeader   = "·hasHeader"
	fnAdd         = "·add"
	fnPart        = "·part"
	fnMatches     = "·matches"
	headersName   = "headers"
	stepsName     = "steps"
	wholeWorldVar = "$env"
)

// functions are ours, and those of expr that we replace or take away.
func functions() []expr.Option {
	type ev = *evaluation
	options := []expr.Option{
		expr.Function("match", evalMatch, new(func(string, string) bool)),
		expr.Function("changed", evalChanged, new(func(any) []any)),
		typed(fnTick, evalTick, func(args []reflect.Type) reflect.Type { return args[1] }),
		expr.Function(fnMember, evalMember),
		expr.Function(fnHeader, evalHeader, new(func(ev, string) string)),
		expr.Function(fnHasHeader, evalHasHeader, new(func(ev, string) bool)),
		typed(fnAdd, evalAdd, typeOfSum),
		typed(fnPart, evalPart, func(args []reflect.Type) reflect.Type { return args[2] }),
		expr.Function("repeat", evalRepeat, new(func(ev, string, int) string)),
		expr.Function("replace", evalReplace, new(func(ev, string, string, string) string), new(func(ev, string, string, string, int) string)),
		expr.Function("split", evalSplit, new(func(ev, string, string) []string), new(func(ev, string, string, int) []string)),
		expr.Function("splitAfter", evalSplitAfter, new(func(ev, string, string) []string), new(func(ev, string, string, int) []string)),
		expr.Function("join", evalJoin, new(func(ev, []any) string), new(func(ev, []string) string), new(func(ev, []any, string) string), new(func(ev, []string, string) string)),
		expr.Function("fromJSON", evalFromJSON, new(func(ev, string) any)),
		expr.Function("toJSON", evalToJSON, new(func(ev, any) string)),
		expr.Function("string", evalString, new(func(ev, any) string)),
		expr.Function(fnMatches, evalMatches, new(func(ev, any, any) bool)),
		expr.Function("uniq", evalUniq, new(func(ev, []any) []any), new(func(ev, []string) []any)),
		expr.DisableBuiltin("now"),
		// expr v1.17.8 leaves values on its stack where it runs a loop backwards: in
		// findLast, findLastIndex, and last(filter(…)) once it is optimized.
		expr.DisableBuiltin("findLast"),
		expr.DisableBuiltin("findLastIndex"),
		expr.Optimize(false),
	}
	for _, name := range stateful() {
		options = append(options, expr.DisableBuiltin(name))
	}
	return options
}

// typed adds a function whose type depends on those of its arguments: nil and
// the empty interface stand for one that is not known.
func typed(name string, fn func(...any) (any, error), result func(args []reflect.Type) reflect.Type) expr.Option {
	return func(c *conf.Config) {
		c.Functions[name] = &builtin.Function{
			Name: name, Func: fn,
			Validate: func(args []reflect.Type) (reflect.Type, error) { return result(args), nil },
		}
	}
}

// typeOfSum is that of evalAdd: a text where both are, else it is not known.
func typeOfSum(args []reflect.Type) reflect.Type {
	if args[1] == args[2] && args[1] != nil && args[1].Kind() == reflect.String {
		return args[1]
	}
	return reflect.TypeFor[any]()
}

// stateful are the functions that a source calls without the state and that
// get it from the patcher.
func stateful() []string {
	return []string{"repeat", "replace", "split", "splitAfter", "join", "fromJSON", "toJSON", "uniq", "string"}
}

// patcher makes the changes above. It walks from the leaves up.
type patcher struct {
	top conjunction

	// was has, for each node that took the place of another, that one; nil: nobody
	// wants to know.
	was map[ast.Node]ast.Node
}

// Visit implements ast.Visitor.
func (p *patcher) Visit(node *ast.Node) {
	before := *node
	p.patch(node)
	p.replaced(before, *node)
}

func (p *patcher) replaced(before, after ast.Node) {
	if p.was == nil || before == after {
		return
	}
	if first, ok := p.was[before]; ok {
		before = first
	}
	p.was[after] = before
}

func (p *patcher) patch(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode:
		p.member(node, n)
	case *ast.PredicateNode:
		tick := call(fnTick, n.Node)
		tick.SetLocation(n.Node.Location())
		p.replaced(n.Node, tick)
		n.Node = tick
	case *ast.BinaryNode:
		p.binary(node, n)
	case *ast.BuiltinNode:
		if n.Name == "get" && len(n.Arguments) == 2 {
			p.member(node, &ast.MemberNode{Node: n.Arguments[0], Property: n.Arguments[1]})
		}
	case *ast.CallNode:
		if name, ok := n.Callee.(*ast.IdentifierNode); ok && slices.Contains(stateful(), name.Value) && !hasState(n) {
			n.Arguments = slices.Insert(n.Arguments, 0, ast.Node(&ast.IdentifierNode{Value: stateName}))
		}
	}
}

func (p *patcher) member(node *ast.Node, n *ast.MemberNode) {
	switch {
	case isName(n.Node, headersName):
		if key, ok := n.Property.(*ast.StringNode); ok {
			n.Property = &ast.StringNode{Value: http.CanonicalHeaderKey(key.Value)} // now, rather than for each event
		}
		ast.Patch(node, call(fnHeader, n.Property))
	case isOutside(n.Node):
		ast.Patch(node, memberCall(n))
	}
}

func (p *patcher) binary(node *ast.Node, n *ast.BinaryNode) {
	switch {
	case n.Operator == "in" && isName(n.Right, headersName):
		ast.Patch(node, call(fnHasHeader, n.Left))
	case n.Operator == "+" && mayBeText(n.Left) && mayBeText(n.Right):
		ast.Patch(node, call(fnAdd, n.Left, n.Right))
	case n.Operator == "matches":
		pattern := n.Right
		if text, ok := pattern.(*ast.StringNode); ok {
			compiled, err := compilePattern(text.Value, maxOwnMatch)
			if err != nil {
				return // the checker says so
			}
			pattern = &ast.ConstantNode{Value: compiled}
		}
		ast.Patch(node, call(fnMatches, n.Left, pattern))
	case p.top.ands[n.Location().From]:
		n.Left, n.Right = p.part(n.Left), p.part(n.Right)
	}
}

// part puts evalPart around a part of the conjunction at the top.
func (p *patcher) part(n ast.Node) ast.Node {
	text, ok := p.top.parts[n.Location().From]
	if !ok {
		return n // an && of it
	}
	part := call(fnPart, &ast.StringNode{Value: text}, n)
	part.SetLocation(n.Location())
	return part
}

// forgetter makes the checker's last round look at calls anew. It takes the type
// that a call got in an earlier round for the caller's word and passes over the
// arguments, with all that is wrong in them (expr v1.17.8, checker.callNode).
type forgetter struct{}

// Visit implements ast.Visitor. Reset and ShouldRepeat put the forgetter behind
// the visitors that have neither, right before the last round.
func (forgetter) Visit(node *ast.Node) {
	if n, ok := (*node).(*ast.CallNode); ok {
		n.SetType(nil)
	}
}

func (forgetter) Reset()             {}
func (forgetter) ShouldRepeat() bool { return false }

// conjunction is an expression of the form a && b && …: where its operators and
// its parts stand, in runes, and for each part what a verdict says that it
// decides. Of two parts at one place the outer one counts. What it says of the
// whole is there of any expression.
type conjunction struct {
	ands  map[int]bool
	parts map[int]string
	whole string
}

// conjunctionOf finds the parts of src, none where it is no conjunction.
func conjunctionOf(src string) conjunction {
	c := conjunction{ands: map[int]bool{}, parts: map[int]string{}}
	tree, err := parser.Parse(src)
	if err != nil {
		return c // the compiler will say so
	}
	c.whole = isFalse(tree.Node)
	if isAnd(tree.Node) {
		c.split(tree.Node)
	}
	return c
}

// isFalse is made when rules are loaded, rather than for each event.
func isFalse(n ast.Node) string { return partIsFalse + shorten(n.String()) }

func isAnd(n ast.Node) bool {
	b, ok := n.(*ast.BinaryNode)
	return ok && (b.Operator == "&&" || b.Operator == "and")
}

func (c conjunction) split(n ast.Node) {
	if !isAnd(n) {
		c.parts[n.Location().From] = isFalse(n)
		return
	}
	c.ands[n.Location().From] = true
	c.split(n.(*ast.BinaryNode).Left)
	c.split(n.(*ast.BinaryNode).Right)
}

// memberCall is the call that reads a member of outside data.
func memberCall(n *ast.MemberNode) *ast.CallNode {
	f := &field{path: pathOf(n)}
	switch key := n.Property.(type) {
	case *ast.StringNode:
		f.key = key.Value
	case *ast.IntegerNode:
		f.key = key.Value
	default:
		return call(fnMember, n.Node, &ast.ConstantNode{Value: f}, n.Property)
	}
	return call(fnMember, n.Node, &ast.ConstantNode{Value: f})
}

// call makes fn(state, args…).
func call(fn string, args ...ast.Node) *ast.CallNode {
	return &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: fn},
		Arguments: slices.Insert(args, 0, ast.Node(&ast.IdentifierNode{Value: stateName})),
	}
}

// hasState reports whether a call was given the state: what stands between two
// comparisons, as in 1 < len(replace(…)) < 3, is visited twice.
func hasState(n *ast.CallNode) bool {
	return len(n.Arguments) > 0 && isName(n.Arguments[0], stateName)
}

func isName(n ast.Node, name string) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == name
}

// isOutside reports whether a value of this node's type may lack any member:
// it comes from the body, or from a list that may be shorter.
func isOutside(n ast.Node) bool {
	t := n.Type()
	return t == nil || t.Kind() == reflect.Interface || t.Kind() == reflect.Slice || t.Kind() == reflect.Array
}

func mayBeText(n ast.Node) bool {
	t := n.Type()
	return t == nil || t.Kind() == reflect.Interface || t.Kind() == reflect.String
}

// pathOf is a member chain as its author wrote it, near enough.
func pathOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MemberNode:
		base := pathOf(n.Node)
		switch key := n.Property.(type) {
		case *ast.StringNode:
			return base + memberText(key.Value)
		case *ast.IntegerNode:
			return fmt.Sprintf("%s[%d]", base, key.Value)
		}
		return base + "[…]"
	case *ast.CallNode:
		if isName(n.Callee, fnMember) {
			return n.Arguments[2].(*ast.ConstantNode).Value.(*field).path
		}
	case *ast.ChainNode:
		return pathOf(n.Node)
	case *ast.IdentifierNode:
		return n.Value
	case *ast.PointerNode:
		return "#"
	}
	return "(…)"
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func memberText(key string) string {
	if plainKey.MatchString(key) {
		return "." + key
	}
	return fmt.Sprintf("[%q]", key)
}

// reader walks the tree as its author wrote it: it notes which names are read,
// what is refused, and what hardly means what was meant.
type reader struct {
	lazy    []string
	notes   []note
	guarded []string // paths compared with nil, or looked for with in

	steps      []string // ids of steps that are read by their name
	stepsAtAll int      // how often steps is read otherwise
}

// note is a finding whose place is still in runes, and which a guard on path
// anywhere in the expression settles.
type note struct {
	at   int
	path string
	Finding
}

// Visit implements ast.Visitor.
func (r *reader) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		r.name(n)
	case *ast.MemberNode:
		r.member(n)
	case *ast.BinaryNode:
		r.binary(n)
	case *ast.CallNode:
		if m, ok := n.Callee.(*ast.MemberNode); ok && isOutside(m.Node) {
			r.add(m, "", Finding{Msg: fmt.Sprintf("%s is data and can't be called", pathOf(m)), Hint: methodHint(m)})
		}
	}
}

// methodHint shows how what was written as a method of a value is written.
func methodHint(m *ast.MemberNode) string {
	if name, ok := m.Property.(*ast.StringNode); ok && slices.Contains(operators(), name.Value) {
		return fmt.Sprintf("write %s %s \"…\"", pathOf(m.Node), name.Value)
	}
	return "write function(value), or value | function()"
}

func (r *reader) name(n *ast.IdentifierNode) {
	if n.Value == wholeWorldVar {
		r.add(n, "", Finding{Msg: `unknown name "$env"`})
	}
	if n.Value == stepsName {
		r.stepsAtAll++
	}
	if slices.Contains(lazyNames(), n.Value) && !slices.Contains(r.lazy, n.Value) {
		r.lazy = append(r.lazy, n.Value)
	}
}

// member notes which step is read. Its name was visited before.
func (r *reader) member(n *ast.MemberNode) {
	id, ok := n.Property.(*ast.StringNode)
	if !ok || !isName(n.Node, stepsName) {
		return
	}
	r.stepsAtAll--
	if !slices.Contains(r.steps, id.Value) {
		r.steps = append(r.steps, id.Value)
	}
}

func (r *reader) binary(n *ast.BinaryNode) {
	_, left := n.Left.(*ast.MemberNode)
	_, right := n.Right.(*ast.MemberNode)
	left, right = left && isOutside(n.Left), right && isOutside(n.Right)
	switch {
	case isNil(n.Left) || isNil(n.Right):
		r.guarded = append(r.guarded, pathOf(n.Left), pathOf(n.Right))
	case n.Operator == "in":
		if key, ok := n.Left.(*ast.StringNode); ok {
			r.guarded = append(r.guarded, pathOf(n.Right)+memberText(key.Value))
		}
	case n.Operator == "!=" && left != right:
		path := pathOf(n.Left)
		if right {
			path = pathOf(n.Right)
		}
		r.add(n, path, Finding{Warning: true,
			Msg:  fmt.Sprintf("!= is also true for every event that has no %s", path),
			Hint: fmt.Sprintf("add: %s != nil", path)})
	case n.Operator == "contains" && left && isPlural(pathOf(n.Left)):
		r.add(n, "", Finding{Warning: true,
			Msg:  fmt.Sprintf("contains looks in a text; %s looks like a list", pathOf(n.Left)),
			Hint: fmt.Sprintf("for a list write: %s in %s", n.Right, pathOf(n.Left))})
	}
}

func isNil(n ast.Node) bool {
	_, ok := n.(*ast.NilNode)
	return ok
}

// isPlural guesses whether the last name of a path is that of a list.
func isPlural(path string) bool {
	last := path[strings.LastIndex(path, ".")+1:]
	return last == "list" || strings.HasSuffix(last, "_list") ||
		strings.HasSuffix(last, "s") && !strings.HasSuffix(last, "ss") && !strings.HasSuffix(last, "us") && !strings.HasSuffix(last, "is")
}

func (r *reader) add(n ast.Node, path string, f Finding) {
	r.notes = append(r.notes, note{n.Location().From, path, f})
}

// findings are the notes that no guard has settled.
func (r *reader) findings(src string) []Finding {
	var found []Finding
	for _, n := range r.notes {
		if n.path != "" && slices.Contains(r.guarded, n.path) {
			continue
		}
		n.Offset = byteOffset(src, n.at)
		found = append(found, n.Finding)
	}
	return found
}

// evalMatch(glob, s): *, **, ?, [a-z] and {a,b}, where * stops at "/".
func evalMatch(args ...any) (any, error) {
	glob, s := args[0].(string), args[1].(string)
	ok, err := doublestar.Match(glob, s)
	if err != nil {
		return nil, fault("match: the glob is broken")
	}
	return ok, nil
}

// evalChanged(body) lists the paths that a push added, modified or removed,
// each once: GitHub's, GitLab's and Gitea's commits all have these lists.
func evalChanged(args ...any) (any, error) {
	body, _ := args[0].(map[string]any)
	commits, _ := body["commits"].([]any)
	paths, seen := []any{}, map[string]bool{}
	for _, c := range commits {
		commit, _ := c.(map[string]any)
		for _, list := range []string{"added", "modified", "removed"} {
			files, _ := commit[list].([]any)
			for _, f := range files {
				if path, ok := f.(string); ok && !seen[path] {
					seen[path] = true
					paths = append(paths, path)
				}
			}
		}
	}
	return paths, nil
}
