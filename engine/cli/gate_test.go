package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
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

func (p *pastEvents) Records(_ context.Context, f engine.EventFilter) ([]engine.EventRecord, int64, error) {
	if p.asked != nil {
		p.asked()
	}
	if f.Limit < len(p.records) {
		return p.records[:f.Limit], 1, p.err
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
		{"nothing is said otherwise, and the past can't be read", "body.n == 1", "5", "body.n == 1", "0", true, false},
		{"an edit takes the gate away and changes nothing else", "body.n == 1", "1", "body.n == 1", "", false, true},
		{"an edit widens the gate and changes nothing else", "body.n == 1", "1", "body.n == 1", "2", false, true},
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
			if diff := (*told)[0].Rules.Diff; diff != "" {
				t.Errorf("told the diff %q, want none: it is asked for", diff)
			}
			if held := g.Held(); held != nil && held.Diff == "" {
				t.Error("what is held has no diff")
			}
			if changes := (*told)[0].Rules.Changes; (changes == nil) != (tt.broken && tt.was != tt.now) {
				t.Errorf("changes = %+v", changes)
			}
		})
	}
}

// TestGateHoldsWhatItCouldNotAskAbout: who sends events can't send so many that an
// edit gets past the gate for it.
func TestGateHoldsWhatItCouldNotAskAbout(t *testing.T) {
	const allOf, someOf = "body.n == 1", "body.n == 1 && true"
	tests := []struct {
		name   string
		most   int
		within time.Duration
		takes  time.Duration // to read the events
		why    string        // "": they are in force
	}{
		{"all events are asked about", 3, time.Second, 0, ""},
		{"there are more events", 2, time.Second, 0, "it can't be told what they change: 2 events of the last 24h were asked about, older ones were left out, as no more than 2 are looked at"},
		{"it takes longer", 3, time.Second, 2 * time.Second, "it can't be told what they change: 0 events of the last 24h were asked about, older ones were left out, as they had to be done within 1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := threeEvents()
				src.asked = func() { time.Sleep(tt.takes) }
				was, now := rulesWhen(t, allOf, "0"), rulesWhen(t, someOf, "0")
				g, _ := gateOf(src, was)
				g.most, g.within = tt.most, tt.within
				g.offer(t.Context(), now)
				if inForce := g.current() == now; inForce != (tt.why == "") {
					t.Errorf("in force = %v, want %v", inForce, tt.why == "")
				}
				if held := g.Held(); held != nil && held.Why != tt.why {
					t.Errorf("held: %s\nwant:  %s", held.Why, tt.why)
				}
			})
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

// TestGateRemembersWhatReloadsChanged: of each pair of rules, in either order, and
// where a person accepted them.
func TestGateRemembersWhatReloadsChanged(t *testing.T) {
	one, all, two := rulesWhen(t, "body.n == 1", ""), rulesWhen(t, "body.n > 0", ""), rulesWhen(t, "body.n == 2", "0")
	g, _ := gateOf(threeEvents(), one)
	for _, next := range []*rules.Generation{all, one, two} {
		g.offer(t.Context(), next)
	}
	if got := g.changesOf(one.Hash, two.Hash); got != nil {
		t.Errorf("rules that are held have changed %+v, want nothing", got)
	}
	if _, err := g.Accept(t.Context(), two.Hash); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		before, now *rules.Generation
		newly, less int
	}{{"more match", one, all, 2, 0}, {"and back", all, one, 0, 2}, {"others match", one, two, 1, 1}} {
		got := g.changesOf(tt.before.Hash, tt.now.Hash)
		if got == nil || got.Events != 3 || len(got.Rules) != 1 || got.Rules[0].Newly != tt.newly || got.Rules[0].NoMore != tt.less {
			t.Errorf("%s: changes are %+v, want +%d -%d of 3 events", tt.name, got, tt.newly, tt.less)
		}
	}
	if got := g.changesOf(all.Hash, two.Hash); got != nil {
		t.Errorf("changes of a reload that never was are %+v", got)
	}
	for range 2 * maxChanged {
		g.offer(t.Context(), rulesWhen(t, "body.n == 1", ""))
		g.offer(t.Context(), all)
	}
	if n := len(g.changed); n > maxChanged {
		t.Errorf("%d reloads are remembered, want at most %d", n, maxChanged)
	}
}

// TestGateKeepsWhyRulesWereRefused: until the files hold good ones, also where
// these are held.
func TestGateKeepsWhyRulesWereRefused(t *testing.T) {
	was := rulesWhen(t, "body.n == 1", "0")
	was.Rules.Secrets = []engine.Secret{engine.NewSecret("s3cret-value")}
	g, told := gateOf(threeEvents(), was)
	problems := []rules.Problem{{File: "r.yaml", Line: 9, Msg: "a word", Warning: true}, {File: "r.yaml", Line: 3, Col: 5, Rule: "a", Msg: "unknown key s3cret-value", Hint: "when"}}
	for range control.MaxProblems + 1 {
		problems = append(problems, rules.Problem{File: "r.yaml", Msg: "again"})
	}
	g.refuse(problems)
	got := g.Refused()
	if got == nil || len(got.Problems) != control.MaxProblems || got.More != 2 {
		t.Fatalf("refused is %+v, want %d problems and 2 more", got, control.MaxProblems)
	}
	if first, want := got.Problems[0], (control.RuleProblem{Place: "r.yaml:3:5", Rule: "a", Msg: "unknown key ***", Hint: "when"}); first != want {
		t.Errorf("the first problem is %+v, want %+v", first, want)
	}
	if len(*told) != 1 || (*told)[0].Refused != got {
		t.Errorf("told %+v, want the refusal", *told)
	}
	g.offer(t.Context(), rulesWhen(t, "body.n > 0", "0"))
	if g.Held() == nil || g.Refused() != nil {
		t.Errorf("good rules came: held %v, refused %+v", g.Held() != nil, g.Refused())
	}
}

// onLog is a log that calls a function with each message.
type onLog func(msg string)

func (onLog) Enabled(context.Context, slog.Level) bool { return true }

func (f onLog) Handle(_ context.Context, r slog.Record) error {
	f(r.Message)
	return nil
}

func (f onLog) WithAttrs([]slog.Attr) slog.Handler { return f }
func (f onLog) WithGroup(string) slog.Handler      { return f }

// TestWhatIsLoggedCanBeAskedFor: whoever reads the line asks at once.
func TestWhatIsLoggedCanBeAskedFor(t *testing.T) {
	was, now := rulesWhen(t, "body.n == 1", ""), rulesWhen(t, "body.n > 0", "")
	g, _ := gateOf(threeEvents(), was)
	asked := false
	g.log = slog.New(onLog(func(msg string) {
		if msg == "rules would have decided otherwise" {
			asked = true
			if g.changesOf(was.Hash, now.Hash) == nil {
				t.Error("it is logged what the rules change, and not known yet")
			}
		}
	}))
	g.offer(t.Context(), now)
	if !asked {
		t.Error("nothing was logged of what the rules change")
	}
}
