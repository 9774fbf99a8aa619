package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func TestLowWater(t *testing.T) {
	for _, tt := range []struct {
		name        string
		total, want uint64
	}{
		{"tiny disk", 48 << 20, 12 << 20},
		{"a quarter of a small disk", 1 << 30, 256 << 20},
		{"small disk", 8 << 30, 256 << 20},
		{"2 % of a middling disk", 25 << 30, 512 << 20},
		{"big disk", 4 << 40, 1 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := new(gate).lowWater(tt.total); got != tt.want {
				t.Errorf("lowWater(%d) = %d, want %d", tt.total, got, tt.want)
			}
		})
	}
}

// wantRefused checks that an event is refused because of why, and that the
// health says the same.
func wantRefused(t *testing.T, s *Store, why string) {
	t.Helper()
	a := enginetest.NewAcceptance("deploy")
	_, err := s.Accept(t.Context(), a)
	want := "accept event " + a.Event.ID + ": not accepting events: " + why
	if err == nil || err.Error() != want || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Accept: error %v\nwant %s", err, want)
	}
	if err := s.Health(); err == nil || err.Error() != "not accepting events: "+why {
		t.Errorf("Health = %v\nwant not accepting events: %s", err, why)
	}
	if _, err := s.Event(t.Context(), a.Event.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("event that was refused: error %v, want %v", err, engine.ErrNotFound)
	}
}

// wantAccepted checks that events are accepted, and returns the one that was.
func wantAccepted(t *testing.T, s *Store) *engine.Acceptance {
	t.Helper()
	if err := s.Health(); err != nil {
		t.Errorf("Health = %v, want nil", err)
	}
	return accept(t, s)
}

// ticks lets the store look at the disk a few times.
func ticks() {
	time.Sleep(2 * tickEvery)
	synctest.Wait()
}

func TestLowDiskStopsEventsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(300 << 20)
		o := options(t)
		o.hooks.space = func(string) (space, error) { return space{free: free.Load(), total: 10 << 30}, nil }
		s := serve(t, o)
		a := wantAccepted(t, s.Store)

		free.Store(200 << 20)
		low := fmt.Sprintf("the disk of data folder %s is low on space: 200.0 MiB free, 256.0 MiB needed", o.Dir)
		wantRefused(t, s.Store, low)
		finishRuns(t, s.Store, a)

		free.Store(300 << 20) // above the low water, below what opens again
		ticks()
		wantRefused(t, s.Store, fmt.Sprintf("the disk of data folder %s is low on space: 300.0 MiB free, 320.0 MiB needed", o.Dir))

		free.Store(320 << 20)
		ticks()
		wantAccepted(t, s.Store)
		if run, err := s.Run(t.Context(), a.Runs[0].ID); err != nil || run.State != engine.Done {
			t.Errorf("run that ended while the disk was low = %+v, %v; want it done", run, err)
		}
	})
}

func TestLowDiskShowsWithoutAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		o := options(t)
		o.hooks.space = func(string) (space, error) { return space{free: free.Load(), total: 10 << 30}, nil }
		s := serve(t, o)
		if s.Health() == nil {
			t.Error("Health after Open on a full disk is nil")
		}
		free.Store(1 << 30)
		ticks()
		if err := s.Health(); err != nil {
			t.Errorf("Health with room = %v, want nil", err)
		}
	})
}

// TestFullDiskGivesUpItsBallast has a disk of which the ballast takes the last
// space: writes fail as long as it is there.
func TestFullDiskGivesUpItsBallast(t *testing.T) {
	for name, noSpace := range map[string]error{
		"as SQLite says it":        sqlite3.FULL,
		"as the system says it":    syscall.ENOSPC,
		"as an I/O error hides it": sqlite3.IOERR_WRITE,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFullDisk(t, noSpace) })
		})
	}
}

func testFullDisk(t *testing.T, noSpace error) {
	o, disk := newFaults(t)
	var full atomic.Bool
	ballast := filepath.Join(o.Dir, "ballast")
	hasBallast := func() bool {
		_, err := os.Stat(ballast)
		return err == nil
	}
	o.hooks.space = func(string) (space, error) {
		if full.Load() {
			return space{total: 100 << 30}, nil
		}
		return space{free: 50 << 30, total: 100 << 30}, nil
	}
	o.hooks.tryWrite = func(string) error { return syscall.EIO }
	s := serve(t, o)
	a := wantAccepted(t, s.Store)
	if !hasBallast() {
		t.Fatal("there is no ballast on a disk with room")
	}

	disk.set(func() error {
		full.Store(true)
		if hasBallast() {
			return noSpace
		}
		return nil
	}, nil)
	wantRefused(t, s.Store, fmt.Sprintf("no room for a write in data folder %s: 0.0 MiB free, 1280.0 MiB needed", o.Dir))
	if hasBallast() {
		t.Error("the ballast is there still")
	}
	finishRuns(t, s.Store, a)

	disk.set(nil, nil)
	full.Store(false)
	ticks()
	wantAccepted(t, s.Store)
	if !hasBallast() {
		t.Error("the ballast was not put back")
	}
	if run, err := s.Run(t.Context(), a.Runs[0].ID); err != nil || run.State != engine.Done {
		t.Errorf("run that ended on the full disk = %+v, %v; want it done", run, err)
	}
}

func TestFullDiskWithoutBallastRefusesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, disk := newFaults(t)
		o.hooks.tryWrite = func(string) error { return syscall.ENOSPC }
		s := serve(t, o)
		a := wantAccepted(t, s.Store)
		disk.set(func() error { return syscall.ENOSPC }, nil)
		a.Runs[0].State = engine.Done
		if err := s.Update(t.Context(), a.Runs[0]); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("Update: error %v, want %v", err, engine.ErrUnavailable)
		}
		disk.set(nil, nil)
		if err := s.Update(t.Context(), a.Runs[0]); err != nil {
			t.Errorf("Update with room again: %v", err)
		}
		ticks()
		wantAccepted(t, s.Store)
	})
}

func TestReadOnlyDiskStopsEventsUntilItIsNot(t *testing.T) {
	for name, events := range map[string]int{"empty store": 0, "some events": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testReadOnlyDisk(t, events) })
		})
	}
}

func testReadOnlyDisk(t *testing.T, events int) {
	o, disk := newFaults(t)
	o.hooks.tryWrite = func(string) error { return syscall.EROFS }
	s := serve(t, o)
	for range events {
		wantAccepted(t, s.Store)
	}

	disk.set(func() error { return syscall.EROFS }, nil)
	why := fmt.Sprintf("data folder %s can't be written: read-only file system", o.Dir)
	wantRefused(t, s.Store, why)
	ticks()
	if s.Health() == nil {
		t.Error("Health while the disk is read-only is nil")
	}
	wantRefused(t, s.Store, why)

	disk.set(nil, nil)
	ticks()
	wantAccepted(t, s.Store)
}

func TestASmallDiskTakesEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.hooks.ballastSize = 0 // the usual one
		o.hooks.space = func(string) (space, error) { return space{free: 40 << 20, total: 48 << 20}, nil }
		s := serve(t, o)
		ticks()
		wantAccepted(t, s.Store)
		fi, err := os.Stat(filepath.Join(o.Dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Size(); got != 3<<20 {
			t.Errorf("ballast of a disk of 48 MiB = %d bytes, want %d", got, 3<<20)
		}
	})
}

