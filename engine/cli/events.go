package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hookrun/engine"
	"hookrun/engine/control"
)

const eventsManual = `hookrun events [flags]
hookrun events show|body ID [flags]

Lists the events that were accepted, the newest first: id, when it came, its
bucket, what became of it, the rules that matched, the request and what its
sender calls it. What was turned away is listed by hookrun rejected.

  show ID   everything about one: its header, its body, what each rule made of
            it, its runs
  body ID   its body, byte for byte

What became of an event is one of: started (a run of it was queued), suppressed
(rules matched, and nothing had to be run: duplicate, throttled, skipped), shadow
(only rules in mode shadow matched), unmatched, error (a condition failed),
answered (the question of a service).

With -rule they are those that a run of the rule was made of, whatever became of
it. Where its condition failed no run is made: -outcome error lists those events.

An id may be given by its beginning, as it is listed. Each word has a manual:
hookrun events show -h. hookrun explain -event ID says why rules did, or did not.

The hookrun that runs on the data folder is asked; where none runs, the store is
read.

Examples:
  hookrun events
  hookrun events -bucket deploys -outcome unmatched,error -since 24h
  hookrun events -rule 'deploy main' -since 7d -until 1d -json

Exit codes: 0 done, also where there is no event, 1 it could not, 2 wrong usage.`

func eventsCommand() command {
	return command{name: "events", summary: "list events, look into one, print its body", manual: eventsManual, run: runEvents, words: eventsWords}
}

// eventsWords are the commands behind events.
func eventsWords() []command {
	return []command{eventShowCommand(), eventBodyCommand()}
}

func runEvents(ctx context.Context, p Process, c command, args []string) error {
	return runWords(ctx, p, c, args, eventsWords(), runEventList)
}

// eventOptions are the flags of events.
type eventOptions struct {
	filterFlags
	outcomes list
}

func runEventList(ctx context.Context, p Process, c command, args []string) error {
	var o eventOptions
	fs := flags(c)
	o.add(fs, "events", "received")
	fs.Var(&o.outcomes, "outcome", "only events with this `OUTCOME`; several with commas")
	if err := o.parse(p, c, fs, args); err != nil {
		return err
	}
	return o.desk.read(ctx, p, c, func(d control.Desk) error {
		return o.print(ctx, d, screenOf(p.Stdout), p.Stderr)
	})
}

// query is what the flags ask for.
func (o *eventOptions) query() control.EventQuery {
	return control.EventQuery{
		Bucket: o.bucket, Rule: o.rule, Outcomes: split[engine.EventOutcome](o.outcomes),
		Since: time.Time(o.since), Until: time.Time(o.until),
	}
}

func (o *eventOptions) print(ctx context.Context, d control.Desk, out screen, stderr io.Writer) error {
	events, hint, err := o.fetch(ctx, d)
	if err != nil {
		return err
	}
	switch {
	case o.json:
		for _, e := range events {
			if err := out.json(e); err != nil {
				return err
			}
		}
	case len(events) > 0:
		printEvents(out, events)
	}
	if len(events) == 0 {
		fmt.Fprintln(stderr, "hookrun: there are no such events")
	}
	if hint != "" {
		fmt.Fprintf(stderr, "hookrun: hint: %s\n", printable(hint))
	}
	return nil
}

