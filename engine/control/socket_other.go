//go:build !linux

package control

import "fmt"

// shorten returns the address of the socket at path, good until release. One that
// is too long has none.
func shorten(path string) (address string, release func(), err error) {
	if len(path) > maxPath {
		return "", nil, fmt.Errorf("the path %s has %d bytes, and the system takes %d for a socket (give hookrun a data folder with a shorter path: -data)", path, len(path), maxPath)
	}
	return path, func() {}, nil
}
