package verify

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// seedMark stands before the seed of a private key where a bare one could not
// be told from a public key.
const seedMark = "seed:"

// A key checks signatures of one secret, and makes them where it can.
type key struct {
	prefix string // what stands in the header before a signature of this key

	hash   func() hash.Hash // of HMAC; nil is ed25519
	secret []byte

	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil where the secret is a public key
}

// hashOf returns the hash of an algorithm of HMAC, or nil.
func hashOf(algorithm string) func() hash.Hash {
	switch algorithm {
	case "sha1":
		return sha1.New
	case "sha256", "":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	}
	return nil
}

// parseKeys makes the keys of a configuration.
func (r row) parseKeys(secrets []string) ([]key, error) {
	var keys []key
	for i, s := range secrets {
		k, ok := r.parseKey(s)
		if !ok {
			return nil, &ConfigError{"secret", fmt.Sprintf("secret %d of %d is not %s", i+1, len(secrets), r.key), spaceHint(s)}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// spaceHint is for what reading a file leaves at the end of a secret.
func spaceHint(secret string) string {
	if len(strings.TrimSpace(secret)) == len(secret) {
		return ""
	}
	return "it has a line break or space at its end or beginning"
}

func (f keyForm) String() string {
	switch f {
	case keyStandard:
		return "whsec_ and base64, or whpk_ and base64 of an ed25519 key"
	case keyHex:
		return "the public key in hex, 64 digits"
	}
	return "text"
}

// parseKey makes the key of one secret; ok is false where it can't be one.
func (r row) parseKey(secret string) (k key, ok bool) {
	switch r.key {
	case keyStandard:
		return parseStandard(secret)
	case keyHex:
		return parseHex(secret)
	}
	return key{prefix: r.prefix, hash: hashOf(r.algorithm), secret: []byte(secret)}, true
}

// parseStandard reads a secret of Standard Webhooks. Its libraries also take
// one without whsec_.
func parseStandard(secret string) (key, bool) {
	kind, text, found := strings.Cut(secret, "_")
	if !found {
		kind, text = "whsec", secret
	}
	b, ok := decode("base64", text)
	switch {
	case !ok || len(b) == 0:
		return key{}, false
	case kind == "whsec":
		return key{prefix: "v1,", hash: sha256.New, secret: b}, true
	case kind == "whpk" && len(b) == ed25519.PublicKeySize:
		return key{prefix: "v1a,", public: b}, true
	case kind == "whsk" && (len(b) == ed25519.SeedSize || len(b) == ed25519.PrivateKeySize):
		return privateKey("v1a,", b[:ed25519.SeedSize]), true
	}
	return key{}, false
}

// parseHex reads an ed25519 key in hex.
func parseHex(secret string) (key, bool) {
	text, isSeed := strings.CutPrefix(secret, seedMark)
	b, err := hex.DecodeString(text)
	switch {
	case err != nil || len(b) != ed25519.PublicKeySize:
		return key{}, false
	case isSeed:
		return privateKey("", b), true
	}
	return key{public: b}, true
}

func privateKey(prefix string, seed []byte) key {
	private := ed25519.NewKeyFromSeed(seed)
	return key{prefix: prefix, private: private, public: private.Public().(ed25519.PublicKey)}
}

// size is how many bytes a signature has.
func (k key) size() int {
	if k.hash == nil {
		return ed25519.SignatureSize
	}
	return k.hash().Size()
}

// fits reports whether one of the signatures is the key's over signed. It may
// end early: which of them is right is no secret, and a wrong one is compared
// in constant time.
func (k key) fits(signed []byte, signatures [][]byte) bool {
	if len(signatures) == 0 {
		return false
	}
	if k.hash == nil {
		for _, s := range signatures {
			if len(s) == ed25519.SignatureSize && ed25519.Verify(k.public, signed, s) {
				return true
			}
		}
		return false
	}
	sum := k.mac(signed)
	for _, s := range signatures {
		if hmac.Equal(sum, s) {
			return true
		}
	}
	return false
}

func (k key) mac(signed []byte) []byte {
	m := hmac.New(k.hash, k.secret)
	m.Write(signed)
	return m.Sum(nil)
}

// sign is the key's signature over signed; ok is false where the key is only
// the public half.
func (k key) sign(signed []byte) (signature []byte, ok bool) {
	switch {
	case k.hash != nil:
		return k.mac(signed), true
	case k.private != nil:
		return ed25519.Sign(k.private, signed), true
	}
	return nil, false
}
