package database

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

func TestKindOfMagic(t *testing.T) {
	for _, tt := range []struct {
		name  string
		magic uint32
		want  Kind
	}{
		{"ext4", unix.EXT4_SUPER_MAGIC, Kind{}},
		{"tmpfs", unix.TMPFS_MAGIC, Kind{}},
		{"nfs", 0x6969, Kind{Name: "nfs", Remote: true}},
		{"cifs", 0xff534d42, Kind{Name: "cifs", Remote: true}},
		{"smb2", 0xfe534d42, Kind{Name: "cifs", Remote: true}},
		{"9p", 0x01021997, Kind{Name: "9p", Remote: true}},
		{"fuse", 0x65735546, Kind{Name: "fuse", Remote: false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kindOfMagic(tt.magic); got != tt.want {
				t.Errorf("kindOfMagic(%#x) = %v, want %v", tt.magic, got, tt.want)
			}
		})
	}
}

// mountSmall mounts a file system of the given size in memory.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("can't mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes a file that leaves about left bytes free, and returns its path.
func fill(t *testing.T, dir string, left uint64) string {
	t.Helper()
	sp, err := diskSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "filler")
	if err := fillFile(path, int64(sp.Free-left)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRealFullDisk(t *testing.T) {
	dir := mountSmall(t, "64m")
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Dir = dir
		o.Hooks.Space = diskSpace
		o.Hooks.LowWater = 1 // so that a write finds the disk full, not the look before it
		o.Hooks.BallastSize = 4 << 20
		d := serve(t, o)
		var ids []string
		for range 20 {
			ids = append(ids, put(t, d.DB))
		}

		filler := fill(t, dir, 1<<20)
		big := Write{Intake: true, Do: func(c *Conn) error {
			return c.Exec(`INSERT INTO notes(id, body) VALUES('big', ?)`, make([]byte, 6<<20))
		}}
		err := d.Write(t.Context(), big)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no room for a write in data folder "+dir) {
			t.Errorf("Write on a full disk: error %v, want no room in %s", err, dir)
		}
		for _, id := range ids {
			wantDone(t, d.DB, id)
		}
		if err := d.Health(); err == nil {
			t.Error("Health on a full disk is nil")
		}

		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		ticks()
		if err := d.Write(t.Context(), big); err != nil {
			t.Errorf("Write with room again: %v", err)
		}
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		again := serve(t, o)
		for _, id := range ids {
			if !wantKept(t, again, id).done {
				t.Errorf("note %s is not done", id)
			}
		}
		if n, err := get(t.Context(), again, "big"); err != nil || len(n.body) != 6<<20 {
			t.Errorf("big note = %d bytes, %v; want %d", len(n.body), err, 6<<20)
		}
	})
}

func TestRealReadOnlyFolder(t *testing.T) {
	dir := mountSmall(t, "64m")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("can't mount read-only: %v", err)
	}
	o := options(t)
	o.Dir = dir
	_, err := Open(t.Context(), o)
	want := "open lock: open " + dir + "/lock: read-only file system"
	if err == nil || err.Error() != want {
		t.Errorf("Open: error %v, want %s", err, want)
	}
}
