package store

import (
	"context"

	"hookrun/engine/database"
)

// Reader is a look at the store of a data folder, whether or not a hookrun runs
// on it. It takes no lock and changes nothing of what is stored.
type Reader struct {
	reads
	db *database.Reader
}

// OpenReader opens the database in a data folder to read it. The error wraps
// fs.ErrNotExist where there is none. One of another format is refused: to bring
// it to this one is Open's.
func OpenReader(ctx context.Context, dir string) (*Reader, error) {
	db, err := database.OpenReader(ctx, Options{Dir: dir}.database())
	if err != nil {
		return nil, err
	}
	return &Reader{reads{db.Read, dir, database.DiskSpace}, db}, nil
}

// Close waits for those who read and closes the database. It may be called once.
func (r *Reader) Close() error { return r.db.Close() }