// TestADatabaseThatIsLockedForLong: another program has begun to write and does
// not end.
func TestADatabaseThatIsLockedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := options(t)
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		s := serve(t, o)
		other, err := sqlite3.Open(filepath.Join(o.Dir, "hookrun.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := other.Exec(`BEGIN IMMEDIATE`); err != nil {
			t.Fatal(err)
		}
		why := fmt.Sprintf("the database in data folder %s is locked by another program: sqlite3: database is locked", o.Dir)
		wantRefused(t, s.Store, why)
		time.Sleep(time.Minute)
		wantRefused(t, s.Store, why)

		if err := other.Exec(`ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		ticks()
		wantAccepted(t, s.Store)
		s.stop()
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "accepting no events") ||
			!strings.Contains(log.String(), "accepting events again") {
			t.Errorf("log of the outage:\n%swant its beginning and its end", log.String())
		}
	})
}

// TestAFailedSyncEndsTheStore: after a failed sync a second one may succeed
// though the data is gone, so there must be none.
func TestAFailedSyncEndsTheStore(t *testing.T) {
	o, disk := newFaults(t)
	s := serve(t, o)
	kept := accept(t, s.Store)

	disk.set(nil, func() error { return syscall.EIO })
	before := disk.syncs.Load()
	_, err := s.Accept(t.Context(), enginetest.NewAcceptance("deploy"))
	if !errors.Is(err, ErrIO) || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Accept: error %v, want %v and %v", err, ErrIO, engine.ErrUnavailable)
	}
	if err := s.stop(); !errors.Is(err, ErrIO) {
		t.Errorf("Serve: error %v, want %v", err, ErrIO)
	}
	if n := disk.syncs.Load() - before; n != 1 {
		t.Errorf("%d syncs after the disk broke, want the one that failed", n)
	}
	if err := s.Health(); !errors.Is(err, ErrIO) || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Health = %v, want %v and %v", err, ErrIO, engine.ErrUnavailable)
	}

	disk.set(nil, nil)
	again := serve(t, o)
	if _, err := again.Event(t.Context(), kept.Event.ID); err != nil {
		t.Errorf("event from before: %v", err)
	}
}

// TestDamageFoundByAReaderEndsTheStore spoils a page that Open does not look at.
func TestDamageFoundByAReaderEndsTheStore(t *testing.T) {
	o := options(t)
	first := enginetest.NewAcceptance("deploy")
	first.Event.Path = "/the-first-of-many"
	s := serve(t, o)
	if _, err := s.Accept(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	damage(t, o, s, func(file []byte) []byte {
		const tableLeaf = 0x0d // a page's first byte; other kinds have leftovers of the row
		for page := range slices.Chunk(file, 8192) {
			if page[0] == tableLeaf && bytes.Contains(page, []byte(first.Event.Path)) {
				copy(page, bytes.Repeat([]byte{0xff}, len(page)))
			}
		}
		return file
	})

	s = serve(t, o)
	_, err := s.Event(t.Context(), first.Event.ID)
	want := "read event " + first.Event.ID + ": database is damaged: sqlite3: database disk image is malformed"
	if err == nil || err.Error() != want || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Event: error %v\nwant %s", err, want)
	}
	waitEnded(t, s.Store)
	if err := s.stop(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Serve: error %v, want %v", err, ErrCorrupt)
	}
	if err := s.Health(); !errors.Is(err, ErrCorrupt) || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Health = %v, want %v and %v", err, ErrCorrupt, engine.ErrUnavailable)
	}
	path := filepath.Join(o.Dir, "hookrun.db")
	_, err = Open(t.Context(), o)
	want = "database is damaged: " + path + ": read " + path + ": database is damaged: sqlite3: database disk image is malformed" +
		" (start with -on-corrupt=fresh to put it aside and begin with an empty one)"
	if err == nil || err.Error() != want {
		t.Errorf("Open: error %v\nwant %s", err, want)
	}
}

func TestADiskThatCannotBeReadEndsTheStore(t *testing.T) {
	o, disk := newFaults(t)
	s := serve(t, o)
	a := accept(t, s.Store)
	disk.setRead(func() error { return sqlite3.IOERR_READ })
	if _, err := s.Event(t.Context(), a.Event.ID); !errors.Is(err, ErrIO) {
		t.Errorf("Event: error %v, want %v", err, ErrIO)
	}
	waitEnded(t, s.Store)
	if err := s.stop(); !errors.Is(err, ErrIO) {
		t.Errorf("Serve: error %v, want %v", err, ErrIO)
	}
	disk.setRead(nil)
	again := serve(t, o)
	if _, err := again.Event(t.Context(), a.Event.ID); err != nil {
		t.Errorf("event from before: %v", err)
	}
}

// TestAReadThatAFullDiskBreaksEndsNothing: readers write to the index of the log.
func TestAReadThatAFullDiskBreaksEndsNothing(t *testing.T) {
	o, disk := newFaults(t)
	o.hooks.tryWrite = func(string) error { return syscall.ENOSPC }
	s := serve(t, o)
	a := accept(t, s.Store)
	disk.setRead(func() error { return sqlite3.IOERR_READ })
	if _, err := s.Event(t.Context(), a.Event.ID); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrIO) {
		t.Errorf("Event: error %v, want %v", err, syscall.ENOSPC)
	}
	disk.setRead(nil)
	wantAccepted(t, s.Store)
}

func TestDamageFoundAtWorkIsRemembered(t *testing.T) {
	o, disk := newFaults(t)
	s := serve(t, o)
	accept(t, s.Store)
	disk.set(func() error { return sqlite3.CORRUPT }, nil)
	if _, err := s.Accept(t.Context(), enginetest.NewAcceptance("deploy")); !errors.Is(err, sqlite3.CORRUPT) {
		t.Errorf("Accept: error %v, want %v", err, sqlite3.CORRUPT)
	}
	if err := s.stop(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Serve: error %v, want %v", err, ErrCorrupt)
	}

	disk.set(nil, nil)
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: error %v, want %v", err, ErrCorrupt)
	}
	o.FreshOnCorrupt = true
	fresh := serve(t, o)
	accept(t, fresh.Store)
	if _, err := os.Stat(filepath.Join(o.Dir, "hookrun.db.damaged")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mark of the damage: error %v, want %v", err, fs.ErrNotExist)
	}
}
