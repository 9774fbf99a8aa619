package account

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	if err := small().check(); err != nil {
		t.Fatalf("a sound account: %v", err)
	}
	for _, tt := range []struct {
		name string
		edit func(a *Account)
		want string // part of the error
	}{
		{"bucket id", func(a *Account) { a.Buckets[0].ID = "x" }, `bucket id "x" is no UUID`},
		{"upper-case id", func(a *Account) { a.Buckets[0].ID = strings.ToUpper(id(0xabc)) }, "is no UUID"},
		{"bucket name", func(a *Account) { a.Buckets[0].Name = "a b" }, `bucket name "a b"`},
		{"no bucket name", func(a *Account) { a.Buckets[0].Name = "" }, `bucket name ""`},
		{"name like an id", func(a *Account) { a.Buckets[0].Name = id(7) }, "looks like an id"},
		{"long name", func(a *Account) { a.Buckets[0].Name = strings.Repeat("a", MaxName+1) }, "at most 128"},
		{"two of a name", func(a *Account) { a.Buckets[1].Name = "deploys" }, "bucket with name 'deploys' already exists"},
		{"two of an id", func(a *Account) { a.Buckets[1].ID = id(10) }, "bucket with id '" + id(10) + "' already exists"},
		{"an input's id is a bucket's", func(a *Account) { a.Buckets[0].Inputs[0].ID = id(10) }, "input with id '" + id(10) + "' already exists"},
		{"long description", func(a *Account) { a.Buckets[0].Description = strings.Repeat("a", MaxText+1) }, "description of more than"},
		{"auth type", func(a *Account) { a.Buckets[0].Auth.Type = "oauth" }, `auth type "oauth"`},
		{"basic without password", func(a *Account) { a.Buckets[0].Auth = Auth{Type: AuthBasic, Username: "u"} }, "needs username and password"},
		{"token without token", func(a *Account) { a.Buckets[0].Auth = Auth{Type: AuthToken} }, "needs a token"},
		{"input id", func(a *Account) { a.Buckets[0].Inputs[0].ID = "" }, "input id"},
		{"status code", func(a *Account) { a.Buckets[0].Inputs[0].StatusCode = 199 }, "status_code 199"},
		{"body", func(a *Account) { a.Buckets[0].Inputs[0].Body = strings.Repeat("a", MaxStaticBody+1) }, "body of more than"},
		{"path prefix", func(a *Account) { a.Buckets[0].Inputs[0].PathPrefix = "ci" }, `path_prefix "ci"`},
		{"custom domain", func(a *Account) { a.Buckets[0].Inputs[0].CustomDomain = "a.example:80" }, "want a host name alone"},
		{"two at an endpoint", func(a *Account) {
			a.Buckets[0].Inputs[0].CustomDomain, a.Buckets[0].Inputs[0].PathPrefix = "hooks.EXAMPLE.org", "/ci/"
		}, "two inputs at"},
		{"another bucket's input at an endpoint", func(a *Account) {
			a.Buckets[1].Inputs = []Input{{ID: id(21), CustomDomain: "HOOKS.example.org", PathPrefix: "/ci"}}
		}, "two inputs at hooks.example.org/ci/"},
		{"rate", func(a *Account) { a.Buckets[0].Inputs[0].Rate = -1 }, "rate -1"},
		{"input header", func(a *Account) { a.Buckets[0].Inputs[0].Headers = Header{"X": {"a\r\nb"}} }, `header "X"`},
		{"long input headers", func(a *Account) {
			a.Buckets[0].Inputs[0].Headers = Header{"X-A": {strings.Repeat("a", MaxHeader-3), ""}}
		}, "headers of more than 65536 bytes"},
		{"many empty output headers", func(a *Account) {
			a.Buckets[0].Outputs[0].Headers = Header{"X-A": make([]string, MaxHeader/3+1)}
		}, "headers of more than 65536 bytes"},
		{"long input name", func(a *Account) { a.Buckets[0].Inputs[0].Name = strings.Repeat("a", MaxName+1) }, "name of more than"},
		{"response from nowhere", func(a *Account) { a.Buckets[0].Inputs[1].ResponseFromOutput = id(99) }, "response_from_output"},
		{"output id", func(a *Account) { a.Buckets[1].Outputs = []Output{{Destination: "http://x"}} }, "output id"},
		{"two outputs of a name", func(a *Account) {
			a.Buckets[0].Outputs = append(a.Buckets[0].Outputs, Output{ID: id(14), Name: "local", Destination: "http://x"})
		}, "output with name 'local' already exists"},
		{"destination", func(a *Account) { a.Buckets[0].Outputs[0].Destination = "localhost:3000" }, "destination of output 'local'"},
		{"destination without a host", func(a *Account) { a.Buckets[0].Outputs[0].Destination = "http:///x" }, "destination of output 'local'"},
		{"timeout", func(a *Account) { a.Buckets[0].Outputs[0].Timeout = 181 }, "timeout 181"},
		{"retries", func(a *Account) { a.Buckets[0].Outputs[0].Retries = -2 }, "retries -2"},
		{"output header", func(a *Account) { a.Buckets[0].Outputs[0].Headers = Header{"a b": {"c"}} }, `header "a b"`},
		{"token key", func(a *Account) { a.Tokens[0].ID = "-x" }, `token key "-x"`},
		{"two tokens of a key", func(a *Account) { a.Tokens[1].ID = "buildbox" }, "token key"},
		{"too many inputs", func(a *Account) { a.Buckets[0].Inputs = make([]Input, MaxInputs+1) }, "more than 100 inputs"},
		{"too many outputs", func(a *Account) { a.Buckets[0].Outputs = make([]Output, MaxOutputs+1) }, "more than 100 outputs"},
		{"too many buckets", func(a *Account) { a.Buckets = make([]Bucket, MaxBuckets+1) }, "more than 10000 buckets"},
		{"too many tokens", func(a *Account) { a.Tokens = make([]Token, MaxTokens+1) }, "more than 10000 tokens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := small()
			tt.edit(a)
			err := a.check()
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrInvalid) {
				t.Errorf("check: %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestInputsThatMayShareADomain(t *testing.T) {
	for _, tt := range []struct {
		name, domain, prefix string
		bucket               int
	}{
		{"below, of the same bucket", "hooks.example.org", "/ci/deep", 0},
		{"above, of the same bucket", "hooks.example.org", "", 0},
		{"below, of another", "hooks.example.org", "/ci/deep", 1},
		{"beside, of another", "hooks.example.org", "/cider", 1},
		{"beside, of another, in other letters", "hooks.example.org", "/CI", 1},
		{"another domain", "hooks.example.or", "/ci", 1},
		{"a longer domain", "hooks.example.org.example", "/ci", 1},
		{"without a domain", "", "/ci", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := small()
			b := &a.Buckets[tt.bucket]
			b.Inputs = append(b.Inputs, Input{ID: id(99), CustomDomain: tt.domain, PathPrefix: tt.prefix})
			if err := a.check(); err != nil {
				t.Errorf("check: %v, want nil", err)
			}
		})
	}
}

func TestHeadersOfJustTheBoundAreTaken(t *testing.T) {
	a := small()
	a.Buckets[0].Inputs[0].Headers = Header{"X-A": {strings.Repeat("a", MaxHeader-3)}}
	if err := a.check(); err != nil {
		t.Errorf("check: %v, want nil", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "9", "a.b~c_d-e", strings.Repeat("a", MaxName)} {
		if !IsName(name) {
			t.Errorf("IsName(%q) = false, want true", name)
		}
	}
	for _, name := range []string{"", ".a", "-a", "a/b", "a b", "ä", "aä", strings.Repeat("a", MaxName+1)} {
		if IsName(name) {
			t.Errorf("IsName(%q) = true, want false", name)
		}
	}
	for _, text := range []string{"", id(1)[1:], id(1) + "0", strings.ReplaceAll(id(1), "-", "0"), strings.Replace(id(1), "4", "g", 1)} {
		if IsID(text) {
			t.Errorf("IsID(%q) = true, want false", text)
		}
	}
}
