package actions

import (
	"context"
	"errors"
	"fmt"

	"hookrun/engine"
)

// render returns the text of a field. A template that fails now fails for this
// event always.
func render(field string, t *engine.Template, in engine.Input) (string, error) {
	s, err := t.Render(in.Scope)
	if err != nil {
		return "", engine.Permanent(fmt.Errorf("%s: %w", field, err))
	}
	return s, nil
}

// cutOff says why ctx, which is done, ended what had begun.
func cutOff(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, engine.ErrTimeout) {
		return cause // it says after how long
	}
	return fmt.Errorf("cut off: %w", cause)
}
