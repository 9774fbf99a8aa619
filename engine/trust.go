package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Verifier tells whether an event is from whom it says it is. Its methods are
// called from several goroutines at once and change nothing of the event but
// for Mask. A Verifier can be compared with ==.
type Verifier interface {
	// Verify returns nil, or why the sender is not known: a text that holds no
	// secret and not what would have been right.
	Verify(ctx context.Context, ev *Event) error

	// Likely is called after Verify failed. It tells the operator, and nobody
	// else, what is wrong as far as that was tried out; "" where nothing was
	// found.
	Likely(ctx context.Context, ev *Event) string

	// Challenge answers what a service asks to see whether the address is ours:
	// nil where the event is no such question. An error is why it is not
	// answered.
	Challenge(ctx context.Context, ev *Event) (*Challenge, error)

	// Mask takes the credentials themselves out of an event that is to be kept.
	Mask(ev *Event)
}

// Challenge is the answer to the question of a service.
type Challenge struct {
	Status      int
	ContentType string
	Body        string
	Signed      bool // the question was verified: it is kept as an event
}

// Bucket says how the events of a bucket are trusted and answered.
type Bucket struct {
	Verify  Verifier       // nil: nobody is asked who they are
	Allow   []netip.Prefix // addresses that may send to the intake; empty: all
	Respond *Respond       // nil: the receipt
}

// Errors of Submit for an event that is not taken: nothing of it runs, and a
// Rejection tells of it.
var (
	ErrNotVerified = errors.New("not verified")
	ErrNotAllowed  = errors.New("not allowed from this address")
)

// described returns what the rules say of the event's bucket, by its name and by
// its id: a relay gives both, and what is said under either holds.
func (s *RuleSet) described(ev *Event) []*Bucket {
	var found []*Bucket
	if b := s.Buckets[ev.Bucket]; b != nil {
		found = append(found, b)
	}
	if b := s.Buckets[ev.BucketID]; b != nil && ev.BucketID != ev.Bucket {
		found = append(found, b)
	}
	return found
}

// trust is what is known of an event's sender.
type trust struct {
	refused   map[*Rule]string   // rules that do not take it, and why
	challenge *Challenge         // not nil: no rule is asked
	rejected  error              // not nil: nobody takes it. Wraps ErrNotVerified or ErrNotAllowed
	reason    string             // of rejected, for the record
	doctor    Verifier           // whose refusal that is; nil: none's
	asked     []Verifier         // all that have a say
	said      map[Verifier]error // what each of them said
}

// trust asks who sent the event.
func (s *RuleSet) trust(ctx context.Context, ev *Event) trust {
	var t trust
	buckets := s.described(ev)
	for _, b := range buckets {
		if t.reason = b.refusesAddress(ev); t.reason != "" {
			t.rejected = ErrNotAllowed
			return t
		}
	}
	rules := s.candidates(ev)
	t.asked = verifiers(buckets, rules)
	if len(t.asked) == 0 {
		return t
	}
	t.said = map[Verifier]error{}
	if t.challenged(ctx, ev) {
		return t
	}
	t.ask(ctx, ev, buckets, rules)
	return t
}

// refusesAddress says why the bucket does not take the event from where it came;
// "" where it does. A relay does not tell, so it has to be known otherwise who
// sent what it hands on.
func (b *Bucket) refusesAddress(ev *Event) string {
	switch {
	case len(b.Allow) == 0:
		return ""
	case ev.Source != SourceIntake && b.Verify != nil:
		return ""
	case ev.Source != SourceIntake:
		return fmt.Sprintf("bucket %q has allow and no verify, and a relay does not tell the sender's address", ev.Bucket)
	case allowed(b.Allow, ev.Remote):
		return ""
	}
	why := fmt.Sprintf("allow of bucket %q has no address of the sender", ev.Bucket)
	if hops := ev.Header.Get("X-Forwarded-For"); hops != "" && !strings.Contains(hops, hostOf(ev.Remote)) {
		why += "; it came with X-Forwarded-For, which is believed where trusted_proxies names who sent it on"
	}
	return why
}

// hostOf is a remote without its port.
func hostOf(remote string) string {
	if a, err := netip.ParseAddrPort(remote); err == nil {
		return a.Addr().String()
	}
	return remote
}

// verifiersOf are those that all have to know the sender before the rule takes an
// event of the buckets.
func (r *Rule) verifiersOf(buckets []*Bucket) []Verifier {
	switch {
	case r.VerifyNone:
		return nil
	case r.Verify != nil:
		return []Verifier{r.Verify}
	}
	return verifiers(buckets, nil)
}

