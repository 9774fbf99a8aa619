package verify

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// checkConfig checks what is alike for all schemes.
func checkConfig(c Config) error {
	how, ok := schemes()[c.Scheme]
	if !ok {
		return &ConfigError{"scheme", fmt.Sprintf("unknown scheme %q", c.Scheme), "one of " + strings.Join(Schemes(), ", ")}
	}
	for _, key := range c.given() {
		if !slices.Contains(how.keys, key) {
			return &ConfigError{key, fmt.Sprintf("scheme %s does not take %s", c.Scheme, key),
				"it takes " + strings.Join(how.keys, ", ")}
		}
	}
	if slices.Contains(how.keys, "secret") {
		if err := checkSecrets(c); err != nil {
			return err
		}
	}
	if c.Tolerance < 0 {
		return &ConfigError{"tolerance", "a negative tolerance lets nothing in", "tolerance: 5m"}
	}
	if c.Fetch == nil && (c.Scheme == "sns" || c.JWT.JWKSURL != "") {
		return errors.New("verify: Config.Fetch is nil, and keys have to be fetched")
	}
	if err := checkHeaders(c); err != nil {
		return err
	}
	if err := checkJWKSURL(c.JWT.JWKSURL); err != nil {
		return err
	}
	return checkPublicURL(c.PublicURL)
}

// headerName is a token (RFC 9110, 5.6.2).
const headerName = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func checkHeaders(c Config) error {
	for _, h := range []struct{ key, name string }{{"header", c.Header}, {"timestamp_header", c.TimestampHeader}, {"id_header", c.IDHeader}} {
		if strings.Trim(h.name, headerName) != "" {
			return &ConfigError{h.key, fmt.Sprintf("%q is no name of a header", h.name), h.key + ": X-Signature"}
		}
	}
	return nil
}

// checkJWKSURL refuses keys that anybody on the way could put in.
func checkJWKSURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return &ConfigError{"jwks_url", "not a URL of the form https://host/path", "keys that come over plain HTTP could be anybody's"}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// given are the keys that the file must have had.
func (c Config) given() []string {
	var keys []string
	add := func(key string, is bool) {
		if is {
			keys = append(keys, key)
		}
	}
	add("secret", len(c.Secrets) > 0)
	add("header", c.Header != "")
	add("query", c.Query != "")
	add("algorithm", c.Algorithm != "")
	add("encoding", c.Encoding != "")
	add("prefix", c.Prefix != "")
	add("payload", c.Payload != "")
	add("timestamp_header", c.TimestampHeader != "")
	add("id_header", c.IDHeader != "")
	add("tolerance", c.Tolerance != 0)
	add("public_url", c.PublicURL != "")
	add("verify_token", c.VerifyToken != "")
	add("key", c.JWT.Key != "")
	add("jwks_url", c.JWT.JWKSURL != "")
	add("audience", c.JWT.Audience != "")
	add("issuer", c.JWT.Issuer != "")
	add("algorithms", len(c.JWT.Algorithms) > 0)
	add("allow_subscribe_confirm", c.ConfirmSubscription)
	return keys
}

// checkSecrets refuses none and those that anybody can guess. A secret that is
// only spaces is a file that was meant to hold one.
func checkSecrets(c Config) error {
	if len(c.Secrets) == 0 {
		return &ConfigError{"secret", fmt.Sprintf("scheme %s needs a secret", c.Scheme), `secret: "${env:HOOK_SECRET}"`}
	}
	for i, s := range c.Secrets {
		if strings.TrimSpace(s) == "" {
			return &ConfigError{"secret", fmt.Sprintf("secret %d of %d is empty: anybody could sign with it", i+1, len(c.Secrets)),
				"look where it comes from: the variable or file is there, but holds nothing"}
		}
	}
	return nil
}

// checkPublicURL leaves open whether there has to be one: see NeedsURL.
func checkPublicURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return &ConfigError{"public_url", "not a URL of the form https://host/path",
			"the URL that the sender was given, up to where the input begins"}
	}
	return nil
}
