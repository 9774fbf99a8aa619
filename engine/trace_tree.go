package engine

import (
	"errors"
	"slices"
)

// writer makes the tree of a traced evaluation.
type writer struct {
	doc    *document
	scope  *Scope
	mask   veil
	notes  *notes
	failed []*term // from the root to the part that failed
	err    *EvalError
}

// alone is the tree of a condition of which nothing more is known than what it
// came to.
func (w *writer) alone(src string, a answer) *Node {
	n := &Node{Text: w.mask.string(cutText(src, maxNodeText)), State: NodeError, Decided: true}
	if a.err != nil {
		n.Err = w.message(a.err)
		return n
	}
	w.state(n, a.value)
	n.Decided = n.State == NodeFalse
	return n
}

// tree is the tree below root of a condition that came to value, or to err.
func (w *writer) tree(root *term, value any, err error) *Node {
	if err != nil {
		w.err, _ = errors.AsType[*EvalError](err)
		w.failed = w.failing(root, 0)
	}
	n := w.node(root, 0, true)
	switch {
	case value == false:
		n.State = NodeFalse // of a field that is nothing, too
		decide(n)
	case err != nil:
		decideError(n)
	}
	return n
}

// failing is the way to the part that failed: each of its steps was begun and
// is not finished, and the error is placed in it.
func (w *writer) failing(p *term, since int) []*term {
	at := runeOffset(w.err.Src, w.err.Offset)
	way := []*term{p}
	if w.notes.all[p.id].last > since {
		return way // the root, whose answer is not one
	}
	if p.predicate {
		since = max(since, w.notes.all[p.id].last)
	}
	for _, q := range p.parts {
		switch {
		case w.finished(q, since):
		case at >= q.from && at < q.to, slices.Contains(q.ends, at) && w.begun(q, since):
			return append(way, w.failing(q, since)...)
		}
	}
	return way
}

// finished reports whether p was evaluated after the note since. Of the body of a
// predicate nobody knows: the round that failed is not noted.
func (w *writer) finished(p *term, since int) bool {
	return !p.predicate && w.notes.all[p.id].last > since
}

func (w *writer) begun(p *term, since int) bool {
	if p.predicate {
		since = max(since, w.notes.all[p.id].last)
	}
	return len(p.parts) > 0 && (w.finished(p.parts[0], since) || w.begun(p.parts[0], since))
}

// node is the tree below p, which was evaluated if reached says so and a note
// after since was taken.
func (w *writer) node(p *term, since int, reached bool) *Node {
	at := w.notes.all[p.id]
	n := &Node{Text: w.mask.string(p.text), Offset: p.offset, Op: p.op, Path: w.mask.string(p.path), State: NodeUnreached, Each: p.predicate}
	if p.looped {
		n.Rounds, n.Trues = at.count, at.trues
	}
	failed := reached && slices.Contains(w.failed, p)
	switch {
	case failed:
		n.State = NodeError
		if p == w.failed[len(w.failed)-1] {
			n.Err = w.message(w.err)
		}
	case reached && at.last > since:
		w.state(n, at.value)
		if p.covered {
			n.cover()
		}
		if at.missing || w.absent(p) {
			n.State, n.Value = NodeMissing, ""
		}
	default:
		reached = false
	}
	switch {
	case p.predicate && failed:
		since = max(since, at.last)
	case p.predicate:
		since = max(since, at.before)
	}
	for _, q := range p.parts {
		n.Parts = append(n.Parts, w.node(q, since, reached))
	}
	return n
}

// cover masks a value.
func (n *Node) cover() {
	switch {
	case n.State != NodeValue || n.Kind == "nothing" || n.Value == `""` || n.Value == "[]":
	case n.Kind == "text":
		n.Value = `"` + Masked + `"`
	case n.Kind == "list":
		n.Value = `["` + Masked + `"]`
	default:
		n.Value = Masked
	}
}

