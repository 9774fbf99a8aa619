package account

import (
	"context"
	"strings"
	"time"
)

// SecretOnly is the key of clients that have nothing but a secret. The secret
// alone names the token then, where it begins with SecretPrefix.
const SecretOnly = "whr"

// SecretPrefix begins every secret that a relay made.
const SecretPrefix = "sk-"

// loginEvery is how long a later login of a token is not worth a write to disk.
const loginEvery = time.Hour

// BySecret finds a token by HashSecret of its secret; nil where there is none,
// or where two share that secret, as it names neither then.
func (a *Account) BySecret(hash string) *Token { return a.secrets[hash] }

// Authenticate returns the active token that key and secret give access to; nil
// where they give none. A key that is "" or SecretOnly leaves it to the secret
// to name the token. How long it takes says neither whether the key is known nor
// how much of the secret is right.
func Authenticate(a *Account, key, secret string) *Token {
	t := a.Token(key)
	ok := orNobody(t).Has(secret)
	if !ok && (key == "" || key == SecretOnly) && strings.HasPrefix(secret, SecretPrefix) {
		t = a.BySecret(HashSecret(secret))
		ok = t != nil
	}
	if !ok || !t.Active {
		return nil
	}
	return t
}

// orNobody stands for a token that there is not: it has a hash that no secret
// has, so that comparing takes as long as for others.
func orNobody(t *Token) *Token {
	if t == nil || t.SecretHash == "" {
		return &Token{SecretHash: strings.Repeat("-", hashSize)}
	}
	return t
}

// Login notes that a token was used, to the hour: more would write the account to
// disk all the time.
func (b *Book) Login(ctx context.Context, key string, at time.Time) error {
	if t := b.Now().Token(key); t == nil || at.Sub(t.LastLogin.Time) < loginEvery {
		return nil
	}
	return b.Edit(ctx, func(a *Account) error {
		if t := a.Token(key); t != nil && t.LastLogin.Before(at) {
			t.LastLogin = At(at)
		}
		return nil
	})
}
