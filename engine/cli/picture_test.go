package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
	"hookrun/engine/rules"
)

// The README's picture: five events a second apart, runs that take 3.5 s, one
// character for half a second.
const (
	pictureEvery = time.Second
	pictureTake  = 3500 * time.Millisecond
	pictureChar  = 500 * time.Millisecond
)

// drawing is an action that draws when its runs go.
type drawing struct {
	began time.Time

	mu   sync.Mutex // guards rows
	rows [][]byte
}

func (d *drawing) Kind() string { return "exec" }

func (*drawing) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }

func (d *drawing) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	from := d.now()
	var err error
	select {
	case <-time.After(pictureTake):
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	d.draw(in.Event.Path[1], from, d.now())
	return engine.Output{}, err
}

func (d *drawing) now() int { return int(time.Since(d.began) / pictureChar) }

// draw puts a run into the first row that has room for it.
func (d *drawing) draw(number byte, from, to int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	row := slices.IndexFunc(d.rows, func(row []byte) bool {
		return !slices.ContainsFunc(row[from:to], func(c byte) bool { return c != ' ' })
	})
	if row < 0 {
		row = len(d.rows)
		d.rows = append(d.rows, []byte(strings.Repeat(" ", 100)))
	}
	for at := from; at < to; at++ {
		d.rows[row][at] = number
	}
}

// picture draws what five events make of a rule with the key.
func picture(t *testing.T, key string) string {
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: fmt.Appendf(nil,
		"rules:\n  - name: r\n    %s\n    actions:\n      - exec: [echo]\n", key)}}, rules.Options{})
	if g == nil {
		t.Fatalf("%s: %v", key, problems)
	}
	d := &drawing{began: time.Now()}
	g.Rules.Rules[0].Steps[0].Action = d
	store := &enginetest.MemStore{}
	e, err := engine.Open(t.Context(), engine.Options{Store: store, Rules: g.Rules, MaxRuns: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	var ids []string
	for n := range 5 {
		receipt, err := e.Submit(t.Context(), &engine.Event{
			Method: "POST", Path: fmt.Sprint("/", n+1), Source: engine.SourceIntake, Body: fmt.Appendf(nil, `{"id": %q}`, "aabbc"[n:n+1]),
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipt.Runs[0].ID)
		time.Sleep(pictureEvery)
	}
	time.Sleep(time.Hour)
	stop()
	wg.Wait()
	return d.lines(key, fates(t, store, ids))
}

// fates says what became of the runs that did not go to their end.
func fates(t *testing.T, s engine.Store, ids []string) string {
	var all []string
	for i, id := range ids {
		run, err := s.Run(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		fate := fmt.Sprint(i+1, " ", run.State)
		if run.By != "" {
			fate += fmt.Sprint(" by ", slices.Index(ids, run.By)+1)
		}
		if run.State != engine.Done {
			all = append(all, fate)
		}
	}
	return strings.Join(all, ", ")
}

func (d *drawing) lines(label, fates string) string {
	var b strings.Builder
	slices.SortStableFunc(d.rows, func(a, b []byte) int { return strings.Compare(first(a), first(b)) })
	for i, row := range d.rows {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(&b, "%-48s%s\n", label, strings.TrimRight(string(row), " "))
	}
	if fates != "" {
		fmt.Fprintf(&b, "    %s\n", fates)
	}
	return b.String()
}

// first is the number that a row begins with.
func first(row []byte) string { return strings.TrimSpace(string(row))[:1] }

// TestReadmePictureIsWhatHappens draws the README's picture anew, from the keys
// that stand in it.
func TestReadmePictureIsWhatHappens(t *testing.T) {
	var want string
	for _, block := range readme(t, "text") {
		if strings.HasPrefix(block, "events") {
			want = block
		}
	}
	head, _, _ := strings.Cut(want, "\n")
	got := head + "\n"
	for line := range strings.Lines(want) {
		key, _, _ := strings.Cut(line, "  ")
		if !strings.Contains(key, ":") {
			continue
		}
		synctest.Test(t, func(t *testing.T) { got += picture(t, strings.TrimSpace(key)) })
	}
	if got != want || !strings.Contains(head, "1 2 3 4 5") {
		t.Errorf("the README shows\n%s\nand this is what happens\n%s", want, got)
	}
}
