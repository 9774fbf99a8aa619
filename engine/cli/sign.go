package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/engine/verify"
)

const signManual = `hookrun sign -scheme SCHEME -secret SECRET [-body TEXT|@FILE] [flags]
hookrun sign -rules FILE -bucket BUCKET [-body TEXT|@FILE] [flags]

Prints the headers that a sender would add to a webhook with this body, a line
each, as curl and hookrun send take them; and a line that begins with ? for what
it would add to the query. With -rules it signs as the verify of the bucket says.

A secret may be written ${env:NAME} or ${file:PATH}, so that it stands in no list
of processes.

Examples:
  hookrun sign -scheme github -secret '${env:HOOK_SECRET}' -body @push.json
  hookrun sign -rules rules.yaml -bucket payments -body @event.json
  hookrun sign -scheme hmac -set header=X-Sig -set encoding=base64 -secret s3cret -body hello
  curl -d @push.json -H "$(hookrun sign -scheme github -secret s3cret -body @push.json)" http://127.0.0.1:8080/hooks/deploys

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

// signFlags say how to sign.
type signFlags struct {
	scheme  string
	secrets list
	set     list
	rules   list
	bucket  string
	id, url string
}

func (f *signFlags) add(fs *flag.FlagSet, scheme string) {
	fs.StringVar(&f.scheme, scheme, "", "sign by this `SCHEME`: "+strings.Join(verify.Schemes(), ", "))
	fs.Var(&f.secrets, "secret", "the `SECRET` that both sides know, or ${env:NAME} or ${file:PATH}")
	fs.Var(&f.set, "set", "another key of verify, as `KEY=VALUE`; may be repeated")
	fs.Var(&f.rules, "rules", "sign as the rules in this `FILE` say for the bucket; may be repeated")
	fs.StringVar(&f.id, "id", "", "the `ID` of the delivery, for schemes that sign it (default a new one)")
	fs.StringVar(&f.url, "url", "", "the `URL` that the sender calls, for schemes that sign it")
}

// asked reports whether anything is to be signed.
func (f *signFlags) asked() bool { return f.scheme != "" || len(f.rules) > 0 }

// sign returns what the sender of the request would add.
func (f *signFlags) sign(r verify.Request) (verify.Signed, error) {
	v, publicURL, err := f.verifier()
	if err != nil {
		return verify.Signed{}, err
	}
	if r.URL = f.url; r.URL == "" && publicURL != "" {
		r.URL = publicURL
		if r.Query != "" {
			r.URL += "?" + r.Query
		}
	}
	return v.Sign(r, time.Now(), cmp.Or(f.id, "msg_"+engine.NewID()))
}

// verifier is who would check the signature, and the URL that senders call where
// it is known.
func (f *signFlags) verifier() (v *verify.Verifier, publicURL string, err error) {
	if len(f.rules) > 0 {
		return f.verifierOfRules()
	}
	keys := map[string][]string{"scheme": {f.scheme}}
	if len(f.secrets) > 0 {
		keys["secret"] = f.secrets
	}
	for _, set := range f.set {
		key, value, ok := strings.Cut(set, "=")
		if !ok || key == "" {
			return nil, "", &usageError{fmt.Sprintf("-set %q has no key or no =", set), "-set header=X-Signature"}
		}
		keys[key] = append(keys[key], value)
	}
	v, err = rules.NewVerifier(keys, rules.Options{})
	if p, ok := errors.AsType[*rules.Problem](err); ok {
		return nil, "", &usageError{p.Msg, p.Hint}
	}
	return v, strings.Join(keys["public_url"], ""), err
}

func (f *signFlags) verifierOfRules() (v *verify.Verifier, publicURL string, err error) {
	if f.bucket == "" {
		return nil, "", &usageError{"-bucket is missing: it says whose verify in the rules is meant", "-bucket deploys"}
	}
	if f.scheme != "" || len(f.secrets) > 0 || len(f.set) > 0 {
		return nil, "", &usageError{"-rules says how to sign already", "leave the scheme, -secret and -set out"}
	}
	g, problems := rules.Load(f.rules, rules.Options{})
	if g == nil {
		return nil, "", withHint(fmt.Errorf("the rules have problems, the first is: %w", rules.FirstError(problems)), "hookrun check -rules %s", f.rules[0])
	}
	if v, publicURL = g.VerifierOf(f.bucket); v == nil {
		named := slices.Sorted(maps.Keys(g.Rules.Buckets))
		hint := fmt.Sprintf("buckets: {%s: {verify: {scheme: …, secret: …}}}; where a rule says it, sign with -scheme and -secret", f.bucket)
		if near := engine.Nearest(f.bucket, named); near != "" {
			hint = near
		}
		return nil, "", withHint(fmt.Errorf("the rules do not say for bucket %q how its senders are known", f.bucket), "%s", hint)
	}
	return v, publicURL, nil
}

func signCommand() command {
	return command{name: "sign", summary: "print the headers that a sender would sign a webhook with", manual: signManual, run: runSign}
}

func runSign(_ context.Context, p Process, c command, args []string) error {
	var f signFlags
	var body string
	fs := flags(c)
	f.add(fs, "scheme")
	fs.StringVar(&f.bucket, "bucket", "", "the `BUCKET`, with -rules")
	fs.StringVar(&body, "body", "", "the body as `TEXT`, or @FILE")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if !f.asked() {
		return &usageError{"sign: -scheme is missing", "hookrun sign -scheme github -secret '${env:HOOK_SECRET}' -body @push.json"}
	}
	w := webhook{body: body}
	content, err := w.content(p.Stdin)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	from, raw, err := asSent(content)
	if err != nil {
		return fmt.Errorf("sign: %s holds an HTTP request that can't be read: %w", body, err)
	}
	s, err := f.sign(verify.Request{Method: from.Method, Query: from.URL.RawQuery, Header: from.Header, Body: raw})
	if err != nil {
		return prefixed("sign", err)
	}
	printSigned(p.Stdout, s)
	return nil
}

// prefixed says which command an error is of, and keeps its kind.
func prefixed(command string, err error) error {
	if usage, ok := errors.AsType[*usageError](err); ok {
		return &usageError{command + ": " + usage.msg, usage.hint}
	}
	return fmt.Errorf("%s: %w", command, err)
}

func printSigned(w io.Writer, s verify.Signed) {
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		for _, value := range s.Header[name] {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	if len(s.Query) > 0 {
		fmt.Fprintf(w, "?%s\n", s.Query.Encode())
	}
}

// signed adds to a request what its sender would sign it with.
func (f *signFlags) signed(req *http.Request) (*http.Request, error) {
	body := []byte{}
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	s, err := f.sign(verify.Request{Method: req.Method, Query: req.URL.RawQuery, Header: req.Header, Body: body})
	if err != nil {
		return nil, err
	}
	for name, values := range s.Header {
		req.Header[name] = values
	}
	if len(s.Query) > 0 {
		req.URL.RawQuery = joinQuery(req.URL.RawQuery, s.Query)
	}
	return req, nil
}

func joinQuery(raw string, more url.Values) string {
	if raw == "" {
		return more.Encode()
	}
	return raw + "&" + more.Encode()
}
