package web

import (
	"context"
	"net/http"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Rows of the lists on the first page.
const (
	overviewEvents = 14
	overviewRuns   = 14
)

// overviewPage is what / shows.
type overviewPage struct {
	Range  timeRange
	Ranges []timeRange
	Chart  *chart
	Events []eventRow
	Runs   []control.Run
	Held   []control.Run // that wait for a person
	Armed  control.Armed
	Tiles  []tile
	Meter  *meter
	Err    string // of a part that could not be told
}

// tile is a number with a word.
type tile struct {
	Label, Value, Note, Tone, Link string
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p := overviewPage{Range: rangeOf(r.URL.Query().Get("range")), Ranges: ranges()}
	rates, err := s.rates(ctx, "", p.Range)
	if p.Err, err = optional(ctx, err); err != nil {
		return err
	}
	p.Chart = newChart(rates, p.Range)
	events, err := s.desk.Events(ctx, control.EventQuery{Limit: overviewEvents})
	if err != nil {
		return err
	}
	runs, err := s.desk.List(ctx, control.Query{Limit: overviewRuns})
	if err != nil {
		return err
	}
	status, err := s.desk.Status(ctx)
	if err != nil {
		return err
	}
	p.Runs = runs.Runs
	if p.Events, err = s.eventRows(ctx, events.Events); err != nil {
		return err
	}
	if p.Armed, err = s.armed(ctx); err != nil {
		return err
	}
	p.Held = p.Armed.Runs
	p.Tiles = tiles(status, rates, p.Range)
	p.Meter = newMeter(status.Store.Used, status.Store.KeepSize)
	return s.show(w, r, http.StatusOK, "overview", frame{Title: "Overview", Nav: "overview", Status: &status}, p)
}

// rates are those of a range that ends now.
func (s *Server) rates(ctx context.Context, rule string, r timeRange) (control.RateList, error) {
	since := time.Now().Add(-r.Whole).Truncate(r.Step)
	return s.desk.Rates(ctx, control.RateQuery{Rule: rule, Since: since, Step: r.Step})
}

// armed is none where that can't be told: no hookrun runs.
func (s *Server) armed(ctx context.Context) (control.Armed, error) {
	a, err := s.desk.Armed(ctx)
	if err != nil && ctx.Err() != nil {
		return a, err
	}
	return a, nil
}

// tiles are the numbers of the first page.
func tiles(s control.Status, rates control.RateList, r timeRange) []tile {
	var sum counts
	events := 0
	for _, rate := range rates.Rates {
		c := tally(rate)
		sum.ok, sum.bad, sum.open, sum.rest = sum.ok+c.ok, sum.bad+c.bad, sum.open+c.open, sum.rest+c.rest
		events += rate.Events
	}
	failed := tile{Label: "failed", Value: count(sum.bad), Note: r.Title, Link: "/runs?state=failed"}
	if sum.bad > 0 {
		failed.Tone = toneBad
	}
	rejected := tile{Label: "rejected", Value: count(s.Summary.Rejected), Note: "since the start", Link: "/rejected"}
	if s.Summary.Rejected > 0 {
		rejected.Tone = toneWarn
	}
	return []tile{
		{Label: "events", Value: count(events), Note: r.Title, Link: "/events"},
		{Label: "runs", Value: count(sum.all()), Note: r.Title, Link: "/runs"},
		failed,
		{Label: "waiting", Value: count(s.Summary.Waiting), Note: "or at work now", Link: "/runs?state=" + string(engine.Queued)},
		rejected,
	}
}
