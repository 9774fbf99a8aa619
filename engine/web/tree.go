package web

import (
	"fmt"

	"hookrun/engine"
)

// nodeMark is the sign that stands before a part of a condition: colours alone
// are not for everybody.
func nodeMark(n *engine.Node) string {
	switch n.State {
	case engine.NodeTrue:
		return "✓"
	case engine.NodeFalse:
		return "✗"
	case engine.NodeMissing:
		return "∅"
	case engine.NodeError:
		return "!"
	case engine.NodeUnreached:
		return "…"
	}
	return "="
}

func nodeTone(n *engine.Node) string {
	switch n.State {
	case engine.NodeTrue:
		return toneOK
	case engine.NodeFalse:
		return toneBad
	case engine.NodeMissing, engine.NodeError:
		return toneWarn
	}
	return toneNone
}

// nodeSays is what a part came to, in words.
func nodeSays(n *engine.Node) string {
	said := ""
	switch n.State {
	case engine.NodeMissing:
		said = "is not there"
	case engine.NodeError:
		said = n.Err
	case engine.NodeUnreached:
		said = "not asked"
	case engine.NodeValue:
		said = n.Value
	default:
		said = string(n.State)
	}
	if n.Rounds > 1 {
		said += fmt.Sprintf(" (asked %s times, true %s)", count(n.Rounds), count(n.Trues))
	}
	return plain(said)
}
