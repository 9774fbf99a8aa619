package account

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ErrInvalid is wrapped by errors about what can't be set up so. Their text is
// for whoever asked for it.
var ErrInvalid = errors.New("invalid")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// IsName reports whether a name can be one of a bucket, or a key: letters,
// digits and ~_.- behind a letter or digit, at most MaxName bytes.
func IsName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i, r := range s {
		alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("~_.-", r)) {
			return false
		}
	}
	return true
}

// IsID reports whether s is a lower-case UUID, as clients tell ids from names.
func IsID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !('0' <= r && r <= '9' || 'a' <= r && r <= 'f') {
			return false
		}
	}
	return true
}

// check makes sure that the account can be worked with.
func (a *Account) check() error {
	switch {
	case len(a.Buckets) > MaxBuckets:
		return invalid("more than %d buckets", MaxBuckets)
	case len(a.Tokens) > MaxTokens:
		return invalid("more than %d tokens", MaxTokens)
	}
	taken := map[string]bool{} // ids of all kinds, and names of buckets
	for i := range a.Buckets {
		if err := a.Buckets[i].check(taken); err != nil {
			return err
		}
	}
	if err := a.checkEnds(); err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, t := range a.Tokens {
		if !IsName(t.ID) || keys[t.ID] {
			return invalid("token key %q is no name, or is taken", t.ID)
		}
		if err := short("description", t.Description); err != nil {
			return err
		}
		keys[t.ID] = true
	}
	return nil
}

// checkEnds makes sure that no two inputs are at the same place. One may be below
// another: the longest prefix counts.
func (a *Account) checkEnds() error {
	taken := map[string]bool{}
	for _, b := range a.Buckets {
		for _, in := range b.Inputs {
			if in.CustomDomain == "" {
				continue
			}
			at := strings.ToLower(in.CustomDomain) + strings.TrimSuffix(in.PathPrefix, "/") + "/"
			if taken[at] {
				return invalid("two inputs at %s", at)
			}
			taken[at] = true
		}
	}
	return nil
}

// fits makes sure that an account of so many bytes is not too large, nor is a
// bucket of it.
func (a *Account) fits(size int) error {
	if size > MaxSize {
		return invalid("with that, all that is set up is more than %d bytes", MaxSize)
	}
	if size <= MaxBucketSize {
		return nil // nor is any part of it
	}
	for i := range a.Buckets {
		data, err := json.Marshal(&a.Buckets[i])
		if err != nil {
			return fmt.Errorf("write bucket %s: %w", a.Buckets[i].Name, err)
		}
		if len(data) > MaxBucketSize {
			return invalid("with that, bucket %s is more than %d bytes", a.Buckets[i].Name, MaxBucketSize)
		}
	}
	return nil
}

// use notes that an id or a bucket's name is taken.
func use(taken map[string]bool, what, name string) error {
	if taken[name] {
		return invalid("%s '%s' already exists", what, name)
	}
	taken[name] = true
	return nil
}

