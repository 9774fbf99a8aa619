// Package database keeps a SQLite file safely: with one writer, in a folder that
// one process has to itself. What is kept in it is the matter of who opens it.
//
// What Write has acknowledged survives a crash of the process, a kill and a loss
// of power: every commit is synced. It does not survive the loss of the disk, and
// no database is opened on a network file system, where neither locks nor syncs
// can be relied on.
//
//	callers ─► Write ─► queue ─► Serve: batch ─► one transaction ─► one sync ─► Committed ─► answers
//	callers ◄─ Read ◄──────────────── two read-only connections (snapshots)
//	another process ◄── Reader ◄───── a read-only connection of its own
//
// One goroutine, that of Serve, owns the only connection that writes. It takes all
// that waits, commits it at once and then answers each caller, so that many
// callers share one sync. A write that fails does not fail the others of its
// batch.
//
// What goes wrong on the disk ends in one of three ways (cause.go):
//
//	low, full, read-only, locked ─► the gate shuts: nothing new is taken in, what was
//	                                begun goes on; it opens again by itself
//	a write or a sync fails      ─► ErrIO ends Serve; the process should start again
//	the file is damaged          ─► ErrCorrupt ends Serve and leaves a mark, so that the
//	                                next Open does not build on it
//
// The data folder holds, for a database of the name n.db:
//
//	n.db, -wal, -shm       the database
//	n.db.damaged           why the database was found to be damaged while it was used
//	n.db.corrupt-<time>    a damaged database that was put aside
//	lock                   held by the one process that uses the folder; says which
//	ballast                space that is given up when the disk is full
//	probe                  for a moment, after a write failed: does another one?
package database
