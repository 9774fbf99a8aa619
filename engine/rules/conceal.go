package rules

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Conceal returns the text of a rules file as people may see it: in the place of
// each secret that is written out in it, on each of its lines, is what hide makes of
// the secret. There are as many lines as before. References to secrets stay.
//
// Secrets are the values of keys that are there for them and of headers and
// variables with such a name; besides, in any text and comment, what looks like
// one: in the query, the path or before the host of a URL, or behind a name and a
// colon. known are those of the first kind and of URLs.
func Conceal(f File, hide func(secret string) string) (text string, known []engine.Secret) {
	src, problem := newSource(f)
	if problem != nil {
		return "", nil // none that were ever in force
	}
	c := &concealer{src: src}
	if root, problem := src.parse(rulesKind()); problem == nil {
		c.node(root, false)
	}
	c.urls()
	for _, s := range c.spans {
		known = append(known, engine.NewSecret(s.secret))
	}
	c.named()
	return c.text(hide), known
}

// minWritten is the length from which what is written out in the place of a secret
// is looked for elsewhere: a shorter one may be any word. What verifies senders is,
// in any case.
const minWritten = 8

// written takes for secrets what is written out where one stands: in headers and
// variables with such a name, and in URLs. Nothing else says that they are.
func (l *loader) written(files []File) {
	for _, f := range files {
		_, known := Conceal(f, func(string) string { return "" })
		for _, s := range known {
			value := s.Reveal()
			_, token, _ := strings.Cut(value, " ") // behind Bearer
			for _, text := range []string{value, token} {
				if s := engine.NewSecret(text); len(text) >= minWritten && !secretOrTemplate.MatchString(value) && !slices.Contains(l.secrets, s) {
					l.secrets = append(l.secrets, s)
				}
			}
		}
	}
}

// concealer finds the secrets in a file.
type concealer struct {
	src   *source
	spans []secretSpan
}

// secretSpan is where a secret stands in a file, in bytes.
type secretSpan struct {
	from, to int
	secret   string
}

