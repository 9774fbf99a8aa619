package rules

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("u", false, "write the expected messages anew")

// testOptions are those of a daemon in a folder of its own. They see that and
// nothing else of the machine.
func testOptions(t testing.TB) Options {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"srv", "deploys"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "token"), secretInFile+"\n")
	write(t, filepath.Join(dir, "empty-secret"), "\n")
	write(t, filepath.Join(dir, "long-secret"), strings.Repeat("x", maxSecret+1))
	return Options{Dir: dir, Getenv: testEnv, LookPath: func(file string) (string, error) {
		switch {
		case slices.Contains([]string{"make", "echo", "go", "git", "curl", "bash", "ssh", "sudo", "/bin/sh"}, file):
			return file, nil
		case strings.HasSuffix(file, "not-executable"):
			return "", &fs.PathError{Op: "exec", Path: file, Err: fs.ErrPermission}
		}
		return "", errors.New("not found")
	}}
}

// Secrets that no message may show.
const (
	secretInFile = "s3cret-of-the-file"
	secretInEnv  = "s3cret-of-the-environment"
)

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{"CHAT_TOKEN": secretInEnv, "RELAY_KEY": "s3cret-key", "RELAY_SECRET": "s3cret-secret", "EMPTY": ""}[name]
	return v, ok
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// text shows problems as a person gets them. The daemon's folder is DIR.
func text(problems []Problem, dir string) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
		if p.Hint != "" {
			b.WriteString("    hint: " + p.Hint + "\n")
		}
	}
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

// TestFiles loads every file of testdata/rules. What is said of good/x.yaml, if
// anything, stands in good/x.err; so for bad, where there is always something.
func TestFiles(t *testing.T) {
	root := filepath.Join("..", "..", "testdata", "rules")
	for _, folder := range []string{"good", "bad"} {
		paths, err := filepath.Glob(filepath.Join(root, folder, "*.yaml"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, path := range paths {
			t.Run(folder+"/"+filepath.Base(path), func(t *testing.T) {
				o := testOptions(t)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				g, problems := Parse([]File{{filepath.Base(path), data}}, o)
				if good := folder == "good"; (g != nil) != good {
					t.Errorf("generation: %v, want %v", g != nil, good)
				}
				golden(t, strings.TrimSuffix(path, ".yaml")+".err", text(problems, o.Dir))
			})
		}
	}
}

// golden compares got with a file; one that is not there is empty.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update && got != "" {
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("problems:\n%s\nwant:\n%s", got, want)
	}
	if strings.Contains(got, "s3cret") {
		t.Errorf("a secret is shown in:\n%s", got)
	}
}
