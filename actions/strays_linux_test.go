package actions

import (
	"context"
	"os/exec"
	"syscall"
	"testing"

	"hookrun/engine"
)

// startStray starts a process that nobody recorded, with the variables of an
// attempt and in a session of its own, as a crash between the start of a command
// and its record leaves one.
func startStray(t *testing.T, script string, attempt int) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(runVars("r1", "build", attempt), "PATH="+defaultPath)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has come so far
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestKillLeftoverFindsWhatNobodyRecorded(t *testing.T) {
	const polite, stubborn = "echo .; exec sleep 600", `trap "" TERM; echo .; while :; do sleep 1; done`
	other := startStray(t, polite, 2)
	for _, script := range []string{polite, stubborn} {
		left := startStray(t, script, 1)
		hurried, hurry := context.WithCancel(t.Context())
		if script == stubborn {
			hurry()
		}
		defer hurry()
		if err := KillLeftover(hurried, engine.Leftover{Run: "r1", Step: "build", Attempt: 1}); err != nil {
			t.Error(err)
		}
		if processLives(left) {
			t.Errorf("%s: it still runs", script)
		}
	}
	if !processLives(other) {
		t.Error("a process of another attempt was ended")
	}
	for _, l := range []engine.Leftover{{}, {Step: "build", Attempt: 2}, {Run: "r", Step: "build", Attempt: 2}, {Run: "r1", Step: "buil", Attempt: 2}} {
		if err := KillLeftover(t.Context(), l); err != nil || !processLives(other) {
			t.Errorf("KillLeftover(%+v): %v, or it ended another's process", l, err)
		}
	}
}

// TestKillLeftoverSparesItsOwnAncestors: a command that starts hookrun hands its
// variables on.
func TestKillLeftoverSparesItsOwnAncestors(t *testing.T) {
	all := ancestors()
	for _, pid := range []int{syscall.Getpid(), syscall.Getppid()} {
		if !all[pid] {
			t.Errorf("process %d is no ancestor of itself: %v", pid, all)
		}
	}
}
