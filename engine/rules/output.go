package rules

import (
	"cmp"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/actions"
	"hookrun/engine"
)

func (a action) file() *actions.File {
	x := &actions.File{
		Path:  a.template("file", field{refused: "no secret can stand in a path"}),
		Write: a.write(),
		Mode:  a.mode(),
		Roots: a.d.l.roots,
	}
	if a.needs("an action of kind file", "", "content") {
		x.Content = a.template("content", field{})
	}
	if x.Path != nil {
		a.below(x.Path)
	}
	return x
}

// below refuses a path of which it is certain that it is not below a root.
func (a action) below(path *engine.Template) {
	start, n := path.LeadingLiteral(), a.values["file"]
	_, whole := path.Literal()
	if start == "" && whole {
		a.d.fail(n, "", "file is empty")
		return
	}
	if len(a.d.l.roots) == 0 {
		return // the roots are wrong themselves
	}
	dir := start
	if at := strings.LastIndexByte(filepath.ToSlash(start), '/'); !whole && at >= 0 {
		dir = start[:at+1] // what follows is the beginning of a name
	} else if !whole {
		if !a.d.l.rootsGiven { // the sender would choose among all that lies where hookrun was started
			a.d.fail(n, "write a folder before it, as in out/{{ … }}, or name one in file_roots", "the folder of file must be fixed")
		}
		return
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(a.d.l.roots[0], dir)
	}
	for _, root := range a.d.l.roots {
		real, err := filepath.EvalSymlinks(root)
		if err != nil || isBelow(dir, root) || isBelow(dir, real) || !whole && isBelow(root, dir) {
			return
		}
	}
	a.d.fail(n, "name the folder in file_roots", "the file is not below %s", strings.Join(a.d.l.roots, ", "))
}

func isBelow(path, root string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

func (a action) write() actions.WriteMode {
	mode := a.choice("write", "replace writes it anew, append adds to it, create refuses a file that is there",
		string(actions.Create), string(actions.Replace), string(actions.Append))
	return cmp.Or(actions.WriteMode(mode), actions.Replace)
}

var octal = regexp.MustCompile(`^0o?([0-7]{3})$`)

func (a action) mode() fs.FileMode {
	n := a.values["mode"]
	if n == nil {
		return 0
	}
	m := octal.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil {
		a.d.fail(n, `write mode: "0644"`, "mode must be an octal number of 0 and three digits, not %s", show(n))
		return 0
	}
	bits, _ := strconv.ParseUint(m[1], 8, 32) // three octal digits
	if bits == 0 {
		a.d.fail(n, `write mode: "0644"`, "mode 0000 would lock everybody out")
	}
	return fs.FileMode(bits)
}

func (a action) http() *actions.HTTP {
	x := &actions.HTTP{
		URL:    a.url(),
		Method: strings.ToUpper(a.constant("method")),
		Header: a.headers(),
		Body:   a.template("body", field{}),
		Expect: a.expect(),
		Client: a.d.l.o.Client,
		Allow:  a.allowedFor(),
	}
	if x.Method != "" && !token.MatchString(x.Method) {
		a.d.fail(a.values["method"], "GET, POST, PUT …", "%s is no HTTP method", show(a.values["method"]))
	}
	if n := a.values["json"]; n != nil {
		x.JSON = a.json(n)
		if b := a.values["body"]; b != nil {
			a.d.fail(b, "", "body and json cannot both be there")
		}
	}
	a.noSecretAway(x)
	return x
}

// url reads where a call goes. A host that is the event's begins with {{, or
// follows a dot, a dash or the colon of a port: else a slash was forgotten.
func (a action) url() *engine.Template {
	t, n := a.template("http", field{}), a.values["http"]
	if t == nil {
		return nil
	}
	start := t.LeadingLiteral()
	_, whole := t.Literal()
	scheme, rest, ok := strings.Cut(start, "://")
	switch {
	case !t.HasExpr() && !whole && hostFromOutside(t):
		a.d.fail(n, `put what is secret into the path or a header: https://host/${env:TOKEN}`, "the scheme and the host of the URL cannot be a secret")
		return nil
	case start == "" && !whole:
		return t
	case !ok, scheme != "http" && scheme != "https":
		a.d.fail(n, "http://… or https://…", "the URL has no scheme that hookrun knows")
		return nil
	case !whole && hostFromOutside(t):
		if rest != "" && !strings.ContainsAny(rest[len(rest)-1:], ".-:") {
			a.d.fail(n, hostHint, "the host of the URL goes on in {{ }}")
			return nil
		}
		return t
	}
	// Only what stands before the first {{ or ${ is looked at, and only so far
	// as it is the host's: an escape may go on behind it.
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	u, err := url.Parse(scheme + "://" + authority)
	switch {
	case err != nil:
		a.d.fail(n, "", "the URL is wrong: %v", unwrapURL(err))
	case u.Host == "" || u.Hostname() == "":
		a.d.fail(n, "", "the URL has no host")
	case u.User != nil:
		a.d.fail(n, `write headers: {Authorization: "Bearer ${env:TOKEN}"}`, "no user or password can stand in a URL")
	}
	return t
}

const hostHint = "put a slash between the host and {{: what comes from outside chooses the path and the query then"

func unwrapURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (a action) headers() []actions.Var {
	n := a.values["headers"]
	if n == nil {
		return nil
	}
	var vars []actions.Var
	seen := map[string]bool{}
	o := a.d.entries(n, "headers")
	for _, key := range o.keys {
		name := strings.ToLower(key.Value)
		switch {
		case !token.MatchString(name):
			a.d.fail(key, "", "%s cannot be the name of a header", show(key))
			continue
		case name == "content-length" || name == "transfer-encoding" || name == "connection" || name == strings.ToLower(engine.ViaHeader):
			a.d.fail(key, "leave it out", "the header %s is set by hookrun", key.Value)
			continue
		case seen[name]:
			a.d.fail(key, "", "the header %s is there twice", key.Value)
			continue
		}
		seen[name] = true
		value := a.d.template(o.values[key.Value], a.c, field{what: key.Value})
		if value != nil && strings.ContainsAny(value.LeadingLiteral(), "\r\n") {
			a.d.fail(o.values[key.Value], "a text below | ends with a line break, one below |- does not", "the header %s has a line break in it", key.Value)
		}
		vars = append(vars, actions.Var{Name: key.Value, Value: value})
	}
	return vars
}

// json reads a value that becomes the body of a call. Texts in it are
// templates.
func (a action) json(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		if hint := braceHint(n); hint != "" {
			a.d.fail(n, hint, "json has a mapping for a key in it")
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				a.d.fail(key, "", "a key of json must be a text, not %s", describe(key))
				continue
			}
			if _, twice := m[key.Value]; twice {
				a.d.fail(key, "", "the key %q is there twice", key.Value)
			}
			if a.d.plain(key, "a key of json") {
				m[key.Value] = a.json(n.Content[i+1])
			}
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, a.json(item))
		}
		return list
	}
	return a.jsonScalar(n)
}

