package cli

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"hookrun/engine/rules"
	"hookrun/relay/account"
)

// ensure brings an account in line with a relay's file: what the file names is
// there then, as the file says. A token, input or output that the file named once
// and does not any more goes; a bucket stays, as webhooks are kept for it, and
// its name is among those returned.
func ensure(a *account.Account, f *rules.RelayFile, now time.Time) (left []string) {
	ensureTokens(a, f, now)
	for _, b := range f.Buckets {
		ensureBucket(a, b, now)
	}
	for _, b := range a.Buckets {
		named := slices.ContainsFunc(f.Buckets, func(fb rules.RelayBucket) bool { return fb.Name == b.Name })
		if b.Managed && !named {
			left = append(left, b.Name)
		}
	}
	return left
}

func ensureTokens(a *account.Account, f *rules.RelayFile, now time.Time) {
	named := func(key string) bool {
		return slices.ContainsFunc(f.Tokens, func(t rules.RelayToken) bool { return t.Key == key })
	}
	a.Tokens = slices.DeleteFunc(a.Tokens, func(t account.Token) bool { return t.Managed && !named(t.ID) })
	for _, ft := range f.Tokens {
		t := account.Token{ID: ft.Key, CreatedAt: account.At(now), Active: true, Managed: true}
		i := slices.IndexFunc(a.Tokens, func(t account.Token) bool { return t.ID == ft.Key })
		if i >= 0 {
			t = a.Tokens[i]
		}
		was := t.SecretHash
		t.Managed, t.SecretHash = true, account.HashSecret(ft.Secret.Reveal())
		t.APIAccess = account.APIDisabled
		if ft.API {
			t.APIAccess = account.APIEnabled
		}
		t.Scopes.Buckets = ft.Buckets
		if i >= 0 {
			if was != t.SecretHash {
				t.UpdatedAt = account.At(now)
			}
			a.Tokens[i] = t
			continue
		}
		t.UpdatedAt = t.CreatedAt
		a.Tokens = append(a.Tokens, t)
	}
}

func ensureBucket(a *account.Account, fb rules.RelayBucket, now time.Time) {
	i := slices.IndexFunc(a.Buckets, func(b account.Bucket) bool { return b.Name == fb.Name })
	if i < 0 {
		i = len(a.Buckets)
		a.Buckets = append(a.Buckets, account.Bucket{
			ID: uuid.NewString(), Name: fb.Name, AccountID: a.ID, CreatedAt: account.At(now), UpdatedAt: account.At(now),
		})
	}
	b := &a.Buckets[i]
	b.Managed = true
	b.Description, b.Stream, b.Hasty, b.LargeWebhooks = fb.Description, fb.Stream, !fb.Durable, fb.LargeWebhooks
	b.Auth = account.Auth{
		ID: idOr(b.Auth.ID), Type: fb.Auth.Type, Username: fb.Auth.Username, Password: fb.Auth.Password.Reveal(), Token: fb.Auth.Token.Reveal(),
	}
	b.Outputs = ensureOutputs(b, fb.Outputs, now)
	b.Inputs = ensureInputs(b, fb.Inputs, now)
}

func ensureOutputs(b *account.Bucket, wanted []rules.RelayOutput, now time.Time) []account.Output {
	outs := slices.DeleteFunc(b.Outputs, func(o account.Output) bool {
		return o.Managed && !slices.ContainsFunc(wanted, func(w rules.RelayOutput) bool { return w.Name == o.Name })
	})
	for _, w := range wanted {
		i := slices.IndexFunc(outs, func(o account.Output) bool { return o.Name == w.Name })
		if i < 0 {
			i = len(outs)
			outs = append(outs, account.Output{ID: idOr(w.ID), CreatedAt: account.At(now), UpdatedAt: account.At(now)})
		}
		o := &outs[i]
		if w.ID != "" {
			o.ID = w.ID
		}
		o.Managed, o.Name, o.BucketID = true, w.Name, b.ID
		o.Destination, o.Internal, o.Disabled, o.LockPath = w.Destination, w.Internal, w.Disabled, w.LockPath
		o.Headers, o.Retries, o.Timeout = account.Header(w.Header), w.Retries, int(w.Timeout/time.Second)
		o.TLSVerification, o.Rules = w.TLSVerification, ruleOf(w.Rules)
	}
	return outs
}

func ensureInputs(b *account.Bucket, wanted []rules.RelayInput, now time.Time) []account.Input {
	ins := slices.DeleteFunc(b.Inputs, func(in account.Input) bool {
		return in.Managed && !slices.ContainsFunc(wanted, func(w rules.RelayInput) bool { return w.Name == in.Name })
	})
	for _, w := range wanted {
		i := slices.IndexFunc(ins, func(in account.Input) bool { return in.Name == w.Name })
		if i < 0 {
			i = len(ins)
			ins = append(ins, account.Input{ID: idOr(w.ID), CreatedAt: account.At(now), UpdatedAt: account.At(now)})
		}
		in := &ins[i]
		if w.ID != "" {
			in.ID = w.ID
		}
		in.Managed, in.Name, in.BucketID, in.Description = true, w.Name, b.ID, w.Description
		in.StatusCode, in.Body, in.Headers = w.StatusCode, w.Body, account.Header(w.Header)
		if in.StatusCode == 0 {
			in.StatusCode = http.StatusOK
		}
		in.CustomDomain, in.PathPrefix, in.StripPathPrefix, in.Rate = w.CustomDomain, w.PathPrefix, w.StripPathPrefix, w.Rate
		in.ResponseFromOutput = w.ResponseFromOutput
		if out := b.Output(w.ResponseFromOutput); out != nil {
			in.ResponseFromOutput = out.ID
		}
	}
	return ins
}

func idOr(id string) string {
	if id != "" {
		return id
	}
	return uuid.NewString()
}

// ruleOf is a rule of the file as the account has it.
func ruleOf(r *rules.RelayRule) *account.Rule {
	if r == nil {
		return nil
	}
	out := &account.Rule{And: rulesOf(r.And), Or: rulesOf(r.Or), Not: ruleOf(r.Not)}
	if m := r.Match; m != nil {
		out.Match = &account.Match{
			Type: m.Type, Parameter: account.Parameter{Source: m.Source, Name: m.Name},
			Value: m.Value, Regex: m.Regex, Substring: m.Substring, Secret: m.Secret.Reveal(), IPRange: m.IPRange,
		}
	}
	return out
}

func rulesOf(rs []rules.RelayRule) []account.Rule {
	var out []account.Rule
	for i := range rs {
		out = append(out, *ruleOf(&rs[i]))
	}
	return out
}

// inputURL is where senders send to.
func inputURL(public string, in *account.Input) string {
	if in.CustomDomain != "" {
		return "https://" + in.CustomDomain + in.PathPrefix
	}
	return fmt.Sprintf("%s/v1/webhooks/%s", public, in.ID)
}
