package control

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"hookrun/engine"
)

// How often Log looks for more: the engine stores output four times a second. A
// look that takes long, as of a run with many attempts, is not made as often.
const (
	lookEvery = 250 * time.Millisecond
	lookShare = 4 // it takes a quarter of the time at most
)

// Log implements Desk.
func (l *Local) Log(ctx context.Context, id string, follow bool, emit func(Piece) error) error {
	run, err := l.find(ctx, id)
	if err != nil {
		return err
	}
	why, err := l.why(ctx)
	if err != nil {
		return err
	}
	t := &teller{emit: emit, told: map[streamKey]int64{}}
	follow = follow && l.Live != nil // where no hookrun runs, nothing more comes
	for {
		began := time.Now()
		// The run is read first: what it printed is stored before its end is.
		if run, err = l.Store.Run(ctx, run.ID); err != nil {
			return err
		}
		steps, err := l.Store.Printed(ctx, run.ID)
		if err != nil {
			return err
		}
		over := !follow || run.State.Finished()
		if err := t.look(run, why(run), steps, over); err != nil {
			return err
		}
		if over {
			return nil
		}
		if err := sleep(ctx, max(lookEvery, lookShare*time.Since(began))); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// teller tells what it has not told before.
type teller struct {
	emit  func(Piece) error
	told  map[streamKey]int64 // up to which byte
	state engine.State        // told last
}

type streamKey struct {
	attempt, index int
	stream         string
}

// look tells what is new. An attempt begins before it prints, and ends or waits
// again after it has; one that began after the run was read is for the next look.
func (t *teller) look(run *engine.Run, why string, steps []*engine.StepResult, over bool) error {
	stands := over || run.State != t.state
	begins := stands && !over && run.State == engine.Running
	earlier := ofAttempts(steps, func(n int) bool { return n < run.Attempt })
	last := ofAttempts(steps, func(n int) bool { return n == run.Attempt || over && n > run.Attempt })
	if err := t.output(earlier, true); err != nil {
		return err
	}
	if begins {
		if err := t.standing(run, why); err != nil {
			return err
		}
	}
	if err := t.output(last, over); err != nil {
		return err
	}
	if stands && !begins {
		return t.standing(run, why)
	}
	return nil
}

func ofAttempts(steps []*engine.StepResult, wanted func(int) bool) []*engine.StepResult {
	return slices.DeleteFunc(slices.Clone(steps), func(st *engine.StepResult) bool { return !wanted(st.Attempt) })
}

// standing tells the state of the run.
func (t *teller) standing(run *engine.Run, why string) error {
	t.state = run.State
	if why == "" {
		why = run.Err
	}
	return t.emit(Piece{Attempt: run.Attempt, State: run.State, Why: why})
}

// output tells what is new of the output. Where it is not over, the begun
// character at the end of a running step waits for its rest.
func (t *teller) output(steps []*engine.StepResult, over bool) error {
	for _, st := range steps {
		whole := over || st.State != engine.StepRunning
		for _, s := range []struct {
			name string
			text engine.Text
		}{{engine.Stdout, st.Stdout}, {engine.Stderr, st.Stderr}} {
			of := Piece{Attempt: st.Attempt, Phase: st.Phase, Step: st.Step, Stream: s.name}
			if err := t.stream(streamKey{st.Attempt, st.Index, s.name}, of, s.text, whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// stream tells what is new of one stream: of its head, then, behind what was cut,
// of its tail.
func (t *teller) stream(key streamKey, of Piece, text engine.Text, whole bool) error {
	if text.Cut == 0 {
		return t.part(key, of, 0, slices.Concat(text.Head, text.Tail), whole)
	}
	if err := t.part(key, of, 0, text.Head, true); err != nil {
		return err
	}
	return t.part(key, of, int64(len(text.Head))+text.Cut, text.Tail, whole)
}

// part tells what is new of the bytes of a stream that begin at from.
func (t *teller) part(key streamKey, of Piece, from int64, data []byte, whole bool) error {
	told := t.told[key]
	if told >= from+int64(len(data)) {
		return nil
	}
	if told > from {
		data, from = data[told-from:], told
	}
	if !whole {
		data = complete(data)
	}
	if len(data) == 0 {
		return nil
	}
	t.told[key] = from + int64(len(data))
	of.Cut, of.Data = from-told, data
	return t.emit(of)
}

// complete is p without the beginning of a character at its end.
func complete(p []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		last := p[len(p)-n:]
		if !utf8.RuneStart(last[0]) {
			continue
		}
		if !utf8.FullRune(last) {
			return p[:len(p)-n]
		}
		break
	}
	return p
}
