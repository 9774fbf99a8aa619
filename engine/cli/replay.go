package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/rehearse"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

const replayManual = `hookrun replay [flags]
hookrun replay -run ID… [flags]

Asks the rules, as their files are now, about the events that are kept, and says
what would be otherwise than it was: which rules match events that they did not
match (+), no longer match (-), would do something else (~), or fail (!). Nothing
is run. What time and other runs decide (dedupe, throttle, queues) is left out.

The store of the data folder is read, whether or not a hookrun runs on it.
Without -rules the files are those that hookrun ran with last. Secrets that the
environment does not have don't matter: they are masked on both sides.

With -run the events, or those of the runs, are really run again by the hookrun
that runs on the data folder: by all rules that match now, of a run by its rule
alone. Each is an event of its own that says what it is a replay of. It asks
first; where it can't, -yes says that it is meant.

Examples:
  hookrun replay -since 24h
  hookrun replay -rules rules.new.yaml -rule "deploy main" -v
  hookrun replay -run 0197f3c2-8a1b-7a2c
  hookrun replay -run -yes -rule notify 0197f3c2-8a1b-7a2c 0197f3c2-91de-7f01

Exit codes: 0 done, with -exit-code: and nothing differs, 1 it could not, with
-exit-code something differs, or with -run no rule matched, 2 wrong usage.`

func replayCommand() command {
	return command{name: "replay", summary: "ask the rules about past events, or run some again", manual: replayManual, run: runReplay}
}

// replayOptions are the flags of replay.
type replayOptions struct {
	desk          deskFlags
	rules         list
	since         moment
	bucket, rule  string
	limit         int
	json, verbose bool
	exitCode      bool
	run, yes      bool
	ids           []string
}

func runReplay(ctx context.Context, p Process, c command, args []string) error {
	var o replayOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.Var(&o.rules, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	fs.Var(&o.since, "since", "only events received since this `TIME`: 24h, 7d, 2026-07-01 or RFC 3339")
	fs.StringVar(&o.bucket, "bucket", "", "only events of this `BUCKET`")
	fs.StringVar(&o.rule, "rule", "", "only this `RULE`")
	fs.IntVar(&o.limit, "limit", rehearse.DefaultLimit, "at most `N` events, the newest")
	fs.BoolVar(&o.json, "json", false, "print the answer as JSON")
	fs.BoolVar(&o.verbose, "v", false, "print more events of each kind, and all that differs")
	fs.BoolVar(&o.exitCode, "exit-code", false, "exit with 1 where something differs")
	fs.BoolVar(&o.run, "run", false, "really run the events or runs with these ids again")
	fs.BoolVar(&o.yes, "yes", false, "with -run: don't ask")
	var err error
	if o.ids, err = parseWords(p, c, fs, args, maxReplayed); err != nil {
		return err
	}
	if err := o.check(fs); err != nil {
		return err
	}
	if o.run {
		return deskError(c, o.runAgain(ctx, p))
	}
	return o.rehearse(ctx, p)
}

// maxReplayed is how many events one command runs again.
const maxReplayed = 1000

// check refuses flags that don't go together.
func (o *replayOptions) check(fs *flag.FlagSet) error {
	rehearsal := []string{"rules", "since", "bucket", "limit", "v", "exit-code"}
	wrong := ""
	fs.Visit(func(f *flag.Flag) {
		for _, name := range rehearsal {
			if f.Name == name {
				wrong = name
			}
		}
	})
	switch {
	case !o.run && len(o.ids) > 0:
		return &usageError{fmt.Sprintf("replay: unexpected argument %q", o.ids[0]), "hookrun replay -run " + o.ids[0] + " runs it again; hookrun explain -event ID says what the rules make of it"}
	case !o.run && o.yes:
		return &usageError{"replay: -yes goes with -run", "without -run nothing is run"}
	case o.run && len(o.ids) == 0:
		return &usageError{"replay: -run needs the id of an event or a run", "hookrun events and hookrun runs list them"}
	case o.run && wrong != "":
		return &usageError{"replay: -run does not go with -" + wrong, "it runs the events that are named, by the rules in force"}
	case o.limit < 1:
		return &usageError{fmt.Sprintf("replay: -limit=%d is less than 1", o.limit), ""}
	}
	return nil
}

// rehearse compares what was with what would be.
func (o *replayOptions) rehearse(ctx context.Context, p Process) error {
	g, err := o.load(p)
	if err != nil {
		return err
	}
	if err := knownRule(g, o.rule); err != nil {
		return err
	}
	reader, err := store.OpenReader(ctx, o.desk.data)
	if err != nil {
		return o.desk.noStore(err)
	}
	report, err := rehearse.Compare(ctx, reader, rehearse.Options{
		Window: rehearse.Window{Since: time.Time(o.since), Bucket: o.bucket, Limit: o.limit},
		Rules:  g.Rules, Rule: o.rule, Plans: true, Made: generations(openArchive(o.desk.data)),
	})
	if err = errors.Join(err, reader.Close()); err != nil {
		return err
	}
	out := screenOf(p.Stdout)
	if o.json {
		err = out.json(report)
	} else {
		printReport(out, report, o.verbose)
	}
	if hint := noEvents(report, o.bucket, g); hint != "" {
		fmt.Fprintf(p.Stderr, "hookrun: there are no such events\nhookrun: hint: %s\n", printable(hint))
	}
	if err == nil && o.exitCode && !report.Same() {
		return exitError(exitFailed)
	}
	return err
}

// knownRule refuses a rule that the rules don't have.
func knownRule(g *rules.Generation, rule string) error {
	if rule == "" || g.Rules.Rule(rule) != nil {
		return nil
	}
	return withHint(fmt.Errorf("there is no rule %q that is switched on", rule), "%s", nearestRule(rule, g))
}

// load reads the rules as their files are now.
func (o *replayOptions) load(p Process) (*rules.Generation, error) {
	paths := o.rules
	if len(paths) == 0 {
		entries, err := openArchive(o.desk.data).List()
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return nil, &usageError{"replay: -rules is missing, and no rules were ever in force on " + o.desk.data, "hookrun replay -rules rules.yaml; -data names the folder that hookrun runs with"}
		}
		paths = entries[0].Paths
	}
	g, problems := rules.Load(paths, rules.Options{Dry: true})
	if g == nil {
		printProblems(p, problems)
		return nil, exitError(exitFailed)
	}
	return g, nil
}