func (b *Bucket) check(taken map[string]bool) error {
	switch {
	case !IsID(b.ID):
		return invalid("bucket id %q is no UUID", b.ID)
	case !IsName(b.Name):
		return invalid("bucket name %q: want letters, digits and ~_.-, at most %d", b.Name, MaxName)
	case IsID(b.Name):
		return invalid("bucket name %q looks like an id", b.Name)
	case len(b.Inputs) > MaxInputs:
		return invalid("more than %d inputs in bucket %s", MaxInputs, b.Name)
	case len(b.Outputs) > MaxOutputs:
		return invalid("more than %d outputs in bucket %s", MaxOutputs, b.Name)
	}
	if err := short("description", b.Description); err != nil {
		return err
	}
	if err := cmp.Or(use(taken, "bucket with id", b.ID), use(taken, "bucket with name", b.Name), b.Auth.check()); err != nil {
		return err
	}
	for i := range b.Inputs {
		in := &b.Inputs[i]
		if err := cmp.Or(use(taken, "input with id", in.ID), in.check(b)); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for i := range b.Outputs {
		out := &b.Outputs[i]
		if err := cmp.Or(use(taken, "output with id", out.ID), use(names, "output with name", out.Name), out.check()); err != nil {
			return err
		}
	}
	return nil
}

func (x Auth) check() error {
	switch x.Type {
	case "", AuthNone:
		return nil
	case AuthBasic:
		if x.Username == "" || x.Password == "" {
			return invalid("auth of type basic needs username and password")
		}
	case AuthToken:
		if x.Token == "" {
			return invalid("auth of type token needs a token")
		}
	default:
		return invalid("auth type %q: want none, basic or token", x.Type)
	}
	return nil
}

func (in *Input) check(b *Bucket) error {
	switch {
	case !IsID(in.ID):
		return invalid("input id %q is no UUID", in.ID)
	case in.StatusCode != 0 && (in.StatusCode < 200 || in.StatusCode > 599):
		return invalid("status_code %d: want 200 to 599", in.StatusCode)
	case len(in.Body) > MaxStaticBody:
		return invalid("body of more than %d bytes", MaxStaticBody)
	case in.PathPrefix != "" && !strings.HasPrefix(in.PathPrefix, "/"):
		return invalid("path_prefix %q does not begin with /", in.PathPrefix)
	case strings.ContainsAny(in.CustomDomain, "/: "):
		return invalid("custom_domain %q: want a host name alone", in.CustomDomain)
	case in.Rate < 0:
		return invalid("rate %d is negative", in.Rate)
	}
	if err := cmp.Or(named(in.Name), short("description", in.Description), short("path_prefix", in.PathPrefix), short("custom_domain", in.CustomDomain)); err != nil {
		return err
	}
	from := in.ResponseFromOutput
	if from != "" && from != AnyOutput && !slices.ContainsFunc(b.Outputs, func(o Output) bool { return o.ID == from }) {
		return invalid("response_from_output %q: want %s, or the id of an output of bucket %s", from, AnyOutput, b.Name)
	}
	return in.Headers.check()
}

func (out *Output) check() error {
	u, err := url.Parse(out.Destination)
	switch {
	case !IsID(out.ID):
		return invalid("output id %q is no UUID", out.ID)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return invalid("destination of output '%s': want http:// or https:// and a host", out.Name)
	case out.Timeout < 0 || out.Timeout > 180:
		return invalid("timeout %d: want 0 to 180 seconds", out.Timeout)
	case out.Retries < -1 || out.Retries > 100:
		return invalid("retries %d: want -1 to 100", out.Retries)
	}
	return cmp.Or(named(out.Name), short("description", out.Description), short("destination", out.Destination), out.Headers.check())
}

// short makes sure that a text is not too long.
func short(field, text string) error {
	if len(text) > MaxText {
		return invalid("%s of more than %d bytes", field, MaxText)
	}
	return nil
}

// named makes sure of the name of an input or output, which may be any text.
func named(name string) error {
	if len(name) > MaxName {
		return invalid("name of more than %d bytes", MaxName)
	}
	return nil
}

func (h Header) check() error {
	size := 0
	for name, values := range h {
		size += len(name) * max(1, len(values)) // it is sent with each of them
		for _, v := range values {
			size += len(v)
		}
		if http.CanonicalHeaderKey(name) == "" || strings.ContainsAny(name, " \r\n\x00:") || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\r\n\x00") }) {
			return invalid("header %q: a name is one word, a value one line", name)
		}
	}
	if size > MaxHeader {
		return invalid("headers of more than %d bytes", MaxHeader)
	}
	return nil
}

// index makes what is looked up quick to find.
func (a *Account) index() {
	a.buckets = make(map[string]*Bucket)
	a.inputs = make(map[string]place)
	a.endpoints = make(map[string][]place)
	a.tokens = make(map[string]*Token)
	a.secrets = make(map[string]*Token)
	for i := range a.Buckets {
		b := &a.Buckets[i]
		a.buckets[b.ID], a.buckets[b.Name] = b, b
		for j := range b.Inputs {
			in := &b.Inputs[j]
			a.inputs[in.ID] = place{b, in}
			if in.CustomDomain != "" {
				host := strings.ToLower(in.CustomDomain)
				a.endpoints[host] = append(a.endpoints[host], place{b, in})
			}
		}
	}
	for _, places := range a.endpoints {
		slices.SortStableFunc(places, func(p, q place) int { return len(q.input.PathPrefix) - len(p.input.PathPrefix) })
	}
	for i := range a.Tokens {
		t := &a.Tokens[i]
		a.tokens[t.ID] = t
		_, shared := a.secrets[t.SecretHash]
		if a.secrets[t.SecretHash] = t; shared || t.SecretHash == "" {
			a.secrets[t.SecretHash] = nil
		}
	}
}
