package database

import (
	"bytes"
	"crypto/rand"
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

// wantRefused checks that a note is refused because of why, and that the health
// says the same.
func wantRefused(t *testing.T, d *DB, why string) {
	t.Helper()
	want := "not accepting notes: " + why
	id := rand.Text()
	err := d.Write(t.Context(), noting(id))
	if err == nil || err.Error() != want || !errors.Is(err, ErrUnavailable) {
		t.Errorf("Write: error %v\nwant %s", err, want)
	}
	if err := d.Health(); err == nil || err.Error() != want {
		t.Errorf("Health = %v\nwant %s", err, want)
	}
	wantNone(t, d, id)
}

// wantAccepted checks that notes are accepted, and returns the one that was.
func wantAccepted(t *testing.T, d *DB) string {
	t.Helper()
	if err := d.Health(); err != nil {
		t.Errorf("Health = %v, want nil", err)
	}
	return put(t, d)
}

// wantDone has a note be done, and checks that it is.
func wantDone(t *testing.T, d *DB, id string) {
	t.Helper()
	if err := tick(t.Context(), d, id); err != nil {
		t.Errorf("write that takes nothing new in: %v", err)
	}
	if !wantKept(t, d, id).done {
		t.Errorf("note %s is not done", id)
	}
}

// ticks lets the writer look at the disk a few times.
func ticks() {
	time.Sleep(2 * tickEvery)
	synctest.Wait()
}

func TestLowDiskStopsWhatIsNewAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(300 << 20)
		o := options(t)
		o.Hooks.Space = func(string) (Space, error) { return Space{Free: free.Load(), Total: 10 << 30}, nil }
		d := serve(t, o)
		id := wantAccepted(t, d.DB)

		free.Store(200 << 20)
		low := fmt.Sprintf("the disk of data folder %s is low on space: 200.0 MiB free, 256.0 MiB needed", o.Dir)
		wantRefused(t, d.DB, low)
		wantDone(t, d.DB, id)

		free.Store(300 << 20) // above the low water, below what opens again
		ticks()
		wantRefused(t, d.DB, fmt.Sprintf("the disk of data folder %s is low on space: 300.0 MiB free, 320.0 MiB needed", o.Dir))

		free.Store(320 << 20)
		ticks()
		wantAccepted(t, d.DB)
		wantKept(t, d, id)
	})
}

func TestLowDiskShowsWithoutAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		o := options(t)
		o.Hooks.Space = func(string) (Space, error) { return Space{Free: free.Load(), Total: 10 << 30}, nil }
		d := serve(t, o)
		if d.Health() == nil {
			t.Error("Health after Open on a full disk is nil")
		}
		free.Store(1 << 30)
		ticks()
		if err := d.Health(); err != nil {
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
	o.Hooks.Space = func(string) (Space, error) {
		if full.Load() {
			return Space{Total: 100 << 30}, nil
		}
		return Space{Free: 50 << 30, Total: 100 << 30}, nil
	}
	o.Hooks.TryWrite = func(string) error { return syscall.EIO }
	d := serve(t, o)
	id := wantAccepted(t, d.DB)
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
	wantRefused(t, d.DB, fmt.Sprintf("no room for a write in data folder %s: 0.0 MiB free, 1280.0 MiB needed", o.Dir))
	if hasBallast() {
		t.Error("the ballast is there still")
	}
	wantDone(t, d.DB, id)

	disk.set(nil, nil)
	full.Store(false)
	ticks()
	wantAccepted(t, d.DB)
	if !hasBallast() {
		t.Error("the ballast was not put back")
	}
	wantKept(t, d, id)
}

func TestFullDiskWithoutBallastRefusesEveryWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, disk := newFaults(t)
		o.Hooks.TryWrite = func(string) error { return syscall.ENOSPC }
		d := serve(t, o)
		id := wantAccepted(t, d.DB)
		disk.set(func() error { return syscall.ENOSPC }, nil)
		if err := tick(t.Context(), d.DB, id); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Write: error %v, want %v", err, ErrUnavailable)
		}
		disk.set(nil, nil)
		wantDone(t, d.DB, id)
		ticks()
		wantAccepted(t, d.DB)
	})
}

func TestReadOnlyDiskStopsWhatIsNewUntilItIsNot(t *testing.T) {
	for name, notes := range map[string]int{"empty": 0, "some notes": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testReadOnlyDisk(t, notes) })
		})
	}
}

func testReadOnlyDisk(t *testing.T, notes int) {
	o, disk := newFaults(t)
	o.Hooks.TryWrite = func(string) error { return syscall.EROFS }
	d := serve(t, o)
	for range notes {
		wantAccepted(t, d.DB)
	}

	disk.set(func() error { return syscall.EROFS }, nil)
	why := fmt.Sprintf("data folder %s can't be written: read-only file system", o.Dir)
	wantRefused(t, d.DB, why)
	ticks()
	if d.Health() == nil {
		t.Error("Health while the disk is read-only is nil")
	}
	wantRefused(t, d.DB, why)

	disk.set(nil, nil)
	ticks()
	wantAccepted(t, d.DB)
}

func TestASmallDiskTakesWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Hooks.BallastSize = 0 // the usual one
		o.Hooks.Space = func(string) (Space, error) { return Space{Free: 40 << 20, Total: 48 << 20}, nil }
		d := serve(t, o)
		ticks()
		wantAccepted(t, d.DB)
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
		d := serve(t, o)
		other, err := sqlite3.Open(filepath.Join(o.Dir, "notes.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := other.Exec(`BEGIN IMMEDIATE`); err != nil {
			t.Fatal(err)
		}
		why := fmt.Sprintf("the database in data folder %s is locked by another program: sqlite3: database is locked", o.Dir)
		wantRefused(t, d.DB, why)
		time.Sleep(time.Minute)
		wantRefused(t, d.DB, why)

		if err := other.Exec(`ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		ticks()
		wantAccepted(t, d.DB)
		d.stop()
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "accepting no notes") ||
			!strings.Contains(log.String(), "accepting notes again") {
			t.Errorf("log of the outage:\n%swant its beginning and its end", log.String())
		}
	})
}

// TestAFailedSyncEndsServe: after a failed sync a second one may succeed
// though the data is gone, so there must be none.
func TestAFailedSyncEndsServe(t *testing.T) {
	o, disk := newFaults(t)
	d := serve(t, o)
	kept := put(t, d.DB)

	disk.set(nil, func() error { return syscall.EIO })
	before := disk.syncs.Load()
	lost := noting(rand.Text())
	lost.Committed = func() { t.Error("a write whose sync failed was committed") }
	err := d.Write(t.Context(), lost)
	if !errors.Is(err, ErrIO) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("Write: error %v, want %v and %v", err, ErrIO, ErrUnavailable)
	}
	if err := d.stop(); !errors.Is(err, ErrIO) {
		t.Errorf("Serve: error %v, want %v", err, ErrIO)
	}
	if n := disk.syncs.Load() - before; n != 1 {
		t.Errorf("%d syncs after the disk broke, want the one that failed", n)
	}
	if err := d.Health(); !errors.Is(err, ErrIO) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("Health = %v, want %v and %v", err, ErrIO, ErrUnavailable)
	}

	disk.set(nil, nil)
	again := serve(t, o)
	wantKept(t, again, kept)
}

// TestDamageFoundByAReaderEndsServe spoils a page that Open does not look at.
func TestDamageFoundByAReaderEndsServe(t *testing.T) {
	o := options(t)
	d := serve(t, o)
	first := put(t, d.DB)
	damage(t, o, d, func(file []byte) []byte {
		const tableLeaf = 0x0d // a page's first byte; other kinds have leftovers of the row
		for page := range slices.Chunk(file, 8192) {
			if page[0] == tableLeaf && bytes.Contains(page, []byte("text of "+first)) {
				copy(page, bytes.Repeat([]byte{0xff}, len(page)))
			}
		}
		return file
	})

	d = serve(t, o)
	_, err := get(t.Context(), d, first)
	want := "database is damaged: sqlite3: database disk image is malformed"
	if err == nil || err.Error() != want || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Read: error %v\nwant %s", err, want)
	}
	waitEnded(t, d.DB)
	if err := d.stop(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Serve: error %v, want %v", err, ErrCorrupt)
	}
	if err := d.Health(); !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("Health = %v, want %v and %v", err, ErrCorrupt, ErrUnavailable)
	}
	path := filepath.Join(o.Dir, "notes.db")
	_, err = Open(t.Context(), o)
	want = "database is damaged: " + path + ": read " + path + ": database is damaged: sqlite3: database disk image is malformed" +
		" (start with -on-corrupt=fresh to put it aside and begin with an empty one)"
	if err == nil || err.Error() != want {
		t.Errorf("Open: error %v\nwant %s", err, want)
	}
}

func TestADiskThatCannotBeReadEndsServe(t *testing.T) {
	o, disk := newFaults(t)
	d := serve(t, o)
	id := put(t, d.DB)
	disk.setRead(func() error { return sqlite3.IOERR_READ })
	if _, err := get(t.Context(), d, id); !errors.Is(err, ErrIO) {
		t.Errorf("Read: error %v, want %v", err, ErrIO)
	}
	waitEnded(t, d.DB)
	if err := d.stop(); !errors.Is(err, ErrIO) {
		t.Errorf("Serve: error %v, want %v", err, ErrIO)
	}
	disk.setRead(nil)
	again := serve(t, o)
	wantKept(t, again, id)
}

// TestAReadThatAFullDiskBreaksEndsNothing: readers write to the index of the log.
func TestAReadThatAFullDiskBreaksEndsNothing(t *testing.T) {
	o, disk := newFaults(t)
	o.Hooks.TryWrite = func(string) error { return syscall.ENOSPC }
	d := serve(t, o)
	id := put(t, d.DB)
	disk.setRead(func() error { return sqlite3.IOERR_READ })
	if _, err := get(t.Context(), d, id); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrIO) {
		t.Errorf("Read: error %v, want %v", err, syscall.ENOSPC)
	}
	disk.setRead(nil)
	wantAccepted(t, d.DB)
}

func TestDamageFoundAtWorkIsRemembered(t *testing.T) {
	o, disk := newFaults(t)
	d := serve(t, o)
	put(t, d.DB)
	disk.set(func() error { return sqlite3.CORRUPT }, nil)
	if err := d.Write(t.Context(), noting(rand.Text())); !errors.Is(err, sqlite3.CORRUPT) {
		t.Errorf("Write: error %v, want %v", err, sqlite3.CORRUPT)
	}
	if err := d.stop(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Serve: error %v, want %v", err, ErrCorrupt)
	}

	disk.set(nil, nil)
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: error %v, want %v", err, ErrCorrupt)
	}
	o.FreshOnCorrupt = true
	fresh := serve(t, o)
	put(t, fresh.DB)
	if _, err := os.Stat(filepath.Join(o.Dir, "notes.db.damaged")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mark of the damage: error %v, want %v", err, fs.ErrNotExist)
	}
}
