//go:build unix && !linux && !darwin

package actions

import (
	"os"
	"syscall"
)

// ownProgram is the program that this process runs.
func ownProgram() (string, error) { return os.Executable() }

// setLimit fails: the numbers of the limits differ from system to system.
func setLimit(int, uint64, uint64) error { return syscall.ENOTSUP }

// execWithin fails likewise.
func execWithin(uint64, string, []string, []string) error {
	return &launchError{"limits.memory", syscall.ENOTSUP}
}
