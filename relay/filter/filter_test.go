package filter

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"testing"

	"hookrun/relay/account"
)

// rule reads a rule as the API does.
func rule(t testing.TB, text string) *account.Rule {
	t.Helper()
	var r *account.Rule
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("rule %s: %v", text, err)
	}
	return r
}

func compiled(t testing.TB, text string) *Filter {
	t.Helper()
	f, err := Compile(rule(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// match is a leaf as JSON.
func match(kind, source, name, operand, text string) string {
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`{"match":{"type":%q,"parameter":{"source":%q,"name":%q},%q:%s}}`, kind, source, name, operand, quoted)
}

func value(source, name, text string) string { return match("value", source, name, "value", text) }

func mac(algorithm func() hash.Hash, secret, body string) string {
	m := hmac.New(algorithm, []byte(secret))
	m.Write([]byte(body))
	return hex.EncodeToString(m.Sum(nil))
}

const pushBody = `{"ref":"refs/heads/main","n":12345678901234567890,"f":1.50,"on":true,"none":null,
	"commits":[{"id":"a1","author":{"name":"ann"}},{"id":"b2"}],"a.b":"dotted","a":{"c":"nested"},"twice":1,"twice":2,"empty":""}`

func push() Webhook {
	return Webhook{
		Method: "POST", Path: "/deploy/a%20b", Query: "env=prod&tag=x&tag=y&plus=a+b&bad=%zz", IP: "192.0.2.7", Body: []byte(pushBody),
		Header: http.Header{
			"Content-Type": {"application/json"}, "X-Github-Event": {"push"}, "X-Twice": {"one", "two"}, "X-Same": {"one", "one"},
			"X-Sig":  {"sha256=" + mac(sha256.New, "s3cret", pushBody)},
			"X-Sig1": {"sha1=00, sha1=" + mac(sha1.New, "s3cret", pushBody)},
		},
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		name, rule string
		want       verdict
	}{
		{"header in any case", value("header", "x-github-event", "push"), yes},
		{"header of another value", value("header", "X-GitHub-Event", "pus"), no},
		{"header that is missing", value("header", "X-GitHub-Evnt", "push"), unknown},
		{"header twice, differing", value("header", "X-Twice", "one"), unknown},
		{"header twice, neither", value("header", "X-Twice", "three"), no},
		{"header twice, the same", value("header", "X-Same", "one"), yes},
		{"query", value("query", "env", "prod"), yes},
		{"query with a plus", value("query", "plus", "a b"), yes},
		{"query twice", value("query", "tag", "x"), unknown},
		{"query that can't be decoded", value("query", "bad", "%zz"), unknown},
		{"path, decoded", value("path", "", "/deploy/a b"), yes},
		{"body", match("contains", "body", "", "value", `"refs/heads/main"`), yes},
		{"payload", value("payload", "ref", "refs/heads/main"), yes},
		{"a large number, digit for digit", value("payload", "n", "12345678901234567890"), yes},
		{"a number as it was written", value("payload", "f", "1.50"), yes},
		{"a bool", value("payload", "on", "true"), yes},
		{"null", value("payload", "none", "null"), unknown},
		{"a list element", value("payload", "commits.0.author.name", "ann"), yes},
		{"a list element beyond the end", value("payload", "commits.2.id", "c3"), unknown},
		{"a list element with a leading zero", value("payload", "commits.00.id", "a1"), unknown},
		{"an object is compact JSON", value("payload", "commits.1", `{"id":"b2"}`), yes},
		{"a list contains", match("contains", "payload", "commits", "value", `"id":"b2"`), yes},
		{"a key with a dot", value("payload", "a.b", "dotted"), yes},
		{"a key beside it", value("payload", "a.c", "nested"), yes},
		{"a key in another case", value("payload", "Ref", "refs/heads/main"), unknown},
		{"a key twice", value("payload", "twice", "2"), unknown},
		{"into a text", value("payload", "ref.x", "y"), unknown},
		{"contains", match("contains", "payload", "ref", "value", "heads"), yes},
		{"substring", match("substring", "payload", "ref", "substring", "heads"), yes},
		{"does-not-contain", match("does-not-contain", "payload", "ref", "value", "tags"), yes},
		{"does-not-contain, but it does", match("does-not-contain", "payload", "ref", "value", "heads"), no},
		{"does-not-contain of a missing one", match("does-not-contain", "payload", "rfe", "value", "tags"), unknown},
		{"regex", match("regex", "payload", "ref", "regex", "^refs/(heads|tags)/ma"), yes},
		{"regex that does not match", match("regex", "payload", "ref", "regex", "^heads"), no},
		{"hash", match("payload-hash-sha256", "header", "X-Sig", "secret", "s3cret"), yes},
		{"hash with another secret", match("payload-hash-sha256", "header", "X-Sig", "secret", "other"), no},
		{"hash among several", match("payload-hash-sha1", "header", "X-Sig1", "secret", "s3cret"), yes},
		{"hash that is no hash", match("payload-hash-sha1", "header", "X-Same", "secret", "s3cret"), no},
		{"hash that is missing", match("payload-hash-sha1", "header", "X-None", "secret", "s3cret"), unknown},
		{"network", `{"match":{"type":"ip-range","ip-range":"2001:db8::/32, 192.0.2.0/24"}}`, yes},
		{"address", `{"match":{"type":"ip-range","ip-range":"192.0.2.8"}}`, no},
		{"not", `{"not":` + value("payload", "ref", "x") + `}`, yes},
		{"not of a missing one", `{"not":` + value("payload", "rfe", "x") + `}`, unknown},
		{"not of one that differs", `{"not":` + value("query", "tag", "x") + `}`, unknown},
		{"and", `{"and":[` + value("payload", "on", "true") + `,` + value("query", "env", "prod") + `]}`, yes},
		{"and with a missing one", `{"and":[` + value("payload", "on", "true") + `,` + value("query", "evn", "prod") + `]}`, unknown},
		{"and with a missing one and no", `{"and":[` + value("payload", "x", "true") + `,` + value("query", "env", "dev") + `]}`, no},
		{"or with a missing one", `{"or":[` + value("query", "evn", "x") + `,` + value("query", "env", "prod") + `]}`, yes},
		{"or without", `{"or":[` + value("query", "evn", "x") + `,` + value("query", "env", "dev") + `]}`, unknown},
		{"or, none", `{"or":[` + value("query", "env", "dev") + `]}`, no},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := compiled(t, tt.rule)
			if got := f.root.eval(&look{Webhook: push(), paths: f.paths, work: maxWork}); got != tt.want {
				t.Errorf("%s is %d, want %d", tt.rule, got, tt.want)
			}
			if got := f.Match(push()); got != (tt.want == yes) {
				t.Errorf("Match = %v, want %v", got, tt.want == yes)
			}
		})
	}
}

