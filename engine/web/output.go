package web

import "hookrun/engine/control"

// output is a stream of a command as a page shows it.
type output struct {
	Name  string
	Head  []piece
	Cut   int64 // bytes between them that are not shown
	Tail  []piece
	Total int64 // bytes of it

	head, tail []byte // that Head and Tail are painted of
}

// newOutput makes one of what is kept, with nothing painted yet. Of a long one the
// page has the beginning and the end.
func newOutput(name string, t control.Text) *output {
	if t.IsZero() {
		return nil
	}
	head, tail, gone := []byte(t.Head), []byte(t.Tail), t.Cut
	total := int64(len(head)) + gone + int64(len(tail))
	if gone == 0 && len(tail) > 0 {
		head, tail = append(append([]byte(nil), head...), tail...), nil
	}
	if len(tail) == 0 && len(head) > 2*maxOutput {
		head, tail = head[:len(head)/2], head[len(head)/2:]
	}
	shownHead, shownTail := head, tail
	if len(tail) > 0 {
		shownHead, shownTail = firstBytes(head, maxOutput), lastBytes(tail, maxOutput)
	}
	gone += int64(len(head) - len(shownHead) + len(tail) - len(shownTail))
	o := &output{Name: name, Cut: gone, Total: total, head: shownHead}
	if gone > 0 {
		o.tail = shownTail
	}
	return o
}

// paint makes what is shown. From so many pieces on there are no colours.
func (o *output) paint(most int) {
	o.Head = colored(o.head, most)
	o.Tail = colored(o.tail, most-len(o.Head))
	o.head, o.tail = nil, nil
}

// size is what is shown of it, in bytes, before it is painted.
func (o *output) size() int { return len(o.head) + len(o.tail) }
