// Package store keeps events, their runs and what became of them in one SQLite
// file: the durable queue and the history of hookrun.
//
// What a method has acknowledged survives a crash of the process, a kill and a
// loss of power: every commit is synced. It does not survive the loss of the
// disk, and the store does not run on network file systems, where neither its
// locks nor its syncs can be relied on.
//
//	callers ─► op ─► queue ─► Serve: batch ─► one transaction ─► one sync ─► answers
//	callers ◄────────────────────── two read-only connections (snapshots)
//	another process ◄── Reader ◄─── a read-only connection of its own
//
// One goroutine, that of Serve, owns the only connection that writes. It takes all that
// waits, commits it at once and then answers each caller, so that many callers
// share one sync. An op that fails does not fail the others of its batch.
//
// The data folder holds:
//
//	hookrun.db, -wal, -shm       the database
//	hookrun.db.damaged           why the database was found to be damaged while it was used
//	hookrun.db.corrupt-<time>    a damaged database that was put aside
//	lock                         held by the one process that uses the folder; says which
//	ballast                      space that is given up when the disk is full
//	probe                        for a moment, after a write failed: does another one?
//
// Beside them stand what others keep there: generations of rules, tmp, detached,
// control.sock.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"hookrun/engine"
)

var _ engine.Store = (*Store)(nil)

// Errors that end Serve and that Open returns.
var (
	ErrIO      = errors.New("disk I/O error")      // the disk fails; a restart recovers what is on it
	ErrCorrupt = errors.New("database is damaged") // the file is not what was written
	errEnded   = errors.New("store is closed")
)

// Defaults of Options.
const (
	DefaultKeepAge  = 30 * 24 * time.Hour
	DefaultKeepSize = 1 << 30
)

// Bounds of the writer.
const (
	maxBatch      = 512      // ops in one commit, and waiting for the next
	maxBatchBytes = 16 << 20 // bytes in one commit, reached by its last op
	readerCount   = 2        // read-only connections
)

// Options says where and how much to keep.
type Options struct {
	Dir            string        // the data folder, required; made with mode 0700 where missing
	Log            *slog.Logger  // nil: nothing is logged
	KeepAge        time.Duration // finished events older than this are deleted; 0: DefaultKeepAge
	KeepSize       int64         // bytes of the database that make the oldest finished events go; 0: DefaultKeepSize
	FreshOnCorrupt bool          // put a damaged database aside and start a new one

	hooks hooks
}

// hooks are what tests put in the world's place. Zero: the world itself.
type hooks struct {
	now         func() time.Time
	space       func(dir string) (space, error)
	kind        func(dir string) (fsKind, error)
	tryWrite    func(dir string) error
	vfs         string // a registered VFS
	ballastSize int64
	lowWater    uint64 // bytes
}

// Store is an open data folder. Open makes one; Serve works it.
type Store struct {
	reads   // by way of read
	o       Options
	lock    *os.File
	ops     chan *op   // to the writer; never closed
	readers chan *conn // read-only connections that nobody uses now
	writer  *writer    // Serve's own

	ended  chan struct{} // closed by Serve when it takes no more ops
	endErr error         // what ops get then; set before ended is closed
}

// reads answers what is asked of a store, with a connection that lend gives to fn.
type reads struct {
	lend func(ctx context.Context, fn func(*conn) error) error
}

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
	h := &o.hooks
	if h.now == nil {
		h.now = time.Now
	}
	if h.space == nil {
		h.space = diskSpace
	}
	if h.kind == nil {
		h.kind = diskKind
	}
	if h.tryWrite == nil {
		h.tryWrite = tryWrite
	}
	if h.ballastSize == 0 {
		h.ballastSize = ballastSize
	}
	return o
}

// params are those of the database's URI.
func (o Options) params() string {
	if o.hooks.vfs == "" {
		return ""
	}
	return "vfs=" + o.hooks.vfs
}

// Health returns nil while events are accepted, else why they are not; that
// error wraps engine.ErrUnavailable.
func (s *Store) Health() error {
	select {
	case <-s.ended:
		return s.endErr
	default:
		return s.writer.gate.health()
	}
}

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

	err := s.writer.run(ctx, s.ops)

	s.endErr = fmt.Errorf("%w: %w", engine.ErrUnavailable, errEnded)
	if err != nil {
		s.endErr = fmt.Errorf("%w: %w: %w", engine.ErrUnavailable, errEnded, err)
	}
	close(s.ended)
	stop()
	wg.Wait()
	return errors.Join(err, s.close())
}

// close waits for those who read, and gives everything back.
func (s *Store) close() error {
	var errs []error
	for range cap(s.readers) {
		c := <-s.readers
		errs = append(errs, c.close())
	}
	errs = append(errs, s.writer.conn.close())
	if err := s.lock.Close(); err != nil {
		errs = append(errs, fmt.Errorf("release %s: %w", s.lock.Name(), err))
	}
	return errors.Join(errs...)
}

// write has the writer do an op and returns when it is on disk or has failed.
// When ctx ends first, the op is withdrawn unless it is being done already.
func (s *Store) write(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	o.done = make(chan struct{})
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ended:
		return s.endErr
	}

	var err error
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.ended:
		err = s.endErr
	}
	if o.claim() {
		return err
	}
	<-o.done
	return o.err
}

// read lends a read-only connection to fn. It sees one state of the database:
// all that was committed when it began. An ErrIO or ErrCorrupt that it meets ends
// Serve.
func (s *Store) read(ctx context.Context, fn func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ended:
		return s.endErr
	}
	defer func() { s.readers <- c }()

	err := snapshot(ctx, c, fn)
	if broken(err) {
		err = s.writer.gate.diagnose(err)
	}
	switch {
	case causeOf(err) == causeFatal:
		s.writer.report(err)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return err
}

// snapshot has fn read inside a transaction.
func snapshot(ctx context.Context, c *conn, fn func(*conn) error) error {
	if err := c.exec(`BEGIN`); err != nil {
		return err
	}
	idle := c.db.SetInterrupt(ctx)
	err := fn(c)
	c.db.SetInterrupt(idle) // else the end of ctx would leave the transaction open
	if err == nil {
		err = c.exec(`COMMIT`)
	}
	if err != nil && !c.db.GetAutocommit() {
		c.exec(`ROLLBACK`) // err matters more
	}
	return err
}
