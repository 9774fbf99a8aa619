package rules

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

const relayFiles = "../../testdata/rules/relay"

// relayOptions are those of a relay in a folder of its own.
func relayOptions(t testing.TB) Options {
	t.Helper()
	o := testOptions(t)
	write(t, filepath.Join(o.Dir, "hooks.pem"), "a certificate")
	write(t, filepath.Join(o.Dir, "hooks.key"), "a key")
	return o
}

// TestRelayFiles reads every file of testdata/rules/relay, as TestFiles does those
// of the runner.
func TestRelayFiles(t *testing.T) {
	for _, folder := range []string{"good", "bad"} {
		paths, err := filepath.Glob(filepath.Join(relayFiles, folder, "*.yaml"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, path := range paths {
			t.Run(folder+"/"+filepath.Base(path), func(t *testing.T) {
				o := relayOptions(t)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				f, problems := ParseRelayFile(File{filepath.Base(path), data}, o)
				if good := folder == "good"; (f != nil) != good {
					t.Errorf("a file: %v, want %v", f != nil, good)
				}
				golden(t, strings.TrimSuffix(path, ".yaml")+".err", text(problems, o.Dir))
			})
		}
	}
}

// parseRelay reads a file that has to be good.
func parseRelay(t *testing.T, name string, o Options) *RelayFile {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(relayFiles, "good", name))
	if err != nil {
		t.Fatal(err)
	}
	f, problems := ParseRelayFile(File{"relay.yaml", data}, o)
	if f == nil {
		t.Fatalf("ParseRelayFile: %v", problems)
	}
	return f
}

func TestRelayFileIsWhatItSays(t *testing.T) {
	o := relayOptions(t)
	f := parseRelay(t, "whole.yaml", o)
	b := f.Buckets[0]
	in, out := b.Inputs[0], b.Outputs[0]
	tests := []struct {
		name      string
		got, want any
	}{
		{"public_url", f.PublicURL, "https://hooks.example.org"},
		{"strict", f.Strict, true},
		{"proxies", f.Proxies, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::1/128")}},
		{"tokens", f.Tokens, []RelayToken{
			{Key: "buildbox", Secret: engine.NewSecret("s3cret-secret"), Buckets: []string{"deploys"}},
			{Key: "5a0c1c1e-7a58-4a52-9b3a-6f6f1a4b9d10", Secret: engine.NewSecret(secretInFile), API: true},
		}},
		{"buckets", bucketNames(f.Buckets), []string{"deploys", "alerts"}},
		{"flags", []bool{b.Stream, b.Durable, b.LargeWebhooks}, []bool{false, false, true}},
		{"description", b.Description, "what goes live"},
		{"auth", b.Auth, RelayAuth{Type: "basic", Username: "hooks", Password: engine.NewSecret(secretInEnv)}},
		{"an input", in, RelayInput{
			Name: DefaultRelayInput, ID: "b90f2fe9-621d-4290-9e74-edd5b61325dd", Description: "GitHub",
			StatusCode: 202, Body: "queued {{ not a template }}", Header: http.Header{"X-A": {"b", "c"}, "Content-Type": {"text/plain"}},
			ResponseFromOutput: "local", CustomDomain: "hooks.example.org", PathPrefix: "/github", StripPathPrefix: true, Rate: 50,
		}},
		{"another", b.Inputs[1], RelayInput{Name: "the rest", StatusCode: 200, ResponseFromOutput: AnyRelayOutput, CustomDomain: "hooks.example.org"}},
		{"an output", b.Outputs[1], RelayOutput{Name: "chat", Destination: "https://chat.example.org/" + secretInEnv, TLSVerification: true}},
		{"id", out.ID, "0b6a7a08-33ef-4f76-8d8e-3f4e5a1c2b3d"},
		{"destination", out.Destination, "http://localhost:3000/hook?a=b"},
		{"flags of an output", []bool{out.Internal, out.Disabled, out.LockPath, out.TLSVerification}, []bool{true, true, true, false}},
		{"its headers", out.Header, http.Header{"Authorization": {"Bearer " + secretInEnv}}},
		{"its tries", fmt.Sprint(out.Retries, out.Timeout), "-1 30s"},
		{"retention", fmt.Sprint(f.Age, f.Size), "24h0m0s 536870912"},
		{"tls", f.TLS, &RelayTLS{Cert: filepath.Join(o.Dir, "hooks.pem"), Key: filepath.Join(o.Dir, "hooks.key")}},
		{"files", f.Files, []string{"relay.yaml", filepath.Join(o.Dir, "token")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !reflect.DeepEqual(tt.got, tt.want) {
				t.Errorf("it is %+v, want %+v", tt.got, tt.want)
			}
		})
	}
	for _, secret := range []string{"s3cret-secret", secretInFile, secretInEnv, "Bearer " + secretInEnv, "s3cret-key"} {
		if !slices.Contains(f.Secrets, engine.NewSecret(secret)) {
			t.Errorf("%q is not among the secrets to mask", secret)
		}
	}
}

func TestRelayRulesAreWhatTheySay(t *testing.T) {
	got := parseRelay(t, "whole.yaml", relayOptions(t)).Buckets[0].Outputs[0].Rules
	want := &RelayRule{And: []RelayRule{
		{Match: &RelayMatch{Type: "value", Source: "header", Name: "X-GitHub-Event", Value: "push"}},
		{Or: []RelayRule{
			{Match: &RelayMatch{Type: "regex", Source: "payload", Name: "ref", Regex: "^refs/heads/"}},
			{Match: &RelayMatch{Type: "ip-range", IPRange: "192.0.2.0/24"}},
		}},
		{Not: &RelayRule{Match: &RelayMatch{Type: "contains", Source: "path", Value: "draft"}}},
		{Match: &RelayMatch{Type: "payload-hash-sha256", Source: "header", Name: "X-Hub-Signature-256", Secret: engine.NewSecret("s3cret-key")}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("rules are %+v, want %+v", got, want)
	}
}

func TestRelayFileThatSaysLittleHasTheDefaults(t *testing.T) {
	o := relayOptions(t)
	f, problems := ParseRelayFile(File{"relay.yaml", []byte(`{tokens: [{key: one, secret: "${env:RELAY_SECRET}"}], buckets: [{name: deploys, outputs: [{name: local, destination: "http://localhost/"}]}]}`)}, o)
	if f == nil {
		t.Fatal(problems)
	}
	want := []RelayBucket{{
		Name: "deploys", Stream: true, Durable: true, Auth: RelayAuth{Type: "none"},
		Inputs:  []RelayInput{{Name: DefaultRelayInput, StatusCode: 200}},
		Outputs: []RelayOutput{{Name: "local", Destination: "http://localhost/", Internal: true, Timeout: DefaultRelayTimeout, TLSVerification: true}},
	}}
	if !reflect.DeepEqual(f.Buckets, want) {
		t.Errorf("buckets are %+v, want %+v", f.Buckets, want)
	}
	if f.PublicURL != "" || f.Strict || f.TLS != nil || f.Age != DefaultRelayAge || f.Size != DefaultRelaySize {
		t.Errorf("the file is %+v, want the defaults", f)
	}
	if want := []RelayToken{{Key: "one", Secret: engine.NewSecret("s3cret-secret"), API: true}}; !reflect.DeepEqual(f.Tokens, want) {
		t.Errorf("tokens are %+v, want %+v", f.Tokens, want)
	}
}

func TestRelayFileWithACME(t *testing.T) {
	o := relayOptions(t)
	got := parseRelay(t, "acme.yaml", o).TLS
	want := &RelayTLS{ACME: &RelayACME{
		Domains: []string{"hooks.example.org", "b.example.org"}, Email: "ops@example.org",
		Directory: "https://acme.example.org/dir", Cache: filepath.Join(o.Dir, "acme"),
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tls is %+v, want %+v", got, want)
	}
}

// TestRelayFileOfThePath: what is wrong with the file as a file is told like
// what stands in it.
func TestRelayFileOfThePath(t *testing.T) {
	o := relayOptions(t)
	good := filepath.Join(o.Dir, "relay.yaml")
	write(t, good, `tokens: [{key: one, secret: "${env:RELAY_SECRET}"}]`)
	large := filepath.Join(o.Dir, "large.yaml")
	write(t, large, strings.Repeat("#", maxFile+1))
	for _, tt := range []struct{ name, path, want string }{
		{"good", good, ""},
		{"none", "", "no relay file is given"},
		{"a folder", o.Dir, "DIR: it is a folder"},
		{"not there", filepath.Join(o.Dir, "nowhere.yaml"), "DIR/nowhere.yaml: no such file or folder"},
		{"too large", large, "DIR/large.yaml: larger than 4096 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, problems := LoadRelayFile(tt.path, o)
			got := ""
			if p := FirstError(problems); p != nil {
				got = filepath.ToSlash(strings.ReplaceAll(p.String(), o.Dir, "DIR"))
			}
			if got != tt.want || (f != nil) != (tt.want == "") {
				t.Errorf("problem %q, a file: %v, want %q", got, f != nil, tt.want)
			}
			if f != nil && f.Hash != Fingerprint([]string{tt.path}) {
				t.Errorf("hash %s, want that of Fingerprint", f.Hash)
			}
		})
	}
}

// TestRelayWatcherTellsChanges: a good file is told, a bad one with what is wrong,
// and a secret's file counts as part of it.
func TestRelayWatcherTellsChanges(t *testing.T) {
	o := relayOptions(t)
	path := filepath.Join(o.Dir, "relay.yaml")
	say := func(key string) { write(t, path, `tokens: [{key: `+key+`, secret: "${file:token}"}]`) }
	say("one")
	synctest.Test(t, func(t *testing.T) {
		type told struct {
			f        *RelayFile
			problems []Problem
		}
		changes := make(chan told, 1)
		current, problems := LoadRelayFile(path, o)
		if current == nil {
			t.Fatal(problems)
		}
		w := NewRelayWatcher(RelayWatchOptions{
			Path: path, Loaded: current.Hash, NoEvents: true,
			Load:    func() (*RelayFile, []Problem) { return LoadRelayFile(path, o) },
			Also:    func() []string { return current.SecretFiles },
			Changed: func(f *RelayFile, problems []Problem) { changes <- told{f, problems} },
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()

		say("two")
		if c := <-changes; c.f == nil || c.f.Tokens[0].Key != "two" {
			t.Errorf("after an edit: %+v, want token two", c)
		}
		say("'!'")
		if c := <-changes; c.f != nil || FirstError(c.problems) == nil {
			t.Errorf("after a mistake: %+v, want a problem", c)
		}
		say("two")
		if c := <-changes; c.f == nil {
			t.Errorf("after the mend: %+v, want a file", c)
		}
		write(t, filepath.Join(o.Dir, "token"), "another-secret")
		if c := <-changes; c.f == nil || c.f.Tokens[0].Secret.Reveal() != "another-secret" {
			t.Errorf("after an edit of the secret: %+v, want the new secret", c)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
}

func FuzzRelayFile(f *testing.F) {
	paths, _ := filepath.Glob(filepath.Join(relayFiles, "*", "*.yaml"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	o := relayOptions(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := ParseRelayFile(File{"relay.yaml", data}, o)
		if failed(problems) != (file == nil) {
			t.Errorf("a file: %v, with %v", file != nil, problems)
		}
		breaks := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + bytes.Count(data, []byte{0xe2, 0x80}) + bytes.Count(data, []byte{0xc2, 0x85})
		for _, p := range problems {
			if p.Line < 1 || p.Line > breaks+1 || p.Col < 0 || p.Msg == "" {
				t.Errorf("a problem without a place: %+v", p)
			}
		}
		if file != nil {
			checkRelayFile(t, file)
		}
	})
}

// checkRelayFile holds what is promised of every good file.
func checkRelayFile(t *testing.T, f *RelayFile) {
	t.Helper()
	keys := map[string]bool{}
	for _, k := range f.Tokens {
		if keys[k.Key] || !relayNameForm.MatchString(k.Key) || len([]rune(k.Secret.Reveal())) < minRelaySecret {
			t.Errorf("a token that nobody should have: %q", k.Key)
		}
		keys[k.Key] = true
	}
	names := map[string]bool{}
	for _, b := range f.Buckets {
		if names[b.Name] || !relayNameForm.MatchString(b.Name) || len(b.Inputs) == 0 || b.Auth.Type == "" {
			t.Errorf("a bucket that should not be: %+v", b)
		}
		names[b.Name] = true
		for _, in := range b.Inputs {
			if in.StatusCode < 200 || in.StatusCode > 599 || len(in.Body) > maxRelayBody || in.PathPrefix != "" && in.PathPrefix[0] != '/' {
				t.Errorf("an input that should not be: %+v", in)
			}
		}
		for _, out := range b.Outputs {
			if out.Name == "" || out.Destination == "" || out.Timeout < 0 || out.Timeout > maxRelayTimeout || out.Timeout%time.Second != 0 {
				t.Errorf("an output that should not be: %+v", out)
			}
		}
	}
	if f.Age <= 0 || f.Size <= 0 || f.TLS != nil && f.TLS.ACME == nil && (f.TLS.Cert == "" || f.TLS.Key == "") {
		t.Errorf("a file that should not be: %+v", f)
	}
}