func (a action) jsonScalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		return a.jsonNumber(n)
	}
	t := a.d.template(n, a.c, field{what: "a text of json"})
	if t == nil {
		return nil // not a *engine.Template that is nil
	}
	return t
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// jsonNumber reads a number that YAML and JSON write alike: 0644 is 420 to YAML,
// and a number of 30 digits would lose some.
func (a action) jsonNumber(n *yaml.Node) any {
	if m := jsonNumber.FindStringSubmatch(n.Value); m != nil {
		if v, err := strconv.Atoi(n.Value); err == nil {
			return v
		}
		if v, err := strconv.ParseFloat(n.Value, 64); err == nil && m[2]+m[3] != "" {
			return v
		}
	}
	a.d.fail(n, "put it in quotes to send it as a text", "%s is no number of JSON, or too long a one", show(n))
	return nil
}

var statusRange = regexp.MustCompile(`^([1-5][0-9][0-9])(?:\s*-\s*([1-5][0-9][0-9]))?$`)

// expect reads the statuses that are good: 2xx, 204, 200-299, or a list of them.
func (a action) expect() []actions.StatusRange {
	var ranges []actions.StatusRange
	for _, n := range a.list("expect", true) {
		r, ok := status(n.Value)
		if n.Kind != yaml.ScalarNode || !ok {
			a.d.fail(n, "write 2xx, 204, 200-299 or a list of them", "expect: %s is no HTTP status", show(n))
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func status(s string) (actions.StatusRange, bool) {
	if len(s) == 3 && s[0] >= '1' && s[0] <= '5' && strings.EqualFold(s[1:], "xx") {
		class := int(s[0]-'0') * 100
		return actions.StatusRange{From: class, To: class + 99}, true
	}
	m := statusRange.FindStringSubmatch(s)
	if m == nil {
		return actions.StatusRange{}, false
	}
	from, _ := strconv.Atoi(m[1]) // three digits
	to := from
	if m[2] != "" {
		to, _ = strconv.Atoi(m[2]) // three digits
	}
	return actions.StatusRange{From: from, To: to}, from <= to
}
