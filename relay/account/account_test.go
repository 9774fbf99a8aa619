package account

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// id makes lower-case UUIDs that a test can tell apart.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// small is a sound account: two buckets, of which the first has two inputs and
// an output, and two tokens.
func small() *Account {
	a := &Account{ID: id(1), Buckets: []Bucket{
		{ID: id(10), Name: "deploys", Stream: true, Inputs: []Input{
			{ID: id(11), Name: DefaultInput, BucketID: id(10)},
			{ID: id(12), Name: "own domain", BucketID: id(10), CustomDomain: "Hooks.example.org", PathPrefix: "/ci", ResponseFromOutput: id(13)},
		}, Outputs: []Output{{ID: id(13), Name: "local", BucketID: id(10), Destination: "http://localhost:3000/hook"}}},
		{ID: id(20), Name: "other"},
	}, Tokens: []Token{
		{ID: "buildbox", Active: true, SecretHash: HashSecret("correct horse")},
		{ID: id(30), Active: true, SecretHash: HashSecret("sk-abc"), Scopes: Scopes{Buckets: []string{"deploys"}}},
	}}
	a.index()
	return a
}

func TestFindByNameOrID(t *testing.T) {
	a := small()
	for _, name := range []string{"deploys", id(10)} {
		if got := a.Bucket(name); got == nil || got.ID != id(10) {
			t.Errorf("Bucket(%q) = %v, want that with id %s", name, got, id(10))
		}
	}
	if got := a.Bucket("none"); got != nil {
		t.Errorf("Bucket(none) = %v, want nil", got)
	}
	b := a.Bucket("deploys")
	if got := b.Input(DefaultInput); got == nil || got.ID != id(11) {
		t.Errorf("Input(%q) = %v, want %s", DefaultInput, got, id(11))
	}
	if got := b.Output(id(13)); got == nil || got.Name != "local" {
		t.Errorf("Output(%s) = %v, want local", id(13), got)
	}
	if got := b.Output("none"); got != nil {
		t.Errorf("Output(none) = %v, want nil", got)
	}
	if bucket, in := a.Input(id(12)); bucket != b || in.Name != "own domain" {
		t.Errorf("Input(%s) = %v, %v, want own domain of deploys", id(12), bucket, in)
	}
	if bucket, in := a.Input("none"); bucket != nil || in != nil {
		t.Errorf("Input(none) = %v, %v, want nil, nil", bucket, in)
	}
}

func TestEndpointTakesTheLongestPrefix(t *testing.T) {
	a := &Account{Buckets: []Bucket{{ID: id(1), Name: "b", Inputs: []Input{
		{ID: id(2), Name: "all", CustomDomain: "hooks.example.org"},
		{ID: id(3), Name: "ci", CustomDomain: "hooks.example.org", PathPrefix: "/ci/"},
		{ID: id(4), Name: "deep", CustomDomain: "Hooks.Example.org", PathPrefix: "/ci/deep", StripPathPrefix: true},
		{ID: id(5), Name: "narrow", CustomDomain: "narrow.example.org", PathPrefix: "/only"},
	}}}}
	a.index()
	for _, tt := range []struct{ host, path, input, rest string }{
		{"hooks.example.org", "/", "all", "/"},
		{"HOOKS.example.org", "/cider", "all", "/cider"},
		{"hooks.example.org", "/ci", "ci", "/ci"},
		{"hooks.example.org", "/ci/x%2Fy", "ci", "/ci/x%2Fy"},
		{"hooks.example.org", "/ci/deep", "deep", "/"},
		{"hooks.example.org", "/ci/deep/er", "deep", "/er"},
		{"hooks.example.org", "/ci/deeper", "ci", "/ci/deeper"},
		{"narrow.example.org", "/else", "", ""},
		{"elsewhere.example.org", "/", "", ""},
	} {
		_, in, rest := a.Endpoint(tt.host, tt.path)
		name := ""
		if in != nil {
			name = in.Name
		}
		if name != tt.input || rest != tt.rest {
			t.Errorf("Endpoint(%s, %s) = %q, %q, want %q, %q", tt.host, tt.path, name, rest, tt.input, tt.rest)
		}
	}
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	first, err := small().Encode()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Decode(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(second) != string(first) {
		t.Errorf("written again: %s, want %s", second, first)
	}
	if a.Token("buildbox") == nil || a.Bucket("other") == nil {
		t.Error("what was decoded can't be found")
	}
	if empty, err := Decode(nil); err != nil || empty.Bucket("x") != nil {
		t.Errorf("Decode(nil) = %v, %v, want an empty account", empty, err)
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("Decode of half an object: no error")
	}
}

func TestTimeOnTheWire(t *testing.T) {
	for _, tt := range []struct{ name, in, out string }{
		{"seconds", "1700000000", "1700000000"},
		{"before 1970", "-1", "-1"},
		{"the epoch is a time", "0", "0"},
		{"zero time", "-62135596800", "-62135596800"},
		{"null", "null", "-62135596800"},
		{"RFC 3339", `"2023-11-14T22:13:20Z"`, "1700000000"},
		{"with a zone and a fraction", `"2023-11-14T23:13:20.9+01:00"`, "1700000000"},
		{"zero in RFC 3339", `"0001-01-01T00:00:00Z"`, "-62135596800"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var at Time
			if err := json.Unmarshal([]byte(tt.in), &at); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(at)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.out {
				t.Errorf("%s became %s, want %s", tt.in, got, tt.out)
			}
			if at.IsZero() != (tt.out == "-62135596800") {
				t.Errorf("IsZero of %s = %v", tt.in, at.IsZero())
			}
		})
	}
	for _, in := range []string{`"yesterday"`, "1.5", "true", "{}", `""`} {
		var at Time
		if err := json.Unmarshal([]byte(in), &at); err == nil {
			t.Errorf("time %s: no error, but %v", in, at)
		}
	}
	if got := At(time.Unix(5, 999).In(time.FixedZone("x", 3600))); !got.Time.Equal(time.Unix(5, 0)) || got.Location() != time.UTC {
		t.Errorf("At cuts to %v, want 5 s in UTC", got)
	}
}

func TestHeaderOnTheWire(t *testing.T) {
	for _, tt := range []struct{ name, in, out string }{
		{"lists", `{"x-a":["1","2"]}`, `{"X-A":["1","2"]}`},
		{"texts", `{"xkey":"xvalue"}`, `{"Xkey":["xvalue"]}`},
		{"null", `null`, `{}`},
		{"empty", `{}`, `{}`},
		{"no value", `{"X-A":[]}`, `{"X-A":[]}`},
		{"null value", `{"X-A":null}`, `{"X-A":[]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h Header
			if err := json.Unmarshal([]byte(tt.in), &h); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.out {
				t.Errorf("%s became %s, want %s", tt.in, got, tt.out)
			}
		})
	}
	var h Header
	if err := json.Unmarshal([]byte(`{"x-a":"1","X-A":["2"]}`), &h); err != nil || len(h["X-A"]) != 2 {
		t.Errorf("one name in two spellings: %v, %v, want both values", h, err)
	}
	for _, in := range []string{`[]`, `"x"`, `{"a":1}`, `{"a":[1]}`, `{"a":{"b":"c"}}`} {
		if err := json.Unmarshal([]byte(in), &h); err == nil {
			t.Errorf("header %s: no error", in)
		}
	}
}
