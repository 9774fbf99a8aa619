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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

func TestAReopenedDatabaseHasItAll(t *testing.T) {
	o := options(t)
	d := serve(t, o)
	id := put(t, d.DB)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, serve(t, o), id)
}

func TestOpenMakesAFolderForItsOwnerAlone(t *testing.T) {
	o := options(t)
	o.Dir = filepath.Join(o.Dir, "state", "hookrun")
	unserved(t, o)
	fi, err := os.Stat(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Mode().Perm(); got != 0o700 && runtime.GOOS != "windows" {
		t.Errorf("mode of the data folder = %o, want 700", got)
	}
}

func TestTheDatabaseIsForItsOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no modes")
	}
	o := options(t)
	files := []string{"notes.db", "notes.db-wal", "notes.db-shm"}
	for _, before := range []string{"made new", "found open to others"} {
		d := serve(t, o)
		put(t, d.DB)
		for _, name := range files {
			fi, err := os.Stat(filepath.Join(o.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := fi.Mode().Perm(); got != 0o600 {
				t.Errorf("mode of %s that was %s = %o, want 600", name, before, got)
			}
		}
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.Chmod(filepath.Join(o.Dir, name), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
}

func TestTheSecondProcessIsToldOfTheFirst(t *testing.T) {
	o := options(t)
	since := time.Date(2026, 7, 1, 12, 0, 0, 0, time.FixedZone("", 2*3600))
	o.Hooks.Now = func() time.Time { return since }
	first := serve(t, o)
	put(t, first.DB)

	_, err := Open(t.Context(), o)
	want := fmt.Sprintf("data folder %s is in use by another hookrun: pid %d, since 2026-07-01T10:00:00Z", o.Dir, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("second Open: error %v\nwant %s", err, want)
	}
	put(t, first.DB)

	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	serve(t, o) // the folder is free again
}

func TestSettingsAreInForce(t *testing.T) {
	d := unserved(t, options(t))
	for _, tt := range []struct{ setting, want string }{
		{"journal_mode", "wal"}, {"synchronous", "2"}, {"page_size", "8192"}, {"auto_vacuum", "2"}, {"temp_store", "2"},
		{"cache_size", "-8000"}, {"foreign_keys", "1"}, {"busy_timeout", "5000"}, {"trusted_schema", "0"},
		{"journal_size_limit", "67108864"}, {"mmap_size", "0"}, {"wal_autocheckpoint", "0"},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			if got := pragma(t, d.writer.conn, tt.setting); got != tt.want {
				t.Errorf("%s = %s, want %s", tt.setting, got, tt.want)
			}
		})
	}
	reader := <-d.readers
	defer func() { d.readers <- reader }()
	if got := pragma(t, reader, "query_only"); got != "1" {
		t.Errorf("query_only of a reader = %s, want 1", got)
	}
	if err := reader.Exec(`DELETE FROM notes`); !errors.Is(err, sqlite3.READONLY) {
		t.Errorf("write by a reader: error %v, want %v", err, sqlite3.READONLY)
	}
}

func pragma(t *testing.T, c *Conn, name string) string {
	t.Helper()
	value := ""
	err := c.Query(func(r *sqlite3.Stmt) error {
		value = r.ColumnText(0)
		return nil
	}, "PRAGMA "+name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestASettingThatIsNotTakenIsRefused(t *testing.T) {
	o := options(t)
	db, err := sqlite3.Open(filepath.Join(o.Dir, "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	// A file that somebody else made has the page size that it has.
	if err := errors.Join(db.Exec(`PRAGMA page_size = 4096; CREATE TABLE other(x)`), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), o)
	want := `open ` + o.Dir + `/notes.db: setting page_size is "4096", not "8192"`
	if err == nil || filepath.ToSlash(err.Error()) != filepath.ToSlash(want) {
		t.Errorf("Open: error %v\nwant %s", err, want)
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	o := options(t)
	path := filepath.Join(o.Dir, "notes.db")
	first := serve(t, o)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	setFormat(t, path, 99)
	o.FreshOnCorrupt = true // it is not damaged
	_, err := Open(t.Context(), o)
	want := "open " + path + ": made by a newer hookrun: its format is 99, this one knows up to 2"
	if err == nil || err.Error() != want {
		t.Errorf("Open: error %v\nwant %s", err, want)
	}
}

func TestNetworkFileSystems(t *testing.T) {
	for _, tt := range []struct {
		name     string
		kind     Kind
		refused  string // %s: the folder
		wantsLog string
	}{
		{name: "local"},
		{
			name: "nfs", kind: Kind{Name: "nfs", Remote: true},
			refused: "data folder %s is on a network file system (nfs), where a database is not safe: choose a folder on a local disk",
		},
		{name: "fuse", kind: Kind{Name: "fuse", Remote: false}, wantsLog: "data folder may be on a network file system"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			o := options(t)
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Hooks.Kind = func(string) (Kind, error) { return tt.kind, nil }
			if tt.refused != "" {
				_, err := Open(t.Context(), o)
				if want := fmt.Sprintf(tt.refused, o.Dir); err == nil || err.Error() != want {
					t.Errorf("Open: error %v\nwant %s", err, want)
				}
				return
			}
			unserved(t, o)
			if got := strings.Contains(log.String(), "network"); got != (tt.wantsLog != "") || !strings.Contains(log.String(), tt.wantsLog) {
				t.Errorf("log = %q, want %q in it", log.String(), tt.wantsLog)
			}
		})
	}
}

func TestThisFolderIsNotOnANetwork(t *testing.T) {
	kind, err := diskKind(t.TempDir())
	if err != nil || kind.Remote {
		t.Errorf("diskKind of a temporary folder = %v, %v; want a local one", kind, err)
	}
	sp, err := diskSpace(t.TempDir())
	if err != nil || sp.Free == 0 || sp.Total < sp.Free {
		t.Errorf("diskSpace of a temporary folder = %+v, %v; want some free", sp, err)
	}
}

// damage ends a database with many notes in it and gives its file to spoil.
func damage(t *testing.T, o Options, d served, spoil func([]byte) []byte) []byte {
	t.Helper()
	for range 50 {
		err := d.Write(t.Context(), Write{Do: func(c *Conn) error { // eight pages of them
			return c.Exec(`INSERT INTO notes(id, body) VALUES(?, ?)`, rand.Text(), Zeros(1<<10))
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, "notes.db")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file = spoil(file)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestADamagedDatabase(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func([]byte) []byte
		says  string
	}{
		{"not a database", func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 4096) }, "read format: sqlite3: file is not a database"},
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }, "read format: sqlite3: database disk image is malformed"},
		{"schema overwritten", func(b []byte) []byte {
			copy(b[100:], bytes.Repeat([]byte{0xff}, 8092))
			return b
		}, "set auto_vacuum: sqlite3: database disk image is malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			path := filepath.Join(o.Dir, "notes.db")
			spoiled := damage(t, o, serve(t, o), tt.spoil)
			log := []byte("not a log either")
			if err := os.WriteFile(path+"-wal", log, 0o600); err != nil {
				t.Fatal(err)
			}

			_, err := Open(t.Context(), o)
			want := "database is damaged: " + path + ": " + tt.says + " (start with -on-corrupt=fresh to put it aside and begin with an empty one)"
			if err == nil || err.Error() != want || !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open: error %v\nwant %s", err, want)
			}

			o.FreshOnCorrupt = true
			at := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
			o.Hooks.Now = func() time.Time { return at }
			d := serve(t, o)
			put(t, d.DB)
			wantFile(t, path+".corrupt-20260701T100000Z", spoiled)
			wantFile(t, path+".corrupt-20260701T100000Z-wal", log)
		})
	}
}

func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s has changed: %d bytes, want %d as they were", path, len(got), len(want))
	}
}

func TestAFailedOpenLetsGoOfTheFolder(t *testing.T) {
	o := options(t)
	damage(t, o, serve(t, o), func([]byte) []byte { return []byte(strings.Repeat("garbage ", 4096)) })
	for range 2 { // the second would find it locked
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Open: error %v, want %v", err, ErrCorrupt)
		}
	}
}
