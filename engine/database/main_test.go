package database

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// migrations make a notebook.
func migrations() []string {
	return []string{
		`CREATE TABLE notes (
			seq  INTEGER PRIMARY KEY AUTOINCREMENT,
			id   TEXT NOT NULL UNIQUE,
			body BLOB NOT NULL
		)`,
		`ALTER TABLE notes ADD COLUMN done INTEGER NOT NULL DEFAULT 0`,
	}
}

// roomyDisk stands in for this machine's disk: local, with room, and a ballast
// that costs nothing.
func roomyDisk() Hooks {
	return Hooks{
		BallastSize: 4 << 10,
		Space:       func(string) (Space, error) { return Space{Free: 100 << 30, Total: 200 << 30}, nil },
		Kind:        func(string) (Kind, error) { return Kind{}, nil },
	}
}

// options returns those of a database in a folder of its own.
func options(t testing.TB) Options {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: dir, Name: "notes.db", Migrations: migrations(), Tables: []string{"notes"}, What: "notes",
		Log: testLog(t), Hooks: roomyDisk(),
	}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// served is a database at work.
type served struct {
	*DB
	stop func() error // ends Serve and returns its error; may be called twice
}

// serve opens a database and serves it until the test ends.
func serve(t testing.TB, o Options) served {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	var serr error
	go func() {
		defer close(ended)
		serr = d.Serve(ctx)
	}()
	stop := func() error {
		cancel()
		<-ended
		return serr
	}
	t.Cleanup(func() { stop() })
	return served{d, stop}
}

// unserved opens a database whose writer the test works itself.
func unserved(t *testing.T, o Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		if err := d.Serve(ctx); err != nil {
			t.Errorf("Serve with an ended context: %v", err)
		}
	})
	return d
}

// waitEnded waits until Serve takes nothing more.
func waitEnded(t *testing.T, d *DB) {
	t.Helper()
	select {
	case <-d.Ended():
	case <-time.After(10 * time.Second):
		t.Fatal("Serve goes on")
	}
}

// noting is the write that takes in a note.
func noting(id string) Write {
	return Write{Intake: true, Do: func(c *Conn) error {
		return c.Exec(`INSERT INTO notes(id, body) VALUES(?, ?)`, id, []byte("text of "+id))
	}}
}

// put takes in a note and returns its id.
func put(t testing.TB, d *DB) string {
	t.Helper()
	id := rand.Text()
	if err := d.Write(t.Context(), noting(id)); err != nil {
		t.Fatal(err)
	}
	return id
}

// tick has a note be done, which takes nothing new in.
func tick(ctx context.Context, d *DB, id string) error {
	return d.Write(ctx, Write{Do: func(c *Conn) error {
		return c.Exec(`UPDATE notes SET done = 1 WHERE id = ?`, id)
	}})
}

// reads is a DB or a Reader.
type reads interface {
	Read(ctx context.Context, fn func(*Conn) error) error
}

// note is a row of the table.
type note struct {
	seq  int64 // 0: there is none
	body []byte
	done bool
}

func get(ctx context.Context, from reads, id string) (n note, err error) {
	err = from.Read(ctx, func(c *Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			Scan(r, 0, []any{&n.seq, &n.body, &n.done})
			return nil
		}, `SELECT seq, body, done FROM notes WHERE id = ?`, id)
	})
	return n, err
}

// wantKept checks that a note is there.
func wantKept(t *testing.T, from reads, id string) note {
	t.Helper()
	n, err := get(t.Context(), from, id)
	if err != nil || string(n.body) != "text of "+id {
		t.Errorf("note %s = %+v, %v; want it", id, n, err)
	}
	return n
}

// wantNone checks that a note is not there.
func wantNone(t *testing.T, from reads, id string) {
	t.Helper()
	if n, err := get(t.Context(), from, id); err != nil || n.seq != 0 {
		t.Errorf("note %s = %+v, %v; want none", id, n, err)
	}
}
