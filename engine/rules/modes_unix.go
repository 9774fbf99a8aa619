//go:build unix

package rules

import (
	"io/fs"
	"os"
	"syscall"
)

// hasModes reports whether the mode of a file says who may do what.
func hasModes() bool { return true }

// ownedByAnother reports whether a file is that of a user who is neither root
// nor hookrun's.
func ownedByAnother(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid != 0 && int(st.Uid) != os.Geteuid()
}

// privateGroup reports whether the group of a file is the owner's alone, as where
// each user has a group of the same number and an umask of 002.
func privateGroup(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == st.Gid
}
