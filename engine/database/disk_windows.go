package database

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/windows"
)

func diskSpace(dir string) (Space, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	var sp Space
	if err := windows.GetDiskFreeSpaceEx(path, &sp.Free, &sp.Total, nil); err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return sp, nil
}

func diskKind(dir string) (Kind, error) {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return Kind{}, fmt.Errorf("drive of %s: %w", dir, err)
	}
	if windows.GetDriveType(root) == windows.DRIVE_REMOTE {
		return Kind{Name: "network drive", Remote: true}, nil
	}
	return Kind{}, nil
}