// printReport prints what differs: a line for each rule, then how.
func printReport(out screen, r *rehearse.Report, verbose bool) {
	out.line(summaryOf(r))
	if r.Left != "" {
		out.line("older events were left out: " + r.Left)
	}
	if r.Same() {
		return
	}
	rows := [][]string{}
	for i := range r.Rules {
		rows = append(rows, ruleRow(&r.Rules[i]))
	}
	out.columns(rows)
	for i := range r.Rules {
		printRuleReport(out, &r.Rules[i], verbose)
	}
}

// noEvents says of a report of nothing why that may be; "": it is one of some.
func noEvents(r *rehearse.Report, bucket string, g *rules.Generation) string {
	if r.Events > 0 {
		return ""
	}
	known := bucketsOf(g.Rules)
	if bucket == "" || slices.Contains(known, bucket) {
		return "hookrun events lists what came; -since asks further back, -data names the folder that hookrun runs with"
	}
	return cmp.Or(engine.Nearest(bucket, known), fmt.Sprintf("no rule names the bucket %q", bucket))
}

func summaryOf(r *rehearse.Report) string {
	seen := count(r.Events, "event")
	if !r.Oldest.IsZero() {
		seen += " since " + clock(r.Oldest)
	}
	if r.Skipped > 0 {
		seen += fmt.Sprintf(" (%d left out: replays, and those that no rule was asked about)", r.Skipped)
	}
	if r.Events == 0 {
		return seen + ": nothing to compare"
	}
	if r.Same() {
		return seen + ": nothing differs"
	}
	return fmt.Sprintf("%s: %s of %s", seen, count(r.Flipped, "other decision"), count(len(r.Rules), "rule"))
}