// node looks for secrets below a node. keys is set where those named key are
// secrets, too: elsewhere they are expressions or files.
func (c *concealer) node(n *yaml.Node, keys bool) {
	if n.Kind != yaml.MappingNode {
		for _, in := range n.Content {
			c.node(in, keys)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		if engine.IsCredential(name) || keys && name == "key" {
			c.secret(value, keys)
			continue
		}
		c.node(value, keys || name == "relay" || name == "verify")
	}
}

// secret takes in what a key for secrets has: one, or several.
func (c *concealer) secret(n *yaml.Node, keys bool) {
	switch n.Kind {
	case yaml.AliasNode:
		c.secret(n.Alias, keys)
	case yaml.SequenceNode:
		for _, in := range n.Content {
			c.secret(in, keys)
		}
	case yaml.ScalarNode:
		if isLiteral(n.Value) {
			from, to := c.src.extent(n)
			c.spans = append(c.spans, secretSpan{from, to, n.Value})
		}
	default:
		c.node(n, keys)
	}
}

var (
	secretOrTemplate = regexp.MustCompile(`(?s)\$\{(?:env|file):[^}]*\}|\{\{.*?\}\}`)
	authScheme       = regexp.MustCompile(`^[A-Za-z]{1,20}$`)
)

// isLiteral reports whether more than references, and a scheme before one, is
// written in the place of a secret.
func isLiteral(value string) bool {
	rest := strings.TrimSpace(secretOrTemplate.ReplaceAllString(value, ""))
	return rest != "" && (!secretOrTemplate.MatchString(value) || !authScheme.MatchString(rest))
}

// extent is where the source of a scalar begins and ends. Where value and source
// part, it ends with the line.
func (s *source) extent(n *yaml.Node) (from, to int) {
	const white = " \t\r\n"
	rest := strings.TrimLeft(n.Value, white)
	from = s.content(n)
	from += len(s.text[from:]) - len(strings.TrimLeft(s.text[from:], white))
	for to = from; strings.TrimRight(rest, white) != "" && to < len(s.text); {
		char, width := sourceChar(n.Style, s.text[to:])
		if strings.Trim(char, white) != "" {
			if !strings.HasPrefix(rest, char) {
				line, _ := s.position(to)
				return from, s.offset(line, 1) + len(s.line(line))
			}
			rest = rest[len(char):]
		}
		rest = strings.TrimLeft(rest, white)
		to += width
	}
	return from, to
}

// What a secret looks like in a text. The last group is the secret.
var (
	namedSecret = regexp.MustCompile(`(?i)(?:token|secret|passw(?:or)?d|(?:api|access|auth|secret|private|signing)[-_]?key|authorization|cookie)["']?[ \t]*[:=][ \t]*["']?(?:(?:bearer|basic|token|bot)[ \t]+)?([^\s"',;=\[\]{}()|>$*&#][^\s"',;\]}&#]*)`)
	schemeAlone = regexp.MustCompile(`(?i)^(?:bearer|basic|token|bot)$`)
	urlPassword = regexp.MustCompile(`://[^/\s"'@:]*:([^/\s"'@{$*][^/\s"'@]*)@`)
	urlUser     = regexp.MustCompile(`://([^/\s"'@:{$*]{16,})@`)
	urlQuery    = regexp.MustCompile(`[?&]([^=&\s"'#]+)=([^&\s"'#{$*][^&\s"'#]*)`)
	urlText     = regexp.MustCompile(`https?://[^\s"'?#]+`)
	longHex     = regexp.MustCompile(`^[0-9a-f]{32,}$`)
	urlSegment  = regexp.MustCompile(`/([A-Za-z0-9_-]{20,})`)
)

// named takes in what stands behind the name of a secret.
func (c *concealer) named() {
	for _, m := range namedSecret.FindAllStringSubmatchIndex(c.src.text, -1) {
		if !schemeAlone.MatchString(c.src.text[m[2]:m[3]]) { // before a reference
			c.looksSo(m[2], m[3])
		}
	}
}

// urls takes in what looks like a secret in a URL.
func (c *concealer) urls() {
	for _, re := range []*regexp.Regexp{urlPassword, urlUser} {
		for _, m := range re.FindAllStringSubmatchIndex(c.src.text, -1) {
			c.looksSo(m[2], m[3])
		}
	}
	for _, m := range urlQuery.FindAllStringSubmatchIndex(c.src.text, -1) {
		if engine.IsCredentialParam(c.src.text[m[2]:m[3]]) {
			c.looksSo(m[4], m[5])
		}
	}
	for _, u := range urlText.FindAllStringIndex(c.src.text, -1) {
		for _, m := range urlSegment.FindAllStringSubmatchIndex(c.src.text[u[0]:u[1]], -1) {
			if from, to := u[0]+m[2], u[0]+m[3]; isRandom(c.src.text[from:to]) {
				c.looksSo(from, to)
			}
		}
	}
}

// isRandom reports whether a part of a path that is long looks as nobody would name
// a thing.
func isRandom(text string) bool {
	const digits, lower, upper = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return strings.ContainsAny(text, digits) && (strings.ContainsAny(text, lower) && strings.ContainsAny(text, upper) || longHex.MatchString(text))
}

func (c *concealer) looksSo(from, to int) {
	c.spans = append(c.spans, secretSpan{from, to, c.src.text[from:to]})
}

// text is the file with its secrets hidden.
func (c *concealer) text(hide func(secret string) string) string {
	slices.SortStableFunc(c.spans, func(a, b secretSpan) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var out strings.Builder
	at := 0
	for _, s := range c.spans {
		if s.from < at {
			if s.to <= at {
				continue // it is part of what is hidden
			}
			s.from = at
		}
		out.WriteString(c.src.text[at:s.from])
		at = s.to
		for line := range strings.Lines(c.src.text[s.from:s.to]) {
			visible := strings.TrimSpace(line)
			if visible == "" {
				out.WriteString(line)
				continue
			}
			begin := strings.Index(line, visible)
			out.WriteString(line[:begin] + hide(s.secret) + line[begin+len(visible):])
		}
	}
	out.WriteString(c.src.text[at:])
	return out.String()
}
