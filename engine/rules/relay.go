package rules

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
)

// DefaultRelay is the relay that is asked where the rules name no other.
const DefaultRelay = "wss://my.webhookrelay.com/v1/socket"

// Relay says where webhooks come from.
type Relay struct {
	URL         string
	Key, Secret engine.Secret

	// Buckets to subscribe to, sorted, each once: those that relay: names, else
	// those of the enabled rules, else, where no rule is enabled, those of the
	// others, as what is sent to them meanwhile is kept too.
	Buckets []string

	// All says to subscribe to every bucket, as an enabled rule names none.
	// Buckets is nil then. Where All is false and Buckets is nil, there is nothing
	// to subscribe to: no rule is enabled, and none names a bucket.
	All bool

	// Group names those who share the webhooks of the buckets, each going to one
	// of them; "": this hookrun gets all.
	Group string

	// SelfTest is how often hookrun sends itself a webhook through the relay to see
	// that it comes back. 0: never.
	SelfTest time.Duration
}

// Bounds of what relay: may say.
const (
	minSelfTest = 30 * time.Second // a test may take as long
	maxSelfTest = 24 * time.Hour
	maxGroup    = 128 // bytes
)

// groupForm is what relays take for names.
var groupForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9~_.-]*$`)

// Configured reports whether there is a relay to connect to.
func (r Relay) Configured() bool { return r.Key.Reveal() != "" }

// relay reads the key of that name. Without it, RELAY_KEY and RELAY_SECRET of
// the environment ask for a relay too, and without those there is none.
func (l *loader) relay() Relay {
	r := Relay{URL: DefaultRelay}
	r.Buckets, r.All = l.bucketsOfRules()
	t, n := l.only("relay")
	if n == nil {
		r.Key, r.Secret = l.credentials()
		return r
	}
	o := t.d.object(n, "relay", keys[relayShape]()...)
	if o.values["url"] != nil {
		r.URL = o.relayURL()
	}
	r.Key = o.credential("key", "RELAY_KEY")
	r.Secret = o.credential("secret", "RELAY_SECRET")
	if o.values["buckets"] != nil {
		r.Buckets, r.All = slices.Sorted(slices.Values(o.names("buckets"))), false
	}
	r.Group, r.SelfTest = o.relayGroup(), o.selfTest()
	if r.Group != "" && r.SelfTest != 0 {
		o.d.fail(o.values["self_test"], "leave out one of the two", "self_test does not go with group: the test webhook may come to another of the group")
	}
	return r
}

// relayGroup reads the name of the group.
func (o object) relayGroup() string {
	n := o.values["group"]
	if n == nil {
		return ""
	}
	name := o.constant("group")
	switch {
	case name == "" && n.Value == "":
		o.d.fail(n, "leave it out to get all webhooks", "group is empty")
	case name != "" && !groupForm.MatchString(name):
		o.d.fail(n, "a name such as deployers: letters, digits and ~ _ . -, beginning with a letter or digit", "group can't be %s", show(n))
		return ""
	case len(name) > maxGroup:
		o.d.fail(n, "", "group is longer than %d characters", maxGroup)
		return ""
	}
	return name
}

// selfTest reads how often hookrun tests the relay.
func (o object) selfTest() time.Duration {
	n := o.values["self_test"]
	if n == nil || n.Value == "0" || n.Value == "0s" {
		return 0
	}
	every := o.duration("self_test", 0)
	if every != 0 && (every < minSelfTest || every > maxSelfTest) {
		o.d.fail(n, "5m is good; leave it out for none", "self_test must be from 30s to 24h, not %s", show(n))
		return 0
	}
	return every
}

// credentials reads those of the environment.
func (l *loader) credentials() (key, secret engine.Secret) {
	keyText, hasKey := l.o.Getenv("RELAY_KEY")
	secretText, hasSecret := l.o.Getenv("RELAY_SECRET")
	hasKey, hasSecret = hasKey && keyText != "", hasSecret && secretText != ""
	switch {
	case !hasKey && !hasSecret || len(l.tops) == 0:
		return key, secret
	case !hasKey || !hasSecret:
		set, unset := "RELAY_KEY", "RELAY_SECRET"
		if hasSecret {
			set, unset = unset, set
		}
		first := l.tops[0]
		first.d.fail(first.keys.node, "set both for a relay, or none", "the environment variable %s is set, but not %s", set, unset)
		return key, secret
	}
	key, secret = engine.NewSecret(keyText), engine.NewSecret(secretText)
	l.secrets = append(l.secrets, key, secret)
	return key, secret
}

// credential reads a key or secret of the relay, by default that of the
// environment.
func (o object) credential(key, variable string) engine.Secret {
	if n := o.values[key]; n != nil {
		s, _ := o.d.expand(n, key)
		return s
	}
	s, err := o.d.l.secret("env:" + variable)
	if err != nil {
		o.d.fail(o.node, "relay: asks for a relay, whose "+key+" is ${env:"+variable+"} unless it says another", "%v", err)
	}
	return s
}

func (o object) relayURL() string {
	raw, n := o.constant("url"), o.values["url"]
	if raw == "" {
		if n.Value == "" {
			o.d.fail(n, "leave it out for "+DefaultRelay, "url is empty")
		}
		return ""
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		o.d.fail(n, "", "url is wrong: %v", unwrapURL(err))
	case u.Scheme != "ws" && u.Scheme != "wss":
		o.d.fail(n, "wss://host/path", "url must begin with wss:// or ws://, not %s", show(n))
	case u.Hostname() == "":
		o.d.fail(n, "wss://host/path", "url has no host")
	case u.User != nil:
		o.d.fail(n, "key: and secret: are for that", "no user or password can stand in a URL")
	case u.Scheme == "ws" && !isLoopback(u.Hostname()):
		o.d.fail(n, "use wss://", "key and secret would go to %s unencrypted", u.Host)
	}
	return raw
}

func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// bucketsOfRules returns what the relay subscribes to by default.
func (l *loader) bucketsOfRules() (buckets []string, all bool) {
	rules := l.enabled
	if len(rules) == 0 {
		rules = l.off
	}
	for _, r := range rules {
		if len(r.Buckets) == 0 && len(l.enabled) > 0 {
			return nil, true
		}
		buckets = append(buckets, r.Buckets...)
	}
	slices.Sort(buckets)
	return slices.Compact(buckets), false
}
