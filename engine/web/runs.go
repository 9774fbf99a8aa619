package web

import (
	"net/http"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// runsPage is what /runs shows.
type runsPage struct {
	Filter    runFilter
	States    []engine.State
	Times     []timeChoice
	Range     timeRange
	Ranges    []rangeLink
	Chart     *chart
	Durations *chart
	Runs      []runRow
	Hint      string
	Older     string
	Newest    string
	Err       string
}

// runFilter is what a person asks for.
type runFilter struct{ Rule, State, Since string }

// rangeLink leads to the page with another range.
type rangeLink struct {
	timeRange
	Link string
}

// runRow is a run in the list, with how long it took.
type runRow struct {
	control.Run
	Took time.Duration
	Bar  *meter // against the longest of the page
}

func (s *Server) runs(w http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	p := runsPage{
		Filter: runFilter{Rule: q.Get("rule"), State: q.Get("state"), Since: q.Get("since")},
		States: engine.States(), Times: timeChoices(), Range: rangeOf(q.Get("range")),
	}
	ask := control.Query{Rule: p.Filter.Rule, Since: since(p.Filter.Since), Before: cursor(q), Limit: pageRows}
	if p.Filter.State != "" {
		ask.States = []engine.State{engine.State(p.Filter.State)}
	}
	list, err := s.desk.List(ctx, ask)
	if err != nil {
		return err
	}
	rates, err := s.rates(ctx, p.Filter.Rule, p.Range)
	if p.Err, err = optional(ctx, err); err != nil {
		return err
	}
	if p.Err == "" {
		p.Chart, p.Durations = newChart(rates, p.Range), newDurations(rates, p.Range)
	}
	p.Runs, p.Hint = runRows(list.Runs), list.Hint
	for _, t := range ranges() {
		q.Set("range", t.Name)
		p.Ranges = append(p.Ranges, rangeLink{t, "/runs?" + q.Encode()})
	}
	q.Set("range", p.Range.Name)
	p.Older, p.Newest = turned("/runs", q, list.Next)
	return s.show(w, r, http.StatusOK, "runs", frame{Title: "Runs", Nav: "runs"}, p)
}

func runRows(runs []control.Run) []runRow {
	var rows []runRow
	longest := time.Duration(0)
	for _, run := range runs {
		row := runRow{Run: run, Took: took(run)}
		longest = max(longest, row.Took)
		rows = append(rows, row)
	}
	for i := range rows {
		if rows[i].Took > 0 {
			rows[i].Bar = share(float64(rows[i].Took), float64(longest))
			rows[i].Bar.Tone, rows[i].Bar.Says = tone(rows[i].State), span(rows[i].Took)+"; the longest here took "+span(longest)
		}
	}
	return rows
}

// took is how long a run was at work, from its first attempt on.
func took(run control.Run) time.Duration {
	switch {
	case run.Started.IsZero():
		return 0
	case !run.Finished.IsZero():
		return run.Finished.Sub(run.Started)
	}
	return time.Since(run.Started)
}
