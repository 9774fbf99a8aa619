package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// Reader is a look at the database of a data folder, whether or not a process
// works on it. It takes no lock and changes nothing of what is stored.
type Reader struct {
	conns chan *Conn // the one there is, while nobody uses it; closed by Close
}

// OpenReader opens a database to read it: Dir, Name and Migrations of the options
// matter. The error wraps fs.ErrNotExist where there is none. One of another format is refused: to bring
// it to this one is Open's.
func OpenReader(ctx context.Context, o Options) (*Reader, error) {
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	path := o.path()
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("no database to read: %w", err)
	}
	f.Close() // nothing was written
	c, err := connectReader(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	r := &Reader{conns: make(chan *Conn, 1)}
	r.conns <- c
	return r, nil
}

func connectReader(ctx context.Context, o Options) (*Conn, error) {
	params := ""
	if _, err := os.Lstat(o.path() + "-wal"); errors.Is(err, fs.ErrNotExist) {
		// A copy of the file alone: nobody has it open, and no log is to be made.
		params = "immutable=1"
	}
	c, err := connect(o.path(), sqlite3.OPEN_READONLY, params)
	if err != nil {
		return nil, err
	}
	if err := prepareReader(ctx, c, o.Migrations); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// prepareReader makes the settings and makes sure of the format.
func prepareReader(ctx context.Context, c *Conn, migrations []string) error {
	defer c.db.SetInterrupt(c.db.SetInterrupt(ctx))
	// After a kill the log has what the database has not, and the next Open's is
	// to move it.
	if _, err := c.db.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil {
		return fmt.Errorf("set no_ckpt_on_close: %w", err)
	}
	if err := c.db.Exec(readerPragmas); err != nil {
		return err
	}
	have, err := format(c, migrations)
	if err != nil {
		return err
	}
	if have < len(migrations) {
		return fmt.Errorf("made by an older hookrun: its format is %d, this one reads %d (start hookrun once, which brings it up to date)", have, len(migrations))
	}
	return nil
}

// Read lends the connection to fn, which sees one state of the database. Others
// wait until it ends.
func (r *Reader) Read(ctx context.Context, fn func(*Conn) error) error {
	select {
	case c, ok := <-r.conns:
		if !ok {
			return errEnded
		}
		defer func() { r.conns <- c }()
		err := snapshot(ctx, c, fn)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close waits for those who read and closes the database. It may be called once.
func (r *Reader) Close() error {
	c := <-r.conns
	close(r.conns)
	return c.close()
}
