package control

import (
	"fmt"
	"os"
	"path/filepath"
)

// shorten returns an address of the socket at path that fits, whatever its
// length: of a long one, by way of a descriptor of its folder. It is good until
// release.
func shorten(path string) (address string, release func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), filepath.Base(path)), func() { folder.Close() }, nil
}
