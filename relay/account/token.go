package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
)

// Words of Token.APIAccess.
const (
	APIEnabled  = "enabled"
	APIDisabled = "disabled"
)

// Scopes bound what a token may see. An empty list is everything.
type Scopes struct {
	Buckets []string `json:"buckets"` // names or ids
	Tunnels []string `json:"tunnels"`
}

// Token gives access. Its secret is not kept, only a hash of it: it is long and
// random where the relay makes it, so a plain hash is enough (a slow one would
// let anybody spend the relay's time).
type Token struct {
	ID          string `json:"id"` // also the key
	Description string `json:"description"`
	Scopes      Scopes `json:"scopes"`
	Active      bool   `json:"active"`
	APIAccess   string `json:"api_access"` // APIEnabled or APIDisabled
	LastLogin   Time   `json:"last_login"`
	CreatedAt   Time   `json:"created_at"`
	UpdatedAt   Time   `json:"updated_at"`

	Managed    bool   `json:"managed,omitempty"`     // ours: as of a Bucket
	SecretHash string `json:"secret_hash,omitempty"` // HashSecret of it; never shown
}

// hashSize is how long a HashSecret is.
const hashSize = 2 * sha256.Size

// HashSecret is how a secret is kept: SHA-256 in hex.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Has reports, in constant time, whether secret is the token's.
func (t *Token) Has(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(t.SecretHash), []byte(HashSecret(secret))) == 1
}

// Sees reports whether the token may know of a bucket.
func (t *Token) Sees(b *Bucket) bool {
	s := t.Scopes.Buckets
	return len(s) == 0 || slices.Contains(s, b.ID) || slices.Contains(s, b.Name)
}
