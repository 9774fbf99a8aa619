package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"hookrun/engine"
)

var _ engine.Store = (*MemStore)(nil)

// MemStore is an engine.Store in memory. Its zero value is ready for use. It
// keeps all there was, and gives copies: what a caller changes changes nothing.
type MemStore struct {
	mu         sync.Mutex // guards all below
	seq        int64
	events     map[string]*memEvent
	deliveries map[delivery]string // to the event's id
	runs       map[string]*memRun
	down       error
}

type delivery struct{ source, name string }

type memEvent struct {
	event    *engine.Event
	verdicts []engine.Verdict
	runs     []string
}

type memRun struct {
	run     engine.Run
	steps   map[stepKey]*engine.StepResult
	streams map[streamKey]*stream
}

type stepKey struct{ attempt, index int }

type streamKey struct {
	stepKey
	name string
}

// SetDown makes Accept refuse events with err, which should wrap
// engine.ErrUnavailable; nil takes them again.
func (m *MemStore) SetDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// Accept implements engine.Store.
func (m *MemStore) Accept(ctx context.Context, a *engine.Acceptance) (engine.Receipt, error) {
	if ctx.Err() != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, m.down)
	}
	name := delivery{a.Event.Source, a.Event.Delivery}
	if first, ok := m.deliveries[name]; ok && name.name != "" {
		return m.firstReceipt(first), nil
	}
	if err := m.checkNew(a); err != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, err)
	}
	return m.put(a, name), nil
}

func (m *MemStore) firstReceipt(event string) engine.Receipt {
	receipt := engine.Receipt{Event: event, Duplicate: true}
	for _, id := range m.events[event].runs {
		receipt.Runs = append(receipt.Runs, m.runs[id].run.Ref())
	}
	return receipt
}

// checkNew refuses ids that are taken: an Acceptance is put in whole or not.
func (m *MemStore) checkNew(a *engine.Acceptance) error {
	if m.events[a.Event.ID] != nil {
		return fmt.Errorf("there is an event of this id")
	}
	ids := make(map[string]bool)
	for _, r := range a.Runs {
		if m.runs[r.ID] != nil || ids[r.ID] {
			return fmt.Errorf("there is a run of id %s", r.ID)
		}
		ids[r.ID] = true
	}
	return nil
}

func (m *MemStore) put(a *engine.Acceptance, name delivery) engine.Receipt {
	if m.events == nil {
		m.events = make(map[string]*memEvent)
		m.deliveries = make(map[delivery]string)
		m.runs = make(map[string]*memRun)
	}
	e := &memEvent{event: copyEvent(a.Event), verdicts: slices.Clone(a.Verdicts)}
	receipt := engine.Receipt{Event: a.Event.ID}
	for _, r := range a.Runs {
		m.seq++
		r.Seq = m.seq
		run := &memRun{run: *r, steps: make(map[stepKey]*engine.StepResult), streams: make(map[streamKey]*stream)}
		run.run.Event = a.Event.ID
		m.runs[r.ID] = run
		e.runs = append(e.runs, r.ID)
		receipt.Runs = append(receipt.Runs, r.Ref())
	}
	m.events[a.Event.ID] = e
	m.deliveries[name] = a.Event.ID
	return receipt
}

