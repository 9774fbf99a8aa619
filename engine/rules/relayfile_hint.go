package rules

import (
	"fmt"
	"slices"
	"strings"

	"hookrun/engine"
)

// meantOfRelay is the hint for a key of relay.yaml that is none of the known: the
// one that was likely meant, or where else it goes.
func meantOfRelay(key string, known []string) string {
	for _, other := range relaySynonyms(strings.ToLower(key)) {
		if slices.Contains(known, other) {
			return fmt.Sprintf("did you mean %q?", other)
		}
	}
	for _, p := range relayParts() {
		if slices.Contains(p.keys, key) {
			return fmt.Sprintf("%q %s", key, p.where)
		}
	}
	if hint := engine.Nearest(key, slices.Clone(known)); hint != "" {
		return hint
	}
	if slices.Contains(topKeys(), key) || slices.Contains(ruleKeys(), key) {
		return fmt.Sprintf("%q is a key of rules.yaml, which is for the runner", key)
	}
	return ""
}

// relayPart is a mapping of relay.yaml.
type relayPart struct {
	where string
	keys  []string
}

// relayParts are the mappings of relay.yaml, the outer ones first.
func relayParts() []relayPart {
	return []relayPart{
		{"stands at the top of the file", relayKeys()},
		{"is a key of a bucket", relayBucketKeys()},
		{"is a key of an input", relayInputKeys()},
		{"is a key of an output", relayOutputKeys()},
		{"is a key of a token", tokenKeys()},
		{"is a key of auth", relayAuthKeys()},
		{"is a key of tls", relayTLSKeys()},
		{"is a key of acme", acmeKeys()},
		{"goes below retention:", []string{"age", "size"}},
		{"is a key of match", matchKeys()},
		{"goes into the rules of an output", ruleTreeKeys()},
	}
}

// relaySynonyms are the keys that a word of another tool may stand for.
func relaySynonyms(word string) []string {
	return map[string][]string{
		"url": {"destination", "public_url", "directory"}, "base_url": {"public_url"}, "host": {"public_url"}, "address": {"destination"},
		"target": {"destination"}, "to": {"destination"}, "forward": {"destination"},
		"users": {"tokens"}, "clients": {"tokens"}, "keys": {"tokens"}, "token": {"tokens"}, "password": {"secret"}, "bucket": {"buckets"},
		"proxies": {"trusted_proxies"}, "keep": {"retention"}, "max_age": {"age"}, "max_size": {"size"},
		"https": {"tls"}, "ssl": {"tls"}, "certificate": {"cert"}, "fullchain": {"cert"}, "private_key": {"key"}, "privkey": {"key"},
		"letsencrypt": {"acme"}, "autocert": {"acme"}, "agree": {"accept_terms"}, "tos": {"accept_terms"}, "domain": {"domains", "custom_domain"},
		"status": {"status_code"}, "response": {"body"}, "path": {"path_prefix"}, "strip": {"strip_path_prefix"}, "rate_limit": {"rate"},
		"respond_from": {"response_from_output"}, "response_from": {"response_from_output"},
		"verify_tls": {"tls_verification"}, "insecure": {"tls_verification"}, "enabled": {"disabled"}, "public": {"internal", "public_url"},
		"filter": {"rules"}, "filters": {"rules"}, "when": {"rules"}, "rule": {"rules"}, "retry": {"retries"}, "attempts": {"retries"},
		"verify": {"auth"}, "authentication": {"auth"}, "user": {"username"}, "all": {"and"}, "any": {"or"}, "pattern": {"regex"}, "cidr": {"ip-range"},
	}[word]
}
