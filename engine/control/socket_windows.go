package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// listen relies on the permissions of the data folder, which are its socket's
// too: Windows knows no modes.
func listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketName)
	address, release, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return newSocket(address, path)
}

// isRefused reports whether a socket is there and nobody listens.
func isRefused(err error) bool {
	const connRefused = syscall.Errno(10061) // WSAECONNREFUSED, which package syscall does not name
	return errors.Is(err, connRefused)
}
