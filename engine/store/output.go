package store

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// How output is kept. A stream is a head that grows from byte 0, and a tail that
// ends with the newest byte; both are rows of adjoining pieces, at most half of
// engine.MaxOutput each, the tail up to one piece more.
const (
	outputHalf  = engine.MaxOutput / 2
	outputPiece = 8 << 10 // bytes in a row: small writes are joined up to it
)

// streamKey names a stream of a step.
type streamKey struct {
	run     int64 // Seq
	attempt int
	index   int
	stream  string
}

func (k streamKey) args(more ...any) []any {
	return append([]any{k.run, k.attempt, k.index, k.stream}, more...)
}

const ofStream = ` FROM output WHERE run = ? AND attempt = ? AND idx = ? AND stream = ? `

// AppendOutput implements engine.Store. Bytes that are there already, from a
// write whose answer got lost, are not written twice. A gap makes a new tail: a
// tail has no holes.
func (s *Store) AppendOutput(ctx context.Context, ch engine.Chunk) error {
	err := s.write(ctx, database.Write{Size: len(ch.Data), Do: func(c *database.Conn) error {
		run, err := runSeq(c, ch.Run)
		if err != nil {
			return err
		}
		return appendOutput(c, streamKey{run, ch.Attempt, ch.Index, ch.Stream}, ch.Offset, ch.Data)
	}})
	if err != nil {
		return fmt.Errorf("append %s of run %s: %w", ch.Stream, ch.Run, err)
	}
	return nil
}

// extent is what is known of a stream without reading it.
type extent struct {
	head    int64 // end of what adjoins from byte 0
	end     int64 // of the stream
	last    int64 // offset of the last row
	hasRows bool
}

func streamExtent(c *database.Conn, k streamKey) (extent, error) {
	var x extent
	err := c.Query(func(r *sqlite3.Stmt) error {
		off, n := r.ColumnInt64(0), r.ColumnInt64(1)
		if off == x.head {
			x.head += n
		}
		x.last, x.end, x.hasRows = off, off+n, true
		return nil
	}, `SELECT off, length(data)`+ofStream+`ORDER BY off`, k.args()...)
	return x, err
}

func appendOutput(c *database.Conn, k streamKey, off int64, data []byte) error {
	x, err := streamExtent(c, k)
	if err != nil {
		return err
	}
	if known := x.end - off; known > 0 {
		if known >= int64(len(data)) {
			return nil
		}
		data, off = data[known:], x.end
	}

	if off == x.head && off < outputHalf { // the head still grows
		n := min(int64(len(data)), outputHalf-off)
		if x, err = writePieces(c, k, x, off, data[:n]); err != nil {
			return err
		}
		x.head += n
		data, off = data[n:], off+n
	}
	if len(data) == 0 {
		return nil
	}

	headEnd := min(x.head, outputHalf)
	if over := len(data) - outputHalf; over > 0 {
		data, off = data[over:], off+int64(over)
	}
	if off > x.end { // the tail that there is does not reach the new one
		if err := c.Exec(`DELETE`+ofStream+`AND off >= ?`, k.args(headEnd)...); err != nil {
			return err
		}
	}
	if x, err = writePieces(c, k, x, off, data); err != nil {
		return err
	}
	return c.Exec(`DELETE`+ofStream+`AND off >= ? AND off + length(data) <= ?`, k.args(headEnd, x.end-outputHalf)...)
}

// writePieces writes data at off, behind all that is there, and joins it to the
// last row as far as that has room. Head and tail share no row.
func writePieces(c *database.Conn, k streamKey, x extent, off int64, data []byte) (extent, error) {
	if x.hasRows && off == x.end && off != outputHalf && x.end-x.last < outputPiece {
		var row []byte
		err := c.Query(func(r *sqlite3.Stmt) error {
			row = r.ColumnBlob(0, row)
			return nil
		}, `SELECT data`+ofStream+`AND off = ?`, k.args(x.last)...)
		if err != nil {
			return x, err
		}
		data, off = append(row, data...), x.last
	}
	for len(data) > 0 {
		n := min(len(data), outputPiece)
		err := c.Exec(`INSERT OR REPLACE INTO output(run, attempt, idx, stream, off, data) VALUES(?, ?, ?, ?, ?, ?)`,
			k.args(off, data[:n])...)
		if err != nil {
			return x, err
		}
		x.last, x.end, x.hasRows = off, off+int64(n), true
		data, off = data[n:], off+int64(n)
	}
	return x, nil
}

// readText puts a stream together from its rows.
func readText(c *database.Conn, k streamKey) (engine.Text, error) {
	var t engine.Text
	var run []byte // of adjoining bytes, the newest
	var start, end int64
	err := c.Query(func(r *sqlite3.Stmt) error {
		off := r.ColumnInt64(0)
		if off != end {
			if start == 0 {
				t.Head = run[:min(len(run), outputHalf)]
			}
			run, start = nil, off
		}
		run = r.ColumnBlob(1, run)
		end = start + int64(len(run))
		return nil
	}, `SELECT off, data`+ofStream+`ORDER BY off`, k.args()...)
	if err != nil {
		return engine.Text{}, err
	}
	if start == 0 {
		t.Head = run[:min(len(run), outputHalf)]
		run = run[len(t.Head):]
	}
	t.Tail = run[max(0, len(run)-outputHalf):]
	t.Cut = end - int64(len(t.Head)+len(t.Tail))
	if len(t.Tail) == 0 {
		t.Tail = nil
	}
	return t, nil
}
