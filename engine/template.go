package engine

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Template is a text with {{ expressions }} and ${secrets} in it.
type Template struct{ parts []part }

// part is one of: a literal text, an expression, a secret.
type part struct {
	text   string
	expr   *program
	secret *Secret
}

// Template compiles src. In it {{ expr }} stands for the expression's value as
// text, and ${env:NAME} or ${file:PATH} for what secret returns of "env:NAME"
// or "file:PATH"; $${ is a plain ${. A nil secret refuses secrets.
// It returns nil where a finding is more than a warning.
func (c *Compiler) Template(src string, secret func(ref string) (Secret, error)) (*Template, []Finding) {
	t := &Template{}
	var findings []Finding
	broken := false
	for at := 0; at < len(src); {
		p, next, found := c.part(src, at, secret)
		for _, f := range found {
			broken = broken || !f.Warning
		}
		findings = append(findings, found...)
		t.parts = append(t.parts, p)
		at = next
	}
	if broken {
		return nil, findings
	}
	return t, findings
}

var secretRef = regexp.MustCompile(`^\$\{((?:env|file):[^}]*)\}`)

// part reads one part from src at at, and says where the next begins.
func (c *Compiler) part(src string, at int, secret func(string) (Secret, error)) (p part, next int, found []Finding) {
	rest := src[at:]
	switch {
	case strings.HasPrefix(rest, "{{"):
		return c.exprPart(src, at)
	case strings.HasPrefix(rest, "$${"):
		return part{text: "${"}, at + 3, nil
	}
	if m := secretRef.FindStringSubmatch(rest); m != nil {
		p, found = secretPart(m[1], at, secret)
		return p, at + len(m[0]), found
	}
	end := 1 // the first byte is literal, whatever it is
	for end < len(rest) && !startsPart(rest[end:]) {
		end++
	}
	return part{text: rest[:end]}, at + end, nil
}

func startsPart(s string) bool {
	return strings.HasPrefix(s, "{{") || strings.HasPrefix(s, "${") || strings.HasPrefix(s, "$${")
}

func (c *Compiler) exprPart(src string, at int) (part, int, []Finding) {
	length := exprEnd(src[at+2:])
	if length < 0 {
		return part{}, len(src), []Finding{{Offset: at, Msg: "{{ without }}", Hint: `for plain braces write {{ "{{" }}`}}
	}
	inner := src[at+2 : at+2+length]
	begin := at + 2 + len(inner) - len(strings.TrimLeft(inner, " \t\r\n"))
	prog, found := c.compile(strings.TrimSpace(inner))
	for i := range found {
		found[i].Offset += begin
	}
	return part{expr: prog}, at + 2 + length + 2, found
}

// exprEnd returns the offset of the }} that ends an expression: one outside of
// texts, and not of a map in a map. -1: there is none.
func exprEnd(s string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case strings.HasPrefix(s[i:], "}}"):
			return i
		}
	}
	return -1
}

func secretPart(ref string, at int, secret func(string) (Secret, error)) (part, []Finding) {
	if secret == nil {
		return part{}, []Finding{{Offset: at, Msg: fmt.Sprintf("no secret can stand here: ${%s}", ref)}}
	}
	s, err := secret(ref)
	if err != nil {
		return part{}, []Finding{{Offset: at, Msg: err.Error()}}
	}
	return part{secret: &s}, nil
}

// Render returns the text for one event. An expression that fails or is nil is
// an error that names it; nothing is ever left out silently.
func (t *Template) Render(s *Scope) (string, error) { return t.RenderWith(s, nil) }

// RenderWith is Render with the text of each expression and secret passed through
// escape, which sees all that stands before it. A nil escape changes nothing.
func (t *Template) RenderWith(s *Scope, escape func(before, value string) (string, error)) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		text, err := s.part(p)
		if err == nil && escape != nil && (p.secret != nil || p.expr != nil) {
			text, err = escape(b.String(), text)
		}
		if p.secret != nil {
			s.reveal(text)
		}
		if err == nil && b.Len()+len(text) > maxText {
			err = errTooLong
		}
		if err != nil {
			return "", err
		}
		s.used.text += len(text)
		b.WriteString(text)
	}
	return b.String(), nil
}

func (s *Scope) part(p part) (string, error) {
	switch {
	case p.secret != nil:
		return p.secret.Reveal(), nil
	case p.expr != nil && s.isOpen(p.expr):
		return s.standIn(p.expr), nil
	case p.expr != nil:
		return s.text(p.expr)
	}
	return p.text, nil
}

// text evaluates the program and makes a text of its value.
func (s *Scope) text(p *program) (string, error) {
	v, err := s.run(p)
	if err != nil {
		return "", err
	}
	text, err := s.doc.text(v)
	switch {
	case errors.Is(err, errNil):
		return "", s.nilError(p, `""`)
	case err != nil:
		return "", &EvalError{Src: p.src, Msg: err.Error(), cause: err}
	}
	return text, nil
}

// nilError says why an expression came to nothing: a field that is not there,
// or a body that is not there at all. empty is what may stand in its place.
func (s *Scope) nilError(p *program, empty string) error {
	e := &EvalError{Src: p.src, Msg: "it is nil", Hint: "write ?? " + empty + " where it may be empty", cause: errNil}
	switch {
	case s.parsed && s.docErr != nil:
		e.Msg = fmt.Sprintf("it is nil, as the body has no fields: %v", s.docErr)
	case len(s.eval.missing) > 0:
		e.Msg = fmt.Sprintf("the event has no %s", strings.Join(s.eval.missing, ", "))
	}
	return e
}

// BeginsOpen reports whether the text begins with what can't be known yet.
func (t *Template) BeginsOpen(s *Scope) bool {
	return len(t.parts) > 0 && t.parts[0].expr != nil && s.isOpen(t.parts[0].expr)
}

// Literal returns the text where it is the same for every event and holds no
// secret.
func (t *Template) Literal() (string, bool) {
	if t.HasExpr() || t.HasSecret() {
		return "", false
	}
	return t.LeadingLiteral(), true
}

// LeadingLiteral returns the text before the first expression or secret.
func (t *Template) LeadingLiteral() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr != nil || p.secret != nil {
			break
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// HasSecret reports whether a secret stands in the template.
func (t *Template) HasSecret() bool {
	for _, p := range t.parts {
		if p.secret != nil {
			return true
		}
	}
	return false
}

// HasExpr reports whether an expression stands in the template: whether a
// value from the outside may get into it.
func (t *Template) HasExpr() bool {
	for _, p := range t.parts {
		if p.expr != nil {
			return true
		}
	}
	return false
}
