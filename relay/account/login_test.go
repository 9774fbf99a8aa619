package account

import "testing"

func TestAuthenticate(t *testing.T) {
	a := small()
	a.Tokens = append(a.Tokens,
		Token{ID: "off", SecretHash: HashSecret("sk-off")},
		Token{ID: "twin1", Active: true, SecretHash: HashSecret("sk-twin")},
		Token{ID: "twin2", Active: true, SecretHash: HashSecret("sk-twin")},
		Token{ID: "blank", Active: true},
		Token{ID: SecretOnly, Active: true, SecretHash: HashSecret("sk-named-whr")},
	)
	a.index()
	for _, tt := range []struct{ name, key, secret, want string }{
		{"key and secret", "buildbox", "correct horse", "buildbox"},
		{"wrong secret", "buildbox", "correct hors", ""},
		{"no secret", "buildbox", "", ""},
		{"the hash is no secret", "buildbox", HashSecret("correct horse"), ""},
		{"unknown key", "nobody", "correct horse", ""},
		{"key in other letters", "BUILDBOX", "correct horse", ""},
		{"API key as a Bearer", "", "sk-abc", id(30)},
		{"API key on the socket", SecretOnly, "sk-abc", id(30)},
		{"API key with its token's key", id(30), "sk-abc", id(30)},
		{"API key with another's key", "buildbox", "sk-abc", ""},
		{"a secret alone that is no API key", "", "correct horse", ""},
		{"unknown API key", "", "sk-abd", ""},
		{"inactive", "off", "sk-off", ""},
		{"inactive, secret alone", "", "sk-off", ""},
		{"a secret that two have names nobody", "", "sk-twin", ""},
		{"but with a key it does", "twin2", "sk-twin", "twin2"},
		{"a token without a secret", "blank", "", ""},
		{"neither", "", "", ""},
		{"a token whose key is whr", SecretOnly, "sk-named-whr", SecretOnly},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if token := Authenticate(a, tt.key, tt.secret); token != nil {
				got = token.ID
			}
			if got != tt.want {
				t.Errorf("Authenticate(%q, %q) = %q, want %q", tt.key, tt.secret, got, tt.want)
			}
		})
	}
}

func TestSees(t *testing.T) {
	a := small()
	b, other := a.Bucket("deploys"), a.Bucket("other")
	for _, tt := range []struct {
		name        string
		scope       []string
		sees, other bool
	}{
		{"everything", nil, true, true},
		{"by name", []string{"deploys"}, true, false},
		{"by id", []string{id(20)}, false, true},
		{"one that there is not", []string{"gone"}, false, false},
	} {
		token := Token{Scopes: Scopes{Buckets: tt.scope}}
		if got := token.Sees(b); got != tt.sees {
			t.Errorf("%s: sees deploys: %v, want %v", tt.name, got, tt.sees)
		}
		if got := token.Sees(other); got != tt.other {
			t.Errorf("%s: sees other: %v, want %v", tt.name, got, tt.other)
		}
	}
}
