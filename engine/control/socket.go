package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names in the data folder.
const (
	socketName = "control.sock"
	newName    = "control.new" // a folder in which the socket is made
)

// maxPath is how long the path of a socket may be everywhere, in bytes. Linux
// takes four more.
const maxPath = 103

// dialTimeout is for a server whose backlog is full.
const dialTimeout = 5 * time.Second

// Listen makes the control socket of a data folder, whose lock the caller holds:
// a socket that is there was left by a hookrun that was killed, and is replaced.
// Only the user that hookrun runs as can open it, from the first moment on. It is
// removed when the listener is closed.
func Listen(dir string) (net.Listener, error) {
	ln, err := listen(dir)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return ln, nil
}

// socket removes itself when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

func newSocket(address, path string) (*socket, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // it will have another name by then
	return &socket{ln, path}, nil
}

// Close removes the socket first: who comes then sees that nobody is there.
func (s *socket) Close() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // net/http closes twice
	}
	return errors.Join(err, s.UnixListener.Close())
}

// dial connects to the control socket of a data folder.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	path := filepath.Join(dir, socketName)
	address, release, err := shorten(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer release()
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", address)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), isRefused(err):
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // the address may be one that nobody knows
	}
	return nil, fmt.Errorf("control socket %s: %w", path, err)
}
