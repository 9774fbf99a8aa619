package verify

import (
	"maps"
	"slices"
)

// A scheme is a name in the file with what it takes and how its checker is made.
type scheme struct {
	keys []string
	make func(Config) (checker, error)
}

// schemes are those of the table and those that no row can describe.
func schemes() map[string]scheme {
	all := map[string]scheme{
		"hmac": {keys: []string{"secret", "header", "algorithm", "encoding", "prefix", "payload",
			"timestamp_header", "id_header", "tolerance", "public_url"}, make: newGeneric},
		"gitlab":          {keys: []string{"secret", "tolerance"}, make: newGitlab},
		"token":           {keys: []string{"secret", "header", "query"}, make: newToken},
		"docker-registry": {keys: []string{"secret", "header"}, make: newRegistry},
		"bearer":          {keys: []string{"secret"}, make: newBearer},
		"basic":           {keys: []string{"secret"}, make: newBasic},
		"microsoft-graph": {keys: []string{"secret"}, make: newGraph},
		"jwt": {keys: []string{"header", "key", "jwks_url", "audience", "issuer", "algorithms",
			"tolerance"}, make: newJWT},
		"sns": {keys: []string{"issuer", "tolerance", "allow_subscribe_confirm"}, make: newSNS},
	}
	for _, r := range rows() {
		all[r.scheme] = scheme{keys: r.keys(), make: func(c Config) (checker, error) { return newSignature(r, c) }}
	}
	return all
}

// Schemes returns the names of all schemes, sorted.
func Schemes() []string { return slices.Sorted(maps.Keys(schemes())) }

// Keys returns the keys of the file that a scheme takes besides scheme itself.
func Keys(name string) []string { return schemes()[name].keys }

// newChecker makes the checker of a configuration that checkConfig passed.
func newChecker(c Config) (checker, error) { return schemes()[c.Scheme].make(c) }
