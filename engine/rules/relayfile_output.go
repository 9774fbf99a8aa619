package rules

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of what is tried with an output.
const (
	maxRelayRetries = 100
	maxRelayTimeout = 180 * time.Second

	// DefaultRelayTimeout is how long an output that says nothing else may take.
	DefaultRelayTimeout = 10 * time.Second
)

// RelayOutput is where webhooks of a bucket go.
type RelayOutput struct {
	Name            string // unique in the bucket
	ID              string // lower-case UUID, unique in the file; "": the relay finds one
	Destination     string // URL; a secret may be part of it
	Internal        bool   // it goes to subscribers; else the relay itself sends it
	Disabled        bool
	LockPath        bool          // the path of the request is not appended to Destination
	Header          http.Header   // set in place of the request's, names in canonical form; secrets may be part of it
	Retries         int           // after the first three tries; -1: no second try
	Timeout         time.Duration // whole seconds; 0: the relay's own
	TLSVerification bool
	Rules           *RelayRule // nil: all webhooks
}

// relayOutputs reads the outputs of a bucket.
func (o object) relayOutputs() []RelayOutput {
	const example = "- {name: local, destination: http://localhost:3000/hook}"
	var all []RelayOutput
	names := map[string]string{}
	for _, n := range o.ends("outputs") {
		v, ok := o.d.formed(n, "an output", example, relayOutputKeys()...)
		if !ok || !v.needs("an output", example, "name", "destination") {
			continue
		}
		v.nameIn(names)
		all = append(all, v.relayOutput())
	}
	return all
}

func relayOutputKeys() []string {
	return []string{"name", "id", "destination", "internal", "disabled", "lock_path", "headers", "retries", "timeout", "tls_verification", "rules"}
}

func (o object) relayOutput() RelayOutput {
	out := RelayOutput{
		Name:            o.values["name"].Value,
		ID:              o.relayID("an output"),
		Destination:     o.destination(),
		Internal:        o.flag("internal", true),
		Disabled:        o.flag("disabled", false),
		LockPath:        o.flag("lock_path", false),
		Header:          o.relayHeaders(""),
		Retries:         o.between("retries", -1, maxRelayRetries, 0, "-1 for a single try, 0 for three, 2 for five"),
		Timeout:         o.relayTimeout(),
		TLSVerification: o.flag("tls_verification", true),
	}
	if n := o.values["rules"]; n != nil {
		r := ruleTree{d: o.d}
		out.Rules = r.rule(n, 1)
	}
	return out
}

// destination reads where an output sends. No message shows what may be a secret.
func (o object) destination() string {
	n := o.values["destination"]
	if !o.d.scalar(n, "destination") {
		return ""
	}
	text, ok := o.d.put(n, "destination")
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil && text != n.Value:
		o.d.fail(n, "http://localhost:3000/hook", "destination is no URL")
	case err != nil:
		o.d.fail(n, "http://localhost:3000/hook", "destination is wrong: %v", unwrapURL(err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Hostname() == "":
		o.d.fail(n, "http://localhost:3000/hook", "destination must begin with http:// or https:// and a host")
	case u.User != nil:
		o.d.fail(n, `write headers: {Authorization: "Bearer ${env:TOKEN}"}`, "no user or password can stand in a URL")
	case u.Fragment != "":
		o.d.fail(n, "leave out what begins with #: it never goes over the wire", "destination has a fragment")
	case len(text) > maxHeaderText || strings.ContainsFunc(text, isControl):
		o.d.fail(n, "", "destination is too long, or has a control character in it")
	default:
		return text
	}
	return ""
}

// relayTimeout reads how long one try may take.
func (o object) relayTimeout() time.Duration {
	n := o.values["timeout"]
	if n != nil && (n.Value == "0" || n.Value == "0s") {
		return 0
	}
	t := o.duration("timeout", DefaultRelayTimeout)
	switch {
	case t > maxRelayTimeout:
		o.d.fail(n, "", "timeout must be at most %d seconds", maxRelayTimeout/time.Second)
	case t%time.Second != 0:
		o.d.fail(n, "1s, 30s or 2m", "timeout must be whole seconds, not %s", show(n))
	}
	return t
}
