package cli

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hookrun/engine/rules"
	"hookrun/relay/account"
)

// readme returns the README's code blocks of a language, in order.
func readme(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// loadText loads rules as if they stood in rules.yaml.
func loadText(t *testing.T, text string) (*rules.Generation, []rules.Problem) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "/run/secrets/relay", token)
	return rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text)}}, rules.Options{
		Getenv: func(name string) (string, bool) { // a form that every scheme takes
			return "whsec_" + base64.StdEncoding.EncodeToString([]byte("the value of "+name)), true
		},
	})
}

func TestReadmeRulesLoad(t *testing.T) {
	blocks := readme(t, "yaml")
	if len(blocks) < 3 {
		t.Fatalf("the README has %d blocks of rules, want all that it explains", len(blocks))
	}
	for _, text := range blocks {
		if g, problems := loadText(t, text); g == nil {
			t.Errorf("these rules of the README do not load: %v\n%s", problems, text)
		}
	}
}

func TestReadmeRelayFileLoads(t *testing.T) {
	blocks := readme(t, "yaml relay")
	if len(blocks) == 0 {
		t.Fatal("the README shows no relay.yaml")
	}
	for _, text := range blocks {
		f, problems := rules.ParseRelayFile(rules.File{Path: "relay.yaml", Data: []byte(text)}, rules.Options{
			Getenv: func(name string) (string, bool) { return "the value of " + name, true },
		})
		if f == nil {
			t.Fatalf("this relay.yaml of the README does not load: %v\n%s", problems, text)
		}
		a := &account.Account{}
		if left := ensure(a, f, time.Now()); len(left) > 0 || len(a.Buckets) != 1 || len(a.Tokens) != 2 {
			t.Errorf("the account has %d buckets and %d tokens, want one and two", len(a.Buckets), len(a.Tokens))
		}
	}
}

// TestReadmeErrorIsWhatIsSaid makes the mistake that the README shows.
func TestReadmeErrorIsWhatIsSaid(t *testing.T) {
	first := readme(t, "yaml")[0]
	_, problems := loadText(t, strings.Replace(first, "when: body.", "when: boddy.", 1))
	var got strings.Builder
	printProblems(Process{Stderr: &got}, problems)
	if want := readme(t, "text")[0]; got.String() != want {
		t.Errorf("the mistake is told as\n%s, the README shows\n%s", got.String(), want)
	}
}

func TestReadmeHasItsTwoCommands(t *testing.T) {
	const want = "go run . -rules rules.example.yaml\ngo test ./...\n"
	if got := readme(t, "sh")[0]; got != want {
		t.Errorf("the README begins with %q, want %q", got, want)
	}
}

// TestReadmeTellsAllFlagsAndCommands: what is not in it does not exist for
// users.
func TestReadmeTellsAllFlagsAndCommands(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands() {
		if c.name != "run" && !strings.Contains(string(text), "`hookrun "+c.name) {
			t.Errorf("the README does not tell of hookrun %s", c.name)
		}
	}
	for _, flag := range []string{"-rules", "-data", "-listen", "-metrics", "-log json", "-v", "-grace", "-keep-age", "-keep-size", "-on-corrupt"} {
		if !strings.Contains(string(text), flag) {
			t.Errorf("the README does not tell of %s", flag)
		}
	}
}

// TestExampleShowsEachAction loads rules.example.yaml.
func TestExampleShowsEachAction(t *testing.T) {
	g, problems := rules.Load([]string{filepath.Join(root, "rules.example.yaml")}, rules.Options{})
	if g == nil {
		t.Fatalf("rules.example.yaml has problems: %v", problems)
	}
	kinds := map[string]bool{}
	for _, r := range g.Rules.Rules {
		for _, s := range r.Steps {
			kinds[s.Action.Kind()] = true
		}
	}
	for _, kind := range []string{"exec", "shell", "file", "http"} {
		if !kinds[kind] {
			t.Errorf("rules.example.yaml does not show %s", kind)
		}
	}
}
