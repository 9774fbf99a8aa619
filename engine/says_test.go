package engine

import "context"

// says is an action that would run a program with one argument.
type says struct {
	program string
	text    *Template
}

func (says) Kind() string { return "exec" }

func (a says) Plan(in Input) (Plan, error) {
	text, err := a.text.Render(in.Scope)
	if err != nil {
		return Plan{}, Permanent(err)
	}
	return Plan{Argv: []string{a.program, text}}, nil
}

func (a says) Do(_ context.Context, in Input) (Output, error) {
	p, err := a.Plan(in)
	if err != nil {
		return Output{}, err
	}
	in.Planned(p)
	return Output{}, nil
}
