package engine

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkMatch asks n rules of one bucket about a push of 2 KB.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			rules := make([]*Rule, n)
			for i := range rules {
				c, findings := NewCompiler(World{}).Condition(fmt.Sprintf(`headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/b%d"`, i))
				if c == nil {
					b.Fatal(findings)
				}
				rules[i] = &Rule{Name: fmt.Sprint("rule ", i), Buckets: []string{"deploys"}, Methods: []string{"POST"}, When: c}
			}
			set := NewRuleSet(rules, "h")
			ev := jsonEvent(fmt.Sprintf(`{"ref":"refs/heads/b%d","pad":%q}`, n-1, strings.Repeat("x", 2000)))
			b.ReportAllocs()
			for b.Loop() {
				if _, matched := set.Match(NewScope(ev), nil); len(matched) != 1 {
					b.Fatalf("%d rules matched, want 1", len(matched))
				}
			}
		})
	}
}
