package actions

import (
	"os"
	"syscall"
)

// ownProgram is the program that this process runs.
func ownProgram() (string, error) { return os.Executable() }

// setLimit sets a limit of this process. One that is lower already stays.
func setLimit(resource int, soft, hard uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return err
	}
	if syscall.Geteuid() != 0 {
		hard = min(hard, now.Max)
	}
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: min(soft, hard), Max: hard})
}

// execWithin fails: the system takes the limit and does not keep to it.
func execWithin(uint64, string, []string, []string) error {
	return &launchError{"limits.memory", syscall.ENOTSUP}
}
