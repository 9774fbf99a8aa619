package store

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// TestPagesThatLookAtFewEventsGiveAll: a page that ends early, as it has looked at
// enough, goes on in the next one, whatever is asked for.
func TestPagesThatLookAtFewEventsGiveAll(t *testing.T) {
	s := serve(t, options(t)).Store
	c := newCrowd(300)
	all := fill(t, s, c)
	for _, few := range []bool{true, false} {
		for _, tt := range c.filters() {
			f := tt.f
			f.Limit = 7
			var seqs []int64
			for next, pages := int64(-1), 0; next != 0; pages++ {
				err := s.read(t.Context(), func(c *database.Conn) error {
					search, err := newSearch(c, f)
					if err != nil {
						return err
					}
					search.looks, search.few = 10, search.few && few
					var page []int64
					page, next, err = search.page()
					seqs = append(seqs, page...)
					return err
				})
				if err != nil || pages > len(all) {
					t.Fatalf("%s: page %d: %v", tt.name, pages, err)
				}
				if f.After != 0 {
					f.After = next
				} else {
					f.Before = next
				}
			}
			var ids []string
			for _, seq := range seqs {
				ids = append(ids, all[seq-1].ID)
			}
			if want := expected(all, tt.f); !slices.Equal(ids, want) && len(ids)+len(want) > 0 {
				t.Errorf("%s: %d events, want %d, or others or in another order:\n%s\nwant\n%s",
					tt.name, len(ids), len(want), strings.Join(ids, " "), strings.Join(want, " "))
			}
		}
	}
}

// TestEventsGoOnBehindADeletedOne: a number that is gone is a place as any other.
func TestEventsGoOnBehindADeletedOne(t *testing.T) {
	s := serve(t, options(t)).Store
	c := newCrowd(20)
	all := fill(t, s, c)
	if err := s.deleteEvents(t.Context(), []int64{1, 2, 10, 11, 12, 20}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    engine.EventFilter
		want []int64
	}{
		{"before it", engine.EventFilter{Before: 12, Limit: 2}, []int64{9, 8}},
		{"after it", engine.EventFilter{After: 10, Limit: 2}, []int64{13, 14}},
		{"since it", engine.EventFilter{Since: slices.MaxFunc(all[:12], byReceived).Received.Add(1), After: -1, Limit: 1}, []int64{13}},
	} {
		page, err := s.Events(t.Context(), tt.f)
		var got []int64
		for _, e := range page.Events {
			got = append(got, e.Seq)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: events %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

func byReceived(a, b engine.EventSummary) int { return a.Received.Compare(b.Received) }

// TestEventsOfAnOlderDatabase: what became of them is told by their runs and
// verdicts.
func TestEventsOfAnOlderDatabase(t *testing.T) {
	o := options(t)
	path := filepath.Join(o.Dir, fileName)
	oldStore(t, path)
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.Exec(`
		INSERT INTO events VALUES
			(3, 'dup', 30, 'intake', '', '', 'b', 'id', '', 'POST', '/', '', '[["X-Github-Event","push"]]', '[]', '', '', 'h', '[{"rule":"a","outcome":"matched"}]', x'010203'),
			(4, 'none', 20, 'intake', '', '', 'b', '', '', 'POST', '/', '', '[]', '[]', '', '', 'h', '[{"rule":"a","outcome":"no","why":"\"outcome\":\"error\""}]', x''),
			(5, 'bad', 50, 'intake', '', '', 'c', '', '', 'POST', '/', '', '[]', '[]', '', '', 'h', '[{"rule":"a","outcome":"error"}]', x''),
			(6, 'panic', 60, 'intake', '', '', 'c', '', '', 'POST', '/', '', '[]', '[]', '', 'panic', 'h', 'null', x'');
		INSERT INTO runs VALUES (7, 'r7', 'dup', 'deploy', 'h', 'duplicate', 0, 0, 0, 1, 0, 0, '')`), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, o)
	page, err := s.Events(t.Context(), engine.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	at := database.FromNanos
	sum := engine.EventSummary{Source: "intake", Method: "POST", Path: "/"}
	want := slices.Repeat([]engine.EventSummary{sum}, 5)
	for i, set := range []func(*engine.EventSummary){
		func(e *engine.EventSummary) {
			e.Seq, e.ID, e.Received, e.Bucket, e.Outcome, e.Rules, e.MatchErr = 6, "panic", at(60), "c", engine.EventErrored, "h", "panic"
		},
		func(e *engine.EventSummary) {
			e.Seq, e.ID, e.Received, e.Bucket, e.Outcome, e.Rules, e.Errored = 5, "bad", at(50), "c", engine.EventErrored, "h", []string{"a"}
		},
		func(e *engine.EventSummary) {
			e.Seq, e.ID, e.Received, e.Bucket, e.Outcome, e.Rules = 4, "none", at(20), "b", engine.EventUnmatched, "h"
		},
		func(e *engine.EventSummary) {
			e.Seq, e.ID, e.Received, e.Bucket, e.Outcome, e.Rules = 3, "dup", at(30), "b", engine.EventSuppressed, "h"
			e.Kind, e.Size, e.Matched = "push", 3, []string{"a"}
		},
		func(e *engine.EventSummary) {
			e.Seq, e.ID, e.Received, e.Bucket, e.Outcome = 1, "e", at(1), "b", engine.EventStarted
		},
	} {
		set(&want[i])
	}
	if !reflect.DeepEqual(page.Events, want) {
		t.Errorf("events = %+v\nwant %+v", page.Events, want)
	}
	for _, tt := range []struct {
		name string
		f    engine.EventFilter
		want int
	}{
		{"bucket", engine.EventFilter{Bucket: "b"}, 3},
		{"bucket by id", engine.EventFilter{Bucket: "id"}, 1},
		{"rule", engine.EventFilter{Rule: "deploy"}, 2},
		{"outcome", engine.EventFilter{Outcomes: []engine.EventOutcome{engine.EventErrored}}, 2},
		{"since", engine.EventFilter{Since: time.Unix(0, 30)}, 3},
	} {
		page, err := s.Events(t.Context(), tt.f)
		if err != nil || len(page.Events) != tt.want {
			t.Errorf("by %s: %d events, %v; want %d", tt.name, len(page.Events), err, tt.want)
		}
	}
}