// verifiers are all that have a say, each once, those of the buckets first.
func verifiers(buckets []*Bucket, rules []*Rule) []Verifier {
	var all []Verifier
	add := func(v Verifier) {
		if v != nil && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	for _, b := range buckets {
		add(b.Verify)
	}
	for _, r := range rules {
		add(r.Verify)
	}
	return all
}

// challenged looks for a question that a verifier answers by itself. One that a
// verifier does not know the sender of is an event for the others.
func (t *trust) challenged(ctx context.Context, ev *Event) bool {
	for _, v := range t.asked {
		c, err := v.Challenge(ctx, ev)
		if err != nil {
			t.said[v] = err
		} else if c != nil {
			t.challenge = c
			return true
		}
	}
	return false
}

// ask asks each verifier once. The event is rejected where every rule that it
// concerns refuses it; where it concerns none the buckets decide.
func (t *trust) ask(ctx context.Context, ev *Event, buckets []*Bucket, rules []*Rule) {
	for _, v := range t.asked {
		if t.said[v] == nil {
			t.said[v] = v.Verify(ctx, ev)
		}
	}
	taken := len(rules) == 0 && t.refusal(verifiers(buckets, nil)) == nil
	t.refused = map[*Rule]string{}
	for _, r := range rules {
		err := t.refusal(r.verifiersOf(buckets))
		if err == nil {
			taken = true
			continue
		}
		t.refused[r] = notVerified + err.Error()
	}
	if taken {
		return
	}
	for _, v := range t.asked {
		if t.said[v] != nil {
			t.rejected, t.reason, t.doctor = ErrNotVerified, t.said[v].Error(), v
			return
		}
	}
}

// refusal is what the first of them said that does not know the sender.
func (t *trust) refusal(all []Verifier) error {
	for _, v := range all {
		if err := t.said[v]; err != nil {
			return err
		}
	}
	return nil
}

// allowed reports whether the address is in one of the prefixes.
func allowed(prefixes []netip.Prefix, remote string) bool {
	address, err := netip.ParseAddrPort(remote)
	addr := address.Addr()
	if err != nil {
		if addr, err = netip.ParseAddr(remote); err != nil {
			return false
		}
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// maskEvent takes what is secret out of an event that is to be kept: what verifiers
// know to be a credential, what stands in the usual headers for it, and the
// value of every secret wherever it stands beside the body. The body is kept as
// it came.
func (s *RuleSet) maskEvent(ev *Event, verifiers []Verifier) {
	ev.Header = ev.Header.Clone()
	for _, v := range verifiers {
		v.Mask(ev)
	}
	mask := s.mask()
	for name, values := range ev.Header {
		for i, value := range values {
			if isTakenOut(name) {
				values[i] = maskCredential(value)
				continue
			}
			values[i] = mask.string(value)
		}
	}
	ev.Path, ev.Query = mask.string(ev.Path), mask.string(ev.Query)
	for name, value := range ev.Meta {
		ev.Meta[name] = mask.string(value)
	}
}

// isTakenOut reports whether the header's value is not even kept, for any rule to
// read: IsCredential knows more, of which rules may read the values.
func isTakenOut(name string) bool {
	return slices.Contains([]string{"Authorization", "Proxy-Authorization", "Cookie"}, http.CanonicalHeaderKey(name))
}

// IsCredential reports whether a header is there to prove who sends it: its value
// is shown to nobody. Signatures are not: they are of use to nobody else. Nor is
// all that ends in -Key: X-Event-Key and Idempotency-Key say what an event is.
func IsCredential(header string) bool {
	name := strings.ReplaceAll(strings.ToLower(header), "_", "-")
	switch name {
	case "authorization", "proxy-authorization", "cookie":
		return true
	}
	name = strings.TrimPrefix(name, "x-")
	return slices.ContainsFunc([]string{
		"token", "secret", "password", "passwd", "api-key", "apikey", "access-key", "auth-key", "secret-key", "private-key", "signing-key",
	}, func(word string) bool {
		rest, found := strings.CutSuffix(name, word)
		return found && (rest == "" || strings.HasSuffix(rest, "-"))
	})
}

// IsCredentialParam reports whether a parameter of a URL is there to prove who sends
// a request: its value is shown to nobody. Signatures are among these, other than
// those of headers: as a rule they are good for the URL whatever is sent.
func IsCredentialParam(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch name {
	case "key", "sig", "signature", "auth", "jwt", "pass", "pwd":
		return true
	}
	return strings.HasSuffix(name, "-signature") || IsCredential(name)
}

// maskCredential keeps the scheme of an Authorization (RFC 9110, 11.4).
func maskCredential(value string) string {
	if scheme, _, ok := strings.Cut(value, " "); ok && len(scheme) <= 20 && !strings.Contains(scheme, "=") {
		return scheme + " " + Masked
	}
	return Masked
}

// MaskQuery puts Masked in the place of the values of a name in a raw query.
func MaskQuery(raw, name string) string {
	return maskQuery(raw, func(n string) bool { return n == name })
}

// MaskParams is MaskQuery for all names that IsCredentialParam knows.
func MaskParams(raw string) string { return maskQuery(raw, IsCredentialParam) }

func maskQuery(raw string, of func(name string) bool) string {
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		key, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(key); err == nil && of(decoded) {
			parts[i] = key + "=" + url.QueryEscape(Masked)
		}
	}
	return strings.Join(parts, "&")
}
