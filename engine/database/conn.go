package database

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Conn is a connection with the statements that it has prepared. It belongs to
// the function that it is lent to, until that returns; one goroutine uses it at
// a time.
//
// An argument is a string, bool, int, int64, []byte, time.Time, a pointer to one
// of these, or Zeros. Times are kept as Nanos has them, and nil as an empty blob:
// nothing is NULL. A type of one's own whose kind is string will do, but costs a
// closer look: convert it where that happens often.
type Conn struct {
	db    *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt // by their text; all texts are constants
}

// Zeros is an argument: a blob of so many zero bytes, to be written piecewise by
// WriteBlob. SQLite never gives back the memory that a value took as a whole.
type Zeros int64

func (c *Conn) close() error {
	for _, st := range c.stmts {
		st.Close() // its error is that of its last use, which was told then
	}
	if err := c.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Exec runs a statement that gives no rows.
func (c *Conn) Exec(sql string, args ...any) error {
	st, err := c.prepare(sql, args)
	if err != nil {
		return err
	}
	return st.Exec()
}

// Query runs a statement and calls row for each row that it gives. row must not
// keep what it reads without copying.
func (c *Conn) Query(row func(*sqlite3.Stmt) error, sql string, args ...any) error {
	st, err := c.prepare(sql, args)
	if err != nil {
		return err
	}
	for st.Step() {
		if err := row(st); err != nil {
			st.Reset() // its error would be that of a step, and there was none
			return err
		}
	}
	err = st.Err()
	if rerr := st.Reset(); err == nil {
		err = rerr
	}
	return err
}

// Number runs a statement that gives one row of one number, 0 where it gives none.
func (c *Conn) Number(sql string, args ...any) (int64, error) {
	var n int64
	err := c.Query(func(r *sqlite3.Stmt) error {
		n = r.ColumnInt64(0)
		return nil
	}, sql, args...)
	return n, err
}

// LastInsertRowID returns the number of the row that was inserted last.
func (c *Conn) LastInsertRowID() int64 { return c.db.LastInsertRowID() }

// Changes returns how many rows the last statement inserted, changed or deleted;
// what went with them by a foreign key does not count.
func (c *Conn) Changes() int64 { return c.db.Changes() }

// WriteBlob writes data piecewise into a value that has its length already, by
// way of Zeros.
func (c *Conn) WriteBlob(table, column string, row int64, data []byte) error {
	blob, err := c.db.OpenBlob("main", table, column, row, true)
	if err != nil {
		return fmt.Errorf("open %s: %w", column, err)
	}
	if _, err := blob.ReadFrom(bytes.NewReader(data)); err != nil {
		blob.Close() // err matters more
		return fmt.Errorf("write %s: %w", column, err)
	}
	return blob.Close()
}

// ReadBlob reads a long value piecewise.
func (c *Conn) ReadBlob(table, column string, row int64) ([]byte, error) {
	blob, err := c.db.OpenBlob("main", table, column, row, false)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", column, err)
	}
	defer blob.Close() // nothing was written
	buf := bytes.NewBuffer(make([]byte, 0, blob.Size()))
	if _, err := blob.WriteTo(buf); err != nil {
		return nil, fmt.Errorf("read %s: %w", column, err)
	}
	return buf.Bytes(), nil
}

// Statements returns the texts of what the connection was asked so far, sorted:
// tests look at how each goes about it.
func (c *Conn) Statements() []string { return slices.Sorted(maps.Keys(c.stmts)) }

func (c *Conn) prepare(sql string, args []any) (*sqlite3.Stmt, error) {
	st := c.stmts[sql]
	if st == nil {
		var err error
		st, _, err = c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			return nil, fmt.Errorf("prepare %q: %w", sql, err)
		}
		if c.stmts == nil {
			c.stmts = make(map[string]*sqlite3.Stmt)
		}
		c.stmts[sql] = st
	}
	for i, a := range args {
		if err := bind(st, i+1, a); err != nil {
			return nil, fmt.Errorf("bind argument %d of %q: %w", i+1, sql, err)
		}
	}
	return st, nil
}

func bind(st *sqlite3.Stmt, i int, arg any) error {
	switch a := arg.(type) {
	case string:
		return st.BindText(i, a)
	case *string:
		return st.BindText(i, *a)
	case bool:
		return st.BindBool(i, a)
	case *bool:
		return st.BindBool(i, *a)
	case int:
		return st.BindInt(i, a)
	case *int:
		return st.BindInt(i, *a)
	case int64:
		return st.BindInt64(i, a)
	case *int64:
		return st.BindInt64(i, *a)
	case time.Time:
		return st.BindInt64(i, Nanos(a))
	case *time.Time:
		return st.BindInt64(i, Nanos(*a))
	case Zeros:
		return st.BindZeroBlob(i, int64(a))
	case []byte:
		return bindBlob(st, i, a)
	case *[]byte:
		return bindBlob(st, i, *a)
	}
	if text, ok := textOf(arg); ok {
		return st.BindText(i, text.String())
	}
	return fmt.Errorf("no way to bind a %T", arg)
}

func bindBlob(st *sqlite3.Stmt, i int, data []byte) error {
	if data == nil {
		return st.BindZeroBlob(i, 0) // nil would be NULL
	}
	return st.BindBlob(i, data)
}

// textOf finds the text in a value, or behind a pointer, of a type of somebody's
// own whose kind is string.
func textOf(v any) (reflect.Value, bool) {
	text := reflect.Indirect(reflect.ValueOf(v))
	return text, text.Kind() == reflect.String
}

// Scan reads the columns from number i on, the first of all being 0, into what
// the fields point to: the pointers that may be arguments too. What it reads is a
// copy. A field of another type is a mistake of the program: Scan panics.
func Scan(r *sqlite3.Stmt, i int, fields []any) {
	for _, field := range fields {
		switch f := field.(type) {
		case *string:
			*f = r.ColumnText(i)
		case *bool:
			*f = r.ColumnBool(i)
		case *int:
			*f = r.ColumnInt(i)
		case *int64:
			*f = r.ColumnInt64(i)
		case *time.Time:
			*f = FromNanos(r.ColumnInt64(i))
		case *[]byte:
			*f = r.ColumnBlob(i, nil)
		default:
			text, ok := textOf(f)
			if !ok || !text.CanSet() {
				panic(fmt.Sprintf("no way to scan into a %T", f))
			}
			text.SetString(r.ColumnText(i))
		}
		i++
	}
}

// Nanos is how a time is stored: nanoseconds since 1970, or 0 for the zero time.
// A time before 1678 or after 2261 is the nearest that it can be.
func Nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// FromNanos is Nanos's other way; the time is in UTC.
func FromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
