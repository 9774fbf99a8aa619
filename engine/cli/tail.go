package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

const tailManual = `hookrun tail [flags]

Prints what happens as it does, a line each, until it is told to end: events and
what became of them, runs and the states that they come to, webhooks that were
turned away, rules that came into force, changes of health.

-bucket, -rule, -outcome and -state narrow it. With -rule events are those that it
matched or failed on; with -bucket runs are those of events that came since; with
-outcome alone there are only events, with -state alone only runs.

It goes on over a restart of hookrun, and says so.

Examples:
  hookrun tail
  hookrun tail -rule 'deploy main'
  hookrun tail -state failed -json | jq .run.error

Exit codes: 0 ended by a signal, 1 no hookrun runs, 2 wrong usage.`

func tailCommand() command {
	return command{name: "tail", summary: "print events and runs as they come", manual: tailManual, run: runTail}
}

// tailOptions are the flags of tail.
type tailOptions struct {
	desk             deskFlags
	bucket, rule     string
	outcomes, states list
	json             bool
}

func runTail(ctx context.Context, p Process, c command, args []string) error {
	var o tailOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.StringVar(&o.bucket, "bucket", "", "only of this `BUCKET`, by its name or id")
	fs.StringVar(&o.rule, "rule", "", "only of this `RULE`")
	fs.Var(&o.outcomes, "outcome", "only events with this `OUTCOME`; several with commas")
	fs.Var(&o.states, "state", "only runs that come to this `STATE`; several with commas")
	fs.BoolVar(&o.json, "json", false, "print one JSON object a line")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	t := &tail{out: screenOf(p.Stdout), stderr: p.Stderr, json: o.json, now: time.Now}
	return o.follow(ctx, c, t)
}

func (o *tailOptions) query() control.WatchQuery {
	return control.WatchQuery{
		Bucket: o.bucket, Rule: o.rule, Outcomes: split[engine.EventOutcome](o.outcomes), States: split[engine.State](o.states),
	}
}

// redial is how often one who tails looks for a hookrun that has ended.
const redial = time.Second

// follow watches until ctx ends, one hookrun after the other.
func (o *tailOptions) follow(ctx context.Context, c command, t *tail) error {
	for {
		client, err := control.Dial(ctx, o.desk.data)
		if err == nil {
			t.unknown(ctx, client, o.rule)
			err = client.Watch(ctx, o.query(), t.notice)
		}
		switch {
		case ctx.Err() != nil:
			return nil // a person has seen enough
		case errors.Is(err, control.ErrNoDaemon) && !t.watched:
			return o.desk.noneRuns(c)
		case !errors.Is(err, control.ErrNoDaemon) && !errors.Is(err, control.ErrWatchEnded):
			return deskError(c, err)
		}
		t.ended()
		select {
		case <-time.After(redial):
		case <-ctx.Done():
			return nil
		}
	}
}

// tail prints what happens.
type tail struct {
	out    screen
	stderr io.Writer
	json   bool
	now    func() time.Time

	asked   bool // whether there is the rule that is wanted
	watched bool // a hookrun was found
	lost    bool // and has ended

	runs map[string]string // by id, what was printed of a run last
}

// maxTailed bounds the runs whose last line is known: a run that changes and
// stays in its state has no second one.
const maxTailed = 1000

// ended tells that hookrun has, once.
func (t *tail) ended() {
	if !t.lost {
		t.lost = true
		fmt.Fprintln(t.stderr, "hookrun: hookrun has ended; this goes on when it runs again")
	}
}

// ruleLister is what tail asks for the names of rules.
type ruleLister interface {
	Rules(ctx context.Context) (control.RuleList, error)
}

// unknown says of a rule that there is none, once: it may come yet.
func (t *tail) unknown(ctx context.Context, d ruleLister, rule string) {
	if rule == "" || t.asked {
		return
	}
	list, err := d.Rules(ctx)
	if err != nil {
		return // Watch says what is wrong
	}
	t.asked = true
	var names []string
	for i := range list.Rules {
		names = append(names, list.Rules[i].Name)
	}
	if slices.Contains(names, rule) {
		return
	}
	fmt.Fprintf(t.stderr, "hookrun: there is no rule %q yet\n", rule)
	if hint := nearestName(rule, names); hint != "" {
		fmt.Fprintf(t.stderr, "hookrun: hint: %s\n", printable(hint))
	}
}

