package store

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// How much one page looks at, so that it comes soon whatever is asked for.
const (
	maxLooked     = 5_000 // events, or runs of a rule
	maxLookedByID = 500   // where the id of each has to be read, which stands among the bodies
	maxLanes      = 64    // parts of an index side by side
)

// maxEarly is how much earlier than one before it an event may have been received
// and not be late: those that come at once arrive in any order. The index
// arrivals_late says it too.
const maxEarly = time.Minute

// search finds the numbers of events, in the order of the filter. It walks along
// lanes, each an index or a part of one that has them in order of arrival, and
// picks what matches.
type search struct {
	c     *database.Conn
	f     engine.EventFilter
	limit int
	looks int  // events that one walk looks at, maxLooked
	few   bool // so few events have the beginning of the id that all are looked at
}

// span is the numbers between two, which are not of it.
type span struct{ above, below int64 }

func (s span) empty() bool { return s.below-s.above <= 1 }

// found is what was found in a stretch.
type found struct {
	seqs []int64
	edge int64 // how far it was looked; 0: to its end
}

func newSearch(c *database.Conn, f engine.EventFilter) (*search, error) {
	s := &search{c: c, f: f, limit: f.Limit, looks: maxLooked}
	if f.Limit <= 0 {
		s.limit = engine.DefaultEventLimit
	}
	if f.IDPrefix != "" {
		n, err := c.Number(`SELECT count(*) FROM (SELECT 1 FROM events WHERE id >= ? AND id < ? LIMIT ?)`,
			f.IDPrefix, f.IDPrefix+behindAll, maxLooked+1)
		if err != nil {
			return nil, err
		}
		if s.few = n <= maxLooked; !s.few {
			s.looks = maxLookedByID
		}
	}
	return s, nil
}

// rising says whether the oldest come first.
func (s *search) rising() bool { return s.f.After != 0 }

// page returns the numbers of a page, and Next of it.
func (s *search) page() (seqs []int64, next int64, err error) {
	stretches, err := s.stretches()
	if err != nil {
		return nil, 0, err
	}
	for _, st := range stretches {
		more, err := s.walk(st, s.limit+1-len(seqs)) // one more tells whether there is a next page
		if err != nil {
			return nil, 0, err
		}
		seqs = append(seqs, more.seqs...)
		switch {
		case len(seqs) > s.limit:
			return seqs[:s.limit], seqs[s.limit-1], nil
		case more.edge != 0:
			return seqs, more.edge, nil
		}
	}
	return seqs, 0, nil
}

// stretch is a part of what is looked at.
type stretch struct {
	span
	late bool // only events that came late can match
}

// stretches are what is looked at, in order. Events that arrived behind one that
// was received later than Until are of those that are asked for only if they came
// late.
func (s *search) stretches() ([]stretch, error) {
	all := span{max(s.f.After, 0), cmp.Or(s.f.Before, math.MaxInt64)}
	if !s.f.Since.IsZero() {
		first, err := firstFrom(s.c, s.f.Since)
		if err != nil {
			return nil, err
		}
		all.above = max(all.above, first-1)
	}
	if s.f.Until.IsZero() {
		return []stretch{{span: all}}, nil
	}
	behind, err := firstFrom(s.c, s.f.Until.Add(maxEarly))
	if err != nil {
		return nil, err
	}
	both := []stretch{
		{span: span{max(all.above, behind-1), all.below}, late: true},
		{span: span{all.above, min(all.below, behind)}},
	}
	if s.rising() {
		slices.Reverse(both)
	}
	return both, nil
}

// firstFrom returns the number of the first event from which on one was received
// at t or later. Numbers that are not there any more count as the next one.
func firstFrom(c *database.Conn, t time.Time) (int64, error) {
	first, err := c.Number(`SELECT min(seq) FROM arrivals`)
	if err != nil {
		return 0, err
	}
	last, err := c.Number(`SELECT max(seq) FROM arrivals`)
	if err != nil {
		return 0, err
	}
	at := notBefore(t)
	n := sort.Search(int(last-first)+1, func(i int) bool {
		high, herr := c.Number(`SELECT high FROM arrivals WHERE seq >= ? ORDER BY seq LIMIT 1`, first+int64(i))
		if herr != nil {
			err = herr
		}
		return high >= at
	})
	return first + int64(n), err
}

// lane is a way to come by events in order of arrival.
type lane struct {
	table string // what is walked, and how
	join  string // what brings arrivals to it
	where string // picks the lane in the table; its keys are arguments 4 and 5
	seq   string // number of the event, in the table
	keys  []any
	exact bool // all of it is looked at: its order is not that of arrival
}

