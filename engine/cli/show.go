package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

const showManual = `hookrun runs show ID [flags]

Prints all about a run: why it is as it is, its rule and event, what it waited
for, and of each attempt what every action did: its command, file or call as the
event made it, and the last 20 lines that it printed. With -v also what it was
given to read or to send, and all output that is kept. Of a rule in mode shadow
it prints what would have been done, of one that hookrun arm holds what it would
do if it was released. Secrets are masked.

The event itself is not shown: hookrun events show does.

Examples:
  hookrun runs show 0197f3c2-8a1b-7a2c
  hookrun runs show 0197f3c2-8a1b-7a2c -v
  hookrun runs show 0197f3c2-8a1b-7a2c -json

Exit codes: 0 done, 1 there is no such run, 2 wrong usage.`

// Bounds of what show prints of a stream without -v.
const (
	shownLines  = 20
	maxLineShow = 500 // characters of one line
)

// showOptions are the flags of runs show.
type showOptions struct {
	desk          deskFlags
	json, verbose bool
}

func showCommand() command {
	return command{name: "runs show", manual: showManual, run: runShow}
}

func runShow(ctx context.Context, p Process, c command, args []string) error {
	var o showOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.BoolVar(&o.json, "json", false, "print it as one JSON object")
	fs.BoolVar(&o.verbose, "v", false, "print all output that is kept")
	id, err := parseID(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.desk.read(ctx, p, c, func(d control.Desk) error { return o.print(ctx, d, id, screenOf(p.Stdout)) })
}

func (o *showOptions) print(ctx context.Context, d control.Desk, id string, out screen) error {
	detail, err := d.Show(ctx, id)
	if err != nil {
		return err
	}
	if o.json {
		return out.json(detail)
	}
	s := shown{out: out, all: o.verbose}
	s.run(&detail)
	s.event(&detail)
	s.times(&detail.Run, time.Now())
	s.steps(detail.Steps)
	s.held(&detail)
	s.next(&detail.Run, o.desk.words())
	return nil
}

// shown prints the parts of a run.
type shown struct {
	out screen
	all bool // not only the end of what was printed
}

// field prints a named value, where there is one.
func (s shown) field(name, value string) {
	if value != "" {
		fmt.Fprintf(s.out, "%-9s %s\n", name, printable(value))
	}
}

func (s shown) run(d *control.Detail) {
	r := &d.Run
	s.field("run", r.ID)
	state := string(r.State)
	if r.Stop != "" && !r.State.Finished() {
		state += ", about to end as " + string(r.Stop)
	}
	s.field("state", state)
	s.field("waits", r.Why)
	s.field("why", r.Error)
	s.field("by", r.By)
	s.field("rule", r.Rule)
	s.field("key", r.Key)
	if len(d.Element) > 0 {
		element := string(d.Element)
		if !s.all {
			element = clip(element, maxLineShow)
		}
		s.field("element", fmt.Sprintf("%d: %s", r.Index, element))
	}
}

func (s shown) event(d *control.Detail) {
	ev := d.Event
	if ev == nil {
		s.field("event", d.Run.Event)
		return
	}
	s.field("event", ev.ID)
	request := fmt.Sprintf("%s %s to bucket %s", ev.Method, ev.Path, ev.Bucket)
	if ev.Input != "" {
		request += ", input " + ev.Input
	}
	request += fmt.Sprintf(", %d bytes, by way of %s", ev.Size, ev.Source)
	if ev.Remote != "" {
		request += ", from " + ev.Remote
	}
	s.field("request", request)
	s.field("received", clock(ev.Received))
	if d.Verdict != nil && len(d.Verdict.Missing) > 0 {
		s.field("missing", strings.Join(d.Verdict.Missing, ", ")+": the condition read this, and the body does not have it")
	}
}

func (s shown) times(r *control.Run, now time.Time) {
	s.field("created", clock(r.Created))
	s.field("waited", r.Waited)
	if !r.Started.IsZero() {
		s.field("started", clock(r.Started))
	}
	if !r.Finished.IsZero() {
		finished := clock(r.Finished)
		if t := took(r, now); t != "" {
			finished += ", after " + t
		}
		s.field("finished", finished)
	}
	if r.State == engine.Queued && r.Due.After(now) {
		s.field("goes on", clock(r.Due))
	}
	attempts := fmt.Sprint(r.Attempts)
	if r.Cut > 0 {
		attempts += fmt.Sprintf(", %d of them cut off by an end of hookrun", r.Cut)
	}
	s.field("attempts", attempts)
	for note := range strings.SplitSeq(r.Note, "\n") {
		s.field("note", note)
	}
}

// steps prints them under their attempts.
func (s shown) steps(steps []control.Step) {
	attempt := -1
	for i := range steps {
		st := &steps[i]
		if st.Attempt != attempt {
			attempt = st.Attempt
			head := fmt.Sprintf("attempt %d, %s", attempt, clock(st.Started))
			if attempt == 0 {
				head = "in shadow: what would have been done"
			}
			fmt.Fprintf(s.out, "\n%s\n", head)
		}
		s.step(st)
	}
}

func (s shown) step(st *control.Step) {
	words := []string{fmt.Sprintf("%s (%s)", st.Step, st.Kind), string(st.State)}
	if phase := string(st.Phase); !strings.HasPrefix(st.Step, phase) { // as it does where the rule gives no id
		words[0] += " of " + phase
	}
	if st.Passed {
		words[1] += ", the run went on"
	}
	words = append(words, outcome(st)...)
	if !st.Finished.IsZero() && st.Attempt > 0 {
		words = append(words, brief(st.Finished.Sub(st.Started)))
	}
	fmt.Fprintf(s.out, "  %s\n", printable(strings.Join(words, "  ")))
	if st.Error != "" {
		fmt.Fprintf(s.out, "    error: %s\n", printable(st.Error))
	}
	s.plan(st)
	for _, name := range slices.Sorted(maps.Keys(st.Outputs)) {
		fmt.Fprintf(s.out, "    output %s: %s\n", printable(name), printable(st.Outputs[name]))
	}
	s.text("stdout", st.Stdout)
	s.text("stderr", st.Stderr)
	s.text("answer", control.Text{Head: st.Body})
}

// plan prints what the action did. Where nothing was done, what it was to be given
// is all that there is to see.
func (s shown) plan(st *control.Step) {
	if st.Plan == nil {
		return
	}
	most := maxLineShow
	if s.all {
		most = 0
	}
	for _, line := range planLines(st.Plan, most, s.all || st.State == engine.StepShadow) {
		fmt.Fprintf(s.out, "    %s\n", line)
	}
}

// held prints what a run would do that waits for a person.
func (s shown) held(d *control.Detail) {
	if d.Planned == nil && d.PlannedErr == "" {
		return
	}
	fmt.Fprint(s.out, "\nheld: what it would do if it was released now\n")
	if d.PlannedErr != "" {
		fmt.Fprintf(s.out, "  not known: %s\n", printable(d.PlannedErr))
		return
	}
	if d.Planned.Err != "" {
		fmt.Fprintf(s.out, "  it would fail at once: %s\n", printable(d.Planned.Err))
	}
	for i := range d.Planned.Steps {
		s.planned(&d.Planned.Steps[i])
	}
}

// planned prints a step that would be done.
func (s shown) planned(st *engine.PlannedStep) {
	title := fmt.Sprintf("%s (%s)", st.Step, st.Kind)
	switch {
	case st.Skip:
		title += "  skipped"
	case st.Open:
		title += "  if a step before has it so"
	}
	fmt.Fprintf(s.out, "  %s\n", printable(title))
	if st.Err != "" {
		fmt.Fprintf(s.out, "    error: %s\n", printable(st.Err))
	}
	if st.Skip || st.Err != "" {
		return
	}
	most := maxLineShow
	if s.all {
		most = 0
	}
	for _, line := range planLines(&st.Plan, most, true) {
		fmt.Fprintf(s.out, "    %s\n", line)
	}
	for _, open := range st.Plan.Open {
		fmt.Fprintf(s.out, "    {{ %s }}: that step has not run\n", printable(open))
	}
}

// outcome is what the action of a step says of itself.
func outcome(st *control.Step) []string {
	switch {
	case st.Signal != "":
		return []string{st.Signal}
	case st.ExitCode != nil:
		return []string{fmt.Sprintf("exit code %d", *st.ExitCode)}
	case st.Status != 0:
		return []string{fmt.Sprintf("status %d", st.Status)}
	case st.Path != "":
		return []string{fmt.Sprintf("%d bytes to %s", st.Size, st.Path)}
	}
	return nil
}

// text prints the end of a stream, or all that is kept of it.
func (s shown) text(name string, t control.Text) {
	kept := engine.Text{Head: t.Head, Cut: t.Cut, Tail: t.Tail}.String()
	lines := strings.Split(strings.TrimRight(readable(kept), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return
	}
	if over := len(lines) - shownLines; over > 0 && !s.all {
		lines = lines[over:]
		name += fmt.Sprintf(", the last %d of %d lines", shownLines, shownLines+over)
	}
	fmt.Fprintf(s.out, "    %s:\n", name)
	for _, line := range lines {
		if !s.all {
			line = clip(line, maxLineShow)
		}
		fmt.Fprintln(s.out, strings.TrimRight("      "+line, " "))
	}
}

// next says what can be done with the run.
func (s shown) next(r *control.Run, words string) {
	id := short(r.ID)
	switch {
	case r.State == engine.Shadow:
		fmt.Fprintf(s.out, "\nto run its event with the rules as they are now: hookrun replay -run %s%s\n", id, words)
	case r.State == engine.Done:
		fmt.Fprintf(s.out, "\nto run it again: hookrun runs retry %s%s\n", id, words)
	case r.State.Finished() && r.Attempts > 0:
		fmt.Fprintf(s.out, "\nto go on where it failed: hookrun runs retry %s%s (-all: from the first action)\n", id, words)
	case r.State.Finished():
		fmt.Fprintf(s.out, "\nto run it all the same: hookrun runs retry %s%s\n", id, words)
	case r.Armed:
		fmt.Fprintf(s.out, "\nto let it go: hookrun runs release %s%s\n", id, words)
		fmt.Fprintf(s.out, "to drop it: hookrun runs cancel %s%s\n", id, words)
	default:
		fmt.Fprintf(s.out, "\nto follow it: hookrun runs logs %s%s -f\n", id, words)
		fmt.Fprintf(s.out, "to end it: hookrun runs cancel %s%s\n", id, words)
	}
}
