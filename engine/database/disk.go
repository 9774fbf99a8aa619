package database

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// What is asked of the disk before anything new is taken in.
const (
	minLowWater = 256 << 20 // bytes that are free at least
	maxLowWater = 1 << 30   // what lowPart asks for at most
	lowPart     = 50        // so many parts has a disk; one is free at least (2 %)
	lowShare    = 4         // a small disk: a quarter of it is asked for at most
	ballastSize = 32 << 20  // given up when the disk is full, so that what was begun can be finished
	ballastPart = 16        // so many parts has a disk; the ballast takes one at most
	fullSpace   = 1 << 20   // bytes; less than this free is full: SQLite writes in pieces
	trySize     = 64 << 10  // bytes of a write that is tried
)

// Space is what a file system has, in bytes.
type Space struct {
	Free  uint64 // to us
	Total uint64
}

// DiskSpace tells what the file system of a folder has.
func DiskSpace(dir string) (Space, error) { return diskSpace(dir) }

// Kind is what kind of file system the data folder is on.
type Kind struct {
	Name   string // "nfs", "" where it does not matter
	Remote bool   // locks and syncs can't be relied on
}

// gate decides whether anything new is taken in: not while the disk is low, full
// or read-only or the database is locked. It opens again by itself. The writer
// owns it; only health and diagnose are for everybody.
type gate struct {
	dir         string
	what        string // is taken in: Options.What
	unavailable error  // an ErrUnavailable in these words
	log         *slog.Logger
	hooks       Hooks
	ballast     string                // path
	shut        atomic.Pointer[error] // why; nil while open
	trying      sync.Mutex            // guards the file that a write is tried with
}

func newGate(o Options) *gate {
	return &gate{
		dir: o.Dir, what: o.What, unavailable: unavailable{o.What}, log: o.Log, hooks: o.Hooks,
		ballast: filepath.Join(o.Dir, "ballast"),
	}
}

// health returns nil while the gate is open, else why it is shut.
func (g *gate) health() error {
	if err := g.shut.Load(); err != nil {
		return *err
	}
	return nil
}

// lowWater is how much has to be free for anything new to be taken in. For the
// gate to open again a quarter more is asked for, so that it does not flap.
func (g *gate) lowWater(total uint64) uint64 {
	if g.hooks.LowWater > 0 {
		return g.hooks.LowWater
	}
	return min(max(minLowWater, min(total/lowPart, maxLowWater)), total/lowShare)
}

// look shuts the gate when the disk is low. Opening it is tick's.
func (g *gate) look() {
	if g.health() != nil {
		return
	}
	sp, err := g.hooks.Space(g.dir)
	if err != nil {
		g.shutFor(fmt.Errorf("%w: look at the free space of data folder %s: %w", g.unavailable, g.dir, err))
		return
	}
	if low := g.lowWater(sp.Total); sp.Free < low {
		g.shutFor(g.lowError(sp.Free, low))
	}
}

// tick looks at the disk, puts the ballast back where there is room, and opens
// the gate when there is room and probe has shown that writing works.
func (g *gate) tick(probe func() error) error {
	g.look()
	sp, err := g.hooks.Space(g.dir)
	if err != nil {
		return nil // look has shut the gate
	}
	low := g.lowWater(sp.Total)
	high := low + low/4
	if sp.Free < high {
		if g.health() != nil {
			g.shutFor(g.lowError(sp.Free, high))
		}
		return nil
	}
	if err := g.makeBallast(sp.Total); err != nil {
		return err
	}
	if g.health() == nil {
		return nil
	}
	if err := probe(); err != nil {
		return err
	}
	g.shut.Store(nil)
	g.log.Info("accepting "+g.what+" again", "dir", g.dir, "free", sp.Free)
	return nil
}

// shutFor shuts the gate, or replaces the reason why it is shut.
func (g *gate) shutFor(why error) {
	if g.health() == nil {
		g.log.Warn("accepting no "+g.what, "err", why)
	}
	g.shut.Store(&why)
}

// shutFull shuts the gate because a write found no room.
func (g *gate) shutFull() {
	sp, err := g.hooks.Space(g.dir)
	if err != nil {
		g.shutFor(fmt.Errorf("%w: no room for a write in data folder %s: %w", g.unavailable, g.dir, err))
		return
	}
	low := g.lowWater(sp.Total)
	g.shutFor(fmt.Errorf("%w: no room for a write in data folder %s: %s free, %s needed",
		g.unavailable, g.dir, mebi(sp.Free), mebi(low+low/4)))
}

// shutReadOnly shuts the gate because a write was not allowed.
func (g *gate) shutReadOnly(err error) {
	g.shutFor(fmt.Errorf("%w: data folder %s can't be written: %w", g.unavailable, g.dir, err))
}

// shutBusy shuts the gate because another program has the database locked.
func (g *gate) shutBusy(err error) {
	g.shutFor(fmt.Errorf("%w: the database in data folder %s is locked by another program: %w", g.unavailable, g.dir, err))
}

func (g *gate) lowError(free, need uint64) error {
	return fmt.Errorf("%w: the disk of data folder %s is low on space: %s free, %s needed",
		g.unavailable, g.dir, mebi(free), mebi(need))
}

// full reports whether the file system has no room left at all.
func (g *gate) full() bool {
	sp, err := g.hooks.Space(g.dir)
	return err == nil && sp.Free < fullSpace
}

// dropBallast gives the ballast's space back and reports whether there was any.
func (g *gate) dropBallast() bool {
	if err := os.Remove(g.ballast); err != nil {
		return false
	}
	g.log.Warn("disk full: ballast given up so that what was begun can be finished", "dir", g.dir)
	return true
}

// makeBallast writes the ballast, for a disk of total bytes, where it is missing
// or of another size.
func (g *gate) makeBallast(total uint64) error {
	size := min(g.hooks.BallastSize, int64(total/ballastPart))
	fi, err := os.Stat(g.ballast)
	if err == nil && fi.Size() == size {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for ballast: %w", err)
	}
	if err := fillFile(g.ballast, size); err != nil {
		return errors.Join(fmt.Errorf("write ballast: %w", err), removeIfThere(g.ballast))
	}
	return nil
}

// fillFile writes size random bytes: zeros would take no space on a file system
// that compresses.
func fillFile(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	noise := rand.NewChaCha8([32]byte{})
	buf := make([]byte, 1<<20)
	for size > 0 {
		noise.Read(buf) // never fails
		n, err := f.Write(buf[:min(size, int64(len(buf)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return f.Sync()
}

// tryWrite finds out what the disk says to a write.
func tryWrite(dir string) error {
	path := filepath.Join(dir, "probe")
	return errors.Join(fillFile(path, trySize), removeIfThere(path))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mebi writes bytes for people.
func mebi(n uint64) string {
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