const arrivalsOf = ` CROSS JOIN arrivals AS a NOT INDEXED ON a.seq = `

func laneOfAll() lane { return lane{table: `arrivals AS a NOT INDEXED`, where: `true`, seq: `a.seq`} }

func laneOfLate() lane {
	return lane{table: `arrivals AS a INDEXED BY arrivals_late`, where: `a.received < a.high - 60000000000`, seq: `a.seq`}
}

func laneOfBucket(bucket string, o engine.EventOutcome) lane {
	return lane{
		table: `arrivals AS a INDEXED BY arrivals_outcome`,
		where: `a.bucket = ?4 AND a.outcome = ?5`, seq: `a.seq`, keys: []any{bucket, string(o)},
	}
}

func laneOfBucketID(bucket string, o engine.EventOutcome) lane {
	return lane{
		table: `arrivals AS a INDEXED BY arrivals_bucket_id`,
		where: `a.bucket_id != '' AND a.bucket_id = ?4 AND a.outcome = ?5`, seq: `a.seq`, keys: []any{bucket, string(o)},
	}
}

func laneOfRule(rule string) lane {
	return lane{
		table: `runs AS r INDEXED BY runs_event_seq`, join: arrivalsOf + `r.event_seq`,
		where: `r.rule = ?4`, seq: `r.event_seq`, keys: []any{rule},
	}
}

func laneOfID(prefix string) lane {
	return lane{
		table: `events AS e INDEXED BY sqlite_autoindex_events_1`, join: arrivalsOf + `e.seq`,
		where: `e.id >= ?4 AND e.id < ?5`, seq: `+e.seq`, keys: []any{prefix, prefix + behindAll}, exact: true,
	}
}

// lanes chooses those that have the least to look at.
func (s *search) lanes(in stretch) ([]lane, error) {
	rule := []lane{laneOfRule(s.f.Rule)}
	switch {
	case s.few:
		return []lane{laneOfID(s.f.IDPrefix)}, nil
	case in.late:
		return []lane{laneOfLate()}, nil
	case s.f.Rule != "" && s.f.Bucket == "" && len(s.f.Outcomes) == 0:
		return rule, nil
	}
	others, err := s.lanesByKey()
	if err != nil || s.f.Rule == "" {
		return others, err
	}
	n, err := s.count(in.span, rule)
	if err != nil {
		return nil, err
	}
	m, err := s.count(in.span, others)
	if m < n {
		return others, err
	}
	return rule, err
}

// lanesByKey are those of the filter's bucket and outcomes. Those of an outcome are
// of all its buckets: an index of its own would cost each event that comes.
func (s *search) lanesByKey() ([]lane, error) {
	if s.f.Bucket == "" && len(s.f.Outcomes) == 0 {
		return []lane{laneOfAll()}, nil
	}
	outcomes := s.f.Outcomes
	if len(outcomes) == 0 {
		outcomes = engine.EventOutcomes()
	}
	var lanes []lane
	for _, o := range slices.Compact(slices.Sorted(slices.Values(outcomes))) {
		if s.f.Bucket != "" {
			lanes = append(lanes, laneOfBucket(s.f.Bucket, o), laneOfBucketID(s.f.Bucket, o))
			continue
		}
		buckets, err := bucketsOf(s.c, o, maxLanes-len(lanes)+1)
		if err != nil {
			return nil, err
		}
		for _, bucket := range buckets {
			lanes = append(lanes, laneOfBucket(bucket, o))
		}
		if len(lanes) > maxLanes {
			return []lane{laneOfAll()}, nil
		}
	}
	return lanes, nil
}

// bucketsOf finds buckets that have events of an outcome: it goes from one to the
// next in an index.
func bucketsOf(c *database.Conn, o engine.EventOutcome, most int) ([]string, error) {
	var buckets []string
	for next, found := "", true; found && len(buckets) < most; {
		found = false
		err := c.Query(func(r *sqlite3.Stmt) error {
			found = true
			buckets = append(buckets, r.ColumnText(0))
			next = r.ColumnText(0) + "\x00"
			return nil
		}, `SELECT bucket FROM arrivals INDEXED BY arrivals_outcome WHERE outcome = ? AND bucket >= ? ORDER BY bucket LIMIT 1`, string(o), next)
		if err != nil {
			return nil, err
		}
	}
	return buckets, nil
}

// in is the part of a lane that is in a span, arguments 1 and 2.
func (l lane) in() string {
	return ` WHERE ` + l.where + ` AND ` + l.seq + ` > ?1 AND ` + l.seq + ` < ?2`
}

