package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
	"hookrun/engine/enginetest"
)

var million = flag.Bool("million", false, "fill TestMillion's store with 1,000,000 events and measure what it is asked")

// crowd makes up a long history: 30 days of events, of which each twentieth or so
// came late.
type crowd struct {
	rnd    *rand.Rand
	events int
	end    time.Time
	body   []byte
}

func newCrowd(events int) *crowd {
	return &crowd{
		rnd: rand.New(rand.NewPCG(7, 7)), events: events, end: time.Now().UTC().Round(0),
		body: bytes.Repeat([]byte(`{"ref":"refs/heads/main","n":12}`), 2<<10/32),
	}
}

// at is when event i is received if it does not come late.
func (c *crowd) at(i int) time.Time {
	return c.end.Add(-30*day + time.Duration(float64(30*day)*float64(i)/float64(c.events)))
}

// acceptance makes event i: buckets and rules are used ever less, the last of
// them by a few events in all.
func (c *crowd) acceptance(i int) *engine.Acceptance {
	a := enginetest.NewAcceptance()
	a.Event.ID = idAt(c.at(i))
	a.Event.Received = c.at(i)
	if c.rnd.IntN(20) == 0 {
		a.Event.Received = c.at(i).Add(-time.Duration(c.rnd.IntN(600)) * time.Second)
	}
	a.Event.Source = engine.SourceRelay
	a.Event.Header = http.Header{"Content-Type": {"application/json"}, "X-Github-Event": {"push"}, "X-Github-Delivery": {a.Event.ID}, "User-Agent": {"GitHub-Hookshot/044aadd"}}
	a.Event.Bucket, a.Event.BucketID = fmt.Sprint("bucket-", c.rare(20)), fmt.Sprint("id-", c.rare(20))
	a.Event.Body = c.body
	for rule := range 5 {
		a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: fmt.Sprint("other ", rule), Outcome: engine.NoMatch, Why: `body.ref == "refs/heads/dev"`})
	}
	for range c.rnd.IntN(3) {
		state := engine.Done
		switch c.rnd.IntN(20) {
		case 0:
			state = engine.Failed
		case 1:
			state = engine.Duplicate
		case 2:
			state = engine.Shadow
		case 3:
			a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: "bad", Outcome: engine.Errored, Why: "nil > 1"})
			continue
		}
		rule := fmt.Sprint("rule-", c.rare(100))
		a.Verdicts = append(a.Verdicts, engine.Verdict{Rule: rule, Outcome: engine.Matched})
		r := &engine.Run{ID: engine.NewID(), Event: a.Event.ID, Rule: rule, RuleHash: "hash", State: state, Created: c.at(i)}
		if state == engine.Done {
			r.Attempt, r.Started, r.Finished = 1, r.Created, r.Created.Add(time.Duration(c.rnd.IntN(1e9)))
		}
		a.Runs = append(a.Runs, r)
	}
	return a
}

// rare picks a number below n, each half as often as the one before, at the
// lowest once in 50,000.
func (c *crowd) rare(n int) int {
	k := 0
	for k < n-1 && c.rnd.IntN(2) == 0 {
		k++
	}
	return k
}

// outcome is what the crowd's events became while they came: their runs are done
// by now.
func outcome(a *engine.Acceptance) engine.EventOutcome {
	for _, r := range a.Runs {
		if r.State == engine.Done || r.State == engine.Failed {
			return engine.EventStarted
		}
	}
	return a.Outcome()
}

