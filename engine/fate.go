package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// fate decides about runs inside of a commit, where no other run comes or goes:
//
//	loop? ─► dedupe ─► throttle first ─► at_most ─► throttle last ─► cancels ─► lane
//	   tripped  duplicate    throttled       tripped       held                 skipped, …
//
// It is the one place that knows what these words mean. What it does to other
// runs is in changed, to be told to the queue once the commit is on disk.
type fate struct {
	plans   map[string]*plan // by Run.ID
	first   string           // id of the run that is asked about first
	changed []Run

	// What was looked up in this commit, kept as it is after each decision: a list
	// of an event may ask for a thousand runs of one lane or breaker.
	lanes    map[string][]*Run
	breakers map[[2]string]*breaker // by rule and key
}

// breaker is what at_most counts.
type breaker struct {
	open bool   // the newest run tripped it
	runs []*Run // counted ones
}

func newFate(plans []*plan) *fate {
	f := &fate{plans: make(map[string]*plan, len(plans))}
	for i, p := range plans {
		if i == 0 {
			f.first = p.run.ID
		}
		f.plans[p.run.ID] = p
	}
	return f
}

// begin is called where a commit begins, or is tried again.
func (f *fate) begin() {
	f.changed, f.lanes, f.breakers = nil, map[string][]*Run{}, map[[2]string]*breaker{}
}

// plain reports whether there is nothing to decide about any run.
func (f *fate) plain() bool {
	for _, p := range f.plans {
		c := p.rule.Concurrency
		busy := p.run.Lane != "" && c.OnBusy != "" && c.OnBusy != BusyQueue
		if p.loop || busy || len(p.cancels) > 0 || p.run.Dedupe+p.run.Throttle+p.run.Breaker != "" {
			return false
		}
	}
	return true
}

// admit implements Acceptance.Admit.
func (f *fate) admit(tx Tx, r *Run) error {
	if r.ID == f.first { // the commit may be tried again
		f.begin()
	}
	p := f.plans[r.ID]
	p.first, p.tripped, p.recovered = "", false, false
	*r = p.run
	if r.State.Finished() { // its keys could not be told
		return nil
	}
	for _, ask := range []func(Tx, *plan, *Run) error{f.loop, f.dedupe, f.throttleFirst, f.breaker, f.throttleLast, f.cancel, f.enterPlanned} {
		if err := ask(tx, p, r); err != nil || r.State != Queued || r.Outcome != "" {
			return err
		}
	}
	f.admitted(r)
	return nil
}

// admitted adds a run to what the next ones are measured against.
func (f *fate) admitted(r *Run) {
	seen := *r
	if others, known := f.lanes[r.Lane]; known && !r.Held {
		f.lanes[r.Lane] = append(others, &seen)
	}
	if b := f.breakers[[2]string{r.Rule, r.Breaker}]; b != nil {
		b.open, b.runs = false, append(b.runs, &seen)
	}
}

// ended takes a run that another ends out of what the next ones are measured
// against.
func (f *fate) ended(o *Run) {
	same := func(r *Run) bool { return r.ID == o.ID }
	if others, known := f.lanes[o.Lane]; known {
		f.lanes[o.Lane] = slices.DeleteFunc(others, same)
	}
	if b := f.breakers[[2]string{o.Rule, o.Breaker}]; b != nil && !slices.Contains(counted(), o.State) {
		b.runs = slices.DeleteFunc(b.runs, same)
	}
}

func (f *fate) enterPlanned(tx Tx, p *plan, r *Run) error {
	if r.Held {
		return nil // when its time comes
	}
	return f.enter(tx, p.rule.Concurrency, r)
}

// end settles a run that starts nothing.
func end(r *Run, s State, by *Run, why string) {
	r.State, r.Err, r.Finished, r.Held, r.Armed, r.Due = s, why, r.Created, false, false, time.Time{}
	if by != nil {
		r.By = by.ID
	}
}