// ruleRow is a rule as a line of a table.
func ruleRow(r *rehearse.RuleReport) []string {
	note := printable(r.Place)
	switch {
	case r.New:
		note = joinWords("new", note)
	case r.Gone:
		note = "gone"
	}
	return []string{
		" " + clip(printable(r.Rule), maxRuleColumn),
		fmt.Sprintf("+%d", r.Newly), fmt.Sprintf("-%d", r.NoMore), fmt.Sprintf("~%d", r.Differs), fmt.Sprintf("!%d", r.Fails), note,
	}
}

func printRuleReport(out screen, r *rehearse.RuleReport, verbose bool) {
	out.line("")
	out.line(fmt.Sprintf("rule %q", printable(r.Rule)))
	for _, g := range r.Groups {
		out.line("  " + groupLine(g))
		shown := g.Sample
		if !verbose {
			shown = shown[:1]
		}
		out.line("      " + printable(strings.Join(shown, " ")))
		for i, d := range g.Diffs {
			if i == maxShownDiffs && !verbose {
				out.line(fmt.Sprintf("      and %d more, -v prints them", len(g.Diffs)-i))
				break
			}
			out.line("      " + diffLine(d))
		}
	}
	if r.Uncompared > 0 {
		out.line(fmt.Sprintf("  %s more match as before; what they ran is not known", count(r.Uncompared, "event")))
	}
}

// maxShownDiffs is how many differences of one event are printed.
const maxShownDiffs = 6

// groupLine says how many events differ in one way.
func groupLine(g rehearse.Group) string {
	said := map[rehearse.Kind]string{
		rehearse.Newly:   "+ %s newly matching",
		rehearse.NoMore:  "- %s no longer matching",
		rehearse.Differs: "~ %s with something else to do",
		rehearse.Fails:   "! %s at which the condition fails",
	}[g.Kind]
	return printable(joinReason(fmt.Sprintf(said, count(g.Count, "event")), g.Why))
}

