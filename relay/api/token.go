package api

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"hookrun/relay/account"

	"github.com/google/uuid"
)

// secretLen is how many random characters a secret has: of 62 kinds each, so
// 285 bits.
const secretLen = 48

// tokenBody is what can be set of a token. Of a token that exists, what is absent
// is kept, but for the description and, in a body that says api_access, the
// scopes: clients that send all there is take them away so. One that sends a part
// must not open the token to all buckets.
type tokenBody struct {
	Description string          `json:"description"`
	Scopes      *account.Scopes `json:"scopes"`
	Active      *bool           `json:"active"`
	APIAccess   string          `json:"api_access"`
}

func (body *tokenBody) apply(t *account.Token) error {
	t.Description = body.Description
	if body.Scopes != nil || body.APIAccess != "" {
		t.Scopes = or(body.Scopes, account.Scopes{})
	}
	t.Active = or(body.Active, t.Active)
	switch body.APIAccess {
	case "":
	case account.APIEnabled, account.APIDisabled:
		t.APIAccess = body.APIAccess
	default:
		return refuse(http.StatusBadRequest, "api_access: want %s or %s", account.APIEnabled, account.APIDisabled)
	}
	for _, name := range t.Scopes.Buckets {
		if !account.IsName(name) {
			return refuse(http.StatusBadRequest, "scopes.buckets: '%s' is no name or id of a bucket", name)
		}
	}
	t.UpdatedAt = account.At(time.Now())
	return nil
}

// tokenView is a token as it is shown. Clients want its last login as text, other
// than all other times.
type tokenView struct {
	ID          string         `json:"id"`
	Description string         `json:"description"`
	Scopes      account.Scopes `json:"scopes"`
	Active      bool           `json:"active"`
	APIAccess   string         `json:"api_access"`
	LastLogin   string         `json:"last_login"` // RFC 3339; "": never
	CreatedAt   account.Time   `json:"created_at"`
	UpdatedAt   account.Time   `json:"updated_at"`
}

func newTokenView(t *account.Token) tokenView {
	v := tokenView{ID: t.ID, Description: t.Description, Active: t.Active, APIAccess: t.APIAccess,
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
	v.Scopes.Buckets = append([]string{}, t.Scopes.Buckets...)
	v.Scopes.Tunnels = append([]string{}, t.Scopes.Tunnels...)
	if v.APIAccess == "" {
		v.APIAccess = account.APIEnabled
	}
	if !t.LastLogin.IsZero() {
		v.LastLogin = t.LastLogin.UTC().Format(time.RFC3339)
	}
	return v
}

func (s *Server) listTokens(q *request) (any, error) {
	if err := q.unscoped(); err != nil {
		return nil, err
	}
	all := []tokenView{}
	a := s.book.Now()
	for i := range a.Tokens {
		all = append(all, newTokenView(&a.Tokens[i]))
	}
	return all, nil
}

// keySecret is the answer to who makes a token: the only time that the secret is
// shown.
type keySecret struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

func (s *Server) createToken(q *request) (any, error) {
	if err := q.unscoped(); err != nil {
		return nil, err
	}
	var body tokenBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	made := keySecret{uuid.NewString(), newSecret()}
	return s.edit(q, func(a *account.Account) (any, error) {
		t := account.Token{ID: made.Key, Active: true, APIAccess: account.APIEnabled, SecretHash: account.HashSecret(made.Secret)}
		if err := body.apply(&t); err != nil {
			return nil, err
		}
		t.CreatedAt = t.UpdatedAt
		a.Tokens = append(a.Tokens, t)
		return made, nil
	})
}

// newSecret makes a secret that nobody can guess.
func newSecret() string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const fair = 256 - 256%len(letters) // bytes from here on would make some letters likelier
	secret := make([]byte, 0, secretLen)
	for len(secret) < secretLen {
		var random [2 * secretLen]byte
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if int(b) < fair && len(secret) < secretLen {
				secret = append(secret, letters[int(b)%len(letters)])
			}
		}
	}
	return account.SecretPrefix + string(secret)
}

func (s *Server) updateToken(q *request) (any, error) {
	if err := q.unscoped(); err != nil {
		return nil, err
	}
	var body tokenBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	return s.edit(q, func(a *account.Account) (any, error) {
		t := a.Token(q.args[0])
		if t == nil {
			return nil, notFound("token", q.args[0])
		}
		if err := body.apply(t); err != nil {
			return nil, err
		}
		return newTokenView(t), keepsOwner(a)
	})
}

func (s *Server) deleteToken(q *request) (any, error) {
	if err := q.unscoped(); err != nil {
		return nil, err
	}
	return s.edit(q, func(a *account.Account) (any, error) {
		t := a.Token(q.args[0])
		if t == nil {
			return nil, notFound("token", q.args[0])
		}
		id := t.ID
		a.Tokens = slices.DeleteFunc(a.Tokens, func(t account.Token) bool { return t.ID == id })
		return gone(id), keepsOwner(a)
	})
}

// keepsOwner makes sure that somebody can still set up everything.
func keepsOwner(a *account.Account) error {
	for i := range a.Tokens {
		if t := &a.Tokens[i]; t.Active && t.APIAccess != account.APIDisabled && !isScoped(t) {
			return nil
		}
	}
	return refuse(http.StatusBadRequest, "this is the last active token with access to the API and all buckets: make another one first")
}
