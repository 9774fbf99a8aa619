package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

func TestKindOfMagic(t *testing.T) {
	for _, tt := range []struct {
		name  string
		magic uint32
		want  fsKind
	}{
		{"ext4", unix.EXT4_SUPER_MAGIC, fsKind{}},
		{"tmpfs", unix.TMPFS_MAGIC, fsKind{}},
		{"nfs", 0x6969, fsKind{"nfs", true}},
		{"cifs", 0xff534d42, fsKind{"cifs", true}},
		{"smb2", 0xfe534d42, fsKind{"cifs", true}},
		{"9p", 0x01021997, fsKind{"9p", true}},
		{"fuse", 0x65735546, fsKind{"fuse", false}},
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
	if err := fillFile(path, int64(sp.free-left)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRealFullDisk(t *testing.T) {
	dir := mountSmall(t, "64m")
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Dir = dir
		o.hooks.space = diskSpace
		o.hooks.lowWater = 1 // so that a write finds the disk full, not the look before it
		o.hooks.ballastSize = 4 << 20
		s := serve(t, o)
		var accepted []*engine.Acceptance
		for range 20 {
			accepted = append(accepted, accept(t, s.Store))
		}

		filler := fill(t, dir, 1<<20)
		big := enginetest.NewAcceptance("deploy")
		big.Event.Body = make([]byte, 6<<20)
		_, err := s.Accept(t.Context(), big)
		if !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), "no room for a write in data folder "+dir) {
			t.Errorf("Accept on a full disk: error %v, want no room in %s", err, dir)
		}
		for _, a := range accepted {
			finishRuns(t, s.Store, a)
		}
		if err := s.Health(); err == nil {
			t.Error("Health on a full disk is nil")
		}

		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		ticks()
		if _, err := s.Accept(t.Context(), big); err != nil {
			t.Errorf("Accept with room again: %v", err)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		again := serve(t, o)
		for _, a := range append(accepted, big) {
			if _, err := again.Event(t.Context(), a.Event.ID); err != nil {
				t.Error(err)
			}
		}
		refs, err := again.Unfinished(t.Context())
		if err != nil || len(refs) != 1 {
			t.Errorf("unfinished = %d runs, %v; want only the last event's", len(refs), err)
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
