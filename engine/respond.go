package engine

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Respond says what the sender of an event is answered in the place of the
// receipt.
type Respond struct {
	Status *Template // nil: 200, and after Wait by how the run ended
	Header []HeaderTemplate
	Body   *Template // nil: the receipt

	// Wait is how long the sender waits for the run to end; 0: not at all. When it
	// is over before the run, the receipt is the answer.
	Wait time.Duration

	// StatusFromExit are the statuses for exit codes of the command that ran
	// last. A code that is not in it counts as success or failure.
	StatusFromExit map[int]int

	Stream Stream // "": no
}

// HeaderTemplate is a header of an answer.
type HeaderTemplate struct {
	Name  string
	Value *Template
}

// Stream is the form in which a sender gets what the commands print, as they do.
type Stream string

// Forms of a stream.
const (
	StreamText  Stream = "text" // as it is
	StreamSSE   Stream = "sse"  // server-sent events, a line each
	StreamNever Stream = ""     // the answer is no stream
)

// MaxWait bounds Respond.Wait.
const MaxWait = time.Minute

// Answer is what a sender gets in the place of the receipt.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // nil: the receipt

	Stream Stream // not StreamNever: Body is what Run prints
	Run    string // id of the run that it tells of; "": of none
	State  State  // of that run; "": not known
}

// reply is how an event is to be answered.
type reply struct {
	event   *Event
	respond *Respond
	rule    *Rule  // nil: the bucket says it
	run     string // of the rule; the one that it repeats where it is a duplicate
	mask    *masker
}

// reply finds out who says what the sender is answered: the first rule of which
// a run was made and that says anything, else the bucket.
func (s *RuleSet) reply(ev *Event, runs []*Run) *reply {
	for _, run := range runs {
		rule := s.byName[run.Rule]
		if rule.Respond == nil || run.State == Shadow {
			continue
		}
		r := &reply{event: ev, respond: rule.Respond, rule: rule, run: run.ID, mask: s.mask()}
		if run.State == Duplicate && run.By != "" {
			r.run = run.By
		}
		return r
	}
	for _, b := range s.described(ev) {
		if b.Respond != nil {
			return &reply{event: ev, respond: b.Respond, mask: s.mask()}
		}
	}
	return nil
}

// Waits reports whether Answer waits for a run.
func (r Receipt) Waits() bool { return r.reply != nil && r.reply.respond.Wait > 0 }

// Answer makes the answer to the sender of the event. nil: it is the receipt. It
// returns when the run has ended, Respond.Wait is over, or ctx ends; it changes
// nothing of what runs.
func (e *Engine) Answer(ctx context.Context, receipt Receipt) *Answer {
	p := receipt.reply
	switch {
	case p == nil:
		return nil
	case p.respond.Stream != StreamNever:
		return &Answer{Status: http.StatusOK, Stream: p.respond.Stream, Run: p.run}
	case p.respond.Wait == 0:
		return e.made(p, NewScope(p.event), http.StatusOK)
	}
	a, err := e.outcome(ctx, p)
	switch {
	case err != nil:
		e.log.Error("the answer to a sender can't wait for its run", p.attrs("err", err)...)
		return nil
	case a == nil:
		return p.unfinished()
	}
	answer := e.made(p, a.scope(a.run.Err), p.respond.statusOf(a))
	if answer != nil {
		answer.Run, answer.State = p.run, a.run.State
	}
	return answer
}

// unfinished is the answer where the time to wait is over: the receipt, with the
// status that is the same for every event, as some senders know but one.
func (p *reply) unfinished() *Answer {
	if p.respond.Status == nil {
		return nil
	}
	text, fixed := p.respond.Status.Literal()
	status, err := strconv.Atoi(text)
	if !fixed || err != nil {
		return nil
	}
	return &Answer{Status: status, Header: http.Header{}}
}

func (p *reply) attrs(more ...any) []any {
	attrs := []any{"event", p.event.ID, "bucket", p.event.Bucket}
	if p.rule != nil {
		attrs = append(attrs, "rule", p.rule.Name)
	}
	return append(attrs, more...)
}

// made is an answer where it could be made. Otherwise the sender gets the
// receipt: the event is taken, and an error would have it sent again.
func (e *Engine) made(p *reply, scope *Scope, status int) *Answer {
	a, err := p.render(scope, status)
	if err != nil {
		e.log.Error("the answer can't be made as respond says, the sender gets the receipt", p.attrs("err", err)...)
		return nil
	}
	return a
}

// outcome waits for the run, and is its attempt in the end; nil where it has not
// ended in time.
func (e *Engine) outcome(ctx context.Context, p *reply) (*attempt, error) {
	ctx, cancel := context.WithTimeout(ctx, p.respond.Wait)
	defer cancel()
	switch _, err := e.Await(ctx, p.run); {
	case err != nil && ctx.Err() != nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	read := context.WithoutCancel(ctx)
	run, event, steps, err := e.read(read, p.run)
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", p.run, err)
	}
	a := &attempt{Engine: e, rule: p.rule, run: run, event: event, mask: p.mask, earlier: steps}
	a.results = a.done(PhaseMain)
	return a, nil
}

// Await returns the state in which the run has ended, as soon as it has; the
// cause of ctx's end where that comes first.
func (e *Engine) Await(ctx context.Context, run string) (State, error) {
	ended := make(chan struct{}, 1)
	e.mu.Lock()
	e.waiters[run] = append(e.waiters[run], ended)
	e.mu.Unlock()
	defer e.unwait(run, ended)
	for {
		r, err := e.store.Run(ctx, run) // it may have ended before
		if err != nil {
			return "", fmt.Errorf("read run %s: %w", run, err)
		}
		if r.State.Finished() {
			return r.State, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func (e *Engine) unwait(run string, ended chan<- struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := slices.DeleteFunc(e.waiters[run], func(w chan<- struct{}) bool { return w == ended })
	if len(left) == 0 {
		delete(e.waiters, run)
		return
	}
	e.waiters[run] = left
}

// statusOf is the status for how the run has ended, where none is given.
func (r *Respond) statusOf(a *attempt) int {
	for _, step := range slices.Backward(a.results) {
		if !isCommand(step.Kind) || step.Output.ExitCode < 0 {
			continue
		}
		if status, ok := r.StatusFromExit[step.Output.ExitCode]; ok {
			return status
		}
		break
	}
	if a.run.State == Failed {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

// render makes the answer in the world of scope.
func (p *reply) render(scope *Scope, status int) (*Answer, error) {
	a := &Answer{Status: status, Header: http.Header{}}
	if p.respond.Status != nil {
		text, err := p.respond.Status.Render(scope)
		if err != nil {
			return nil, fmt.Errorf("respond.status: %w", err)
		}
		if a.Status, err = strconv.Atoi(text); err != nil || a.Status < 200 || a.Status > 599 {
			return nil, fmt.Errorf("respond.status: it is no number from 200 to 599")
		}
	}
	for _, h := range p.respond.Header {
		value, err := h.Value.Render(scope)
		if err != nil {
			return nil, fmt.Errorf("respond.headers: %s: %w", h.Name, err)
		}
		a.Header.Add(h.Name, p.mask.string(value))
	}
	if p.respond.Body != nil {
		body, err := p.respond.Body.Render(scope)
		if err != nil {
			return nil, fmt.Errorf("respond.body: %w", err)
		}
		a.Body = []byte(p.mask.string(body))
	}
	return a, nil
}
