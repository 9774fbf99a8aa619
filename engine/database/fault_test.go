package database

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
)

// faults stands between SQLite and the system and lets tests break its work.
type faults struct {
	vfs.VFSFilename
	syncs atomic.Int32 // calls of Sync, failed ones too

	mu    sync.Mutex // guards the rest
	read  func() error
	write func() error
	sync  func() error
}

// newFaults returns the options of a database whose disk can be broken.
func newFaults(t *testing.T) (Options, *faults) {
	o := options(t)
	f := &faults{VFSFilename: vfs.Find("os").(vfs.VFSFilename)}
	o.Hooks.VFS = strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	vfs.Register(o.Hooks.VFS, f)
	t.Cleanup(func() { vfs.Unregister(o.Hooks.VFS) })
	return o, f
}

// set makes every write and every sync fail with what these return; nil heals.
func (f *faults) set(write, sync func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write, f.sync = write, sync
}

// setRead makes every read fail with what this returns; nil heals.
func (f *faults) setRead(read func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = read
}

func (f *faults) getRead() func() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read
}

func (f *faults) get() (write, sync func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.write, f.sync
}

func (f *faults) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := f.VFSFilename.OpenFilename(name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &faultyFile{file.(vfs.FileSharedMemory), f}, flags, nil
}

type faultyFile struct {
	vfs.FileSharedMemory
	faults *faults
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if read := f.faults.getRead(); read != nil {
		if err := read(); err != nil {
			return 0, err
		}
	}
	return f.FileSharedMemory.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if write, _ := f.faults.get(); write != nil {
		if err := write(); err != nil {
			return 0, err
		}
	}
	return f.FileSharedMemory.WriteAt(p, off)
}

func (f *faultyFile) Sync(flags vfs.SyncFlag) error {
	f.faults.syncs.Add(1)
	if _, sync := f.faults.get(); sync != nil {
		if err := sync(); err != nil {
			return err
		}
	}
	return f.FileSharedMemory.Sync(flags)
}
