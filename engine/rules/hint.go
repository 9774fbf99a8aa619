package rules

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// meant is the hint for a key that nobody knows.
func meant(key string, known []string) string {
	word := strings.ToLower(key)
	for _, parent := range parents(word) {
		if slices.Contains(known, parent) {
			return fmt.Sprintf("put it below %s:", parent)
		}
	}
	if advice := otherWay(word); advice != "" && slices.Contains(known, "throttle") {
		return advice
	}
	for _, other := range synonyms(word) {
		if slices.Contains(known, other) {
			return fmt.Sprintf("did you mean %q?", other)
		}
	}
	return engine.Nearest(key, slices.Clone(known))
}

// meantHere is meant, or says where else the key goes.
func meantHere(key string, known []string) string {
	hint := meant(key, known)
	switch {
	case hint != "":
		return hint
	case slices.Contains(ruleKeys(), key):
		return fmt.Sprintf("%q is a key of a rule", key)
	case slices.Contains(topKeys(), key):
		return fmt.Sprintf("%q stands at the top of the file", key)
	}
	return ""
}

// parents are the keys of a rule below which a word is a key.
func parents(word string) []string {
	return map[string][]string{
		"limit": {"concurrency"}, "group": {"concurrency"}, "on_busy": {"concurrency"},
		"within": {"dedupe"}, "every": {"throttle"}, "per": {"at_most"}, "on_trip": {"at_most"},
		"attempts": {"retry"}, "backoff": {"retry"}, "list": {"for_each"}, "as": {"for_each"},
	}[word]
}

// otherWay says how a rule gets what other tools have a key for.
func otherWay(word string) string {
	switch word {
	case "debounce", "delay", "settle":
		return "write throttle: {every: 30s, mode: last}"
	case "cooldown":
		return "write throttle: {every: 30s}"
	case "rate_limit", "ratelimit", "rate":
		return "throttle: {every: 30s} lets one run through in a while, at_most: {runs: 10, per: 1h} stops a rule that runs too often"
	case "allow":
		return "allow is said of a bucket: buckets: {NAME: {allow: [192.0.2.0/24]}}"
	case "cancel_in_progress", "cancel-in-progress":
		return "write concurrency: {on_busy: replace}"
	}
	return ""
}

// synonyms are the keys that a word of another tool may stand for.
func synonyms(word string) []string {
	return map[string][]string{
		"command": {"exec"}, "cmd": {"exec"}, "run": {"shell"}, "script": {"shell"}, "url": {"http"}, "path": {"file"},
		"condition": {"when", "if"}, "match": {"when"}, "if": {"when"}, "on": {"when"}, "trigger": {"when"}, "when": {"if"},
		"steps": {"actions"}, "do": {"actions"}, "then": {"actions"}, "jobs": {"actions"},
		"cwd": {"dir"}, "workdir": {"dir"}, "working_directory": {"dir"}, "environment": {"env"},
		"hooks": {"rules"}, "retries": {"retry"}, "disabled": {"enabled"}, "text": {"content"}, "data": {"body"},
		"name": {"id"}, "output": {"outputs"}, "allow_failure": {"continue_on_error"}, "ignore_errors": {"continue_on_error"},
		"background": {"detach"}, "daemon": {"detach"}, "max_delay": {"max"}, "delay": {"backoff"}, "tries": {"attempts"},
		"on_error": {"on_failure"}, "on_fail": {"on_failure"}, "catch": {"on_failure"}, "rescue": {"on_failure"},
		"finally": {"always"}, "on_complete": {"always"}, "ensure": {"always"}, "on_done": {"on_success"},
		"foreach": {"for_each"}, "each": {"for_each"}, "loop": {"for_each"}, "with_items": {"for_each"}, "matrix": {"for_each"},
		"items": {"list"}, "in": {"list"}, "var": {"as"}, "item": {"as"},
		"dedup": {"dedupe"}, "unique": {"dedupe"}, "idempotency": {"dedupe"}, "once": {"dedupe"},
		"ttl": {"within"}, "window": {"within", "every", "per"}, "interval": {"every"}, "period": {"every", "per"},
		"parallel": {"concurrency", "max_runs"}, "mutex": {"concurrency"}, "lock": {"concurrency"}, "serial": {"concurrency"},
		"concurrency": {"max_runs"}, "max_concurrent": {"limit", "concurrency", "max_runs"}, "workers": {"max_runs"},
		"max_queue": {"queue_limit"}, "queue_size": {"queue_limit"},
		"max": {"limit", "runs"}, "limit": {"runs"}, "count": {"runs"}, "mode": {"on_busy"}, "policy": {"on_busy"}, "strategy": {"on_busy"},
		"breaker": {"at_most"}, "circuit_breaker": {"at_most"},
		"on_restart": {"on_interrupt"}, "on_shutdown": {"on_interrupt"}, "on_stop": {"on_interrupt"},
	}[word]
}

// braceHint is for {{ }} without quotes, which YAML takes for a mapping in a
// mapping.
func braceHint(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 &&
		n.Content[0].Kind == yaml.MappingNode && n.Content[0].Style&yaml.FlowStyle != 0 {
		return `a text with {{ }} in it needs quotes: "{{ body.after }}"`
	}
	return ""
}
