package actions

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoInheritedDescriptors starts a hookrun with files that it knows nothing
// of, as a careless supervisor does: commands get their three streams alone.
func TestNoInheritedDescriptors(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret, err := os.Create(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	cmd := exec.Command(self)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), starterVar+"=ls /proc/$$/fd", "GORACE=atexit_sleep_ms=0")
	for range 10 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, secret)
	}
	out, err := cmd.CombinedOutput()
	if want := strings.Repeat("0\n1\n2\n<nil>\n", 4); err != nil || string(out) != want {
		t.Errorf("commands have the descriptors %q, %v, want %q", out, err, want)
	}
}
