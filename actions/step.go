package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// cutOff says why ctx, which is done, ended what had begun at start.
func cutOff(ctx context.Context, start time.Time) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, engine.ErrTimeout) && !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("cut off: %w", cause)
	}
	took := time.Since(start)
	if end, ok := ctx.Deadline(); ok {
		took = end.Sub(start) // as the rule says it, not as the clock ran
	}
	if took >= time.Second {
		return fmt.Errorf("%w after %s", cause, took.Round(100*time.Millisecond))
	}
	return fmt.Errorf("%w after %s", cause, took.Round(10*time.Millisecond))
}