// Update implements engine.Store.
func (m *MemStore) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	if ctx.Err() != nil {
		return fmt.Errorf("update run %s: %w", r.ID, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	run := m.runs[r.ID]
	if run == nil {
		return fmt.Errorf("update run %s: %w", r.ID, engine.ErrNotFound)
	}
	event, seq := run.run.Event, run.run.Seq // given once
	run.run = *r
	run.run.Event, run.run.Seq = event, seq
	for _, st := range steps {
		run.steps[stepKey{st.Attempt, st.Index}] = copyStep(st)
	}
	return nil
}

// AppendOutput implements engine.Store.
func (m *MemStore) AppendOutput(ctx context.Context, c engine.Chunk) error {
	if ctx.Err() != nil {
		return fmt.Errorf("append %s of run %s: %w", c.Stream, c.Run, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	run := m.runs[c.Run]
	if run == nil {
		return fmt.Errorf("append %s of run %s: %w", c.Stream, c.Run, engine.ErrNotFound)
	}
	key := streamKey{stepKey{c.Attempt, c.Index}, c.Stream}
	s := run.streams[key]
	if s == nil {
		s = &stream{}
		run.streams[key] = s
	}
	s.add(c.Offset, c.Data)
	return nil
}

// Unfinished implements engine.Store.
func (m *MemStore) Unfinished(context.Context) ([]engine.Ref, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var refs []engine.Ref
	for _, r := range m.runs {
		if !r.run.State.Finished() {
			refs = append(refs, r.run.Ref())
		}
	}
	slices.SortFunc(refs, func(a, b engine.Ref) int { return cmp.Compare(a.Seq, b.Seq) })
	return refs, nil
}

// Run implements engine.Store.
func (m *MemStore) Run(_ context.Context, id string) (*engine.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[id]
	if r == nil {
		return nil, fmt.Errorf("read run %s: %w", id, engine.ErrNotFound)
	}
	run := r.run
	return &run, nil
}

// Event implements engine.Store.
func (m *MemStore) Event(_ context.Context, id string) (*engine.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.events[id]
	if e == nil {
		return nil, fmt.Errorf("read event %s: %w", id, engine.ErrNotFound)
	}
	return copyEvent(e.event), nil
}

// Steps implements engine.Store.
func (m *MemStore) Steps(_ context.Context, run string) ([]*engine.StepResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[run]
	if r == nil {
		return nil, fmt.Errorf("read steps of run %s: %w", run, engine.ErrNotFound)
	}
	var steps []*engine.StepResult
	for key, st := range r.steps {
		st := copyStep(st)
		st.Run = run
		st.Stdout = r.streams[streamKey{key, engine.Stdout}].text()
		st.Stderr = r.streams[streamKey{key, engine.Stderr}].text()
		steps = append(steps, st)
	}
	slices.SortFunc(steps, func(a, b *engine.StepResult) int {
		return cmp.Or(cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Index, b.Index))
	})
	return steps, nil
}

// Verdicts implements engine.Store.
func (m *MemStore) Verdicts(_ context.Context, event string) ([]engine.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.events[event]
	if e == nil {
		return nil, fmt.Errorf("read verdicts of event %s: %w", event, engine.ErrNotFound)
	}
	return slices.Clone(e.verdicts), nil
}

// RunsOf implements engine.Store.
func (m *MemStore) RunsOf(_ context.Context, event string) ([]*engine.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var runs []*engine.Run
	if e := m.events[event]; e != nil {
		for _, id := range e.runs {
			run := m.runs[id].run
			runs = append(runs, &run)
		}
	}
	return runs, nil
}

// stream keeps the beginning and the end of what a step prints.
type stream struct {
	kept engine.Text
	end  int64
}

func (s *stream) add(off int64, data []byte) {
	const half = engine.MaxOutput / 2
	if off < s.end { // known already
		data = data[min(s.end-off, int64(len(data))):]
		off = s.end
	}
	if len(data) == 0 {
		return
	}
	if gap := off - s.end; gap > 0 {
		s.kept.Cut += int64(len(s.kept.Tail)) + gap
		s.kept.Tail = nil
	}
	s.end = off + int64(len(data))
	if s.kept.Cut == 0 {
		n := min(half-len(s.kept.Head), len(data))
		s.kept.Head = append(s.kept.Head, data[:n]...)
		data = data[n:]
	}
	s.kept.Tail = append(s.kept.Tail, data...)
	if over := len(s.kept.Tail) - half; over > 0 {
		s.kept.Cut += int64(over)
		s.kept.Tail = s.kept.Tail[over:]
	}
}

func (s *stream) text() engine.Text {
	if s == nil {
		return engine.Text{}
	}
	return engine.Text{Head: bytes.Clone(s.kept.Head), Cut: s.kept.Cut, Tail: bytes.Clone(s.kept.Tail)}
}

func copyEvent(e *engine.Event) *engine.Event {
	c := *e
	c.Header = e.Header.Clone()
	c.Body = bytes.Clone(e.Body)
	c.Meta = maps.Clone(e.Meta)
	return &c
}

func copyStep(st *engine.StepResult) *engine.StepResult {
	c := *st
	c.Output.Header = http.Header(st.Output.Header).Clone()
	c.Stdout, c.Stderr = engine.Text{}, engine.Text{}
	return &c
}
