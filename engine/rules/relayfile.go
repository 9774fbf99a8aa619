package rules

import (
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// What a relay keeps where its file does not say.
const (
	DefaultRelayAge  = 72 * time.Hour
	DefaultRelaySize = 10 << 30 // bytes
)

// Bounds of what a relay keeps.
const (
	minRelayAge  = time.Second
	maxRelayAge  = 10 * 365 * 24 * time.Hour
	minRelaySize = 1 << 20 // bytes
)

// RelayFile is all that relay.yaml said at one time: what a relay of one's own
// serves, and to whom.
type RelayFile struct {
	PublicURL string         // that addresses of inputs begin with, without a slash at its end; "": not given
	Strict    bool           // an input that is not there is answered 404, else 200
	Proxies   []netip.Prefix // whose word on where a request came from is believed

	// ForwardAllow are networks that are not public and that the relay itself may
	// send webhooks to all the same.
	ForwardAllow []netip.Prefix

	Tokens  []RelayToken // in the order of the file, as all lists here
	Buckets []RelayBucket

	// Age and Size bound what is kept: the oldest webhooks are dropped beyond them.
	Age  time.Duration // above 0
	Size int64         // bytes, above 0

	TLS *RelayTLS // nil: plain HTTP

	Secrets     []engine.Secret // every secret that was put in somewhere, to mask it in outputs
	SecretFiles []string        // whose content is one of the secrets
	Files       []string        // the file itself and SecretFiles: read it again once one changes
	Hash        string          // of path and content: what Fingerprint gives
	Warnings    []Problem
}

// RelayToken is what a client shows to connect.
type RelayToken struct {
	Key     string // unique
	Secret  engine.Secret
	Buckets []string // names of those it may see; nil: all
	API     bool     // it may change what is set up
}

// RelayTLS says where certificates come from: ACME, or else the files.
type RelayTLS struct {
	Cert, Key string // PEM files, as absolute paths
	ACME      *RelayACME
}

// RelayACME says how certificates are asked for (RFC 8555). That the terms of
// service are accepted is made sure of.
type RelayACME struct {
	Domains   []string // in lower case, each once
	Email     string   // "": none
	Directory string   // URL; "": that of Let's Encrypt
	Cache     string   // folder, as an absolute path; "": the relay's own choice
}

// LoadRelayFile reads relay.yaml. The problems are in the order of their places.
// Where one of them is more than a warning there is no RelayFile. Relative paths
// in it start at Options.Dir.
func LoadRelayFile(path string, o Options) (*RelayFile, []Problem) {
	if path == "" {
		return nil, []Problem{{Msg: "no relay file is given", Hint: "hookrun relay -config relay.yaml"}}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, []Problem{{File: path, Msg: "it is a folder", Hint: "a relay is described by one file: relay.yaml"}}
	}
	files, unread := read([]string{path})
	return loadRelayFile(files, append(unread, modeProblems(files, false)...), o)
}

// ParseRelayFile is LoadRelayFile of a file that was read already.
func ParseRelayFile(f File, o Options) (*RelayFile, []Problem) {
	return loadRelayFile([]File{f}, nil, o)
}

// loadRelayFile reads a file, or none that could be read. problems are known
// already.
func loadRelayFile(files []File, problems []Problem, o Options) (*RelayFile, []Problem) {
	l := &loader{kind: relayKind(), o: o.withDefaults(), problems: problems, places: map[string]string{}}
	for _, f := range files {
		l.open(f)
	}
	r := &RelayFile{Hash: hashFiles(files)}
	for _, t := range l.tops {
		r.read(t.keys)
	}
	problems = tidy(l.problems, files)
	if failed(problems) {
		return nil, problems
	}
	r.Proxies, r.Secrets, r.SecretFiles, r.Warnings = l.proxies, l.secrets, l.secretFiles, problems
	for _, f := range files {
		r.Files = append(r.Files, f.Path)
	}
	r.Files = append(r.Files, r.SecretFiles...)
	return r, problems
}

const firstToken = `begin with: tokens: [{key: buildbox, secret: "${env:RELAY_SECRET}"}]`

func relayKind() fileKind {
	return fileKind{
		keys: relayKeys(), main: "tokens", first: firstToken, list: firstToken,
		second: "a relay is described by one document: put all of it into the first", meant: meantOfRelay,
	}
}

// relayKeys are the keys at the top of relay.yaml.
func relayKeys() []string {
	return []string{"public_url", "strict", "trusted_proxies", "forward_allow", "tokens", "buckets", "retention", "tls"}
}

// read reads the top of the file. What refers to other parts is read behind them.
func (r *RelayFile) read(o object) {
	r.PublicURL = o.publicURL()
	r.Strict = o.flag("strict", false)
	o.d.l.trustedProxies()
	if o.values["forward_allow"] != nil {
		r.ForwardAllow = o.prefixes("forward_allow")
	}
	r.Buckets = o.relayBuckets()
	r.Tokens = o.tokens(r.Buckets)
	r.Age, r.Size = o.retention()
	r.TLS = o.relayTLS()
	r.certified(o)
}

// publicURL reads what addresses of inputs begin with.
func (o object) publicURL() string {
	raw, n := o.fixed("public_url", "whoever gets a URL of the relay would read it"), o.values["public_url"]
	if raw == "" {
		if n != nil && n.Kind == yaml.ScalarNode && n.Value == "" {
			o.d.fail(n, "leave it out, or write https://hooks.example.org", "public_url is empty")
		}
		return ""
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		o.d.fail(n, "https://hooks.example.org", "public_url is wrong: %v", unwrapURL(err))
	case u.Scheme != "https" && u.Scheme != "http":
		o.d.fail(n, "https://hooks.example.org", "public_url must begin with https:// or http://, not %s", show(n))
	case u.Hostname() == "":
		o.d.fail(n, "https://hooks.example.org", "public_url has no host")
	case u.User != nil:
		o.d.fail(n, "tokens: is for that", "no user or password can stand in public_url")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		o.d.fail(n, "write "+u.Scheme+"://"+u.Host, "public_url goes no further than its host")
	}
	return strings.TrimRight(raw, "/#")
}

// tokens reads who may connect. buckets are those of the file.
func (o object) tokens(buckets []RelayBucket) []RelayToken {
	if o.values["tokens"] == nil {
		if o.keyNode("tokens") == nil { // else "has no value" is noted
			o.d.warn(o.node, `tokens: [{key: buildbox, secret: "${env:RELAY_SECRET}"}]`, "there are no tokens: the relay makes one at its first start, and shows it once")
		}
		return nil
	}
	var all []RelayToken
	items := o.list("tokens", false)
	if len(items) > maxRelayItems {
		o.d.fail(items[maxRelayItems], "", "more than %d tokens", maxRelayItems)
		return nil
	}
	for _, n := range items {
		v, ok := o.d.formed(n, "a token", `{key: buildbox, secret: "${env:RELAY_SECRET}"}`, tokenKeys()...)
		if ok && v.needs("a token", `{key: buildbox, secret: "${env:RELAY_SECRET}"}`, "key", "secret") {
			all = append(all, v.token(buckets))
		}
	}
	return all
}

func tokenKeys() []string { return []string{"key", "secret", "buckets", "api"} }

// Bounds of a secret.
const (
	minRelaySecret = 8    // characters, of a token's
	maxRelaySecret = 1024 // bytes: it goes into a header
)

func (o object) token(buckets []RelayBucket) RelayToken {
	t := RelayToken{Key: o.relayName("key", "the key of a token"), API: o.flag("api", true)}
	if t.Key != "" {
		o.d.claim(o.values["key"], "token", t.Key, "the key %q", t.Key)
	}
	t.Secret = o.secretOf("secret")
	if s := t.Secret.Reveal(); s != "" {
		switch {
		case len([]rune(s)) < minRelaySecret:
			o.d.fail(o.values["secret"], "openssl rand -hex 32 makes a good one", "secret has fewer than %d characters", minRelaySecret)
		case strings.ContainsFunc(s, isControl):
			o.d.fail(o.values["secret"], "", "secret has a line break or control character in it")
		}
	}
	for _, n := range o.nameNodes("buckets") {
		if !slices.ContainsFunc(buckets, func(b RelayBucket) bool { return b.Name == n.Value }) {
			o.d.fail(n, engine.Nearest(n.Value, bucketNames(buckets)), "there is no bucket %q in this file", n.Value)
		}
		t.Buckets = append(t.Buckets, n.Value)
	}
	return t
}

func bucketNames(buckets []RelayBucket) []string {
	var names []string
	for _, b := range buckets {
		names = append(names, b.Name)
	}
	return names
}

// retention reads how much is kept.
func (o object) retention() (age time.Duration, size int64) {
	v, ok := o.part("retention", "{age: 72h, size: 10GiB}", "age", "size")
	if !ok {
		return DefaultRelayAge, DefaultRelaySize
	}
	age = v.duration("age", DefaultRelayAge)
	if age < minRelayAge || age > maxRelayAge {
		v.d.fail(v.values["age"], "", "age must be from %s to %dh", minRelayAge, maxRelayAge/time.Hour)
	}
	if size = v.size("size", minRelaySize); size == 0 {
		size = DefaultRelaySize
	}
	return age, size
}

// claim notes where a name of a kind is taken, and that it is taken already. The
// format says what is.
func (d *decoder) claim(n *yaml.Node, kind, name, format string, args ...any) {
	key := kind + " " + name
	if first, taken := d.l.places[key]; taken {
		d.fail(n, "", format+" is taken in %s already", append(args, first)...)
		return
	}
	d.l.places[key] = d.at(n)
}
