//go:build unix

package cli

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDataFolderIsPrivate looks at all that a running hookrun keeps on disk,
// started with an umask that leaves everything open.
func TestDataFolderIsPrivate(t *testing.T) {
	d := newDaemonFiles(t, `
rules:
  - name: plain
    bucket: b
    verify: none
    actions:
      - shell: echo said; echo v=1 >"$HOOKRUN_OUTPUT"; echo ready >plain; read -r line <gate
        outputs: [v]
        timeout: 1m
  - name: detached
    bucket: b
    verify: none
    actions:
      - shell: echo said; echo v=1 >"$HOOKRUN_OUTPUT"; echo ready >detached; read -r line <gate2
        outputs: [v]
        detach: true
        timeout: 1m
`)
	for _, gate := range []string{"gate", "gate2"} {
		if err := syscall.Mkfifo(d.path(gate), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := syscall.Umask(0)
	cmd := d.start(t)
	syscall.Umask(old)
	d.awaitHealthy(t)
	resp, err := http.Post("http://"+d.address+"/hooks/b", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	d.await(t, "both commands to run", func() bool {
		_, err1 := os.Stat(d.path("plain"))
		_, err2 := os.Stat(d.path("detached"))
		return err1 == nil && err2 == nil
	})
	seen := d.checkPrivate(t)
	for _, part := range []string{"hookrun.db", "tmp/", "detached/"} {
		if !strings.Contains(seen, part) {
			t.Errorf("there is no %s among the files:\n%s", part, seen)
		}
	}
	for _, gate := range []string{"gate", "gate2"} { // opened as a reader too, so that no open waits
		f, err := os.OpenFile(d.path(gate), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("x\n")
		defer f.Close()
	}
	r := d.reader(t)
	d.await(t, "the runs to end", func() bool { return len(unfinished(t, r)) == 0 })
	d.stop(t, cmd)
	d.checkPrivate(t)
}

// TestBoundsOfCommands runs a command with all of them through the whole program,
// which has to start itself for that.
func TestBoundsOfCommands(t *testing.T) {
	d := newDaemonFiles(t, `
rules:
  - name: bounded
    bucket: b
    verify: none
    actions:
      - shell: umask >seen; ulimit -n >>seen; echo done >>seen
        umask: "027"
        limits: {cpu: 1m, files: 64, output: 1MiB}
`)
	cmd := d.start(t)
	d.awaitHealthy(t)
	resp, err := http.Post("http://"+d.address+"/hooks/b", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var seen []byte
	d.await(t, "the command to end", func() bool {
		seen, _ = os.ReadFile(d.path("seen"))
		return strings.HasSuffix(string(seen), "done\n")
	})
	d.stop(t, cmd)
	if got := string(seen); got != "0027\n64\ndone\n" {
		t.Errorf("the command saw %q, want umask 0027 and 64 files", got)
	}
}

// checkPrivate reports what others than hookrun's user can read or change, and
// returns what is there.
func (d *daemonFiles) checkPrivate(t *testing.T) (seen string) {
	t.Helper()
	err := filepath.WalkDir(d.path("data"), func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // a file for the moment
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		seen += path + "\n"
		if open := info.Mode().Perm() &^ 0o700; open != 0 {
			t.Errorf("%s has mode %s, want nothing for the group and others", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