func TestMatchBodies(t *testing.T) {
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	tests := []struct {
		name   string
		header http.Header
		body   string
		path   string
		want   bool // that it is x
	}{
		{"form", form, "a=1&b=x", "b", true},
		{"form with a key with dots", form, "b.c=x", "b.c", true},
		{"JSON in a form", form, "payload=%7B%22ref%22%3A%22x%22%7D", "payload.ref", true},
		{"broken JSON in a form", form, "payload=%7B%22ref%22%3A%22x%22", "payload.ref", false},
		{"form without its type", nil, "b=x", "b", false},
		{"JSON without a type", nil, ` {"b":"x"}`, "b", true},
		{"a list at the top", nil, `["y",["x"]]`, "1.0", true},
		{"a text at the top", nil, `"x"`, "0", false},
		{"two values", nil, `{"b":"x"}{"b":"x"}`, "b", false},
		{"no body", nil, "", "b", false},
		{"unicode escapes", nil, `{"\u0062":"\u0078"}`, "b", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := compiled(t, value("payload", tt.path, "x"))
			if got := f.Match(Webhook{Header: tt.header, Body: []byte(tt.body)}); got != tt.want {
				t.Errorf("Match(%s) = %v, want %v", tt.body, got, tt.want)
			}
		})
	}
}

func TestNoRuleMatchesAll(t *testing.T) {
	f, err := Compile(nil)
	if err != nil || !f.Match(Webhook{}) {
		t.Errorf("no rule: %v, want that everything matches", err)
	}
}

func TestAddresses(t *testing.T) {
	f := compiled(t, `{"match":{"type":"ip-range","ip-range":"192.0.2.0/24 2001:db8::1"}}`)
	not := compiled(t, `{"not":{"match":{"type":"ip-range","ip-range":"192.0.2.0/24"}}}`)
	for _, tt := range []struct {
		ip        string
		want, not bool
	}{
		{"192.0.2.1", true, false}, {"::ffff:192.0.2.1", true, false}, {"192.0.3.1", false, true},
		{"2001:db8::1", true, true}, {"2001:db8::2", false, true}, {"", false, false}, {"elsewhere", false, false},
	} {
		if got := f.Match(Webhook{IP: tt.ip}); got != tt.want {
			t.Errorf("Match(%q) = %v, want %v", tt.ip, got, tt.want)
		}
		if got := not.Match(Webhook{IP: tt.ip}); got != tt.not {
			t.Errorf("not: Match(%q) = %v, want %v", tt.ip, got, tt.not)
		}
	}
}

