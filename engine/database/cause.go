package database

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// cause is what is to be done about an error of the database.
type cause int

const (
	causeNone     cause = iota
	causeOwn            // the write's own fault: only it fails
	causeSpace          // no room: give up the ballast, take nothing new
	causeReadOnly       // not to be written now: take nothing new
	causeBusy           // another program holds the database
	causeFatal          // ErrIO or ErrCorrupt: stop
)

// Refusal is the error of whoever was asked inside of a transaction, whatever it
// wraps: only that write fails.
type Refusal struct{ error }

// Refuse makes an error a Refusal, so that none of what it wraps is taken for one
// of the database. The Do of a Write returns it; nil stays nil.
func Refuse(err error) error {
	if err == nil {
		return nil
	}
	return Refusal{err}
}

// Unwrap returns the error that was refused with.
func (r Refusal) Unwrap() error { return r.error }

func refused(err error) bool {
	_, ok := errors.AsType[Refusal](err)
	return ok
}

// causeOf tells diagnosed errors apart.
func causeOf(err error) cause {
	var code sqlite3.ErrorCode
	switch {
	case err == nil:
		return causeNone
	case refused(err):
		return causeOwn
	case errors.Is(err, ErrIO) || errors.Is(err, ErrCorrupt):
		return causeFatal
	case isNoSpace(err):
		return causeSpace
	case isReadOnly(err):
		return causeReadOnly
	case !errors.As(err, &code):
		return causeOwn
	}
	switch code {
	case sqlite3.FULL:
		return causeSpace
	case sqlite3.READONLY:
		return causeReadOnly
	case sqlite3.BUSY, sqlite3.LOCKED, sqlite3.PROTOCOL:
		return causeBusy
	}
	return causeOwn
}

func isReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// broken reports whether a reader's error, as SQLite says it, is about the file
// or the disk, and not about what was asked or about a lack of files to open.
func broken(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR)
}

// diagnose finds what is behind an error of the database. SQLite says "disk I/O
// error" of many things, and the system's own error is lost by then: what the
// disk makes of another write tells.
func (g *gate) diagnose(err error) error {
	var code sqlite3.ErrorCode
	if refused(err) || errors.Is(err, ErrIO) || !errors.As(err, &code) {
		return err
	}
	switch code {
	case sqlite3.CORRUPT, sqlite3.NOTADB:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case sqlite3.IOERR, sqlite3.CANTOPEN:
		if werr := g.tryWrite(); isNoSpace(werr) || isReadOnly(werr) {
			return werr
		}
		if g.full() {
			return fmt.Errorf("%w: %w", sqlite3.FULL, err)
		}
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	return err
}

// tryWrite is the hook's, one at a time: there is one file to try with.
func (g *gate) tryWrite() error {
	g.trying.Lock()
	defer g.trying.Unlock()
	return g.hooks.TryWrite(g.dir)
}