func (f *fate) loop(_ Tx, p *plan, r *Run) error {
	if p.loop && !p.byHand {
		r.Dedupe, r.Throttle, r.Breaker = "", "", "" // nothing is compared with it
		end(r, Tripped, nil, "a call of this rule led to this event: it would go round for ever")
	}
	return nil
}

// counted are the states of runs that did something, or will.
func counted() []State {
	return []State{Queued, Running, Done, Failed, Cancelled, Abandoned, Replaced}
}

// around is a look at the runs of the same key whose creation is nearer to that
// of r than d, on either side: the clock may have been set back.
func around(r *Run, d time.Duration, by KeyKind, key string) Recent {
	d -= time.Nanosecond // Recent's bounds are inclusive
	return Recent{Rule: r.Rule, By: by, Key: key, From: r.Created.Add(-d), To: r.Created.Add(d)}
}

// tripRoom is how many runs that only do on_trip may stand among those counted.
const tripRoom = 8

// latest returns the newest run that q asks for and that is to end in one of its
// states; nil: there is none.
func latest(tx Tx, q Recent) (*Run, error) {
	q.Limit = tripRoom
	found, err := tx.Recent(q)
	for _, o := range found {
		if end := cmp.Or(o.Outcome, o.Stop); end == "" || slices.Contains(q.States, end) {
			return o, err
		}
	}
	return nil, err
}

func (f *fate) dedupe(tx Tx, p *plan, r *Run) error {
	if r.Dedupe == "" || p.byHand {
		return nil
	}
	q := around(r, p.rule.Dedupe.Within, ByDedupe, r.Dedupe)
	q.States = []State{Queued, Running, Done} // never those that failed: a redelivery of one must go through
	found, err := latest(tx, q)
	if err != nil || found == nil {
		return err
	}
	p.first = found.Event
	end(r, Duplicate, found, fmt.Sprintf("dedupe: the same key came less than %s ago", spell(p.rule.Dedupe.Within)))
	return nil
}

func (f *fate) throttleFirst(tx Tx, p *plan, r *Run) error {
	if r.Throttle == "" || p.rule.Throttle.Last || p.byHand {
		return nil
	}
	q := around(r, p.rule.Throttle.Every, ByThrottle, r.Throttle)
	q.States = counted()
	found, err := latest(tx, q)
	if err != nil || found == nil {
		return err
	}
	end(r, Throttled, found, fmt.Sprintf("throttle: another came first, less than %s ago", spell(p.rule.Throttle.Every)))
	return nil
}

func (f *fate) breaker(tx Tx, p *plan, r *Run) error {
	if r.Breaker == "" {
		return nil
	}
	most := p.rule.AtMost
	b, err := f.breakerOf(tx, r, most)
	if err != nil {
		return err
	}
	n := 0
	for _, o := range b.runs {
		replaced := o.Held && !o.Armed && !r.Armed && !p.byHand && o.Throttle == r.Throttle && p.rule.Throttle != nil && p.rule.Throttle.Last // r will take its place
		if !replaced {
			n++
		}
	}
	if n < most.Runs {
		p.recovered = b.open
		return nil
	}
	why := fmt.Sprintf("at_most: %d runs in %s were reached", most.Runs, spell(most.Per))
	p.tripped, b.open = !b.open, true
	if p.tripped && len(p.rule.OnTrip) > 0 {
		r.Outcome, r.Err = Tripped, why
		return nil
	}
	end(r, Tripped, nil, why)
	return nil
}

// breakerOf looks up what at_most counts for a run.
func (f *fate) breakerOf(tx Tx, r *Run, most *AtMost) (*breaker, error) {
	at := [2]string{r.Rule, r.Breaker}
	if b := f.breakers[at]; b != nil {
		return b, nil
	}
	q := around(r, most.Per, ByBreaker, r.Breaker)
	q.States, q.Limit = append(counted(), Tripped), 1
	latest, err := tx.Recent(q)
	if err != nil {
		return nil, err
	}
	q.States, q.Limit = counted(), most.Runs+tripRoom
	found, err := tx.Recent(q)
	if err != nil {
		return nil, err
	}
	b := &breaker{open: len(latest) > 0 && isTrip(latest[0]), runs: slices.DeleteFunc(found, isTrip)}
	f.breakers[at] = b
	return b, nil
}

