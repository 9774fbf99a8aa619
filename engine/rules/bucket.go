package rules

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/verify"
)

// maxPrefixes bounds a list of addresses.
const maxPrefixes = 10_000

// buckets reads what the files say of buckets.
func (l *loader) buckets() {
	l.bucketSet = map[string]*engine.Bucket{}
	l.trustAll = map[string]bool{}
	l.said = map[string]string{}
	places := map[string]string{}
	for _, t := range l.tops {
		n := t.keys.values["buckets"]
		if n == nil {
			continue
		}
		all := t.d.entries(n, "buckets")
		for _, key := range all.keys {
			if first, taken := places[key.Value]; taken {
				t.d.fail(key, "one file says it all of a bucket", "bucket %q is described in %s already", key.Value, first)
				continue
			}
			places[key.Value] = t.d.at(key)
			if t.d.name(key, "the name of a bucket") {
				known := len(l.senders.known)
				l.bucketSet[key.Value] = l.bucket(t.d, key.Value, all.values[key.Value])
				l.said[key.Value] = sayOf(all.values[key.Value], l.senders.known[known:])
			}
		}
	}
	l.trustedProxies()
}

// trustedProxies reads whose word on where a request came from is believed.
func (l *loader) trustedProxies() {
	t, n := l.only("trusted_proxies")
	if n == nil {
		return
	}
	l.proxies = t.keys.prefixes("trusted_proxies")
	if slices.ContainsFunc(l.proxies, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		t.d.warn(n, "name the proxies alone", "trusted_proxies names every address: each sender can say that it is another")
	}
}

// sayOf names what is said of a bucket, its secrets included.
func sayOf(n *yaml.Node, secrets []verify.Known) string {
	h := sha256.New()
	data, _ := json.Marshal([]any{canonical(n), slices.Concat([]verify.Known{}, secrets)}) // texts, lists and maps of texts: always possible
	h.Write(data)
	return string(h.Sum(nil))
}

func (l *loader) bucket(d *decoder, name string, n *yaml.Node) *engine.Bucket {
	o := d.object(n, "a bucket", keys[bucketShape]()...)
	b := &engine.Bucket{}
	b.Verify, l.trustAll[name] = o.verify(fmt.Sprintf("bucket %q", name))
	if o.values["allow"] != nil {
		b.Allow = o.prefixes("allow")
	}
	b.Respond = o.bucketRespond()
	return b
}

// allowOfRelay warns of a bucket of which allow alone is said: a relay does not
// tell who sent to it.
func (l *loader) allowOfRelay(r Relay) {
	for _, t := range l.tops {
		n := t.keys.values["buckets"]
		if n == nil || !r.Configured() {
			continue
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			b := l.bucketSet[n.Content[i].Value]
			if b != nil && len(b.Allow) > 0 && b.Verify == nil {
				t.d.warn(n.Content[i], "say in verify how the sender is known", "what comes over the relay for bucket %q is refused: a relay does not tell the sender's address, and allow is all that is said", n.Content[i].Value)
			}
		}
	}
}

// prefixes reads a list of addresses and networks (RFC 4632, RFC 4291).
func (o object) prefixes(key string) []netip.Prefix {
	items := o.list(key, true)
	if len(items) > maxPrefixes {
		o.d.fail(items[maxPrefixes], "", "more than %d addresses", maxPrefixes)
		return nil
	}
	var all []netip.Prefix
	for _, n := range items {
		if !o.d.scalar(n, "an item of "+key) {
			continue
		}
		p, err := prefix(n.Value)
		if err != nil {
			o.d.fail(n, "write 192.0.2.0/24, 2001:db8::/32 or one address", "%s: %v", key, err)
			continue
		}
		all = append(all, p)
	}
	return all
}

// prefix reads a network, or an address, which is the network of itself alone.
func prefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", text)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no network", text)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network in IPv6 form", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its prefix: the network is %s", text, p.Masked())
	}
	return p, nil
}

// untrusted finds the commands that anybody can start who knows the address.
// Rules that are refused anyway are not asked.
func (l *loader) untrusted() {
	if failed(l.problems) {
		return
	}
	told := map[string]bool{} // buckets, "" for all
	for _, r := range l.enabled {
		if r.Verify != nil || r.VerifyNone || !slices.ContainsFunc(allSteps(r), isCommand) {
			continue
		}
		for _, bucket := range l.openBuckets(r) {
			if told[bucket] {
				continue
			}
			told[bucket] = true
			l.tellUntrusted(r, bucket)
		}
	}
}

func isCommand(s engine.Step) bool { return s.Action.Kind() == "exec" || s.Action.Kind() == "shell" }

// openBuckets are those of the rule's that nothing is said of who may send to
// them; "" where the rule names no bucket.
func (l *loader) openBuckets(r *engine.Rule) []string {
	if len(r.Buckets) == 0 {
		return []string{""}
	}
	return slices.DeleteFunc(slices.Clone(r.Buckets), func(name string) bool {
		b := l.bucketSet[name]
		return b != nil && (b.Verify != nil || l.trustAll[name])
	})
}

func (l *loader) tellUntrusted(r *engine.Rule, bucket string) {
	p := l.nodes[r]
	p.d.rule = r.Name
	defer func() { p.d.rule = "" }()
	msg := fmt.Sprintf("whoever can send to bucket %q can start its commands: nothing says how the sender is known", bucket)
	hint := fmt.Sprintf(`buckets: {%s: {verify: {scheme: github, secret: "${env:HOOK_SECRET}"}}}, or verify: none`, bucket)
	if bucket == "" {
		msg = "whoever can send to any bucket can start its commands: nothing says how the sender is known"
		hint = verifyHint + ", in the rule"
	}
	if l.o.Exposed || len(l.proxies) > 0 {
		p.d.fail(p.node, hint, "%s, and the intake takes webhooks from other machines", msg)
		return
	}
	p.d.warn(p.node, hint, "%s", msg)
}
