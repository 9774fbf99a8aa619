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

// BenchmarkRehearse asks 100 rules about a push of 2 KB, as a replay of the past
// does, and plans what the one would do that matches.
func BenchmarkRehearse(b *testing.B) {
	rules := make([]*Rule, 100)
	for i := range rules {
		c, findings := NewCompiler(World{}).Condition(fmt.Sprintf(`headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/b%d" && any(body.commits, .message contains "x")`, i))
		if c == nil {
			b.Fatal(findings)
		}
		text, _ := NewCompiler(World{}).Template("REF={{ body.after }}", nil)
		rules[i] = &Rule{
			Name: fmt.Sprint("rule ", i), Buckets: []string{"deploys"}, Methods: []string{"POST"}, When: c,
			Steps: []Step{{ID: "1", Action: says{"make", text}}},
		}
	}
	set := NewRuleSet(rules, "h")
	commit := fmt.Sprintf(`{"id":"0123456789","message":"fix","author":{"name":"a","email":"b@example.com"},"added":["a","b"],"modified":[%q],"removed":[]}`, strings.Repeat("x", 100))
	ev := jsonEvent(fmt.Sprintf(`{"ref":"refs/heads/b70","after":"abc","commits":[%s,%s,%s,%s],"pad":%q}`, commit, commit, commit, commit, strings.Repeat("x", 900)))
	for _, o := range []struct {
		name string
		RehearseOptions
	}{{"verdicts", RehearseOptions{}}, {"plans", RehearseOptions{Plans: true}}, {"whole", RehearseOptions{Plans: true, Trees: true}}} {
		b.Run(o.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := set.Rehearse(ev, o.RehearseOptions); len(r.Asked) != 100 {
					b.Fatalf("%d rules were asked, want 100", len(r.Asked))
				}
			}
		})
	}
}