// isTrip reports whether the run is one that the breaker refused; it may still
// be doing on_trip.
func isTrip(r *Run) bool { return r.State == Tripped || r.Outcome == Tripped }

// throttleLast has the run wait for the burst to end, in the place of the one
// that waited so far.
func (f *fate) throttleLast(tx Tx, p *plan, r *Run) error {
	if r.Throttle == "" || !p.rule.Throttle.Last || p.byHand || r.Armed {
		return nil
	}
	held, err := tx.Recent(Recent{Rule: r.Rule, By: ByThrottle, Key: r.Throttle, States: []State{Queued}, Held: true, Limit: maxHeld})
	if err != nil {
		return err
	}
	for _, o := range held {
		if o.Armed {
			continue
		}
		if err := f.stop(tx, o, Superseded, r.ID, "throttle: another came in the same burst"); err != nil {
			return err
		}
	}
	r.Held, r.Due = true, r.Created.Add(p.rule.Throttle.Every)
	return nil
}

// maxHeld bounds the held runs of one key that are looked at: there is one,
// unless somebody set clocks or edited rules.
const maxHeld = 100

// cancel ends the runs that the event of r ends; of one that is held it does so
// when a person releases it.
func (f *fate) cancel(tx Tx, p *plan, r *Run) error {
	if r.Armed {
		return nil
	}
	for _, q := range p.cancels {
		others, err := tx.Unfinished(q)
		if err != nil {
			return err
		}
		for _, o := range others {
			if err := f.stop(tx, o, Cancelled, r.ID, fmt.Sprintf("an event of rule %q cancels it", r.Rule)); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter puts the run into its lane. The lane is full with its first runs up to
// the limit: those that had an attempt, then those that are to have one.
func (f *fate) enter(tx Tx, c Concurrency, r *Run) error {
	if r.Lane == "" || c.OnBusy == "" || c.OnBusy == BusyQueue {
		return nil
	}
	others, known := f.lanes[r.Lane]
	if !known {
		var err error
		if others, err = tx.Unfinished(Pending{Lane: r.Lane}); err != nil {
			return err
		}
		f.lanes[r.Lane] = others
	}
	others = slices.DeleteFunc(slices.Clone(others), func(o *Run) bool {
		return o.ID == r.ID || o.Held || o.Stop != "" || isTrip(o) || c.OnBusy == BusyReplace && o.Outcome != ""
	})
	slices.SortStableFunc(others, func(a, b *Run) int { return boolFirst(a.Begun(), b.Begun()) })
	limit := c.limit()
	if len(others) < limit {
		return nil
	}
	switch c.OnBusy {
	case BusySkip:
		end(r, Skipped, others[0], "concurrency: its lane was busy")
	case BusyReplace:
		for _, o := range others[:len(others)-limit+1] {
			if err := f.stop(tx, o, Replaced, r.ID, replacedWhy); err != nil {
				return err
			}
		}
	case BusyLatest:
		for _, o := range others[limit:] {
			if err := f.stop(tx, o, Superseded, r.ID, "concurrency: a newer run goes in its place"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Why a run is stopped.
const (
	replacedWhy = "concurrency: a newer run took its place"
	byHand      = "cancelled by hand"
)

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// stop decides how another run ends: at once where it has not begun, else as
// soon as its attempt has been told. What is decided already stays.
func (f *fate) stop(tx Tx, o *Run, s State, by, why string) error {
	if o.Stop != "" || o.Outcome != "" {
		return nil
	}
	o.By = by
	if o.State == Queued && !o.Begun() {
		o.State, o.Err, o.Held, o.Armed, o.Finished = s, why, false, false, time.Now().UTC()
	} else {
		o.Stop, o.Err = s, why
	}
	if err := tx.Put(o); err != nil {
		return err
	}
	f.changed = append(f.changed, *o)
	f.ended(o)
	return nil
}