// TestTooMuchWorkLetsNothingThrough: neither the rule nor its opposite.
func TestTooMuchWorkLetsNothingThrough(t *testing.T) {
	large := Webhook{Header: http.Header{"X-Sig": {"00"}}, Body: []byte(`{"a":"` + strings.Repeat("x", maxPayload) + `"}`)}
	const levels = maxSegments - 1
	deep := Webhook{Body: []byte(strings.Repeat("[", levels) + `"` + strings.Repeat("x", maxPayload-100) + `"` + strings.Repeat("]", levels))}
	var hashes []string
	for range 100 {
		hashes = append(hashes, match("payload-hash-sha256", "header", "X-Sig", "secret", "s"))
	}
	tests := []struct {
		name, rule string
		w          Webhook
	}{
		{"a payload that is too large", value("payload", "a", "y"), large},
		{"a payload deep down", value("payload", strings.Repeat("0.", levels-1)+"0", "y"), deep},
		{"a regex", match("regex", "body", "", "regex", "(a{30}|b{30}){10}y"), large},
		{"hashes", `{"or":[` + strings.Join(hashes, ",") + `]}`, large},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if compiled(t, tt.rule).Match(tt.w) || compiled(t, `{"not":`+tt.rule+`}`).Match(tt.w) {
				t.Error("it matches, want neither the rule nor its opposite to")
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	deep := strings.Repeat(`{"not":`, maxDepth) + value("body", "", "x") + strings.Repeat("}", maxDepth)
	wide := `{"or":[` + strings.TrimSuffix(strings.Repeat(value("body", "", "x")+",", maxNodes), ",") + `]}`
	tests := []struct{ name, rule, want string }{
		{"empty", `{}`, "rules: has 0 of and, or, not and match; want one"},
		{"mistyped", `{"mach":{}}`, "rules: has 0 of"},
		{"two", `{"not":` + value("body", "", "x") + `,"match":{"type":"value"}}`, "rules: has 2 of"},
		{"empty and", `{"and":[]}`, "rules: has 0 of"},
		{"its place", `{"and":[` + value("body", "", "x") + `,{"not":` + value("bdy", "", "x") + `}]}`, `rules.and[1].not.match.parameter.source: "bdy": want header`},
		{"type", match("vaule", "body", "", "value", "x"), `rules.match.type: "vaule": want value, contains`},
		{"no operand", match("value", "body", "", "value", ""), "rules.match: type value needs value"},
		{"another operand", match("regex", "body", "", "value", "x"), "rules.match: type regex does not take value, it takes regex"},
		{"no secret", match("payload-hash-sha1", "header", "X", "secret", ""), "needs secret"},
		{"two operands", `{"match":{"type":"contains","parameter":{"source":"body"},"value":"x","substring":"y"}}`, "differ"},
		{"no name", value("header", "", "x"), "rules.match.parameter.name: is missing: which header?"},
		{"a name of the body", value("body", "ref", "x"), "source payload"},
		{"regex", match("regex", "body", "", "regex", "(["), "rules.match.regex: "},
		{"costly regex", match("regex", "body", "", "regex", "(a{100}b{100}){20}"), "rules.match.regex: "},
		{"network", `{"match":{"type":"ip-range","ip-range":"10.0.0.0/33"}}`, `"10.0.0.0/33": want a network`},
		{"mapped network", `{"match":{"type":"ip-range","ip-range":"::ffff:10.0.0.0/104"}}`, "want a network"},
		{"network of a header", match("ip-range", "header", "X-Real-Ip", "ip-range", "10.0.0.0/8"), "takes no parameter"},
		{"deep", deep, "more than 32 levels"},
		{"wide", wide, "more than 1000 parts"},
		{"long", value("body", "", strings.Repeat("x", maxText+1)), "rules.match.value: more than 4096 bytes"},
		{"a long path", value("payload", strings.Repeat("a.", maxSegments)+"a", "x"), "more than 32 parts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(rule(t, tt.rule))
			if !errors.Is(err, account.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile = %v, want one of what is invalid with %q", err, tt.want)
			}
		})
	}
}

// FuzzFilter compiles any rule and shows it any webhook: nothing panics, and a
// rule and its opposite never both match.
func FuzzFilter(f *testing.F) {
	f.Add(value("payload", "commits.0.author.name", "ann"), pushBody, "application/json", "a=b", "/x", "192.0.2.1")
	f.Add(match("regex", "query", "a", "regex", "^b"), "a=b&c=%zz", "application/x-www-form-urlencoded", "a=b&a=c", "/%zz", "::1")
	f.Add(`{"and":[{"or":[`+value("header", "x", "y")+`]},{"match":{"type":"ip-range","ip-range":"::/0"}}]}`, `[[[[1]]]]`, "", ";", "", "x")
	f.Add(match("payload-hash-sha1", "header", "Content-Type", "secret", "s"), "", "sha1=00,00", "", "", "")
	f.Add(value("payload", "a.b", "x"), "a=%7B%22b%22%3A%22x%22%7D", "application/x-www-form-urlencoded", "", "", "")
	f.Fuzz(func(t *testing.T, text, body, kind, query, path, ip string) {
		var r account.Rule
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		plain, err := Compile(&r)
		if err != nil {
			if !errors.Is(err, account.ErrInvalid) {
				t.Fatalf("Compile: %v, want one of what is invalid", err)
			}
			return
		}
		w := Webhook{Path: path, Query: query, Header: http.Header{"Content-Type": {kind}}, Body: []byte(body), IP: ip}
		opposite, err := Compile(&account.Rule{Not: &r})
		if err != nil {
			return // one level too deep
		}
		if plain.Match(w) && opposite.Match(w) {
			t.Errorf("%s and its opposite match", text)
		}
	})
}
