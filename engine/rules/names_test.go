package rules

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name, text     string
		rules, buckets []string
	}{
		{"all of a file", `
buckets: {alerts: {verify: none}}
rules:
  - {name: deploy main, bucket: [deploys, tags]}
  - {name: off, enabled: false, bucket: deploys}
  - {name: anywhere}
`, []string{"anywhere", "deploy main", "off"}, []string{"alerts", "deploys", "tags"}},
		{"rules that would be refused", "rules: [{name: a, when: '((', bukket: x}, {name: \"b\\nc\"}, 3, {}]", []string{"a"}, nil},
		{"no mapping", "- name: a", nil, nil},
		{"no YAML", "rules: [", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules, buckets := Names([]File{{Path: "rules.yaml", Data: []byte(tt.text)}})
			if !slices.Equal(rules, tt.rules) || !slices.Equal(buckets, tt.buckets) {
				t.Errorf("Names = %q, %q; want %q, %q", rules, buckets, tt.rules, tt.buckets)
			}
		})
	}
}
