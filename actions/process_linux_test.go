package actions

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestZombie: the init of a container may never ask how an orphan ended.
func TestZombie(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if zombie(cmd.Process.Pid) || zombie(os.Getpid()) {
		t.Error("what runs counts as a zombie")
	}
	stdin.Close()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if !zombie(cmd.Process.Pid) {
		t.Error("a zombie counts as running")
	}
	cmd.Wait()
	if zombie(cmd.Process.Pid) {
		t.Error("what is gone counts as a zombie")
	}
}
