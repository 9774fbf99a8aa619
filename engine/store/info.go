package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// Info implements engine.Store. It counts by the smallest index of each table,
// page by page.
func (s reads) Info(ctx context.Context) (engine.StoreInfo, error) {
	info := engine.StoreInfo{Dir: s.dir}
	err := s.lend(ctx, func(c *database.Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			database.Scan(r, 0, []any{&info.Used, &info.Events, &info.Runs, &info.Oldest, &info.Newest})
			return nil
		}, `SELECT `+usedBytes+`, (SELECT count(*) FROM arrivals), (SELECT count(*) FROM runs),
			coalesce((SELECT received FROM arrivals ORDER BY seq LIMIT 1), 0),
			coalesce((SELECT received FROM arrivals ORDER BY seq DESC LIMIT 1), 0)`)
	})
	if err != nil {
		return engine.StoreInfo{}, fmt.Errorf("size of the store: %w", err)
	}
	if info.Size, err = s.Size(); err != nil {
		return engine.StoreInfo{}, err
	}
	space, err := s.space(s.dir)
	if err != nil {
		return engine.StoreInfo{}, fmt.Errorf("size of the store: %w", err)
	}
	info.Free = int64(space.Free)
	return info, nil
}

// Size is how many bytes the database and its log have on disk.
func (s reads) Size() (int64, error) {
	var size int64
	for _, name := range []string{fileName, fileName + "-wal"} {
		switch file, err := os.Stat(filepath.Join(s.dir, name)); {
		case err == nil:
			size += file.Size()
		case !errors.Is(err, fs.ErrNotExist):
			return 0, fmt.Errorf("size of the store: %w", err)
		}
	}
	return size, nil
}

// usedBytes is how much of the database is in use.
const usedBytes = `(SELECT (p.page_count - f.freelist_count) * z.page_size
	FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size z)`
