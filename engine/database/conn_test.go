package database

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

type colour string

// TestWhatIsBoundIsScanned: by value and by pointer, what goes in comes out.
func TestWhatIsBoundIsScanned(t *testing.T) {
	text, yes, number, long := "text\x00more", true, -7, int64(1)<<62
	at, none := time.Unix(1, 2).UTC(), time.Time{}
	blob, red := []byte{0, 1, 2}, colour("red")
	c := unserved(t, options(t)).writer.conn
	for _, tt := range []struct {
		name string
		arg  any
		want any // a pointer
	}{
		{"string", text, &text}, {"*string", &text, &text},
		{"bool", yes, &yes}, {"*bool", &yes, &yes},
		{"int", number, &number}, {"*int", &number, &number},
		{"int64", long, &long}, {"*int64", &long, &long},
		{"time", at, &at}, {"*time", &at, &at}, {"no time", none, &none}, {"*no time", &none, &none},
		{"[]byte", blob, &blob}, {"*[]byte", &blob, &blob},
		{"a kind of string", red, &red}, {"*a kind of string", &red, &red},
		{"zeros", Zeros(3), &[]byte{0, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := reflect.New(reflect.TypeOf(tt.want).Elem()).Interface()
			err := c.Query(func(r *sqlite3.Stmt) error {
				Scan(r, 1, []any{got})
				return nil
			}, `SELECT 'before', ?`, tt.arg)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, %v; want %v", reflect.ValueOf(got).Elem(), err, reflect.ValueOf(tt.want).Elem())
			}
		})
	}
}

func TestNilIsAnEmptyBlob(t *testing.T) {
	c := unserved(t, options(t)).writer.conn
	for _, arg := range []any{[]byte(nil), new([]byte), []byte{}} {
		if n, err := c.Number(`SELECT typeof(?1) = 'blob' AND length(?1) = 0`, arg); err != nil || n != 1 {
			t.Errorf("%#v is an empty blob: %d, %v; want 1", arg, n, err)
		}
	}
}

func TestOtherTypesAreRefused(t *testing.T) {
	c := unserved(t, options(t)).writer.conn
	for _, arg := range []any{nil, 1.5, (*colour)(nil), struct{}{}, []string{"a"}} {
		if err := c.Exec(`SELECT ?`, arg); err == nil || !strings.Contains(err.Error(), "no way to bind") {
			t.Errorf("bind %#v: error %v, want none to bind it", arg, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Scan into a float has not panicked")
		}
	}()
	c.Query(func(r *sqlite3.Stmt) error {
		Scan(r, 0, []any{new(float64)})
		return nil
	}, `SELECT 1`)
}

func TestALongBlobIsWrittenAndReadPiecewise(t *testing.T) {
	d := serve(t, options(t))
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	var row int64
	err := d.Write(t.Context(), Write{Size: len(want), Do: func(c *Conn) error {
		if err := c.Exec(`INSERT INTO notes(id, body) VALUES('long', ?)`, Zeros(len(want))); err != nil {
			return err
		}
		if n := c.Changes(); n != 1 {
			t.Errorf("Changes = %d, want 1", n)
		}
		row = c.LastInsertRowID()
		return c.WriteBlob("notes", "body", row, want)
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Read(t.Context(), func(c *Conn) error {
		got, err := c.ReadBlob("notes", "body", row)
		if !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, want the %d that were written", len(got), len(want))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStatementsAreKnown(t *testing.T) {
	d := serve(t, options(t))
	const sql = `SELECT count(*) FROM notes WHERE done = ?`
	err := d.Read(t.Context(), func(c *Conn) error {
		for range 2 {
			if _, err := c.Number(sql, true); err != nil {
				return err
			}
		}
		if got := c.Statements(); !slices.Contains(got, sql) || slices.Index(got, sql) != len(got)-1 {
			t.Errorf("Statements = %q, want %q once and last", got, sql)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRefuseOfNothingIsNothing(t *testing.T) {
	if err := Refuse(nil); err != nil {
		t.Errorf("Refuse(nil) = %v, want nil", err)
	}
}
