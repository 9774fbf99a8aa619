package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hookrun/engine/control"
	"hookrun/engine/rules"
)

const (
	firstRules = `# all of them
rules:
  - name: a
    bucket: x
    actions:
      - shell: |
          echo one

          echo two

  # of b
  - name: b
    bucket: x
    actions: [{exec: ["true"]}]
`
	secondRules = `# all of them
rules:
  - name: a
    bucket: x
    actions:
      - exec: ["true"]
`
)

// TestGenerationsAsPeopleSeeThem: the newest is in force, and each tells what it
// changed.
func TestGenerationsAsPeopleSeeThem(t *testing.T) {
	dir := t.TempDir()
	archive := rules.OpenArchive(filepath.Join(dir, "generations"))
	one, two := filepath.Join(dir, "one.yaml"), filepath.Join(dir, "two.yaml")
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	keep := func(texts map[string]string) string {
		t.Helper()
		var paths []string
		for _, path := range []string{one, two} {
			if text, ok := texts[path]; ok {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				paths = append(paths, path)
			}
		}
		g, problems := rules.Load(paths, rules.Options{Dir: dir})
		if g == nil {
			t.Fatal(problems)
		}
		if _, err := archive.Add(g, at); err != nil {
			t.Fatal(err)
		}
		return g.Hash
	}
	const other = "rules: [{name: c, bucket: y, actions: [{exec: [\"true\"]}]}]\n"
	first := keep(map[string]string{one: firstRules, two: other})
	second := keep(map[string]string{one: secondRules})

	got, err := archived{archive: archive}.Generations()
	if err != nil || len(got) != 2 {
		t.Fatalf("Generations = %+v, %v; want two", got, err)
	}
	wantText(t, "difference", got[0].Diff, "--- "+one+" (generation 1)\n+++ "+one+` (generation 2)
@@ -3,12 +3,4 @@
   - name: a
     bucket: x
     actions:
-      - shell: |
-          echo one
-
-          echo two
-
-  # of b
-  - name: b
-    bucket: x
-    actions: [{exec: ["true"]}]
+      - exec: ["true"]
--- `+two+" (generation 1)\n+++ "+two+` (generation 2)
@@ -1,1 +0,0 @@
-`+other)
	got[0].Diff = ""
	want := []control.Generation{
		{N: 2, Hash: second, At: at, Files: []string{one}, Current: true},
		{N: 1, Hash: first, At: at, Files: []string{one, two}},
	}
	for i := range want {
		if got[i].N != want[i].N || got[i].Hash != want[i].Hash || !got[i].At.Equal(at) || got[i].Current != want[i].Current || got[i].Diff != "" {
			t.Errorf("generation %+v, want %+v", got[i], want[i])
		}
	}
}

func TestSourceOfARule(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	archive := rules.OpenArchive("generations")
	if err := os.WriteFile("rules.yaml", []byte(firstRules), 0o600); err != nil {
		t.Fatal(err)
	}
	g, problems := rules.Load([]string{"rules.yaml"}, rules.Options{})
	if g == nil {
		t.Fatal(problems)
	}
	if got := (archived{archive: archive}).Source()("rules.yaml:3"); got != "" {
		t.Errorf("source before anything is kept = %q, want nothing", got)
	}
	if _, err := archive.Add(g, time.Now()); err != nil {
		t.Fatal(err)
	}
	source := archived{archive: archive}.Source()
	for _, tt := range []struct{ place, want string }{
		{g.Rules.Rules[0].Place, "  - name: a\n    bucket: x\n    actions:\n      - shell: |\n          echo one\n\n          echo two"},
		{g.Rules.Rules[1].Place, "  - name: b\n    bucket: x\n    actions: [{exec: [\"true\"]}]"},
		{"rules.yaml:99", ""}, {"other.yaml:1", ""}, {"rules.yaml:x", ""}, {"rules.yaml", ""}, {"", ""},
	} {
		t.Run(tt.place, func(t *testing.T) { wantText(t, "source", source(tt.place), tt.want) })
	}
}
