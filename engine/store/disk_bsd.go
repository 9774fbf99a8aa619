//go:build darwin || freebsd

package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func diskKind(dir string) (fsKind, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fsKind{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	name := unix.ByteSliceToString(st.Fstypename[:])
	switch name {
	case "nfs", "smbfs", "webdav", "afpfs", "9p":
		return fsKind{name, true}, nil
	case "macfuse", "osxfuse", "fusefs":
		return fsKind{"fuse", false}, nil
	}
	return fsKind{}, nil
}
