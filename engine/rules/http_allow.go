package rules

import (
	"slices"
	"strings"

	"hookrun/actions"
	"hookrun/engine"
)

// maxAllowed bounds a list of http_allow.
const maxAllowed = 1000

// httpAllow reads what the http actions of all rules may reach of networks that
// are not public, where the rule itself does not name the host.
func (l *loader) httpAllow() {
	if t, n := l.only("http_allow"); n != nil {
		l.allowed = t.keys.allowed()
		for _, item := range t.keys.list("http_allow", true) {
			l.allowedTexts = append(l.allowedTexts, item.Value)
		}
	}
}

// allowed reads the http_allow of a file or an action.
func (o object) allowed() []actions.Allowed {
	const form = "a host, *.host, host:port or a network such as 10.1.0.0/16"
	items := o.list("http_allow", true)
	if len(items) > maxAllowed {
		o.d.fail(items[maxAllowed], "", "more than %d hosts", maxAllowed)
		return nil
	}
	var all []actions.Allowed
	for _, n := range items {
		if !o.d.scalar(n, "an item of http_allow") || !o.d.plain(n, "an item of http_allow") {
			continue
		}
		v, err := actions.ParseAllowed(n.Value)
		if err != nil {
			o.d.fail(n, form, "http_allow: %v", err)
			continue
		}
		all = append(all, v)
	}
	return all
}

// noSecretAway refuses secrets in a call whose host the event chooses.
func (a action) noSecretAway(x *actions.HTTP) {
	if x.URL == nil || !x.URL.HasExpr() || !hostFromOutside(x.URL) || !x.TellsSecret() {
		return
	}
	a.d.fail(a.values["http"], `name the host here: https://host/{{ trimPrefix(body.url, "https://host/") }}`,
		"a secret would go to whatever host the event names")
}

// hostFromOutside reports whether the host does not stand in front of all
// expressions and secrets.
func hostFromOutside(t *engine.Template) bool {
	_, rest, _ := strings.Cut(t.LeadingLiteral(), "://")
	return !strings.ContainsAny(rest, "/?#")
}

// allowedFor is what an action may reach.
func (a action) allowedFor() []actions.Allowed {
	return slices.Concat(a.d.l.allowed, a.allowed())
}
