package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

const runsManual = `hookrun runs [flags]
hookrun runs show|logs|retry|cancel|release ID [flags]

Lists runs, the newest first: id, state, rule and in brackets the key of its
concurrency, when its event came, attempts begun, how long it took or when it
goes on, and why it is as it is.

  show ID     everything about one: its event, its steps, what they printed
  logs ID     what its commands printed; -f follows one that is running
  retry ID    queue a finished one again
  cancel ID   end one that waits or runs
  release ID  let one go that hookrun arm holds

An id may be given by its beginning, as it is listed. Each word has a manual:
hookrun runs show -h.

The hookrun that runs on the data folder is asked, over the socket control.sock
in it, which only its user and root can open. Where none runs, the store is read.

Examples:
  hookrun runs
  hookrun runs -rule deploy -state failed,cancelled -since 24h
  hookrun runs -since 2026-07-01T12:00:00Z -until 2026-07-01T13:00:00Z -json
  hookrun runs -event 0197f3c2-8a1b-7a2c
  hookrun runs -summary -limit 5

Exit codes: 0 done, also where there is no run, 1 it could not, 2 wrong usage.`

func runsCommand() command {
	return command{name: "runs", summary: "list runs, look into one, retry or cancel it", manual: runsManual, run: runRuns, words: runsWords}
}

// runsWords are the commands behind runs.
func runsWords() []command {
	return []command{showCommand(), logsCommand(), retryCommand(), cancelCommand(), releaseCommand()}
}

func runRuns(ctx context.Context, p Process, c command, args []string) error {
	return runWords(ctx, p, c, args, runsWords(), runList)
}

// runWords runs the command behind the word that args begin with; list where they
// begin with none.
func runWords(ctx context.Context, p Process, c command, args []string, subs []command, list func(context.Context, Process, command, []string) error) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return list(ctx, p, c, args)
	}
	var words []string
	for _, sub := range subs {
		_, word, _ := strings.Cut(sub.name, " ")
		if word == args[0] {
			return sub.run(ctx, p, sub, args[1:])
		}
		words = append(words, word)
	}
	hint := engine.Nearest(args[0], slices.Clone(words))
	switch {
	case strings.Trim(args[0], "0123456789abcdef-") == "":
		hint = "hookrun " + c.name + " show " + args[0]
	case hint == "":
		hint = "the words are " + strings.Join(words, ", ") + "; without one, " + c.name + " are listed"
	}
	return &usageError{fmt.Sprintf("%s: unknown word %q", c.name, args[0]), hint}
}

// maxListed bounds what one list has: a table is made of all of it.
const maxListed = 10_000

// filterFlags are those that lists of runs and of events have.
type filterFlags struct {
	desk   deskFlags
	bucket string
	rule   string
	since  moment
	until  moment
	limit  int
	json   bool
}

// add adds them. came is what is told of since a time.
func (f *filterFlags) add(fs *flag.FlagSet, what, came string) {
	f.desk.add(fs)
	fs.StringVar(&f.bucket, "bucket", "", "only "+what+" of this `BUCKET`, by its name or id")
	fs.StringVar(&f.rule, "rule", "", "only "+what+" of this `RULE`")
	fs.Var(&f.since, "since", "only "+what+" "+came+" since this `TIME`: 24h, 7d, 2026-07-01 or RFC 3339")
	fs.Var(&f.until, "until", "only "+what+" "+came+" before this `TIME`, as of -since")
	fs.IntVar(&f.limit, "limit", engine.DefaultRunLimit, "at most `N` "+what)
	fs.BoolVar(&f.json, "json", false, "print one JSON object a line")
}

// parse reads the flags of a list.
func (f *filterFlags) parse(p Process, c command, fs *flag.FlagSet, args []string) error {
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	if len(words) > 0 {
		return &usageError{fmt.Sprintf("%s: unexpected argument %q", c.name, words[0]), fmt.Sprintf("flags stand behind the word: hookrun %s show ID -data FOLDER", c.name)}
	}
	if f.limit < 1 || f.limit > maxListed {
		return &usageError{fmt.Sprintf("%s: -limit=%d is not between 1 and %d", c.name, f.limit, maxListed), ""}
	}
	return nil
}

// split are the words of a flag, which may have several with commas.
func split[W ~string](flag list) (all []W) {
	for _, words := range flag {
		for word := range strings.SplitSeq(words, ",") {
			all = append(all, W(strings.TrimSpace(word)))
		}
	}
	return all
}

// listOptions are the flags of runs.
type listOptions struct {
	filterFlags
	event   string
	states  list
	summary bool
}

func runList(ctx context.Context, p Process, c command, args []string) error {
	var o listOptions
	fs := flags(c)
	o.add(fs, "runs", "created")
	fs.StringVar(&o.event, "event", "", "only runs of the event of this `ID`")
	fs.Var(&o.states, "state", "only runs in this `STATE`; several with commas")
	fs.BoolVar(&o.summary, "summary", false, "then print how many runs ended how since hookrun was started, how many wait, what is paused")
	if err := o.parse(p, c, fs, args); err != nil {
		return err
	}
	return o.desk.read(ctx, p, c, func(d control.Desk) error {
		return o.print(ctx, d, screenOf(p.Stdout), p.Stderr)
	})
}

