package web

import (
	"net/http"

	"hookrun/engine"
	"hookrun/engine/control"
)

// rulesPage is what /rules shows.
type rulesPage struct {
	Rules       []ruleRow
	Hash        string
	Paused      control.Paused
	Armed       control.Armed
	Generations []generation
	Held        *generation
	Err         string // why no generations are told
}

// ruleRow is a rule with its runs of a day.
type ruleRow struct {
	control.RuleInfo
	Counts []stateCount
}

// stateCount is how many runs are in a state.
type stateCount struct {
	State engine.State
	N     int
}

// generation is rules files as they were at one time.
type generation struct {
	control.Generation
	Lines []diffLine
}

func (s *Server) rules(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	list, err := s.desk.Rules(ctx)
	if err != nil {
		return err
	}
	p := rulesPage{Hash: list.Hash}
	for _, info := range list.Rules {
		row := ruleRow{RuleInfo: info}
		for _, state := range engine.States() {
			if n := info.Day[state]; n > 0 {
				row.Counts = append(row.Counts, stateCount{state, n})
			}
		}
		p.Rules = append(p.Rules, row)
	}
	if p.Paused, err = s.desk.Paused(ctx); err != nil {
		return err
	}
	if p.Armed, err = s.armed(ctx); err != nil {
		return err
	}
	gens, err := s.desk.Generations(ctx)
	if p.Err, err = optional(ctx, err); err != nil {
		return err
	}
	for _, g := range gens.Generations {
		p.Generations = append(p.Generations, generation{g, diffLines(g.Diff)})
	}
	if gens.Held != nil {
		p.Held = &generation{*gens.Held, diffLines(gens.Held.Diff)}
	}
	return s.show(w, r, http.StatusOK, "rules", frame{Title: "Rules", Nav: "rules"}, p)
}
