package filter

import (
	"net/http"

	"hookrun/relay/account"
)

// Webhook is what a Filter looks at. It is not changed.
type Webhook struct {
	Method string
	Path   string // percent-encoded as it came
	Query  string // raw, without "?"
	Header http.Header
	Body   []byte
	IP     string // of the sender, without a port
}

// maxWork bounds what one call of Match costs, in steps of a few nanoseconds.
const maxWork = 256 << 20

// Filter is a compiled rule. It may be used by many goroutines at once. Make one
// with Compile.
type Filter struct {
	root  node     // nil: everything matches
	paths []string // of the payload that the rule looks at, each once
}

// Compile checks a rule and makes it ready. No rule matches everything. An
// error wraps account.ErrInvalid and says where in the tree it is about:
// rules.and[1].match.
func Compile(r *account.Rule) (*Filter, error) {
	f := &Filter{}
	if r == nil {
		return f, nil
	}
	c := compiler{paths: map[string]int{}}
	root, err := c.rule(r, "rules", 1)
	if err != nil {
		return nil, err
	}
	f.root = root
	f.paths = make([]string, len(c.paths))
	for path, i := range c.paths {
		f.paths[i] = path
	}
	return f, nil
}

// Match reports whether the webhook is one that the rule lets through.
func (f *Filter) Match(w Webhook) bool {
	if f.root == nil {
		return true
	}
	return f.root.eval(&look{Webhook: w, paths: f.paths, work: maxWork}) == yes
}

// verdict is what a part of a rule says of a webhook.
type verdict int

const (
	unknown verdict = iota
	no
	yes
)

func verdictOf(ok bool) verdict {
	if ok {
		return yes
	}
	return no
}

// node is a part of a rule.
type node interface{ eval(l *look) verdict }

// all is yes where all of it are, and no where one is.
type all []node

func (a all) eval(l *look) verdict {
	v := yes
	for _, n := range a {
		switch n.eval(l) {
		case no:
			return no
		case unknown:
			v = unknown
		}
	}
	return v
}

// oneOf is yes where one of it is, and no where none is.
type oneOf []node

func (o oneOf) eval(l *look) verdict {
	v := no
	for _, n := range o {
		switch n.eval(l) {
		case yes:
			return yes
		case unknown:
			v = unknown
		}
	}
	return v
}

type not struct{ node }

func (n not) eval(l *look) verdict {
	switch n.node.eval(l) {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// leaf compares the values of a parameter.
type leaf struct {
	from source
	test func(l *look, value string) bool
	cost func(l *look, value string) int64 // of a test, in steps
}

func (m leaf) eval(l *look) verdict {
	if l.work == 0 {
		return unknown
	}
	found := unknown
	for _, value := range m.from(l) {
		if !l.pay(m.cost(l, value)) {
			return unknown
		}
		switch v := verdictOf(m.test(l, value)); {
		case found == unknown:
			found = v
		case found != v:
			return unknown
		}
	}
	return found
}

// look is one webhook being looked at.
type look struct {
	Webhook
	paths   []string
	payload [][]string // the values at paths; nil: not read yet
	body    string     // as text; "" until it is asked for
	work    int64      // steps that are left
}

// pay takes steps from those that are left. It reports whether there are enough;
// once there are not, there are none.
func (l *look) pay(steps int64) bool {
	if steps >= l.work {
		l.work = 0
		return false
	}
	l.work -= steps
	return true
}
