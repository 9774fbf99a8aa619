package store

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
	"hookrun/relay/account"
)

// What is asked while webhooks come is found by an index, in the order of the
// answer.
func TestNoQueryReadsAllOrSorts(t *testing.T) {
	s, now := retained(t, options(t))
	acceptMany(t, s, bucketA, 3)
	l := newPublic(bucketA, output1, day0)
	accept(t, s, l)
	saveConsumers(t, s, account.Consumer{Name: "c", BucketID: bucketA})
	now.set(day0.Add(DefaultKeepAge + 1))
	many := make([]string, maxAsked+1)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	var errs []error
	done := func(_ any, err error) { errs = append(errs, err) }
	done(s.After(t.Context(), bucketA, 0, 10, 1<<20))
	done(s.Waiting(t.Context(), bucketA, 0))
	done(s.Log(t.Context(), l.ID))
	done(s.Due(t.Context(), day0, 10))
	done(s.List(t.Context(), account.Query{Status: account.StatusSent, Limit: 1}))
	done(s.List(t.Context(), account.Query{BucketIDs: many}))
	done(s.Sizes(t.Context()))
	bucket := bucketA
	done(s.oldest(t.Context(), old{bucket: &bucket, before: math.MaxInt64, bytes: 1}))
	_, _, err := s.Pull(t.Context(), account.Pull{Since: day0.Add(2 * time.Second)})
	_, _, err2 := s.NextDue(t.Context())
	errs = append(errs, err, err2, s.sweep(t.Context(), nil), s.ForgetBucket(t.Context(), bucketA))
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}

	seen := 0
	look := func(c *database.Conn) {
		for _, sql := range c.Statements() {
			if strings.Contains(sql, "deliveries") || strings.Contains(sql, "fates") {
				wantNoScan(t, c, sql)
				seen++
			}
		}
	}
	err = s.db.Read(t.Context(), func(c *database.Conn) error {
		look(c)
		return s.db.Read(t.Context(), func(c *database.Conn) error { // the other one
			look(c)
			return s.db.Write(t.Context(), database.Write{Do: func(c *database.Conn) error {
				look(c)
				return nil
			}})
		})
	})
	if err != nil || seen < 15 {
		t.Errorf("looked at %d statements, %v; want more", seen, err)
	}
}

func wantNoScan(t *testing.T, c *database.Conn, sql string) {
	t.Helper()
	var plan []string
	err := c.Query(func(r *sqlite3.Stmt) error {
		plan = append(plan, r.ColumnText(3))
		return nil
	}, "EXPLAIN QUERY PLAN "+sql)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(plan, "; ")
	if strings.Contains(text, "TEMP B-TREE") || strings.Contains(text, "SCAN deliveries") {
		t.Errorf("a query reads all or sorts: %s\nby: %s", sql, text)
	}
}