// query is what the flags ask for.
func (o *listOptions) query() control.Query {
	return control.Query{Event: o.event, Bucket: o.bucket, Rule: o.rule, Since: time.Time(o.since), Until: time.Time(o.until), States: split[engine.State](o.states)}
}

func (o *listOptions) print(ctx context.Context, d control.Desk, out screen, stderr io.Writer) error {
	runs, hint, err := o.fetch(ctx, d)
	if err != nil {
		return err
	}
	switch {
	case o.json:
		for _, r := range runs {
			if err := out.json(r); err != nil {
				return err
			}
		}
	case len(runs) > 0:
		printTable(out, runs, time.Now())
	}
	if len(runs) == 0 {
		fmt.Fprintln(stderr, "hookrun: there are no such runs")
	}
	if hint != "" {
		fmt.Fprintf(stderr, "hookrun: hint: %s\n", printable(hint))
	}
	if o.summary {
		return o.printSummary(ctx, d, out)
	}
	return nil
}

// fetch asks page by page.
func (o *listOptions) fetch(ctx context.Context, d control.Desk) (runs []control.Run, hint string, err error) {
	q := o.query()
	for len(runs) < o.limit {
		q.Limit = min(o.limit-len(runs), control.MaxLimit)
		page, err := d.List(ctx, q)
		if err != nil {
			return nil, "", err
		}
		if q.Before == 0 {
			hint = page.Hint
		}
		runs = append(runs, page.Runs...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	return runs, hint, nil
}

// Bounds of columns, in characters.
const (
	maxRuleColumn = 40
	shortID       = 18 // the time and the counter of a UUIDv7, which tells runs of one hookrun apart
)

func short(id string) string { return id[:min(len(id), shortID)] }

// printTable prints a line for each run, columns under each other.
func printTable(out screen, runs []control.Run, now time.Time) {
	rows := [][]string{{"ID", "STATE", "RULE", "CREATED", "TRIES", "TOOK", "WHY"}}
	for i := range runs {
		r := &runs[i]
		rows = append(rows, []string{
			short(r.ID), string(r.State), ruleColumn(r), clock(r.Created), fmt.Sprint(r.Attempts), took(r, now), whyColumn(r),
		})
	}
	out.columns(rows)
}

func ruleColumn(r *control.Run) string {
	rule := printable(r.Rule)
	if r.Key != "" {
		rule += " [" + printable(r.Key) + "]"
	}
	return clip(rule, maxRuleColumn)
}

// took is how long the run took, or when it goes on. Of one that a person has
// retried it is not known: that may have been days later.
func took(r *control.Run, now time.Time) string {
	switch {
	case r.State == engine.Queued && r.Due.After(now):
		return "in " + brief(r.Due.Sub(now))
	case r.State == engine.Queued, r.Started.IsZero(), r.Retried:
		return ""
	case r.State == engine.Running:
		return brief(now.Sub(r.Started)) + " yet"
	}
	return brief(r.Finished.Sub(r.Started))
}

// whyColumn says why the run is as it is.
func whyColumn(r *control.Run) string {
	why := cmp.Or(r.Why, r.Error)
	if r.Why != "" && r.Error != "" {
		why = r.Why + "; before: " + r.Error
	}
	if r.By != "" {
		why = joinWords("by "+short(r.By), why)
	}
	if r.Stop != "" && !r.State.Finished() {
		why = joinWords("about to end as "+string(r.Stop), why)
	}
	return printable(why)
}

func joinWords(first, rest string) string {
	if rest == "" {
		return first
	}
	return first + ": " + rest
}

func (o *listOptions) printSummary(ctx context.Context, d control.Desk, out screen) error {
	s, err := d.Summary(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return out.json(map[string]control.Summary{"summary": s})
	}
	if !s.Since.IsZero() {
		var ended []string
		for _, state := range engine.States() {
			if n := s.Ended[state]; n > 0 {
				ended = append(ended, fmt.Sprintf("%d %s", n, state))
			}
		}
		out.line(fmt.Sprintf("ended since %s: %s", clock(s.Since), cmp.Or(strings.Join(ended, ", "), "none")))
	}
	if s.Rejected > 0 {
		out.line(fmt.Sprintf("rejected: %d, hookrun rejected says why", s.Rejected))
	}
	out.line(fmt.Sprintf("waiting: %d", s.Waiting))
	if s.Held > 0 {
		out.line(fmt.Sprintf("held: %d, hookrun arm lists what waits for a person", s.Held))
	}
	out.line(pausedLine(s.Paused))
	if s.Relay != "" {
		out.line("relay: " + s.Relay)
	}
	return nil
}

// moment is a flag such as 24h, 7d, 2026-07-01 or 2026-07-01T12:00:00Z.
type moment time.Time

// String implements flag.Value.
func (m *moment) String() string {
	if t := time.Time(*m); !t.IsZero() {
		return t.Format(time.RFC3339)
	}
	return ""
}

// Set implements flag.Value.
func (m *moment) Set(v string) error {
	var ago span
	if err := ago.Set(v); err == nil {
		*m = moment(time.Now().Add(-time.Duration(ago)))
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			*m = moment(t)
			return nil
		}
	}
	return fmt.Errorf("want a time such as 24h, 7d, 2026-07-01 or 2026-07-01T12:00:00Z")
}
