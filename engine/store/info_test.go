package store

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"hookrun/engine"
	"hookrun/engine/database"
)

// TestTheSizeOfAStore: that of its files, of which a part is in use.
func TestTheSizeOfAStore(t *testing.T) {
	o := options(t)
	o.hooks.Space = func(dir string) (database.Space, error) {
		if dir != o.Dir {
			t.Errorf("asked for the disk of %s, want %s", dir, o.Dir)
		}
		return database.Space{Free: 5 << 30, Total: 9 << 30}, nil
	}
	s := serve(t, o).Store
	a := acceptAt(t, s, day0, true, 1<<20)
	if err := s.deleteEvents(t.Context(), []int64{1}); err != nil {
		t.Fatal(err)
	}
	b := acceptAt(t, s, day0.Add(day), true, 10)
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range []string{"hookrun.db", "hookrun.db-wal"} {
		file, err := os.Stat(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += file.Size()
	}
	if used := fileSize(t, s) - 1<<20; info.Used > used || info.Used <= 0 {
		t.Errorf("%d bytes in use, want at most %d: a MiB was freed", info.Used, used)
	}
	info.Used = 0
	want := engine.StoreInfo{
		Dir: o.Dir, Size: size, Free: 5 << 30, Events: 1, Runs: int64(len(a.Runs)),
		Oldest: b.Event.Received, Newest: b.Event.Received,
	}
	if info != want {
		t.Errorf("Info = %+v, want %+v", info, want)
	}
}

// TestAReaderTellsTheHistory: another process answers what the store's own does.
func TestAReaderTellsTheHistory(t *testing.T) {
	o := options(t)
	s := serve(t, o).Store
	fill(t, s, newCrowd(200))
	r := read(t, o.Dir)
	for _, f := range newCrowd(200).filters() {
		got, gerr := r.Events(t.Context(), f.f)
		want, werr := s.Events(t.Context(), f.f)
		if gerr != nil || werr != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d events, %v; the store's own: %d, %v", f.name, len(got.Events), gerr, len(want.Events), werr)
		}
	}
	uses, err := r.RulesDay(t.Context(), day0)
	if err != nil || len(uses) == 0 {
		t.Errorf("RulesDay = %v, %v; want some", uses, err)
	}
	info, err := r.Info(t.Context())
	if err != nil || info.Events != 200 || info.Size == 0 || info.Free == 0 {
		t.Errorf("Info = %+v, %v; want 200 events, and sizes", info, err)
	}
}
