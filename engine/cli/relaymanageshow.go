package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

func runRelayBucketsShow(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print it as one JSON object, with the secrets of senders")
	name, err := parseName(p, c, fs, args, "hookrun relay buckets show deploys")
	if err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		b, err := findBucket(ctx, client, name)
		if err != nil {
			return err
		}
		out := screenOf(p.Stdout)
		if asJSON {
			return out.json(b)
		}
		shownBucket{fields{screen: out}, &b}.print()
		return nil
	})
}

// fields prints named values.
type fields struct {
	screen
	indent string
}

// field prints a named value, where there is one.
func (f fields) field(name, value string) {
	if value != "" {
		fmt.Fprintf(f, "%s%-12s %s\n", f.indent, name, printable(value))
	}
}

// headers prints each value of a header.
func (f fields) headers(name string, h account.Header) {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[key] {
			f.field(name, key+": "+value)
		}
	}
}

// inner is f for what belongs to what was printed last.
func (f fields) inner() fields { return fields{f.screen, f.indent + "  "} }

// shownBucket prints the parts of a bucket.
type shownBucket struct {
	fields
	b *manage.Bucket
}

func (s shownBucket) print() {
	b := s.b
	s.field("bucket", b.Name)
	s.field("id", b.ID)
	s.field("description", b.Description)
	s.field("created", stamp(b.CreatedAt))
	s.field("updated", stamp(b.UpdatedAt))
	s.field("set up by", yes(b.Managed, "the relay's file"))
	s.field("senders", sendersOf(b.Auth))
	s.field("answers", yes(b.Hasty, "before a webhook is on disk"))
	s.field("subscribers", yes(!b.Stream, "get nothing: it does not stream"))
	s.field("suspended", yes(b.Suspended, "yes"))
	s.field("bodies", yes(b.LargeWebhooks, "up to 64 MiB"))
	for i := range b.Inputs {
		s.input(&b.Inputs[i])
	}
	for i := range b.Outputs {
		s.output(&b.Outputs[i])
	}
	if len(b.Outputs) == 0 {
		fmt.Fprintln(s, "\nno output: all subscribers get its webhooks")
	}
}

// sendersOf says what senders have to show.
func sendersOf(a account.Auth) string {
	switch a.Type {
	case account.AuthBasic:
		return "show the password of user " + a.Username
	case account.AuthToken:
		return "show a token"
	}
	return ""
}

func (s shownBucket) input(in *manage.Input) {
	fmt.Fprintf(s, "\ninput %s\n", printable(in.Name))
	f := s.inner()
	f.field("url", in.URL)
	f.field("id", in.ID)
	f.field("description", in.Description)
	f.field("set up by", yes(in.Managed, "the relay's file"))
	switch from := in.ResponseFromOutput; {
	case from == account.AnyOutput:
		f.field("answers", "what the first output answers")
	case from != "":
		name := from
		if out := s.b.Output(from); out != nil {
			name = out.Name
		}
		f.field("answers", "what output "+name+" answers")
	case in.StatusCode != 0:
		f.field("answers", fmt.Sprint(in.StatusCode))
	}
	f.field("body", clip(in.Body, maxLineShow))
	f.headers("header", in.Headers)
	f.field("strips", yes(in.StripPathPrefix, in.PathPrefix))
	if in.Rate > 0 {
		f.field("takes", fmt.Sprintf("%d webhooks a second", in.Rate))
	}
}

func (s shownBucket) output(out *account.Output) {
	fmt.Fprintf(s, "\noutput %s\n", printable(out.Name))
	f := s.inner()
	f.field("to", shownURL(out.Destination))
	f.field("sent by", sentBy(out))
	f.field("id", out.ID)
	f.field("description", out.Description)
	f.field("set up by", yes(out.Managed, "the relay's file"))
	f.field("disabled", yes(out.Disabled, "yes"))
	f.field("path", yes(out.LockPath, "is not appended"))
	f.field("certificate", yes(!out.TLSVerification, "is not checked"))
	f.field("sets", strings.Join(slices.Sorted(maps.Keys(out.Headers)), ", "))
	if out.Retries != 0 {
		f.field("retries", fmt.Sprint(out.Retries))
	}
	if out.Timeout != 0 {
		f.field("timeout", fmt.Sprintf("%ds", out.Timeout))
	}
	if out.Rules != nil {
		fmt.Fprintf(f, "%swhere\n", f.indent)
		f.inner().rule(out.Rules)
	}
}

// sentBy says who sends what an output gets.
func sentBy(out *account.Output) string {
	if out.Internal {
		return "subscribers"
	}
	return "the relay"
}

// rule prints a tree of conditions, a line each, without its secrets.
func (f fields) rule(r *account.Rule) {
	several := func(word string, rules []account.Rule) {
		fmt.Fprintf(f, "%s%s\n", f.indent, word)
		for i := range rules {
			f.inner().rule(&rules[i])
		}
	}
	switch {
	case r.Match != nil:
		fmt.Fprintf(f, "%s%s\n", f.indent, printable(matchWords(r.Match)))
	case r.Not != nil:
		several("not", []account.Rule{*r.Not})
	case r.Or != nil:
		several("one of", r.Or)
	default:
		several("all of", r.And)
	}
}

// matchWords is a condition in a line.
func matchWords(m *account.Match) string {
	what := strings.TrimSpace(m.Parameter.Source + " " + m.Parameter.Name)
	with := m.Value + m.Regex + m.Substring + m.IPRange // one of them is set
	if m.Secret != "" {
		with = "with a secret"
	}
	return strings.TrimSpace(what + " " + m.Type + " " + with)
}
