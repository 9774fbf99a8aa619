package rules

import (
	"net/http"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// maxRelayBody bounds the body of a static response, in bytes.
const maxRelayBody = 250 << 10

// maxRelayRate bounds a rate, in webhooks a second.
const maxRelayRate = 1_000_000

// maxHeaderText bounds one value of a header, in bytes.
const maxHeaderText = 8 << 10

// RelayInput is a public end that takes webhooks.
type RelayInput struct {
	Name        string // unique in the bucket
	ID          string // lower-case UUID, unique in the file; "": the relay finds one
	Description string

	StatusCode int // of the static response, as are Body and Header
	Body       string
	Header     http.Header // names in canonical form

	// ResponseFromOutput says whose answer the sender gets: the name or the id of an
	// output of the bucket, or AnyRelayOutput. "": the static response.
	ResponseFromOutput string

	CustomDomain    string // in lower case; "": none
	PathPrefix      string // begins with a slash, or ""
	StripPathPrefix bool
	Rate            int // webhooks a second; 0: no limit of its own
}

// relayInputs reads the inputs of a bucket. outputs are its own.
func (o object) relayInputs(outputs []RelayOutput) []RelayInput {
	if o.values["inputs"] == nil {
		return []RelayInput{{Name: DefaultRelayInput, StatusCode: http.StatusOK}}
	}
	var all []RelayInput
	names := map[string]string{}
	for _, n := range o.ends("inputs") {
		v, ok := o.d.formed(n, "an input", "- name: "+DefaultRelayInput, relayInputKeys()...)
		if ok && v.needs("an input", "- name: "+DefaultRelayInput, "name") {
			v.nameIn(names)
			all = append(all, v.relayInput(outputs))
		}
	}
	return all
}

// ends are the inputs or outputs of a bucket.
func (o object) ends(key string) []*yaml.Node {
	items := o.list(key, false)
	if len(items) > maxRelayEnds {
		o.d.fail(items[maxRelayEnds], "make another bucket", "more than %d %s", maxRelayEnds, key)
		return nil
	}
	return items
}

// nameIn checks a name that is unique among those of a bucket, by place.
func (o object) nameIn(places map[string]string) {
	n := o.values["name"]
	switch {
	case !o.d.scalar(n, "name") || !o.d.name(n, "name"):
	case places[n.Value] != "":
		o.d.fail(n, "", "the name %q is taken in %s already", n.Value, places[n.Value])
	case n.Value == AnyRelayOutput:
		o.d.fail(n, "take another", "the name %s stands for whichever output answers first", AnyRelayOutput)
	case relayID.MatchString(n.Value):
		o.d.fail(n, "clients tell names from ids by that", "a name cannot look like an id")
	default:
		places[n.Value] = o.d.at(n)
	}
}

func relayInputKeys() []string {
	return []string{"name", "id", "description", "status_code", "body", "headers", "response_from_output", "custom_domain", "path_prefix", "strip_path_prefix", "rate"}
}

func (o object) relayInput(outputs []RelayOutput) RelayInput {
	const toSenders = "whoever can send to the input would get it"
	in := RelayInput{
		Name:               o.values["name"].Value,
		ID:                 o.relayID("an input"),
		Description:        o.description(),
		StatusCode:         o.between("status_code", 200, 599, http.StatusOK, "200"),
		Body:               o.fixed("body", toSenders),
		Header:             o.relayHeaders(toSenders),
		ResponseFromOutput: o.responseFrom(outputs),
		CustomDomain:       o.customDomain(),
		PathPrefix:         o.pathPrefix(),
		StripPathPrefix:    o.flag("strip_path_prefix", false),
		Rate:               o.between("rate", 0, maxRelayRate, 0, "webhooks a second; leave it out for no limit"),
	}
	if len(in.Body) > maxRelayBody {
		o.d.fail(o.values["body"], "", "body is longer than %d KiB", maxRelayBody>>10)
	}
	o.endpoint(in)
	return in
}

// responseFrom reads whose answer senders get.
func (o object) responseFrom(outputs []RelayOutput) string {
	text, n := o.text("response_from_output"), o.values["response_from_output"]
	if text == "" || text == AnyRelayOutput {
		return text
	}
	names := []string{AnyRelayOutput}
	for _, out := range outputs {
		if text == out.Name || text == out.ID {
			return text
		}
		names = append(names, out.Name)
	}
	hint := engine.Nearest(text, names)
	if hint == "" {
		hint = "the name or id of one of its outputs, or " + AnyRelayOutput
	}
	o.d.fail(n, hint, "the bucket has no output %s", show(n))
	return ""
}

// hostName is a name of the DNS as it goes over the wire, in lower case.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*$`)

// maxHost bounds a host name (RFC 1035, 2.3.4).
const maxHost = 253

// customDomain reads a host that inputs are told apart by.
func (o object) customDomain() string {
	text, n := o.text("custom_domain"), o.values["custom_domain"]
	if text == "" {
		return ""
	}
	return o.d.host(n, "custom_domain")
}

// host checks the name of a host and returns it in lower case, "" where it is none.
func (d *decoder) host(n *yaml.Node, what string) string {
	host := strings.ToLower(n.Value)
	bare, hint := strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "hooks.example.org"
	if end := strings.IndexAny(bare, ":/?#"); end >= 0 {
		bare = bare[:end]
	}
	switch {
	case hostName.MatchString(host) && len(host) <= maxHost:
		return host
	case bare != host && hostName.MatchString(bare):
		hint = "write " + bare
	case strings.ContainsFunc(host, func(r rune) bool { return r > '~' }):
		hint = "write it as the DNS has it: xn--…"
	}
	d.fail(n, hint, "%s must be the name of a host alone, not %s", what, show(n))
	return ""
}

// pathPrefix reads what paths of an input begin with.
func (o object) pathPrefix() string {
	text, n := o.text("path_prefix"), o.values["path_prefix"]
	switch {
	case text == "":
	case !strings.HasPrefix(text, "/"):
		o.d.fail(n, "write /"+text, "path_prefix must begin with a slash")
	case len(text) > maxRelayText || strings.ContainsAny(text, "?# ") || strings.ContainsFunc(text, isControl):
		o.d.fail(n, "/github", "path_prefix cannot be %s", show(n))
	default:
		return text
	}
	return ""
}

// endpoint checks that no other input of the file is at the same place.
func (o object) endpoint(in RelayInput) {
	switch {
	case in.CustomDomain != "":
		at := in.CustomDomain + strings.TrimSuffix(in.PathPrefix, "/")
		o.d.claim(o.values["custom_domain"], "endpoint", at, "%s", at)
	case in.PathPrefix != "":
		o.d.warn(o.keyNode("path_prefix"), "add custom_domain, or leave it out", "path_prefix does nothing without custom_domain")
	}
	if in.StripPathPrefix && in.PathPrefix == "" && o.values["path_prefix"] == nil {
		o.d.warn(o.keyNode("strip_path_prefix"), "add path_prefix, or leave it out", "strip_path_prefix does nothing without path_prefix")
	}
}

// relayHeaders reads headers whose values are texts or lists of texts. Secrets
// can stand in them where noSecret, which says why not, is "".
func (o object) relayHeaders(noSecret string) http.Header {
	v, ok := o.part("headers", "{X-A: [b]}", o.anyKeys("headers")...)
	if !ok || len(v.keys) == 0 {
		return nil
	}
	if len(v.keys) > maxRespondHeaders {
		o.d.fail(v.node, "", "more than %d headers", maxRespondHeaders)
		return nil
	}
	all := http.Header{}
	for _, key := range v.keys {
		name := http.CanonicalHeaderKey(key.Value)
		switch {
		case !token.MatchString(key.Value):
			o.d.fail(key, "", "%s is no name of a header", show(key))
		case ownHeader(name):
			o.d.fail(key, "hookrun sets it itself", "the header %s cannot be set", name)
		case all[name] != nil:
			o.d.fail(key, "write the values as one list", "the header %s is there twice", name)
		default:
			all[name] = v.headerValues(key.Value, noSecret)
		}
	}
	return all
}

// headerValues reads the values of one header.
func (o object) headerValues(key, noSecret string) []string {
	values := []string{}
	for _, n := range o.list(key, true) {
		if !o.d.scalar(n, "a value of "+key) {
			continue
		}
		if noSecret != "" && secretRef.MatchString(n.Value) {
			o.d.fail(n, noSecret, "no secret can stand in a header of the answer")
			continue
		}
		text, ok := n.Value, true
		if noSecret == "" {
			text, ok = o.d.put(n, "a value of "+key)
		}
		switch {
		case !ok:
		case strings.ContainsAny(text, "\r\n\x00"):
			o.d.fail(n, "", "a value of %s has a line break or NUL in it", key)
		case len(text) > maxHeaderText:
			o.d.fail(n, "", "a value of %s is longer than %d KiB", key, maxHeaderText>>10)
		default:
			values = append(values, text)
		}
	}
	return values
}