// fill puts the crowd in the store, a thousand in a commit, and returns what is
// expected of each.
func fill(t *testing.T, s *Store, c *crowd) []engine.EventSummary {
	t.Helper()
	var all []engine.EventSummary
	for i := 0; i < c.events; {
		var rows []*eventRow
		for ; len(rows) < 1000 && i < c.events; i++ {
			a := c.acceptance(i)
			row, err := newEventRow(a)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
			sum := engine.EventSummary{ID: a.Event.ID, Received: a.Event.Received, Bucket: a.Event.Bucket, Input: a.Event.BucketID, Outcome: outcome(a)}
			for _, r := range a.Runs {
				sum.Matched = append(sum.Matched, r.Rule)
			}
			all = append(all, sum)
		}
		err := s.write(t.Context(), database.Write{Do: func(c *database.Conn) error {
			for _, row := range rows {
				if _, err := row.insert(c); err != nil {
					return err
				}
				if err := c.Exec(`UPDATE arrivals SET outcome = ? WHERE seq = (SELECT seq FROM events WHERE id = ?) AND outcome != ?1`, string(outcome(row.Acceptance)), row.Event.ID); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// expected returns the ids that a filter asks for, by looking at each.
func expected(all []engine.EventSummary, f engine.EventFilter) []string {
	ids := []string{}
	for _, e := range all {
		if strings.HasPrefix(e.ID, f.IDPrefix) && (f.Bucket == "" || e.Bucket == f.Bucket || e.Input == f.Bucket) &&
			(f.Rule == "" || slices.Contains(e.Matched, f.Rule)) && (len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, e.Outcome)) &&
			!e.Received.Before(f.Since) && (f.Until.IsZero() || e.Received.Before(f.Until)) {
			ids = append(ids, e.ID)
		}
	}
	if f.After == 0 {
		slices.Reverse(ids)
	}
	return ids
}

// filters are many combinations, of much and of little.
func (c *crowd) filters() []namedFilter {
	ago := func(d time.Duration) time.Time { return c.end.Add(-d) }
	outcomes := func(o ...engine.EventOutcome) []engine.EventOutcome { return o }
	failed, none := outcomes(engine.EventErrored), outcomes(engine.EventAnswered)
	old := idAt(c.at(c.events / 3))
	return []namedFilter{
		{"any", engine.EventFilter{}},
		{"any, the oldest first", engine.EventFilter{After: -1}},
		{"bucket", engine.EventFilter{Bucket: "bucket-0"}},
		{"rare bucket", engine.EventFilter{Bucket: "bucket-12"}},
		{"bucket by id", engine.EventFilter{Bucket: "id-1"}},
		{"no such bucket", engine.EventFilter{Bucket: "?"}},
		{"outcome", engine.EventFilter{Outcomes: outcomes(engine.EventStarted)}},
		{"outcomes", engine.EventFilter{Outcomes: outcomes(engine.EventErrored, engine.EventShadowed)}},
		{"outcome that none has", engine.EventFilter{Outcomes: none}},
		{"rule", engine.EventFilter{Rule: "rule-0"}},
		{"rare rule", engine.EventFilter{Rule: "rule-12"}},
		{"no such rule", engine.EventFilter{Rule: "?"}},
		{"rule and outcome that it has not", engine.EventFilter{Rule: "rule-0", Outcomes: outcomes(engine.EventUnmatched)}},
		{"rule and outcome that none has", engine.EventFilter{Rule: "rule-0", Outcomes: none}},
		{"rule, in a bucket", engine.EventFilter{Rule: "rule-0", Bucket: "bucket-0"}},
		{"rule, in a rare bucket", engine.EventFilter{Rule: "rule-0", Bucket: "bucket-12"}},
		{"rare rule, in a bucket, an outcome", engine.EventFilter{Rule: "rule-9", Bucket: "bucket-0", Outcomes: outcomes(engine.EventSuppressed)}},
		{"rare rule, in a rare bucket", engine.EventFilter{Rule: "rule-7", Bucket: "bucket-7"}},
		{"bucket and outcome", engine.EventFilter{Bucket: "bucket-0", Outcomes: failed}},
		{"since an hour", engine.EventFilter{Since: ago(time.Hour)}},
		{"since 15 days", engine.EventFilter{Since: ago(15 * day)}},
		{"until 15 days ago", engine.EventFilter{Until: ago(15 * day)}},
		{"until 15 days ago, the oldest first", engine.EventFilter{Until: ago(15 * day), After: -1}},
		{"an hour of old", engine.EventFilter{Since: ago(20 * day), Until: ago(20*day - time.Hour)}},
		{"an hour of old, rule", engine.EventFilter{Since: ago(20 * day), Until: ago(20*day - time.Hour), Rule: "rule-1"}},
		{"since, until, rule, bucket", engine.EventFilter{Since: ago(20 * day), Until: ago(10 * day), Rule: "rule-1", Bucket: "bucket-2"}},
		{"until, bucket, outcomes", engine.EventFilter{Until: ago(10 * day), Bucket: "bucket-1", Outcomes: outcomes(engine.EventErrored, engine.EventShadowed)}},
		{"until before all", engine.EventFilter{Until: ago(40 * day)}},
		{"beginning of all ids", engine.EventFilter{IDPrefix: "0"}},
		{"beginning of all ids, of a rare bucket", engine.EventFilter{IDPrefix: "0", Bucket: "bucket-9"}},
		{"beginning of few ids", engine.EventFilter{IDPrefix: old[:7]}},
		{"beginning of few ids, rule", engine.EventFilter{IDPrefix: old[:7], Rule: "rule-0", Outcomes: outcomes(engine.EventStarted)}},
		{"all at once", engine.EventFilter{IDPrefix: "0", Bucket: "bucket-0", Rule: "rule-2", Outcomes: outcomes(engine.EventStarted), Since: ago(25 * day), Until: ago(5 * day)}},
		{"all at once, the oldest first", engine.EventFilter{IDPrefix: "0", Bucket: "id-0", Rule: "rule-0", Outcomes: outcomes(engine.EventSuppressed), Since: ago(25 * day), Until: ago(5 * day), After: -1}},
	}
}

type namedFilter struct {
	name string
	f    engine.EventFilter
}

// TestMillion asks a long history for pages by many combinations of filters, and
// goes through the pages of each. With -million it tells how long they took.
func TestMillion(t *testing.T) {
	events, pages := 7_000, 10
	if *million {
		events, pages = 1_000_000, 300
	}
	o := options(t)
	o.KeepAge, o.KeepSize = 365*day, 1<<40
	s := serve(t, o).Store
	c := newCrowd(events)
	began := time.Now()
	all := fill(t, s, c)
	t.Logf("filled in %v", time.Since(began).Round(time.Millisecond))
	for _, tt := range c.filters() {
		want := expected(all, tt.f)
		got, took, whole := walkPages(t, s, tt.f, pages)
		if !whole && len(got) < len(want) {
			want = want[:len(got)]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d events, want %d, or others or in another order", tt.name, len(got), len(want))
		}
		t.Logf("%-42s %6d events, %3d pages: %s", tt.name, len(got), len(took), spread(took))
	}
	tellOthers(t, s, c)
}

// spread says how long most took.
func spread(took []time.Duration) string {
	slices.Sort(took)
	at := func(share int) time.Duration { return took[(len(took)-1)*share/100].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %8v  p99 %8v  worst %8v", at(50), at(99), at(100))
}

// walkPages goes through so many pages of a filter and returns the ids, how long each
// page took, and whether these are all.
func walkPages(t *testing.T, s *Store, f engine.EventFilter, most int) (ids []string, took []time.Duration, whole bool) {
	t.Helper()
	ids = []string{}
	for len(took) < most {
		began := time.Now()
		page, err := s.Events(t.Context(), f)
		took = append(took, time.Since(began))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		switch {
		case page.Next == 0:
			return ids, took, true
		case f.After != 0:
			f.After = page.Next
		default:
			f.Before = page.Next
		}
	}
	return ids, took, false
}

// tellOthers asks what is not a page of a list.
func tellOthers(t *testing.T, s *Store, c *crowd) {
	t.Helper()
	since := c.end.Add(-day)
	for _, tt := range []struct {
		name string
		ask  func() (any, error)
	}{
		{"info", func() (any, error) { return s.Info(t.Context()) }},
		{"a day in hours", func() (any, error) {
			r, err := s.Rates(t.Context(), engine.RatesFilter{Since: since, Step: time.Hour})
			return len(r), err
		}},
		{"a day in 5 minutes", func() (any, error) {
			r, err := s.Rates(t.Context(), engine.RatesFilter{Since: since, Step: 5 * time.Minute})
			return len(r), err
		}},
		{"a day of a rule", func() (any, error) {
			r, err := s.Rates(t.Context(), engine.RatesFilter{Since: since, Step: time.Hour, Rule: "rule-0"})
			return len(r), err
		}},
		{"30 days in days", func() (any, error) {
			r, err := s.Rates(t.Context(), engine.RatesFilter{Since: c.end.Add(-30 * day), Step: day})
			return len(r), err
		}},
		{"rules, of a day", func() (any, error) {
			r, err := s.RulesDay(t.Context(), since)
			return len(r), err
		}},
		{"replays", func() (any, error) { return s.Replays(t.Context(), "nobody") }},
	} {
		var took []time.Duration
		var got any
		for range 9 {
			began := time.Now()
			var err error
			if got, err = tt.ask(); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		t.Logf("%-42s %s  %+v", tt.name, spread(took), got)
	}
	tellRecords(t, s, c)
	tellSweep(t, s, c)
}

// tellRecords reads up to 100,000 whole events.
func tellRecords(t *testing.T, s *Store, c *crowd) {
	t.Helper()
	most := min(c.events, 100_000)
	began, n := time.Now(), 0
	for f := (engine.EventFilter{Limit: 500}); n < most; {
		records, next, err := s.Records(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if len(r.Event.Body) != len(c.body) {
				t.Fatalf("body of %d bytes, want %d", len(r.Event.Body), len(c.body))
			}
		}
		n += len(records)
		if f.Before = next; next == 0 {
			break
		}
	}
	if n != most {
		t.Errorf("%d whole events, want %d", n, most)
	}
	took := time.Since(began)
	t.Logf("%d whole events in %v, %.0f/s, %.0f MiB resident", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), residentMiB())
}

// tellSweep deletes the oldest events, 10,000 or half of them.
func tellSweep(t *testing.T, s *Store, c *crowd) {
	t.Helper()
	before, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began, n := time.Now(), 0
	for most := min(10_000, c.events/2); n < most; {
		old, err := s.oldest(t.Context(), 0, c.end, sweepBytes)
		if err == nil {
			err = s.deleteEvents(t.Context(), old)
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(old)
	}
	took := time.Since(began)
	after, err := s.Info(t.Context())
	if err != nil || after.Events != before.Events-int64(n) {
		t.Errorf("%d events after %d of %d were deleted, %v", after.Events, n, before.Events, err)
	}
	t.Logf("%d events deleted in %v, %.0f/s", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
}

// TestAnOlderHistoryIsBroughtUpToDate tells, with -million, how long that takes.
func TestAnOlderHistoryIsBroughtUpToDate(t *testing.T) {
	events := 1000
	if *million {
		events = 1_000_000
	}
	o := options(t)
	db, err := sqlite3.Open(filepath.Join(o.Dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		db.Exec(`PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL`),
		db.Exec(strings.Join(migrations()[:3], "")),
		db.Exec(fmt.Sprintf(`
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO events SELECT i, printf('%%032x', i), i * 1000000000, 'relay', '', '', 'b' || (i %% 20), '', '', 'POST', '/', '',
				'[["X-Github-Event","push"]]', '[]', '', '', 'h', '[{"rule":"a","outcome":"' || iif(i %% 2, 'matched', 'no') || '"}]', randomblob(2048) FROM n`, events)),
		db.Exec(`INSERT INTO runs(id, event, rule, rule_hash, state, attempt, cut, due, created, started, finished, err)
			SELECT 'r' || id, id, 'rule', 'h', 'done', 1, 0, 0, received, received, received, '' FROM events WHERE seq % 2`),
		db.Exec(`PRAGMA user_version = 3`), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s := serve(t, o)
	t.Logf("%d events brought up to date in %v", events, time.Since(began).Round(time.Millisecond))
	for _, f := range []engine.EventFilter{
		{Outcomes: []engine.EventOutcome{engine.EventStarted}}, {Rule: "rule"}, {Bucket: "b1"},
	} {
		page, err := s.Events(t.Context(), f)
		if err != nil || len(page.Events) != engine.DefaultEventLimit || page.Events[0].Outcome != engine.EventStarted {
			t.Errorf("%d events of %+v, %v; want a page of started ones", len(page.Events), f, err)
		}
	}
}
