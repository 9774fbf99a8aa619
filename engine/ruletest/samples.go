package ruletest

import (
	"embed"
	"path"
	"slices"
	"strings"
)

// The samples are those of testdata/events, which a test holds them to.
//
//go:embed samples
var samples embed.FS

// Samples are the names of the webhooks that a test may name as its event: the
// service, and what it tells of.
func Samples() []string {
	entries, err := samples.ReadDir("samples")
	if err != nil {
		return nil // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.Replace(strings.TrimSuffix(e.Name(), path.Ext(e.Name())), "-", "/", 1))
	}
	slices.Sort(names)
	return names
}

// sample is the raw HTTP request of that name.
func sample(title string) ([]byte, bool) {
	data, err := samples.ReadFile("samples/" + strings.Replace(title, "/", "-", 1) + ".http")
	return data, err == nil
}
