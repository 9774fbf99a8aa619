package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// read opens a database to read it until the test ends.
func read(t *testing.T, o Options) *Reader {
	t.Helper()
	r, err := OpenReader(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func TestAReaderBesideTheOneThatWrites(t *testing.T) {
	o := options(t)
	d := serve(t, o)
	first := put(t, d.DB)
	r := read(t, o)
	wantKept(t, r, first)
	wantKept(t, r, put(t, d.DB))
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, r, put(t, serve(t, o).DB))
}

// content is all that files of a folder have, but for the index of the log,
// which tells nothing that the log does not.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-shm") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func TestAReaderChangesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ended bool     // before its files were copied
		files []string // that were copied
	}{
		{"after a stop", true, []string{"notes.db", "notes.db-wal", "notes.db-shm"}},
		{"after a kill", false, []string{"notes.db", "notes.db-wal"}},
		{"of a copy", true, []string{"notes.db"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			left := options(t)
			d := serve(t, left)
			id := put(t, d.DB)
			if tt.ended {
				if err := d.stop(); err != nil {
					t.Fatal(err)
				}
			}
			o := options(t)
			o.Dir = filepath.Join(o.Dir, "50% of #1?")
			if err := os.Mkdir(o.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			copyFiles(t, o.Dir, left.Dir, tt.files)
			before := content(t, o.Dir)

			r, err := OpenReader(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			wantKept(t, r, id)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if !reflect.DeepEqual(content(t, o.Dir), before) {
				t.Error("the folder is not as it was")
			}
			wantKept(t, serve(t, o), id)
		})
	}
}

// copyFiles copies those of the files that there are.
func copyFiles(t *testing.T, to, from string, names []string) {
	t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(to, name), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReaderWritesToNoTable(t *testing.T) {
	o := options(t)
	put(t, serve(t, o).DB)
	r := read(t, o)
	err := r.Read(t.Context(), func(c *Conn) error { return c.Exec(`DELETE FROM notes`) })
	if !errors.Is(err, sqlite3.READONLY) {
		t.Errorf("delete: error %v, want %v", err, sqlite3.READONLY)
	}
}

func TestWhatAReaderRefuses(t *testing.T) {
	o := options(t)
	path := o.path()
	refused := func(want string) error {
		t.Helper()
		r, err := OpenReader(t.Context(), o)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("OpenReader: error %v, want it to say %q", err, want)
		}
		return err
	}
	if err := refused("no database to read: open " + path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenReader: error %v, want %v", err, fs.ErrNotExist)
	}
	oldDatabase(t, o)
	refused("open " + path + ": made by an older hookrun: its format is 1, this one reads 2 (start hookrun once, which brings it up to date)")
	setFormat(t, path, 99)
	refused("open " + path + ": made by a newer hookrun: its format is 99")
}

func TestAClosedReaderSaysSo(t *testing.T) {
	o := options(t)
	put(t, serve(t, o).DB)
	r, err := OpenReader(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), r, "1"); !errors.Is(err, errEnded) {
		t.Errorf("Read: error %v, want %v", err, errEnded)
	}
}

// oldDatabase makes a database of format 1, with a note in it.
func oldDatabase(t *testing.T, o Options) {
	t.Helper()
	c, err := connect(o.path(), sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE, "")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.settings(), c.db.Exec(migrations()[0]), c.db.Exec(`
		INSERT INTO notes VALUES(1, 'old', CAST('text of old' AS BLOB));
		PRAGMA user_version = 1`), c.close())
	if err != nil {
		t.Fatal(err)
	}
}

func setFormat(t *testing.T, path string, n int) {
	t.Helper()
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Exec(fmt.Sprintf("PRAGMA user_version = %d", n)), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAnOlderDatabaseIsBroughtUpToDate: what it had is there.
func TestAnOlderDatabaseIsBroughtUpToDate(t *testing.T) {
	o := options(t)
	oldDatabase(t, o)
	d := serve(t, o)
	wantDone(t, d.DB, "old")
	wantDone(t, d.DB, put(t, d.DB))
}

// TestAMigrationThatFailsChangesNothing: the format stays, and so does what the
// steps before it did not get to commit.
func TestAMigrationThatFailsChangesNothing(t *testing.T) {
	o := options(t)
	oldDatabase(t, o)
	torn := o
	torn.Migrations = append(migrations(), `CREATE TABLE more(x); DROP TABLE no_such_table`)
	_, err := Open(t.Context(), torn)
	want := "open " + o.path() + ": migrate from format 2: sqlite3: SQL logic error: no such table: no_such_table"
	if err == nil || err.Error() != want {
		t.Errorf("Open: error %v\nwant %s", err, want)
	}
	wantDone(t, serve(t, o).DB, "old")
}
