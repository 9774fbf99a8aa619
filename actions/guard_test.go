//go:build unix

package actions

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHookrunsOwnFilesAreNotWrittenTo: a payload that could write the rules
// could run anything.
func TestHookrunsOwnFilesAreNotWrittenTo(t *testing.T) {
	root := t.TempDir()
	rules, data, secret := filepath.Join(root, "rules.yaml"), filepath.Join(root, "data"), filepath.Join(root, "token")
	for _, file := range []string{rules, secret} {
		if err := os.WriteFile(file, []byte("own"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"link.yaml": rules, "linkdir": data}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range links {
		if err := os.Symlink(filepath.Base(to), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(rules, filepath.Join(root, "hard.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rules.yaml", "./rules.yaml", "token", "data/generations/000001.json", "data/new/x", "linkdir/x", "link.yaml", "hard.yaml"} {
		for _, how := range []WriteMode{Create, Replace, Append} {
			r := newRun(name)
			f := File{Path: text(t, "{{ raw }}"), Content: text(t, "evil"), Write: how, Roots: []string{root}, Guard: []string{rules, data, secret}}
			_, err := f.Do(t.Context(), r.in)
			if err == nil || !strings.Contains(err.Error(), "hookrun's own") {
				t.Errorf("%s of %s: %v, want it refused", how, name, err)
			}
		}
	}
	for _, file := range []string{rules, secret} {
		if got, err := os.ReadFile(file); err != nil || string(got) != "own" {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
	f := File{Path: text(t, "{{ raw }}"), Content: text(t, "fine"), Roots: []string{root}, Guard: []string{rules, data, secret}}
	if _, err := f.Do(t.Context(), newRun("database.json").in); err != nil {
		t.Errorf("a file beside them: %v", err)
	}
}
