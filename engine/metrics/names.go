package metrics

import "sync"

// names are those that have a label of their own: at most so many.
type names struct {
	most, mostGuests int

	mu     sync.Mutex      // guards what follows
	known  map[string]bool // true: a guest
	guests int
}

// newNames makes names for at most so many, of which so many may be guests, which
// nobody has reserved.
func newNames(most, guests int) *names {
	return &names{most: most, mostGuests: guests, known: map[string]bool{}}
}

// label is the name itself, or Other where there are too many of them.
func (n *names) label(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.known[name]; ok {
		return name
	}
	if n.guests == n.mostGuests || len(n.known) == n.most {
		return Other
	}
	n.known[name] = true
	n.guests++
	return name
}

// reserve has a name counted by itself as long as there is room, however many
// others were seen first.
func (n *names) reserve(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	guest, ok := n.known[name]
	switch {
	case guest:
		n.guests--
	case ok, len(n.known) == n.most:
		return
	}
	n.known[name] = false
}