func joinReason(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// diffLine says how one text differs.
func diffLine(d rehearse.Diff) string {
	line := fmt.Sprintf("%s: %q → %q", d.Field, d.Was, d.Now)
	if d.Step != "" {
		line = d.Step + ": " + line
	}
	return printable(line)
}

// runAgain has the hookrun that runs run events again.
func (o *replayOptions) runAgain(ctx context.Context, p Process) error {
	client, err := control.Dial(ctx, o.desk.data)
	if errors.Is(err, control.ErrNoDaemon) {
		return withHint(fmt.Errorf("no hookrun answers on %s", o.desk.data), "-run needs one that runs; -data names its folder")
	}
	if err != nil {
		return err
	}
	return o.replayAll(ctx, p, client)
}

// replayDesk is what replay -run asks.
type replayDesk interface {
	control.Desk
	control.History
	control.Control
}

func (o *replayOptions) replayAll(ctx context.Context, p Process, desk replayDesk) error {
	var chosen []control.ReplayQuery
	for _, id := range o.ids {
		q, err := o.choose(ctx, p, desk, id)
		if err != nil {
			return err
		}
		chosen = append(chosen, q)
	}
	if ok, err := o.confirmed(p, len(chosen)); err != nil || !ok {
		return err
	}
	started := true
	for _, q := range chosen {
		done, err := desk.Replay(ctx, q)
		if err != nil {
			return err
		}
		if err := o.printReplayed(screenOf(p.Stdout), done); err != nil {
			return err
		}
		if len(done.Runs) > 0 {
			continue
		}
		if why := startedNothing(ctx, desk, done.Event); why != "" {
			printError(p, fmt.Sprintf("replay: event %s started nothing: %s", printable(done.Event), why), "hookrun explain -event "+printable(short(done.Event))+o.desk.words())
			started = false
		}
	}
	if !started {
		return exitError(exitFailed)
	}
	return nil
}

// startedNothing says why an event has no run; "": it has, or nobody knows.
func startedNothing(ctx context.Context, desk control.History, event string) string {
	ev, err := desk.Event(ctx, event)
	switch {
	case err != nil || len(ev.Runs) > 0:
		return ""
	case len(ev.Errored) > 0:
		return "a condition failed"
	case len(ev.Matched) > 0:
		return "there was nothing to do"
	}
	return "no rule matched it"
}

// choose finds what an id means, and says on standard error what it would run.
func (o *replayOptions) choose(ctx context.Context, p Process, desk replayDesk, id string) (control.ReplayQuery, error) {
	q, rule := control.ReplayQuery{Event: id, Rule: o.rule}, o.rule
	event, err := desk.Event(ctx, id)
	if said, ok := errors.AsType[*control.Error](err); ok && said.Status == http.StatusNotFound {
		detail, runErr := desk.Show(ctx, id)
		if runErr != nil {
			return q, err
		}
		run := &detail.Run
		if rule != "" && rule != run.Rule {
			return q, &usageError{fmt.Sprintf("replay: %s is a run of rule %q", short(run.ID), printable(run.Rule)), "leave -rule out, or give its event: " + run.Event}
		}
		q, rule = control.ReplayQuery{Run: run.ID}, run.Rule
		event, err = desk.Event(ctx, run.Event)
	}
	if err != nil {
		return q, err
	}
	if q.Run == "" {
		q.Event = event.ID
	}
	if !o.yes {
		o.preview(ctx, p, desk, event, rule)
	}
	return q, nil
}

// preview says what a replay would run. That it can't be told keeps nobody from
// it.
func (o *replayOptions) preview(ctx context.Context, p Process, desk replayDesk, ev control.EventDetail, rule string) {
	out := screenOf(p.Stderr)
	out.line(printable(fmt.Sprintf("event %s of %s, bucket %s", ev.ID, clock(ev.Received), ev.Bucket)))
	told, err := desk.Explain(ctx, control.ExplainQuery{Event: ev.ID, Rule: rule})
	if err != nil {
		out.line("  what it would run can't be told: " + printable(err.Error()))
		return
	}
	matched := 0
	for _, x := range told.Asked {
		if len(x.Runs) == 0 || x.Shadow {
			continue
		}
		matched++
		fmt.Fprintln(out, printable(fmt.Sprintf("  rule %q", x.Rule)))
		shown := min(len(x.Runs), maxShownDiffs)
		for i := range x.Runs[:shown] {
			previewRun(out, &x.Runs[i])
		}
		if more := len(x.Runs) - shown; more > 0 {
			fmt.Fprintf(out, "    and %s more\n", count(more, "run"))
		}
	}
	if matched == 0 {
		out.line("  no rule matches it now")
	}
}

// previewRun prints in full what a run would do: a person is about to say yes.
func previewRun(out screen, r *engine.PlannedRun) {
	if r.Err != "" {
		fmt.Fprintf(out, "    it would fail at once: %s\n", printable(r.Err))
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		title := plannedTitle(s)
		if s.Open && !s.Skip && s.Err == "" {
			title += "  if a step before has it so"
		}
		fmt.Fprintf(out, "    %s\n", printable(title))
		if s.Skip || s.Err != "" {
			continue
		}
		for _, line := range planLines(&s.Plan, 0, false) {
			fmt.Fprintf(out, "      %s\n", line)
		}
	}
	if r.Unplanned != "" {
		fmt.Fprintf(out, "    %s\n", printable(r.Unplanned))
	}
}

// confirmed asks on a terminal. Elsewhere it wants -yes.
func (o *replayOptions) confirmed(p Process, n int) (bool, error) {
	if o.yes {
		return true, nil
	}
	in, ok := p.Stdin.(*os.File)
	if !ok || !isatty.IsTerminal(in.Fd()) {
		return false, &usageError{"replay: there is no terminal to ask on", "-yes says that it is meant"}
	}
	return askPerson(p.Stdin, p.Stderr, fmt.Sprintf("run %s again? [y/N] ", count(n, "event")))
}

// askPerson asks a yes or a no. No answer is no.
func askPerson(in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprint(out, question)
	const most = 100 // bytes of an answer
	line, err := bufio.NewReader(io.LimitReader(in, most)).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

func (o *replayOptions) printReplayed(out screen, done control.Replayed) error {
	if o.json {
		return out.json(done)
	}
	out.line("event " + printable(done.Event) + ": " + count(len(done.Runs), "run"))
	for _, r := range done.Runs {
		out.line(printable(fmt.Sprintf("  run %s of rule %q is %s", r.ID, r.Rule, r.State)))
	}
	return nil
}
