package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

const readerPragmas = `
PRAGMA query_only = ON;
PRAGMA busy_timeout = 5000;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
PRAGMA cache_size = -2000;
`

// Open takes the lock of the data folder and opens the database in it, both made
// where they are missing. It starts no goroutine: nothing is written until Serve.
//
// A folder that another process uses, a network file system, a database of a
// newer format and settings that SQLite did not take are errors. A damaged
// database is one that wraps ErrCorrupt, unless FreshOnCorrupt is set.
func Open(ctx context.Context, o Options) (_ *DB, err error) {
	o = o.withDefaults()
	if o.Dir, err = makeFolder(o); err != nil {
		return nil, err
	}
	lock, err := lockFolder(ctx, o.Dir, filepath.Join(o.Dir, "lock"), o.Hooks.Now())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close() // err matters more
		}
	}()

	c, err := openWriter(ctx, o)
	if errors.Is(err, ErrCorrupt) && o.FreshOnCorrupt {
		if err := setAside(o); err != nil {
			return nil, err
		}
		c, err = openWriter(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	d := &DB{
		o:       o,
		lock:    lock,
		ops:     make(chan *op, maxBatch),
		readers: make(chan *Conn, readerCount),
		writer:  newWriter(c, o),
		ended:   make(chan struct{}),
	}
	if err := d.openReaders(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if err := d.writer.survivable(d.writer.gate.tick(d.writer.probe)); err != nil {
		return nil, errors.Join(d.writer.fatal(err), d.closeReaders(), c.close())
	}
	return d, nil
}

// makeFolder returns the absolute path of the data folder, which is there then.
func makeFolder(o Options) (string, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if err := makeDirs(dir); err != nil {
		return "", fmt.Errorf("make data folder: %w", err)
	}
	kind, err := o.Hooks.Kind(dir)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if kind.Remote {
		return "", fmt.Errorf("data folder %s is on a network file system (%s), where a database is not safe: choose a folder on a local disk", dir, kind.Name)
	}
	if kind.Name != "" {
		o.Log.Warn("data folder may be on a network file system, where a database is not safe", "dir", dir, "kind", kind.Name)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if mode := fi.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		o.Log.Warn("data folder is open to other users", "dir", dir, "mode", mode.String())
	}
	return dir, nil
}

// makeDirs makes a folder and those above it that are missing, so that all of
// them outlast a loss of power.
func makeDirs(dir string) error {
	var parents []string
	for d := dir; !exists(d) && d != filepath.Dir(d); d = filepath.Dir(d) {
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(p); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// openWriter opens the connection that writes and brings the database to the
// newest format. An error wraps ErrCorrupt where the file is damaged.
func openWriter(ctx context.Context, o Options) (*Conn, error) {
	path := o.path()
	if why, err := os.ReadFile(damagedMark(path)); err == nil {
		return nil, corruptError(path, errors.New(strings.TrimSpace(string(why))))
	}
	// SQLite would make the file for everybody to read.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make database: %w", err)
	}
	f.Close() // nothing was written
	keepPrivate(path, o)
	c, err := connect(path, sqlite3.OPEN_READWRITE, o.params())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := prepareDatabase(ctx, c, o); err != nil {
		if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) {
			err = corruptError(path, err)
		} else {
			err = fmt.Errorf("open %s: %w", path, err)
		}
		return nil, errors.Join(err, c.close())
	}
	keepPrivate(path, o) // the log and its index may be new
	return c, nil
}

// keepPrivate takes the files of the database away from other users; where the
// file system does not let it, the log says so.
func keepPrivate(path string, o Options) {
	if runtime.GOOS == "windows" { // knows no modes
		return
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		fi, err := os.Lstat(path + suffix)
		if err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(path+suffix, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.Log.Warn("database is open to other users", "path", path+suffix, "err", err)
		}
	}
}

// connect opens a database with the parameters of a URI. Without any the path is
// no URI: any name of a folder will do.
func connect(path string, flags sqlite3.OpenFlag, params string) (*Conn, error) {
	name := path
	if params != "" {
		escaped := url.URL{Path: filepath.ToSlash(path)}
		name, flags = "file:"+escaped.EscapedPath()+"?"+params, flags|sqlite3.OPEN_URI
	}
	db, err := sqlite3.OpenFlags(name, flags)
	if err != nil {
		return nil, err
	}
	return &Conn{db: db}, nil
}

// prepareDatabase makes the settings, reads them back, migrates, and touches
// each table, so that gross damage shows now.
func prepareDatabase(ctx context.Context, c *Conn, o Options) error {
	defer c.db.SetInterrupt(c.db.SetInterrupt(ctx))
	// A database that may be damaged is left as it is found when it is closed.
	if _, err := c.db.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true); err != nil {
		return fmt.Errorf("set no_ckpt_on_close: %w", err)
	}
	if _, err := format(c, o.Migrations); err != nil {
		return err
	}
	if err := c.settings(); err != nil {
		return err
	}
	if err := c.db.WALAutoCheckpoint(0); err != nil {
		return fmt.Errorf("set wal_autocheckpoint: %w", err)
	}
	if err := migrate(c, o.Migrations); err != nil {
		return err
	}
	for _, table := range o.Tables {
		if _, err := c.Number(`SELECT max(rowid) FROM ` + table); err != nil {
			return fmt.Errorf("read table %s: %w", table, err)
		}
	}
	return nil
}

// settings makes the settings of the connection that writes and reads each back:
// a SQLite that was built without one ignores it silently.
func (c *Conn) settings() error {
	for _, p := range []struct{ name, set, got string }{
		{"page_size", "8192", "8192"}, // this and the next: when the file is made
		{"auto_vacuum", "INCREMENTAL", "2"},
		{"journal_mode", "WAL", "wal"},
		{"synchronous", "FULL", "2"}, // NORMAL loses what was acknowledged with the power
		{"temp_store", "MEMORY", "2"},
		{"cache_size", "-8000", "-8000"},
		{"foreign_keys", "ON", "1"},
		{"busy_timeout", "5000", "5000"},
		{"trusted_schema", "OFF", "0"},
		{"journal_size_limit", "67108864", "67108864"},
	} {
		if err := c.db.Exec("PRAGMA " + p.name + " = " + p.set); err != nil {
			return fmt.Errorf("set %s: %w", p.name, err)
		}
		got := ""
		err := c.Query(func(r *sqlite3.Stmt) error {
			got = r.ColumnText(0)
			return nil
		}, "PRAGMA "+p.name)
		if err != nil {
			return fmt.Errorf("read %s back: %w", p.name, err)
		}
		if got != p.got {
			return fmt.Errorf("setting %s is %q, not %q", p.name, got, p.got)
		}
	}
	return nil
}

func (d *DB) openReaders() error {
	path := d.o.path()
	for range cap(d.readers) {
		c, err := connect(path, sqlite3.OPEN_READONLY, d.o.params())
		if err != nil {
			return errors.Join(fmt.Errorf("open %s to read: %w", path, err), d.closeReaders())
		}
		d.readers <- c
		if err := c.db.Exec(readerPragmas); err != nil {
			return errors.Join(fmt.Errorf("set up a reader of %s: %w", path, err), d.closeReaders())
		}
	}
	return nil
}

// closeReaders closes those that were opened before Open failed.
func (d *DB) closeReaders() error {
	var errs []error
	for range len(d.readers) {
		errs = append(errs, (<-d.readers).close())
	}
	return errors.Join(errs...)
}

func corruptError(path string, err error) error {
	return fmt.Errorf("%w: %s: %w (start with -on-corrupt=fresh to put it aside and begin with an empty one)", ErrCorrupt, path, err)
}

// setAside renames a damaged database and its log, which are kept as they are.
func setAside(o Options) error {
	path := o.path()
	aside := path + ".corrupt-" + o.Hooks.Now().UTC().Format("20060102T150405Z")
	for _, suffix := range []string{"", "-wal"} {
		err := os.Rename(path+suffix, aside+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put damaged database aside: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(path)); err != nil { // before the mark goes
		return fmt.Errorf("put damaged database aside: %w", err)
	}
	for _, rest := range []string{path + "-shm", damagedMark(path)} {
		if err := removeIfThere(rest); err != nil {
			return fmt.Errorf("put damaged database aside: %w", err)
		}
	}
	o.Log.Error("database is damaged: put aside, beginning with an empty one", "damaged", aside)
	return nil
}

func damagedMark(path string) string { return path + ".damaged" }

// markDamaged leaves a note for the next Open: SQLite finds damage only where it
// happens to read.
func markDamaged(path string, why error) error {
	f, err := os.OpenFile(damagedMark(path), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("mark damaged database: %w", err)
	}
	_, err = fmt.Fprintln(f, why)
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("mark damaged database: %w", err)
	}
	return nil
}
