//go:build unix

package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhoElseCanChangeTheRules(t *testing.T) {
	tests := []struct {
		name         string
		file, folder fs.FileMode
		fatal, warn  string // what each message begins with
	}{
		{"as usual", 0o644, 0o755, "", ""},
		{"for one alone", 0o600, 0o700, "", ""},
		{"file of all", 0o646, 0o755, "every user", ""},
		{"file of all, of the group too", 0o666, 0o755, "every user", ""},
		{"folder of all", 0o644, 0o757, "every user", ""},
		{"folder of all, sticky", 0o644, 0o777 | fs.ModeSticky, "", ""},
		{"file of all in a sticky folder", 0o666, 0o777 | fs.ModeSticky, "every user", ""},
		{"file of the group", 0o664, 0o755, "", "its group"},
		{"folder of the group", 0o644, 0o775, "", "its group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "rules")
			path := filepath.Join(dir, "rules.yaml")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, path, "rules: []")
			sharedGroup(t, path, dir)
			for name, mode := range map[string]fs.FileMode{path: tt.file, dir: tt.folder} {
				if err := os.Chmod(name, mode); err != nil {
					t.Fatal(err)
				}
			}
			files := []File{{Path: path}, {Path: path}}
			begins := func(problems []Problem, want string) bool {
				if want == "" {
					return len(problems) == 0
				}
				return len(problems) == 1 && strings.HasPrefix(problems[0].Msg, want) && problems[0].Hint != ""
			}
			if got := modeProblems(files, true); !begins(got, tt.fatal) || failed(got) != (tt.fatal != "") {
				t.Errorf("fatal problems %v, want %q", got, tt.fatal)
			}
			if got := modeProblems(files, false); !begins(got, tt.warn) || failed(got) {
				t.Errorf("warnings %v, want %q", got, tt.warn)
			}
		})
	}
}

// TestFolderBehindALink: whoever can write there can put other rules in their place.
func TestFolderBehindALink(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(open, "rules.yaml"), "rules: []")
	link := filepath.Join(dir, "rules.yaml")
	if err := os.Symlink(filepath.Join(open, "rules.yaml"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := modeProblems([]File{{Path: link}}, true); len(got) != 1 || got[0].File != open {
		t.Errorf("problems %v, want one of the folder %s", got, open)
	}
}

// sharedGroup gives files a group that is not their owner's alone.
func sharedGroup(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !privateGroup(info) {
			continue
		}
		if err := os.Chown(path, -1, os.Geteuid()+1); err != nil {
			t.Skip(err) // who is not root may have no other group
		}
	}
}

func TestFilesOfPrivateGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, "")
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !privateGroup(info) {
		t.Skip("this user has no group of its own")
	}
	if msg, _, _ := checkMode(path, info); msg != "" {
		t.Errorf("said of 0664 in a group of the owner's own: %q, want nothing", msg)
	}
}

func TestFilesOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, "")
	if err := os.Chown(path, 4321, -1); err != nil {
		t.Skip(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if msg, _, fatal := checkMode(path, info); !strings.HasPrefix(msg, "it belongs to another user") || fatal {
		t.Errorf("said: %q, fatal %v, want a warning", msg, fatal)
	}
}

func TestWhoElseCanReadSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "x")
	sharedGroup(t, path)
	for mode, want := range map[fs.FileMode]string{
		0o600: "", 0o400: "", 0o640: "",
		0o644: "every user of the machine can read it",
		0o666: "every user of the machine can change it, and so what hookrun does",
		0o660: "its group can change it, and so what hookrun does",
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if msg, _, fatal := checkSecretMode(path, info); msg != want || fatal != (mode == 0o666) {
			t.Errorf("%04o: said %q, fatal %v, want %q", mode, msg, fatal, want)
		}
	}
}
