package enginetest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"hookrun/engine"
)

var _ engine.Action = (*Action)(nil)

// Result is what one Do of an Action gives.
type Result struct {
	Output engine.Output
	Err    error

	Stdout, Stderr string         // written before Do ends
	Process        engine.Process // told by Input.Started, unless zero

	// Block, where it is not nil, makes Do wait until it is closed or ctx ends;
	// in the latter case Do's error wraps context.Cause(ctx), not Err.
	Block <-chan struct{}
}

// Action is an engine.Action that records its inputs and gives the results that
// it was told to. Its zero value succeeds each time.
type Action struct {
	Name    string   // Kind; "" is "fake"
	Results []Result // the first for the first Do, …; the last for all that follow

	mu     sync.Mutex // guards what follows
	inputs []engine.Input
	began  chan struct{} // closed and forgotten when a Do begins; nil while nobody waits
}

// Kind implements engine.Action.
func (a *Action) Kind() string {
	if a.Name == "" {
		return "fake"
	}
	return a.Name
}

// Plan implements engine.Action.
func (a *Action) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }

// Do implements engine.Action.
func (a *Action) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	r := a.begin(in)
	if r.Process != (engine.Process{}) {
		in.Started(r.Process)
	}
	for _, out := range []struct {
		to   io.Writer
		text string
	}{{in.Stdout, r.Stdout}, {in.Stderr, r.Stderr}} {
		if out.text == "" {
			continue
		}
		if _, err := io.WriteString(out.to, out.text); err != nil {
			return r.Output, fmt.Errorf("write output: %w", err)
		}
	}
	if r.Block != nil {
		select {
		case <-r.Block:
		case <-ctx.Done():
			return r.Output, fmt.Errorf("blocked action: %w", context.Cause(ctx))
		}
	}
	return r.Output, r.Err
}

// begin records an input and returns the result that belongs to it.
func (a *Action) begin(in engine.Input) Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inputs = append(a.inputs, in)
	if a.began != nil {
		close(a.began)
		a.began = nil
	}
	if len(a.Results) == 0 {
		return Result{}
	}
	return a.Results[min(len(a.inputs), len(a.Results))-1]
}

// Inputs returns what each Do so far got, in order of beginning.
func (a *Action) Inputs() []engine.Input {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.inputs)
}

// Await returns when n Do have begun, or with ctx's cause when ctx ends before.
func (a *Action) Await(ctx context.Context, n int) error {
	for {
		a.mu.Lock()
		have := len(a.inputs)
		if a.began == nil {
			a.began = make(chan struct{})
		}
		next := a.began
		a.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d calls of the action, %d were made: %w", n, have, context.Cause(ctx))
		}
	}
}
