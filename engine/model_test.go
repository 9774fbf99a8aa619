package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
	"hookrun/engine/store"
)

var sequences = flag.Int("sequences", 0, "random sequences that the model is compared over; 0: 1500 in memory, 30 on disk")

// The model says what a list of operations comes to, in the plainest way that
// the words of the rules allow: one slice of all runs, looked through each time,
// and a clock that goes from one moment at which something happens to the next.
// It shares no code with the engine.

// modelRule is a rule, for both sides.
type modelRule struct {
	name     string
	none     bool
	group    string
	keyed    bool // concurrency.key: body.k
	limit    int
	busy     engine.OnBusy
	dedupe   time.Duration // 0: none; the key is body.d
	throttle time.Duration // 0: none; the key is body.k
	last     bool
	most     int // at_most.runs per an hour, by body.k; 0: none
	cancels  string
	attempts int
}

const (
	modelTake  = 50 * time.Millisecond // of an action
	modelAgain = time.Millisecond      // between two tries
	modelPer   = time.Second           // of at_most
)

// modelRun is a run of the model.
type modelRun struct {
	rule        *modelRule
	k, d        string
	created     time.Duration
	state       engine.State
	by          int // number of a run; -1: none
	fails       int // tries that are still to fail
	tries       int // that failed
	begun, held bool
	armed       bool          // held until it is released
	byHand      bool          // a replay
	at          time.Duration // running: ends then; queued: not before
	cuts        int           // stops that cut its try off
}

type model struct {
	rules  map[string]*modelRule
	runs   []*modelRun
	paused map[string]bool
	armed  map[string]bool
	now    time.Duration
}

func (m *model) lane(r *modelRun) string {
	if r.rule.none {
		return ""
	}
	lane := "rule " + r.rule.name
	if r.rule.group != "" {
		lane = "group " + r.rule.group
	}
	if r.rule.keyed {
		lane += "/" + r.k
	}
	return lane
}

// counted reports whether the run did something, or will.
func (r *modelRun) counted() bool {
	return !slices.Contains([]engine.State{engine.Duplicate, engine.Throttled, engine.Skipped, engine.Superseded, engine.Tripped}, r.state)
}

func (m *model) end(r *modelRun, s engine.State, by int) {
	r.state, r.by, r.held, r.armed = s, by, false, false
}

// submit takes an event of a rule.
func (m *model) submit(rule, k, d string, fails int) {
	m.take(&modelRun{rule: m.rules[rule], k: k, d: d, fails: fails})
}

// replay takes the event of a run once more, by hand.
func (m *model) replay(n, fails int) {
	of := m.runs[n]
	m.take(&modelRun{rule: of.rule, k: of.k, d: of.d, fails: fails, byHand: true})
}

func (m *model) take(r *modelRun) {
	r.created, r.state, r.by = m.now, engine.Queued, -1
	n := len(m.runs)
	m.runs = append(m.runs, r)
	r.armed = m.armed[r.rule.name]
	m.decide(n, r)
	if r.armed {
		r.held, r.at, m.armed[r.rule.name] = true, 0, false
	}
	m.dispatch()
}

// release lets a run go that is held since its rule was armed.
func (m *model) release(n int) {
	r := m.runs[n]
	r.armed = false
	m.cancel(n, r)
	m.dispatch()
}

func (m *model) decide(n int, r *modelRun) {
	rule := r.rule
	before := m.runs[:n]
	if rule.dedupe > 0 && r.d != "" && !r.byHand {
		for i, o := range slices.Backward(before) {
			alike := o.rule == rule && o.d == r.d && r.created-o.created < rule.dedupe
			if alike && (o.state == engine.Queued || o.state == engine.Running || o.state == engine.Done) {
				m.end(r, engine.Duplicate, i)
				return
			}
		}
	}
	if rule.throttle > 0 && !rule.last && !r.byHand {
		for i, o := range slices.Backward(before) {
			if o.rule == rule && o.k == r.k && o.counted() && r.created-o.created < rule.throttle {
				m.end(r, engine.Throttled, i)
				return
			}
		}
	}
	if rule.most > 0 {
		n := 0
		for _, o := range before {
			if o.rule == rule && o.k == r.k && o.counted() && !(o.held && !o.armed && rule.last && !r.byHand && !r.armed) && r.created-o.created < modelPer {
				n++
			}
		}
		if n >= rule.most {
			m.end(r, engine.Tripped, -1)
			return
		}
	}
	if rule.throttle > 0 && rule.last && !r.byHand && !r.armed {
		for _, o := range before {
			if o.rule == rule && o.k == r.k && o.held && !o.armed {
				m.end(o, engine.Superseded, n)
			}
		}
		r.held, r.at = true, m.now+rule.throttle
	}
	if r.armed {
		return
	}
	m.cancel(n, r)
	if !r.held {
		m.enter(n, r)
	}
}

