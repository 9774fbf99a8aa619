package actions

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// processStart returns when a process started, or "" for a process that is not
// there.
func processStart(pid int) string {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	t := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", t.Sec, t.Usec)
}

// onlyZombies returns false: launchd leaves none.
func onlyZombies(int) bool { return false }

// zombie returns false: likewise.
func zombie(int) bool { return false }
