package web

import (
	"net/http"

	"hookrun/engine"
	"hookrun/engine/control"
)

// statusPage is what /status shows.
type statusPage struct {
	Status  control.Status
	Ended   []stateCount
	Meter   *meter
	API     bool
	Metrics bool
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	st, err := s.desk.Status(r.Context())
	if err != nil {
		return err
	}
	p := statusPage{Status: st, Meter: newMeter(st.Store.Used, st.Store.KeepSize), API: s.o.API != nil, Metrics: s.o.Metrics != nil}
	for _, state := range engine.States() {
		if n := st.Summary.Ended[state]; n > 0 {
			p.Ended = append(p.Ended, stateCount{state, int(n)})
		}
	}
	return s.show(w, r, http.StatusOK, "status", frame{Title: "Status", Nav: "status", Status: &st}, p)
}
