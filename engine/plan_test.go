package engine

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func shownText(set *RuleSet, text string) string { return set.Show(Plan{Dir: text}, false).Dir }

func TestShownText(t *testing.T) {
	set := NewRuleSet(nil, "h")
	set.Secrets = []Secret{NewSecret("s3cret")}
	sum := func(text string) string {
		return fmt.Sprintf(" …[%d bytes, sha256 %x]", len(text), sha256.Sum256([]byte(text)))
	}
	long := strings.Repeat("x", MaxPlanText+1)
	accents := "x" + strings.Repeat("é", MaxPlanText)
	tests := []struct{ name, text, want string }{
		{"short", "deploy main", "deploy main"},
		{"as long as may be", long[1:], long[1:]},
		{"one byte more", long, long[1:] + sum(long)},
		{"cut between characters", accents, accents[:MaxPlanText-1] + sum(accents)},
		{"masked", "a s3cret b", "a *** b"},
		{"a secret where it is cut", long[:MaxPlanText-3] + "s3cret", long[:MaxPlanText-3] + "***"},
		{"no UTF-8", "a\xff\xfeb", "a\uFFFDb" + sum("a\xff\xfeb")},
		{"another that is not", "a\xffb", "a\uFFFDb" + sum("a\xffb")},
		{"the note itself", "a …[1 bytes, sha256 0]", "a …[1 bytes, sha256 0]" + sum("a …[1 bytes, sha256 0]")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := shownText(set, tt.text); got != tt.want {
				t.Errorf("shown as %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzShownText: two texts are shown alike where they are alike, and only there.
func FuzzShownText(f *testing.F) {
	long := strings.Repeat("x", MaxPlanText)
	for _, pair := range [][2]string{{"a", "b"}, {"\xff", "\xfe"}, {long + "a", long + "b"}, {long, long + "a"}, {"é", "e\xcc"}} {
		f.Add(pair[0], pair[1])
	}
	set := NewRuleSet(nil, "h")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := shownText(set, a), shownText(set, b)
		if (a == b) != (x == y) {
			t.Errorf("%q and %q are shown as %q and %q", a, b, x, y)
		}
		if again := shownText(set, x); !utf8.ValidString(x) || len(x) > MaxPlanText*3+120 || again == a && a != x {
			t.Errorf("%q is shown as %q", a, x)
		}
	})
}

func TestShownPlanIsBounded(t *testing.T) {
	set := NewRuleSet(nil, "h")
	p := Plan{Body: new(string)}
	for i := range 3000 {
		p.Argv = append(p.Argv, fmt.Sprint(i, strings.Repeat("y", 1000)))
		p.Env = append(p.Env, PlanVar{fmt.Sprint("V", i), fmt.Sprint(i, strings.Repeat("z", 1000))})
		p.Header = append(p.Header, PlanVar{"A", "b"})
	}
	shown := set.Show(p, false)
	if len(shown.Argv) != maxPlanList || len(shown.Env) != maxPlanList || len(shown.Header) != maxPlanList {
		t.Errorf("%d arguments, %d variables and %d headers are shown, want %d of each", len(shown.Argv), len(shown.Env), len(shown.Header), maxPlanList)
	}
	const most = maxPlan + 4*maxPlanList*(minPlanText+100) // with the notes
	if all, err := json.Marshal(shown); err != nil || len(all) > most {
		t.Errorf("%d bytes are shown (%v), want %d at most", len(all), err, most)
	}
	other := p
	other.Argv = slices.Clone(p.Argv)
	other.Argv[2500] += "!"
	if last := len(shown.Argv) - 1; set.Show(other, false).Argv[last] == shown.Argv[last] {
		t.Errorf("an argument that is left out is another, and the plan looks the same: %q", shown.Argv[last])
	}
	if whole := set.Show(p, true); len(whole.Argv) != 3000 || whole.Argv[2999] != p.Argv[2999] || whole.Env[2999] != p.Env[2999] {
		t.Errorf("%d arguments are shown of the whole, want all 3000", len(whole.Argv))
	}
}