// cancel ends what the event of a run ends.
func (m *model) cancel(n int, r *modelRun) {
	if r.rule.cancels == "" {
		return
	}
	for i, o := range m.runs {
		if i != n && o.rule.name == r.rule.cancels && (!o.rule.keyed || o.k == r.k) && !o.state.Finished() {
			m.end(o, engine.Cancelled, n)
		}
	}
}

// enter has the run meet those of its lane.
func (m *model) enter(n int, r *modelRun) {
	lane, limit := m.lane(r), max(r.rule.limit, 1)
	if lane == "" {
		return
	}
	var first, then []int
	for i, o := range m.runs {
		if i == n || o.state.Finished() || o.held || m.lane(o) != lane {
			continue
		}
		if o.begun {
			first = append(first, i)
		} else {
			then = append(then, i)
		}
	}
	others := append(first, then...)
	if len(others) < limit {
		return
	}
	switch r.rule.busy {
	case engine.BusySkip:
		m.end(r, engine.Skipped, others[0])
	case engine.BusyReplace:
		for _, i := range others[:len(others)-limit+1] {
			m.end(m.runs[i], engine.Replaced, n)
		}
	case engine.BusyLatest:
		for _, i := range others[limit:] {
			m.end(m.runs[i], engine.Superseded, n)
		}
	}
}

// dispatch starts what may start now.
func (m *model) dispatch() {
	for n, r := range m.runs {
		if r.held && !r.armed && r.at <= m.now && !m.paused[r.rule.name] {
			r.held, r.at = false, 0
			m.enter(n, r)
		}
	}
	for again := true; again; {
		again = false
		for _, begun := range []bool{true, false} {
			for n, r := range m.runs {
				if r.state == engine.Queued && r.begun == begun && !r.held && r.at <= m.now && !m.paused[r.rule.name] && m.hasPlace(n, r) {
					r.state, r.begun, r.at = engine.Running, true, m.now+modelTake
					if r.cuts > engine.MaxResumes {
						m.end(r, engine.Failed, -1)
					}
					again = true
				}
			}
		}
	}
}

// hasPlace reports whether the lane has one for the run, which those have that
// run or had a try, and which earlier ones get first.
func (m *model) hasPlace(n int, r *modelRun) bool {
	lane := m.lane(r)
	if lane == "" || r.begun {
		return true
	}
	taken := 0
	for i, o := range m.runs {
		if i == n || o.state.Finished() || o.held || m.lane(o) != lane || o.state == engine.Queued && m.paused[o.rule.name] {
			continue
		}
		if o.begun {
			taken++
		} else if i < n {
			return false
		}
	}
	return taken < max(r.rule.limit, 1)
}

// pass lets time pass, from one moment at which something happens to the next.
func (m *model) pass(to time.Duration) {
	for {
		next := to
		for _, r := range m.runs {
			if (r.state == engine.Running || r.state == engine.Queued) && r.at > m.now {
				next = min(next, r.at)
			}
		}
		m.now = next
		for _, r := range m.runs {
			if r.state == engine.Running && r.at == m.now {
				m.finish(r)
			}
		}
		m.dispatch()
		if next == to {
			return
		}
	}
}

// finish ends a try.
func (m *model) finish(r *modelRun) {
	if r.fails == 0 {
		r.state, r.by = engine.Done, -1
		return
	}
	r.fails--
	if r.tries++; r.tries >= max(r.rule.attempts, 1) {
		m.end(r, engine.Failed, -1)
		return
	}
	r.state, r.at = engine.Queued, m.now+modelAgain
}