// count tells how much the lanes have in a span, up to maxLooked.
func (s *search) count(in span, lanes []lane) (n int64, err error) {
	for _, l := range lanes {
		if n >= maxLooked {
			break
		}
		sql := `SELECT count(*) FROM (SELECT 1 FROM ` + l.table + l.in() + ` LIMIT ?3)`
		more, err := s.c.Number(sql, append([]any{in.above, in.below, maxLooked - n}, l.keys...)...)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

// walk goes along the lanes of a stretch side by side, as far as each was looked
// at.
func (s *search) walk(in stretch, limit int) (found, error) {
	if in.empty() {
		return found{}, nil
	}
	lanes, err := s.lanes(in)
	if err != nil {
		return found{}, err
	}
	if len(lanes) > 1 { // where much matches a page is found among the next that came
		near, err := s.pick(laneOfAll(), in.span, limit, min(4*limit, s.looks))
		if err != nil || len(near.seqs) == limit {
			return near, err
		}
	}
	var all found
	for _, l := range lanes {
		one, err := s.pick(l, in.span, limit, max(s.looks/len(lanes), 1))
		if err != nil {
			return found{}, err
		}
		all.seqs = append(all.seqs, one.seqs...)
		if one.edge != 0 && (all.edge == 0 || s.order(one.edge, all.edge) < 0) {
			all.edge = one.edge
		}
	}
	slices.SortFunc(all.seqs, s.order)
	all.seqs = slices.Compact(all.seqs)
	if all.edge != 0 {
		all.seqs = slices.DeleteFunc(all.seqs, func(seq int64) bool { return s.order(seq, all.edge) > 0 })
	}
	return all, nil
}

func (s *search) order(a, b int64) int {
	if s.rising() {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(b, a)
}

// pick finds what matches in a lane.
func (s *search) pick(l lane, in span, limit, looked int) (found, error) {
	edge, err := s.edge(l, in, looked)
	if err != nil {
		return found{}, err
	}
	switch {
	case edge != 0 && s.rising():
		in.below = edge + 1
	case edge != 0:
		in.above = edge - 1
	}
	picked := found{edge: edge}
	sql := `SELECT DISTINCT ` + l.seq + ` FROM ` + l.table + l.join + l.in() + matching + s.orderBy(l) + ` LIMIT ?3`
	err = s.c.Query(func(r *sqlite3.Stmt) error {
		picked.seqs = append(picked.seqs, r.ColumnInt64(0))
		return nil
	}, sql, s.matchingArgs(l, in, limit)...)
	if len(picked.seqs) == limit {
		picked.edge = picked.seqs[limit-1]
	}
	return picked, err
}

// edge is the last that is looked at in a lane; 0: it has no more than that.
func (s *search) edge(l lane, in span, looked int) (int64, error) {
	if l.exact {
		return 0, nil
	}
	sql := `SELECT ` + l.seq + ` FROM ` + l.table + l.in() + s.orderBy(l) + ` LIMIT 1 OFFSET ?3`
	return s.c.Number(sql, append([]any{in.above, in.below, looked - 1}, l.keys...)...)
}

func (s *search) orderBy(l lane) string {
	if s.rising() {
		return ` ORDER BY ` + l.seq
	}
	return ` ORDER BY ` + l.seq + ` DESC`
}

// matching is all that is asked of an event, whatever the lane has asked already.
const matching = `
	AND a.received >= ?6 AND a.received <= ?7
	AND (?8 = '' OR a.bucket = ?8 OR a.bucket_id = ?8)
	AND (?9 = '' OR instr(?9, ' ' || a.outcome || ' '))
	AND (?10 = '' OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_event_seq WHERE rule = ?10 AND event_seq = a.seq))
	AND (?11 = '' OR EXISTS (SELECT 1 FROM events WHERE seq = a.seq AND id >= ?11 AND id < ?12))`

func (s *search) matchingArgs(l lane, in span, limit int) []any {
	args := append([]any{in.above, in.below, limit}, l.keys...)
	for len(args) < 5 {
		args = append(args, "") // a key that the lane has not
	}
	outcomes := ""
	for _, o := range s.f.Outcomes {
		outcomes += " " + string(o) + " "
	}
	return append(args, notBefore(s.f.Since), before(s.f.Until), s.f.Bucket, outcomes, s.f.Rule, s.f.IDPrefix, s.f.IDPrefix+behindAll)
}

// before is the latest stored time that is before a bound.
func before(t time.Time) int64 {
	if t.IsZero() {
		return math.MaxInt64
	}
	return notAfter(t) - 1
}
