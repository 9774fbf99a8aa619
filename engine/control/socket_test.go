//go:build unix

package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestSocketIsPrivateAndGoesAway(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, &fakeDesk{}, dir)
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("mode = %v, want %v", got, want)
	}
	wantFiles(t, dir, socketName)
	stop()
	wantFiles(t, dir)
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	wantEqual(t, "files", got, want)
}

// stale leaves a socket behind as a process does that is killed.
func stale(t *testing.T, dir string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

func TestWhatAKilledHookrunLeftIsReplaced(t *testing.T) {
	dir := t.TempDir()
	stale(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, newName, "s"), 0o700); err != nil { // killed while it listened
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Dial = %v, want %v", err, ErrNoDaemon)
	}
	serve(t, &fakeDesk{}, dir)
	if _, err := dialDir(t, dir).Summary(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nowhere"), filepath.Join(t.TempDir(), strings.Repeat("x", maxPath))} {
		if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("Dial(%s) = %v, want %v", dir, err, ErrNoDaemon)
		}
	}
}

func TestSomethingElseIsThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, socketName)
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(dir)
	if want := "make control socket: " + file + " is there and is no socket"; err == nil || err.Error() != want {
		t.Errorf("Listen = %v, want %s", err, want)
	}
	wantFiles(t, dir, socketName)
}

func TestLongPaths(t *testing.T) {
	dir := t.TempDir()
	for len(filepath.Join(dir, socketName)) <= 2*maxPath {
		dir = filepath.Join(dir, "a folder with a long name")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		_, err := Listen(dir)
		if err == nil || !strings.Contains(err.Error(), "shorter path: -data") {
			t.Errorf("Listen = %v, want one that tells of -data", err)
		}
		return
	}
	stop := serve(t, &fakeDesk{}, dir)
	if _, err := dialDir(t, dir).Summary(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	wantFiles(t, dir)
	stale(t, shortDir(t, dir))
	serve(t, &fakeDesk{}, dir)
	if _, err := dialDir(t, dir).Summary(t.Context()); err != nil {
		t.Error(err)
	}
}

// shortDir is a way to dir that fits into an address.
func shortDir(t *testing.T, dir string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "l")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestSocketIsNeverOpenToOthers looks at the folder in which the socket is made,
// whatever the umask.
func TestSocketIsNeverOpenToOthers(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	ln, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}