// restart cuts off what runs.
func (m *model) restart(crash bool) {
	for _, r := range m.runs {
		if r.state != engine.Running {
			continue
		}
		r.state, r.at = engine.Queued, 0
		if !crash {
			r.cuts++
		}
	}
}

func (m *model) cancelByHand(n int) {
	if r := m.runs[n]; !r.state.Finished() {
		m.end(r, engine.Cancelled, -1)
		m.dispatch()
	}
}

func (m *model) retryByHand(n int) {
	if r := m.runs[n]; r.state.Finished() {
		r.state, r.by, r.begun, r.held, r.at, r.tries, r.cuts = engine.Queued, -1, false, false, 0, 0, 0
		m.dispatch()
	}
}

// both is the model and the engine, driven by the same operations.
type both struct {
	t     *testing.T
	model model
	rules []*engine.Rule
	open  func() (engine.Store, func())

	store     *faultyStore
	closeFile func()
	engine    *engine.Engine
	stop      func()
	ids       []string
	began     time.Time
	ops       []string

	mu    sync.Mutex // guards what follows
	lanes map[string]int
	fails map[string]int // by run
	wrong string
}

// faultyStore fails every write while it is broken, as a store does whose
// process was killed.
type faultyStore struct {
	engine.Store
	mu     sync.Mutex
	broken bool
}

var errKilled = errors.New("killed")

func (s *faultyStore) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errKilled
	}
	return nil
}

func (s *faultyStore) kill(dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = dead
}

func (s *faultyStore) Update(ctx context.Context, r *engine.Run, steps ...*engine.StepResult) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.Store.Update(ctx, r, steps...)
}

