package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func template(t *testing.T, src string) *Template {
	t.Helper()
	tmpl, findings := NewCompiler(World{}).Template(src, func(ref string) (Secret, error) {
		if ref == "env:TOKEN" {
			return NewSecret("s3cret"), nil
		}
		return Secret{}, fmt.Errorf("%s is not set", ref)
	})
	if tmpl == nil {
		t.Fatalf("Template(%s) = %+v, want it to compile", src, findings)
	}
	return tmpl
}

// TestTemplateText holds what {{ }} puts in a value's place.
func TestTemplateText(t *testing.T) {
	const body = `{"ref":"refs/heads/main","n":12,"big":12345678901234567890123,"price":1.10,"tiny":1e-7,"same":[1.5,1.50],
		"yes":true,"nil":null,"obj":{"b":[1,2.50],"a":"<&>"},"empty":""}`
	tests := []struct{ name, src, want, err string }{
		{name: "literal", src: "plain {text} } }} ", want: "plain {text} } }} "},
		{name: "text", src: "deploy {{ body.ref }}!", want: "deploy refs/heads/main!"},
		{name: "two", src: "{{body.n}}-{{ body.yes }}", want: "12-true"},
		{name: "number as the sender wrote it", src: "{{ body.big }} {{ body.price }} {{ body.tiny }}", want: "12345678901234567890123 1.10 1e-7"},
		{name: "one number written in two ways", src: "{{ body.same[0] }}", want: "1.5"},
		{name: "computed", src: "{{ body.n / 8 }} {{ body.n * 2 }}", want: "1.5 24"},
		{name: "object", src: "{{ body.obj }}", want: `{"a":"<&>","b":[1,2.50]}`},
		{name: "empty text is a value", src: "[{{ body.empty }}]", want: "[]"},
		{name: "map inside", src: `{{ {"a": {"b": 1}}.a.b }}`, want: "1"},
		{name: "braces in a text", src: `{{ "}}" }}{{ "{{" }}`, want: "}}{{"},
		{name: "secret", src: "Bearer ${env:TOKEN}", want: "Bearer s3cret"},
		{name: "dollar of another kind", src: "$5 ${HOME} $${env:TOKEN}", want: "$5 ${HOME} ${env:TOKEN}"},
		{name: "values are never compiled", src: "{{ raw }}", want: body},
		{name: "time", src: "{{ now() }} {{ event.received.Year() }}", want: "2026-03-01T12:00:00Z 2026"},
		{name: "nil", src: "x {{ body.nil }}", err: `body.nil: at column 1: it is nil (write ?? "" where it may be empty)`},
		{name: "absent", src: "x {{ body.nope.a }}", err: `body.nope.a: at column 1: the event has no body.nope (write ?? "" where it may be empty)`},
		{name: "may be empty", src: `x {{ body.nope ?? "" }}`, want: "x "},
		{name: "fails", src: "{{ body.nope + 1 }}", err: "body.nope + 1: at column 11: + does not work between nothing (nil) and a number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := template(t, tt.src).Render(NewScope(jsonEvent(body)))
			if got != tt.want {
				t.Errorf("Render(%s) = %q, want %q (err %v)", tt.src, got, tt.want, err)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), tt.err) {
				t.Errorf("Render(%s): error %v, want %q", tt.src, err, tt.err)
			}
		})
	}
}

// TestNumberThatCannotBePrintedExactly shows that a long number is refused
// rather than printed wrong.
func TestNumberThatCannotBePrintedExactly(t *testing.T) {
	s := NewScope(jsonEvent(`{"a":12345678901234567890123,"b":12345678901234567890124}`))
	got, err := template(t, "{{ body.a }}").Render(s)
	if err == nil || !strings.Contains(err.Error(), "can't tell apart") {
		t.Errorf("Render = %q, %v, want an error", got, err)
	}
}

func TestTemplateOfBrokenBodySaysSo(t *testing.T) {
	_, err := template(t, "{{ body.ref }}").Render(NewScope(jsonEvent(`{"ref":`)))
	const want = "it is nil, as the body has no fields: JSON: the body ends too early, at byte 7"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Render: %v, want %q in it", err, want)
	}
}

func TestTemplateKnowsItsParts(t *testing.T) {
	tests := []struct {
		src, leading string
		literal      bool
		expr, secret bool
	}{
		{src: "a b", leading: "a b", literal: true},
		{src: "", leading: "", literal: true},
		{src: "a{{ body.x }}b", leading: "a", expr: true},
		{src: "{{ body.x }}b", expr: true},
		{src: "x${env:TOKEN}", leading: "x", secret: true},
		{src: "$${a}", leading: "${a}", literal: true},
	}
	for _, tt := range tests {
		tmpl := template(t, tt.src)
		text, literal := tmpl.Literal()
		if literal != tt.literal || literal && text != tt.leading || tmpl.LeadingLiteral() != tt.leading ||
			tmpl.HasExpr() != tt.expr || tmpl.HasSecret() != tt.secret {
			t.Errorf("Template(%q): literal %q %v, leading %q, expr %v, secret %v", tt.src, text, literal, tmpl.LeadingLiteral(), tmpl.HasExpr(), tmpl.HasSecret())
		}
	}
}

func TestTemplateFindings(t *testing.T) {
	tests := []struct {
		name, src string
		want      Finding
	}{
		{"unclosed", "ab {{ body.x }", Finding{Offset: 3, Msg: "{{ without }}", Hint: `for plain braces write {{ "{{" }}`}},
		{"empty", "ab {{ }}", Finding{Offset: 6, Msg: "the expression is empty"}},
		{"place", "ab {{ boddy.x }}", Finding{Offset: 6, Msg: `unknown name "boddy"`, Hint: `did you mean "body"?`}},
		{"secret", "ab ${env:NOPE}", Finding{Offset: 3, Msg: "env:NOPE is not set"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl, got := NewCompiler(World{}).Template(tt.src, func(ref string) (Secret, error) { return Secret{}, errors.New(ref + " is not set") })
			if tmpl != nil || len(got) != 1 || got[0] != tt.want {
				t.Errorf("Template(%s) = %v, %+v, want nil, %+v", tt.src, tmpl, got, tt.want)
			}
		})
	}
	if tmpl, got := NewCompiler(World{}).Template("${env:TOKEN}", nil); tmpl != nil || len(got) != 1 || got[0].Msg != "no secret can stand here: ${env:TOKEN}" {
		t.Errorf("Template without secrets = %v, %+v", tmpl, got)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, src := range []string{"a {{ body.x }} b", "{{", "}}", "${env:A}", "$${", `{{ "}}" }}`, "{{ {1:2} }}", "{{ any(body, .x) }}"} {
		f.Add(src, `{"x":1}`)
	}
	f.Fuzz(func(t *testing.T, src, body string) {
		tmpl, findings := NewCompiler(World{}).Template(src, func(string) (Secret, error) { return NewSecret("s"), nil })
		for _, fd := range findings {
			if fd.Offset < 0 || fd.Offset > len(src) || fd.Msg == "" {
				t.Fatalf("Template(%q): finding %+v is nowhere", src, fd)
			}
		}
		if tmpl == nil {
			return
		}
		got, err := tmpl.Render(NewScope(jsonEvent(body)))
		if lit, ok := tmpl.Literal(); ok && (err != nil || got != lit) {
			t.Fatalf("Render(%q) = %q, %v, want the literal %q", src, got, err, lit)
		}
	})
}
