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
	return kindOfMagic(uint32(st.Type)), nil
}

// kindOfMagic knows the file systems that matter by their number in statfs(2).
func kindOfMagic(magic uint32) fsKind {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return fsKind{"nfs", true}
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return fsKind{"cifs", true}
	case unix.V9FS_MAGIC:
		return fsKind{"9p", true}
	case unix.FUSE_SUPER_MAGIC:
		return fsKind{"fuse", false} // as often a disk as a network
	}
	return fsKind{}
}
