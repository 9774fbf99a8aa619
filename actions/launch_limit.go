//go:build linux || darwin

package actions

import "syscall"

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
