package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

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
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func TestLowDiskStopsEventsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(300 << 20)
		o := options(t)
		o.hooks.Space = func(string) (database.Space, error) {
			return database.Space{Free: free.Load(), Total: 10 << 30}, nil
		}
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

// TestDamageFoundByAReaderEndsTheStore spoils a page that Open does not look at.
func TestDamageFoundByAReaderEndsTheStore(t *testing.T) {
	o := options(t)
	first := enginetest.NewAcceptance("deploy")
	first.Event.Path = "/the-first-of-many"
	s := serve(t, o)
	if _, err := s.Accept(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	damage(t, o, s, func(file []byte) {
		const tableLeaf = 0x0d // a page's first byte; other kinds have leftovers of the row
		for page := range slices.Chunk(file, 8192) {
			if page[0] == tableLeaf && bytes.Contains(page, []byte(first.Event.Path)) {
				copy(page, bytes.Repeat([]byte{0xff}, len(page)))
			}
		}
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
	o.FreshOnCorrupt = true
	accept(t, serve(t, o).Store)
}

// damage ends a store with many events in it and gives its file to spoil.
func damage(t *testing.T, o Options, s served, spoil func(file []byte)) {
	t.Helper()
	for range 50 {
		accept(t, s.Store)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, "hookrun.db")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoil(file)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}
