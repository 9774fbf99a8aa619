package web

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Bounds of an event's page.
const (
	maxEventRuns = 20  // runs that are shown with their steps; the others are a line each
	maxHeaders   = 300 // lines of its header
)

// eventPage is what /events/{id} shows.
type eventPage struct {
	Event   control.EventDetail
	URL     string
	Header  []field
	Meta    []field
	Body    bodyView
	Rules   []asked
	Now     bool // the trees are of the rules now, which are others than those of then
	Made    bool // they are of an edited body
	Edited  string
	BodyErr string // the edited body could not be parsed
	Runs    []runView
	More    []control.Run // further runs
	Err     string        // why there are no trees
}

// field is a name with a value.
type field struct{ Name, Value string }

// asked is a rule with what it made of the event, and what it would make of it now.
type asked struct {
	Rule string
	Then *engine.Verdict
	Now  *engine.Explanation
}

// Changed reports whether the rule would decide otherwise now.
func (a asked) Changed() bool {
	return a.Then != nil && a.Now != nil && a.Then.Outcome != a.Now.Verdict.Outcome
}

// Verdict is the one that counts for showing it: of then, or where there is none of
// now.
func (a asked) Verdict() engine.Verdict {
	if a.Then != nil {
		return *a.Then
	}
	return a.Now.Verdict
}

func (s *Server) event(w http.ResponseWriter, r *http.Request) error {
	d, err := s.desk.Event(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := newEventPage(d)
	p.Now = !d.Current
	if r.Header.Get(liveHeader) == "" {
		if err := s.explain(r.Context(), &p, control.ExplainQuery{Event: d.ID}); err != nil {
			return err
		}
	}
	return s.showEvent(w, r, p)
}

func newEventPage(d control.EventDetail) eventPage {
	p := eventPage{Event: d, URL: d.Path, Body: newBodyView(d.Body, d.Size, d.BodyCut > 0)}
	if p.Body.Masked = d.BodyMasked; d.BodyMasked { // else the mask would come as a body
		p.Body.Edit, p.Body.Whole = false, ""
	}
	if d.Query != "" {
		p.URL += "?" + d.Query
	}
	for _, name := range slices.Sorted(maps.Keys(d.Header)) {
		for _, v := range d.Header[name] {
			if len(p.Header) == maxHeaders {
				break
			}
			p.Header = append(p.Header, field{plain(name), plain(v)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Meta)) {
		p.Meta = append(p.Meta, field{plain(name), plain(d.Meta[name])})
	}
	for i := range d.Verdicts {
		p.Rules = append(p.Rules, asked{Rule: d.Verdicts[i].Rule, Then: &d.Verdicts[i]})
	}
	return p
}

// explain puts what the rules in force make of the event beside what was made of
// it. The page does without where they can't say.
func (s *Server) explain(ctx context.Context, p *eventPage, q control.ExplainQuery) error {
	re, err := s.desk.Explain(ctx, q)
	if p.Err, err = optional(ctx, err); err != nil || p.Err != "" {
		return err
	}
	if p.Made { // what was made of another body says nothing
		p.BodyErr, p.Rules = re.BodyErr, nil
	}
	p.Rules = beside(p.Rules, re.Asked)
	return nil
}

// beside joins the rules of then and those of now, by name, and puts those first
// that matched, then near misses.
func beside(then []asked, now []engine.Explanation) []asked {
	all := slices.Clone(then)
	for i := range now {
		at := slices.IndexFunc(all, func(a asked) bool { return a.Rule == now[i].Rule })
		if at < 0 {
			all = append(all, asked{Rule: now[i].Rule, Now: &now[i]})
			continue
		}
		all[at].Now = &now[i]
	}
	slices.SortStableFunc(all, func(a, b asked) int {
		switch x, y := a.rank(), b.rank(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return all
}

// rank is how far up a rule belongs: matches and errors, then what was near.
func (a asked) rank() float64 {
	near := 0.0
	if a.Now != nil {
		near = a.Now.Near
	}
	switch a.Verdict().Outcome {
	case engine.Matched:
		return 3
	case engine.Errored:
		return 2
	}
	return near
}

func (s *Server) showEvent(w http.ResponseWriter, r *http.Request, p eventPage) error {
	runs := p.Event.Runs
	if len(runs) > maxEventRuns {
		runs, p.More = runs[:maxEventRuns], runs[maxEventRuns:]
	}
	left := newBudget()
	for _, run := range runs {
		d, err := s.desk.Show(r.Context(), run.ID)
		if err != nil {
			return err
		}
		p.Runs = append(p.Runs, newRunView(d, left))
	}
	title := "Event " + cut(p.Event.ID, 13)
	return s.show(w, r, http.StatusOK, "event", frame{Title: title, Nav: "events"}, p)
}

// maxEdited bounds a form with a body in it: a byte of it may take three.
const maxEdited = 4 * maxPretty

// edited is the body that a person typed, and whether it is that of the event
// still.
func (s *Server) edited(w http.ResponseWriter, r *http.Request) (data []byte, same bool, err error) {
	if err := readForm(w, r, maxEdited); err != nil {
		return nil, false, err
	}
	if !r.PostForm.Has("body") {
		return nil, true, nil
	}
	b, err := s.desk.Body(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, false, err
	}
	data, same = typed(r.PostForm.Get("body"), b.Data)
	return data, same, nil
}

// explainEdited shows what the rules would make of an edited body.
func (s *Server) explainEdited(w http.ResponseWriter, r *http.Request) error {
	data, same, err := s.edited(w, r)
	if err != nil {
		return err
	}
	return s.inTurn(func(w http.ResponseWriter, r *http.Request) error {
		return s.showEdited(w, r, data, same)
	})(w, r)
}

func (s *Server) showEdited(w http.ResponseWriter, r *http.Request, data []byte, same bool) error {
	d, err := s.desk.Event(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := newEventPage(d)
	p.Now = !d.Current
	q := control.ExplainQuery{Event: d.ID}
	if !same {
		p.Made, p.Now, p.Edited = true, true, string(data)
		q = control.ExplainQuery{Made: &control.Request{
			Bucket: d.Bucket, Method: d.Method, Path: d.Path, Query: d.Query, Header: d.Header, Body: data,
		}}
	}
	if err := s.explain(r.Context(), &p, q); err != nil {
		return err
	}
	return s.showEvent(w, r, p)
}
