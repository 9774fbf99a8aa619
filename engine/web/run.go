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
	Left    string    // the run that it is of, where the page has no room for what it printed and did
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
	p := runPage{View: newRunView(d, newBudget()), Event: d.Event, Planned: d.Planned, PlannedErr: d.PlannedErr}
	return s.show(w, r, http.StatusOK, "run", frame{Title: "Run " + cut(d.Run.ID, 13), Nav: "runs"}, p)
}

func newRunView(d control.Detail, left *budget) runView {
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
	v.fill(left)
	return v
}

// Bounds of what one page shows of steps, over all runs on it.
const (
	maxPageOutput = 512 << 10 // bytes of what they printed, were answered, and did
	maxPageSpans  = 5000      // pieces of a colour each; from then on there are none
	stepCost      = 256       // bytes that one takes by itself
)

// budget is what a page may still show.
type budget struct{ bytes, spans int }

func newBudget() *budget { return &budget{maxPageOutput, maxPageSpans} }

// fill adds what steps printed and did, that of the newest attempt first, as long as
// the page has room for it.
func (v *runView) fill(left *budget) {
	for i := range slices.Backward(v.Steps) {
		v.Steps[i].fill(left, v.Run.ID)
	}
}

func (v *stepView) fill(left *budget, run string) {
	left.bytes -= stepCost + v.Plan.Size()
	for _, o := range []*output{newOutput(engine.Stdout, v.Stdout), newOutput(engine.Stderr, v.Stderr)} {
		if o != nil {
			v.Text = append(v.Text, o)
			left.bytes -= o.size()
		}
	}
	if len(v.Body) > 0 {
		answer := newBodyView(v.Body, len(v.Body), false)
		v.Answer = &answer
		left.bytes -= len(answer.Text)
	}
	for _, f := range v.Outputs {
		left.bytes -= len(f.Name) + len(f.Value)
	}
	if left.bytes < 0 && (v.Text != nil || v.Answer != nil || v.Outputs != nil || v.Plan != nil) {
		v.Text, v.Answer, v.Outputs, v.Plan, v.Left = nil, nil, nil, nil, run
	}
	for _, o := range v.Text {
		o.paint(left.spans)
		left.spans -= len(o.Head) + len(o.Tail)
	}
	v.Stdout, v.Stderr, v.Body = control.Text{}, control.Text{}, nil // it can take 8 MiB, and was shown
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
	return v
}
