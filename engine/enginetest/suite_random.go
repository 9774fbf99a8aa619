package enginetest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"hookrun/engine"
)

// testRandomTx does the same at random to s and to a MemStore, and compares all
// that they answer.
func testRandomTx(t *testing.T, s engine.Store) {
	var mem MemStore
	for seed := range uint64(20) {
		g := randomTx{rnd: rand.New(rand.NewPCG(seed, 1)), ids: []string{"nobody"}}
		for i := range 40 {
			op := g.op()
			got, want := op(t, s), op(t, &mem)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("operation %d of seed %d: the answers differ:\n%+v\nof a MemStore:\n%+v", i, seed, got, want)
			}
		}
	}
	all := engine.RunFilter{Limit: 1 << 20}
	wantEqual(t, "all runs", must[[]*engine.Run](t)(s.Runs(t.Context(), all)), must[[]*engine.Run](t)(mem.Runs(t.Context(), all)))
	wantEqual(t, "unfinished", must[[]engine.Ref](t)(s.Unfinished(t.Context())), must[[]engine.Ref](t)(mem.Unfinished(t.Context())))
}

// randomTx makes up operations. All that is random in one is settled when it is
// made, so that it does the same to two stores.
type randomTx struct {
	rnd *rand.Rand
	ids []string // of runs that may be there
}

// Each returns what it was answered.
type (
	storeOp func(t *testing.T, s engine.Store) []any
	txOp    func(tx engine.Tx) any
)

func (g *randomTx) op() storeOp {
	switch g.rnd.IntN(4) {
	case 0:
		return g.accept()
	case 1:
		return g.update()
	}
	fn := g.inside()
	return func(t *testing.T, s engine.Store) []any {
		var answers []any
		err := s.Change(t.Context(), func(tx engine.Tx) (err error) {
			answers, err = fn(tx)
			return err
		})
		return append(answers, kindOf(err))
	}
}

func (g *randomTx) accept() storeOp {
	a := NewAcceptance(slices.Repeat([]string{"deploy"}, 1+g.rnd.IntN(3))...)
	fns := make(map[string]func(engine.Tx) ([]any, error))
	for _, r := range a.Runs {
		g.change()(r)
		fns[r.ID] = g.inside()
		g.ids = append(g.ids, r.ID)
	}
	return func(t *testing.T, s engine.Store) []any {
		var answers []any
		mine := *a
		mine.Runs = nil
		for _, r := range a.Runs {
			run := *r
			mine.Runs = append(mine.Runs, &run)
		}
		mine.Admit = func(tx engine.Tx, r *engine.Run) error {
			got, err := fns[r.ID](tx)
			answers = append(answers, got...)
			return err
		}
		receipt, err := s.Accept(t.Context(), &mine)
		return append(answers, receipt, valuesOf(mine.Runs), kindOf(err))
	}
}

func (g *randomTx) update() storeOp {
	run := engine.Run{ID: g.id()}
	g.change()(&run)
	return func(t *testing.T, s engine.Store) []any {
		return []any{kindOf(s.Update(t.Context(), &run))}
	}
}

var errUndo = errors.New("all of this is undone")

// inside makes up what is done in one commit.
func (g *randomTx) inside() func(tx engine.Tx) ([]any, error) {
	var ops []txOp
	for range g.rnd.IntN(6) {
		ops = append(ops, g.txOp())
	}
	var err error
	if g.rnd.IntN(8) == 0 {
		err = errUndo
	}
	return func(tx engine.Tx) ([]any, error) {
		var answers []any
		for _, op := range ops {
			answers = append(answers, op(tx))
		}
		return answers, err
	}
}

func (g *randomTx) txOp() txOp {
	switch g.rnd.IntN(4) {
	case 0:
		q := g.pending()
		return func(tx engine.Tx) any { return answer(tx.Unfinished(q)) }
	case 1:
		q := g.recent()
		return func(tx engine.Tx) any { return answer(tx.Recent(q)) }
	}
	id, change, put := g.id(), g.change(), g.rnd.IntN(2) == 0
	return func(tx engine.Tx) any {
		run, err := tx.Run(id)
		if err != nil {
			return kindOf(err)
		}
		was := *run
		if put {
			change(run)
			err = tx.Put(run)
		}
		return []any{was, kindOf(err)}
	}
}

// change makes up what becomes of a run: few of each kind, so that they meet.
func (g *randomTx) change() func(*engine.Run) {
	run := engine.Run{
		Rule:     g.oneOf("deploy", "notify"),
		State:    engine.States()[g.rnd.IntN(len(engine.States()))],
		Created:  g.time(),
		Due:      g.time(),
		Attempt:  g.rnd.IntN(3),
		Base:     g.rnd.IntN(3),
		Key:      g.oneOf("", "k", "j"),
		Lane:     g.oneOf("", "l", "m"),
		Dedupe:   g.oneOf("", "=", "=k"),
		Throttle: g.oneOf("", "=", "=k"),
		Breaker:  g.oneOf("", "=", "=k"),
		Held:     g.rnd.IntN(3) == 0,
		Armed:    g.rnd.IntN(4) == 0,
		By:       g.id(),
		Stop:     engine.State(g.oneOf("", "", string(engine.Replaced))),
	}
	return func(r *engine.Run) {
		changed := run
		changed.ID, changed.Seq, changed.Event = r.ID, r.Seq, r.Event
		*r = changed
	}
}

func (g *randomTx) pending() engine.Pending {
	key := g.oneOf("", "k", "j")
	q := engine.Pending{Lane: g.oneOf("", "", "l", "m"), Rule: g.oneOf("deploy", "notify")}
	if g.rnd.IntN(2) == 0 {
		q.Key = &key
	}
	return q
}

func (g *randomTx) recent() engine.Recent {
	q := engine.Recent{
		Rule:  g.oneOf("deploy", "notify"),
		By:    engine.KeyKind(g.oneOf(string(engine.ByDedupe), string(engine.ByThrottle), string(engine.ByBreaker))),
		Key:   g.oneOf("=", "=k"),
		Held:  g.rnd.IntN(4) == 0,
		Limit: g.rnd.IntN(5),
	}
	for _, state := range engine.States() {
		if g.rnd.IntN(2) == 0 {
			q.States = append(q.States, state)
		}
	}
	if g.rnd.IntN(2) == 0 {
		q.From = g.time()
	}
	if g.rnd.IntN(2) == 0 {
		q.To = g.time()
	}
	return q
}

func (g *randomTx) id() string { return g.oneOf(g.ids...) }

func (g *randomTx) oneOf(texts ...string) string { return texts[g.rnd.IntN(len(texts))] }

func (g *randomTx) time() time.Time {
	return time.Date(2026, 7, 1, 0, 0, g.rnd.IntN(8), 0, time.UTC)
}

func answer(runs []*engine.Run, err error) any { return []any{valuesOf(runs), kindOf(err)} }

func valuesOf(runs []*engine.Run) []engine.Run {
	var values []engine.Run
	for _, r := range runs {
		values = append(values, *r)
	}
	return values
}

// kindOf is the part of an error that stores agree on.
func kindOf(err error) error {
	for _, kind := range []error{engine.ErrNotFound, engine.ErrFinished, errUndo} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}
