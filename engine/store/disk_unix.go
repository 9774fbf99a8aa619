//go:build unix

package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func diskSpace(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	block := uint64(st.Bsize)
	return space{free: uint64(st.Bavail) * block, total: uint64(st.Blocks) * block}, nil
}
