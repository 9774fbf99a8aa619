//go:build darwin || freebsd

package database

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func diskKind(dir string) (Kind, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Kind{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	name := unix.ByteSliceToString(st.Fstypename[:])
	switch name {
	case "nfs", "smbfs", "webdav", "afpfs", "9p":
		return Kind{Name: name, Remote: true}, nil
	case "macfuse", "osxfuse", "fusefs":
		return Kind{Name: "fuse"}, nil
	}
	return Kind{}, nil
}
