package store

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// cause is what is to be done about an error of the database.
type cause int

const (
	causeNone     cause = iota
	causeOwn            // the op's own fault: only it fails
	causeSpace          // no room: give up the ballast, take no events
	causeReadOnly       // not to be written now: take no events
	causeBusy           // somebody else holds the database
	causeBroken         // the disk fails: nothing it says can be trusted, stop
	causeCorrupt        // the file is not what was written: stop
)

// causeOf tells errors apart. SQLite calls a full disk an I/O error as often as
// not, so the system's own error is asked first and the file system second.
func causeOf(err error, g *gate) cause {
	var code sqlite3.ErrorCode
	switch {
	case err == nil:
		return causeNone
	case isNoSpace(err):
		return causeSpace
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
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
	case sqlite3.CORRUPT, sqlite3.NOTADB:
		return causeCorrupt
	case sqlite3.IOERR, sqlite3.CANTOPEN:
		if g.full() {
			return causeSpace
		}
		return causeBroken
	}
	return causeOwn
}
