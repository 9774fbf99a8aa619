package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Bounds of what a relay's file sets up.
const (
	maxRelayItems = 10_000 // buckets, or tokens
	maxRelayEnds  = 100    // inputs, or outputs, of one bucket
	maxRelayName  = 128    // bytes of a bucket's name, or a key
	maxRelayText  = 1024   // bytes of a description
)

// DefaultRelayInput is the name of the input of a bucket that names none. Clients
// find it by this name.
const DefaultRelayInput = "Default public endpoint"

// AnyRelayOutput in RelayInput.ResponseFromOutput stands for whichever output
// answers first.
const AnyRelayOutput = "anyOutput"

// RelayBucket groups inputs, where webhooks come in, and outputs, where they go.
type RelayBucket struct {
	Name          string // unique
	Description   string
	Stream        bool // webhooks go to subscribers
	Durable       bool // senders get their 2xx only once the webhook is on disk
	LargeWebhooks bool // bodies of up to 64 MiB in place of 3 MiB
	Auth          RelayAuth
	Inputs        []RelayInput  // at least one
	Outputs       []RelayOutput // may be none
}

// RelayAuth is what senders to a bucket have to show.
type RelayAuth struct {
	Type     string // "none", "basic" or "token"
	Username string // of basic
	Password engine.Secret
	Token    engine.Secret // of token
}

var (
	relayNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9~_.-]+$`)
	relayID       = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// relayBuckets reads the buckets of the file.
func (o object) relayBuckets() []RelayBucket {
	var all []RelayBucket
	items := o.list("buckets", false)
	if len(items) > maxRelayItems {
		o.d.fail(items[maxRelayItems], "", "more than %d buckets", maxRelayItems)
		return nil
	}
	for _, n := range items {
		v, ok := o.d.formed(n, "a bucket", "- name: deploys", relayBucketKeys()...)
		if ok && v.needs("a bucket", "- name: deploys", "name") {
			all = append(all, v.relayBucket())
		}
	}
	return all
}

func relayBucketKeys() []string {
	return []string{"name", "description", "stream", "durable", "large_webhooks", "auth", "inputs", "outputs"}
}

func (o object) relayBucket() RelayBucket {
	b := RelayBucket{
		Name:          o.relayName("name", "the name of a bucket"),
		Description:   o.description(),
		Stream:        o.flag("stream", true),
		Durable:       o.flag("durable", true),
		LargeWebhooks: o.flag("large_webhooks", false),
		Auth:          o.relayAuth(),
		Outputs:       o.relayOutputs(),
	}
	switch {
	case relayID.MatchString(b.Name):
		o.d.fail(o.values["name"], "clients tell names from ids by that", "the name of a bucket cannot look like an id")
	case b.Name != "":
		o.d.claim(o.values["name"], "bucket", b.Name, "the name %q", b.Name)
	}
	b.Inputs = o.relayInputs(b.Outputs)
	return b
}

// relayName reads a name that can stand in URLs, "" where it is wrong.
func (o object) relayName(key, what string) string {
	n := o.values[key]
	switch {
	case !o.d.scalar(n, key):
	case len(n.Value) > maxRelayName:
		o.d.fail(n, "", "%s is longer than %d bytes", what, maxRelayName)
	case !relayNameForm.MatchString(n.Value):
		o.d.fail(n, "two or more letters, digits, ~ _ . or -, the first a letter or digit", "%s cannot be %s", what, show(n))
	default:
		return n.Value
	}
	return ""
}

// relayID reads an id, "" where it is not there or wrong.
func (o object) relayID(what string) string {
	n := o.values["id"]
	switch {
	case n == nil || !o.d.scalar(n, "id"):
	case !relayID.MatchString(n.Value) && relayID.MatchString(strings.ToLower(n.Value)):
		o.d.fail(n, "write "+strings.ToLower(n.Value), "the id of %s must be in lower case", what)
	case !relayID.MatchString(n.Value):
		o.d.fail(n, "leave it out, and the relay finds one: ids are UUIDs", "the id of %s cannot be %s", what, show(n))
	default:
		o.d.claim(n, "id", n.Value, "the id %s", n.Value)
		return n.Value
	}
	return ""
}

// description reads a text for people.
func (o object) description() string {
	text, n := o.fixed("description", "clients can read it"), o.values["description"]
	switch {
	case len(text) > maxRelayText:
		o.d.fail(n, "", "description is longer than %d bytes", maxRelayText)
	case strings.ContainsRune(text, 0):
		o.d.fail(n, "", "description has a NUL character in it")
	}
	return text
}

// fixed is a text in which no secret can stand, for the reason in hint.
func (o object) fixed(key, hint string) string {
	text := o.text(key)
	if secretRef.MatchString(text) {
		o.d.fail(o.values[key], hint, "no secret can stand in %s", key)
		return ""
	}
	return text
}

// relayAuth reads what senders have to show.
func (o object) relayAuth() RelayAuth {
	a := RelayAuth{Type: "none"}
	v, ok := o.part("auth", `{type: token, token: "${env:HOOK_TOKEN}"}`, relayAuthKeys()...)
	if !ok || !v.needs("auth", "none, basic or token", "type") {
		return a
	}
	if a.Type = v.choice("type", "none, basic or token", "none", "basic", "token"); a.Type == "" {
		return a
	}
	keys := map[string][]string{"basic": {"username", "password"}, "token": {"token"}}[a.Type]
	v.needs("auth of type "+a.Type, "", keys...)
	for _, key := range v.keys {
		if key.Value != "type" && v.values[key.Value] != nil && !slices.Contains(keys, key.Value) {
			v.d.fail(key, "", "%s does not go with auth of type %s", key.Value, a.Type)
		}
	}
	switch a.Type {
	case "basic":
		if a.Username = v.secretText("username"); strings.Contains(a.Username, ":") {
			v.d.fail(v.values["username"], "", "username has a colon in it, which ends it (RFC 7617)")
		}
		a.Password = v.secretOf("password")
	case "token":
		a.Token = v.secretOf("token")
	}
	return a
}

func relayAuthKeys() []string { return []string{"type", "username", "password", "token"} }

// secretOf reads a value that is a secret as a whole.
func (o object) secretOf(key string) engine.Secret {
	n := o.values[key]
	if n == nil {
		return engine.Secret{}
	}
	if m := shellVariable.FindStringSubmatch(n.Value); m != nil {
		o.d.fail(n, fmt.Sprintf("write ${env:%s}", m[1]), "%s would be that text itself, for all to guess", key)
		return engine.Secret{}
	}
	s, _ := o.d.expand(n, key)
	if len(s.Reveal()) > maxRelaySecret {
		o.d.fail(n, "", "%s is longer than %d bytes", key, maxRelaySecret)
	}
	return s
}

// shellVariable is what a shell would put a variable's value for.
var shellVariable = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)$`)

// secretText reads a text in which a secret can stand. It is masked only where
// one does.
func (o object) secretText(key string) string {
	n := o.values[key]
	if n == nil || !o.d.scalar(n, key) {
		return ""
	}
	text, _ := o.d.put(n, key)
	return text
}

// put returns the text of a scalar with its secrets put in; ok is false after a
// problem.
func (d *decoder) put(n *yaml.Node, what string) (text string, ok bool) {
	if !strings.Contains(n.Value, "${") {
		return n.Value, true
	}
	s, ok := d.expand(n, what)
	return s.Reveal(), ok
}
