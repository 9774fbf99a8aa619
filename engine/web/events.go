package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// pageRows are the rows of one page of a list.
const pageRows = 50

// eventsPage is what /events shows.
type eventsPage struct {
	Filter   eventFilter
	Outcomes []engine.EventOutcome
	Times    []timeChoice
	Events   []eventRow
	Hint     string
	Older    string // address of the next page, "" for none
	Newest   string // address of the first one, "" on it
}

// eventRow is an event in a list.
type eventRow struct {
	control.EventRow
	Bad engine.State // that a run of it came to; "": none failed
}

// eventRows looks at what came of events: one that started a run is no good news
// where that failed.
func (s *Server) eventRows(ctx context.Context, events []control.EventRow) ([]eventRow, error) {
	rows := make([]eventRow, 0, len(events))
	for _, e := range events {
		row := eventRow{EventRow: e}
		if e.Outcome == engine.EventStarted {
			bad, err := s.desk.List(ctx, control.Query{Event: e.ID, States: []engine.State{engine.Failed, engine.Tripped}, Limit: 1})
			if _, err := optional(ctx, err); err != nil { // it may be gone meanwhile
				return nil, err
			}
			for _, run := range bad.Runs {
				row.Bad = run.State
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// eventFilter is what a person asks for.
type eventFilter struct {
	Bucket, Rule, Outcome, Since string
}

// timeChoice is a time that a list may begin at.
type timeChoice struct {
	Name, Title string
	Back        time.Duration
}

func timeChoices() []timeChoice {
	const day = 24 * time.Hour
	return []timeChoice{{"1h", "the last hour", time.Hour}, {"24h", "the last day", day}, {"7d", "the last week", 7 * day}, {"30d", "the last 30 days", 30 * day}}
}

// since is the time that a choice stands for; zero for any.
func since(name string) time.Time {
	for _, c := range timeChoices() {
		if c.Name == name {
			return time.Now().Add(-c.Back)
		}
	}
	return time.Time{}
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := eventFilter{Bucket: q.Get("bucket"), Rule: q.Get("rule"), Outcome: q.Get("outcome"), Since: q.Get("since")}
	ask := control.EventQuery{Bucket: f.Bucket, Rule: f.Rule, Since: since(f.Since), Before: cursor(q), Limit: pageRows}
	if f.Outcome != "" {
		if ask.Outcomes = []engine.EventOutcome{engine.EventOutcome(f.Outcome)}; !slices.Contains(engine.EventOutcomes(), ask.Outcomes[0]) {
			return &control.Error{Status: http.StatusBadRequest, Msg: "there is no outcome " + strconv.Quote(shortened(f.Outcome))}
		}
	}
	list, err := s.desk.Events(r.Context(), ask)
	if err != nil {
		return err
	}
	p := eventsPage{Filter: f, Outcomes: engine.EventOutcomes(), Times: timeChoices(), Hint: list.Hint}
	if p.Events, err = s.eventRows(r.Context(), list.Events); err != nil {
		return err
	}
	p.Older, p.Newest = turned("/events", q, list.Next)
	return s.show(w, r, http.StatusOK, "events", frame{Title: "Events", Nav: "events"}, p)
}

// cursor is where a page of a list begins; 0 is at its begin.
func cursor(q url.Values) int64 {
	n, err := strconv.ParseInt(q.Get("before"), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// turned are the addresses of the page behind this one and of the first.
func turned(path string, q url.Values, next int64) (older, newest string) {
	q.Del(saidParam)
	if q.Has("before") {
		q.Del("before")
		newest = path + "?" + q.Encode()
	}
	if next > 0 {
		q.Set("before", strconv.FormatInt(next, 10))
		older = path + "?" + q.Encode()
	}
	return older, newest
}
