package engine

import (
	"fmt"
	"slices"
	"strings"
)

// String draws the tree, a line for each part that is worth one:
//
//	method == "POST" && body.ref == "refs/heads/main"  → false
//	├─ method == "POST"  → true
//	└─ body.ref == "refs/heads/main"  → false: body.ref is "refs/heads/dev"
func (n *Node) String() string { return strings.Join(n.Lines(), "\n") }

// Lines are those of String.
func (n *Node) Lines() []string { return n.lines(shorten) }

// WholeLines are Lines with all of each part that is known, be it as long as it
// likes.
func (n *Node) WholeLines() []string { return n.lines(oneLine) }

func (n *Node) lines(text func(src string) string) []string {
	lines := []string{n.line(text)}
	below := n.below()
	for i, part := range below {
		first, rest := "├─ ", "│  "
		if i == len(below)-1 {
			first, rest = "└─ ", "   "
		}
		for j, line := range part.lines(text) {
			if j == 0 {
				lines = append(lines, first+line)
				continue
			}
			lines = append(lines, rest+line)
		}
	}
	return lines
}

// WholeLine is the part and what it came to, without what is below it.
func (n *Node) WholeLine() string { return n.line(oneLine) }

func (n *Node) line(text func(src string) string) string {
	return text(n.Text) + "  → " + n.outcome(text)
}

// oneLine is an expression on one line.
func oneLine(src string) string { return strings.Join(strings.Fields(src), " ") }

// Deciders are the parts that decided, in order: see Decided.
func (n *Node) Deciders() []*Node {
	if n.Decided {
		return []*Node{n}
	}
	var all []*Node
	for _, part := range n.Parts {
		all = append(all, part.Deciders()...)
	}
	return all
}

// outcome is what n came to and, where it is not true, the values that made it so;
// text is how parts of it are written.
func (n *Node) outcome(text func(src string) string) string {
	var said string
	switch n.State {
	case NodeUnreached:
		if n.Rounds > 0 {
			return fmt.Sprintf("not asked in the last round (true in %d of %d)", n.Trues, n.Rounds)
		}
		return "not asked"
	case NodeTrue:
		said = "true"
	case NodeMissing, NodeValue:
		said = strings.TrimPrefix(n.value(), "is ")
	case NodeFalse:
		said = "false"
		if facts := n.facts(text); len(facts) > 0 {
			said += ": " + strings.Join(facts, ", ")
		}
	case NodeError:
		if n.Err == "" {
			return "error"
		}
		said = strings.Join(slices.Concat([]string{"error: " + n.Err}, n.facts(text)), "; ")
	}
	if n.Rounds > 1 && (n.State == NodeTrue || n.State == NodeFalse) {
		said += fmt.Sprintf(" (true in %d of %d)", n.Trues, n.Rounds)
	}
	return said
}

// value says what the value of n is.
func (n *Node) value() string {
	switch {
	case n.State == NodeMissing:
		return "is not there"
	case n.State == NodeValue:
		return "is " + n.Value
	}
	return "is " + string(n.State)
}

// facts are the values that n was made of.
func (n *Node) facts(text func(src string) string) []string {
	if n.State == NodeFalse && n.Kind != "" { // the whole condition is a field
		return []string{"it " + n.field()}
	}
	if n.quantifies() && n.State == NodeFalse {
		return n.counted()
	}
	var facts []string
	for _, part := range n.Parts {
		if part.State != NodeUnreached && !n.lists(part) {
			facts = append(facts, text(part.Text)+" "+part.value())
		}
	}
	return facts
}

// field says what a field that is nothing is.
func (n *Node) field() string {
	if n.Value == "" {
		return "is not there"
	}
	return "is " + n.Value
}

// quantifies reports whether n asks how many elements of a list are so.
func (n *Node) quantifies() bool {
	return slices.Contains([]string{"any", "all", "none", "one"}, n.Op) && len(n.Parts) > 0 && n.Parts[len(n.Parts)-1].Each
}

// counted says of how many elements it was so.
func (n *Node) counted() []string {
	if n.Rounds > 0 { // looped: each round has a list of its own
		return nil
	}
	each := n.Parts[len(n.Parts)-1]
	switch {
	case each.Rounds == 0:
		return []string{"the list is empty"}
	case n.Op == "all":
		return []string{fmt.Sprintf("number %d is not", each.Rounds)}
	case n.Op == "none":
		return []string{fmt.Sprintf("number %d is", each.Rounds)}
	case n.Op == "any":
		return []string{fmt.Sprintf("none of %d", each.Rounds)}
	}
	return []string{fmt.Sprintf("%d of %d are", each.Trues, each.Rounds)}
}

// lists reports whether a part has a line of its own below n, in place of a word
// among n's facts.
func (n *Node) lists(part *Node) bool {
	switch n.Op {
	case "&&", "||", "not", "?:", ";":
		return true
	case "let":
		return part == n.Parts[len(n.Parts)-1]
	}
	return part.Each || part.State == NodeError || len(part.Parts) > 0 && (part.State == NodeTrue || part.State == NodeFalse)
}

// below are the parts that have a line of their own below n: also those of parts
// that have none.
func (n *Node) below() []*Node {
	var all []*Node
	for _, part := range n.Parts {
		if n.lists(part) {
			all = append(all, part)
			continue
		}
		all = append(all, part.below()...)
	}
	return all
}
