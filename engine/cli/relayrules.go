package cli

import (
	"sync"

	"hookrun/relay/account"
	"hookrun/relay/filter"
)

// maxOutputRules bounds the rules of outputs that are kept compiled. Rules of an
// account that was replaced are never asked for again.
const maxOutputRules = 4096

// outputRules compiles the rules of outputs, once each.
type outputRules struct {
	mu       sync.Mutex // guards compiled
	compiled map[*account.Rule]*filter.Filter
}

// match reports whether an output's rules take a webhook.
func (o *outputRules) match(rule *account.Rule, l *account.Log) (bool, error) {
	f, err := o.compile(rule)
	if err != nil {
		return false, err
	}
	return f.Match(filter.Webhook{Method: l.Method, Path: l.Path, Query: l.Query, Header: l.Header, Body: l.Body, IP: l.IP}), nil
}

func (o *outputRules) compile(rule *account.Rule) (*filter.Filter, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.compiled[rule]; f != nil {
		return f, nil
	}
	f, err := filter.Compile(rule)
	if err != nil {
		return nil, err
	}
	if o.compiled == nil || len(o.compiled) == maxOutputRules {
		o.compiled = make(map[*account.Rule]*filter.Filter)
	}
	o.compiled[rule] = f
	return f, nil
}