// size is about how many bytes a tree takes as JSON.
func (n *Node) size() int {
	const names = 80 // of its fields
	size := names + len(n.Text) + len(n.Path) + len(n.Value) + len(n.Err)
	for _, part := range n.Parts {
		size += part.size()
	}
	return size
}

func (w *writer) state(n *Node, v any) {
	switch v {
	case true:
		n.State = NodeTrue
		return
	case false:
		n.State = NodeFalse
		return
	}
	n.State, n.Kind, n.Value = NodeValue, nodeKind(v), valueText(w.doc, w.mask, v)
}

// absent reports whether p is a header, a value of the query or of meta that is
// not there: it is "" then.
func (w *writer) absent(p *term) bool {
	if p.key == "" {
		return false
	}
	there := true
	switch p.base {
	case headersName:
		there = w.scope.headerValues(p.key) != nil
	case "query":
		_, there = w.scope.queryMap()[p.key]
	case "meta":
		_, there = w.scope.event.Meta[p.key]
	}
	return !there
}

// message is an error as a Node has it: the place is the Node's.
func (w *writer) message(err error) string {
	e, ok := errors.AsType[*EvalError](err)
	if !ok {
		return w.mask.string(err.Error())
	}
	if e.Hint == "" {
		return w.mask.string(e.Msg)
	}
	return w.mask.string(e.Msg + " (" + e.Hint + ")")
}

// runeOffset turns a position in bytes into one in runes.
func runeOffset(src string, offset int) int { return len([]rune(src[:offset])) }

// decide marks the smallest parts of n that made it what it is: each of them
// alone, or all together.
func decide(n *Node) {
	for _, part := range deciders(n) {
		if part == n {
			n.Decided = true
			return
		}
		decide(part)
	}
}

// deciders are the parts of n that decided, or n itself.
func deciders(n *Node) []*Node {
	if n.State != NodeTrue && n.State != NodeFalse || len(n.Parts) == 0 {
		return []*Node{n}
	}
	last := n.Parts[len(n.Parts)-1]
	switch {
	case n.Op == "&&" && n.State == NodeFalse, n.Op == "||" && n.State == NodeTrue:
		for _, part := range n.Parts {
			if part.State == n.State {
				return []*Node{part}
			}
		}
	case n.Op == "&&", n.Op == "||", n.Op == "not":
		return n.Parts
	case n.Op == "?:":
		return []*Node{n.branch()}
	case n.Op == "let", n.Op == ";":
		return []*Node{last}
	}
	return []*Node{n}
}

// branch is the one that a condition with ? and : took.
func (n *Node) branch() *Node {
	if n.Parts[0].State == NodeFalse {
		return n.Parts[2]
	}
	return n.Parts[1]
}

// decideError marks the part that failed. Where && or the like had to do with
// what is neither true nor false, that is it.
func decideError(n *Node) {
	for _, part := range n.Parts {
		if part.State == NodeError {
			decideError(part)
			return
		}
	}
	if slices.Contains([]string{"&&", "||", "not", "?:"}, n.Op) {
		for _, part := range n.Parts {
			if part.State == NodeValue || part.State == NodeMissing {
				part.Decided = true
				return
			}
		}
	}
	n.Decided = true
}

// near says how near to true a condition came: 1 is true, 0 is nothing in
// common. Parts that were not asked count half.
func near(n *Node) float64 {
	switch n.State {
	case NodeTrue:
		return 1
	case NodeUnreached:
		return 0.5
	case NodeFalse:
	default:
		return 0
	}
	if len(n.Parts) == 0 {
		return 0
	}
	switch n.Op {
	case "&&":
		sum := 0.0
		for _, part := range n.Parts {
			sum += near(part)
		}
		return sum / float64(len(n.Parts))
	case "||":
		best := 0.0
		for _, part := range n.Parts {
			best = max(best, near(part))
		}
		return best
	case "not":
		return 1 - near(n.Parts[0])
	case "?:":
		return near(n.branch())
	case "let", ";":
		return near(n.Parts[len(n.Parts)-1])
	}
	return 0
}
