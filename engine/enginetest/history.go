package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
)

// Events implements engine.Store.
func (m *MemStore) Events(_ context.Context, f engine.EventFilter) (engine.EventPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, next := m.find(f)
	page := engine.EventPage{Next: next}
	for _, e := range found {
		page.Events = append(page.Events, e.record().EventSummary)
	}
	return page, nil
}

// Records implements engine.Store.
func (m *MemStore) Records(_ context.Context, f engine.EventFilter) (records []engine.EventRecord, next int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, next := m.find(f)
	size := 0
	for i, e := range found {
		records = append(records, e.record())
		if size += e.event.Size(); size >= engine.MaxRecords && i+1 < len(found) {
			return records, e.seq, nil
		}
	}
	return records, next, nil
}

func (e *memEvent) record() engine.EventRecord {
	r := engine.NewEventRecord(copyEvent(e.event), slices.Clone(e.verdicts))
	r.Seq, r.Outcome, r.Rules, r.BodyErr, r.MatchErr = e.seq, e.outcome, e.rules, e.bodyErr, e.matchErr
	return r
}

// find returns a page of events, and its Next.
func (m *MemStore) find(f engine.EventFilter) (found []*memEvent, next int64) {
	for _, e := range m.events {
		if m.matches(e, f) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *memEvent) int {
		if f.After != 0 {
			return cmp.Compare(a.seq, b.seq)
		}
		return cmp.Compare(b.seq, a.seq)
	})
	limit := f.Limit
	if limit <= 0 {
		limit = engine.DefaultEventLimit
	}
	if len(found) <= limit {
		return found, 0
	}
	return found[:limit], found[limit-1].seq
}

func (m *MemStore) matches(e *memEvent, f engine.EventFilter) bool {
	return strings.HasPrefix(e.event.ID, f.IDPrefix) &&
		(f.Bucket == "" || e.isTo(f.Bucket)) &&
		(f.Rule == "" || m.hasRun(e, f.Rule)) &&
		(len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, e.outcome)) &&
		!e.event.Received.Before(f.Since) &&
		(f.Until.IsZero() || e.event.Received.Before(f.Until)) &&
		(f.Before == 0 || e.seq < f.Before) &&
		(f.After == 0 || e.seq > f.After)
}

func (e *memEvent) isTo(bucket string) bool {
	return e != nil && (e.event.Bucket == bucket || e.event.BucketID == bucket)
}

func (m *MemStore) hasRun(e *memEvent, rule string) bool {
	return slices.ContainsFunc(e.runs, func(id string) bool { return m.runs[id].run.Rule == rule })
}

// Rates implements engine.Store.
func (m *MemStore) Rates(_ context.Context, f engine.RatesFilter) ([]engine.Rates, error) {
	spans, err := f.Spans(time.Now())
	if err != nil {
		return nil, fmt.Errorf("count by time: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range spans {
		span := &spans[i]
		within := func(t time.Time) bool { return !t.Before(span.From) && t.Before(span.From.Add(f.Step)) }
		for _, e := range m.events {
			if within(e.event.Received) && (f.Rule == "" || m.hasRun(e, f.Rule)) {
				span.Events++
			}
		}
		var took []time.Duration
		for _, r := range m.runsWhere(func(r *engine.Run) bool { return within(r.Created) && (f.Rule == "" || r.Rule == f.Rule) }) {
			span.Ended[r.State]++
			if r.State == engine.Done {
				took = append(took, r.Finished.Sub(r.Started))
			}
		}
		span.SetDurations(took)
	}
	return spans, nil
}

// RulesDay implements engine.Store.
func (m *MemStore) RulesDay(_ context.Context, since time.Time) ([]engine.RuleUse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uses := make(map[string]*engine.RuleUse)
	for _, r := range m.runsWhere(func(*engine.Run) bool { return true }) {
		u := uses[r.Rule]
		if u == nil {
			u = &engine.RuleUse{Rule: r.Rule, Runs: make(map[engine.State]int)}
			uses[r.Rule] = u
		}
		u.Last = r
		if !r.Created.Before(since) {
			u.Runs[r.State]++
		}
	}
	var sorted []engine.RuleUse
	for _, rule := range slices.Sorted(maps.Keys(uses)) {
		sorted = append(sorted, *uses[rule])
	}
	return sorted[:min(len(sorted), engine.MaxRuleUses)], nil
}

// Replays implements engine.Store.
func (m *MemStore) Replays(_ context.Context, event string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var replays []*memEvent
	for _, e := range m.events {
		if event != "" && e.event.ReplayOf == event {
			replays = append(replays, e)
		}
	}
	slices.SortFunc(replays, func(a, b *memEvent) int { return cmp.Compare(b.seq, a.seq) })
	var ids []string
	for _, e := range replays[:min(len(replays), engine.MaxReplays)] {
		ids = append(ids, e.event.ID)
	}
	return ids, nil
}

// Info implements engine.Store; there are no files whose size it could tell.
func (m *MemStore) Info(context.Context) (engine.StoreInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := engine.StoreInfo{Events: int64(len(m.events)), Runs: int64(len(m.runs))}
	var first, last *memEvent
	for _, e := range m.events {
		if first == nil || e.seq < first.seq {
			first = e
		}
		if last == nil || e.seq > last.seq {
			last = e
		}
	}
	if first != nil {
		info.Oldest, info.Newest = first.event.Received, last.event.Received
	}
	return info, nil
}
