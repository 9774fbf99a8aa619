package ruletest

import (
	"path/filepath"
	"testing"

	"hookrun/engine/rules"
)

const root = "../.."

// TestRulesExample runs the tests of rules.example.yaml, which reach all of it.
func TestRulesExample(t *testing.T) {
	g, problems := rules.Load([]string{filepath.Join(root, "rules.example.yaml")}, rules.Options{Dry: true})
	if g == nil {
		t.Fatal(problems)
	}
	f, problems := Read(filepath.Join(root, "testdata", "rules.example.tests.yaml"))
	if f == nil {
		t.Fatal(problems)
	}
	if problems := f.Check(g.Rules); len(problems) > 0 {
		t.Fatal(problems)
	}
	c := NewCoverage(g)
	r := f.Run(Options{Rules: g.Rules, Dir: absolute(t, "."), Coverage: c})
	for _, res := range r.Results {
		if len(res.Failures) > 0 {
			t.Errorf("%s: %s:\n%s", res.Place, res.Name, res.Text())
		}
	}
	if gaps := c.Gaps(); len(gaps) > 0 || c.Percent() != 100 {
		t.Errorf("coverage %d%%, gaps %+v, want 100%% and none", c.Percent(), gaps)
	}
	matched, missed := map[string]bool{}, map[string]bool{}
	for _, test := range f.Tests {
		for _, rule := range g.Rules.Rules {
			matched[rule.Name] = matched[rule.Name] || has(test.match, rule.Name)
			missed[rule.Name] = missed[rule.Name] || test.exact && !has(test.match, rule.Name)
		}
	}
	for _, rule := range g.Rules.Rules {
		if !matched[rule.Name] || !missed[rule.Name] {
			t.Errorf("rule %q: a test matches it %v, one does not %v, want both", rule.Name, matched[rule.Name], missed[rule.Name])
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
