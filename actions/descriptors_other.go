//go:build unix && !linux

package actions

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited keeps from commands whatever hookrun itself was started with:
// what it opens is closed at an exec anyway. It is asked before each start, as
// who opened what since is not known.
func closeInherited() {
	const first = 3
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}
