package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/verify"
)

// noVerify is how verify says that nobody is asked.
const noVerify = "none"

// verifyHint is what to write where nothing of verify fits.
const verifyHint = `write verify: {scheme: github, secret: "${env:HOOK_SECRET}"}, or verify: none`

// verify reads who knows the senders. none reports that nobody is to be asked.
// where names the bucket or rule, for the operator.
func (o object) verify(where string) (v engine.Verifier, none bool) {
	n := o.values["verify"]
	if n == nil {
		return nil, false
	}
	if n.Kind == yaml.ScalarNode {
		if n.Value == noVerify {
			return nil, true
		}
		o.d.fail(n, verifyHint, "verify must be a mapping or none, not %s", show(n))
		return nil, false
	}
	known := o.d.verifier(n, where)
	if known == nil { // not a Verifier that is a nil pointer
		return nil, false
	}
	if known.url == "" && known.NeedsURL() {
		o.d.fail(n, "public_url: https://hooks.example.org/hooks/NAME", "verify: the URL is signed, and public_url does not say which one the sender was given")
	}
	return known, false
}

// verifier reads a verify that is a mapping.
func (d *decoder) verifier(n *yaml.Node, where string) *verifier {
	all := d.object(n, "verify", verifyKeys()...)
	if n.Kind != yaml.MappingNode || !all.needs("verify", verifyHint, "scheme") {
		return nil
	}
	scheme := all.choice("scheme", "hmac is for senders that are not in the list", verify.Schemes()...)
	if scheme == "" {
		return nil
	}
	before := len(d.l.problems)
	o := all
	o.takes(scheme)
	if d.disabled || d.l.o.Dry { // its secrets need not be there
		return nil
	}
	c := o.verifyConfig(scheme, where)
	if failed(d.l.problems[before:]) {
		return nil
	}
	v, err := verify.New(c)
	if err != nil {
		o.configProblem(err)
		return nil
	}
	return &verifier{Verifier: v, url: c.PublicURL, client: d.l.o.Client, senders: d.l.senders, where: where}
}

