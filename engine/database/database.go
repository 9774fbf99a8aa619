package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Errors that end Serve and that Open returns.
var (
	ErrIO      = errors.New("disk I/O error")      // the disk fails; a restart recovers what is on it
	ErrCorrupt = errors.New("database is damaged") // the file is not what was written
)

// ErrUnavailable is what Health returns and refused writes end with: nothing can
// be written now. Its text says Options.What.
var ErrUnavailable = errors.New("not accepting " + defaultWhat)

var errEnded = errors.New("store is closed")

const (
	defaultWhat = "data"
	readerCount = 2 // read-only connections
)

// Options says what to open.
type Options struct {
	Dir        string       // the data folder, required; made with mode 0700 where missing
	Name       string       // of the file in it, required: "hookrun.db"
	Migrations []string     // number n, from 0, is run on format n and makes it format n+1
	Tables     []string     // touched when the file is opened, so that gross damage shows
	What       string       // is taken in, in the plural, for texts: "events"; "": "data"
	Log        *slog.Logger // nil: nothing is logged

	FreshOnCorrupt bool // put a damaged database aside and start a new one

	// OnCommit is told by the writer how long a commit of Writes took until it was
	// on disk. All writes wait for it. nil: nobody is told.
	OnCommit func(took time.Duration)

	Hooks Hooks
}

// Hooks are what tests put in the world's place. Zero: the world itself.
type Hooks struct {
	Now         func() time.Time
	Space       func(dir string) (Space, error)
	Kind        func(dir string) (Kind, error)
	TryWrite    func(dir string) error // what the disk says to a write
	VFS         string                 // a registered VFS
	BallastSize int64                  // bytes
	LowWater    uint64                 // bytes that have to be free
}

// DB is an open database. Open makes one; Serve works it.
type DB struct {
	o       Options
	lock    *os.File
	ops     chan *op   // to the writer; never closed
	readers chan *Conn // read-only connections that nobody uses now
	writer  *writer    // Serve's own

	ended  chan struct{} // closed by Serve when it takes no more writes
	endErr error         // what callers get then; set before ended is closed
}

// unavailable is an ErrUnavailable that says what is not accepted.
type unavailable struct{ what string }

func (u unavailable) Error() string { return "not accepting " + u.what }

func (u unavailable) Is(target error) bool { return target == ErrUnavailable }

func (o Options) withDefaults() Options {
	o.What = cmp.Or(o.What, defaultWhat)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnCommit == nil {
		o.OnCommit = func(time.Duration) {}
	}
	h := &o.Hooks
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Space == nil {
		h.Space = diskSpace
	}
	if h.Kind == nil {
		h.Kind = diskKind
	}
	if h.TryWrite == nil {
		h.TryWrite = tryWrite
	}
	if h.BallastSize == 0 {
		h.BallastSize = ballastSize
	}
	return o
}

func (o Options) path() string { return filepath.Join(o.Dir, o.Name) }

// params are those of the database's URI.
func (o Options) params() string {
	if o.Hooks.VFS == "" {
		return ""
	}
	return "vfs=" + o.Hooks.VFS
}

// Health returns nil while new things are taken in, else why they are not; that
// error wraps ErrUnavailable.
func (d *DB) Health() error {
	select {
	case <-d.ended:
		return d.endErr
	default:
		return d.writer.gate.health()
	}
}

// Ended is closed once Serve takes no more writes. The database closes when
// those who read have ended.
func (d *DB) Ended() <-chan struct{} { return d.ended }

// Serve writes what Write asks for and watches the disk. It may be called once.
//
// When ctx ends it commits what is queued, closes the database, gives the folder
// free and returns nil; to close a DB that was never served, serve it with a ctx
// that has ended. An error that wraps ErrIO or ErrCorrupt means that the disk
// can't be trusted any more: the process should end, and start again to recover.
func (d *DB) Serve(ctx context.Context) error {
	err := d.writer.run(ctx, d.ops)

	d.endErr = fmt.Errorf("%w: %w", d.writer.gate.unavailable, errEnded)
	if err != nil {
		d.endErr = fmt.Errorf("%w: %w: %w", d.writer.gate.unavailable, errEnded, err)
	}
	close(d.ended)
	return errors.Join(err, d.close())
}

// close waits for those who read, and gives everything back.
func (d *DB) close() error {
	var errs []error
	for range cap(d.readers) {
		c := <-d.readers
		errs = append(errs, c.close())
	}
	errs = append(errs, d.writer.conn.close())
	if err := d.lock.Close(); err != nil {
		errs = append(errs, fmt.Errorf("release %s: %w", d.lock.Name(), err))
	}
	return errors.Join(errs...)
}

// Write has the writer do w and returns when it is on disk or has failed. When
// ctx ends first, w is withdrawn unless it is being done already. What the gate
// refuses, and what comes when Serve has ended, fails with an ErrUnavailable.
func (d *DB) Write(ctx context.Context, w Write) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	o := &op{Write: w, done: make(chan struct{})}
	select {
	case d.ops <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.ended:
		return d.endErr
	}

	var err error
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.ended:
		err = d.endErr
	}
	if o.claim() {
		return err
	}
	<-o.done
	return o.err
}

// Read lends a read-only connection to fn. It sees one state of the database:
// all that was committed when it began. An ErrIO or ErrCorrupt that it meets ends
// Serve.
func (d *DB) Read(ctx context.Context, fn func(*Conn) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	var c *Conn
	select {
	case c = <-d.readers:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.ended:
		return d.endErr
	}
	defer func() { d.readers <- c }()

	err := snapshot(ctx, c, fn)
	if broken(err) {
		err = d.writer.gate.diagnose(err)
	}
	switch {
	case causeOf(err) == causeFatal:
		d.writer.report(err)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return err
}

// snapshot has fn read inside a transaction.
func snapshot(ctx context.Context, c *Conn, fn func(*Conn) error) error {
	if err := c.Exec(`BEGIN`); err != nil {
		return err
	}
	idle := c.db.SetInterrupt(ctx)
	err := fn(c)
	c.db.SetInterrupt(idle) // else the end of ctx would leave the transaction open
	if err == nil {
		err = c.Exec(`COMMIT`)
	}
	if err != nil && !c.db.GetAutocommit() {
		c.Exec(`ROLLBACK`) // err matters more
	}
	return err
}
