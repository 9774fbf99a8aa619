package database

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// queued is a write that the test hands to the writer itself.
func queued(w Write) *op { return &op{Write: w, done: make(chan struct{})} }

// torn is a write that fails when one row is written already.
func torn(id string) Write {
	return Write{Intake: true, Do: func(c *Conn) error {
		return errors.Join(noting(id).Do(c), noting(id).Do(c))
	}}
}

// refusing makes a write that has written one row when it refuses.
func refusing(why error) func(id string) Write {
	return func(id string) Write {
		return Write{Intake: true, Do: func(c *Conn) error {
			return errors.Join(noting(id).Do(c), fmt.Errorf("note %s: %w", id, Refuse(why)))
		}}
	}
}

func TestOneFailingWriteDoesNotFailItsNeighbours(t *testing.T) {
	why := fmt.Errorf("of its own: %w", fs.ErrPermission) // which of the disk would mean something else
	for _, tt := range []struct {
		name    string
		failing func(id string) Write
		want    error
	}{
		{"two rows with one id", torn, sqlite3.CONSTRAINT_UNIQUE},
		{"a refusal like the disk's", refusing(why), why},
		{"a refusal like another database's", refusing(ErrIO), ErrIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := unserved(t, options(t))
			batch := []*op{queued(noting("1")), queued(tt.failing("2")), queued(noting("3"))}
			if err := d.writer.commit(batch); err != nil {
				t.Fatalf("commit: %v", err)
			}
			for i, want := range []error{nil, tt.want, nil} {
				<-batch[i].done
				if err := batch[i].err; !errors.Is(err, want) {
					t.Errorf("write %d: error %v, want %v", i, err, want)
				}
			}
			wantKept(t, d, "1")
			wantNone(t, d, "2")
			wantKept(t, d, "3")
			if err := d.Health(); err != nil {
				t.Errorf("Health = %v, want nil", err)
			}
		})
	}
}

// TestCommittedIsCalledInOrder: who keeps a picture of the database in memory
// sees each change once it is on disk, before its writer goes on, and in the
// order in which the database has them, though a batch was torn.
func TestCommittedIsCalledInOrder(t *testing.T) {
	d := unserved(t, options(t))
	var told []string
	write := func(w Write, id string) *op {
		o := queued(w)
		o.Committed = func() {
			wantKept(t, d, id)
			select {
			case <-o.done:
				t.Errorf("note %s was answered before it was told of", id)
			default:
			}
			told = append(told, id)
		}
		return o
	}
	for _, batch := range [][]*op{
		{write(noting("1"), "1"), write(noting("2"), "2"), write(noting("3"), "3")},
		{write(noting("4"), "4"), write(torn("none"), "none"), queued(noting("untold")), write(noting("5"), "5")},
		{write(noting("6"), "6")},
	} {
		if err := d.writer.commit(batch); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"1", "2", "3", "4", "5", "6"}; !reflect.DeepEqual(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

func TestWriteReturnsAfterCommitted(t *testing.T) {
	d := serve(t, options(t))
	for range 100 {
		w, told := noting(rand.Text()), false
		w.Committed = func() { told = true }
		if err := d.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if !told {
			t.Fatal("Write returned before Committed was called")
		}
	}
}

// TestATransactionThatCannotBeUndoneIsFatal: nothing could be written after it.
func TestATransactionThatCannotBeUndoneIsFatal(t *testing.T) {
	for name, failing := range map[string]Write{
		"two rows with one id": torn("1"),
		"a refusal":            refusing(errors.New("of its own"))("1"),
	} {
		t.Run(name, func(t *testing.T) { testNotUndone(t, failing) })
	}
}

func testNotUndone(t *testing.T, failing Write) {
	d := unserved(t, options(t))
	err := d.writer.conn.db.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, what, _, _, _ string) sqlite3.AuthorizerReturnCode {
		if action == sqlite3.AUTH_TRANSACTION && what == "ROLLBACK" {
			return sqlite3.AUTH_DENY
		}
		return sqlite3.AUTH_OK
	})
	if err != nil {
		t.Fatal(err)
	}
	o := queued(failing)
	if err := d.writer.commit([]*op{o}); !errors.Is(err, ErrIO) {
		t.Errorf("commit: error %v, want %v", err, ErrIO)
	}
	<-o.done
	if !errors.Is(o.err, ErrIO) || !errors.Is(o.err, ErrUnavailable) {
		t.Errorf("write: error %v, want %v and %v", o.err, ErrIO, ErrUnavailable)
	}

	if err := d.writer.conn.db.SetAuthorizer(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.writer.conn.Exec(`ROLLBACK`); err != nil { // so that the database can be closed
		t.Fatal(err)
	}
}

func TestABatchIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waiting int
		size    int
		want    int
	}{
		{"few", 3, 1, 3},
		{"many", maxBatch, 1, maxBatch - 1}, // and the first
		{"big", 10, maxBatchBytes / 4, 4},
		{"one is too big", 2, maxBatchBytes + 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ops := make(chan *op, maxBatch)
			for range tt.waiting {
				ops <- &op{Write: Write{Size: tt.size}}
			}
			if got := len(gather(&op{}, ops)) - 1; got != tt.want {
				t.Errorf("gather took %d of the waiting, want %d", got, tt.want)
			}
		})
	}
}

func TestWritersWaitForServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(t.Context(), options(t))
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- d.Write(t.Context(), noting("1")) }()
		synctest.Wait()
		select {
		case err := <-answer:
			t.Fatalf("Write before Serve returned %v, want it to wait", err)
		default:
		}

		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- d.Serve(ctx) }()
		if err := <-answer; err != nil {
			t.Errorf("Write: %v", err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServeFinishesWhatIsQueuedWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		d, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		const waiting = 20
		answers := make(chan error, waiting)
		for i := range waiting {
			go func() { answers <- d.Write(t.Context(), noting(fmt.Sprint(i))) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		for range waiting {
			if err := <-answers; err != nil {
				t.Errorf("Write that was queued: %v", err)
			}
		}
		again := serve(t, o)
		for i := range waiting {
			wantKept(t, again, fmt.Sprint(i))
		}
	})
}

func TestAnEndedContextWithdrawsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(t.Context(), options(t))
		if err != nil {
			t.Fatal(err)
		}
		gone := errors.New("the sender went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		answer := make(chan error, 1)
		withdrawn := noting("1")
		withdrawn.Committed = func() { t.Error("a write that was withdrawn was committed") }
		go func() { answer <- d.Write(ctx, withdrawn) }()
		synctest.Wait()
		cancel(gone)
		if err := <-answer; !errors.Is(err, gone) {
			t.Errorf("Write: error %v, want %v", err, gone)
		}

		if err := d.writer.commit(gather(<-d.ops, d.ops)); err != nil {
			t.Fatal(err)
		}
		wantNone(t, d, "1")
		ended, end := context.WithCancel(t.Context())
		end()
		if err := d.Serve(ended); err != nil {
			t.Error(err)
		}
	})
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	d := serve(t, options(t))
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	waitEnded(t, d.DB)
	_, rerr := get(t.Context(), d, "1")
	for name, err := range map[string]error{
		"Write":  d.Write(t.Context(), noting("1")),
		"Read":   rerr,
		"Health": d.Health(),
	} {
		if err == nil || err.Error() != "not accepting notes: store is closed" || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: error %v, want %v: store is closed", name, err, ErrUnavailable)
		}
	}
}

func TestAnInterruptedReadLeavesNoOldSnapshot(t *testing.T) {
	d := serve(t, options(t))
	for range 2 * readerCount {
		gone := errors.New("the reader went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := d.Read(ctx, func(c *Conn) error {
			if _, err := c.Number(`SELECT count(*) FROM notes`); err != nil {
				return err
			}
			cancel(gone)
			_, err := c.Number(`SELECT max(seq) FROM notes`)
			return err
		})
		if !errors.Is(err, gone) {
			t.Fatalf("read whose context ends: error %v, want %v", err, gone)
		}
		id := put(t, d.DB)
		for range readerCount {
			wantKept(t, d, id)
		}
	}
}

func TestTheLogStaysShortUnderLoad(t *testing.T) {
	o := options(t)
	d := serve(t, o)
	const notes, size = 600, 64 << 10 // 38 MiB in all
	for range notes {
		err := d.Write(t.Context(), Write{Size: size, Do: func(c *Conn) error {
			return c.Exec(`INSERT INTO notes(id, body) VALUES(?, ?)`, rand.Text(), make([]byte, size))
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(o.path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(2 * checkpointPages * 8192); fi.Size() > most {
		t.Errorf("log of %d bytes after %d, want at most %d", fi.Size(), notes*size, most)
	}
}

func TestAnIdleDatabaseIsWholeWithoutItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		id := put(t, serve(t, o).DB)
		time.Sleep(3 * tickEvery)
		synctest.Wait()

		copied := options(t)
		copyFiles(t, copied.Dir, o.Dir, []string{"notes.db"})
		if _, err := os.Stat(filepath.Join(copied.Dir, "notes.db")); err != nil {
			t.Fatal(err)
		}
		wantKept(t, serve(t, copied), id)
	})
}

func TestEachCommitIsTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		o := options(t)
		o.OnCommit = func(d time.Duration) { took = append(took, d) }
		d := unserved(t, o)
		slow := noting("2")
		insert := slow.Do
		slow.Do = func(c *Conn) error {
			time.Sleep(3 * time.Second) // a bubble's
			return insert(c)
		}
		for _, batch := range [][]*op{{queued(noting("1")), queued(slow)}, {queued(torn("3"))}} {
			if err := d.writer.commit(batch); err != nil {
				t.Fatal(err)
			}
		}
		if len(took) != 1 || took[0] != 3*time.Second {
			t.Errorf("told of commits that took %v, want the one that was made, with its 3s", took)
		}
	})
}
