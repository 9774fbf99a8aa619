package actions

import (
	"context"
	"errors"

	"hookrun/engine"
)

func (c command) runDetached(context.Context, engine.Input) (engine.Output, error) {
	return engine.Output{ExitCode: -1}, errNoDetach()
}

func (c command) resume(context.Context, engine.Input) (engine.Output, error) {
	return engine.Output{ExitCode: -1}, errNoDetach()
}

func errNoDetach() error {
	return engine.Permanent(errors.New("detach: on Windows no command outlives hookrun; take it out of the rule"))
}
