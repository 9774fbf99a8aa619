package store

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/windows"
)

func diskSpace(dir string) (space, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	var sp space
	if err := windows.GetDiskFreeSpaceEx(path, &sp.free, &sp.total, nil); err != nil {
		return space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return sp, nil
}

func diskKind(dir string) (fsKind, error) {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return fsKind{}, fmt.Errorf("drive of %s: %w", dir, err)
	}
	if windows.GetDriveType(root) == windows.DRIVE_REMOTE {
		return fsKind{"network drive", true}, nil
	}
	return fsKind{}, nil
}
