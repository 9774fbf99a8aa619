package account

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Bounds of an account.
const (
	MaxBuckets    = 10_000
	MaxTokens     = 10_000
	MaxInputs     = 100 // of a bucket
	MaxOutputs    = 100 // of a bucket
	MaxName       = 128 // bytes of a name or key
	MaxStaticBody = 250 << 10
	MaxText       = 4 << 10  // bytes of a description, destination, path or header value
	MaxHeader     = 64 << 10 // bytes of the names and values of an input's or output's headers
	MaxBucketSize = 4 << 20  // bytes of a bucket with all that is in it, as it is stored
	MaxSize       = 64 << 20 // bytes of all of it, as it is stored
)

// Account is all that is set up at a relay. It is never changed: Book replaces it.
type Account struct {
	ID      string   `json:"id"`
	Buckets []Bucket `json:"buckets"` // in the order in which they were made
	Tokens  []Token  `json:"tokens"`

	buckets   map[string]*Bucket // by id and by name
	inputs    map[string]place   // by id
	endpoints map[string][]place // by custom domain, in lower case; the longest path prefix first
	tokens    map[string]*Token
	secrets   map[string]*Token // by SecretHash; nil where two have the same
}

// place is an input and the bucket it belongs to.
type place struct {
	bucket *Bucket
	input  *Input
}

// Bucket finds a bucket by its id or name; nil where there is none.
func (a *Account) Bucket(nameOrID string) *Bucket { return a.buckets[nameOrID] }

// Token finds a token by its key; nil where there is none.
func (a *Account) Token(key string) *Token { return a.tokens[key] }

// Input finds an input by its id; nil where there is none.
func (a *Account) Input(id string) (*Bucket, *Input) {
	p := a.inputs[id]
	return p.bucket, p.input
}

// Endpoint finds the input with that custom domain whose path prefix the escaped
// path begins with; the longest prefix counts. rest is the path that is passed on.
func (a *Account) Endpoint(host, path string) (b *Bucket, in *Input, rest string) {
	for _, p := range a.endpoints[strings.ToLower(host)] {
		rest, ok := below(path, p.input.PathPrefix)
		if !ok {
			continue
		}
		if !p.input.StripPathPrefix {
			rest = path
		}
		return p.bucket, p.input, rest
	}
	return nil, nil, ""
}

// below reports whether a path is a prefix or below it, and what follows.
func below(path, prefix string) (rest string, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok = strings.CutPrefix(path, prefix)
	if !ok || rest != "" && !strings.HasPrefix(rest, "/") {
		return "", false
	}
	if rest == "" {
		rest = "/"
	}
	return rest, true
}

// Input finds an input of a bucket by its id or name; nil where there is none.
func (b *Bucket) Input(nameOrID string) *Input {
	for i := range b.Inputs {
		if in := &b.Inputs[i]; in.ID == nameOrID || in.Name == nameOrID {
			return in
		}
	}
	return nil
}

// Output finds an output of a bucket by its id or name; nil where there is none.
func (b *Bucket) Output(nameOrID string) *Output {
	for i := range b.Outputs {
		if out := &b.Outputs[i]; out.ID == nameOrID || out.Name == nameOrID {
			return out
		}
	}
	return nil
}

// Decode reads what Encode wrote. Empty data is an empty account.
func Decode(data []byte) (*Account, error) {
	a := &Account{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, a); err != nil {
			return nil, fmt.Errorf("read the account: %w", err)
		}
	}
	a.index()
	return a, nil
}

// Encode is the account as it is stored.
func (a *Account) Encode() ([]byte, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("write the account: %w", err)
	}
	return data, nil
}
