package web

import (
	"net/http"
	"slices"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// runView is a run with its steps, as the pages of events and runs show it.
type runView struct {
	Run     control.Run
	Element string
	Verdict *engine.Verdict
	Steps   []stepView
	Took    time.Duration
	Again   bool // it can be queued again
}

// stepView is a step.
type stepView struct {
	control.Step
	Lane    lane
	Took    time.Duration
	Outputs []field
	Text    []*output // what its command printed
	Answer  *bodyView // of an HTTP call
	New     bool      // its attempt has others before it
	Left    bool      // what it printed is left out, as the page has too much of it
}

// runPage is what /runs/{id} shows.
type runPage struct {
	View       runView
	Event      *control.Event
	Planned    *engine.PlannedRun // of one that waits for a person: what it would do,
	PlannedErr string             // or why that can't be told
}

func (s *Server) run(w http.ResponseWriter, r *http.Request) error {
	d, err := s.desk.Show(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := runPage{View: newRunView(d), Event: d.Event, Planned: d.Planned, PlannedErr: d.PlannedErr}
	trim([]runView{p.View})
	return s.show(w, r, http.StatusOK, "run", frame{Title: "Run " + cut(d.Run.ID, 13), Nav: "runs"}, p)
}

func newRunView(d control.Detail) runView {
	v := runView{Run: d.Run, Element: plain(string(d.Element)), Verdict: d.Verdict, Again: d.Run.State.Finished()}
	from, to := d.Run.Started, d.Run.Finished
	for _, st := range d.Steps {
		if from.IsZero() || st.Started.Before(from) {
			from = st.Started
		}
		if end := ended(st); end.After(to) {
			to = end
		}
	}
	if !d.Run.State.Finished() {
		to = time.Now()
	}
	if !from.IsZero() && to.After(from) {
		v.Took = to.Sub(from)
	}
	attempt := 1
	for _, st := range d.Steps {
		sv := newStepView(st, from, to)
		sv.New, attempt = st.Attempt != attempt, st.Attempt
		v.Steps = append(v.Steps, sv)
	}
	return v
}

// maxPageOutput bounds what commands printed of all runs on one page, in bytes.
const maxPageOutput = 2 << 20

// trim leaves out what commands printed once a page has enough of it.
func trim(runs []runView) {
	left := int64(maxPageOutput)
	for _, run := range runs {
		for i := range run.Steps {
			st := &run.Steps[i]
			for _, o := range st.Text {
				left -= o.Total - o.Cut
			}
			if left < 0 && len(st.Text) > 0 {
				st.Text, st.Left = nil, true
			}
		}
	}
}

// ended is when a step ended; of one that goes on, now.
func ended(st control.Step) time.Time {
	if st.Finished.IsZero() && st.State == engine.StepRunning {
		return time.Now()
	}
	return st.Finished
}

func newStepView(st control.Step, from, to time.Time) stepView {
	v := stepView{Step: st, Lane: newLane(from, to, st.Started, ended(st), st.State)}
	if end := ended(st); end.After(st.Started) && !st.Started.IsZero() {
		v.Took = end.Sub(st.Started)
	}
	for name, value := range st.Outputs {
		v.Outputs = append(v.Outputs, field{plain(name), plain(value)})
	}
	slices.SortFunc(v.Outputs, func(a, b field) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	for _, o := range []*output{newOutput(engine.Stdout, st.Stdout), newOutput(engine.Stderr, st.Stderr)} {
		if o != nil {
			v.Text = append(v.Text, o)
		}
	}
	if len(st.Body) > 0 {
		answer := newBodyView(st.Body, len(st.Body))
		v.Answer = &answer
	}
	return v
}
