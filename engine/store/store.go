// Package store keeps events, their runs and what became of them in one SQLite
// file: the durable queue and the history of hookrun.
//
// What a method has acknowledged survives a crash of the process, a kill and a
// loss of power: every commit is synced. It does not survive the loss of the
// disk, and the store does not run on network file systems, where neither its
// locks nor its syncs can be relied on. How that is kept is the matter of
// package database; what is kept is this one's.
//
//	Accept, Update, … ─► database.Write ─► its one writer, many in one commit
//	Event, Runs, …    ─► reads ─► database.Read: a snapshot
//	another process   ─► Reader, with the same reads
//	Serve: sweep every minute ─► database.Write: what is old or too much goes
//
// The data folder holds hookrun.db and what package database keeps beside it: its
// lock, its ballast, marks and leftovers of damage. Beside them stand what others
// keep there: generations of rules, tmp, detached, control.sock.
package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/database"
)

var _ engine.Store = (*Store)(nil)

// Errors that end Serve and that Open returns.
var (
	ErrIO      = database.ErrIO      // the disk fails; a restart recovers what is on it
	ErrCorrupt = database.ErrCorrupt // the file is not what was written
)

// Defaults of Options.
const (
	DefaultKeepAge  = 30 * 24 * time.Hour
	DefaultKeepSize = 1 << 30
)

const fileName = "hookrun.db"

// Options says where and how much to keep.
type Options struct {
	Dir            string        // the data folder, required; made with mode 0700 where missing
	Log            *slog.Logger  // nil: nothing is logged
	KeepAge        time.Duration // finished events older than this are deleted; 0: DefaultKeepAge
	KeepSize       int64         // bytes of the database that make the oldest finished events go; 0: DefaultKeepSize
	FreshOnCorrupt bool          // put a damaged database aside and start a new one

	// OnCommit is told how long each commit took until it was on disk. What is
	// written waits for it. nil: nobody is told.
	OnCommit func(took time.Duration)

	hooks database.Hooks
}

// Store is an open data folder. Open makes one; Serve works it.
type Store struct {
	reads // by way of read
	o     Options
	db    *database.DB
}

// reads answers what is asked of a store, with a connection that lend gives to fn.
type reads struct {
	lend  func(ctx context.Context, fn func(*database.Conn) error) error
	dir   string                                   // the data folder
	space func(dir string) (database.Space, error) // of its disk
}

// unavailable is an error of the database that is one of the engine too.
type unavailable struct{ error }

func (u unavailable) Unwrap() []error { return []error{u.error, engine.ErrUnavailable} }

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KeepAge == 0 {
		o.KeepAge = DefaultKeepAge
	}
	if o.KeepSize == 0 {
		o.KeepSize = DefaultKeepSize
	}
	if o.hooks.Now == nil {
		o.hooks.Now = time.Now
	}
	if o.hooks.Space == nil {
		o.hooks.Space = database.DiskSpace
	}
	return o
}

// database says which one is opened.
func (o Options) database() database.Options {
	return database.Options{
		Dir:            o.Dir,
		Name:           fileName,
		Migrations:     migrations(),
		Tables:         []string{"events", "arrivals", "runs", "steps", "output", "meta"},
		What:           "events",
		Log:            o.Log,
		FreshOnCorrupt: o.FreshOnCorrupt,
		OnCommit:       o.OnCommit,
		Hooks:          o.hooks,
	}
}

// Open takes the lock of the data folder and opens the database in it, both made
// where they are missing. It starts no goroutine: nothing is written until Serve.
//
// A folder that another process uses, a network file system, a database of a
// newer hookrun and settings that SQLite did not take are errors. A damaged
// database is one that wraps ErrCorrupt, unless FreshOnCorrupt is set.
func Open(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	db, err := database.Open(ctx, o.database())
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, db: db}
	s.reads = reads{s.read, o.Dir, o.hooks.Space}
	return s, nil
}

// Health returns nil while events are accepted, else why they are not; that
// error wraps engine.ErrUnavailable.
func (s *Store) Health() error { return told(s.db.Health()) }

// Serve writes what the other methods ask for, watches the disk and deletes what
// is older or more than is to be kept. It may be called once.
//
// When ctx ends it commits what is queued, closes the database, gives the folder
// free and returns nil; to close a Store that was never served, serve it with a
// ctx that has ended. An error that wraps ErrIO or ErrCorrupt means that the disk
// can't be trusted any more: the process should end, and start again to recover.
func (s *Store) Serve(ctx context.Context) error {
	sweeping, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.sweepEvery(sweeping) })
	wg.Go(func() {
		<-s.db.Ended() // it closes when the sweeper reads no more
		stop()
	})
	err := s.db.Serve(ctx)
	wg.Wait()
	return err
}

// write has the database's writer do w.
func (s *Store) write(ctx context.Context, w database.Write) error {
	return told(s.db.Write(ctx, w))
}

// read lends one of the database's connections to fn.
func (s *Store) read(ctx context.Context, fn func(*database.Conn) error) error {
	return told(s.db.Read(ctx, fn))
}

// told makes an error of the database one of the engine where it is that.
func told(err error) error {
	if errors.Is(err, database.ErrUnavailable) {
		return unavailable{err}
	}
	return err
}
