package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"hookrun/engine"
)

var _ engine.Store = (*MemStore)(nil)

// MemStore is an engine.Store in memory. Its zero value is ready for use. It
// keeps all there was, and gives copies: what a caller changes changes nothing.
type MemStore struct {
	mu         sync.Mutex // guards all below
	seq        int64      // of the last run
	eventSeq   int64      // of the last event
	events     map[string]*memEvent
	deliveries map[delivery]string // to the event's id
	runs       map[string]*memRun
	rejections []engine.Rejection
	paused     []string // sorted
	armed      []string // sorted
	down       error
}

type delivery struct{ source, name string }

type memEvent struct {
	event    *engine.Event
	verdicts []engine.Verdict
	runs     []string

	seq                      int64
	outcome                  engine.EventOutcome
	rules, bodyErr, matchErr string
}

type memRun struct {
	run     engine.Run
	steps   map[stepKey]*engine.StepResult
	streams map[streamKey]*stream
}

// set writes a run, but for what was given once.
func (m *memRun) set(r *engine.Run) {
	event, seq := m.run.Event, m.run.Seq
	m.run = *r
	m.run.Event, m.run.Seq = event, seq
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
		return engine.Receipt{Event: first, Duplicate: true, Runs: m.refs(first)}, nil
	}
	if err := m.checkNew(a); err != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, err)
	}
	tx := &memTx{m: m}
	if err := tx.accept(a); err != nil {
		tx.rollback()
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, err)
	}
	m.deliveries[name] = a.Event.ID
	receipt := engine.Receipt{Event: a.Event.ID, Runs: m.refs(a.Event.ID)}
	for i, ref := range receipt.Runs {
		a.Runs[i].Seq = ref.Seq
	}
	return receipt, nil
}

func (m *MemStore) refs(event string) []engine.Ref {
	var refs []engine.Ref
	for _, id := range m.events[event].runs {
		refs = append(refs, m.runs[id].run.Ref())
	}
	return refs
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

// Reject implements engine.Store.
func (m *MemStore) Reject(ctx context.Context, r engine.Rejection) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return fmt.Errorf("keep rejection %s: %w", r.ID, m.down)
	}
	r.Headers = slices.Clone(r.Headers)
	m.rejections = append(m.rejections, r)
	m.rejections = m.rejections[max(0, len(m.rejections)-engine.MaxRejections):]
	return nil
}

// Rejections implements engine.Store.
func (m *MemStore) Rejections(ctx context.Context, f engine.RejectionFilter) ([]engine.Rejection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []engine.Rejection
	for _, r := range slices.Backward(m.rejections) {
		if f.Bucket != "" && r.Bucket != f.Bucket || r.Received.Before(f.Since) {
			continue
		}
		r.Headers = slices.Clone(r.Headers)
		if found = append(found, r); len(found) == f.Limit {
			break
		}
	}
	return found, nil
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
	if run.run.State.Finished() {
		return fmt.Errorf("update run %s: %w", r.ID, engine.ErrFinished)
	}
	if run.run.Base != r.Base {
		return fmt.Errorf("update run %s: %w", r.ID, engine.ErrFinished)
	}
	written := *r
	written.Note = run.run.Note
	if r.Stop == "" {
		written.Stop, written.By = run.run.Stop, run.run.By
	}
	run.set(&written)
	for _, st := range steps {
		run.steps[stepKey{st.Attempt, st.Index}] = copyStep(st)
	}
	return nil
}

// Change implements engine.Store.
func (m *MemStore) Change(ctx context.Context, fn func(engine.Tx) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("change runs: %w", context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	tx := &memTx{m: m}
	if err := fn(tx); err != nil {
		tx.rollback()
		return fmt.Errorf("change runs: %w", err)
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

// Printed implements engine.Store.
func (m *MemStore) Printed(ctx context.Context, run string) ([]*engine.StepResult, error) {
	steps, err := m.Steps(ctx, run)
	for _, st := range steps {
		st.Output, st.Plan, st.Process = engine.Output{}, nil, engine.Process{}
	}
	return steps, err
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

// Runs implements engine.Store.
func (m *MemStore) Runs(_ context.Context, f engine.RunFilter) ([]*engine.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	runs := m.runsWhere(func(r *engine.Run) bool {
		return strings.HasPrefix(r.ID, f.IDPrefix) &&
			(f.Bucket == "" || m.events[r.Event].isTo(f.Bucket)) &&
			(f.Rule == "" || r.Rule == f.Rule) &&
			(len(f.States) == 0 || slices.Contains(f.States, r.State)) &&
			!r.Created.Before(f.Since) &&
			(f.Until.IsZero() || r.Created.Before(f.Until)) &&
			(!f.Armed || r.Armed) &&
			(f.Before == 0 || r.Seq < f.Before)
	})
	slices.Reverse(runs)
	limit := f.Limit
	if limit <= 0 {
		limit = engine.DefaultRunLimit
	}
	return runs[:min(limit, len(runs))], nil
}

// runsWhere returns copies of the runs that match, by Seq.
func (m *MemStore) runsWhere(match func(*engine.Run) bool) []*engine.Run {
	var runs []*engine.Run
	for _, r := range m.runs {
		if match(&r.run) {
			run := r.run
			runs = append(runs, &run)
		}
	}
	slices.SortFunc(runs, func(a, b *engine.Run) int { return cmp.Compare(a.Seq, b.Seq) })
	return runs
}

// SetPaused implements engine.Store.
func (m *MemStore) SetPaused(ctx context.Context, rules []string) error {
	return m.setRules(ctx, &m.paused, rules)
}

// Paused implements engine.Store.
func (m *MemStore) Paused(context.Context) ([]string, error) { return m.rules(&m.paused), nil }

// SetArmed implements engine.Store.
func (m *MemStore) SetArmed(ctx context.Context, rules []string) error {
	return m.setRules(ctx, &m.armed, rules)
}

// Armed implements engine.Store.
func (m *MemStore) Armed(context.Context) ([]string, error) { return m.rules(&m.armed), nil }

func (m *MemStore) setRules(ctx context.Context, to *[]string, rules []string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("note rules: %w", context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	*to = slices.Compact(slices.Sorted(slices.Values(rules)))
	return nil
}

func (m *MemStore) rules(of *[]string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(*of)
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
	c.Output.Outputs = maps.Clone(st.Output.Outputs)
	c.Stdout, c.Stderr = engine.Text{}, engine.Text{}
	c.Plan = copyPlan(st.Plan)
	return &c
}

func copyPlan(p *engine.Plan) *engine.Plan {
	if p == nil {
		return nil
	}
	c := *p
	c.Argv, c.Env, c.Header, c.Open = slices.Clone(p.Argv), slices.Clone(p.Env), slices.Clone(p.Header), slices.Clone(p.Open)
	for _, text := range []**string{&c.Stdin, &c.Content, &c.Body} {
		if *text != nil {
			*text = new(**text)
		}
	}
	return &c
}
