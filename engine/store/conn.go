package store

import (
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
)

// conn is a connection with the statements that it has prepared. One goroutine
// uses it at a time.
type conn struct {
	db    *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt // by their text; all texts are constants
}

// zeros is an argument: a blob of so many zero bytes, to be written piecewise.
type zeros int64

func (c *conn) close() error {
	for _, st := range c.stmts {
		st.Close() // its error is that of its last use, which was told then
	}
	if err := c.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// exec runs a statement that gives no rows.
func (c *conn) exec(sql string, args ...any) error {
	st, err := c.prepare(sql, args)
	if err != nil {
		return err
	}
	return st.Exec()
}

// query runs a statement and calls row for each row that it gives. row must not
// keep what it reads without copying.
func (c *conn) query(row func(*sqlite3.Stmt) error, sql string, args ...any) error {
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

// number runs a statement that gives one row of one number, 0 where it gives none.
func (c *conn) number(sql string, args ...any) (int64, error) {
	var n int64
	err := c.query(func(r *sqlite3.Stmt) error {
		n = r.ColumnInt64(0)
		return nil
	}, sql, args...)
	return n, err
}

func (c *conn) prepare(sql string, args []any) (*sqlite3.Stmt, error) {
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
	case engine.State:
		return st.BindText(i, string(a))
	case *engine.State:
		return st.BindText(i, string(*a))
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
	case time.Time:
		return st.BindInt64(i, nanos(a))
	case *time.Time:
		return st.BindInt64(i, nanos(*a))
	case zeros:
		return st.BindZeroBlob(i, int64(a))
	case []byte:
		if a == nil {
			return st.BindZeroBlob(i, 0) // nil would be NULL
		}
		return st.BindBlob(i, a)
	}
	return fmt.Errorf("no way to bind a %T", arg)
}

// scan reads columns from number i on into what the fields point to: bind's
// other way.
func scan(r *sqlite3.Stmt, i int, fields []any) {
	for _, field := range fields {
		switch f := field.(type) {
		case *string:
			*f = r.ColumnText(i)
		case *engine.State:
			*f = engine.State(r.ColumnText(i))
		case *bool:
			*f = r.ColumnBool(i)
		case *int:
			*f = r.ColumnInt(i)
		case *int64:
			*f = r.ColumnInt64(i)
		case *time.Time:
			*f = fromNanos(r.ColumnInt64(i))
		default:
			panic(fmt.Sprintf("no way to scan into a %T", f))
		}
		i++
	}
}

// nanos is how a time is stored: nanoseconds since 1970, or 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