// fetch asks page by page. A page may be short and have a next one.
func (o *eventOptions) fetch(ctx context.Context, d control.Desk) (events []control.EventRow, hint string, err error) {
	q := o.query()
	for len(events) < o.limit {
		q.Limit = min(o.limit-len(events), control.MaxLimit)
		page, err := d.Events(ctx, q)
		if err != nil {
			return nil, "", err
		}
		hint = cmp.Or(hint, page.Hint)
		events = append(events, page.Events...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	return events, hint, nil
}

// Bounds of columns, in characters.
const (
	maxBucketColumn  = 24
	maxRequestColumn = 40
)

// printEvents prints a line for each event, columns under each other.
func printEvents(out screen, events []control.EventRow) {
	const outcome = 3 // its column
	rows, colours := [][]string{{"ID", "RECEIVED", "BUCKET", "OUTCOME", "RULES", "REQUEST"}}, []colour{noColour}
	for i := range events {
		e := &events[i]
		rows = append(rows, []string{
			short(e.ID), clock(e.Received), clip(printable(e.Bucket), maxBucketColumn), string(e.Outcome), clip(rulesColumn(e), maxRuleColumn), clip(requestColumn(e), maxRequestColumn),
		})
		colours = append(colours, outcomeColour(e.Outcome))
	}
	out.coloured(rows, outcome, colours)
}

// requestColumn is the request, and what its sender calls it.
func requestColumn(e *control.EventRow) string {
	request := e.Method + " " + e.Path
	if e.Kind != "" {
		request += " " + e.Kind
	}
	if e.ReplayOf != "" {
		request += ", replayed"
	}
	return printable(request)
}

// rulesColumn is the rules that matched, and those that failed.
func rulesColumn(e *control.EventRow) string {
	rules := slices.Clone(e.Matched)
	for _, r := range e.Errored {
		rules = append(rules, r+" (error)")
	}
	return printable(strings.Join(rules, ", "))
}

const eventShowManual = `hookrun events show ID [flags]

Prints all about an event: the request with its header and its body, JSON laid
out, what each rule made of it, its runs, and its replays. Of a long body the
first 60 lines are printed; with -v all that is shown, which is at most 256 KiB.

Values of headers that prove who sends, such as Authorization, are shown as ***;
so are, where a hookrun runs, the secrets of its rules. The body is as it came.

Examples:
  hookrun events show 0197f3c2-8a1b-7a2c
  hookrun events show 0197f3c2-8a1b-7a2c -json

Exit codes: 0 done, 1 there is no such event, 2 wrong usage.`

func eventShowCommand() command {
	return command{name: "events show", manual: eventShowManual, run: runEventShow}
}

func runEventShow(ctx context.Context, p Process, c command, args []string) error {
	var o showOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.BoolVar(&o.json, "json", false, "print it as one JSON object")
	fs.BoolVar(&o.verbose, "v", false, "print all of the body that is shown")
	id, err := parseEventID(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.desk.read(ctx, p, c, func(d control.Desk) error { return o.printEvent(ctx, d, id, screenOf(p.Stdout)) })
}

func (o *showOptions) printEvent(ctx context.Context, d control.Desk, id string, out screen) error {
	detail, err := d.Event(ctx, id)
	if err != nil {
		return err
	}
	if o.json {
		return out.json(detail)
	}
	s := shown{out: out, all: o.verbose}
	s.came(&detail)
	s.header(detail.Header)
	s.body(&detail, o.desk.words())
	s.verdicts(detail.Verdicts)
	s.runs(&detail)
	fmt.Fprintf(out, "\nwhy rules did or did not match: hookrun explain -event %s%s\n", short(detail.ID), o.desk.words())
	return nil
}

// came prints how the event came and what became of it.
func (s shown) came(d *control.EventDetail) {
	s.field("event", d.ID)
	s.field("received", clock(d.Received))
	s.field("request", requestOf(d))
	s.field("kind", d.Kind)
	s.field("outcome", string(d.Outcome))
	if d.ReplayOf != "" {
		of := d.ReplayOf
		if d.Edited {
			of += ", with another body"
		}
		s.field("replay of", of)
	}
	s.field("delivery", d.Delivery)
	for _, name := range slices.Sorted(maps.Keys(d.Meta)) {
		s.field("meta", name+": "+d.Meta[name])
	}
	s.field("problem", d.MatchErr)
	s.field("problem", d.BodyErr)
	if d.Rules != "" && !d.Current {
		s.field("rules", "others than those in force now, if any are: "+d.Rules)
	}
}

func requestOf(d *control.EventDetail) string {
	line := d.Method + " " + d.Path
	if d.Query != "" {
		line += "?" + d.Query
	}
	line += " to bucket " + d.Bucket
	if d.Input != "" {
		line += ", input " + d.Input
	}
	line += fmt.Sprintf(", %d bytes, by way of %s", d.Size, d.Source)
	if d.Remote != "" {
		line += ", from " + d.Remote
	}
	return line
}

func (s shown) header(h map[string][]string) {
	if len(h) == 0 {
		return
	}
	fmt.Fprint(s.out, "\nheader\n")
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(s.out, "  %s: %s\n", printable(name), s.cut(printable(value)))
		}
	}
}

// cut cuts a line, where not all is wanted.
func (s shown) cut(line string) string {
	if s.all {
		return line
	}
	return clip(line, maxLineShow)
}

// shownBodyLines is what events show prints of a body without -v.
const shownBodyLines = 60

func (s shown) body(d *control.EventDetail, words string) {
	if d.Size == 0 {
		return
	}
	whole := fmt.Sprintf("hookrun events body %s%s", short(d.ID), words)
	text, ok := pretty(d.Body, d.BodyCut > 0)
	if !ok {
		fmt.Fprintf(s.out, "\nbody, %d bytes that are no text: %s > FILE\n", d.Size, whole)
		return
	}
	lines := strings.Split(strings.TrimRight(readable(text), "\n"), "\n")
	more := ""
	if over := len(lines) - shownBodyLines; over > 0 && !s.all {
		lines, more = lines[:shownBodyLines], fmt.Sprintf("… %d more lines: -v", over)
	} else if d.BodyCut > 0 {
		more = fmt.Sprintf("… %d more bytes: %s", d.BodyCut, whole)
	}
	fmt.Fprint(s.out, "\nbody\n")
	for _, line := range lines {
		fmt.Fprintln(s.out, strings.TrimRight("  "+s.cut(line), " "))
	}
	if more != "" {
		fmt.Fprintln(s.out, "  "+more)
	}
	if d.BodyMasked {
		fmt.Fprintf(s.out, "  (a secret of the rules is masked in it; as it came: %s)\n", whole)
	}
}

// pretty is a body as people read it, JSON laid out; not ok: it is no text. cut
// says that its end is missing.
func pretty(body []byte, cut bool) (text string, ok bool) {
	for n := 0; cut && n < utf8.UTFMax-1 && len(body) > 0 && !utf8.Valid(body); n++ {
		body = body[:len(body)-1] // the beginning of a character
	}
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return "", false
	}
	var laidOut bytes.Buffer
	if err := json.Indent(&laidOut, body, "", "  "); err == nil {
		return laidOut.String(), true
	}
	return string(body), true
}

