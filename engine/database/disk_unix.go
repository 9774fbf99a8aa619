//go:build unix

package database

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func diskSpace(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	block := uint64(st.Bsize)
	return Space{Free: uint64(st.Bavail) * block, Total: uint64(st.Blocks) * block}, nil
}
