package web

import (
	"crypto/rand"
	"sync"
)

// saidParam is the parameter that names a notice. What it says is kept here, so
// that no link of others can have a page say something.
const saidParam = "said"

// maxNotices bounds those that are kept.
const maxNotices = 64

// notice says what came of a form, on the page that it leads to.
type notice struct {
	Bad  bool
	Text string
	Hint string
}

// notices are the newest ones.
type notices struct {
	mu    sync.Mutex         // guards what follows
	byID  map[string]*notice //
	order []string           // their ids, the oldest first
}

func newNotices() *notices { return &notices{byID: map[string]*notice{}} }

// keep keeps a notice and returns its id.
func (n *notices) keep(what notice) string {
	id := rand.Text()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.order) == maxNotices {
		delete(n.byID, n.order[0])
		n.order = n.order[1:]
	}
	n.byID[id] = &what
	n.order = append(n.order, id)
	return id
}

// of is the notice of an id; nil where there is none.
func (n *notices) of(id string) *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byID[id]
}
