package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Bounds of the writer.
const (
	maxBatch      = 512      // writes in one commit, and waiting for the next
	maxBatchBytes = 16 << 20 // bytes in one commit, reached by its last write
)

// How the writer keeps the log of the database short.
const (
	tickEvery       = time.Second // looks at the disk, and checkpoints when there was nothing to write
	checkpointPages = 1000        // of the log, about 8 MB: a checkpoint is due
	restartPages    = 8000        // of the log, about 64 MB: readers are waited for, up to busy_timeout
)

// Write is one thing to write.
type Write struct {
	// Do runs on the writer's goroutine inside a transaction, with others before
	// and after it, and once more where that transaction failed. An error of its
	// own that could be taken for one of the database is to be a Refusal.
	Do func(*Conn) error

	// Committed, where it is set, is called once the transaction is on disk and
	// before DB.Write returns: on the writer's goroutine and in the order of the
	// writes. All writes wait for it, so it must not wait for one. It is not
	// called where the write failed.
	Committed func()

	Intake bool // takes something new in: refused while the gate is shut
	Size   int  // bytes that it writes, about
}

// op is a write on its way.
type op struct {
	Write

	claimed atomic.Bool   // by the writer, who does it, or by its caller, who gave up
	done    chan struct{} // closed by the writer after err is set
	err     error
}

// claim reports whether the caller is the first to decide about the op.
func (o *op) claim() bool { return o.claimed.CompareAndSwap(false, true) }

func (o *op) finish(err error) {
	o.err = err
	close(o.done)
}

func finish(ops []*op, err error) {
	for _, o := range ops {
		o.finish(err)
	}
}

// committed tells in the order of the writes that they are on disk.
func committed(ops []*op) {
	for _, o := range ops {
		if o.Committed != nil {
			o.Committed()
		}
		o.finish(nil)
	}
}

// writer owns the connection that writes. Only its goroutine touches it.
type writer struct {
	conn   *Conn
	path   string // of the database
	format int    // of the database, the newest
	gate   *gate
	log    *slog.Logger
	took   func(time.Duration) // Options.OnCommit

	broken chan error // from a reader: the first ErrIO or ErrCorrupt that one found; never closed

	logPages   int  // in the database's log
	triedPages int  // logPages at the last checkpoint of this log
	unmoved    bool // the log has what the database has not
	wrote      bool // since the last tick
}

func newWriter(c *Conn, o Options) *writer {
	w := &writer{
		conn: c, path: o.path(), format: len(o.Migrations), gate: newGate(o), log: o.Log, took: o.OnCommit,
		broken: make(chan error, 1),
	}
	c.db.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		if pages < w.logPages {
			w.triedPages = 0 // the log was begun anew
		}
		w.logPages, w.unmoved = pages, true
		return nil
	})
	return w
}

// run does ops until ctx ends, then those that are queued. Its error is fatal.
func (w *writer) run(ctx context.Context, ops <-chan *op) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case o := <-ops:
			err = w.commit(gather(o, ops))
			if err == nil && w.logPages-w.triedPages >= checkpointPages {
				err = w.checkpoint()
			}
			w.wrote = true
		case <-tick.C:
			err = w.tick()
		case err := <-w.broken:
			return w.mark(err)
		case <-ctx.Done():
			return w.drain(ops)
		}
		if err != nil {
			return w.fatal(err)
		}
	}
}

// gather takes o and what waits behind it, up to the bounds of a batch.
func gather(o *op, ops <-chan *op) []*op {
	var batch []*op
	size := 0
	for {
		if o.claim() {
			batch = append(batch, o)
			size += o.Size
		}
		if len(batch) == maxBatch || size >= maxBatchBytes {
			return batch
		}
		select {
		case o = <-ops:
		default:
			return batch
		}
	}
}

// drain does what is queued at the moment, and leaves an empty log behind.
func (w *writer) drain(ops <-chan *op) error {
	select {
	case err := <-w.broken:
		return w.mark(err)
	default:
	}
	for range len(ops) { // bounded: callers may go on
		select {
		case o := <-ops:
			if err := w.commit(gather(o, ops)); err != nil {
				return w.fatal(err)
			}
		default:
		}
	}
	if _, _, err := w.conn.db.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return w.fatal(w.survivable(fmt.Errorf("checkpoint %s: %w", w.path, err)))
	}
	return nil
}

// commit does the ops of a batch in one transaction and answers their callers.
// Its error is fatal, and all of them have it.
func (w *writer) commit(batch []*op) error {
	batch = w.admit(batch)
	if len(batch) == 0 {
		return nil
	}
	began := time.Now()
	err := w.gate.diagnose(w.transact(batch))
	switch causeOf(err) {
	case causeNone:
		w.took(time.Since(began))
		committed(batch)
	case causeSpace:
		// The gate's ballast is there for this: what takes nothing new in goes on.
		w.gate.shutFull()
		if w.gate.dropBallast() {
			return w.commit(batch)
		}
		finish(batch, w.gate.health())
	case causeReadOnly:
		w.gate.shutReadOnly(err)
		finish(batch, w.gate.health())
	case causeBusy:
		w.gate.shutBusy(err)
		finish(batch, w.gate.health())
	case causeFatal:
		finish(batch, fmt.Errorf("%w: %w", w.gate.unavailable, err))
		return err
	default:
		return w.commitSingly(batch, err)
	}
	return nil
}

