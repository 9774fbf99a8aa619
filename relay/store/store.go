package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

var _ account.Shelf = (*Store)(nil)

// Defaults of Options.
const (
	DefaultKeepAge  = 72 * time.Hour
	DefaultKeepSize = 10 << 30
)

// longValue is the number of bytes from which on a body or an answer is written
// and read piecewise: SQLite never gives back the memory that a value took as a
// whole.
const longValue = 256 << 10

// pageBytes bounds the bodies and answers of one List or Pull, reached by the
// last of them.
const pageBytes = 16 << 20

var errEnough = errors.New("enough") // ends a query early

// Options says where and how much to keep.
type Options struct {
	Dir            string       // the data folder, required; made with mode 0700 where missing
	Log            *slog.Logger // nil: nothing is logged
	FreshOnCorrupt bool         // put a damaged database aside and start a new one

	KeepAge  time.Duration // deliveries older than this are deleted; 0: DefaultKeepAge
	KeepSize int64         // bytes of the database from which on deliveries go, the oldest of the bucket that has the most; 0: DefaultKeepSize

	// Dropped is told, after it is on disk, how many deliveries of a bucket were
	// deleted that a consumer had not acknowledged. It is called by the goroutine
	// that deletes. nil: nobody is told.
	Dropped func(bucketID string, deliveries int64)

	hooks database.Hooks
}

// Store is an open data folder. Open makes one; Serve works it. Its methods are
// for many goroutines at once. What is refused because the disk is full, or after
// Serve has ended, fails with an error that wraps database.ErrUnavailable.
type Store struct {
	o        Options
	db       *database.DB
	opened   time.Time
	keepAge  atomic.Int64 // nanoseconds
	keepSize atomic.Int64 // bytes
	room     room
	pulling  chan struct{} // holds one value while somebody pulls; never closed
	sweeping sync.Mutex    // held by a sweep: two at once would delete out of order
	settled  int64         // bytes in use when a sweep had nothing to do any more, or at the first; guarded by sweeping
	counting sync.Mutex    // held while what was counted is not noted yet, and by who deletes
}

// Open takes the lock of the data folder and opens the database in it, both made
// where they are missing. It starts no goroutine: nothing is written until Serve.
// Its errors are those of database.Open.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.hooks.Now == nil {
		o.hooks.Now = time.Now
	}
	db, err := database.Open(ctx, database.Options{
		Dir:            o.Dir,
		Name:           "relay.db",
		Migrations:     migrations(),
		Tables:         []string{"deliveries", "fates", "pulled", "sizes", "consumers", "gaps", "meta"},
		What:           "webhooks",
		Log:            o.Log,
		FreshOnCorrupt: o.FreshOnCorrupt,
		Hooks:          o.hooks,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, db: db, opened: o.hooks.Now(), room: newRoom(), pulling: make(chan struct{}, 1)}
	s.Keep(o.KeepAge, o.KeepSize)
	return s, nil
}

// Serve writes what the other methods ask for, watches the disk and deletes what
// is older or more than is to be kept. It may be called once. It ends as the
// database's Serve does.
func (s *Store) Serve(ctx context.Context) error {
	sweeping, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.sweepEvery(sweeping) })
	err := s.db.Serve(ctx)
	stop()
	wg.Wait()
	return err
}

// Health returns nil while webhooks are accepted, else why they are not; that
// error wraps database.ErrUnavailable.
func (s *Store) Health() error { return s.db.Health() }

// Keep sets how much is kept from the next sweep on; 0 is the default.
func (s *Store) Keep(age time.Duration, size int64) {
	s.keepAge.Store(int64(cmp.Or(age, DefaultKeepAge)))
	s.keepSize.Store(cmp.Or(size, DefaultKeepSize))
}

// Sizes is how much is kept.
type Sizes struct {
	Deliveries int64
	Bytes      int64 // of the database in use, all that is in it
}

// Sizes tells how much is kept; it counts nothing and is quick.
func (s *Store) Sizes(ctx context.Context) (Sizes, error) {
	var n Sizes
	err := s.db.Read(ctx, func(c *database.Conn) error {
		given, err := c.Number(lastSeq)
		if err != nil {
			return err
		}
		deleted, err := c.Number(`SELECT value FROM meta WHERE key = 'deleted'`)
		if err != nil {
			return err
		}
		n.Deliveries = given - deleted
		n.Bytes, err = c.Number(usedBytes)
		return err
	})
	if err != nil {
		return Sizes{}, fmt.Errorf("measure the store: %w", err)
	}
	return n, nil
}

// unavailable is an error of the database that is one of the account too.
type unavailable struct{ error }

func (u unavailable) Unwrap() []error { return []error{u.error, account.ErrUnavailable} }

// write has the database's writer do w. An error that wraps
// database.ErrUnavailable wraps account.ErrUnavailable too.
func (s *Store) write(ctx context.Context, w database.Write) error {
	err := s.db.Write(ctx, w)
	if errors.Is(err, database.ErrUnavailable) {
		return unavailable{err}
	}
	return err
}

// LoadAccount implements account.Shelf.
func (s *Store) LoadAccount(ctx context.Context) ([]byte, error) {
	var data []byte
	err := s.db.Read(ctx, func(c *database.Conn) error {
		n, err := c.Number(`SELECT count(*) FROM account WHERE one = 1`)
		if err != nil || n == 0 {
			return err
		}
		data, err = c.ReadBlob("account", "data", 1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the account: %w", err)
	}
	return data, nil
}

// SaveAccount implements account.Shelf.
func (s *Store) SaveAccount(ctx context.Context, data []byte) error {
	err := s.write(ctx, database.Write{Size: len(data), Do: func(c *database.Conn) error {
		if err := c.Exec(`INSERT OR REPLACE INTO account(one, data) VALUES(1, ?)`, database.Zeros(len(data))); err != nil {
			return err
		}
		if len(data) == 0 {
			return nil
		}
		return c.WriteBlob("account", "data", 1, data)
	}})
	if err != nil {
		return fmt.Errorf("save the account: %w", err)
	}
	return nil
}
