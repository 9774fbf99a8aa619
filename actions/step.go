package actions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"unicode/utf8"

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

// maxShown is how many bytes of a path an error shows, quotes included.
const maxShown = 200

// showPath quotes a path for people: the one thing from an event that errors,
// and with them the log, may hold. Of a long one it keeps both ends.
func showPath(path string) string {
	const gap = "…"
	q := strconv.Quote(path)
	if len(q) <= maxShown {
		return q
	}
	head, tail := (maxShown-len(gap))/2, len(q)-(maxShown-len(gap))/2
	for !utf8.RuneStart(q[head]) {
		head--
	}
	for !utf8.RuneStart(q[tail]) {
		tail++
	}
	return q[:head] + gap + q[tail:]
}

// bare takes off the operation and the path, which the caller names itself.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}

// cutOff says why ctx, which is done, ended what had begun.
func cutOff(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, engine.ErrTimeout) {
		return cause // it says after how long
	}
	return fmt.Errorf("cut off: %w", cause)
}