// verifyKeys are the keys of all schemes.
func verifyKeys() []string {
	keys := []string{"scheme"}
	for _, scheme := range verify.Schemes() {
		for _, key := range verify.Keys(scheme) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// takes notes keys that a scheme does not take.
func (o object) takes(scheme string) {
	for _, key := range o.keys {
		if o.values[key.Value] != nil && key.Value != "scheme" && !slices.Contains(verify.Keys(scheme), key.Value) {
			hint := "it takes " + strings.Join(verify.Keys(scheme), ", ")
			if slices.Contains(verify.Keys("hmac"), key.Value) {
				hint += "; scheme hmac takes " + key.Value
			}
			o.d.fail(key, hint, "scheme %s does not take %s", scheme, key.Value)
		}
	}
}

// configProblem notes what is wrong at the key that it is wrong in.
func (o object) configProblem(err error) {
	c, ok := errors.AsType[*verify.ConfigError](err)
	if !ok {
		o.d.fail(o.node, "", "verify: %v", err)
		return
	}
	o.d.fail(cmp.Or(o.values[c.Key], o.node), c.Hint, "verify: %v", err)
}

func (o object) verifyConfig(scheme, where string) verify.Config {
	c := verify.Config{
		Scheme:              scheme,
		Secrets:             o.secrets("secret", where),
		Header:              o.constant("header"),
		Query:               o.constant("query"),
		Algorithm:           o.constant("algorithm"),
		Encoding:            o.constant("encoding"),
		Prefix:              o.text("prefix"),
		Payload:             o.text("payload"),
		TimestampHeader:     o.constant("timestamp_header"),
		IDHeader:            o.constant("id_header"),
		Tolerance:           o.duration("tolerance", 0),
		PublicURL:           o.constant("public_url"),
		ConfirmSubscription: o.flag("allow_subscribe_confirm", false),
		JWT: verify.JWT{
			JWKSURL:  o.constant("jwks_url"),
			Audience: o.constant("audience"),
			Issuer:   o.constant("issuer"),
		},
		Fetch: fetcher(o.d.l.o.Client),
	}
	if n := o.values["key"]; n != nil {
		key, _ := o.d.expand(n, "key")
		c.JWT.Key = key.Reveal()
	}
	if n := o.values["verify_token"]; n != nil {
		token, _ := o.d.expand(n, "verify_token")
		c.VerifyToken = token.Reveal()
	}
	if o.values["algorithms"] != nil {
		c.JWT.Algorithms = o.names("algorithms")
	}
	return c
}

// secrets reads one secret or a list of them, each valid.
func (o object) secrets(key, where string) []string {
	var values []string
	for _, n := range o.list(key, true) {
		if s, ok := o.d.expand(n, "a secret of verify"); ok {
			values = append(values, s.Reveal())
			o.d.l.senders.known = append(o.d.l.senders.known, verify.Known{Name: "the secret of " + where, Secret: s.Reveal()})
		}
	}
	return values
}

// senders holds the secrets of a generation by which senders are known, and is
// complete once it is loaded.
type senders struct{ known, former []verify.Known }

// others are the secrets by which a sender may have signed that is not known:
// those of other buckets, and those of the rules before.
func (s *senders) others(where string) []verify.Known {
	own := func(k verify.Known) bool { return k.Name == "the secret of "+where }
	return append(slices.DeleteFunc(slices.Clone(s.known), own), s.former...)
}

// verifier is a verify.Verifier as the engine wants it.
type verifier struct {
	*verify.Verifier
	url     string // the public one; "": it is not known
	client  *http.Client
	senders *senders
	where   string // the bucket or rule
}

var _ engine.Verifier = (*verifier)(nil)

// request is the event as it was sent.
func (v *verifier) request(ev *engine.Event) verify.Request {
	r := verify.Request{Method: ev.Method, Query: ev.Query, Header: ev.Header, Body: ev.Body}
	if v.url == "" {
		return r
	}
	r.URL = v.url
	if ev.Path != "/" {
		r.URL = strings.TrimSuffix(v.url, "/") + ev.Path
	}
	if ev.Query != "" {
		r.URL += "?" + ev.Query
	}
	return r
}

// Verify implements engine.Verifier.
func (v *verifier) Verify(ctx context.Context, ev *engine.Event) error {
	return v.Check(ctx, v.request(ev), ev.Received)
}

// Likely implements engine.Verifier.
func (v *verifier) Likely(ctx context.Context, ev *engine.Event) string {
	return v.Diagnose(ctx, v.request(ev), ev.Received, v.senders.others(v.where))
}

// Challenge implements engine.Verifier.
func (v *verifier) Challenge(ctx context.Context, ev *engine.Event) (*engine.Challenge, error) {
	c, ok, err := v.Verifier.Challenge(ctx, v.request(ev), ev.Received)
	if err != nil || !ok {
		return nil, err
	}
	if c.Confirm != "" {
		if _, err := fetch(ctx, v.client, c.Confirm); err != nil {
			return nil, fmt.Errorf("the subscription can't be confirmed: %w", err)
		}
	}
	return &engine.Challenge{Status: c.Status, ContentType: c.ContentType, Body: c.Body, Signed: c.Signed}, nil
}

// Authenticate is the challenge that goes with a refusal (RFC 9110, 11.6.1), ""
// where the scheme has none.
func (v *verifier) Authenticate() string {
	switch v.Scheme() {
	case "basic":
		return `Basic realm="hookrun"`
	case "bearer", "jwt", "docker-registry":
		return "Bearer"
	}
	return ""
}

// Mask implements engine.Verifier.
func (v *verifier) Mask(ev *engine.Event) {
	headers, queries := v.SecretParams()
	for _, name := range headers {
		for key, values := range ev.Header {
			if strings.EqualFold(key, name) {
				for i := range values {
					values[i] = engine.Masked
				}
			}
		}
	}
	for _, name := range queries {
		ev.Query = engine.MaskQuery(ev.Query, name)
	}
}

// Bounds of what a verifier fetches.
const (
	fetchTimeout = 5 * time.Second
	maxFetched   = 1 << 20
)

func fetcher(client *http.Client) func(context.Context, string) ([]byte, error) {
	return func(ctx context.Context, url string) ([]byte, error) { return fetch(ctx, client, url) }
}

// fetch gets what is at a URL, without following redirects: a verifier knows
// where its keys are.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // it was read as far as it is wanted
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched+1))
	if err == nil && len(data) > maxFetched {
		err = fmt.Errorf("%s answered more than %d bytes", req.URL.Host, maxFetched)
	}
	return data, err
}

// NewVerifier makes the verifier that a verify with these keys would be: keys and
// values are as in the file, and a value may hold ${env:} and ${file:}.
func NewVerifier(keys map[string][]string, o Options) (*verify.Verifier, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, text := range keys[key] {
			value.Content = append(value.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: text})
		}
		if len(value.Content) == 1 {
			value = value.Content[0]
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
	}
	l := &loader{kind: rulesKind(), o: o.withDefaults(), senders: &senders{}}
	d := &decoder{l: l, src: &source{lines: []int{0}}}
	v := d.verifier(n, "the command line")
	if p := FirstError(l.problems); p != nil {
		return nil, p
	}
	return v.Verifier, nil
}

// VerifierOf returns what knows the senders of a bucket, and the URL that they
// call, where it is given; nil where nothing does.
func (g *Generation) VerifierOf(bucket string) (v *verify.Verifier, publicURL string) {
	b := g.Rules.Buckets[bucket]
	if b == nil {
		return nil, ""
	}
	known, ok := b.Verify.(*verifier)
	if !ok {
		return nil, ""
	}
	return known.Verifier, known.url
}