// commitSingly gives each op a transaction of its own, so that the one that
// failed the batch with err does not fail its neighbours.
func (w *writer) commitSingly(batch []*op, err error) error {
	if len(batch) == 1 {
		batch[0].finish(err)
		return nil
	}
	for i := range batch {
		if err := w.commit(batch[i : i+1]); err != nil {
			finish(batch[i+1:], fmt.Errorf("%w: %w", w.gate.unavailable, err))
			return err
		}
	}
	return nil
}

// admit refuses the ops that take something new in where the disk has no room for
// it, and returns the others.
func (w *writer) admit(batch []*op) []*op {
	w.gate.look()
	refused := w.gate.health()
	if refused == nil {
		return batch
	}
	kept := batch[:0:0]
	for _, o := range batch {
		if o.Intake {
			o.finish(refused)
		} else {
			kept = append(kept, o)
		}
	}
	return kept
}

func (w *writer) transact(batch []*op) (err error) {
	if err := w.conn.Exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	for _, o := range batch {
		if err := o.Do(w.conn); err != nil {
			return w.rollback(err)
		}
	}
	if err := w.conn.Exec(`COMMIT`); err != nil {
		return w.rollback(err)
	}
	return nil
}

// rollback undoes a transaction that err broke; some errors have done it already.
// A transaction that can't be undone is an ErrIO: no other could begin.
func (w *writer) rollback(err error) error {
	if w.conn.db.GetAutocommit() {
		return err
	}
	if rerr := w.conn.Exec(`ROLLBACK`); rerr != nil {
		if refused(err) {
			err = errors.New(err.Error()) // more than that write fails now
		}
		return errors.Join(err, fmt.Errorf("%w: undo a transaction: %w", ErrIO, rerr))
	}
	return err
}

// tick keeps the gate as the disk is, and moves the log into the database while
// nothing else is to do.
func (w *writer) tick() error {
	if err := w.survivable(w.gate.tick(w.probe)); err != nil {
		return err
	}
	idle := !w.wrote
	w.wrote = false
	if idle && w.unmoved {
		return w.checkpoint()
	}
	return nil
}

// probe writes what is there already: does a commit come through? The number of
// the format is written even where it stays the same.
func (w *writer) probe() error {
	err := w.transact([]*op{{Write: Write{Do: func(c *Conn) error {
		return c.Exec(fmt.Sprintf(`PRAGMA user_version = %d`, w.format))
	}}}})
	if causeOf(err) == causeBusy {
		w.gate.shutBusy(err)
	}
	return err
}

// checkpoint moves the log into the database. What readers hold back stays for
// the next time. A full disk is no harm here: the log keeps it all.
func (w *writer) checkpoint() error {
	mode := sqlite3.CHECKPOINT_PASSIVE
	if w.logPages >= restartPages {
		mode = sqlite3.CHECKPOINT_RESTART
	}
	total, moved, err := w.conn.db.WALCheckpoint("main", mode)
	w.triedPages = w.logPages
	if err != nil {
		return w.survivable(fmt.Errorf("checkpoint %s: %w", w.path, err))
	}
	w.unmoved = moved < total
	return nil
}

// survivable passes on only those errors that end the writer. The others have
// done no harm: the gate is told, and the next try may fare better.
func (w *writer) survivable(err error) error {
	err = w.gate.diagnose(err)
	switch causeOf(err) {
	case causeFatal:
		return err
	case causeSpace:
		w.gate.shutFull()
		w.gate.dropBallast()
	case causeReadOnly:
		w.gate.shutReadOnly(err)
	case causeBusy:
		if w.gate.health() == nil { // else it was told
			w.log.Warn("database upkeep put off", "err", err)
		}
	case causeOwn:
		w.log.Warn("database upkeep put off", "err", err)
	}
	return nil
}

// report tells the writer of a reader's error that is fatal; one is enough.
func (w *writer) report(err error) {
	select {
	case w.broken <- fmt.Errorf("read %s: %w", w.path, err):
	default:
	}
}

// fatal says what the error is about.
func (w *writer) fatal(err error) error {
	if err == nil {
		return nil
	}
	return w.mark(fmt.Errorf("write %s: %w", w.path, err))
}

// mark leaves a note of damage, so that the next Open does not build on it.
func (w *writer) mark(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return errors.Join(err, markDamaged(w.path, err))
	}
	return err
}
