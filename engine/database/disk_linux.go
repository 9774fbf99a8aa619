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
	return kindOfMagic(uint32(st.Type)), nil
}

// kindOfMagic knows the file systems that matter by their number in statfs(2).
func kindOfMagic(magic uint32) Kind {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return Kind{Name: "nfs", Remote: true}
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return Kind{Name: "cifs", Remote: true}
	case unix.V9FS_MAGIC:
		return Kind{Name: "9p", Remote: true}
	case unix.FUSE_SUPER_MAGIC:
		return Kind{Name: "fuse"} // as often a disk as a network
	}
	return Kind{}
}
