package cli

import "golang.org/x/sys/unix"

// harden keeps other processes of this user, commands that hookrun starts among
// them, from reading its memory and its environment, where the relay's secret is
// (prctl(2), PR_SET_DUMPABLE). Root reads them all the same.
func harden() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