func (s shown) verdicts(verdicts []engine.Verdict) {
	fmt.Fprint(s.out, "\nrules\n")
	if len(verdicts) == 0 {
		fmt.Fprintln(s.out, "  none was asked")
	}
	for _, v := range verdicts {
		said := printable(joinWords(v.Rule, v.Why))
		if len(v.Missing) > 0 {
			said += printable(", missing: " + strings.Join(v.Missing, ", "))
		}
		fmt.Fprintf(s.out, "  %-7s  %s\n", v.Outcome, s.cut(said))
	}
}

func (s shown) runs(d *control.EventDetail) {
	if len(d.Runs) > 0 {
		fmt.Fprint(s.out, "\nruns\n")
		printTable(s.out, d.Runs, time.Now())
	}
	if d.MoreRuns > 0 {
		fmt.Fprintf(s.out, "… %d more\n", d.MoreRuns)
	}
	if len(d.Replays) > 0 {
		fmt.Fprint(s.out, "\nreplays\n")
	}
	for _, id := range d.Replays {
		fmt.Fprintln(s.out, "  "+printable(id))
	}
}

const eventBodyManual = `hookrun events body ID [flags]

Prints the body of an event to stdout, byte for byte. On a terminal, characters
that it would obey are shown as escapes; -raw prints the bytes as they are.

Examples:
  hookrun events body 0197f3c2-8a1b-7a2c | jq .
  hookrun events body 0197f3c2-8a1b-7a2c > body.json

Exit codes: 0 done, 1 there is no such event, 2 wrong usage.`

func eventBodyCommand() command {
	return command{name: "events body", manual: eventBodyManual, run: runEventBody}
}

func runEventBody(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	var raw bool
	fs := flags(c)
	desk.add(fs)
	fs.BoolVar(&raw, "raw", false, "print the bytes as they are, on a terminal too")
	id, err := parseEventID(p, c, fs, args)
	if err != nil {
		return err
	}
	return desk.read(ctx, p, c, func(d control.Desk) error {
		body, err := d.Body(ctx, id)
		if err != nil {
			return err
		}
		out := screenOf(p.Stdout)
		if out.terminal && !raw {
			body.Data = []byte(readable(string(body.Data)) + "\n")
		}
		_, err = out.Write(body.Data)
		return err
	})
}
