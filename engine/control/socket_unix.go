//go:build unix

package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// listen makes the socket in a folder that nobody else may enter, because it has
// the mode that the umask leaves until it is changed, and then gives it its place.
func listen(dir string) (net.Listener, error) {
	private := filepath.Join(dir, newName)
	if err := os.RemoveAll(private); err != nil { // left by one that was killed
		return nil, err
	}
	if err := os.Mkdir(private, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(private) // if it stays, the next start removes it

	made, final := filepath.Join(private, "s"), filepath.Join(dir, socketName)
	address, release, err := shorten(made)
	if err != nil {
		return nil, err
	}
	defer release()
	ln, err := newSocket(address, final)
	if err != nil {
		return nil, err
	}
	if err := place(made, final); err != nil {
		return nil, errors.Join(err, ln.UnixListener.Close())
	}
	return ln, nil
}

func place(made, final string) error {
	if err := os.Chmod(made, 0o600); err != nil {
		return err
	}
	if info, err := os.Lstat(final); err == nil && info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket", final)
	}
	return os.Rename(made, final)
}

// isRefused reports whether a socket is there and nobody listens.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
