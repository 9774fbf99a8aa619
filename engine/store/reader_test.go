package store

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

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

// read opens a folder to read it until the test ends.
func read(t *testing.T, dir string) *Reader {
	t.Helper()
	r, err := OpenReader(t.Context(), dir)
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

func wantRead(t *testing.T, r *Reader, a *engine.Acceptance) {
	t.Helper()
	runs, err := r.Runs(t.Context(), engine.RunFilter{Rule: a.Runs[0].Rule, Limit: 1})
	if err != nil || !reflect.DeepEqual(runs, a.Runs[:1]) {
		t.Errorf("runs = %v, %v; want %v", runs, err, a.Runs[:1])
	}
}

func TestAReaderBesideTheOneThatWrites(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	first := accept(t, s.Store)
	r := read(t, o.Dir)
	wantRead(t, r, first)
	readAll(t, r.reads, first)
	second := accept(t, s.Store)
	wantRead(t, r, second)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, o)
	third := accept(t, again.Store)
	wantRead(t, r, third)
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
		name string
		left func(t *testing.T, dir string) string // makes what is read; returns the id of an event
	}{
		{"after a stop", func(t *testing.T, dir string) string {
			o := options(t)
			o.Dir = dir
			s := serve(t, o)
			a := accept(t, s.Store)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			return a.Event.ID
		}},
		{"after a kill", func(t *testing.T, dir string) string {
			event, _, _ := strings.Cut(acceptAndKill(t, dir, 5)[0], " ")
			return event
		}},
		{"of a copy", func(t *testing.T, dir string) string {
			o := options(t)
			s := serve(t, o)
			a := accept(t, s.Store)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "hookrun.db"), []byte(content(t, o.Dir)["hookrun.db"]), 0o600); err != nil {
				t.Fatal(err)
			}
			return a.Event.ID
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "50% of #1?")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			event := tt.left(t, dir)
			before := content(t, dir)
			r, err := OpenReader(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Event(t.Context(), event); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if !reflect.DeepEqual(content(t, dir), before) {
				t.Error("the folder is not as it was")
			}
			o := options(t)
			o.Dir = dir
			if _, err := serve(t, o).Event(t.Context(), event); err != nil {
				t.Errorf("event once the store was opened again: %v", err)
			}
		})
	}
}

func TestWhatAReaderRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hookrun.db")
	refused := func(want string) error {
		t.Helper()
		r, err := OpenReader(t.Context(), dir)
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
	oldStore(t, path)
	refused("open " + path + ": made by an older hookrun: its format is 1, this one reads 4 (start hookrun once, which brings it up to date)")
	setFormat(t, path, 99)
	refused("open " + path + ": made by a newer hookrun: its format is 99")
}

// oldStore makes a database of format 1: a queued run, a running one of a rule
// with a name that is hard to quote, and one that is done, of one event.
func oldStore(t *testing.T, path string) {
	t.Helper()
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.Exec(`PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL`), db.Exec(migrations()[0]), db.Exec(`
		INSERT INTO events VALUES(1, 'e', 1, 'intake', '', '', 'b', '', '', 'POST', '/', '', '[]', '[]', '', '', '', '[]', x'');
		INSERT INTO runs VALUES
			(1, 'r1', 'e', 'deploy', 'h', 'queued', 1, 0, 0, 1, 1, 0, 'exit status 1'),
			(2, 'r2', 'e', 'a "b" \c', 'h', 'running', 1, 0, 0, 1, 1, 0, ''),
			(3, 'r3', 'e', 'deploy', 'h', 'done', 1, 0, 0, 1, 1, 2, '');
		INSERT INTO steps VALUES(1, 1, 0, 'build', 'id:build', 'exec', 'failed', 1, 2, 'exit status 1', '{"exit_code":1}', '[]', '{}', x'');
		PRAGMA user_version = 1`), db.Close())
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

// TestAnOlderDatabaseIsBroughtUpToDate: what it had is there, and what was
// queued goes on in the lane that its rule has by default.
func TestAnOlderDatabaseIsBroughtUpToDate(t *testing.T) {
	o := options(t)
	oldStore(t, filepath.Join(o.Dir, "hookrun.db"))
	s := serve(t, o)
	at := database.FromNanos(1)
	run := func(id string, seq int64, rule string, state engine.State) *engine.Run {
		return &engine.Run{ID: id, Seq: seq, Event: "e", Rule: rule, RuleHash: "h", State: state, Attempt: 1, Created: at, Started: at}
	}
	want := []*engine.Run{run("r1", 1, "deploy", engine.Queued), run("r2", 2, `a "b" \c`, engine.Running), run("r3", 3, "deploy", engine.Done)}
	want[0].Lane, want[0].Err = `rule "deploy"`, "exit status 1"
	want[1].Lane = `rule "a \"b\" \\c"`
	want[2].Finished = database.FromNanos(2)
	got, err := s.RunsOf(t.Context(), "e")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("runs = %+v, %v; want %+v", got, err, want)
	}
	refs, err := s.Unfinished(t.Context())
	if err != nil || !reflect.DeepEqual(refs, []engine.Ref{want[0].Ref(), want[1].Ref()}) {
		t.Errorf("unfinished = %+v, %v; want %+v", refs, err, want[:2])
	}
	steps, err := s.Steps(t.Context(), "r1")
	if err != nil || len(steps) != 1 || steps[0].Output.ExitCode != 1 || steps[0].Passed || steps[0].Phase != engine.PhaseMain {
		t.Errorf("steps = %+v, %v; want the old one", steps, err)
	}
	a := enginetest.NewAcceptance("deploy")
	if _, err := s.Accept(t.Context(), a); err != nil || a.Runs[0].Seq != 4 {
		t.Errorf("Accept: Seq %d, %v; want 4", a.Runs[0].Seq, err)
	}
	wantRead(t, read(t, o.Dir), a)
}

func TestEachStoreHasItsOwnName(t *testing.T) {
	o := options(t)
	s := serve(t, o)
	name, err := s.Instance(t.Context())
	if err != nil || len(name) != 16 || strings.Trim(name, "0123456789abcdef") != "" {
		t.Errorf("Instance = %q, %v; want 16 hex digits", name, err)
	}
	other, err := serve(t, options(t)).Instance(t.Context())
	if err != nil || other == name {
		t.Errorf("Instance of another store = %q, %v; want another than %q", other, err, name)
	}
	if err := s.SetPaused(t.Context(), []string{"deploy"}); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, o)
	if kept, err := again.Instance(t.Context()); err != nil || kept != name {
		t.Errorf("Instance after a restart = %q, %v; want %q", kept, err, name)
	}
	if rules, err := again.Paused(t.Context()); err != nil || !reflect.DeepEqual(rules, []string{"deploy"}) {
		t.Errorf("Paused after a restart = %v, %v; want deploy", rules, err)
	}
}
