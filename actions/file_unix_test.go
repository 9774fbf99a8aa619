//go:build unix

package actions

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesAreWritten(t *testing.T) {
	root := t.TempDir()
	fifo := filepath.Join(root, "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, read := range []bool{false, true} {
		if read { // a FIFO that somebody reads can be opened without waiting
			r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
		}
		for how, want := range map[WriteMode]string{Create: "the file exists already", Replace: "not a regular file", Append: "not a regular file"} {
			_, err := File{Path: text(t, "fifo"), Content: text(t, "x"), Write: how, Roots: []string{root}}.Do(t.Context(), newRun("").in)
			wantPermanent(t, err, string(how)+" "+showPath(fifo)+": "+want)
		}
	}
	if got := tree(t, root); len(got) != 1 || got["fifo"] != "p---------" {
		t.Errorf("the folder holds %v, want the FIFO alone", got)
	}
}

func TestModeOfAFile(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	tests := []struct {
		name string
		how  WriteMode
		mode fs.FileMode
		old  fs.FileMode // 0: not there
		want fs.FileMode
	}{
		{"new, default", Replace, 0, 0, 0o644},
		{"new, given", Replace, 0o666, 0, 0o666},
		{"created, default", Create, 0, 0, 0o644},
		{"created, given", Create, 0o755, 0, 0o755},
		{"appended to a new one", Append, 0o664, 0, 0o664},
		{"appended to an old one", Append, 0o664, 0o600, 0o600},
		{"replaced, a private one stays it", Replace, 0, 0o600, 0o600},
		{"replaced, given", Replace, 0o640, 0o600, 0o640},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "f")
			if tt.old != 0 {
				put(t, path, "old", tt.old)
			}
			_, err := File{Path: text(t, "f"), Content: text(t, "x"), Write: tt.how, Mode: tt.mode, Roots: []string{root}}.Do(t.Context(), newRun("").in)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != tt.want {
				t.Errorf("mode %v, %v, want %v", info.Mode(), err, tt.want)
			}
		})
	}
}
