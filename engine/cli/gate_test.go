package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/rules"
)

// pastEvents is a rehearse.Source of events that no rule has run for.
type pastEvents struct {
	records []engine.EventRecord
	err     error
	asked   func() // called by each Records; nil: nobody waits for it
}

func (p *pastEvents) Records(context.Context, engine.EventFilter) ([]engine.EventRecord, int64, error) {
	if p.asked != nil {
		p.asked()
	}
	return p.records, 0, p.err
}

func (*pastEvents) RunsOf(context.Context, string) ([]*engine.Run, error) { return nil, nil }

func (*pastEvents) Steps(context.Context, string) ([]*engine.StepResult, error) { return nil, nil }

// threeEvents are events whose body says n: 1, 2 and 3.
func threeEvents() *pastEvents {
	p := &pastEvents{}
	for _, body := range []string{`{"n":1}`, `{"n":2}`, `{"n":3}`} {
		ev := &engine.Event{ID: engine.NewID(), Bucket: "b", Method: "POST", Body: []byte(body), Header: http.Header{"Content-Type": {"application/json"}}, Received: time.Now()}
		p.records = append(p.records, engine.EventRecord{EventSummary: engine.EventSummary{ID: ev.ID, Bucket: "b", Received: ev.Received}, Event: ev})
	}
	return p
}

// rulesWhen are rules with one condition, and on_reload where over is not "".
func rulesWhen(t *testing.T, when, over string) *rules.Generation {
	t.Helper()
	text := "rules: [{name: a, bucket: b, verify: none, when: '" + when + "', actions: [{exec: [make]}]}]\n"
	if over != "" {
		text = "on_reload: {confirm_if_changes_over: " + over + "}\n" + text
	}
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text)}}, rules.Options{})
	if g == nil {
		t.Fatal(problems)
	}
	return g
}

// gateOf is a gate with rules in force, and what it has told.
func gateOf(src *pastEvents, inForce *rules.Generation) (g *gate, told *[]control.Notice) {
	told = &[]control.Notice{}
	return &gate{
		store: src, log: slog.New(slog.DiscardHandler), inForce: inForce,
		enforce: func(*rules.Generation, *rules.Generation) {}, tell: func(n control.Notice) { *told = append(*told, n) },
	}, told
}

func TestGateHoldsWhatDecidesOtherwiseTooOften(t *testing.T) {
	tests := []struct {
		name      string
		was, over string // in force
		now, edit string
		broken    bool // the past can't be read
		held      bool
	}{
		{"no gate", "body.n == 1", "", "body.n > 0", "", false, false},
		{"no gate, and the past can't be read", "body.n == 1", "", "body.n > 0", "", true, false},
		{"as often as is allowed", "body.n == 1", "2", "body.n > 0", "2", false, false},
		{"too often", "body.n == 1", "1", "body.n > 0", "1", false, true},
		{"the past can't be read", "body.n == 1", "1", "body.n > 0", "1", true, true},
		{"nothing is said otherwise, and the past can't be read", "body.n == 1", "0", "body.n == 1", "5", true, false},
		{"an edit takes the gate away", "body.n == 1", "1", "body.n > 0", "", false, true},
		{"an edit widens the gate", "body.n == 1", "1", "body.n > 0", "100", false, true},
		{"an edit brings a gate", "body.n == 1", "", "body.n > 0", "1", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := threeEvents()
			if tt.broken {
				src.err = errors.New("disk I/O error")
			}
			was, now := rulesWhen(t, tt.was, tt.over), rulesWhen(t, tt.now, tt.edit)
			g, told := gateOf(src, was)
			g.offer(t.Context(), now)
			if held := g.Held() != nil; held != tt.held {
				t.Errorf("held = %v, want %v", held, tt.held)
			}
			if inForce := g.current() == now; inForce == tt.held {
				t.Errorf("in force = %v, want %v", inForce, !tt.held)
			}
			if len(*told) != 1 || (*told)[0].Rules == nil || (*told)[0].Rules.Hash != now.Hash || (*told)[0].Rules.Current == tt.held {
				t.Errorf("told %+v, want these rules, current: %v", *told, !tt.held)
			}
			if diff := (*told)[0].Rules.Diff; (diff == "") != (now.Hash == was.Hash) {
				t.Errorf("diff = %q", diff)
			}
			if changes := (*told)[0].Rules.Changes; (changes == nil) != (tt.broken && tt.was != tt.now) {
				t.Errorf("changes = %+v", changes)
			}
		})
	}
}

func TestGateAcceptsWhatItHolds(t *testing.T) {
	was, now := rulesWhen(t, "body.n == 1", "0"), rulesWhen(t, "body.n > 0", "0")
	g, _ := gateOf(threeEvents(), was)
	if _, err := g.Accept(t.Context(), ""); err == nil {
		t.Error("accepted although nothing is held")
	}
	g.offer(t.Context(), now)
	if _, err := g.Accept(t.Context(), was.Hash); err == nil || g.current() != was {
		t.Errorf("error %v, want one: others are held", err)
	}
	got, err := g.Accept(t.Context(), now.Hash)
	if err != nil || got.Hash != now.Hash || !got.Current {
		t.Errorf("accepted %+v, error %v, want %s", got, err, now.Hash)
	}
	if g.current() != now || g.Held() != nil {
		t.Error("what was accepted is not in force, or still held")
	}
}

func TestGateTakesAnEditBack(t *testing.T) {
	was := rulesWhen(t, "body.n == 1", "0")
	g, _ := gateOf(threeEvents(), was)
	g.offer(t.Context(), rulesWhen(t, "body.n > 0", "0"))
	if g.Held() == nil {
		t.Fatal("nothing is held")
	}
	g.offer(t.Context(), rulesWhen(t, "body.n == 1", "0"))
	if g.Held() != nil {
		t.Error("rules are held although their files were put back")
	}
}

// TestGateComparesWithWhatIsInForce: what is accepted while other rules are
// compared is what they are held against.
func TestGateComparesWithWhatIsInForce(t *testing.T) {
	src := threeEvents()
	g, _ := gateOf(src, rulesWhen(t, "body.n == 1", "1"))
	held := rulesWhen(t, "body.n > 0", "1")
	g.offer(t.Context(), held)
	src.asked = func() {
		src.asked = nil
		if _, err := g.Accept(t.Context(), held.Hash); err != nil {
			t.Error(err)
		}
	}
	next := rulesWhen(t, "body.n >= 1", "1") // decides as what was held, and not as what was in force
	g.offer(t.Context(), next)
	if g.current() != next || g.Held() != nil {
		t.Errorf("held %v, want it in force: it changes nothing of what was accepted", g.Held())
	}
}