// notice prints one.
func (t *tail) notice(n control.Notice) error {
	if n == (control.Notice{}) { // it is watched from now on
		if t.lost {
			fmt.Fprintln(t.stderr, "hookrun: hookrun runs again; what came meanwhile is listed by hookrun events")
		}
		t.watched, t.lost = true, false
		return nil
	}
	if t.json {
		return t.out.json(n)
	}
	switch {
	case n.Event != nil:
		t.event(n.Event)
	case n.Run != nil:
		t.run(n.Run)
	case n.Rejected != nil:
		r := n.Rejected
		t.line(r.Received, "event", "", "rejected", red, fmt.Sprintf("%s  %s %s  from %s: %s", r.Bucket, r.Method, r.Path, cmp.Or(r.Remote, r.Source), r.Reason))
	case n.Rules != nil:
		t.rules(n.Rules)
	case n.Refused != nil:
		t.line(n.Refused.At, "rules", "", "refused", red, strings.Join(refusalLines(n.Refused), "  "))
	case n.Health != nil:
		t.health(*n.Health)
	case n.Missed > 0:
		fmt.Fprintf(t.stderr, "hookrun: %d lines are left out here: they came faster than they were read\n", n.Missed)
	}
	return nil
}

// line prints a line: when, of what, which one, what became of it, and more.
func (t *tail) line(at time.Time, what, id, word string, c colour, more string) {
	before := fmt.Sprintf("%s  %-5s  %-*s  ", at.Local().Format(time.TimeOnly), what, shortID, short(id))
	const wordColumn = 10 // characters of the longest outcome but one
	after := strings.Repeat(" ", max(0, wordColumn-len(word))) + "  " + printable(more)
	t.out.marked(before, word, strings.TrimRight(after, " "), c)
}

func (t *tail) event(e *control.EventRow) {
	more := e.Bucket + "  " + requestColumn(e)
	if rules := rulesColumn(e); rules != "" {
		more += "  " + rules
	}
	t.line(e.Received, "event", e.ID, string(e.Outcome), outcomeColour(e.Outcome), more)
}

func outcomeColour(o engine.EventOutcome) colour {
	switch o {
	case engine.EventStarted:
		return green
	case engine.EventErrored:
		return red
	case engine.EventSuppressed:
		return yellow
	case engine.EventShadowed:
		return magenta
	}
	return faint
}

func (t *tail) run(r *control.Run) {
	now := t.now()
	more := ruleColumn(r)
	if r.State.Finished() {
		if took := took(r, now); took != "" && r.Attempts > 0 {
			more += "  " + took
		}
	}
	if why := newsOf(r, now); why != "" {
		more += "  " + why
	}
	if t.isNews(r.ID, fmt.Sprint(r.State, r.Attempts, more)) {
		t.line(now, "run", r.ID, string(r.State), stateColour(r.State), more)
	}
}

// newsOf says why the run is as it is, without what was said of the attempt before.
func newsOf(r *control.Run, now time.Time) string {
	news := *r
	switch {
	case r.State == engine.Running && r.Attempts > 1:
		news.Error = ""
		return joinReason(fmt.Sprintf("attempt %d", r.Attempts), whyColumn(&news))
	case r.State == engine.Queued && r.Attempts > 0 && r.Error != "":
		again := "will retry"
		if r.Due.After(now) {
			again += " at " + r.Due.Local().Format(time.TimeOnly)
		}
		return joinReason(again, whyColumn(&news))
	}
	return whyColumn(r)
}

// isNews reports whether something else was printed of a run before.
func (t *tail) isNews(run, said string) bool {
	if t.runs[run] == said {
		return false
	}
	if t.runs == nil || len(t.runs) == maxTailed {
		t.runs = map[string]string{}
	}
	t.runs[run] = said
	return true
}

func stateColour(s engine.State) colour {
	switch s {
	case engine.Done:
		return green
	case engine.Failed, engine.Tripped:
		return red
	case engine.Running:
		return blue
	case engine.Cancelled, engine.Abandoned:
		return yellow
	case engine.Shadow:
		return magenta
	case engine.Queued:
		return noColour
	}
	return faint
}

func (t *tail) rules(g *control.Generation) {
	word, c, more := "in force", green, strings.Join(g.Files, " ")
	if !g.Current {
		word, c = "held", yellow
		more += "  hookrun rules accept " + g.Hash
	}
	if ch := g.Changes; ch != nil && ch.Flipped > 0 {
		more += fmt.Sprintf("  other than %s of %s", count(ch.Flipped, "decision"), ch.Of)
	}
	t.line(t.now(), "rules", g.Hash, word, c, more)
}

func (t *tail) health(h control.Health) {
	if h.OK {
		t.line(t.now(), "state", "", "well", green, "")
		return
	}
	t.line(t.now(), "state", "", "not well", red, h.Reason)
}