func (b *both) start() {
	e, err := engine.Open(b.t.Context(), engine.Options{
		Store: b.store, Rules: engine.NewRuleSet(b.rules, "h"), MaxRuns: 1 << 20, Grace: time.Nanosecond,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	b.engine = e
	b.stop = func() {
		cancel()
		wg.Wait()
	}
}

// act is the action of every rule: it fails as often as the event says, and
// watches its lane.
func (b *both) act(r *modelRule) engine.Action {
	return doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
		run, err := b.store.Run(context.Background(), in.Run)
		if err != nil {
			return engine.Output{}, err
		}
		b.enter(run, r, 1)
		defer b.enter(run, r, -1)
		select {
		case <-time.After(modelTake):
		case <-ctx.Done():
			return engine.Output{}, context.Cause(ctx)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fails[in.Run] > 0 {
			b.fails[in.Run]--
			return engine.Output{}, errors.New("x")
		}
		return engine.Output{}, nil
	})
}

func (b *both) enter(run *engine.Run, r *modelRule, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if run.Lane == "" {
		return
	}
	b.lanes[run.Lane] += n
	if b.lanes[run.Lane] > max(r.limit, 1) && r.group == "" {
		b.wrong = fmt.Sprintf("lane %s has %d at once", run.Lane, b.lanes[run.Lane])
	}
}

// rule makes the engine's rule of a model's.
func (b *both) rule(m *modelRule) *engine.Rule {
	r := rule(m.name, b.act(m))
	r.Concurrency = engine.Concurrency{None: m.none, Group: m.group, Limit: m.limit, OnBusy: m.busy}
	if m.keyed {
		r.Concurrency.Key = key("body.k")
	}
	if m.dedupe > 0 {
		r.Dedupe = &engine.Dedupe{Key: key("body.d"), Within: m.dedupe}
	}
	if m.throttle > 0 {
		r.Throttle = &engine.Throttle{Every: m.throttle, Last: m.last, Key: key("body.k")}
	}
	if m.most > 0 {
		r.AtMost = &engine.AtMost{Runs: m.most, Per: modelPer, Key: key("body.k")}
	}
	if m.cancels != "" {
		r.Cancels = []engine.Cancel{{Rule: m.cancels}}
		if b.model.rules[m.cancels].keyed {
			r.Cancels[0].Key = key("body.k")
		}
	}
	r.Retry = engine.Retry{Attempts: m.attempts, Backoff: 1, Max: 1}
	return r
}

// randomRules makes three rules, each a mix of all that there is.
func randomRules(rnd *rand.Rand) map[string]*modelRule {
	rules := map[string]*modelRule{}
	busy := []engine.OnBusy{engine.BusyQueue, engine.BusySkip, engine.BusyReplace, engine.BusyLatest}
	chance := func(n int) bool { return rnd.IntN(n) == 0 }
	limit := 1 + rnd.IntN(3)
	for i := range 3 {
		r := &modelRule{name: string(rune('a' + i)), busy: busy[rnd.IntN(4)], limit: 1 + rnd.IntN(2), keyed: chance(2), attempts: 1 + rnd.IntN(3)}
		switch {
		case chance(6):
			r.none, r.busy = true, ""
		case chance(3):
			r.group, r.limit, r.keyed = "g", limit, false // rules of a group that say different limits have no simple meaning
		}
		if chance(3) {
			r.dedupe = time.Duration(100+rnd.IntN(400)) * time.Millisecond
		}
		if chance(3) {
			r.throttle, r.last = time.Duration(20+rnd.IntN(200))*time.Millisecond, chance(2)
		}
		if chance(4) {
			r.most = 1 + rnd.IntN(5)
		}
		rules[r.name] = r
	}
	if chance(3) {
		rules["a"].cancels = "b"
	}
	return rules
}

func newBoth(t *testing.T, rnd *rand.Rand, open func() (engine.Store, func())) *both {
	b := &both{t: t, open: open, lanes: map[string]int{}, fails: map[string]int{}, began: time.Now()}
	b.model = model{rules: randomRules(rnd), paused: map[string]bool{}, armed: map[string]bool{}}
	for _, name := range []string{"a", "b", "c"} {
		b.rules = append(b.rules, b.rule(b.model.rules[name]))
	}
	file, closeFile := open()
	b.store, b.closeFile = &faultyStore{Store: file}, closeFile
	b.start()
	return b
}

// modelApart keeps what happens at different operations apart: each comes at a
// part of a millisecond of its own, and all else takes whole milliseconds.
const modelApart = 35 * time.Microsecond

// settle lets happen what an operation led to. A database that finds another at
// work waits for some microseconds, which pass only here.
func settle() {
	for range 4 {
		synctest.Wait()
		time.Sleep(modelApart / 10)
	}
	synctest.Wait()
}

// do makes one operation on both sides.
func (b *both) do(rnd *rand.Rand, n int) {
	now := time.Since(b.began)
	at := now
	if rnd.IntN(4) > 0 {
		at += time.Duration(rnd.IntN(60)) * time.Millisecond
	}
	at = at.Truncate(time.Millisecond) + time.Duration(n+1)*modelApart
	if at <= now {
		at += time.Millisecond
	}
	pause := at - now
	time.Sleep(pause)
	settle()
	m := &b.model
	m.pass(time.Since(b.began))
	b.op("+%s", pause)
	name := string(rune('a' + rnd.IntN(3)))
	some := 0
	if len(b.ids) > 0 {
		some = rnd.IntN(len(b.ids))
	}
	switch what := rnd.IntN(20); {
	case what < 12:
		b.submit(name, strconv.Itoa(rnd.IntN(2)), []string{"", "x", "y"}[rnd.IntN(3)], max(0, rnd.IntN(6)-2))
	case what < 13 && len(b.ids) > 0:
		b.op("cancel %d", some)
		b.engine.Cancel(b.t.Context(), b.ids[some])
		m.cancelByHand(some)
	case what < 14 && len(b.ids) > 0:
		b.op("retry %d", some)
		b.engine.Retry(b.t.Context(), b.ids[some], true)
		m.retryByHand(some)
	case what < 15:
		b.pause(name)
	case what < 17:
		b.restart(what == 15)
	case what < 18:
		b.op("arm %s", name)
		b.engine.Arm(b.t.Context(), name)
		m.armed[name] = true
	case what < 19 && len(b.ids) > 0:
		b.release()
	case len(b.ids) > 0:
		b.replay(some, rnd.IntN(2))
	}
	settle()
}

func (b *both) op(format string, args ...any) { b.ops = append(b.ops, fmt.Sprintf(format, args...)) }

func (b *both) submit(name, k, d string, fails int) {
	b.op("%s k=%s d=%q fails=%d", name, k, d, fails)
	receipt, err := b.engine.Submit(b.t.Context(), &engine.Event{
		Bucket: name, Method: "POST", Source: engine.SourceIntake, Body: fmt.Appendf(nil, `{"k":%q,"d":%q}`, k, d),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	id := receipt.Runs[0].ID
	b.mu.Lock()
	b.fails[id] = fails
	b.mu.Unlock()
	b.ids = append(b.ids, id)
	b.model.submit(name, k, d, fails)
}

// release lets the oldest run go that is held.
func (b *both) release() {
	n := slices.IndexFunc(b.model.runs, func(r *modelRun) bool { return r.armed })
	if n < 0 {
		return
	}
	b.op("release %d", n)
	if _, err := b.engine.Release(b.t.Context(), b.ids[n]); err != nil {
		b.t.Fatal(err)
	}
	b.model.release(n)
}

func (b *both) replay(n, fails int) {
	b.op("replay %d fails=%d", n, fails)
	of, err := b.store.Run(b.t.Context(), b.ids[n])
	if err != nil {
		b.t.Fatal(err)
	}
	receipt, err := b.engine.Replay(b.t.Context(), engine.Replay{Event: of.Event})
	if err != nil {
		b.t.Fatal(err)
	}
	id := receipt.Runs[0].ID
	b.mu.Lock()
	b.fails[id] = fails
	b.mu.Unlock()
	b.ids = append(b.ids, id)
	b.model.replay(n, fails)
}

func (b *both) pause(name string) {
	m := &b.model
	if m.paused[name] {
		b.op("resume %s", name)
		b.engine.Resume(b.t.Context(), name)
	} else {
		b.op("pause %s", name)
		b.engine.Pause(b.t.Context(), name)
	}
	m.paused[name] = !m.paused[name]
	m.dispatch()
}

func (b *both) restart(crash bool) {
	b.op("restart, crash=%v", crash)
	b.store.kill(crash)
	b.stop()
	b.closeFile()
	file, closeFile := b.open()
	b.store, b.closeFile = &faultyStore{Store: file}, closeFile
	b.model.pass(time.Since(b.began))
	b.model.restart(crash)
	b.start()
	b.model.dispatch()
}

// compare says where the engine and the model differ; "" where they do not.
func (b *both) compare() string {
	for n, id := range b.ids {
		got, err := b.store.Run(b.t.Context(), id)
		if err != nil {
			return fmt.Sprintf("run %d: %v", n, err)
		}
		want := b.model.runs[n]
		by := -1
		if got.By != "" && got.State == want.state && got.State != engine.Done && got.State != engine.Failed {
			by = slices.Index(b.ids, got.By)
		}
		if got.State != want.state || by != want.by {
			return fmt.Sprintf("run %d of rule %s is %s by %d (%s), the model says %s by %d", n, got.Rule, got.State, by, got.Err, want.state, want.by)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wrong
}

// compareSequence drives both sides through random operations.
func compareSequence(t *testing.T, seed uint64, open func() (engine.Store, func())) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := newBoth(t, rnd, open)
	defer func() {
		b.stop()
		b.closeFile()
	}()
	const steps = 25
	for n := range steps {
		b.do(rnd, n)
		if wrong := b.compare(); wrong != "" {
			var rules []string
			for _, r := range b.rules {
				rules = append(rules, fmt.Sprintf("%+v", *b.model.rules[r.Name]))
			}
			t.Fatalf("seed %d: %s\n%s\nafter\n%s", seed, wrong, strings.Join(rules, "\n"), strings.Join(b.ops, "\n"))
		}
	}
}

func TestModelInMemory(t *testing.T) {
	n := max(*sequences, 1500)
	for seed := range uint64(n) {
		mem := &enginetest.MemStore{}
		synctest.Test(t, func(t *testing.T) {
			compareSequence(t, seed, func() (engine.Store, func()) { return mem, func() {} })
		})
	}
}

func TestModelOnDisk(t *testing.T) {
	n := *sequences
	if n == 0 {
		n = 30
	}
	for seed := range uint64(n) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			compareSequence(t, seed, func() (engine.Store, func()) { return openStore(t, dir) })
		})
	}
}

// openStore opens the store of a folder and works it until it is closed.
func openStore(t *testing.T, dir string) (engine.Store, func()) {
	s, err := store.Open(context.Background(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ctx) })
	return s, func() {
		cancel()
		wg.Wait()
	}
}
